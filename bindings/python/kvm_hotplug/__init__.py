"""Plugs NICs, disks and SCSI controllers into running QEMU/KVM guests, removes them, and keeps the runtime
file from which an identical guest is started: libkvm_hotplug for Python.

    from kvm_hotplug import NIC, Answer, Guest, KvmHotplugError, Runtime

    record = Runtime.load("/run/agent/web1.runtime")
    with record, Guest.open(record, "/run/agent/web1.qmp") as guest:
        added = guest.add_nic(NIC(bridge="br0", queues=2))
        # Answer.DONE: in the guest now. Answer.AFTER_REBOOT: recorded only, added.reason_text says why.
        gone = guest.del_disk("disk-pci-6", timeout=10)
        # Answer.DONE: its storage may be torn down. Answer.PENDING: asked, an event will follow.

Calls fail with KvmHotplugError. A timeout is in seconds and covers all of a call.
"""

from ._abi import (
    ABI_VERSION,
    AIO,
    BATCH_MAX,
    DEFAULT_DEL_TIMEOUT_MS,
    DEFAULT_TIMEOUT_MS,
    AddressType,
    Answer,
    Backing,
    Cache,
    DetectZeroes,
    DeviceType,
    DifferenceKind,
    Discard,
    ErrorKind,
    EventType,
    Format,
    Incoming,
    IOAction,
    Machine,
    ProblemKind,
    Reason,
    RuntimeFormat,
    SlotPolicy,
    WhenFull,
    SlotState,
    State,
    Undo,
    Vhost,
)
from ._abi import VERSION as __version__
from ._library import thread, version
from .answers import (
    AddedMany,
    Applied,
    AppliedDevice,
    BootPlan,
    Deleted,
    Device,
    Difference,
    Plan,
    Problem,
    Result,
    Slot,
)
from .boot import Boot
from .errors import ApplyError, DelManyError, KvmHotplugError
from .events import Event
from .guest import Guest
from .requests import NIC, Bandwidth, BootOptions, Controller, Disk, SCSIAddress
from .runtime import Runtime
from .sources import LUKS, NBD, RBD
from .tap import Tap

__all__ = [
    "ABI_VERSION",
    "AIO",
    "AddedMany",
    "AddressType",
    "Answer",
    "Applied",
    "AppliedDevice",
    "ApplyError",
    "BATCH_MAX",
    "Backing",
    "Bandwidth",
    "Boot",
    "BootOptions",
    "BootPlan",
    "Cache",
    "Controller",
    "DEFAULT_DEL_TIMEOUT_MS",
    "DEFAULT_TIMEOUT_MS",
    "DelManyError",
    "Deleted",
    "DetectZeroes",
    "Device",
    "DeviceType",
    "Difference",
    "DifferenceKind",
    "Discard",
    "Disk",
    "ErrorKind",
    "Event",
    "EventType",
    "Format",
    "Guest",
    "IOAction",
    "Incoming",
    "KvmHotplugError",
    "LUKS",
    "Machine",
    "NBD",
    "NIC",
    "Plan",
    "Problem",
    "ProblemKind",
    "RBD",
    "Reason",
    "Result",
    "Runtime",
    "RuntimeFormat",
    "SCSIAddress",
    "Slot",
    "SlotPolicy",
    "WhenFull",
    "SlotState",
    "State",
    "Tap",
    "Undo",
    "Vhost",
    "__version__",
    "thread",
    "version",
]
