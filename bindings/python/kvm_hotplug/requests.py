"""What can be asked for. Zero, None, False and empty always mean the default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence, Tuple, Union

from . import _abi
from ._abi import AIO, Backing, Cache, DetectZeroes, Discard, Flag, Format, Incoming, Vhost
from ._arguments import Text, integers, json_object, number, optional, secret_array, signed, texts

#: Names and values of a device's properties.
Properties = Mapping[str, Union[str, int, bool]]


#: How much I/O a disk may do, by QEMU's names: "bps-total", "bps-read", "bps-write" (bytes each second),
#: "iops-total", "iops-read", "iops-write" (operations); each with "-max" for bursts and "-max-length" for how
#: many seconds a burst lasts; "iops-size" (bytes that count as one operation); and "group", the name of a
#: group that has the limits together: each of its disks is added with the same ones.
DiskLimits = Mapping[str, Union[str, int]]


def flags(**given: bool) -> int:
    """The flags with these names, in lower case, that are given."""
    bits = 0
    for name, on in given.items():
        if on:
            bits |= Flag[name.upper()]
    return bits


@dataclass
class Bandwidth:
    """A limit of one direction of a NIC."""

    #: Bytes per second, 1024 to 2**40; 0 for no limit.
    average: int = 0
    #: Bytes that may go at once, at least 69632; 0 for a tenth of a second.
    burst: int = 0


def bandwidth(direction: str, limit: Optional[Bandwidth]) -> Tuple[int, int]:
    """Average and burst; 0 for no limit."""
    given, most = limit or Bandwidth(), 2**64 - 1
    average = number(f"{direction}, average", given.average, most)
    return average, number(f"{direction}, burst", given.burst, most)


@dataclass
class NIC:
    """A NIC to add. The default is a virtio-net-pci with one queue, a generated MAC address, and a tap of its
    own that is on no bridge.
    """

    #: Id of device and netdev: a letter, then up to 30 letters, digits, '-', '.' or '_'. None for
    #: "nic-pci-<slot>", or "nic-pci-<bus>" on a root port.
    id: Optional[str] = None
    #: MAC address, not multicast; None for a random one that begins with 52:54:00.
    mac: Optional[str] = None
    #: Bridge to attach the tap to. Not together with tap_fds.
    bridge: Optional[str] = None
    #: Name of the tap, at most 15 characters, or a pattern with one "%d"; None for "tap%d". Not together with
    #: tap_fds.
    ifname: Optional[str] = None
    #: QEMU device model; None for "virtio-net-pci". Models outside of that family are recorded for the next
    #: boot.
    model: Optional[str] = None
    #: Bus; None for the first free slot of any. With it, slot counts.
    bus: Optional[str] = None
    #: Taps that the caller opened, one per queue, all of one interface, such as Tap.fds. They are duplicated:
    #: the caller closes its own. Such a NIC cannot wait for a reboot.
    tap_fds: Sequence[int] = ()
    #: Queue pairs, 1 to 256; 0 means 1, or as many as there are tap_fds.
    queues: int = 0
    vhost: Vhost = Vhost.AUTO
    #: MTU in bytes, 68 to 65535, announced to the guest and set on a tap opened here; 0 announces none.
    mtu: int = 0
    #: Slot on bus, 0 to 31.
    slot: int = 0
    #: Place in the firmware's boot order.
    boot_index: Optional[int] = None
    #: User id that may reopen a tap opened here.
    tap_owner: Optional[int] = None
    #: Path of the network namespace in which the tap is made and the bridge looked for, such as
    #: "/run/netns/blue"; None for that of the caller. It is recorded. Not together with tap_fds.
    netns: Optional[str] = None
    #: In the place of a tap: a netdev as QEMU describes it, without its id, such as {"type": "user", "hostfwd":
    #: [{"str": "tcp:127.0.0.1:2222-:22"}]}. The types are user, stream, dgram and vhost-user. QEMU opens what
    #: is behind it by itself. Not together with anything of a tap.
    netdev: Optional[Mapping[str, Any]] = None
    #: What Ganeti has of the NIC, for a record in Ganeti's format: JSON text of an object, which stands in
    #: the list as it is given. id, mac and bridge that are None are taken from it.
    ganeti_entry: Optional[str] = None
    #: Further properties of the device in QEMU, such as {"rx_queue_size": 1024, "csum": False}. QEMU is asked
    #: which it knows, and of which type. They are recorded and verified.
    properties: Optional[Properties] = None
    #: Limit of what the guest receives. What is too much waits for up to 50 ms. None for no limit.
    #: How the tap that is made here is a port of the bridge: "isolated", "learning", "hairpin", "vlan" and "trunk",
    #: as port in struct kvm_hotplug_nic; None for as the kernel makes it.
    port: Optional[Mapping[str, Any]] = None
    inbound: Optional[Bandwidth] = None
    #: Limit of what the guest sends. What is too much is dropped. None for no limit.
    outbound: Optional[Bandwidth] = None
    #: The link is down until Guest.set_link() sets it up.
    link_down: bool = False
    #: Now or not at all: what would wait for a reboot fails with ErrorKind.NOT_HOTPLUGGABLE.
    live_only: bool = False
    #: If the guest has a device with the id that the record does not have, such as one whose agent was killed
    #: before it had recorded it, and its settings are those that are asked for, it is recorded, and nothing
    #: else is done. Needs id and mac, which may follow from ganeti_entry.
    adopt: bool = False
    #: Do not wait for QEMU. The answer is Answer.PENDING; EventType.ADDED or EventType.ADD_FAILED follows.
    no_wait: bool = False

    def _request(self, milliseconds: int = 0) -> _abi.kvm_hotplug_nic:
        inbound, outbound = bandwidth("inbound", self.inbound), bandwidth("outbound", self.outbound)
        return _abi.kvm_hotplug_nic(
            id=optional("id", self.id),
            mac=optional("mac", self.mac),
            bridge=optional("bridge", self.bridge),
            ifname=optional("ifname", self.ifname),
            model=optional("model", self.model),
            bus=optional("bus", self.bus),
            tap_fds=integers(self.tap_fds),
            tap_fd_count=len(self.tap_fds),
            queues=number("queues", self.queues),
            vhost=number("vhost", self.vhost),
            mtu=number("mtu", self.mtu),
            slot=number("slot", self.slot),
            boot_index=number("boot_index", self.boot_index or 0),
            tap_owner=number("tap_owner", self.tap_owner or 0),
            netns=optional("netns", self.netns),
            netdev=json_object("netdev", self.netdev),
            ganeti_entry=optional("ganeti_entry", self.ganeti_entry),
            properties=json_object("properties", self.properties),
            port=json_object("port", self.port),
            inbound_average=inbound[0],
            inbound_burst=inbound[1],
            outbound_average=outbound[0],
            outbound_burst=outbound[1],
            timeout_ms=milliseconds,
            flags=flags(
                boot_index=self.boot_index is not None,
                tap_owner=self.tap_owner is not None,
                nic_link_down=self.link_down,
                live_only=self.live_only,
                adopt=self.adopt,
                no_wait=self.no_wait,
            ),
        )


@dataclass
class SCSIAddress:
    """A place on the bus of a SCSI controller."""

    #: Target, 0 to 255 (QEMU's scsi-id).
    target: int = 0
    #: Unit of the target, 0 to 16383.
    lun: int = 0


@dataclass
class Disk:
    """A disk to add. The default, besides path or source, is a writable raw image as virtio-blk-pci."""

    #: Absolute path of an image file or block device. Required without a source, but for a CD drive
    #: ("scsi-cd"), which may have no medium.
    path: Optional[Text] = None
    #: Id of device and block node, of the same form as a NIC's. None for "disk-pci-<slot>", or
    #: "disk-pci-<bus>" on a root port; for a SCSI disk "disk-<controller>-<target>".
    id: Optional[str] = None
    #: Serial number the guest sees, printable ASCII: 1 to 20 characters, 1 to 36 with "scsi-hd" and
    #: "scsi-cd". "nvme" needs one.
    serial: Optional[str] = None
    #: QEMU device model; None for "virtio-blk-pci". "scsi-hd" is a disk, and "scsi-block" a SCSI device of
    #: the host that is passed through, on the bus of a SCSI controller, and "scsi-cd" a CD drive there (with
    #: read_only). "nvme" is a disk of NVM Express. Others are recorded for the next boot.
    model: Optional[str] = None
    #: Bus; None for the first free slot of any. With it, slot counts, or scsi for a SCSI disk. None for a
    #: SCSI disk means the first controller with a free target; if there is none, one is plugged in with the
    #: disk.
    bus: Optional[str] = None
    format: Format = Format.RAW
    cache: Cache = Cache.WRITEBACK
    aio: AIO = AIO.THREADS
    discard: Discard = Discard.IGNORE
    detect_zeroes: DetectZeroes = DetectZeroes.OFF
    #: Unit of I/O in bytes, a power of two, 512 to 2097152; 0 means 512.
    logical_block_size: int = 0
    #: Unit to align to, likewise, at least the logical one; 0 means the same.
    physical_block_size: int = 0
    #: Virtqueues, 1 to 1024; 0 for QEMU's default.
    queues: int = 0
    #: Slot on bus, 0 to 31.
    slot: int = 0
    #: Place in the firmware's boot order.
    boot_index: Optional[int] = None
    #: World wide name the guest sees, for "scsi-hd" and "scsi-cd".
    wwn: int = 0
    #: Place on bus, for a SCSI disk; None for unit 0 of the first free target.
    scsi: Optional[SCSIAddress] = None
    #: Where backing files may be, and the absolute paths that this rule names, if it names any.
    backing: Backing = Backing.DEFAULT
    backing_paths: Sequence[Text] = ()
    #: As of a NIC. The cache mode of the disk follows from its dev_type.
    ganeti_entry: Optional[str] = None
    #: Further properties of the device in QEMU, such as {"werror": "stop"}, as of a NIC.
    properties: Optional[Properties] = None
    #: Id of the iothread that does the disk's I/O; None for QEMU's main thread. Without make_iothread QEMU has
    #: to have it. For the virtio-blk-pci family: of SCSI disks the controller has it. Or several, among which
    #: the queues are divided, as QEMU's iothread-vq-mapping in JSON, from QEMU 9.2 on:
    #: '[{"iothread": "a", "vqs": [0, 2]}, {"iothread": "b", "vqs": [1]}]', or without vqs in turn.
    iothread: Optional[str] = None
    #: The library makes it, without a name one of the disk's own. One with a name is made with the first
    #: device that asks for it so, and deleted after the last.
    make_iothread: bool = False
    #: How much I/O the disk may do; None for as much as it can.
    limits: Optional[DiskLimits] = None
    #: The guest cannot write; the image is opened read-only.
    read_only: bool = False
    #: Others may write to the image at once; the guests must know.
    share_rw: bool = False
    #: If the disk exists already, replace the recorded files of its image and its rule for backing files.
    accept_chain: bool = False
    #: Now or not at all: what would wait for a reboot fails with ErrorKind.NOT_HOTPLUGGABLE.
    live_only: bool = False
    #: As in NIC, for the image instead of the MAC address.
    adopt: bool = False
    #: Do not wait for QEMU. The answer is Answer.PENDING; EventType.ADDED or EventType.ADD_FAILED follows.
    no_wait: bool = False
    #: Instead of path and format: a block node as QEMU's blockdev-add takes it, with the nodes below it; NBD,
    #: RBD and LUKS make common ones. No node has a name, and the read-only, cache, discard and detect-zeroes
    #: of the first one come from this class. The library opens the files and block devices in it, and QEMU
    #: what is behind a network. A qcow2 without "backing" has none. While QEMU connects, it answers nothing.
    source: Optional[Mapping[str, Any]] = None
    #: What the nodes of the source name as secrets ("key-secret" and the like), by name. QEMU gets each as an
    #: object of the disk's own. The record has the names alone: each start needs them again, see
    #: Runtime.give_secret(). A name that is not here is the id of an object that QEMU has already.
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    #: What the nodes of the source name as credentials for TLS ("tls-creds"), by name: objects with "qom-type"
    #: ("tls-creds-x509", "tls-creds-psk" or "tls-creds-anon"), "dir" (the directory with the keys and
    #: certificates, which QEMU reads), and where they apply "verify-peer", "priority", "username" and
    #: "passwordid" (the name of a secret).
    tls_creds: Optional[Mapping[str, Any]] = None

    def _request(self, milliseconds: int = 0) -> _abi.kvm_hotplug_disk:
        place = self.scsi or SCSIAddress()
        return _abi.kvm_hotplug_disk(
            path=optional("path", self.path),
            id=optional("id", self.id),
            serial=optional("serial", self.serial),
            model=optional("model", self.model),
            bus=optional("bus", self.bus),
            format=number("format", self.format),
            cache=number("cache", self.cache),
            aio=number("aio", self.aio),
            discard=number("discard", self.discard),
            detect_zeroes=number("detect_zeroes", self.detect_zeroes),
            logical_block_size=number("logical_block_size", self.logical_block_size),
            physical_block_size=number("physical_block_size", self.physical_block_size),
            queues=number("queues", self.queues),
            slot=number("slot", self.slot),
            boot_index=number("boot_index", self.boot_index or 0),
            timeout_ms=milliseconds,
            wwn=number("wwn", self.wwn, 2**64 - 1),
            target=number("target", place.target),
            lun=number("lun", place.lun),
            backing_paths=texts("backing_paths", self.backing_paths),
            backing=number("backing", self.backing),
            backing_count=len(self.backing_paths),
            ganeti_entry=optional("ganeti_entry", self.ganeti_entry),
            properties=json_object("properties", self.properties),
            iothread=optional("iothread", self.iothread),
            source=json_object("source", self.source),
            limits=json_object("limits", self.limits),
            secrets=secret_array(self.secrets),
            secret_count=len(self.secrets),
            tls_creds=json_object("tls_creds", self.tls_creds),
            flags=flags(
                boot_index=self.boot_index is not None,
                disk_scsi_address=self.scsi is not None,
                disk_read_only=self.read_only,
                disk_share_rw=self.share_rw,
                disk_accept_chain=self.accept_chain,
                make_iothread=self.make_iothread,
                live_only=self.live_only,
                adopt=self.adopt,
                no_wait=self.no_wait,
            ),
        )


@dataclass
class Controller:
    """A SCSI controller to add. The default is a virtio-scsi-pci in the first free slot."""

    #: Id, of the same form as a NIC's. None for "scsi-pci-<slot>", or "scsi-pci-<bus>" on a root port. The
    #: bus for its disks is "<id>.0".
    id: Optional[str] = None
    #: QEMU device model; None for "virtio-scsi-pci". Models outside of that family are recorded for the next
    #: boot.
    model: Optional[str] = None
    #: PCI bus; None for the first free slot of any. With it, slot counts.
    bus: Optional[str] = None
    #: Request queues, 1 to 1021; 0 for QEMU's default.
    queues: int = 0
    #: Slot on bus, 0 to 31.
    slot: int = 0
    #: Further properties of the device in QEMU, as of a NIC.
    properties: Optional[Properties] = None
    #: The iothread that does the I/O of its disks, as of a disk.
    iothread: Optional[str] = None
    make_iothread: bool = False
    live_only: bool = False
    no_wait: bool = False

    def _request(self, milliseconds: int = 0) -> _abi.kvm_hotplug_controller:
        return _abi.kvm_hotplug_controller(
            id=optional("id", self.id),
            model=optional("model", self.model),
            bus=optional("bus", self.bus),
            queues=number("queues", self.queues),
            slot=number("slot", self.slot),
            properties=json_object("properties", self.properties),
            iothread=optional("iothread", self.iothread),
            timeout_ms=milliseconds,
            flags=flags(
                live_only=self.live_only, no_wait=self.no_wait, make_iothread=self.make_iothread
            ),
        )


@dataclass
class BootOptions:
    """How to start a guest. The default is a boot."""

    #: What QEMU waits for; with anything but Incoming.NONE the command is that of a migration target.
    incoming: Incoming = Incoming.NONE
    #: Where the migration comes in, for Incoming.TCP and Incoming.UNIX.
    incoming_address: Optional[str] = None
    #: What it comes in by, for Incoming.FD; it is duplicated.
    incoming_fd: int = 0
    #: Version of the QEMU that will be started; 0 and 0 for options that every version reads.
    qemu_major: int = 0
    qemu_minor: int = 0
    #: Number in QEMU of the first of Boot.fds, 3 or more; 0 means 3. The others follow.
    fd_base: int = 0
    #: Machine q35: for how many more devices the guest shall have root ports.
    spare_ports: int = 0
    #: Path of the monitor's socket, if the recorded command does not have it.
    qmp_path: Optional[Text] = None
    #: Start QEMU with -S, so that the guest does not run until the monitor command "cont".
    paused: bool = False
    #: Make the command only to look at it: nothing is written, no tap is made, and Boot.fds is empty.
    dry_run: bool = False
    #: QEMU listens at qmp_path this time, instead of where the recorded command says, if anywhere. So a
    #: migration target can be started on the host of its source.
    set_monitor: bool = False

    def _request(self) -> _abi.kvm_boot_options:
        return _abi.kvm_boot_options(
            incoming_address=optional("incoming_address", self.incoming_address),
            incoming=number("incoming", self.incoming),
            incoming_fd=signed("incoming_fd", self.incoming_fd),
            qemu_major=number("qemu_major", self.qemu_major),
            qemu_minor=number("qemu_minor", self.qemu_minor),
            fd_base=number("fd_base", self.fd_base),
            spare_ports=number("spare_ports", self.spare_ports),
            qmp_path=optional("qmp_path", self.qmp_path),
            flags=flags(
                boot_paused=self.paused, boot_dry_run=self.dry_run, boot_set_monitor=self.set_monitor
            ),
        )
