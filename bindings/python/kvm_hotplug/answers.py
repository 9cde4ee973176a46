"""What calls answer."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar

from ._abi import (
    AIO,
    AddressType,
    Answer,
    Cache,
    DetectZeroes,
    DeviceType,
    DifferenceKind,
    Discard,
    Format,
    Machine,
    ProblemKind,
    Reason,
    SlotState,
    State,
)

A = TypeVar("A")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _place(value: int) -> Optional[int]:
    """In the boot order; below 0 is none."""
    return None if value < 0 else value


# Numbers, truth values and enumerations are made by their types.
_READERS: Dict[Any, Callable[[Any], Any]] = {str: _text, Optional[int]: _place}


@functools.lru_cache(maxsize=None)
def _readers(answer: Type[Any]) -> Tuple[Tuple[str, Callable[[Any], Any]], ...]:
    """How to read each field of a struct."""
    kinds = typing.get_type_hints(answer)
    names = [field.name for field in dataclasses.fields(answer)]
    return tuple((name, _READERS.get(kinds[name], kinds[name])) for name in names)


def read(answer: Type[A], struct: Any) -> A:
    """The answer that a struct has, whose fields are called alike."""
    known: Any = answer
    return answer(**{name: reader(getattr(struct, name)) for name, reader in _readers(known)})


@dataclass(frozen=True)
class Device:
    """A NIC, disk or SCSI controller of a record or guest. Fields that do not apply are empty."""

    #: Id in QEMU, also of its netdev or block node.
    id: str = ""
    device_type: DeviceType = DeviceType(0)
    state: State = State.ABSENT
    #: Why the state is not State.LIVE, as a number and in words.
    reason: Reason = Reason.NONE
    reason_text: str = ""
    #: The next boot removes the device.
    removed_after_reboot: bool = False
    #: QEMU device model.
    model: str = ""
    #: Bus, and which fields say where on it: slot, or channel, target and lun.
    bus: str = ""
    address_type: AddressType = AddressType.NONE
    slot: int = 0
    channel: int = 0
    target: int = 0
    lun: int = 0
    #: Queue pairs (NIC), virtqueues (disk), request queues; 0: QEMU's default.
    queues: int = 0
    #: Tells this attachment from earlier ones of the same id.
    generation: int = 0
    #: Place in the firmware's boot order.
    boot_index: Optional[int] = None
    #: NIC: its address; the tap when it was added; the bridge; whether vhost-net moves the packets; the MTU
    #: announced to the guest; whether its link is recorded as down.
    mac: str = ""
    ifname: str = ""
    bridge: str = ""
    vhost: bool = False
    mtu: int = 0
    link_down: bool = False
    #: Disk: as in Disk.
    path: str = ""
    serial: str = ""
    wwn: int = 0
    format: Format = Format.RAW
    cache: Cache = Cache.WRITEBACK
    aio: AIO = AIO.THREADS
    discard: Discard = Discard.IGNORE
    detect_zeroes: DetectZeroes = DetectZeroes.OFF
    logical_block_size: int = 0
    physical_block_size: int = 0
    read_only: bool = False
    share_rw: bool = False
    #: In the guest: slot and function of each bridge from the root bus on, and of the device ("10.0/00.0"); of
    #: a SCSI disk, those of its controller. Empty where it is not known, as the next three.
    pci_path: str = ""
    #: Domain, bus, slot and function as the guest sees them ("0000:01:00.0").
    guest_address: str = ""
    #: What Linux with udev of systemd calls the device by that address: "enp1s0", or
    #: "/dev/disk/by-path/pci-0000:00:05.0".
    guest_name: str = ""
    #: NIC on pci.0 of machine pc: "ens5", which Linux with systemd prefers.
    guest_slot_name: str = ""


def device_of(struct: Any, path_of: Callable[[bytes], Optional[str]]) -> Device:
    """A device. `path_of` gives the path of a disk, which the struct may have no room for."""
    device = read(Device, struct)
    if not device.id:
        return Device()
    if device.device_type == DeviceType.DISK and not device.path:
        return dataclasses.replace(device, path=path_of(struct.id) or "")
    return device


@dataclass(frozen=True)
class Result:
    """The answer of a call about a device."""

    answer: Answer
    #: The device that was added, or is being removed; empty but for the id if there is no such device.
    device: Device

    @property
    def reason(self) -> Reason:
        """Why the answer is not Answer.DONE."""
        return self.device.reason if self._waits() else Reason.NONE

    @property
    def reason_text(self) -> str:
        return self.device.reason_text if self._waits() else ""

    def _waits(self) -> bool:
        return self.answer in (Answer.PENDING, Answer.AFTER_REBOOT)


@dataclass(frozen=True)
class AddedMany:
    """The answer of Guest.add_many()."""

    answer: Answer
    #: NICs first, then disks, in the order in which they were given.
    devices: List[Device]


@dataclass(frozen=True)
class Deleted:
    """What became of one of several devices."""

    id: str
    #: None if its removal failed; errno says how.
    result: Optional[Result]
    #: That of the failure, or 0.
    errno: int = 0


@dataclass(frozen=True)
class AppliedDevice:
    """One device of Guest.apply() or Guest.add_json(), with what was to be done about it."""

    #: None for one that has not been given an id.
    id: Optional[str]
    #: nic, disk or controller.
    type: str
    #: none, add, del, change or replace; why says why.
    action: str
    why: str
    #: done, after-reboot, pending, refused, failed or left (nothing has been done); reason says why.
    answer: str
    reason: str
    generation: Optional[int]
    bus: Optional[str]
    slot: Optional[int]
    channel: Optional[int]
    target: Optional[int]
    lun: Optional[int]


@dataclass(frozen=True)
class Applied:
    """What has become of the devices of a list, or would."""

    #: The sum of the answers of the devices: DONE, PENDING or AFTER_REBOOT.
    answer: Answer
    #: Those of the list in its order, then those that were to go.
    devices: List[AppliedDevice]

    @property
    def changes(self) -> int:
        """About how many devices something was to be done."""
        return sum(device.action != "none" for device in self.devices)


def applied_of(answer: Answer, members: List[Dict[str, Any]]) -> Applied:
    # Newer versions may add members.
    names = [field.name for field in dataclasses.fields(AppliedDevice)]
    return Applied(answer, [AppliedDevice(**{name: one.get(name) for name in names}) for one in members])


@dataclass(frozen=True)
class Plan(Result):
    """What a call would answer, with the device as it would be."""

    #: The commands that QEMU would get, in order, each with "execute" and "arguments".
    commands: List[Dict[str, Any]]
    #: What would be done on the host, in sentences.
    host: List[str]
    #: Of an add: how many free slots of PCI such a device gets unasked afterwards; None for others.
    slots_left: Optional[int] = None


def plan_of(answer: int, device: Device, text: Optional[str]) -> Plan:
    # The other members are those of the device.
    members: Mapping[str, Any] = json.loads(text or "{}")
    commands, host = list(members.get("commands") or ()), list(members.get("host") or ())
    return Plan(Answer(answer), device, commands, host, members.get("slots_left"))


@dataclass(frozen=True)
class Slot:
    """One slot of one bus."""

    bus: str
    #: Which fields say where on it: slot, or channel, target and lun.
    address_type: AddressType
    slot: int
    channel: int
    target: int
    lun: int
    state: SlotState
    #: Id of the device there, or a description if it has no id; empty for none.
    occupant: str


@dataclass(frozen=True)
class Difference:
    """One disagreement between record and guest."""

    #: Id of the device, node or netdev, or of an fdset's device.
    id: str
    kind: DifferenceKind
    #: What the record says, what the guest shows, and all of it in one sentence.
    recorded: str
    found: str
    text: str
    #: Guest.repair() repairs it.
    repairable: bool


@dataclass(frozen=True)
class Problem:
    """One thing that prevents a start."""

    #: Id of the device; empty for the guest as a whole.
    id: str
    kind: ProblemKind
    text: str


@dataclass(frozen=True)
class BootPlan:
    """How full the next boot will be."""

    machine: Machine
    #: NICs and disks it starts with.
    devices: int
    #: Devices that it then has room for: free slots of pci.0 or free root ports.
    free: int
    #: Root ports that the command makes, and how many of those the last boot did not have.
    ports: int
    new_ports: int
    #: PCI bridges that the command makes, on pc, and how many of those the last boot did not have.
    bridges: int
    new_bridges: int
