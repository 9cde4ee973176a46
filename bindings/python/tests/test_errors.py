"""What calls fail with, and what is wrong before they begin."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import types
from typing import Any, Callable

import kvm_hotplug
from kvm_hotplug import NIC, Answer, Disk, ErrorKind, KvmHotplugError, Reason, Runtime, Undo, _abi, _library
from kvm_hotplug._arguments import Deadline

from .support import PATIENCE, TestCase, environment, in_thread


class Errors(TestCase):
    def test_what_qemu_says(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        fake.order("error device_add no slot is left today")
        failed = self.fails(ErrorKind.QMP, lambda: guest.add_disk(Disk(self.image(), id="data")))
        self.assertEqual(failed.errno, errno.EREMOTEIO)
        self.assertEqual((failed.qmp_class, failed.qmp_desc), ("GenericError", "no slot is left today"))
        self.assertEqual(failed.step, "device_add data")
        self.assertEqual((failed.undo, failed.residue), (Undo.COMPLETE, []))
        self.assertEqual(str(failed), failed.message)
        self.assertIn("no slot is left today", str(failed))
        self.assertIn("QMP, EREMOTEIO", repr(failed))
        self.assertIsInstance(failed, OSError)
        self.assertEqual(failed.strerror, failed.message)

    def test_what_is_left(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        fake.order("silence device_add")

        def wait() -> None:
            self.eventually(lambda: any(line.startswith("silent device_add") for line in fake.said()))
            guest.cancel()

        canceller = in_thread(wait)
        failed = self.fails(
            ErrorKind.CANCELED, lambda: guest.add_disk(Disk(self.image(), id="data"), timeout=PATIENCE)
        )
        canceller.join()
        self.assertEqual((failed.errno, failed.undo), (errno.ECANCELED, Undo.INCOMPLETE))
        self.assertTrue(any("data" in line for line in failed.residue), failed.residue)
        fake.order("speak")

    def test_a_deadline(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        fake.order("silence query-named-block-nodes")
        fake.order("silence query-pci")
        self.assertEqual(
            self.fails(ErrorKind.TIMEOUT, lambda: guest.verify(timeout=0.1)).errno, errno.ETIMEDOUT
        )
        fake.order("speak")

    def test_pickle(self) -> None:
        error = KvmHotplugError(errno.ENOSPC, "full", kind=ErrorKind.NO_SLOT, residue=["a", "b"])
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((again.errno, str(again), again.kind), (errno.ENOSPC, "full", ErrorKind.NO_SLOT))
        self.assertEqual(again.residue, ["a", "b"])
        self.assertIs(pickle.loads(pickle.dumps(Answer.PENDING)), Answer.PENDING)

    def test_values_of_a_newer_library(self) -> None:
        unknown = Reason(4711)
        self.assertEqual((unknown, unknown.name, unknown.text), (4711, "UNKNOWN_4711", "unknown-4711"))
        self.assertEqual(str(Reason.NO_ADDRESS.text), "no-address")
        self.assertIs(Reason.parse("no-address"), Reason.NO_ADDRESS)
        with self.assertRaises(ValueError):
            Reason.parse("nothing")
        with self.assertRaises(ValueError):
            Reason("1")


class Arguments(TestCase):
    def test_what_would_be_cut(self) -> None:
        guest = self.guest(self.fake().socket)
        wrong: "list[Callable[[], Any]]" = [
            lambda: guest.add_nic(NIC(queues=2**32 + 1)),
            lambda: guest.add_nic(NIC(mtu=-1)),
            lambda: guest.add_nic(NIC(mac="52:54:00:00:00:01\0")),
            lambda: guest.add_disk(Disk(self.image(), wwn=2**64)),
            lambda: guest.add_disk(Disk(self.image(), backing_paths="/srv")),
            lambda: guest.del_disk("a\0b"),
            lambda: guest.qmp("query-status", fd=2**40),
            lambda: guest.slots(timeout=-1),
            lambda: guest.slots(timeout=float("nan")),
        ]
        for call in wrong:
            self.assertEqual(self.fails(ErrorKind.INVALID, call).errno, errno.EINVAL)
        self.assertEqual(guest.devices(), [])

    def test_paths_of_all_types(self) -> None:
        from pathlib import Path

        guest = self.guest(self.fake().socket)
        for path in (Path(self.image("a")), os.fsencode(self.image("b")), self.image("ä")):
            self.assertEqual(guest.add_disk(Disk(path)).device.path, os.fsdecode(path))
        # Names that are no UTF-8 are the library's to refuse.
        self.fails(ErrorKind.INVALID, lambda: guest.add_disk(Disk(b"/srv/\xff")))

    def test_timeouts(self) -> None:
        self.assertEqual(Deadline(None).milliseconds(), 0)
        # 0 would mean the default.
        self.assertEqual(Deadline(0).milliseconds(), 1)
        self.assertEqual(Deadline(float("inf")).milliseconds(), 2**32 - 1)
        self.assertTrue(59000 <= Deadline(PATIENCE).milliseconds() <= 60001)


class Loading(TestCase):
    def run_python(self, program: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(**more),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def test_without_the_library_the_error_says_what_to_install(self) -> None:
        program = (
            "import kvm_hotplug as k\n"
            "try: k.version()\n"
            "except k.KvmHotplugError as error: print(error.kind.name, error.errno, error)"
        )
        said = self.run_python(program, KVM_HOTPLUG_LIBRARY="/nowhere/libkvm_hotplug.so")
        self.assertTrue(said.startswith(f"UNAVAILABLE {errno.ENOENT} /nowhere/libkvm_hotplug.so"), said)
        for word in ("make install", f"libkvm-hotplug{kvm_hotplug.ABI_VERSION}", "KVM_HOTPLUG_LIBRARY"):
            self.assertIn(word, said)

    def test_the_loader_finds_it_by_its_abi(self) -> None:
        where = os.path.realpath(os.environ[_library.VARIABLE])
        os.symlink(where, self.path(f"libkvm_hotplug.so.{kvm_hotplug.ABI_VERSION}"))
        program = "import kvm_hotplug as k\nprint(k.version())"
        said = self.run_python(program, KVM_HOTPLUG_LIBRARY="", LD_LIBRARY_PATH=self.folder)
        self.assertEqual(said, kvm_hotplug.version() + "\n")

    def library(self, **functions: Any) -> Any:
        there = {name: lambda: 0 for name in _abi.PROTOTYPES}
        there["kvm_hotplug_abi_version"] = lambda: _abi.ABI_VERSION
        there.update(functions)
        return types.SimpleNamespace(**{name: one for name, one in there.items() if one is not None})

    def test_another_library(self) -> None:
        _library.check(self.library(), "it")
        for word, wrong in (
            ("ABI version 77", self.library(kvm_hotplug_abi_version=lambda: 77)),
            ("kvm_hotplug_settle", self.library(kvm_hotplug_settle=None)),
            ("no libkvm_hotplug", self.library(kvm_hotplug_abi_version=None)),
        ):
            failed = self.fails(ErrorKind.VERSION, lambda wrong=wrong: _library.check(wrong, "it"))
            self.assertIn(word, failed.message)
        self.assertEqual(
            self.fails(ErrorKind.VERSION, lambda: _library._load("libc.so.6")).errno, errno.EPROTONOSUPPORT
        )

    def test_structs_of_another_layout(self) -> None:
        from unittest import mock

        with mock.patch.dict(_abi.SIZES, {_abi.kvm_hotplug_nic: 8}):
            failed = self.fails(ErrorKind.VERSION, lambda: _library.check(self.library(), "it"))
        self.assertIn("kvm_hotplug_nic", failed.message)

    def test_an_error_without_details(self) -> None:
        from kvm_hotplug.errors import taken

        error = taken(None, None, -errno.EIO)
        self.assertEqual((error.errno, error.kind), (errno.EIO, ErrorKind.HOST))
        Runtime.new().close()
