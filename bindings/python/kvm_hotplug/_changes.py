"""Calls that change a guest."""

from __future__ import annotations

import ctypes
import dataclasses
from typing import Any, Callable, List, Optional, Sequence

from . import _abi
from ._abi import Answer, Backing, DeviceType, Format
from ._arguments import Deadline, Text, encoded, json_object, number, optional, texts
from ._guest import GuestHandle
from ._library import checked, library
from .answers import AddedMany, Deleted, Device, Result, device_of
from .errors import DelManyError, KvmHotplugError
from .requests import NIC, Bandwidth, Controller, Disk, DiskLimits, bandwidth, flags

# No call returns it.
_UNWRITTEN = -(2**31)


class Changes(GuestHandle):
    """Adding, removing and changing. A timeout is in seconds, and covers all of the call; None means 5 s, for
    a removal 20 s.
    """

    def add_nic(self, nic: NIC, timeout: Optional[float] = None) -> Result:
        """Plugs a NIC into the guest and records it: all of it or nothing. With an id that exists and the
        same settings it succeeds and changes nothing.

        Answers Answer.DONE (in the guest), Answer.AFTER_REBOOT (recorded, the reason says why), or with
        no_wait Answer.PENDING.
        """
        return self._add(library().kvm_hotplug_add_nic, nic, timeout)

    def add_disk(self, disk: Disk, timeout: Optional[float] = None) -> Result:
        """Plugs a disk into the guest and records it, as add_nic() does. QEMU opens no file itself."""
        return self._add(library().kvm_hotplug_add_disk, disk, timeout)

    def add_controller(self, controller: Controller, timeout: Optional[float] = None) -> Result:
        """Plugs a SCSI controller into the guest and records it. add_disk() does this for the first SCSI
        disk.
        """
        return self._add(library().kvm_hotplug_add_controller, controller, timeout)

    def _add(self, function: Callable[..., int], wanted: Any, timeout: Optional[float]) -> Result:
        request = wanted._request()

        def call(pointer: Any, milliseconds: int, device: Any) -> int:
            request.timeout_ms = milliseconds
            return checked(function, pointer, request, ctypes.sizeof(request), device, ctypes.sizeof(device))

        return self._result(wanted.id, timeout, call)

    def add_many(
        self,
        nics: Sequence[NIC] = (),
        disks: Sequence[Disk] = (),
        *,
        no_wait: bool = False,
        timeout: Optional[float] = None,
    ) -> AddedMany:
        """Plugs several NICs and disks into the guest as one operation: all of them or nothing. If one cannot
        be added, the others are removed again. At most BATCH_MAX together.
        """
        end = Deadline(timeout)
        nic_array = (_abi.kvm_hotplug_nic * len(nics))(*(nic._request() for nic in nics))
        disk_array = (_abi.kvm_hotplug_disk * len(disks))(*(disk._request() for disk in disks))
        batch = _abi.kvm_hotplug_add_batch(
            nics=nic_array,
            nic_size=ctypes.sizeof(_abi.kvm_hotplug_nic),
            nic_count=len(nics),
            disks=disk_array,
            disk_size=ctypes.sizeof(_abi.kvm_hotplug_disk),
            disk_count=len(disks),
            flags=flags(no_wait=no_wait),
        )

        def use(pointer: Any) -> AddedMany:
            devices = (_abi.kvm_hotplug_device * max(len(nics) + len(disks), 1))()
            batch.timeout_ms = end.milliseconds()
            size, room = ctypes.sizeof(batch), ctypes.sizeof(_abi.kvm_hotplug_device)
            code = checked(library().kvm_hotplug_add_many, pointer, batch, size, devices, room)
            added = devices[: len(nics) + len(disks)]
            return AddedMany(Answer(code), [self._device(pointer, device) for device in added])

        return self._use(use)

    def del_device(
        self,
        id: str,
        *,
        no_wait: bool = False,
        live_only: bool = False,
        leave_overlay: bool = False,
        timeout: Optional[float] = None,
    ) -> Result:
        """Removes a device from the guest and its record: asks the guest, waits until QEMU reports that this
        very device is gone, and tears down its backend, which is not touched before that. The call may be
        repeated.

        Answers Answer.DONE (gone: its storage or tap may be torn down), Answer.PENDING (the guest has not
        released it; the reason says what it is doing, an event will follow), Answer.AFTER_REBOOT or
        Answer.ABSENT.

        `no_wait`: ask the guest, but do not wait for it.
        `live_only`: now or not at all.
        `leave_overlay`: also a disk whose data is in an image outside of the record, which stays.
        """
        bits = flags(no_wait=no_wait, live_only=live_only, del_leave_overlay=leave_overlay)
        request = _abi.kvm_hotplug_del_options(id=encoded("id", id), flags=bits)

        def call(pointer: Any, milliseconds: int, device: Any) -> int:
            request.timeout_ms = milliseconds
            function = library().kvm_hotplug_del
            return checked(function, pointer, request, ctypes.sizeof(request), device, ctypes.sizeof(device))

        return self._removed(id, timeout, call)

    def del_nic(self, id: str, timeout: Optional[float] = None) -> Result:
        """del_device() for NICs only: another device of that id is left alone, with ErrorKind.INVALID."""
        return self._del(library().kvm_hotplug_del_nic, id, timeout)

    def del_disk(self, id: str, timeout: Optional[float] = None) -> Result:
        """del_device() for disks only."""
        return self._del(library().kvm_hotplug_del_disk, id, timeout)

    def del_controller(self, id: str, timeout: Optional[float] = None) -> Result:
        """del_device() for SCSI controllers only; ErrorKind.CONFLICT while there are disks on it."""
        return self._del(library().kvm_hotplug_del_controller, id, timeout)

    def _del(self, function: Callable[..., int], id: str, timeout: Optional[float]) -> Result:
        name, get = encoded("id", id), library().kvm_hotplug_get_device

        def call(pointer: Any, milliseconds: int, device: Any) -> int:
            # What it was, and why it still is.
            get(pointer, name, device, ctypes.sizeof(device), None)
            code = checked(function, pointer, name, milliseconds)
            if code in (Answer.PENDING, Answer.AFTER_REBOOT):
                get(pointer, name, device, ctypes.sizeof(device), None)
            return code

        return self._removed(id, timeout, call)

    def _removed(self, id: str, timeout: Optional[float], remove: Callable[[Any, int, Any], int]) -> Result:
        name, path = encoded("id", id), None

        def call(pointer: Any, milliseconds: int, device: Any) -> int:
            nonlocal path
            path = self._path(pointer, name)
            return remove(pointer, milliseconds, device)

        result = self._result(id, timeout, call)
        if path and not result.device.path and result.device.device_type == DeviceType.DISK:
            return dataclasses.replace(result, device=dataclasses.replace(result.device, path=path))
        return result

    def del_many(
        self,
        ids: Sequence[str],
        *,
        no_wait: bool = False,
        live_only: bool = False,
        leave_overlay: bool = False,
        timeout: Optional[float] = None,
    ) -> List[Deleted]:
        """Removes several devices: the guest is asked for all of them at once, and they are waited for
        together. Each has its own answer, in the order of ids; one that stays keeps none of the others.

        Fails with the error of the first device that has one, as a DelManyError, which has the answers of
        all; or with another KvmHotplugError if the guest could not be asked at all.
        """
        bits = flags(no_wait=no_wait, live_only=live_only, del_leave_overlay=leave_overlay)
        end, names = Deadline(timeout), [encoded("an id", id) for id in ids]
        batch = _abi.kvm_hotplug_del_batch(ids=texts("ids", ids), id_count=len(ids), flags=bits)

        def use(pointer: Any) -> List[Deleted]:
            paths = [self._path(pointer, name) for name in names]
            devices = (_abi.kvm_hotplug_device * max(len(ids), 1))()
            answers = (ctypes.c_int * max(len(ids), 1))(_UNWRITTEN)
            batch.timeout_ms = end.milliseconds()
            size, room = ctypes.sizeof(batch), ctypes.sizeof(_abi.kvm_hotplug_device)

            def found() -> List[Deleted]:
                return [_deleted(*one) for one in zip(ids, answers, devices, paths)]

            try:
                checked(library().kvm_hotplug_del_many, pointer, batch, size, devices, room, answers)
            except KvmHotplugError as error:
                if answers[0] == _UNWRITTEN:
                    raise
                raise DelManyError.of(error, found()) from None
            return found()

        return self._use(use)

    def set_link(self, id: str, up: bool, timeout: Optional[float] = None) -> Result:
        """Sets the link of a NIC up or down: the guest sees its carrier change. Recorded."""
        return self._change(library().kvm_hotplug_set_link, id, timeout, 1 if up else 0)

    def set_bridge(self, id: str, bridge: Optional[str], timeout: Optional[float] = None) -> Result:
        """Moves the tap of a NIC to another bridge of the host, or with None out of any. Recorded."""
        return self._change(library().kvm_hotplug_set_bridge, id, timeout, optional("bridge", bridge))

    def set_nic_limits(
        self,
        id: str,
        inbound: Optional[Bandwidth] = None,
        outbound: Optional[Bandwidth] = None,
        timeout: Optional[float] = None,
    ) -> Result:
        """Sets how much the guest may receive and send over a NIC, in both directions at once. Recorded.

        `inbound`: limit of what it receives; None for no limit.
        `outbound`: limit of what it sends; None for no limit.
        """
        (average, burst), sends = bandwidth("inbound", inbound), bandwidth("outbound", outbound)
        limits = _abi.kvm_hotplug_nic_limits(
            inbound_average=average,
            inbound_burst=burst,
            outbound_average=sends[0],
            outbound_burst=sends[1],
        )
        size = ctypes.sizeof(limits)
        return self._change(library().kvm_hotplug_set_nic_limits, id, timeout, ctypes.byref(limits), size)

    def set_disk_limits(
        self, id: str, limits: Optional[DiskLimits] = None, timeout: Optional[float] = None
    ) -> Result:
        """Sets how much I/O a disk may do while the guest uses it, and with it all disks of its group.

        None lifts the limits. Recorded. Works for a disk that was added without limits.
        """
        text = json_object("limits", limits)
        return self._change(library().kvm_hotplug_set_disk_limits, id, timeout, text)

    def _change(self, function: Callable[..., int], id: str, timeout: Optional[float], *values: Any) -> Result:
        name, get = encoded("id", id), library().kvm_hotplug_get_device

        def call(pointer: Any, milliseconds: int, device: Any) -> int:
            code = checked(function, pointer, name, *values, milliseconds)
            get(pointer, name, device, ctypes.sizeof(device), None)
            return code

        return self._result(id, timeout, call)

    def resize_disk(
        self, id: str, size: int = 0, *, shrink: bool = False, timeout: Optional[float] = None
    ) -> int:
        """Resizes a disk while the guest uses it, and returns the bytes that it has now.

        `size`: bytes, a multiple of 512; 0 for what the image or block device has now, after it was grown
        from outside.
        `shrink`: the disk may shrink. Data beyond its new end is lost.
        """
        name, wanted, now = encoded("id", id), number("size", size, 2**64 - 1), ctypes.c_uint64()
        bits, end = flags(resize_shrink=shrink), Deadline(timeout)

        def use(pointer: Any) -> int:
            function, left = library().kvm_hotplug_resize_disk, end.milliseconds()
            checked(function, pointer, name, wanted, bits, left, ctypes.byref(now))
            return now.value

        return self._use(use)

    def change_media(
        self,
        id: str,
        path: Optional[Text] = None,
        *,
        format: Format = Format.RAW,
        backing: Backing = Backing.DEFAULT,
        backing_paths: Sequence[Text] = (),
        force: bool = False,
        timeout: Optional[float] = None,
    ) -> Result:
        """Changes the medium of a CD drive while the guest runs. Recorded.

        `path`: absolute path of the new medium's image; None takes out the medium that is in the drive.
        `force`: open the tray also if the guest has locked it.

        Answers Answer.DONE, Answer.AFTER_REBOOT, or Answer.PENDING for a guest that has locked the tray until
        the deadline: nothing is changed then, and the call can be repeated.
        """
        name = encoded("id", id)
        request = _abi.kvm_hotplug_medium(
            path=optional("path", path),
            backing_paths=texts("backing_paths", backing_paths),
            format=number("format", format),
            backing=number("backing", backing),
            backing_count=len(backing_paths),
            force=1 if force else 0,
        )

        def call(pointer: Any, milliseconds: int, device: Any) -> int:
            request.timeout_ms = milliseconds
            change, size = library().kvm_hotplug_change_media, ctypes.sizeof(request)
            return checked(change, pointer, name, request, size, device, ctypes.sizeof(device))

        return self._result(id, timeout, call)


def _deleted(id: str, code: int, struct: Any, path: Optional[str]) -> Deleted:
    if code < 0:
        return Deleted(id, None, -code)
    device = device_of(struct, lambda _: path)
    return Deleted(id, Result(Answer(code), device if device.id else Device(id)))
