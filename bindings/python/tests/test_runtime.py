"""The record: loading, saving, formats, a guest that does not run, and its boot command."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

from kvm_hotplug import (
    Answer,
    Backing,
    BootOptions,
    NIC,
    DeviceType,
    Disk,
    ErrorKind,
    Guest,
    Incoming,
    Machine,
    ProblemKind,
    Reason,
    Runtime,
    RuntimeFormat,
    SlotPolicy,
    WhenFull,
    State,
)
from kvm_hotplug.boot import Boot

from .support import TestCase, environment


class Records(TestCase):
    def test_a_record_is_saved_and_loaded(self) -> None:
        with Runtime.new("web1", ["qemu-system-x86_64", "-m", "64"], reserved_slots=0) as record:
            self.assertEqual(self.fails(ErrorKind.STATE, record.save).errno, errno.EBADFD)
            record.save(self.path("r"))
            self.assertEqual(record.format(), RuntimeFormat.NATIVE)
            self.fails(ErrorKind.LOCKED, lambda: Runtime.load(self.path("r")))
            with Runtime.load(self.path("r"), read_only=True) as other:
                self.assertEqual((other.devices(), other.unfinished()), ([], []))
                self.assertEqual(self.fails(ErrorKind.STATE, other.save).errno, errno.EROFS)
        with Runtime.load(self.path("r")) as record:
            self.assertEqual(
                record.boot(BootOptions(dry_run=True)).args[:3], ["qemu-system-x86_64", "-m", "64"]
            )
        self.assertEqual(
            self.fails(ErrorKind.NOT_FOUND, lambda: Runtime.load(self.path("x"))).errno, errno.ENOENT
        )

    def test_a_record_that_others_can_write(self) -> None:
        self.record().close()
        os.chmod(self.path("web1.runtime"), 0o666)
        self.fails(ErrorKind.UNTRUSTED, lambda: Runtime.load(self.path("web1.runtime")))
        Runtime.load(self.path("web1.runtime"), trust=True).close()
        os.chmod(self.folder, 0o777)
        with Runtime.new() as record:
            self.fails(ErrorKind.UNTRUSTED, lambda: record.save(self.path("other")))
        with Runtime.new(trust=True) as record:
            record.save(self.path("other"))

    def test_formats(self) -> None:
        record = self.record(command=["qemu-system-x86_64", "-name", "web1"])
        with record.convert(RuntimeFormat.NATIVE) as copy:
            self.assertEqual(copy.format(), RuntimeFormat.NATIVE)
        with record.convert(RuntimeFormat.GANETI) as copy:
            self.assertEqual(copy.format(), RuntimeFormat.GANETI)
            copy.save(self.path("ganeti"))
        with Runtime.load(self.path("ganeti"), read_only=True) as again:
            self.assertEqual(again.format(), RuntimeFormat.GANETI)

    def test_a_copy_has_a_file_of_its_own(self) -> None:
        record = self.record(command=["qemu-system-x86_64", "-qmp", "unix:/run/a,server=on"])
        record.add_disk(Disk(self.image(), id="data"))
        with record.copy() as copy:
            copy.save(self.path("copy"))
            self.assertEqual(copy.devices(), record.devices())
            options = BootOptions(qmp_path=self.path("qmp"), set_monitor=True, dry_run=True)
            self.assertIn(f"unix:{self.path('qmp')},server=on", copy.boot(options).args)
            copy.del_device("data")
        self.assertEqual([device.id for device in record.devices()], ["data"])
        self.fails(ErrorKind.INVALID, lambda: record.boot(BootOptions(set_monitor=True, dry_run=True)))

    def test_all_of_a_guest_is_deleted(self) -> None:
        path = self.path("copy")
        with self.record() as record, record.copy() as copy:
            copy.save(path)
            self.fails(ErrorKind.LOCKED, lambda: Runtime.delete(path))
        for _ in range(2):
            Runtime.delete(path)
            self.assertFalse(os.path.exists(path))

    def test_ganetis_entry_is_kept(self) -> None:
        entry = {"uuid": "932df160-7a22-4067-a566-7e0ca8386133", "dev_type": "sharedfile", "name": "scratch"}
        record = self.record(command=["qemu-system-x86_64", "-name", "web1"])
        added = record.add_disk(Disk(self.image(), ganeti_entry=json.dumps(entry)))
        self.assertEqual(added.id, "disk-932df160-7a22-4067")

    def test_devices_of_a_guest_that_is_off(self) -> None:
        record = self.record()
        added = record.add_disk(Disk(self.image(), id="data", boot_index=1))
        self.assertEqual((added.id, added.state, added.boot_index), ("data", State.AFTER_REBOOT, 1))
        self.assertEqual(record.devices(), [added])
        self.assertEqual(record.path_of("data"), added.path)
        self.fails(ErrorKind.NOT_FOUND, lambda: record.path_of("other"))
        gone = record.del_device("data")
        assert gone is not None
        self.assertEqual(gone.id, "data")
        self.assertIsNone(record.del_device("data"))

    def test_backing_files(self) -> None:
        record = self.record()
        os.mkdir(self.path("bases"))
        with open(self.path("bases/base"), "wb") as file:
            file.truncate(1 << 20)
        record.add_disk(Disk(self.image(), id="data"))
        record.set_backing(Backing.DIRECTORIES, [self.path("bases")])
        record.accept_chain("data", Backing.FORBIDDEN)
        self.fails(ErrorKind.INVALID, lambda: record.set_backing(Backing.FILES, ["relative"]))
        self.fails(ErrorKind.NOT_FOUND, lambda: record.accept_chain("other"))
        record.set_backing(Backing.DEFAULT)

    def test_slots(self) -> None:
        record = self.record()
        record.reserve_slots("pci.0", 4, 9, [DeviceType.NIC])
        record.reserve_slots("pci.0", 10, 11)
        self.assertEqual(record.add_disk(Disk(self.image(), id="data")).slot, 12)
        self.assertEqual(record.add_nic(NIC(id="lan")).slot, 4)
        self.fails(ErrorKind.INVALID, lambda: record.reserve_slots("pci.0", 4, 32))
        record.release_slots("pci.0")
        record.set_slot_policy(SlotPolicy.LONGEST_FREE)
        record.del_device("lan")
        self.assertEqual(record.add_nic(NIC(id="lan2")).slot, 5)

    def test_bridges_for_devices_to_come(self) -> None:
        record = self.record()
        record.set_when_full(WhenFull.NEXT_BOOT)
        plan = record.plan_boot(spare_ports=40)
        self.assertEqual((plan.bridges, plan.new_bridges), (1, 1))
        self.assertGreaterEqual(plan.free, 40)
        record.set_when_full(WhenFull.REFUSE)
        self.assertEqual(record.plan_boot(spare_ports=40).bridges, 0)

    def test_unfinished_operations(self) -> None:
        fake, record = self.fake(), self.record()
        guest = self.guest(fake.socket, record)
        guest.add_disk(Disk(self.image(), id="data"))
        fake.order("hold data")
        self.answers(guest.del_device("data", no_wait=True), Answer.PENDING)
        guest.close()
        self.assertEqual(
            [(one.id, one.reason) for one in record.unfinished()], [("data", Reason.REMOVAL_UNFINISHED)]
        )
        record.close()
        fake.close()
        with Runtime.load(self.path("web1.runtime")) as again:
            self.assertEqual(again.settle(), 1)
            self.assertEqual((again.unfinished(), again.devices()), ([], []))

    def test_what_a_host_lacks(self) -> None:
        record = self.record(command=["qemu-system-x86_64", "-machine", "pc"])
        disk = self.image()
        record.add_disk(Disk(disk, id="data"))
        self.assertEqual(record.check(), [])
        os.unlink(disk)
        problems = record.check()
        self.assertEqual([(one.id, one.kind) for one in problems], [("data", ProblemKind.IMAGE)])
        self.assertIn(disk, problems[0].text)
        # A device that waits for a boot does not come by migration.
        self.assertEqual([one.kind for one in record.check(incoming=True)], [ProblemKind.MACHINE_NOT_PINNED])
        self.fails(ErrorKind.NOT_FOUND, lambda: record.check(qmp_path=self.path("qmp"), timeout=1))


class Boots(TestCase):
    # What is started in QEMU's place: it shows what it inherits.
    SHOW = (
        "import os, sys\n"
        "with open(sys.argv[2], 'w') as file:\n"
        "    print([os.readlink('/proc/self/fd/' + fd) for fd in sys.argv[1].split(',')], file=file)\n"
    )

    def booted(self, **options: object) -> Boot:
        record = self.record(
            command=[sys.executable, "-c", self.SHOW, "3,4", self.path("seen"), "-machine", "pc"]
        )
        for name in ("a", "b"):
            record.add_disk(Disk(self.image(name), id=name))
        boot = record.boot(BootOptions(**options))  # type: ignore[arg-type]
        self.addCleanup(boot.close)
        return boot

    def seen(self, pid: int) -> str:
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        with open(self.path("seen")) as file:
            return file.read().strip()

    def test_a_command_and_its_descriptors(self) -> None:
        boot = self.booted()
        self.assertEqual((len(boot.fds), boot.fd_base), (2, 3))
        self.assertTrue(any('"id":"a"' in word or "id=a" in word for word in boot.args), boot.args)
        self.assertEqual(self.seen(boot.spawn()), str([self.path("a"), self.path("b")]))
        boot.close()
        self.assertEqual(boot.fds, [])
        self.fails(ErrorKind.STATE, boot.spawn)

    def test_descriptors_under_numbers_that_this_process_uses(self) -> None:
        with open(os.devnull) as file:
            free = file.fileno()
        for first in range(max(free, 3), free + 6):
            words = [
                sys.executable,
                "-c",
                self.SHOW,
                f"{first},{first + 1}",
                self.path("seen"),
                "-machine",
                "pc",
            ]
            with Runtime.new("web1", words) as record:
                record.save(self.path(f"number{first}"))
                for name in ("a", "b"):
                    record.add_disk(Disk(self.image(name), id=name))
                with record.boot(BootOptions(fd_base=first)) as boot:
                    self.assertEqual(self.seen(boot.spawn()), str([self.path("a"), self.path("b")]), first)

    def test_a_child_of_the_callers_own(self) -> None:
        program = (
            "import os, sys\n"
            "from kvm_hotplug import *\n"
            "with Runtime.load(sys.argv[1]) as record, record.boot() as boot:\n"
            "    pid = os.fork()\n"
            "    if pid == 0:\n"
            "        boot.inherit()\n"
            "        os.execvp(boot.args[0], boot.args)\n"
            "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        )
        record = self.record(
            command=[sys.executable, "-c", self.SHOW, "3,4", self.path("seen"), "-machine", "pc"]
        )
        for name in ("a", "b"):
            record.add_disk(Disk(self.image(name), id=name))
        record.close()
        subprocess.run(
            [sys.executable, "-c", program, self.path("web1.runtime")], check=True, env=environment()
        )
        with open(self.path("seen")) as file:
            self.assertEqual(file.read().strip(), str([self.path("a"), self.path("b")]))

    def test_a_command_to_look_at(self) -> None:
        boot = self.booted(dry_run=True, paused=True, qemu_major=7, qemu_minor=2)
        self.assertEqual(boot.fds, [])
        self.assertIn("-S", boot.args)
        self.fails(ErrorKind.STATE, boot.inherit)

    def test_a_migration_target(self) -> None:
        boot = self.booted(incoming=Incoming.TCP, incoming_address=":4444", dry_run=True)
        self.assertIn("-incoming", boot.args)
        self.assertTrue(any("4444" in word for word in boot.args))

    def test_a_guest_that_is_open_is_not_booted(self) -> None:
        record = self.record()
        with Guest.open(record, self.fake().socket):
            self.fails(ErrorKind.STATE, record.boot)

    def test_how_full_the_next_boot_is(self) -> None:
        record = self.record(command=["qemu-system-x86_64", "-machine", "q35"])
        record.add_disk(Disk(self.image()))
        plan = record.plan_boot(spare_ports=3)
        self.assertEqual((plan.machine, plan.devices, plan.free), (Machine.Q35, 1, 3))
        self.assertEqual((plan.ports, plan.new_ports), (4, 4))
