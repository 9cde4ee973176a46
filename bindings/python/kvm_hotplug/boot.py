"""The command that starts a guest."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from typing import Any, List, Mapping, Optional, Tuple

from ._abi import ErrorKind
from ._calls import Handle
from ._library import library
from .errors import KvmHotplugError

_FIRST = 3


class Boot(Handle):
    """A command that starts a guest, and the descriptors that it inherits. Close it as soon as QEMU is
    started: a tap lives as long as any process has it open.
    """

    _what = "the boot command"

    def __init__(self, pointer: Any, fd_base: int) -> None:
        super().__init__(pointer)
        count = ctypes.c_size_t()
        arguments = library().kvm_boot_argv(pointer, ctypes.byref(count))
        #: The command line, the program first.
        self.args: List[str] = [os.fsdecode(argument) for argument in arguments[: count.value]]
        descriptors = library().kvm_boot_fds(pointer, ctypes.byref(count))
        #: The descriptors, as this process numbers them. They belong to the command.
        self.fds: List[int] = list(descriptors[: count.value])
        #: Number in QEMU of the first of them.
        self.fd_base = fd_base or _FIRST

    def spawn(
        self,
        env: Optional[Mapping[str, str]] = None,
        *,
        file_actions: Optional[List[Tuple[Any, ...]]] = None,
        setsid: bool = False,
    ) -> int:
        """Starts QEMU, found by PATH, with its descriptors under the numbers that the command has for them,
        and returns its pid.

        subprocess.Popen cannot do that: it may use the same numbers for itself. `file_actions` are done
        before, as by os.posix_spawn(), for instance to redirect the standard files.
        """

        # Above all numbers that are written to, so that none is overwritten before it is read.
        above, copies = self.fd_base + len(self.fds), []
        self._enter()
        try:
            for descriptor in self.fds:
                copies.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above))
            actions = [(os.POSIX_SPAWN_DUP2, copy, place) for place, copy in enumerate(copies, self.fd_base)]
            return os.posix_spawnp(
                self.args[0],
                self.args,
                os.environ if env is None else env,
                file_actions=[*(file_actions or ()), *actions],
                setsid=setsid,
            )
        finally:
            self._leave()
            for copy in copies:
                os.close(copy)

    def inherit(self) -> None:
        """Gives every descriptor the number that the command has for it: in a child, between os.fork() and
        os.execvp(). What the child has open at those numbers is closed."""
        code = library().kvm_boot_inherit(self._pointer)
        if code < 0:
            text = f"the descriptors of QEMU: {os.strerror(-code)}"
            kind = ErrorKind.STATE if code in (-errno.EBADF, -errno.EBADFD) else ErrorKind.HOST
            raise KvmHotplugError(-code, text, kind=kind)

    def _free(self, pointer: Any) -> None:
        library().kvm_boot_free(pointer)
        self.fds = []
