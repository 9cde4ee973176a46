"""Waiting for events."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import os
import select
import time
from typing import Any, AsyncIterator, Callable, Deque, Iterator, Optional, Tuple

from ._abi import ErrorKind
from ._arguments import Deadline
from ._guest import GuestHandle
from ._library import checked, library, text_of
from .errors import KvmHotplugError, closed
from .events import Event, event_of

# Requests that a booting guest did not hear are repeated only when somebody looks, every so many seconds.
_LOOK_AGAIN = 5.0
# After a look that failed, doubled up to _LOOK_AGAIN.
_FIRST_RETRY = 0.1

# QEMU is gone, hangs, restarts or serves another client; or somebody else cancelled the call. A later look
# may succeed, and events tell of a lost connection.
_TEMPORARY = frozenset(
    (
        errno.ETIMEDOUT,
        errno.ECANCELED,
        errno.ECONNRESET,
        errno.EPIPE,
        errno.ECONNREFUSED,
        errno.ENOENT,
        errno.EAGAIN,
    )
)


def is_temporary(failure: KvmHotplugError) -> bool:
    return failure.errno in _TEMPORARY or failure.kind == ErrorKind.MONITOR_BUSY


class Pause:
    """How long to wait before the next look."""

    def __init__(self) -> None:
        self._retry = _FIRST_RETRY

    def after(self, failure: Optional[KvmHotplugError], left: Optional[float]) -> float:
        """Seconds, at most those that are left. Raises a failure that is not temporary."""
        if failure is None:
            seconds, self._retry = _LOOK_AGAIN, _FIRST_RETRY
        elif is_temporary(failure):
            seconds, self._retry = self._retry, min(2 * self._retry, _LOOK_AGAIN)
        else:
            raise failure
        return seconds if left is None else min(seconds, left)


class Events(GuestHandle):
    """Events of a guest. The library keeps 1024 that are not fetched, and counts what it drops then. All ways
    to fetch them take from one queue.
    """

    def __init__(self, pointer: Any) -> None:
        super().__init__(pointer)
        self._undelivered: Deque[Event] = collections.deque()

    def process(self, timeout: Optional[float] = None) -> int:
        """Processes what QEMU has sent: finishes adds with no_wait and removals that the guest granted late,
        and reconnects if the connection was lost. It does not wait for events. Returns how many next_event()
        can fetch.

        For agents with an event loop of their own: call it when fileno() is readable, and every few seconds.
        """
        return self._call(library().kvm_hotplug_process, Deadline(timeout).milliseconds())

    def next_event(self) -> Optional[Event]:
        """Fetches the oldest event; None if there is none. Call process() first."""
        with contextlib.suppress(IndexError):
            return self._undelivered.popleft()
        return self._use(_fetch, self._hold)

    def _hold(self, event: Optional[Event]) -> None:
        """One that was fetched for a call that was interrupted is not lost."""
        if event is not None:
            self._undelivered.append(event)

    def forward_qmp_events(self, on: bool) -> None:
        """Turns events of EventType.QMP on or off: QMP events as QEMU sent them."""
        self._call(library().kvm_hotplug_forward_qmp_events, 1 if on else 0)

    def fileno(self) -> int:
        """A descriptor for poll, epoll or select: readable when process() has something to do or an event can
        be fetched. It belongs to the guest, stays the same, and must be neither read nor closed.
        """
        with self._state:
            if self._pointer is None:
                raise closed(self._what)
            return checked(library().kvm_hotplug_get_fd, self._pointer)

    def events(self, timeout: Optional[float] = None) -> Iterator[Event]:
        """Events as they come, in a loop that also finishes late removals and reconnects.

        It ends when the guest is closed, or when no event has come for `timeout` seconds. While QEMU is gone
        it goes on looking. It raises a failure that is not temporary, such as a full disk; another loop may
        be begun then.
        """
        pause, last = Pause(), time.monotonic()
        while not self._closing:
            failure = self._look()
            while True:
                event = self._next()
                if event is None:
                    break
                yield event
                last = time.monotonic()
            seconds = pause.after(failure, None if timeout is None else last + timeout - time.monotonic())
            if seconds <= 0 or not self._await(seconds, failure is None):
                return

    async def aevents(self, timeout: Optional[float] = None) -> AsyncIterator[Event]:
        """events() for asyncio, by loop.add_reader(). What may block is done in the loop's executor."""
        loop = asyncio.get_running_loop()
        watch = _Watch(loop, self._duplicates())
        pause, last = Pause(), loop.time()
        try:
            while not self._closing:
                failure = await loop.run_in_executor(None, self._look)
                while True:
                    event = await self._anext(loop)
                    if event is None:
                        break
                    yield event
                    last = loop.time()
                seconds = pause.after(failure, None if timeout is None else last + timeout - loop.time())
                if seconds <= 0:
                    return
                await watch.wait(seconds, failure is None)
        finally:
            watch.close()

    async def _anext(self, loop: asyncio.AbstractEventLoop) -> Optional[Event]:
        fetching = loop.run_in_executor(None, self._next)
        try:
            return await asyncio.shield(fetching)
        except asyncio.CancelledError:
            fetching.add_done_callback(self._keep)
            raise

    def _keep(self, fetched: "asyncio.Future[Optional[Event]]") -> None:
        """As _hold(), for a task that was cancelled."""
        if not fetched.cancelled() and not fetched.exception():
            self._hold(fetched.result())

    def _duplicates(self) -> Tuple[int, int]:
        """Copies of the guest's descriptor and of that which tells of its end: each loop watches its own."""
        with self._state:
            news = os.dup(self.fileno())
            try:
                return news, os.dup(self._closed_fd)
            except OSError:
                os.close(news)
                raise

    def _look(self) -> Optional[KvmHotplugError]:
        """Processes what has come. Returns how that failed: there may be events all the same."""
        try:
            self.process()
        except KvmHotplugError as failure:
            return None if self._closing else failure
        return None

    def _next(self) -> Optional[Event]:
        try:
            return self.next_event()
        except KvmHotplugError:
            if self._closing:
                return None
            raise

    def _await(self, seconds: float, by_news: bool) -> bool:
        """Waits so long, or for news; False when the guest is closed."""
        try:
            self._enter()
        except KvmHotplugError:
            return False
        try:
            poll = select.poll()
            poll.register(self._closed_fd, select.POLLIN)
            if by_news:
                poll.register(checked(library().kvm_hotplug_get_fd, self._pointer), select.POLLIN)
            poll.poll(seconds * 1000)
        finally:
            self._leave()
        return not self._closing


class _Watch:
    """Descriptors that an asyncio loop watches for one iterator."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fds: Tuple[int, int]) -> None:
        self._loop = loop
        self._fds = fds
        self._ready = asyncio.Event()

    async def wait(self, seconds: float, by_news: bool) -> None:
        self._ready.clear()
        watched = self._fds if by_news else self._fds[1:]
        for fd in watched:
            self._loop.add_reader(fd, self._came)
        try:
            await asyncio.wait_for(self._ready.wait(), seconds)
        except asyncio.TimeoutError:
            pass
        finally:
            self._forget()

    def _came(self) -> None:
        # They stay readable until somebody looks.
        self._forget()
        self._ready.set()

    def _forget(self) -> None:
        for fd in self._fds:
            self._loop.remove_reader(fd)

    def close(self) -> None:
        self._forget()
        for fd in self._fds:
            os.close(fd)


def _fetch(pointer: Any) -> Optional[Event]:
    function: Callable[..., int] = library().kvm_hotplug_next_event_json
    text = text_of(lambda text: checked(function, pointer, text))[1]
    return None if text is None else event_of(text)
