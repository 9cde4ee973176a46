"""A live guest."""

from __future__ import annotations

import ctypes
from typing import Any, Optional

from . import _abi
from ._arguments import Deadline, Text, encoded, number, signed
from ._changes import Changes
from ._events import Events
from ._library import checked, library
from ._looks import Looks
from .requests import flags
from .runtime import Runtime


class Guest(Changes, Looks, Events):
    """A live guest: the connection to its monitor, its slot map, and its pending operations. A monitor serves
    one client at a time: while a guest is open, no other program can use that QMP socket.

    Any thread may call anything at any time. A removal that waits for the guest holds up no other call; calls
    that ask QEMU take turns. Ctrl-C ends the call of the main thread, as cancel_thread() does, and is raised
    after it.
    """

    @classmethod
    def open(
        cls,
        runtime: Runtime,
        socket_path: Text,
        *,
        peer_uid: Optional[int] = None,
        peer_pid: Optional[int] = None,
        accept_peer: bool = False,
        look_only: bool = False,
        in_memory: bool = False,
        timeout: Optional[float] = None,
    ) -> "Guest":
        """Connects to the QMP socket of a running QEMU, examines the guest, and finishes or undoes what an
        earlier agent left unfinished; events report the results. The record must have a file, and may be
        closed before the guest.

        `socket_path`: the monitor's Unix socket; "@name" is an abstract name, "./@name" a file of that name.
        `peer_uid`: the user who must listen at the socket, and who is recorded; None for the recorded one, or
        any.
        `peer_pid`: the process that must listen there; None for any.
        `accept_peer`: accept another user than the recorded one, and record it.
        `look_only`: only look. QEMU is queried, nothing else; record and journal are not written. Any record
        will do.
        `in_memory`: the record needs no file, as long as it has none. If this process ends, nobody finishes
        what it has begun.
        `timeout`: seconds; None means 5.
        """
        path, end = encoded("socket_path", socket_path), Deadline(timeout)
        options = _abi.kvm_hotplug_open_options(
            peer_uid=number("peer_uid", peer_uid or 0),
            peer_pid=signed("peer_pid", peer_pid or 0),
            flags=flags(
                open_peer_uid=peer_uid is not None,
                open_peer_pid=peer_pid is not None,
                open_accept_peer=accept_peer,
                open_look_only=look_only,
                open_in_memory=in_memory,
            ),
        )

        def use(record: Any) -> "Guest":
            pointer = ctypes.POINTER(_abi.kvm_hotplug)()
            options.timeout_ms = end.milliseconds()
            function, size = library().kvm_hotplug_open_with, ctypes.sizeof(options)
            checked(function, record, path, options, size, ctypes.byref(pointer))
            try:
                return cls(pointer)
            except OSError:
                library().kvm_hotplug_close(pointer)
                raise

        # The library cannot cancel it: after Ctrl-C it ends by itself, at its deadline at the latest.
        return runtime._use(use, cls.close)
