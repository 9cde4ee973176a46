"""What all calls on a live guest have in common."""

from __future__ import annotations

import os
from typing import Any, Callable, Optional

from . import _abi
from ._abi import Answer
from ._arguments import Deadline
from ._calls import Handle
from ._library import checked, library, text_of
from .answers import Device, Result, device_of
from .errors import closed

#: Makes a call on a guest: its pointer, the milliseconds that are left, and the device that it fills in.
DeviceCall = Callable[[Any, int, Any], int]


class GuestHandle(Handle):
    """A handle whose calls can be cancelled."""

    _what = "the guest"

    def __init__(self, pointer: Any) -> None:
        super().__init__(pointer)
        # The end that is read becomes readable when the guest is closed.
        self._closed_fd, self._open_fd = os.pipe()

    def cancel(self) -> bool:
        """Ends all calls of other threads on this guest as soon as possible, but does not wait for them. They
        fail with ErrorKind.CANCELED, and each error says what became of its device. Says whether a call was
        running.
        """
        return self._end(lambda pointer: library().kvm_hotplug_cancel(pointer, None))

    def cancel_thread(self, thread: int) -> bool:
        """Ends the call of one thread on this guest, as cancel() does. `thread` is what kvm_hotplug.thread()
        said there. From the main thread, calls are made by another thread: Ctrl-C ends those.
        """
        return self._end(lambda pointer: library().kvm_hotplug_cancel_thread(pointer, thread, None))

    def _end(self, end: Callable[[Any], int]) -> bool:
        # The handle is not freed meanwhile, and calls can be ended that close() waits for.
        with self._state:
            if self._pointer is None:
                raise closed(self._what)
            return end(self._pointer) > 0

    def _canceller(self) -> Optional[Callable[[int], object]]:
        def cancel(thread: int) -> None:
            with self._state:
                if self._pointer is not None:
                    library().kvm_hotplug_cancel_thread(self._pointer, thread, None)

        return cancel

    def _about_to_close(self) -> None:
        with self._state:
            if self._open_fd >= 0:
                os.close(self._open_fd)
                self._open_fd = -1

    def _free(self, pointer: Any) -> None:
        library().kvm_hotplug_close(pointer)
        os.close(self._closed_fd)

    def _result(self, id: Optional[str], timeout: Optional[float], call: DeviceCall) -> Result:
        """The answer of a call about one device."""
        end = Deadline(timeout)

        def use(pointer: Any) -> Result:
            device = _abi.kvm_hotplug_device()
            code = call(pointer, end.milliseconds(), device)
            return Result(Answer(code), self._device(pointer, device, id))

        return self._use(use)

    @staticmethod
    def _device(pointer: Any, struct: Any, id: Optional[str] = None) -> Device:
        # A disk that has gone meanwhile has no path.
        device = device_of(struct, lambda name: GuestHandle._path(pointer, name))
        return device if device.id else Device(id or "")

    @staticmethod
    def _path(pointer: Any, id: bytes) -> Optional[str]:
        """That of a disk. A removal asks for it before: afterwards the library does not know it any more."""
        return text_of(lambda text: library().kvm_hotplug_get_path(pointer, id, text, None))[1]

    def _text(self, function: Callable[..., int], *arguments: Any) -> Any:
        """What a function returns that ends in a text and an error, and the text."""
        return self._use(lambda pointer: text_of(lambda text: checked(function, pointer, *arguments, text)))
