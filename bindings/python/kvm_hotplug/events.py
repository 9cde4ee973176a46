"""News that no call answers itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Type, TypeVar

from ._abi import DeviceType, ErrorKind, EventType, IOAction
from ._enumeration import Enumeration
from .errors import KvmHotplugError

E = TypeVar("E", bound=Enumeration)


@dataclass(frozen=True)
class Event:
    """One event. What a call itself answers is no event."""

    #: EventType(0) for a type that this version does not know; skip it, or see json["event"].
    type: EventType
    #: Id, type and attachment of the device; empty for events about the guest.
    id: str = ""
    device_type: DeviceType = DeviceType(0)
    generation: int = 0
    #: Of a NIC: its tap on the host.
    ifname: str = ""
    #: Details in words.
    text: str = ""
    #: How often it has happened since it was last fetched.
    times: int = 0
    #: EventType.LOST: how many were dropped.
    lost: int = 0
    #: EventType.IO_ERROR: "read" or "write", what QEMU did about it, and whether there was no space left.
    operation: str = ""
    action: IOAction = IOAction(0)
    no_space: bool = False
    #: EventType.SHUTDOWN and RESET: the guest did it by itself.
    by_guest: bool = False
    #: EventType.ADD_FAILED: what the add would have failed with if it had been waited for.
    error: Optional[KvmHotplugError] = None
    #: EventType.QMP: the event as QEMU sent it, with "event", "data" and "timestamp".
    qmp: Optional[Dict[str, Any]] = None
    #: All members; docs/json.md lists them.
    json: Mapping[str, Any] = field(default_factory=dict, repr=False)


def event_of(text: str) -> Event:
    members: Mapping[str, Any] = json.loads(text)
    error = None
    if members.get("error_kind"):
        kind = _known(ErrorKind, members["error_kind"])
        error = KvmHotplugError(members.get("error_number") or 0, members.get("text") or "", kind=kind)
    return Event(
        type=_known(EventType, members.get("event")),
        id=members.get("id") or "",
        device_type=_known(DeviceType, members.get("type")),
        generation=members.get("generation") or 0,
        ifname=members.get("ifname") or "",
        text=members.get("text") or "",
        times=members.get("times") or 0,
        lost=members.get("lost") or 0,
        operation=members.get("operation") or "",
        action=_known(IOAction, members.get("action")),
        no_space=bool(members.get("no_space")),
        by_guest=bool(members.get("by_guest")),
        error=error,
        qmp=members.get("qmp"),
        json=members,
    )


def _known(enumeration: Type[E], text: Optional[str]) -> E:
    """A value by its text; 0 for what a newer library says."""
    try:
        return enumeration.parse(text or "")
    except ValueError:
        return enumeration(0)
