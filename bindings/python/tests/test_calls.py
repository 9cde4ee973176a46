"""Ctrl-C, cancelling, closing, and log lines."""

from __future__ import annotations

import contextvars
import errno
import logging
import os
import signal
import sys
import threading
import time
from typing import Callable, List, Optional
from unittest import mock

import kvm_hotplug
from kvm_hotplug import Answer, Disk, ErrorKind, Guest, KvmHotplugError, Runtime, Tap

from .support import PATIENCE, TestCase, in_thread


def interrupt() -> None:
    """What Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


class Listener(logging.Handler):
    """Calls a function with each line."""

    def __init__(self, call: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self.emit = call  # type: ignore[assignment]


class Calls(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.qemu = self.fake()
        self.web1 = self.record()
        self.opened: Optional[Guest] = None

    def stuck(self) -> Guest:
        """A guest that does not let go of its disk."""
        guest = self.guest(self.qemu.socket, self.web1)
        guest.add_disk(Disk(self.image(), id="data"))
        self.qemu.order("hold data")
        return guest

    def when_asked(self, call: Callable[[], object]) -> threading.Thread:
        """Calls it when QEMU has been asked for the removal."""

        def wait() -> None:
            self.eventually(lambda: "done device_del data" in self.qemu.said())
            call()

        return in_thread(wait)

    def logger(self, call: Callable[[logging.LogRecord], object]) -> logging.Logger:
        logger = logging.Logger("kvm", logging.DEBUG)
        logger.addHandler(Listener(call))
        return logger

    def test_ctrl_c_ends_a_call(self) -> None:
        guest = self.stuck()
        presser = self.when_asked(interrupt)
        with self.assertRaises(KeyboardInterrupt) as caught:
            guest.del_disk("data", timeout=PATIENCE)
        presser.join()
        # It says what became of the device.
        cause = caught.exception.__cause__
        assert isinstance(cause, KvmHotplugError)
        self.assertEqual((cause.kind, cause.errno), (ErrorKind.CANCELED, errno.ECANCELED))
        # The guest goes on, and so do its calls.
        self.qemu.order("grant data")
        self.assertTrue(guest.slots())

    def test_ctrl_c_ends_only_the_call_of_the_main_thread(self) -> None:
        guest = self.stuck()
        answers: List[Answer] = []
        other = in_thread(lambda: answers.append(guest.del_disk("data", timeout=PATIENCE).answer))
        # It has begun the removal, and does not only find later that the disk is gone.
        self.when_asked(lambda: None).join()

        def press() -> None:
            # Both are in their calls.
            self.eventually(lambda: len(guest._inside) == 2)
            interrupt()

        presser = in_thread(press)
        with self.assertRaises(KeyboardInterrupt):
            guest.del_disk("data", timeout=PATIENCE)
        presser.join()
        self.assertEqual(answers, [])
        self.qemu.order("grant data")
        other.join(PATIENCE)
        self.assertEqual(answers, [Answer.DONE])

    def test_ctrl_c_in_the_middle_of_a_log_line(self) -> None:
        def press(line: logging.LogRecord) -> None:
            if "data" in line.getMessage():
                logger.handlers.clear()
                interrupt()
                # Long enough for a signal handler to run, where it could.
                time.sleep(0.05)

        logger = self.logger(press)
        self.web1.set_logger(logger)
        guest = self.guest(self.qemu.socket, self.web1)
        with self.assertRaises(KeyboardInterrupt):
            guest.add_disk(Disk(self.image(), id="data"))

    def test_ctrl_c_while_a_guest_is_opened(self) -> None:
        self.qemu.order("silence query-pci")

        def wait() -> None:
            self.eventually(lambda: any(line.startswith("silent") for line in self.qemu.said()))
            interrupt()

        presser = in_thread(wait)
        with self.assertRaises(KeyboardInterrupt):
            Guest.open(self.web1, self.qemu.socket, timeout=PATIENCE)
        presser.join()
        # The attempt goes on by itself. What it opens is closed, as the end of the test sees.
        self.qemu.order("speak")
        self.eventually(lambda: not self.web1._inside)

    def test_ctrl_c_while_events_are_awaited(self) -> None:
        guest = self.guest(self.qemu.socket, self.web1)
        with mock.patch.object(guest, "_await", wraps=guest._await) as awaits:

            def press() -> None:
                self.eventually(lambda: awaits.called)
                interrupt()

            presser = in_thread(press)
            with self.assertRaises(KeyboardInterrupt):
                for _ in guest.events(timeout=PATIENCE):
                    pass
            presser.join()

    def test_cancel(self) -> None:
        guest = self.stuck()
        self.assertFalse(guest.cancel())
        canceller = self.when_asked(guest.cancel)
        failed = self.fails(ErrorKind.CANCELED, lambda: guest.del_disk("data", timeout=PATIENCE))
        canceller.join()
        self.assertEqual(failed.errno, errno.ECANCELED)

    def test_one_thread_is_cancelled(self) -> None:
        guest = self.stuck()
        threads: List[int] = []
        errors: List[KvmHotplugError] = []

        def remove() -> None:
            threads.append(kvm_hotplug.thread())
            try:
                guest.del_disk("data", timeout=PATIENCE)
            except KvmHotplugError as error:
                errors.append(error)

        remover = in_thread(remove)
        self.eventually(lambda: "done device_del data" in self.qemu.said())
        self.assertFalse(guest.cancel_thread(kvm_hotplug.thread()))
        self.assertTrue(guest.cancel_thread(threads[0]))
        remover.join(PATIENCE)
        self.assertEqual([error.kind for error in errors], [ErrorKind.CANCELED])

    def test_close_waits_for_the_calls(self) -> None:
        guest = self.stuck()
        errors: List[KvmHotplugError] = []

        def remove() -> None:
            try:
                guest.del_disk("data", timeout=PATIENCE)
            except KvmHotplugError as error:
                errors.append(error)

        remover = in_thread(remove)
        self.eventually(lambda: "done device_del data" in self.qemu.said())
        closer = in_thread(guest.close)
        self.eventually(lambda: guest.closed)
        self.fails(ErrorKind.STATE, guest.devices)
        self.assertTrue(closer.is_alive())
        self.assertTrue(guest.cancel())
        remover.join(PATIENCE)
        self.assertEqual([error.kind for error in errors], [ErrorKind.CANCELED])
        closer.join(PATIENCE)
        self.assertFalse(closer.is_alive())
        guest.close()
        self.assertEqual(self.fails(ErrorKind.STATE, guest.fileno).errno, errno.EBADF)
        self.fails(ErrorKind.STATE, guest.cancel)

    def test_what_the_main_thread_calls_knows_its_context(self) -> None:
        name: "contextvars.ContextVar[str]" = contextvars.ContextVar("name", default="")
        seen: List[str] = []
        self.web1.set_logger(self.logger(lambda line: seen.append(name.get())))
        name.set("request 7")
        self.guest(self.qemu.socket, self.web1).slots()
        self.assertTrue(seen)
        self.assertEqual(set(seen), {"request 7"})

    def test_a_log_handler_must_not_call_into_its_guest(self) -> None:
        errors: List[Optional[int]] = []

        def call(line: logging.LogRecord) -> None:
            for attempt in (
                lambda: self.opened and self.opened.devices(),
                lambda: self.opened and self.opened.close(),
            ):
                try:
                    attempt()
                except KvmHotplugError as error:
                    errors.append(error.errno)

        self.web1.set_logger(self.logger(call))
        self.opened = self.guest(self.qemu.socket, self.web1)
        self.opened.slots()
        self.assertTrue(errors)
        self.assertEqual(set(errors), {errno.EDEADLK})

    def test_log_lines(self) -> None:
        from kvm_hotplug import _log

        lines: List[logging.LogRecord] = []
        logger = self.logger(lines.append)
        self.web1.set_logger(logger)
        with Guest.open(self.web1, self.qemu.socket) as guest:
            guest.add_disk(Disk(self.image(), id="data"))
            # Guests that are open keep their logger.
            self.web1.set_logger(None)
            self.qemu.order("error device_add no room")
            with self.assertRaises(KvmHotplugError):
                guest.add_disk(Disk(self.image("other"), id="other"))
        self.assertIn(logging.DEBUG, {line.levelno for line in lines})
        self.assertIn(logging.INFO, {line.levelno for line in lines})
        self.assertTrue(any("data" in line.getMessage() for line in lines))
        self.assertTrue(
            any("no room" in line.getMessage() for line in lines if line.levelno >= logging.WARNING)
        )
        # The library has given the logger back.
        self.assertEqual(_log._loggers, {})

        lines.clear()
        self.web1.set_logger(logger, logging.ERROR)
        with Guest.open(self.web1, self.qemu.socket) as guest:
            guest.slots()
        self.assertEqual(lines, [])

    def test_a_handler_that_raises_loses_the_line_and_nothing_else(self) -> None:
        def explode(line: logging.LogRecord) -> None:
            raise ZeroDivisionError

        self.web1.set_logger(self.logger(explode))
        with mock.patch.object(sys, "unraisablehook") as told:
            self.assertTrue(self.guest(self.qemu.socket, self.web1).slots())
            self.assertIs(told.call_args.args[0].exc_type, ZeroDivisionError)
            self.web1.set_logger(None)


class Closing(TestCase):
    def test_closing_twice_and_using_what_is_closed(self) -> None:
        record = Runtime.new()
        self.assertFalse(record.closed)
        with record:
            pass
        record.close()
        self.assertEqual(self.fails(ErrorKind.STATE, record.devices).errno, errno.EBADF)
        self.assertEqual(repr(record), "<Runtime (closed)>")

    def test_a_record_may_be_closed_before_its_guest(self) -> None:
        record = self.record()
        guest = self.guest(self.fake().socket, record)
        record.close()
        self.answers(guest.add_disk(Disk(self.image())), Answer.DONE)
        self.fails(ErrorKind.LOCKED, lambda: Runtime.load(self.path("web1.runtime")))
        guest.close()
        Runtime.load(self.path("web1.runtime")).close()

    def test_many_threads(self) -> None:
        guest = self.guest(self.fake().socket)
        wrong: List[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(5):
                    id = f"disk{number}"
                    guest.add_disk(Disk(path=self.path(id), id=id), timeout=PATIENCE)
                    guest.slots(timeout=PATIENCE)
                    guest.del_disk(id, timeout=PATIENCE)
            except BaseException as error:
                wrong.append(error)

        for number in range(8):
            self.image(f"disk{number}")
        workers = [in_thread(lambda number=number: work(number)) for number in range(8)]  # type: ignore[misc]
        for worker in workers:
            worker.join()
        self.assertEqual(wrong, [])
        self.assertEqual(guest.devices(), [])

    def test_a_tap_that_cannot_be_made(self) -> None:
        self.fails(ErrorKind.INVALID, lambda: Tap.open(queues=-1))
        self.needs_taps()
        failed = self.fails(ErrorKind.NOT_FOUND, lambda: Tap.open(bridge="br-unheard-of"))
        self.assertEqual(failed.errno, errno.ENOENT)
