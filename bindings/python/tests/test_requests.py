"""Each field of a request comes to the library, and nothing that the library makes is kept."""

from __future__ import annotations

import ctypes
import dataclasses
from typing import Any
from unittest import mock

from kvm_hotplug import (
    AIO,
    LUKS,
    NBD,
    NIC,
    RBD,
    Backing,
    Bandwidth,
    BootOptions,
    Cache,
    Controller,
    DetectZeroes,
    Discard,
    Disk,
    Format,
    Incoming,
    KvmHotplugError,
    SCSIAddress,
    Vhost,
)
from kvm_hotplug._abi import Flag
from kvm_hotplug._library import library

from .support import TestCase

TEXTS = {
    "id": "id1",
    "mac": "52:54:00:00:00:01",
    "bridge": "br1",
    "ifname": "tap1",
    "model": "model1",
    "bus": "bus1",
    "path": "/srv/1",
    "serial": "S1",
    "iothread": "io1",
    "incoming_address": ":4444",
    "qmp_path": "/run/qmp",
    "netns": "/run/netns/blue",
    "ganeti_entry": '{"uuid": "u"}',
    "iothread": "io1",
}
PROPERTIES = '{"packed": true}'
SOURCE = '{"driver": "null-co"}'
VALUES = {
    "vhost": Vhost.REQUIRED,
    "format": Format.QCOW2,
    "cache": Cache.UNSAFE,
    "aio": AIO.IO_URING,
    "discard": Discard.UNMAP,
    "detect_zeroes": DetectZeroes.UNMAP,
    "backing": Backing.FILES,
    "incoming": Incoming.FD,
    "properties": {"packed": True},
    "inbound": Bandwidth(51, 52),
    "outbound": Bandwidth(53, 54),
    "source": {"driver": "null-co"},
    "limits": {"bps-total": 5},
    "port": {"isolated": True},
    "secrets": {"key": b"pass"},
    "tls_creds": {"tls": {}},
    "netdev": {"type": "user"},
}


def filled(kind: Any) -> Any:
    """A request whose fields all have another value than the default, and numbers one each."""
    given = {}
    for number, field in enumerate(dataclasses.fields(kind), 11):
        if field.name in TEXTS:
            given[field.name] = TEXTS[field.name]
        elif field.name in VALUES:
            given[field.name] = VALUES[field.name]
        elif field.name == "tap_fds":
            given[field.name] = (21, 22)
        elif field.name == "backing_paths":
            given[field.name] = ("/srv/a", "/srv/b")
        elif field.name == "scsi":
            given[field.name] = SCSIAddress(31, 32)
        else:
            given[field.name] = True if field.default is False else number
    return kind(**given)


SECRET = (b"key", b"pass")
PORT = '{"isolated": true}'


class Requests(TestCase):
    def comes(self, request: Any, **other: Any) -> Any:
        """Each field of the struct has the value of the request's, or this other one."""
        struct = request._request()
        for name, _ in struct._fields_:
            if name in ("reserved", "timeout_ms", "flags"):
                continue
            wanted = other[name] if name in other else getattr(request, name)
            found = getattr(struct, name)
            if isinstance(found, bytes):
                found = found.decode()
            elif name == "secrets":
                read = [(found[0].name, ctypes.string_at(found[0].data, found[0].length))]
                found = read
            elif not isinstance(found, int):
                found = [found[index] for index in range(len(wanted))]
            self.assertTrue(found, name)
            self.assertEqual(found, wanted, name)
        return struct

    def test_nic(self) -> None:
        limits = {"inbound_average": 51, "inbound_burst": 52, "outbound_average": 53, "outbound_burst": 54}
        limits["netdev"] = '{"type": "user"}'
        struct = self.comes(filled(NIC), tap_fds=[21, 22], tap_fd_count=2, properties=PROPERTIES, port=PORT, **limits)
        wanted = Flag.BOOT_INDEX | Flag.TAP_OWNER | Flag.NIC_LINK_DOWN | Flag.LIVE_ONLY | Flag.NO_WAIT | Flag.ADOPT
        self.assertEqual(struct.flags, wanted)
        self.assertEqual(NIC(boot_index=0, tap_owner=0)._request().flags, Flag.BOOT_INDEX | Flag.TAP_OWNER)
        self.assertEqual(bytes(NIC()._request()), bytes(ctypes.sizeof(struct)))

    def test_disk(self) -> None:
        struct = self.comes(
            filled(Disk),
            target=31,
            lun=32,
            backing_paths=[b"/srv/a", b"/srv/b"],
            backing_count=2,
            properties=PROPERTIES,
            source=SOURCE,
            limits='{"bps-total": 5}',
            secrets=[SECRET],
            secret_count=1,
            tls_creds='{"tls": {}}',
        )
        wanted = Flag.DISK_READ_ONLY | Flag.DISK_SHARE_RW | Flag.DISK_SCSI_ADDRESS | Flag.DISK_ACCEPT_CHAIN
        wanted |= Flag.BOOT_INDEX | Flag.LIVE_ONLY | Flag.NO_WAIT | Flag.ADOPT | Flag.MAKE_IOTHREAD
        self.assertEqual(struct.flags, wanted)
        flags = Disk("/a", scsi=SCSIAddress(), boot_index=0)._request().flags
        self.assertEqual(flags, Flag.DISK_SCSI_ADDRESS | Flag.BOOT_INDEX)
        self.assertEqual(Disk("/a")._request().flags, 0)

    def test_common_sources(self) -> None:
        unix = {"type": "unix", "path": "/run/a"}
        made = NBD(socket="/run/a", export="x", reconnect_delay=5).source()
        self.assertEqual(made, {"driver": "nbd", "server": unix, "export": "x", "reconnect-delay": 5})
        made = NBD(host="::1", port=7, tls_creds="t", tls_hostname="h", open_timeout=3).source()
        inet = {"type": "inet", "host": "::1", "port": "7"}
        tls = {"tls-creds": "t", "tls-hostname": "h", "open-timeout": 3}
        self.assertEqual(made, {"driver": "nbd", "server": inet, **tls})
        parts = {"pool": "p", "image": "i", "namespace": "n", "snapshot": "s", "user": "u", "conf": "/c"}
        parts["key_secret"] = "k"
        made = RBD(**parts).source()
        parts["key-secret"] = parts.pop("key_secret")
        self.assertEqual(made, {"driver": "rbd", **parts})
        made = LUKS("/srv/a", "key").source()
        file = {"driver": "file", "filename": "/srv/a"}
        self.assertEqual(made, {"driver": "luks", "key-secret": "key", "file": file})
        with self.assertRaises(KvmHotplugError):
            NBD().source()

    def test_controller(self) -> None:
        flags = self.comes(filled(Controller), properties=PROPERTIES).flags
        self.assertEqual(flags, Flag.LIVE_ONLY | Flag.NO_WAIT | Flag.MAKE_IOTHREAD)

    def test_boot_options(self) -> None:
        every = Flag.BOOT_PAUSED | Flag.BOOT_DRY_RUN | Flag.BOOT_SET_MONITOR
        self.assertEqual(self.comes(filled(BootOptions)).flags, every)

    def test_the_time_that_is_left(self) -> None:
        self.assertEqual(NIC()._request(7).timeout_ms, 7)
        self.assertEqual(Disk("/a")._request(7).timeout_ms, 7)
        self.assertEqual(Controller()._request(7).timeout_ms, 7)


class Memory(TestCase):
    def calls(self, name: str) -> Any:
        """Counts the calls of a function of the library."""
        patch = mock.patch.object(library(), name, wraps=getattr(library(), name))
        self.addCleanup(patch.stop)
        return patch.start()

    def test_texts_are_freed(self) -> None:
        guest = self.guest(self.fake().socket)
        freed = self.calls("kvm_hotplug_text_free")
        guest.describe_all()
        guest.qmp("query-status")
        guest.plan_disk(Disk(self.image()))
        self.assertEqual(freed.call_count, 3)
        self.assertIsNone(guest.next_event())
        self.assertEqual(freed.call_count, 3)

    def test_errors_are_freed(self) -> None:
        guest = self.guest(self.fake().socket)
        freed = self.calls("kvm_hotplug_error_free")
        for _ in range(3):
            with self.assertRaises(KvmHotplugError):
                guest.qmp("unheard-of")
        self.assertEqual(freed.call_count, 3)
