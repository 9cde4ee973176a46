"""Calls that look at a guest."""

from __future__ import annotations

import ctypes
import json
from typing import Any, Callable, Dict, List, Mapping, Optional, Type, TypeVar

from . import _abi
from ._abi import Answer, State
from ._arguments import Deadline, encoded, optional, signed
from ._guest import GuestHandle
from ._library import checked, library, listed, text_of
from .answers import Device, Difference, Plan, Slot, plan_of, read
from .requests import NIC, Controller, Disk, flags

A = TypeVar("A")


class Looks(GuestHandle):
    """Lists, plans and comparisons, and QMP commands of the caller's own. A timeout is in seconds; None means
    5 s.
    """

    def devices(self) -> List[Device]:
        """The devices of the record, and those that are only being removed. QEMU is not asked."""
        struct, size = _abi.kvm_hotplug_device, ctypes.sizeof(_abi.kvm_hotplug_device)

        def use(pointer: Any) -> List[Device]:
            def fetch(array: Any, room: int, count: Any) -> int:
                return checked(library().kvm_hotplug_list, pointer, array, size, room, count)

            return [self._device(pointer, one) for one in listed(struct, 16, fetch)]

        return self._use(use)

    def device(self, id: str) -> Optional[Device]:
        """One device by its id; None if there is no such device. QEMU is not asked."""
        name = encoded("id", id)

        def use(pointer: Any) -> Optional[Device]:
            device = _abi.kvm_hotplug_device()
            code = checked(library().kvm_hotplug_get_device, pointer, name, device, ctypes.sizeof(device))
            return None if code == State.ABSENT else self._device(pointer, device)

        return self._use(use)

    def path_of(self, id: str) -> str:
        """The path of a disk's image or block device, as it was given."""
        return self._text(library().kvm_hotplug_get_path, encoded("id", id))[1] or ""

    def describe(self, id: str, timeout: Optional[float] = None) -> Optional[Dict[str, Any]]:
        """What is known of a device, also what only guest and host know; docs/json.md lists the members. None
        if there is no such device.
        """
        found = self._described(encoded("id", id), timeout)
        return None if found is None else dict(found)

    def describe_all(self, timeout: Optional[float] = None) -> List[Dict[str, Any]]:
        """What is known of all devices, as describe() says it."""
        return list(self._described(None, timeout) or ())

    def describe_unrecorded(self, timeout: Optional[float] = None) -> List[Dict[str, Any]]:
        """The NICs, disks and SCSI controllers that the guest has and the record has not: those of another
        program, and those without an id, with their path in QOM. docs/json.md lists the members.
        """
        left = Deadline(timeout).milliseconds()
        text = self._text(library().kvm_hotplug_describe_unrecorded, left)[1]
        return list(json.loads(text or "[]"))

    def capabilities(self, timeout: Optional[float] = None) -> Dict[str, Any]:
        """What the guest's QEMU knows of device models; docs/json.md lists the members. An agent keeps it for
        all guests of one build of QEMU: see give_capabilities().
        """
        left = Deadline(timeout).milliseconds()
        return dict(json.loads(self._text(library().kvm_hotplug_get_capabilities, left)[1] or "{}"))

    def give_capabilities(self, known: Dict[str, Any], timeout: Optional[float] = None) -> None:
        """Gives the library what another guest of the same build of QEMU has said, so that this one is not
        asked. With another build it is an Error with ESTALE.
        """
        text = encoded("known", json.dumps(known))
        left = Deadline(timeout).milliseconds()
        self._use(lambda pointer: checked(library().kvm_hotplug_give_capabilities, pointer, text, left))

    def _described(self, id: Optional[bytes], timeout: Optional[float]) -> Any:
        left = Deadline(timeout).milliseconds()
        code, text = self._text(library().kvm_hotplug_describe, id, left)
        return None if code == Answer.ABSENT or text is None else json.loads(text)

    def slots(self, timeout: Optional[float] = None) -> List[Slot]:
        """Every slot of every PCI bus as the guest has it now, in the order in which free slots are chosen;
        then the SCSI buses: of their targets those in use, and the free one that is chosen next.
        """
        return self._list(library().kvm_hotplug_slot_map, _abi.kvm_hotplug_slot, Slot, 128, timeout)

    def verify(self, timeout: Optional[float] = None) -> List[Difference]:
        """Compares record and guest both ways. Nothing is changed, except that unfinished operations are
        settled.
        """
        return self._list(library().kvm_hotplug_verify, _abi.kvm_hotplug_difference, Difference, 64, timeout)

    def repair(self, timeout: Optional[float] = None) -> List[Difference]:
        """Repairs the differences that need no decision, and returns those that are left."""
        return self._list(library().kvm_hotplug_repair, _abi.kvm_hotplug_difference, Difference, 64, timeout)

    def _list(
        self,
        function: Callable[..., int],
        struct: Type[Any],
        answer: Type[A],
        room: int,
        timeout: Optional[float],
    ) -> List[A]:
        return [read(answer, one) for one in self._use(self._lister(function, struct, room, timeout))]

    @staticmethod
    def _lister(
        function: Callable[..., int], struct: Type[Any], room: int, timeout: Optional[float]
    ) -> Callable[[Any], List[Any]]:
        end, size = Deadline(timeout), ctypes.sizeof(struct)

        def use(pointer: Any) -> List[Any]:
            def fetch(array: Any, capacity: int, count: Any) -> int:
                return checked(function, pointer, end.milliseconds(), array, size, capacity, count)

            return listed(struct, room, fetch)

        return use

    def settle(self, timeout: Optional[float] = None) -> List[Device]:
        """Finishes or undoes the unfinished operations, as opening does, and returns the devices that the
        guest was asked to release and has not released. If there are none, the runtime file can be taken to
        another host.
        """
        fetch = self._lister(library().kvm_hotplug_settle, _abi.kvm_hotplug_device, 16, timeout)
        return self._use(lambda pointer: [self._device(pointer, one) for one in fetch(pointer)])

    def plan_nic(self, nic: NIC, timeout: Optional[float] = None) -> Plan:
        """Says what add_nic() would do with the same request, without doing it."""
        return self._plan(library().kvm_hotplug_plan_nic, nic._request(), nic.id, timeout)

    def plan_disk(self, disk: Disk, timeout: Optional[float] = None) -> Plan:
        """Says what add_disk() would do with the same request, without doing it. The image is opened and
        closed.
        """
        return self._plan(library().kvm_hotplug_plan_disk, disk._request(), disk.id, timeout)

    def plan_controller(self, controller: Controller, timeout: Optional[float] = None) -> Plan:
        """Says what add_controller() would do with the same request, without doing it."""
        return self._plan(
            library().kvm_hotplug_plan_controller, controller._request(), controller.id, timeout
        )

    def plan_del(
        self,
        id: str,
        *,
        live_only: bool = False,
        leave_overlay: bool = False,
        timeout: Optional[float] = None,
    ) -> Plan:
        """Says what del_device() would do with the same request, if the guest releases the device."""
        bits = flags(live_only=live_only, del_leave_overlay=leave_overlay)
        request = _abi.kvm_hotplug_del_options(id=encoded("id", id), flags=bits)
        return self._plan(library().kvm_hotplug_plan_del, request, id, timeout)

    def _plan(
        self, function: Callable[..., int], request: Any, id: Optional[str], timeout: Optional[float]
    ) -> Plan:
        end = Deadline(timeout)

        def use(pointer: Any) -> Plan:
            device = _abi.kvm_hotplug_device()
            request.timeout_ms = end.milliseconds()
            sizes = ctypes.sizeof(request), ctypes.sizeof(device)
            code, text = text_of(
                lambda text: checked(function, pointer, request, sizes[0], device, sizes[1], text)
            )
            return plan_of(code, self._device(pointer, device, id), text)

        return self._use(use)

    def qmp(
        self,
        execute: str,
        arguments: Optional[Mapping[str, Any]] = None,
        *,
        fd: Optional[int] = None,
        force: bool = False,
        timeout: Optional[float] = None,
    ) -> Any:
        """Runs a QMP command of the caller's own over the guest's connection, and returns what QEMU returned.

        `fd`: descriptor that QEMU gets with it (getfd, add-fd).
        `force`: send the command even if the record will be wrong after it; docs/qmp.md lists those commands.
        """
        command = _abi.kvm_hotplug_command(
            execute=encoded("execute", execute),
            arguments=optional("arguments", None if arguments is None else json.dumps(arguments)),
            fd=signed("fd", fd or 0),
            flags=flags(qmp_force=force, qmp_pass_fd=fd is not None),
            timeout_ms=Deadline(timeout).milliseconds(),
        )
        text = self._text(library().kvm_hotplug_qmp, command, ctypes.sizeof(command))[1]
        return None if text is None else json.loads(text)
