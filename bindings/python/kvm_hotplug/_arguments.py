"""What goes into a call: texts, numbers, arrays, timeouts."""

from __future__ import annotations

import ctypes
import json
import math
import os
import time
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from . import _abi
from .errors import invalid

Text = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
MOST = 2**32 - 1


def encoded(what: str, text: Text) -> bytes:
    """A C string. One with a NUL in it would silently become another one."""
    raw = os.fspath(text)
    # What is no UTF-8 is refused by the library, which says what it is about.
    value = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogateescape")
    if b"\0" in value:
        raise invalid(f"{what} has a NUL in it: {raw!r}")
    return value


def optional(what: str, text: Optional[Text]) -> Optional[bytes]:
    return None if text is None else encoded(what, text)


def json_object(what: str, members: Optional[Mapping[str, Any]]) -> Optional[bytes]:
    if not members:
        return None
    try:
        return encoded(what, json.dumps(dict(members)))
    except (TypeError, ValueError) as error:
        raise invalid(f"{what}: {error}") from None


def number(what: str, value: int, most: int = MOST) -> int:
    """ctypes would cut a number that does not fit."""
    if not 0 <= value <= most:
        raise invalid(f"{what}: {value} is out of range, 0 to {most}")
    return int(value)


def texts(what: str, values: Sequence[Text]) -> Optional[Any]:
    """An array of C strings, or None for none."""
    if isinstance(values, (str, bytes)):
        raise invalid(f"{what}: a list of texts, not one: {values!r}")
    if not values:
        return None
    return (ctypes.c_char_p * len(values))(*(encoded(what, value) for value in values))


def secret_array(secrets: Mapping[str, bytes]) -> Optional[Any]:
    """An array of secrets, or None for none."""
    if not secrets:
        return None
    made = [
        _abi.kvm_hotplug_secret(
            name=encoded("the name of a secret", name),
            data=ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p),
            length=len(data),
        )
        for name, data in secrets.items()
    ]
    return (_abi.kvm_hotplug_secret * len(made))(*made)


def integers(values: Iterable[int]) -> Optional[Any]:
    """An array of descriptors, or None for none."""
    numbers = [signed("a descriptor", value) for value in values]
    return (ctypes.c_int32 * len(numbers))(*numbers) if numbers else None


def signed(what: str, value: int) -> int:
    if not -(2**31) <= value < 2**31:
        raise invalid(f"{what}: {value} is out of range")
    return int(value)


class Deadline:
    """The end of a call that may ask the library more than once."""

    def __init__(self, timeout: Optional[float]) -> None:
        if timeout is not None and not timeout >= 0:
            raise invalid(f"timeout: {timeout} is no number of seconds")
        self._end = None if timeout is None else time.monotonic() + timeout

    def milliseconds(self) -> int:
        """What is left, rounded up; 0, the library's default, without a timeout, and never 0 with one."""
        if self._end is None:
            return 0
        left = (self._end - time.monotonic()) * 1000
        return MOST if math.isinf(left) else min(max(math.ceil(left), 1), MOST)
