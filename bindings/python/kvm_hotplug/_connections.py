"""Connections that the caller makes, and one that the caller gets."""

from __future__ import annotations

import ctypes
import socket
from typing import Any, Optional, Union

from ._arguments import Deadline
from ._guest import GuestHandle
from ._library import checked, library

#: A connected stream socket, or its descriptor.
Connection = Union[int, socket.socket]


def descriptor_of(connection: Connection) -> int:
    """The library duplicates it."""
    return connection if isinstance(connection, int) else connection.fileno()


class Connections(GuestHandle):
    """The connections of a guest."""

    def give_connection(self, connection: Connection) -> None:
        """Gives a guest of Guest.open_connection() another connection to a monitor of the same QEMU, or of the
        one that has taken its place. The library uses it when the present one is lost, and no earlier.
        """
        self._call(library().kvm_hotplug_give_connection, descriptor_of(connection))

    def lend_monitor(self, timeout: Optional[float] = None) -> socket.socket:
        """Has QEMU make another monitor, and returns a connection to it, for a script, a console or a
        profiler. Needs QEMU 11.1 (ErrorKind.NOT_HOTPLUGGABLE before). QEMU greets there as on any monitor, and
        deletes it when the socket is closed. What is done over it is not checked as qmp() checks.
        """
        end = Deadline(timeout)

        def use(pointer: Any) -> socket.socket:
            fd = ctypes.c_int(-1)
            function = library().kvm_hotplug_lend_monitor
            checked(function, pointer, end.milliseconds(), ctypes.byref(fd))
            return socket.socket(fileno=fd.value)

        return self._use(use, socket.socket.close)
