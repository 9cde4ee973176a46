"""A live guest."""

from __future__ import annotations

import ctypes
from typing import Any, Optional

from . import _abi
from ._arguments import Deadline, Text, encoded, number, signed
from ._changes import Changes
from ._connections import Connection, Connections, descriptor_of
from ._events import Events
from ._library import checked, library
from ._looks import Looks
from ._wanted import Wanted
from .requests import flags
from .runtime import Runtime


class Guest(Changes, Wanted, Looks, Events, Connections):
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
        starting: bool = False,
        timeout: Optional[float] = None,
    ) -> "Guest":
        """Connects to the QMP socket of a running QEMU, examines the guest, and finishes or undoes what an
        earlier agent left unfinished; events report the results. The record must have a file, and may be
        closed before the guest.

        `socket_path`: the monitor's Unix socket; "@name" is an abstract name, "./@name" a file of that name.
        If no file has the name, "host:port", "[address]:port" and "vsock:CID:PORT" are ports, over which
        neither NICs nor disks can be added.
        `peer_uid`: the user who must listen at the socket, and who is recorded; None for the recorded one, or
        any.
        `peer_pid`: the process that must listen there; None for any.
        `accept_peer`: accept another user than the recorded one, and record it.
        `look_only`: only look. QEMU is queried, nothing else; record and journal are not written. Any record
        will do.
        `in_memory`: the record needs no file, as long as it has none. If this process ends, nobody finishes
        what it has begun.
        `starting`: QEMU is being started, so wait until it listens and replies, or until the timeout.
        `timeout`: seconds; None means 5.
        """
        path = encoded("socket_path", socket_path)
        options = _options(peer_uid, peer_pid, accept_peer, look_only, in_memory, starting)
        return cls._opened(runtime, library().kvm_hotplug_open_with, path, options, timeout)

    @classmethod
    def open_connection(
        cls,
        runtime: Runtime,
        connection: Connection,
        *,
        peer_uid: Optional[int] = None,
        peer_pid: Optional[int] = None,
        accept_peer: bool = False,
        look_only: bool = False,
        in_memory: bool = False,
        timeout: Optional[float] = None,
    ) -> "Guest":
        """Opens a guest as open() does, over a connection to its monitor that the caller has made: a Unix,
        TCP or vsock stream socket, or its descriptor. Nothing may have been read from it or written to it. The
        library has a duplicate; the caller's own stays its own.

        The library cannot make such a connection again. If it is lost, calls fail with
        ErrorKind.MONITOR_LOST and ENOTCONN until give_connection() gives another one, or the guest is closed
        and opened again. What was begun stays in the journal.

        Over TCP and vsock no descriptors can be passed, so that neither NICs nor disks can be added; over a
        monitor that QEMU deletes with its client, such as one of lend_monitor(), no NIC. peer_uid and peer_pid
        are refused where the kernel does not say who listens: for TCP, vsock, and the end of a pair.
        """
        options = _options(peer_uid, peer_pid, accept_peer, look_only, in_memory)
        function = library().kvm_hotplug_open_connection
        return cls._opened(runtime, function, descriptor_of(connection), options, timeout)

    @classmethod
    def _opened(
        cls, runtime: Runtime, function: Any, target: Any, options: Any, timeout: Optional[float]
    ) -> "Guest":
        end = Deadline(timeout)

        def use(record: Any) -> "Guest":
            pointer = ctypes.POINTER(_abi.kvm_hotplug)()
            options.timeout_ms = end.milliseconds()
            checked(function, record, target, options, ctypes.sizeof(options), ctypes.byref(pointer))
            try:
                return cls(pointer)
            except OSError:
                library().kvm_hotplug_close(pointer)
                raise

        # The library cannot cancel it: after Ctrl-C it ends by itself, at its deadline at the latest.
        return runtime._use(use, cls.close)


def _options(
    peer_uid: Optional[int],
    peer_pid: Optional[int],
    accept_peer: bool,
    look_only: bool,
    in_memory: bool,
    starting: bool = False,
) -> Any:
    return _abi.kvm_hotplug_open_options(
        peer_uid=number("peer_uid", peer_uid or 0),
        peer_pid=signed("peer_pid", peer_pid or 0),
        flags=flags(
            open_peer_uid=peer_uid is not None,
            open_peer_pid=peer_pid is not None,
            open_accept_peer=accept_peer,
            open_look_only=look_only,
            open_in_memory=in_memory,
            open_starting=starting,
        ),
    )
