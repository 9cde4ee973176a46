"""Starts kvm-fake-qemu, the monitor without a QEMU behind it that comes with the library, for tests of
agents:

    with FakeQEMU() as fake, Guest.open(record, fake.socket) as guest:
        fake.order("error device_del not now")  # the next such command is refused, in these words

It needs no QEMU, no root and no image that a guest could boot.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from typing import IO, List

#: Names the program in the environment; without it, kvm-fake-qemu is looked for in PATH.
VARIABLE = "KVM_FAKE_QEMU"

# How many seconds the program may take to be ready, and to answer an order.
_PATIENCE = 30.0


class FakeError(Exception):
    """The program is missing, has ended, or did not take an order."""


class FakeQEMU:
    """One that runs, until it is closed."""

    def __init__(self, *options: str) -> None:
        """Starts one with these options, such as "--version", "5.2.0" or "--ports", "4"; kvm-fake-qemu --help
        lists them.
        """
        program = os.environ.get(VARIABLE) or "kvm-fake-qemu"
        path = shutil.which(program)
        if path is None:
            raise FakeError(
                f"{program} is not here: it comes with the library, in the folder of programs of its prefix"
            )
        # The path of a socket has 107 bytes at most.
        self._folder = tempfile.mkdtemp(prefix="kvmfake")
        #: The path of its monitor.
        self.socket = os.path.join(self._folder, "qmp")
        self._lock = threading.Lock()
        self._said: List[str] = []
        self._answers: "queue.Queue[str]" = queue.Queue()
        self._program = subprocess.Popen(
            [path, *options, self.socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._reader = threading.Thread(target=self._read, args=(self._program.stdout,), daemon=True)
        self._reader.start()
        try:
            self._wait("to be ready", "ready")
        except BaseException:
            self._program.kill()
            self._end()
            raise

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            text = line.rstrip("\n")
            if text in ("ready", "ok", "what?"):
                self._answers.put(text)
            else:
                with self._lock:
                    self._said.append(text)
        self._answers.put("")

    def _wait(self, what: str, answer: str) -> None:
        try:
            got = self._answers.get(timeout=_PATIENCE)
        except queue.Empty:
            raise FakeError(f"kvm-fake-qemu did not come {what} in {_PATIENCE:.0f} s") from None
        if not got:
            raise FakeError(f"kvm-fake-qemu ended where it had {what}")
        if got != answer:
            raise FakeError(f"kvm-fake-qemu had {what}, and said {got!r}")

    def order(self, order: str) -> None:
        """Says what goes wrong, or what the guest does: "hold disk-pci-6", "hang-up device_add", "event
        SHUTDOWN {}"; kvm-fake-qemu --help lists them. It counts when this returns.
        """
        assert self._program.stdin is not None
        self._program.stdin.write(order + "\n")
        self._program.stdin.flush()
        self._wait(f"to take the order {order}", "ok")

    def said(self) -> List[str]:
        """What has happened, a line each: "done device_add nic-pci-4", "refused device_del disk", "client
        come".
        """
        with self._lock:
            return list(self._said)

    def did(self, command: str) -> bool:
        """Whether a command has been done: "device_add nic-pci-4". What the program says of it may come a
        moment after the answer to its client, so one that has not been done is waited for, for a second.
        """
        end = time.monotonic() + 1
        while f"done {command}" not in self.said():
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True

    def close(self) -> None:
        """Ends it, as a QEMU would that quits. It has to end without an error. Closing again does nothing."""
        status = self._end()
        if status:
            raise FakeError(f"kvm-fake-qemu ended with status {status}")

    def _end(self) -> int:
        # It ends with the end of its orders.
        assert self._program.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.close()
        try:
            status = self._program.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._program.kill()
            status = self._program.wait()
        self._reader.join()
        if self._program.stdout is not None:
            self._program.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return status

    def __enter__(self) -> "FakeQEMU":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
