"""Finds the library, and calls it."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from typing import Any, Callable, List, Optional, Tuple, Type, TypeVar

from . import _abi
from .errors import KvmHotplugError, taken

#: Names the library in the environment, by its path; without it the loader looks for libkvm_hotplug.so.<ABI>.
VARIABLE = "KVM_HOTPLUG_LIBRARY"

_lock = threading.RLock()
_loaded: Optional[ctypes.CDLL] = None

S = TypeVar("S", bound=ctypes.Structure)


def library() -> Any:
    """The library, which is loaded by the first call.

    It is looked for then and not on import, so that programs can say what is missing.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load(os.environ.get(VARIABLE) or f"libkvm_hotplug.so.{_abi.ABI_VERSION}")
        return _loaded


def _load(name: str) -> ctypes.CDLL:
    try:
        loaded = ctypes.CDLL(name)
    except OSError as error:
        raise KvmHotplugError(
            errno.ENOENT,
            f"{name} cannot be loaded: install the library (make install, or the package"
            f" libkvm-hotplug{_abi.ABI_VERSION}), or set {VARIABLE} to the path of libkvm_hotplug.so:"
            f" {error}",
            kind=_abi.ErrorKind.UNAVAILABLE,
        ) from error
    check(loaded, name)
    for function, (result, arguments) in _abi.PROTOTYPES.items():
        declared = getattr(loaded, function)
        declared.restype, declared.argtypes = result, arguments
    return loaded


def check(loaded: Any, name: str) -> None:
    """With a library of another ABI, or structs that are laid out in another way, any call may crash."""
    missing = [function for function in _abi.PROTOTYPES if not hasattr(loaded, function)]
    # It is there in every version.
    if "kvm_hotplug_abi_version" in missing:
        raise _other_version(f"{name} is no libkvm_hotplug")
    have = loaded.kvm_hotplug_abi_version()
    if have != _abi.ABI_VERSION:
        raise _other_version(f"{name} has ABI version {have}, this package is for {_abi.ABI_VERSION}")
    if missing:
        raise _other_version(f"{name} is older than this package: it does not have {', '.join(missing)}")
    for struct, size in _abi.SIZES.items():
        if ctypes.sizeof(struct) != size:
            raise _other_version(
                f"struct {struct.__name__} has {ctypes.sizeof(struct)} bytes here, {size} in C"
            )


def _other_version(message: str) -> KvmHotplugError:
    return KvmHotplugError(errno.EPROTONOSUPPORT, message, kind=_abi.ErrorKind.VERSION)


def checked(function: Callable[..., int], *arguments: Any) -> int:
    """Calls a function of the library whose last parameter takes the error. Raises that if it fails."""
    failure = ctypes.POINTER(_abi.kvm_hotplug_error)()
    code = function(*arguments, ctypes.byref(failure))
    if code < 0:
        raise taken(library(), failure, code)
    return code


def listed(struct: Type[S], room: int, fetch: Callable[[Any, int, Any], object]) -> List[S]:
    """What a function lists that fills an array as far as there is room: with more room until all fits."""
    while True:
        array, count = (struct * room)(), ctypes.c_size_t()
        fetch(array, room, ctypes.byref(count))
        if count.value <= room:
            return list(array[: count.value])
        room += count.value


def text_of(call: Callable[[Any], int]) -> Tuple[int, Optional[str]]:
    """What a call returns that makes a text, and the text, or None if there is none."""
    text = ctypes.POINTER(ctypes.c_char)()
    code = call(ctypes.byref(text))
    if not text:
        return code, None
    try:
        return code, (ctypes.cast(text, ctypes.c_char_p).value or b"").decode("utf-8", "surrogateescape")
    finally:
        library().kvm_hotplug_text_free(text)


def version() -> str:
    """The version of the library, such as "0.1.0"."""
    said: bytes = library().kvm_hotplug_version()
    return said.decode()


def thread() -> int:
    """The number of the calling thread, for Guest.cancel_thread()."""
    number: int = library().kvm_hotplug_thread()
    return number
