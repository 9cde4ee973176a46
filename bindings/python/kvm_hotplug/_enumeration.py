"""What the enumerations of the C ABI have in common."""

from __future__ import annotations

import enum
from typing import Optional, Type, TypeVar

#: QEMU's own words, which have another form.
_OF_QEMU = {"IO_URING": "io_uring"}

E = TypeVar("E", bound="Enumeration")


class Enumeration(enum.IntEnum):
    """Numbers with names. Newer libraries may know more of them than this package: those are called
    UNKNOWN_9.
    """

    @classmethod
    def _missing_(cls: Type[E], value: object) -> Optional[E]:
        if not isinstance(value, int):
            return None
        unknown = int.__new__(cls, value)
        unknown._name_ = f"UNKNOWN_{int(value)}"
        unknown._value_ = int(value)
        return unknown

    @property
    def text(self) -> str:
        """The name as JSON texts, messages and kvmctl have it, such as "not-hotpluggable"."""
        return _OF_QEMU.get(self.name, self.name.lower().replace("_", "-"))

    @classmethod
    def parse(cls: Type[E], text: str) -> E:
        """The value of this text."""
        for value in cls:
            if value.text == text:
                return value
        known = ", ".join(sorted(value.text for value in cls))
        raise ValueError(f"{text!r} is no {cls.__name__}: one of {known}")
