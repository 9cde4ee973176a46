"""Devices as JSON: adding them, and making a guest have the devices of a list."""

from __future__ import annotations

import ctypes
import json
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from . import _abi
from ._abi import Answer
from ._arguments import Deadline, encoded
from ._guest import GuestHandle
from ._library import library
from .answers import Applied, applied_of
from .errors import ApplyError, KvmHotplugError, taken
from .requests import flags

#: Devices as JSON text, or as what json.dumps() makes it of.
Devices = Union[str, Dict[str, Any], Sequence[Dict[str, Any]]]


class Wanted(GuestHandle):
    """Calls that take JSON. docs/json.md lists the members."""

    def add_json(
        self,
        devices: Devices,
        *,
        live_only: bool = False,
        no_wait: bool = False,
        timeout: Optional[float] = None,
    ) -> Applied:
        """Adds the device that a JSON object describes, or those of a list, as one operation: all of them or
        nothing. The members are those of NIC, Disk and Controller, with a "type".

        `live_only`: now or not at all.
        `no_wait`: do not wait for QEMU; events report the results.
        `timeout`: seconds; None means 5.
        """
        bits = flags(live_only=live_only, no_wait=no_wait)
        failure, applied = self._send(library().kvm_hotplug_add_json, devices, bits, timeout)
        if failure is not None:
            raise failure
        return applied

    def apply(
        self,
        devices: Devices,
        *,
        plan_only: bool = False,
        keep_others: bool = False,
        replace: bool = False,
        live_only: bool = False,
        no_wait: bool = False,
        timeout: Optional[float] = None,
    ) -> Applied:
        """Makes the guest have the NICs and disks of a list and no others, or says what that takes. Each
        device has an id. Links and bridges are changed in place; what is missing is added; what is not in the
        list is removed. The same list once more does nothing.

        `plan_only`: say what would be done, and do nothing.
        `keep_others`: NICs and disks that are not in the list stay.
        `replace`: a device whose settings differ in what cannot be changed is removed and added.
        `live_only`: now or not at all.
        `no_wait`: ask the guest to release devices, but do not wait for it.
        `timeout`: seconds; None means 20.

        If it fails after it has decided what is to be done, it fails with an ApplyError, whose `applied` says
        what is done and what is left.
        """
        bits = flags(
            apply_plan=plan_only,
            apply_keep_others=keep_others,
            apply_replace=replace,
            live_only=live_only,
            no_wait=no_wait,
        )
        failure, applied = self._send(library().kvm_hotplug_apply, devices, bits, timeout)
        if failure is None:
            return applied
        raise ApplyError.of(failure, applied) if applied.devices else failure

    def _send(
        self, function: Any, devices: Devices, bits: int, timeout: Optional[float]
    ) -> Tuple[Optional[KvmHotplugError], Applied]:
        text = encoded("devices", devices if isinstance(devices, str) else json.dumps(devices))
        end = Deadline(timeout)

        def use(pointer: Any) -> Tuple[Optional[KvmHotplugError], Applied]:
            answer = ctypes.POINTER(ctypes.c_char)()
            failure = ctypes.POINTER(_abi.kvm_hotplug_error)()
            code = function(
                pointer, text, end.milliseconds(), bits, ctypes.byref(answer), ctypes.byref(failure)
            )
            members: List[Dict[str, Any]] = []
            if answer:
                try:
                    said = ctypes.cast(answer, ctypes.c_char_p).value or b"{}"
                    members = json.loads(said.decode("utf-8", "surrogateescape")).get("devices") or []
                finally:
                    library().kvm_hotplug_text_free(answer)
            error = taken(library(), failure, code) if code < 0 else None
            return error, applied_of(Answer.DONE if code < 0 else Answer(code), members)

        return self._use(use)
