"""What calls fail with."""

from __future__ import annotations

import errno as numbers
import os
from typing import TYPE_CHECKING, Any, List, Optional, Sequence

from ._abi import ErrorKind, Undo

if TYPE_CHECKING:
    from .answers import Applied, Deleted


class KvmHotplugError(OSError):
    """Why a call failed. Everything that this package raises by itself is one of these.

    Decide by `kind`, or by `errno` for a kind that this version does not know.
    """

    def __init__(
        self,
        errno: int,
        message: str,
        *,
        kind: ErrorKind = ErrorKind.HOST,
        step: Optional[str] = None,
        qmp_class: Optional[str] = None,
        qmp_desc: Optional[str] = None,
        undo: Undo = Undo.NOTHING,
        residue: Sequence[str] = (),
    ) -> None:
        super().__init__(errno, message)
        self.kind = kind
        #: One line for people: the step, what was wrong, where, what to do, and what is left.
        self.message = message
        #: The step that failed, such as "device_add nic-pci-5".
        self.step = step
        #: The class of QEMU's error, such as "DeviceNotFound"; None if QEMU did not refuse a command.
        self.qmp_class = qmp_class
        #: QEMU's description of its error.
        self.qmp_desc = qmp_desc
        #: What became of the steps that had been done.
        self.undo = undo
        #: What is left behind, if undo is INCOMPLETE. The next call on the guest settles it.
        self.residue: List[str] = list(residue)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        number = numbers.errorcode.get(self.errno or 0, self.errno)
        return f"{type(self).__name__}({self.kind.name}, {number}: {self.message!r})"


class DelManyError(KvmHotplugError):
    """Some of the devices of Guest.del_many() could not be removed: the error of the first of them."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        #: What became of each device.
        self.answers: "List[Deleted]" = []

    @classmethod
    def of(cls, error: KvmHotplugError, answers: "List[Deleted]") -> "DelManyError":
        made = cls(error.errno or 0, error.message)
        made.__dict__.update(error.__dict__)
        made.answers = answers
        return made


class ApplyError(KvmHotplugError):
    """Guest.apply() has failed after it had decided what is to be done."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        #: What is done and what is left, device by device.
        self.applied: "Optional[Applied]" = None

    @classmethod
    def of(cls, error: KvmHotplugError, applied: "Applied") -> "ApplyError":
        made = cls(error.errno or 0, error.message)
        made.__dict__.update(error.__dict__)
        made.applied = applied
        return made


def taken(library: Any, failure: Any, code: int) -> KvmHotplugError:
    """The library's error as one of Python's. The library's is freed."""
    if not failure:
        return KvmHotplugError(-code, os.strerror(-code))
    try:
        residue = _text(library.kvm_hotplug_error_residue(failure))
        return KvmHotplugError(
            library.kvm_hotplug_error_errno(failure),
            _text(library.kvm_hotplug_error_message(failure)) or "",
            kind=ErrorKind(library.kvm_hotplug_error_kind(failure)),
            step=_text(library.kvm_hotplug_error_step(failure)),
            qmp_class=_text(library.kvm_hotplug_error_qmp_class(failure)),
            qmp_desc=_text(library.kvm_hotplug_error_qmp_desc(failure)),
            undo=Undo(library.kvm_hotplug_error_undo(failure)),
            residue=residue.split("\n") if residue else (),
        )
    finally:
        library.kvm_hotplug_error_free(failure)


def _text(value: Optional[bytes]) -> Optional[str]:
    return None if value is None else value.decode("utf-8", "replace")


def invalid(message: str) -> KvmHotplugError:
    return KvmHotplugError(numbers.EINVAL, message, kind=ErrorKind.INVALID)


def closed(what: str) -> KvmHotplugError:
    return KvmHotplugError(numbers.EBADF, f"{what} is closed", kind=ErrorKind.STATE)
