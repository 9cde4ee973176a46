"""Real QEMU without a guest in it: the firmware finds nothing to boot, and a reset completes what removals
are pending. The tests with taps need root, and make them in the network namespace of this process.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
from typing import List

from kvm_hotplug import (
    NIC,
    Answer,
    Bandwidth,
    BootOptions,
    Cache,
    DeviceType,
    DifferenceKind,
    Disk,
    ErrorKind,
    EventType,
    Guest,
    KvmHotplugError,
    Machine,
    Runtime,
    Tap,
    Vhost,
)

from .support import PATIENCE, TestCase

QEMU = os.environ.get("KVM_HOTPLUG_TEST_QEMU") or "qemu-system-x86_64"


def interfaces() -> List[str]:
    return [name for _, name in socket.if_nameindex()]


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def ports(bridge: str) -> List[str]:
    """What is on a bridge."""
    return [port["ifname"] for port in json.loads(ip("-json", "link", "show", "master", bridge) or "[]")]


class RealQEMU(TestCase):
    machine = "pc"

    def setUp(self) -> None:
        super().setUp()
        self.command = [
            QEMU,
            "-nodefaults",
            "-display",
            "none",
            "-machine",
            self.machine,
            "-accel",
            "tcg",
            "-m",
            "32",
        ]
        # What the firmware says. It tells when it has given up.
        self.command += ["-chardev", f"file,id=firmware,path={self.path('firmware')}"]
        self.command += ["-device", "isa-debugcon,iobase=0x402,chardev=firmware"]
        self.command += ["-qmp", f"unix:{self.path('qmp')},server=on,wait=off"]

    def start(self) -> None:
        """For a guest without a record of its own."""
        words = list(self.command)
        if self.machine == "q35":
            for port in range(4):
                place = f"bus=pcie.0,chassis={port + 1},slot={port + 1},addr={0x10 + port:#x}"
                words += ["-device", f"pcie-root-port,id=rp{port},{place}"]
        process = subprocess.Popen(words)

        def end() -> None:
            process.kill()
            process.wait()

        self.addCleanup(end)
        self.listens()

    def listens(self) -> None:
        def connects() -> bool:
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(self.path("qmp")) == 0

        self.eventually(connects)

    def firmware_gave_up(self, times: int) -> None:
        def said() -> int:
            with open(self.path("firmware"), "rb") as file:
                return file.read().count(b"No bootable device")

        self.eventually(lambda: said() >= times)

    def root(self) -> None:
        self.needs_taps()
        before = interfaces()
        self.addCleanup(lambda: self.eventually(lambda: interfaces() == before))

    def bridge(self, name: str = "kvmpy0") -> str:
        ip("link", "add", name, "type", "bridge")
        self.addCleanup(ip, "link", "del", name)
        return name


class Devices(RealQEMU):
    def test_a_disk_comes_and_goes(self) -> None:
        self.start()
        self.firmware_gave_up(1)
        guest = self.guest(self.path("qmp"))
        disk = Disk(self.image(), id="data", serial="S1", cache=Cache.UNSAFE, read_only=True)
        plan = guest.plan_disk(disk)
        added = self.answers(guest.add_disk(disk, timeout=PATIENCE), Answer.DONE).device
        self.assertEqual((plan.device.bus, plan.device.slot), (added.bus, added.slot))
        self.assertEqual((added.cache, added.read_only, added.serial), (Cache.UNSAFE, True, "S1"))
        self.assertEqual(guest.verify(), [])
        self.assertEqual((guest.describe("data") or {})["size"], 1 << 20)

        # Nobody in the guest lets go of it, until a reset does.
        self.answers(guest.del_device("data", no_wait=True), Answer.PENDING)
        guest.qmp("system_reset")
        event = self.event(guest, EventType.REMOVED, "data")
        self.assertEqual((event.device_type, event.generation), (DeviceType.DISK, added.generation))
        self.assertEqual(guest.devices(), [])
        self.assertEqual(guest.verify(), [])
        nodes = [node["node-name"] for node in guest.qmp("query-named-block-nodes")]
        self.assertNotIn("data", nodes)

    def test_a_nic_comes_and_goes(self) -> None:
        self.root()
        self.start()
        self.firmware_gave_up(1)
        guest, bridge = self.guest(self.path("qmp")), self.bridge()
        nic = NIC(id="lan", mac="52:54:00:12:34:56", bridge=bridge, queues=2, vhost=Vhost.OFF, tap_owner=0)
        self.assertIn("netdev_add", [command["execute"] for command in guest.plan_nic(nic).commands])
        added = self.answers(guest.add_nic(nic, timeout=PATIENCE), Answer.DONE).device
        self.assertEqual((added.mac, added.queues, added.bridge, added.vhost), (nic.mac, 2, bridge, False))
        self.assertIn(added.ifname, interfaces())
        self.assertEqual(ports(bridge), [added.ifname])
        self.assertEqual(guest.verify(), [])

        self.answers(guest.set_link("lan", False), Answer.DONE)
        self.assertTrue(guest.set_link("lan", False).device.link_down)
        self.answers(guest.set_bridge("lan", None), Answer.DONE)
        self.assertEqual(ports(bridge), [])
        self.assertEqual(guest.set_bridge("lan", bridge).device.bridge, bridge)
        self.assertEqual(ports(bridge), [added.ifname])
        self.answers(guest.set_nic_limits("lan", Bandwidth(1 << 20)), Answer.DONE)
        self.assertEqual(guest.describe("lan")["tap"]["inbound"]["average"], 1 << 20)
        self.answers(guest.set_nic_limits("lan"), Answer.DONE)
        self.assertIsNone(guest.describe("lan")["tap"]["inbound"])
        # Somebody takes it off by hand.
        ip("link", "set", added.ifname, "nomaster")
        self.assertEqual([one.kind for one in guest.verify()], [DifferenceKind.BRIDGE])

        self.answers(guest.del_device("lan", no_wait=True), Answer.PENDING)
        self.assertIn(added.ifname, interfaces())
        guest.qmp("system_reset")
        self.event(guest, EventType.REMOVED, "lan")
        self.eventually(lambda: added.ifname not in interfaces())

    def test_a_tap_of_the_callers_own(self) -> None:
        self.root()
        self.start()
        guest = self.guest(self.path("qmp"))
        with Tap.open("kvmpytap%d", queues=2, mtu=1400, owner=0) as tap:
            self.assertEqual((tap.ifname, len(tap.fds)), ("kvmpytap0", 2))
            added = self.answers(
                guest.add_nic(NIC(id="lan", tap_fds=tap.fds, vhost=Vhost.OFF)), Answer.DONE
            ).device
            self.assertEqual((added.ifname, added.queues), (tap.ifname, 2))
            self.fails(ErrorKind.CONFLICT, lambda: guest.add_nic(NIC(tap_fds=tap.fds, vhost=Vhost.OFF)))
        # The guest goes on with its own descriptors.
        self.assertIn(added.ifname, interfaces())
        with self.assertRaises(KvmHotplugError) as caught:
            guest.add_nic(NIC(tap_fds=[os.sysconf("SC_OPEN_MAX") - 1]))
        self.assertEqual(caught.exception.errno, errno.EBADF)

    def test_many_at_once(self) -> None:
        self.root()
        self.start()
        self.firmware_gave_up(1)
        guest = self.guest(self.path("qmp"))
        nics = [NIC(id="lan", vhost=Vhost.OFF)]
        many = guest.add_many(
            nics, [Disk(self.image("a"), id="a"), Disk(self.image("b"), id="b")], timeout=PATIENCE
        )
        self.assertEqual((many.answer, [one.id for one in many.devices]), (Answer.DONE, ["lan", "a", "b"]))
        answers = guest.del_many(["a", "lan", "none"], no_wait=True)
        self.assertEqual(
            [one.result and one.result.answer for one in answers],
            [Answer.PENDING, Answer.PENDING, Answer.ABSENT],
        )
        guest.qmp("system_reset")
        removed = set()
        for event in guest.events(timeout=PATIENCE):
            if event.type == EventType.REMOVED:
                removed.add(event.id)
            if removed == {"a", "lan"}:
                break
        self.assertEqual([one.id for one in guest.devices()], ["b"])

    def test_an_error_of_qemu(self) -> None:
        self.start()
        guest = self.guest(self.path("qmp"))
        failed = self.fails(ErrorKind.QMP, lambda: guest.qmp("device_del", {"id": "unheard-of"}, force=True))
        self.assertEqual(failed.qmp_class, "DeviceNotFound")


    def test_a_guest_of_somebody_else_is_adopted(self) -> None:
        self.start()
        self.firmware_gave_up(1)
        nothing, report = Runtime.adopt(self.path("qmp"), dry_run=True, timeout=PATIENCE)
        self.assertIsNone(nothing)
        self.assertIn("isa-debugcon", [one["model"] for one in report["left"]])
        record, _ = Runtime.adopt(self.path("qmp"), name="web", reserved_slots=7, timeout=PATIENCE)
        assert record is not None
        self.addCleanup(record.close)
        with Guest.open(record, self.path("qmp"), in_memory=True, timeout=PATIENCE) as guest:
            self.assertEqual(guest.verify(), [])
        record.save(self.path("web.runtime"))


class Ports(Devices):
    machine = "q35"


class Boots(RealQEMU):
    def boots(self, record: Runtime) -> None:
        with record.boot(BootOptions(spare_ports=2)) as boot:
            pid = boot.spawn()

        def end() -> None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

        self.addCleanup(end)
        self.listens()

    def test_a_guest_is_started_from_its_record(self) -> None:
        self.root()
        bridge, record = self.bridge(), self.record(command=self.command)
        record.add_disk(Disk(self.image(), id="data", serial="S1"))
        record.add_nic(NIC(id="lan", bridge=bridge, vhost=Vhost.OFF, mac="52:54:00:12:34:56"))
        self.assertEqual(record.check(), [])
        self.assertEqual(record.plan_boot().machine, Machine.Q35 if self.machine == "q35" else Machine.PC)
        self.boots(record)
        with Guest.open(record, self.path("qmp"), timeout=PATIENCE) as guest:
            self.assertEqual(guest.verify(), [])
            self.assertEqual(sorted(one.id for one in guest.devices()), ["data", "lan"])
            self.assertEqual(len(ports(bridge)), 1)
            self.answers(guest.add_disk(Disk(self.image("more"), id="more"), timeout=PATIENCE), Answer.DONE)
        self.assertIn("runs already", self.fails(ErrorKind.STATE, record.boot).message)


class BootsWithPorts(Boots):
    machine = "q35"
