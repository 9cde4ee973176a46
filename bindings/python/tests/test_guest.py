"""What calls on a guest do and answer, against kvm-fake-qemu."""

from __future__ import annotations

import errno
import os
import tempfile

from kvm_hotplug import (
    BATCH_MAX,
    NIC,
    AddressType,
    Answer,
    Bandwidth,
    Controller,
    DelManyError,
    DeviceType,
    DifferenceKind,
    Disk,
    ErrorKind,
    EventType,
    Guest,
    KvmHotplugError,
    Reason,
    Runtime,
    SCSIAddress,
    SlotState,
    State,
    Vhost,
)

from .support import PATIENCE, TestCase


class Devices(TestCase):
    def test_a_disk_comes_and_goes(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        wanted = Disk(self.image(), id="data", serial="S1", boot_index=0, read_only=True, queues=2)
        plan = guest.plan_disk(wanted)
        added = self.answers(guest.add_disk(wanted), Answer.DONE).device
        self.assertTrue(fake.did("device_add data"))
        self.assertEqual(
            (plan.answer, plan.device.bus, plan.device.slot), (Answer.DONE, added.bus, added.slot)
        )
        self.assertIn("device_add", [command["execute"] for command in plan.commands])
        self.assertEqual(
            (
                added.id,
                added.device_type,
                added.state,
                added.serial,
                added.boot_index,
                added.read_only,
                added.queues,
            ),
            ("data", DeviceType.DISK, State.LIVE, "S1", 0, True, 2),
        )
        self.assertEqual((added.path, added.address_type), (wanted.path, AddressType.PCI))
        self.assertEqual([(device.id, device.slot) for device in guest.devices()], [(added.id, added.slot)])
        self.assertEqual([guest.device("data")], guest.devices())
        self.assertEqual(guest.path_of("data"), wanted.path)
        self.assertEqual(guest.verify(), [])
        self.assertEqual([slot.occupant for slot in guest.slots() if slot.slot == added.slot], ["data"])
        self.assertEqual((guest.describe("data") or {})["serial"], "S1")
        self.assertEqual([one["id"] for one in guest.describe_all()], ["data"])
        self.assertIsNone(guest.describe("other"))

        # The same again changes nothing; other settings are refused.
        self.assertEqual(guest.add_disk(wanted).device.generation, added.generation)
        wanted.serial = "S2"
        self.assertIn("serial", self.fails(ErrorKind.CONFLICT, lambda: guest.add_disk(wanted)).message)

        self.assertEqual(guest.plan_del("data").commands[0]["execute"], "device_del")
        gone = self.answers(guest.del_disk("data", timeout=PATIENCE), Answer.DONE).device
        self.assertEqual((gone.id, gone.path), ("data", added.path))
        self.assertIsNone(guest.device("data"))
        absent = self.answers(guest.del_device("data"), Answer.ABSENT)
        self.assertEqual(
            (absent.device.id, absent.device.state, absent.reason), ("data", State.ABSENT, Reason.NONE)
        )

    def test_a_path_that_the_struct_has_no_room_for(self) -> None:
        guest = self.guest(self.fake().socket)
        folder = os.path.join(self.folder, *["f" * 100] * 3)
        os.makedirs(folder)
        path = os.path.join(folder, "disk")
        with open(path, "wb") as file:
            file.truncate(1 << 20)
        self.assertEqual(guest.add_disk(Disk(path, id="long")).device.path, path)
        self.assertEqual(guest.devices()[0].path, path)
        self.assertEqual(guest.del_device("long", timeout=PATIENCE).device.path, path)
        guest.add_disk(Disk(path, id="long"))
        self.assertEqual(guest.del_many(["long"], timeout=PATIENCE)[0].result.device.path, path)  # type: ignore[union-attr]

    def test_scsi(self) -> None:
        guest = self.guest(self.fake().socket)
        controller = self.answers(guest.add_controller(Controller(id="bus", queues=2)), Answer.DONE).device
        self.assertEqual((controller.device_type, controller.queues), (DeviceType.CONTROLLER, 2))
        disk = Disk(
            self.image(), model="scsi-hd", bus="bus.0", scsi=SCSIAddress(3, 1), wwn=0x5000C500A1B2C3D4
        )
        added = self.answers(guest.add_disk(disk), Answer.DONE).device
        self.assertEqual((added.bus, added.target, added.lun, added.wwn), ("bus.0", 3, 1, disk.wwn))
        self.assertEqual(guest.plan_controller(Controller()).answer, Answer.DONE)
        self.fails(ErrorKind.CONFLICT, lambda: guest.del_controller("bus"))
        self.fails(ErrorKind.INVALID, lambda: guest.del_nic(added.id))
        self.answers(guest.del_disk(added.id, timeout=PATIENCE), Answer.DONE)
        self.answers(guest.del_controller("bus", timeout=PATIENCE), Answer.DONE)

    def test_slots_of_a_machine_with_ports(self) -> None:
        guest = self.guest(self.fake("--ports", "2").socket)
        added = guest.add_disk(Disk(self.image())).device
        states = {slot.bus: slot.state for slot in guest.slots() if slot.bus.startswith("rp")}
        self.assertEqual(states, {added.bus: SlotState.TAKEN, "rp1": SlotState.FREE})

    def test_with_an_old_qemu_the_next_boot_adds(self) -> None:
        guest = self.guest(self.fake("--version", "4.2.1").socket)
        result = self.answers(guest.add_disk(Disk(self.image(), id="data")), Answer.AFTER_REBOOT)
        self.assertEqual((result.reason, result.device.state), (Reason.QEMU_TOO_OLD, State.AFTER_REBOOT))
        self.assertTrue(result.reason_text)
        live = Disk(self.image("other"), live_only=True)
        self.assertEqual(
            self.fails(ErrorKind.NOT_HOTPLUGGABLE, lambda: guest.add_disk(live)).errno, errno.EOPNOTSUPP
        )


class Removals(TestCase):
    def test_a_guest_that_does_not_let_go(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        guest.add_disk(Disk(self.image(), id="data"))
        fake.order("state paused")
        result = self.answers(guest.del_disk("data", timeout=PATIENCE), Answer.PENDING)
        self.assertEqual((result.device.id, result.device.state), ("data", State.PENDING))
        self.assertEqual(result.reason, Reason.PAUSED)
        self.assertTrue(result.reason_text)
        self.assertEqual([device.id for device in guest.settle()], ["data"])
        fake.order("grant data")
        self.event(guest, EventType.REMOVED, "data")
        self.answers(guest.del_device("data"), Answer.ABSENT)

    def test_many(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        disks = [Disk(self.image(name), id=name) for name in ("a", "b", "c")]
        many = guest.add_many(disks=disks, timeout=PATIENCE)
        self.assertEqual((many.answer, [one.id for one in many.devices]), (Answer.DONE, ["a", "b", "c"]))
        # A guest that is paused cannot act on a request.
        fake.order("state paused")
        answers = guest.del_many(["a", "unknown", "b"], timeout=PATIENCE)
        self.assertEqual([one.id for one in answers], ["a", "unknown", "b"])
        self.assertEqual(
            [one.result.answer for one in answers if one.result],
            [Answer.PENDING, Answer.ABSENT, Answer.PENDING],
        )
        fake.order("state running")
        guest.settle()
        answers = guest.del_many(["c"], timeout=PATIENCE)
        self.assertEqual([one.result and one.result.answer for one in answers], [Answer.DONE])
        self.assertEqual(guest.add_many().devices, [])

    def test_many_of_which_one_fails(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        guest.add_many(disks=[Disk(self.image(name), id=name) for name in ("a", "b")])
        fake.order("error device_del not today")
        with self.assertRaises(DelManyError) as caught:
            guest.del_many(["a", "b"], timeout=PATIENCE)
        failed, done = caught.exception.answers
        self.assertEqual((failed.id, failed.result, failed.errno), ("a", None, caught.exception.errno))
        self.assertEqual((done.id, done.result and done.result.answer, done.errno), ("b", Answer.DONE, 0))
        self.assertIn("not today", caught.exception.qmp_desc or "")
        # Where the guest is not asked there are no answers.
        with self.assertRaises(KvmHotplugError) as other:
            guest.del_many([f"d{number}" for number in range(BATCH_MAX + 1)])
        self.assertEqual(other.exception.errno, errno.E2BIG)
        self.assertNotIsInstance(other.exception, DelManyError)

    def test_one_of_many_that_cannot_be_added_takes_the_others_out(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        fake.order("error device_add no room")
        disks = [Disk(self.image(name), id=name) for name in ("a", "b")]
        self.fails(ErrorKind.QMP, lambda: guest.add_many(disks=disks, timeout=PATIENCE))
        self.assertEqual(guest.devices(), [])


class Looking(TestCase):
    def test_a_guest_that_is_only_looked_at(self) -> None:
        fake = self.fake()
        self.record().close()
        with Runtime.load(self.path("web1.runtime"), read_only=True) as record:
            with Guest.open(record, fake.socket, look_only=True) as guest:
                self.assertTrue(guest.slots())
                failed = self.fails(ErrorKind.STATE, lambda: guest.add_disk(Disk(self.image())))
                self.assertEqual(failed.errno, errno.EROFS)
                self.fails(ErrorKind.STATE, lambda: guest.qmp("stop"))

    def test_what_the_record_has_not(self) -> None:
        guest = self.guest(self.fake().socket)
        guest.add_disk(Disk(self.image(), id="own"))
        self.assertNotIn("own", [device["id"] for device in guest.describe_unrecorded()])

    def test_what_a_qemu_knows_is_given_to_another_guest(self) -> None:
        guest = self.guest(self.fake().socket)
        known = guest.capabilities()
        self.assertIn("netdev", known["models"]["virtio-net-pci"])
        guest.give_capabilities(known)
        known["package"] = "other"
        failed = self.fails(ErrorKind.INVALID, lambda: guest.give_capabilities(known))
        self.assertEqual(failed.errno, errno.ESTALE)

    def test_a_start_is_awaited(self) -> None:
        with self.record() as record:
            nowhere = self.path("nobody")
            self.fails(ErrorKind.NOT_FOUND, lambda: Guest.open(record, nowhere))
            self.fails(ErrorKind.TIMEOUT, lambda: Guest.open(record, nowhere, starting=True, timeout=0.1))

    def test_who_has_to_listen(self) -> None:
        fake, record = self.fake(), self.record()
        opened = lambda **who: Guest.open(record, fake.socket, **who).close()  # type: ignore[arg-type]
        self.fails(ErrorKind.UNTRUSTED, lambda: opened(peer_uid=os.getuid() + 1))
        self.fails(ErrorKind.UNTRUSTED, lambda: opened(peer_pid=os.getpid()))
        opened(peer_uid=os.getuid())
        opened(accept_peer=True)

    def test_differences(self) -> None:
        guest = self.guest(self.fake().socket)
        device = {"driver": "virtio-rng-pci", "id": "other", "bus": "pci.0", "addr": "9"}
        guest.qmp("device_add", device, force=True)
        for found in (guest.verify(), guest.repair()):
            self.assertEqual([(one.id, one.kind) for one in found], [("other", DifferenceKind.FOREIGN)])
            self.assertIn("other", found[0].text)
            self.assertFalse(found[0].repairable)

    def test_qmp(self) -> None:
        guest = self.guest(self.fake().socket)
        self.assertEqual(guest.qmp("query-status")["status"], "running")
        self.fails(ErrorKind.STATE, lambda: guest.qmp("device_add", {"driver": "virtio-net-pci"}))
        with tempfile.TemporaryFile(dir=self.folder) as file:
            given = guest.qmp("add-fd", {"fdset-id": 77}, fd=file.fileno())
        self.assertEqual(given["fdset-id"], 77)


class Changing(TestCase):
    def test_a_disk_is_resized(self) -> None:
        guest = self.guest(self.fake().socket)
        guest.add_disk(Disk(self.image(), id="data"))
        self.assertEqual(guest.resize_disk("data", 2 << 20), 2 << 20)
        self.fails(ErrorKind.INVALID, lambda: guest.resize_disk("data", 1 << 20))
        self.assertEqual(guest.resize_disk("data", 1 << 20, shrink=True), 1 << 20)

    def test_a_medium_is_changed(self) -> None:
        guest, image = self.guest(self.fake().socket), self.image("medium.iso")
        drive = guest.add_disk(Disk("", id="cd", model="scsi-cd", read_only=True))
        self.assertIsNone(drive.device.path or None)
        drive = guest.change_media("cd", image)
        self.assertEqual((drive.answer, drive.device.path), (Answer.DONE, image))
        self.assertIsNone(guest.change_media("cd", force=True).device.path or None)
        guest.add_disk(Disk(self.image("data.img"), id="data"))
        self.fails(ErrorKind.INVALID, lambda: guest.change_media("data", image))

    def test_what_is_no_nic_has_no_link(self) -> None:
        guest = self.guest(self.fake().socket)
        guest.add_disk(Disk(self.image(), id="data"))
        self.fails(ErrorKind.INVALID, lambda: guest.set_link("data", False))
        self.fails(ErrorKind.INVALID, lambda: guest.set_bridge("data", "br0"))
        self.fails(ErrorKind.INVALID, lambda: guest.set_nic_limits("data", outbound=Bandwidth(1 << 20)))
        self.fails(ErrorKind.NOT_FOUND, lambda: guest.set_link("nic", True))

    def test_a_nic_needs_a_bridge_that_is_there(self) -> None:
        self.needs_taps()
        guest = self.guest(self.fake().socket)
        failed = self.fails(ErrorKind.NOT_FOUND, lambda: guest.add_nic(NIC(bridge="br-unheard-of")))
        self.assertEqual(failed.errno, errno.ENOENT)
        # A plan opens nothing on the host.
        plan = guest.plan_nic(NIC(bridge="br-unheard-of", vhost=Vhost.OFF))
        self.assertEqual((plan.answer, plan.device.bridge), (Answer.DONE, "br-unheard-of"))
        self.assertTrue(any("br-unheard-of" in step for step in plan.host), plan.host)
        self.assertEqual(plan.slots_left, 27)
