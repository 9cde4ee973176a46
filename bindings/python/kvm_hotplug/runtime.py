"""The record of a guest."""

from __future__ import annotations

import ctypes
import json
import logging
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import _abi, _log
from ._abi import Answer, Backing, DeviceType, RuntimeFormat, SlotPolicy, WhenFull
from ._arguments import Deadline, Text, encoded, integers, number, optional, signed, texts
from ._calls import Handle, interruptible
from ._library import checked, library, listed, text_of
from .answers import BootPlan, Device, Problem, device_of, read
from .boot import Boot
from .requests import NIC, BootOptions, Disk, flags


class Runtime(Handle):
    """The record of one guest: its command line without NICs and disks, every NIC and disk with its address,
    its file, and the lock on that file. Any thread may use it.
    """

    _what = "the record"

    @classmethod
    def new(
        cls,
        name: Optional[str] = None,
        command: Sequence[Text] = (),
        *,
        reserved_slots: Optional[int] = None,
        trust: bool = False,
    ) -> "Runtime":
        """Makes a record of a guest without NICs and disks. It has no file until save() gives it one.

        `name`: the guest's, for people.
        `command`: QEMU's command line without NICs and disks, program first.
        `reserved_slots`: slots of pci.0, counted from 0, that are never chosen, 0 to 32; None means 4.
        `trust`: as for load().
        """
        config = _abi.kvm_runtime_config(
            name=optional("name", name),
            command=texts("command", command),
            command_count=len(command),
            reserved_slots=number("reserved_slots", reserved_slots or 0),
            flags=flags(runtime_new_reserved_slots=reserved_slots is not None, runtime_open_trust=trust),
        )
        return cls._made(lambda made: checked(library().kvm_runtime_new, config, ctypes.sizeof(config), made))

    @classmethod
    def adopt(
        cls,
        qmp_path: Text,
        *,
        name: Optional[str] = None,
        command: Sequence[Text] = (),
        directory: Optional[Text] = None,
        pid: int = 0,
        reserved_slots: Optional[int] = None,
        trust: bool = False,
        dry_run: bool = False,
        timeout: Optional[float] = None,
    ) -> Tuple[Optional["Runtime"], Dict[str, Any]]:
        """Makes a record of a running guest that any program has started, and a report, which is read from
        JSON (docs/json.md). Nothing in the guest changes. The record has no file until save() gives it one.

        `qmp_path`: of the guest's QMP socket, which has no other client.
        `name`: the guest's, for people; None for what its command says.
        `command`: that QEMU was started with, program first; empty for that of its process.
        `directory`: where relative paths of the command begin; None for that of the process.
        `pid`: the process; 0 for the one that listens at the socket.
        `reserved_slots`: slots of pci.0, counted from 0, that are never chosen; None means as many as needed.
        `trust`: as for load().
        `dry_run`: the report by itself, with None for a record.
        `timeout`: seconds; None means 5.
        """
        end = Deadline(timeout)
        options = _abi.kvm_runtime_adopt_options(
            qmp_path=encoded("qmp_path", qmp_path),
            name=optional("name", name),
            command=texts("command", command),
            command_count=len(command),
            directory=optional("directory", directory),
            pid=signed("pid", pid),
            reserved_slots=number("reserved_slots", reserved_slots or 0),
            flags=flags(runtime_new_reserved_slots=reserved_slots is not None, runtime_open_trust=trust),
        )

        def call() -> Tuple[Optional["Runtime"], Dict[str, Any]]:
            pointer = ctypes.POINTER(_abi.kvm_runtime)()
            made = None if dry_run else ctypes.byref(pointer)
            options.timeout_ms = end.milliseconds()
            function, size = library().kvm_runtime_adopt, ctypes.sizeof(options)
            report = text_of(lambda text: checked(function, options, size, made, text))[1]
            return None if dry_run else cls(pointer), json.loads(report or "{}")

        def discard(late: Tuple[Optional["Runtime"], Dict[str, Any]]) -> None:
            if late[0] is not None:
                late[0].close()

        return interruptible(call, discard=discard)

    @classmethod
    def load(cls, path: Text, *, read_only: bool = False, trust: bool = False) -> "Runtime":
        """Loads a runtime file and the journal beside it, in any format. The record owns both until it is
        closed.

        `read_only`: without the lock, so also while an agent owns the file. Such a record can be listed;
        saving it or opening a guest with it to change the guest fails with EROFS.
        `trust`: do not check owner and mode of the files and their directory. Users who can write them then
        control what is done with the caller's rights.
        """
        name, bits = encoded("path", path), flags(runtime_open_read_only=read_only, runtime_open_trust=trust)
        return cls._made(lambda made: checked(library().kvm_runtime_open, name, bits, made))

    @staticmethod
    def delete(path: Text) -> None:
        """Deletes a runtime file and everything that the library keeps beside it, for a guest that has ended
        or has left this host. What is not there is no error.
        """
        checked(library().kvm_runtime_delete, encoded("path", path))

    @classmethod
    def _made(cls, make: Callable[[Any], int]) -> "Runtime":
        def call() -> "Runtime":
            pointer = ctypes.POINTER(_abi.kvm_runtime)()
            make(ctypes.byref(pointer))
            return cls(pointer)

        return interruptible(call, discard=cls.close)

    def save(self, path: Optional[Text] = None) -> None:
        """Writes the record to disk, replacing the file atomically. Calls that change a guest do this by
        themselves.

        `path`: for a record without a file, where to put it; it must not exist.
        """
        self._call(library().kvm_runtime_save, optional("path", path))

    def devices(self) -> List[Device]:
        """The devices of the record. If an operation on one is unfinished, its reason says so."""
        return self._devices(library().kvm_runtime_list)

    def unfinished(self) -> List[Device]:
        """The devices with an unfinished operation in the journal. The reasons say which operation."""
        return self._devices(library().kvm_runtime_unfinished)

    def _devices(self, function: Callable[..., int]) -> List[Device]:
        struct, size = _abi.kvm_hotplug_device, ctypes.sizeof(_abi.kvm_hotplug_device)

        def use(pointer: Any) -> List[Device]:
            def fetch(array: Any, room: int, count: Any) -> int:
                return checked(function, pointer, array, size, room, count)

            found = listed(struct, 16, fetch)
            return [self._device(pointer, one) for one in found]

        return self._use(use)

    @staticmethod
    def _device(pointer: Any, struct: Any) -> Device:
        # A disk that has gone meanwhile has no path.
        get = library().kvm_runtime_get_path
        return device_of(struct, lambda id: text_of(lambda text: get(pointer, id, text, None))[1])

    def path_of(self, id: str) -> str:
        """The path of a disk's image or block device, as it was given."""
        name, get = encoded("id", id), library().kvm_runtime_get_path
        return self._use(lambda pointer: text_of(lambda text: checked(get, pointer, name, text))[1]) or ""

    def add_nic(self, nic: NIC) -> Device:
        """Adds a NIC to the record of a guest that does not run; boot() starts the guest with it."""
        return self._add(library().kvm_runtime_add_nic, nic._request())

    def add_disk(self, disk: Disk) -> Device:
        """Adds a disk to the record of a guest that does not run; boot() starts the guest with it. The image
        is opened and closed again.
        """
        return self._add(library().kvm_runtime_add_disk, disk._request())

    def _add(self, function: Callable[..., int], request: Any) -> Device:
        def use(pointer: Any) -> Device:
            device = _abi.kvm_hotplug_device()
            checked(function, pointer, request, ctypes.sizeof(request), device, ctypes.sizeof(device))
            return self._device(pointer, device)

        return self._use(use)

    def del_device(self, id: str) -> Optional[Device]:
        """Removes a NIC, a disk or a SCSI controller without disks from the record of a guest that does not
        run. It is gone at once if it has never been in the guest, otherwise with the next boot(). None if
        there is no such device.
        """
        request = _abi.kvm_hotplug_del_options(id=encoded("id", id))

        def use(pointer: Any) -> Optional[Device]:
            device = _abi.kvm_hotplug_device()
            function = library().kvm_runtime_del
            code = checked(function, pointer, request, ctypes.sizeof(request), device, ctypes.sizeof(device))
            return None if code == Answer.ABSENT else self._device(pointer, device)

        return self._use(use)

    def set_backing(self, backing: Backing, paths: Sequence[Text] = ()) -> None:
        """Sets where the backing files of the record's disks may be, except for disks with a rule of their
        own. Paths are absolute, at most 64, and only for Backing.FILES and Backing.DIRECTORIES.
        """
        array, rule = texts("paths", paths), number("backing", backing)
        self._call(library().kvm_runtime_set_backing, rule, array, len(paths))

    def set_slot_policy(self, policy: SlotPolicy) -> None:
        """Says which of the free slots a new device gets that asks for none."""
        self._call(library().kvm_runtime_set_slot_policy, number("policy", policy))

    def set_when_full(self, when_full: WhenFull) -> None:
        """Says what an add does that finds no free slot and asks for none: it fails, or the device comes with
        the next boot, which makes a root port or a PCI bridge for it.
        """
        self._call(library().kvm_runtime_set_when_full, number("when_full", when_full))

    def reserve_slots(self, bus: str, first: int, last: int, types: Sequence[DeviceType] = ()) -> None:
        """Reserves slots of a PCI bus, 0 to 31: a device gets one of them only if its request names it, or
        if it is of one of the types. Replaces what was said of the same slots before.
        """
        name, bits = encoded("bus", bus), sum({1 << number("types", one) for one in types})
        first, last = number("first", first), number("last", last)
        self._call(library().kvm_runtime_reserve_slots, name, first, last, bits)

    def release_slots(self, bus: Optional[str] = None) -> None:
        """Takes back what reserve_slots() has reserved, on one bus or on all."""
        name = None if bus is None else encoded("bus", bus)
        self._call(library().kvm_runtime_release_slots, name)

    def give_tap(self, id: str, tap_fds: Sequence[int]) -> None:
        """Gives a NIC that was added with tap_fds its tap for the next start of this record, boot(), also of a
        migration target: one descriptor for each queue, which are duplicated. Without it that call fails with
        ErrorKind.STATE, and check() says so before. It may be another tap than before. A start takes what was
        given for it; the next one needs its taps again.
        """
        array = integers(tap_fds) or (ctypes.c_int32 * 1)()
        self._call(library().kvm_runtime_give_tap, encoded("id", id), array, len(tap_fds))

    def give_secret(self, id: str, name: str, data: bytes) -> None:
        """Gives a disk a secret of its source for the next start of this record, boot(), also of a migration
        target. Without all of them that call fails with ErrorKind.STATE, and check() names before which are
        missing. QEMU reads it from an inherited file in memory, as /proc/self/fd/N, so there has to be a /proc
        where it starts. A start takes what was given for it; the next one needs it again.
        """
        disk, secret = encoded("id", id), encoded("name", name)
        self._call(library().kvm_runtime_give_secret, disk, secret, data, len(data))

    def accept_chain(self, id: str, backing: Backing = Backing.DEFAULT, paths: Sequence[Text] = ()) -> None:
        """Records the present files of a disk's image in place of the recorded ones. While a guest is open
        with the record, call Guest.add_disk() with accept_chain instead.
        """
        name, array, rule = encoded("id", id), texts("paths", paths), number("backing", backing)
        self._call(library().kvm_runtime_accept_chain, name, rule, array, len(paths))

    def format(self) -> RuntimeFormat:
        """That of the file it was loaded from, or the one it was converted to."""
        found = ctypes.c_uint32()
        self._call(library().kvm_runtime_get_format, ctypes.byref(found))
        return RuntimeFormat(found.value)

    def copy(self) -> "Runtime":
        """Copies the record, for a file of another name or for a migration target. The copy has no file until
        save() gives it one. A guest may be open with the record. What unfinished() lists is not copied: a
        device that is being removed is in the copy, one that is being added is not.
        """

        def use(pointer: Any) -> "Runtime":
            made = ctypes.POINTER(_abi.kvm_runtime)()
            checked(library().kvm_runtime_copy, pointer, ctypes.byref(made))
            return Runtime(made)

        return self._use(use, Runtime.close)

    def convert(self, format: RuntimeFormat) -> "Runtime":
        """Copies the record in another format. The copy has no file until save() gives it one."""
        wanted = number("format", format)

        def use(pointer: Any) -> "Runtime":
            made = ctypes.POINTER(_abi.kvm_runtime)()
            checked(library().kvm_runtime_convert, pointer, wanted, ctypes.byref(made))
            return Runtime(made)

        return self._use(use, Runtime.close)

    def settle(self) -> int:
        """Settles the unfinished operations of a guest that is known to be off, by its record, and returns
        how many that were. For a guest that runs this would lose devices: open it instead.
        """
        return self._call(library().kvm_runtime_settle)

    def boot(self, options: Optional[BootOptions] = None) -> Boot:
        """Makes the command that starts the guest, with every NIC and disk exactly as the hot-plug calls give
        them. The guest must not run, and no guest may be open with the record.
        """
        wanted = options or BootOptions()
        request = wanted._request()

        def use(pointer: Any) -> Boot:
            made = ctypes.POINTER(_abi.kvm_boot)()
            checked(library().kvm_runtime_boot, pointer, request, ctypes.sizeof(request), ctypes.byref(made))
            return Boot(made, wanted.fd_base)

        return self._use(use, Boot.close)

    def plan_boot(self, spare_ports: int = 0) -> BootPlan:
        """Says what the next boot results in, without opening or changing anything."""
        plan, spare = _abi.kvm_boot_plan(), number("spare_ports", spare_ports)
        self._call(library().kvm_runtime_plan_boot, spare, plan, ctypes.sizeof(plan))
        return read(BootPlan, plan)

    def check(
        self, *, incoming: bool = False, qmp_path: Optional[Text] = None, timeout: Optional[float] = None
    ) -> List[Problem]:
        """Checks whether this host can start the guest. Nothing is changed.

        `incoming`: the guest will come from another host by migration, not boot.
        `qmp_path`: of a monitor without another client, of any QEMU of the version to be used; None to leave
        QEMU out.
        """
        bits, monitor = flags(runtime_check_incoming=incoming), optional("qmp_path", qmp_path)
        struct, size, end = (
            _abi.kvm_runtime_problem,
            ctypes.sizeof(_abi.kvm_runtime_problem),
            Deadline(timeout),
        )

        def use(pointer: Any) -> List[Problem]:
            def fetch(array: Any, room: int, count: Any) -> int:
                function, left = library().kvm_runtime_check, end.milliseconds()
                return checked(function, pointer, bits, monitor, left, array, size, room, count)

            return [read(Problem, one) for one in listed(struct, 32, fetch)]

        return self._use(use)

    def set_logger(self, logger: Optional[logging.Logger], level: Optional[int] = None) -> None:
        """Sets where log lines of guests go that are opened with this record from now on. Without it nothing
        is logged.

        `logger`: None stops logging. Its handlers run in the middle of a call, maybe in another thread than
        the caller's, and must not wait for one that calls into the same guest.
        `level`: of logging; None for the logger's own.
        """
        self._call(library().kvm_runtime_set_log, *_log.settings(logger, level))

    def _free(self, pointer: Any) -> None:
        library().kvm_runtime_free(pointer)
