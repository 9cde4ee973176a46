"""Ganeti's hotplug of KVM guests by libkvm_hotplug, for Ganeti 3.0 and 3.1.

The file lies beside Ganeti's hv_kvm. Two lines at the end of hv_kvm/__init__.py put it in place of Ganeti's
own code; README.md says where:

    from ganeti.hypervisor.hv_kvm import kvm_hotplug_ganeti
    kvm_hotplug_ganeti.install(KVMHypervisor)

/etc/ganeti/kvm-hotplug.json is read at every call, and may be missing:

    backend  "library", or "own" for Ganeti's own code
    times    path of a file to which each call adds a line with its time; for measuring
"""

import json
import logging
import os
import time

from ganeti import constants, errors, utils
from ganeti.hypervisor import hv_kvm
from kvm_hotplug import NIC, Answer, Disk, EventType, Guest, KvmHotplugError, Runtime

SETTINGS = "/etc/ganeti/kvm-hotplug.json"
_NIC = constants.HOTPLUG_TARGET_NIC
# Those disk types that the library plugs on the bus of a SCSI controller.
_SCSI_DISKS = ("scsi-hd", "scsi-block")
_LIST = {_NIC: 1, constants.HOTPLUG_TARGET_DISK: 3}


def _settings():
    try:
        with open(SETTINGS, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return {}


class _Opened:
    """A guest and its record, for one operation: noded makes a process for each request, and Ganeti's own
    code uses the monitor in between. Opening finishes or undoes what an earlier process left."""

    def __init__(self, hypervisor, name):
        self._hypervisor, self._name = hypervisor, name
        self._record = self.guest = None

    def __enter__(self):
        path = self._hypervisor._InstanceKVMRuntime(self._name)
        try:
            self._record = Runtime.load(path)
            self.guest = Guest.open(self._record, self._hypervisor._InstanceQmpMonitor(self._name))
            self.guest.settle()
        except KvmHotplugError as error:
            self._close()
            raise errors.HotplugError("Instance is probably down: %s" % error) from error
        self._take_events()
        return self.guest

    def __exit__(self, *_):
        self._close()

    def _close(self):
        for handle in (self.guest, self._record):
            if handle is not None:
                handle.close()

    def _take_events(self):
        """An add that an earlier process began is done now: Ganeti keeps the tap's name in a file of its own."""
        while True:
            event = self.guest.next_event()
            if event is None:
                return
            logging.info("kvm_hotplug: %s %s: %s", event.type.text, event.id, event.text)
            if event.type == EventType.ADDED and event.ifname:
                _write_nic_file(self._hypervisor, self._name, event.id, event.ifname)


def _entries(hypervisor, name, dev_type):
    return json.loads(utils.ReadFile(hypervisor._InstanceKVMRuntime(name)))[_LIST[dev_type]]


def _object(entry):
    return entry[0] if isinstance(entry, list) else entry


def _write_nic_file(hypervisor, name, device_id, tap):
    """Ganeti names these files by the NIC's number in the instance, which is its place in the list."""
    for number, entry in enumerate(_entries(hypervisor, name, _NIC)):
        if entry.get("hvinfo", {}).get("id") == device_id:
            utils.WriteFile(hypervisor._InstanceNICFile(name, number), data=tap)


def _recorded_id(hypervisor, name, dev_type, device):
    """The id that the guest knows: what the record has under the device's uuid, or what follows from that."""
    for entry in _entries(hypervisor, name, dev_type):
        found = _object(entry)
        if found.get("uuid") == device.uuid and "id" in found.get("hvinfo", {}):
            return found["hvinfo"]["id"]
    return hv_kvm._GenerateDeviceKVMId(dev_type, device)


def _entry(device):
    members = device.ToDict()
    members.pop("hvinfo", None)
    members.pop("pci", None)
    return json.dumps(members)


def _failed(what, error):
    logging.error("kvm_hotplug: %s: %r", what, error)
    raise errors.HypervisorError("%s: %s" % (what, error)) from error


def _parameters(hypervisor, instance):
    runtime = hypervisor._LoadKVMRuntime(instance)
    # A named tuple since 3.1, a plain one before.
    return getattr(runtime, "up_hvp", runtime[2])


def _disk_place(hypervisor, instance):
    """Where Ganeti has the disks of an instance: on the bus of its SCSI controller, or each in a slot of PCI."""
    disk_type = _parameters(hypervisor, instance).get(constants.HV_DISK_TYPE)
    return {"model": disk_type, "bus": "scsi.0"} if disk_type in _SCSI_DISKS else {}


def _open_tap(hypervisor, instance):
    from ganeti.hypervisor.hv_kvm.netdev import OpenTap

    parameters = _parameters(hypervisor, instance)
    queues = 1
    if parameters.get(constants.HV_VHOST_NET):
        queues = parameters.get(constants.HV_VIRTIO_NET_QUEUES, 1)
    features = {"vnet_hdr": parameters.get(constants.HV_VNET_HDR, True), "mq": (queues > 1, queues)}
    name, descriptors, _ = OpenTap(features=features)
    return name, descriptors


def _add_nic(hypervisor, guest, instance, nic, seq, place):
    """Ganeti opens the tap and connects it by its scripts, in every mode that it has."""
    tap, descriptors = _open_tap(hypervisor, instance)
    try:
        hypervisor._ConfigureNIC(instance, seq, nic, tap)
        request = NIC(ganeti_entry=_entry(nic), tap_fds=descriptors, live_only=True, **place)
        answer = guest.add_nic(request)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    utils.WriteFile(hypervisor._InstanceNICFile(instance.name, seq), data=tap)
    return answer


def HotAddDevice(hypervisor, instance, dev_type, device, extra, seq, place=None):
    device_id = hv_kvm._GenerateDeviceKVMId(dev_type, device)
    with _Opened(hypervisor, instance.name) as guest:
        try:
            if dev_type == _NIC:
                _add_nic(hypervisor, guest, instance, device, seq, place or {})
            else:
                # Its id is made of Ganeti's uuid: what the guest has under it is a disk of Ganeti's whose node
                # daemon was killed before it had written the runtime file.
                where = _disk_place(hypervisor, instance)
                entry = _entry(device)
                guest.add_disk(Disk(path=extra[0], ganeti_entry=entry, live_only=True, adopt=True, **where))
        except KvmHotplugError as error:
            _failed("adding %s" % device_id, error)


def HotDelDevice(hypervisor, instance, dev_type, device, _, seq):
    device_id = _recorded_id(hypervisor, instance.name, dev_type, device)
    with _Opened(hypervisor, instance.name) as guest:
        try:
            gone = guest.del_device(device_id)
        except KvmHotplugError as error:
            _failed("removing %s" % device_id, error)
    if gone.answer == Answer.PENDING:
        raise errors.HypervisorError("%s is not let go of yet: %s" % (device_id, gone.reason_text))
    if gone.answer == Answer.ABSENT:
        raise errors.HotplugError("Cannot find runtime info for %s with UUID %s" % (dev_type, device.uuid))
    if dev_type == _NIC:
        utils.RemoveFile(hypervisor._InstanceNICFile(instance.name, seq))
    return {"bus": gone.device.bus, "slot": gone.device.slot}


def HotModDevice(hypervisor, instance, dev_type, device, extra, seq):
    """Another NIC in the place of the one of the same uuid."""
    if dev_type == _NIC:
        place = HotDelDevice(hypervisor, instance, dev_type, device, extra, seq)
        HotAddDevice(hypervisor, instance, dev_type, device, extra, seq, place=place)


def VerifyHotplugSupport(hypervisor, instance, action, dev_type):
    """The add itself refuses what cannot be plugged in live, before it touches anything."""


def HotplugSupported(hypervisor, instance):
    with _Opened(hypervisor, instance.name):
        pass


def ResizeDisk(hypervisor, instance, disk, new_size):
    target = constants.HOTPLUG_TARGET_DISK
    with _Opened(hypervisor, instance.name) as guest:
        try:
            guest.resize_disk(_recorded_id(hypervisor, instance.name, target, disk), int(new_size))
        except KvmHotplugError as error:
            _failed("resizing disk %s" % disk.uuid, error)


_METHODS = (HotAddDevice, HotDelDevice, HotModDevice, VerifyHotplugSupport, HotplugSupported, ResizeDisk)


def _replace(hypervisor_class, function):
    name = function.__name__
    own = getattr(hypervisor_class, name)

    def method(self, *args, **kwargs):
        settings = _settings()
        is_library = settings.get("backend", "library") == "library"
        begin, result = time.monotonic(), "failed"
        try:
            value = (function if is_library else own)(self, *args, **kwargs)
            result = "ok"
            return value
        finally:
            if settings.get("times"):
                words = [argument for argument in args if isinstance(argument, str)]
                line = "%s %s %.1f ms %s\n" % (
                    "library" if is_library else "own",
                    " ".join([name] + words),
                    (time.monotonic() - begin) * 1e3,
                    result,
                )
                with open(settings["times"], "a", encoding="utf-8") as stream:
                    stream.write(line)

    setattr(hypervisor_class, name, method)


def _settle_before_others_read(hypervisor_class):
    """Whoever takes the runtime file elsewhere has to find in it what the guest has: what an earlier process
    left is finished or undone before a migration. And what lies beside the file goes with it."""
    migration_info = hypervisor_class.MigrationInfo
    remove_files = hypervisor_class._RemoveInstanceRuntimeFiles.__func__

    def MigrationInfo(self, instance):
        if _settings().get("backend", "library") == "library":
            with _Opened(self, instance.name):
                pass
        return migration_info(self, instance)

    @classmethod
    def _RemoveInstanceRuntimeFiles(cls, pidfile, instance_name):
        remove_files(cls, pidfile, instance_name)
        try:
            Runtime.delete(cls._InstanceKVMRuntime(instance_name))
        except KvmHotplugError as error:
            logging.warning("kvm_hotplug: what lies beside the runtime file stays: %s", error)

    hypervisor_class.MigrationInfo = MigrationInfo
    hypervisor_class._RemoveInstanceRuntimeFiles = _RemoveInstanceRuntimeFiles


def install(hypervisor_class):
    """Puts the library in the place of Ganeti's own hotplug."""
    for function in _METHODS:
        # 3.0 does not resize disks of guests that run.
        if hasattr(hypervisor_class, function.__name__):
            _replace(hypervisor_class, function)
    _settle_before_others_read(hypervisor_class)
