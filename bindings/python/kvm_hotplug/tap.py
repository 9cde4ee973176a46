"""Taps that the caller holds."""

from __future__ import annotations

import ctypes
import os
from typing import List, Optional

from . import _abi
from ._arguments import number, optional
from ._calls import interruptible
from ._library import checked, library
from .requests import flags


class Tap:
    """An open tap with virtio-net headers, which disappears when the last of its descriptors is closed."""

    def __init__(self, ifname: str, fds: List[int]) -> None:
        self.ifname = ifname
        #: One for each queue. They can be given as NIC.tap_fds any number of times, and stay the caller's.
        self.fds = fds

    @classmethod
    def open(
        cls,
        ifname: Optional[str] = None,
        *,
        bridge: Optional[str] = None,
        queues: int = 0,
        mtu: int = 0,
        owner: Optional[int] = None,
    ) -> "Tap":
        """Opens a tap, attaches it to a bridge, sets its MTU and sets it up. Guest.add_nic() opens one by
        itself.

        `ifname`: at most 15 characters, or a pattern with one "%d"; None for "tap%d".
        `queues`: 1 to 256; 0 means 1.
        `mtu`: 68 to 65521 bytes; 0 for the bridge's, or the kernel's 1500.
        `owner`: user id that may reopen it.
        """
        request = _abi.kvm_hotplug_tap(
            ifname=optional("ifname", ifname),
            bridge=optional("bridge", bridge),
            queues=number("queues", queues),
            mtu=number("mtu", mtu),
            tap_owner=number("owner", owner or 0),
            flags=flags(tap_owner=owner is not None),
        )

        def call() -> "Tap":
            # The library says what is wrong with a number that is out of range.
            room = min(max(queues, 1), 256)
            fds, name = (ctypes.c_int32 * room)(), ctypes.create_string_buffer(16)
            function = library().kvm_hotplug_open_tap
            count = checked(function, request, ctypes.sizeof(request), fds, room, name)
            return cls(name.value.decode(), list(fds[:count]))

        return interruptible(call, discard=cls.close)

    def close(self) -> None:
        """Closes the caller's descriptors; a guest keeps those that it was given."""
        while self.fds:
            os.close(self.fds.pop())

    def __enter__(self) -> "Tap":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
