"""What the tests have in common."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from kvm_hotplug import Answer, ErrorKind, Event, EventType, Guest, KvmHotplugError, Result, Runtime
from kvm_hotplug.fake import FakeQEMU

REPOSITORY = Path(__file__).resolve().parents[3]
HEADER = REPOSITORY / "include" / "kvm_hotplug.h"
PACKAGE = Path(__file__).resolve().parents[1] / "kvm_hotplug"

# More seconds than anything takes that is going to happen.
PATIENCE = 60.0


def descriptors() -> List[str]:
    """What this process has open, but for the folder that is read here."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{fd} {os.readlink('/proc/self/fd/' + fd)}")
        except FileNotFoundError:
            pass
    return sorted(found)


def environment(**more: str) -> Dict[str, str]:
    """For other programs that import the package."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **more}


class TestCase(unittest.TestCase):
    """Each test has a folder of its own, and leaves no descriptor and no thread behind."""

    def setUp(self) -> None:
        # A shell has what it runs in the background ignore Ctrl-C, and so would programs that are started here.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, handler)
        before, threads = descriptors(), set(threading.enumerate())
        # What is added here is done last: what a test has opened is closed by then.
        self.addCleanup(self.nothing_is_left, before, threads)
        # A socket's path has 107 bytes at most.
        self.folder = tempfile.mkdtemp(prefix="kvmpy")
        self.addCleanup(shutil.rmtree, self.folder)

    def nothing_is_left(self, before: List[str], threads: "set[threading.Thread]") -> None:
        # asyncio's executor ends its threads with the process.
        mine = lambda: {one for one in threading.enumerate() if not one.name.startswith("asyncio")} - threads
        self.eventually(lambda: not mine())
        self.assertEqual(descriptors(), before)

    def eventually(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), end, "it did not come to that")
            time.sleep(0.002)

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def image(self, name: str = "disk.img") -> str:
        with open(self.path(name), "wb") as file:
            file.truncate(1 << 20)
        return self.path(name)

    def record(self, name: str = "web1", command: Sequence[str] = ("qemu-system-x86_64",)) -> Runtime:
        """A new one, with a file of its own."""
        made = Runtime.new(name, command)
        self.addCleanup(made.close)
        made.save(self.path(name + ".runtime"))
        return made

    def fake(self, *options: str) -> FakeQEMU:
        started = FakeQEMU(*options)
        self.addCleanup(started.close)
        return started

    def guest(self, socket: str, record: Optional[Runtime] = None) -> Guest:
        opened = Guest.open(record or self.record(), socket, timeout=PATIENCE)
        self.addCleanup(opened.close)
        return opened

    def fails(self, kind: ErrorKind, call: Callable[[], object]) -> KvmHotplugError:
        with self.assertRaises(KvmHotplugError) as caught:
            call()
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception

    def answers(self, result: Result, wanted: Answer) -> Result:
        self.assertEqual(result.answer, wanted, result.reason_text)
        return result

    def event(self, guest: Guest, kind: EventType, id: str = "") -> Event:
        """The first one of this type about this device; others on the way to it are none of the test's
        business.
        """
        for event in guest.events(timeout=PATIENCE):
            if (event.type, event.id) == (kind, id):
                return event
        self.fail(f"no event {kind.name} {id}")

    def needs_taps(self) -> None:
        if os.geteuid() != 0 or not os.access("/dev/net/tun", os.W_OK):
            self.not_run("taps need root and /dev/net/tun")

    def not_run(self, reason: str) -> None:
        """For what a machine lacks and tests/bin/setup cannot install; listed at the end of tests/run."""
        with open(os.environ.get("KVM_HOTPLUG_NOT_RUN") or REPOSITORY / "build" / "not-run", "a") as listed:
            listed.write(f"{self.id()}: {reason}\n")
        self.skipTest(reason)


def in_thread(call: Callable[[], object]) -> "threading.Thread":
    thread = threading.Thread(target=call)
    thread.start()
    return thread
