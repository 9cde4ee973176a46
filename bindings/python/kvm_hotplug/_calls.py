"""Calls into the library that Ctrl-C ends, and the life of a handle.

Python runs signal handlers in the main thread, between two of its own instructions. A call of the library
that the main thread made itself would hold them up until its end. Worse, a handler that runs inside a log
callback would raise KeyboardInterrupt there, where it is lost. So the main thread lets another thread make
the call, and waits for that one. Other threads never run signal handlers, and make their calls themselves.
"""

from __future__ import annotations

import contextvars
import errno
import threading
from typing import Any, Callable, Dict, Generic, Optional, TypeVar

from ._abi import ErrorKind
from ._library import checked, library
from .errors import KvmHotplugError, closed

T = TypeVar("T")
H = TypeVar("H", bound="Handle")

# A cancel that comes before the call has reached the library ends nothing, and is repeated after so many
# seconds.
_CANCEL_AGAIN = 0.001


class _Call(Generic[T]):
    """A call that the main thread waits for."""

    def __init__(self, call: Callable[[], T], discard: Optional[Callable[[T], object]]) -> None:
        self._call = call
        self._discard = discard
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._unwanted = False
        # Until it is over.
        self._running = threading.Lock()
        self._running.acquire()
        self._value: Optional[T] = None
        self.error: Optional[BaseException] = None
        self._begun = False
        self.thread = 0
        self.over = False

    def run(self) -> None:
        with self._lock:
            self._begun = not self._unwanted
        if self._begun:
            try:
                self.thread = library().kvm_hotplug_thread()
                self._value = self._context.run(self._call)
            except BaseException as error:
                self.error = error
        with self._lock:
            self.over = True
            if self._unwanted:
                self._drop()
        self._running.release()

    def wait(self, seconds: float = -1) -> None:
        """A signal handler may raise here."""
        if not self.over and self._running.acquire(timeout=seconds):
            self._running.release()

    def abandon(self) -> bool:
        """Nobody wants its result any more. Says whether it is under way; if it is not, it does not begin."""
        with self._lock:
            self._unwanted = True
            if self.over:
                self._drop()
            return self._begun and not self.over

    def _drop(self) -> None:
        if self.error is None and self._value is not None and self._discard is not None:
            self._discard(self._value)
        self._value = None

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]


def interruptible(
    call: Callable[[], T],
    cancel: Optional[Callable[[int], object]] = None,
    discard: Optional[Callable[[T], object]] = None,
) -> T:
    """Makes a call. What a signal handler raises meanwhile, such as KeyboardInterrupt, ends it.

    `cancel` ends the call of the thread with this number, and is waited for; a call without it is left to
    itself. `discard` takes what such a call brings.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    made = _Call(call, discard)
    try:
        threading.Thread(target=made.run, name="kvm-hotplug").start()
        while not made.over:
            made.wait()
    except RuntimeError:
        if made.abandon() or made.over:
            raise
        # No thread can be started any more: the interpreter is ending.
        return call()
    except BaseException as interrupt:
        wanted = made.abandon() and cancel is not None
        while wanted and not made.over:
            if made.thread and cancel is not None:
                cancel(made.thread)
            made.wait(_CANCEL_AGAIN)
        # It says what became of the device.
        raise interrupt from made.error
    return made.result()


class Handle:
    """A handle of the library. It is freed when it is closed and no call is using it."""

    _what = "the handle"

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self._state = threading.Condition()
        # How many calls each thread has under way.
        self._inside: Dict[int, int] = {}
        self._closing = False

    def _enter(self) -> Any:
        with self._state:
            if self._closing:
                raise closed(self._what)
            own = threading.get_ident()
            self._inside[own] = self._inside.get(own, 0) + 1
            return self._pointer

    def _leave(self) -> None:
        with self._state:
            own = threading.get_ident()
            self._inside[own] -= 1
            if not self._inside[own]:
                del self._inside[own]
                self._state.notify_all()

    def _use(self, use: Callable[[Any], T], discard: Optional[Callable[[T], object]] = None) -> T:
        """What `use` makes of the handle's pointer, which stays valid meanwhile."""

        def call() -> T:
            pointer = self._enter()
            try:
                return use(pointer)
            finally:
                self._leave()

        return interruptible(call, self._canceller(), discard)

    def _call(self, function: Callable[..., int], *arguments: Any) -> int:
        """A function whose first parameter is the handle, and whose last one takes the error."""
        return self._use(lambda pointer: checked(function, pointer, *arguments))

    def _canceller(self) -> Optional[Callable[[int], object]]:
        return None

    def _free(self, pointer: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Frees the handle, after the calls that are using it. Closing again does nothing."""
        with self._state:
            if threading.get_ident() in self._inside:
                message = (
                    f"{self._what} cannot be closed in the middle of a call on it, such as by a log handler"
                )
                raise KvmHotplugError(errno.EDEADLK, message, kind=ErrorKind.STATE)
            self._closing = True
        self._about_to_close()
        interruptible(self._close)

    def _about_to_close(self) -> None:
        """Ends what waits and is no call of the library."""

    def _close(self) -> None:
        with self._state:
            self._state.wait_for(lambda: not self._inside)
            pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._free(pointer)

    @property
    def closed(self) -> bool:
        return self._closing

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{' (closed)' if self._closing else ''}>"
