package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"encoding/json"
)

// SCSIAddress is a place on the bus of a SCSI controller.
type SCSIAddress struct {
	// Target, 0 to 255 (QEMU's scsi-id).
	Target int `json:"target"`
	// LUN is a unit of the target, 0 to 16383.
	LUN int `json:"lun"`
}

// DiskLimits are how much I/O a disk may do, by QEMU's names: "bps-total", "bps-read", "bps-write" (bytes each second),
// "iops-total", "iops-read", "iops-write" (operations); each with "-max" for bursts and "-max-length" for how many seconds
// a burst lasts; "iops-size" (bytes that count as one operation); and "group", the name of a group that has the limits
// together: each of its disks is added with the same ones.
type DiskLimits map[string]any

// Disk is one to add. The zero value of everything but Path, or Source, is the default: a writable raw image as virtio-blk-pci.
type Disk struct {
	// Path is the absolute path of an image file or block device. Required without a Source, but for
	// "scsi-cd", where it is empty of a drive without a medium.
	Path string `json:"path,omitempty"`
	// Source is, instead of Path and Format, a block node as QEMU's blockdev-add takes it, with the nodes below it; [NBD], [RBD]
	// and [LUKS] make common ones. No node has a name, and the read-only, cache, discard and detect-zeroes of the first one come
	// from this struct. The library opens the files and block devices in it, and QEMU what is behind a network. A qcow2 without
	// "backing" has none. While QEMU connects, it answers nothing.
	Source json.RawMessage `json:"source,omitempty"`
	// ID of device and block node: a letter, then up to 30 letters, digits, '-', '.' or '_'. Empty for
	// "disk-pci-<slot>", or "disk-pci-<bus>" on a root port; for a SCSI disk, "disk-<controller>-<target>".
	ID string `json:"id,omitempty"`
	// Serial number the guest sees, printable ASCII: 1 to 20 characters, 1 to 36 with "scsi-hd" and
	// "scsi-cd". "nvme" needs one.
	Serial string `json:"serial,omitempty"`
	// WWN is a world wide name, for "scsi-hd" and "scsi-cd"; 0 for none.
	WWN uint64 `json:"wwn,omitempty"`
	// Model is QEMU's device model; empty for "virtio-blk-pci". "scsi-hd" is a disk, and "scsi-block" a SCSI device of the
	// host handed through, on the bus of a SCSI controller. Others are recorded for the next boot.
	Model string `json:"model,omitempty"`
	// Bus to sit on; empty for the first free slot. With it, Slot counts, or SCSI for a SCSI disk. Empty for a SCSI disk
	// means the first controller with a free target, which is plugged in with the disk if there is none.
	Bus string `json:"bus,omitempty"`
	// SCSI is the place on Bus, for a SCSI disk; nil for unit 0 of the first free target.
	SCSI *SCSIAddress `json:"scsi,omitempty"`
	// Slot on Bus, 0 to 31.
	Slot         int          `json:"slot,omitempty"`
	Format       Format       `json:"format,omitempty"`
	Cache        Cache        `json:"cache,omitempty"`
	AIO          AIO          `json:"aio,omitempty"`
	Discard      Discard      `json:"discard,omitempty"`
	DetectZeroes DetectZeroes `json:"detect_zeroes,omitempty"`
	// LogicalBlockSize is the smallest unit of I/O in bytes, a power of two from 512 to 2097152; 0 means 512.
	LogicalBlockSize int `json:"logical_block_size,omitempty"`
	// PhysicalBlockSize is the unit the guest should align to, likewise, not below the logical one; 0 means the same.
	PhysicalBlockSize int `json:"physical_block_size,omitempty"`
	// Queues are virtqueues, 1 to 1024; 0 for QEMU's default.
	Queues int `json:"queues,omitempty"`
	// BootIndex is the place in the firmware's boot order; nil for none.
	BootIndex *int `json:"boot_index,omitempty"`
	// ReadOnly: the guest cannot write; the image is opened read-only.
	ReadOnly bool `json:"read_only,omitempty"`
	// ShareRW: others may write to the image at the same time; the guests must know.
	ShareRW bool `json:"share_rw,omitempty"`
	// Backing is where the image's backing files may be, and BackingPaths the absolute paths that it names, if it names any.
	Backing      Backing  `json:"backing,omitempty"`
	BackingPaths []string `json:"backing_paths,omitempty"`
	// GanetiEntry is what Ganeti has of the disk, a JSON object, for a record in Ganeti's format: it stands in the list as it
	// is given. An ID that is empty is taken from it, and the cache mode follows from it.
	GanetiEntry json.RawMessage `json:"ganeti,omitempty"`
	// Properties are further properties of the device in QEMU, such as "werror": "stop"; see [NIC].
	Properties map[string]any `json:"properties,omitempty"`
	// IOThread is the iothread that does the disk's I/O, by its id; empty for QEMU's main thread. Without MakeIOThread QEMU
	// has to have it. For the virtio-blk-pci family: of SCSI disks the controller has it. Or several, among which the queues
	// are divided, as QEMU's iothread-vq-mapping in JSON, from QEMU 9.2 on: [{"iothread": "a", "vqs": [0, 2]},
	// {"iothread": "b", "vqs": [1]}], or without vqs in turn.
	IOThread string `json:"iothread,omitempty"`
	// MakeIOThread: the library makes it, with an empty IOThread one of the disk's own. One with a name is made with the
	// first device that asks for it so, and deleted after the last.
	MakeIOThread bool `json:"make_iothread,omitempty"`
	// Limits are how much I/O the disk may do; nil for as much as it can.
	Limits DiskLimits `json:"limits,omitempty"`
	// Secrets are what the nodes of Source name as secrets ("key-secret" and the like), by name. QEMU gets each as an object of
	// the disk's own. The record has the names alone: each start needs them again, see [Runtime.GiveSecret]. A name that is not
	// here is the id of an object that QEMU has already.
	Secrets map[string][]byte `json:"-"`
	// TLSCreds are what the nodes of Source name as credentials for TLS ("tls-creds"), by name: objects with "qom-type"
	// ("tls-creds-x509", "tls-creds-psk" or "tls-creds-anon"), "dir" (the directory with the keys and certificates, which QEMU
	// reads), and where they apply "verify-peer", "priority", "username" and "passwordid" (the name of a secret).
	TLSCreds map[string]any `json:"tls_creds,omitempty"`
	// AcceptChain: if the disk is there already, the files that its image is made of now are recorded in place of those that
	// were, and Backing in place of its rule.
	AcceptChain bool `json:"accept_chain,omitempty"`
	// LiveOnly: live or not at all. What would take effect after a reboot fails with [ErrNotHotpluggable].
	LiveOnly bool `json:"live_only,omitempty"`
	// Adopt is as in [NIC], for the image instead of the MAC address.
	Adopt bool `json:"adopt,omitempty"`
	// NoWait: do not wait for QEMU. The answer is [Pending], and [EventAdded] or [EventAddFailed] says how it went.
	NoWait bool `json:"no_wait,omitempty"`
}

// AddDisk plugs a disk into the guest and records it: all of it or nothing. QEMU itself opens no file. It may be repeated:
// with an id that exists and the same settings it succeeds and does nothing.
//
// The answer's state is [Done] (in the guest), [AfterReboot] (recorded; the reason says why) or, with NoWait, [Pending].
func (g *Guest) AddDisk(ctx context.Context, disk Disk) (Result, error) {
	var memory arena
	defer memory.free()
	request := disk.request(&memory)
	if memory.err != nil {
		return Result{}, memory.err
	}
	return g.result(ctx, DefaultTimeout, disk.ID, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_add_disk(handle, &request, C.sizeof_struct_kvm_hotplug_disk, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
}

// PlanDisk says what [Guest.AddDisk] would do, without doing it. The image and its backing files are opened and closed.
func (g *Guest) PlanDisk(ctx context.Context, disk Disk) (Plan, error) {
	var memory arena
	defer memory.free()
	request := disk.request(&memory)
	if memory.err != nil {
		return Plan{}, memory.err
	}
	return g.plan(ctx, disk.ID, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_plan_disk(handle, &request, C.sizeof_struct_kvm_hotplug_disk, device, C.sizeof_struct_kvm_hotplug_device, text, failure)
	})
}

func (d *Disk) request(memory *arena) C.struct_kvm_hotplug_disk {
	request := C.struct_kvm_hotplug_disk{
		path:                memory.optional("the path", d.Path),
		id:                  memory.optional("the id", d.ID),
		serial:              memory.optional("the serial", d.Serial),
		model:               memory.optional("the model", d.Model),
		bus:                 memory.optional("the bus", d.Bus),
		format:              C.uint32_t(d.Format),
		cache:               C.uint32_t(d.Cache),
		aio:                 C.uint32_t(d.AIO),
		discard:             C.uint32_t(d.Discard),
		detect_zeroes:       C.uint32_t(d.DetectZeroes),
		logical_block_size:  memory.number("LogicalBlockSize", d.LogicalBlockSize),
		physical_block_size: memory.number("PhysicalBlockSize", d.PhysicalBlockSize),
		queues:              memory.number("Queues", d.Queues),
		slot:                memory.number("Slot", d.Slot),
	}
	request.wwn = C.uint64_t(d.WWN)
	request.limits = memory.object("Limits", d.Limits)
	request.secrets = memory.secrets(d.Secrets)
	request.secret_count = C.size_t(len(d.Secrets))
	request.tls_creds = memory.object("TLSCreds", d.TLSCreds)
	request.iothread = memory.optional("the iothread", d.IOThread)
	if d.MakeIOThread {
		request.flags |= C.KVM_HOTPLUG_MAKE_IOTHREAD
	}
	request.source = memory.optional("the source", string(d.Source))
	request.properties = memory.object("Properties", d.Properties)
	request.ganeti_entry = memory.optional("Ganeti's entry", string(d.GanetiEntry))
	request.backing = C.uint32_t(d.Backing)
	request.backing_paths = memory.strings("a path for backing files", d.BackingPaths)
	request.backing_count = memory.number("BackingPaths", len(d.BackingPaths))
	if d.AcceptChain {
		request.flags |= C.KVM_HOTPLUG_DISK_ACCEPT_CHAIN
	}
	if d.SCSI != nil {
		request.target = memory.number("Target", d.SCSI.Target)
		request.lun = memory.number("LUN", d.SCSI.LUN)
		request.flags |= C.KVM_HOTPLUG_DISK_SCSI_ADDRESS
	}
	request.flags |= memory.given(d.BootIndex, "BootIndex", &request.boot_index, C.KVM_HOTPLUG_BOOT_INDEX)
	if d.ReadOnly {
		request.flags |= C.KVM_HOTPLUG_DISK_READ_ONLY
	}
	if d.ShareRW {
		request.flags |= C.KVM_HOTPLUG_DISK_SHARE_RW
	}
	if d.Adopt {
		request.flags |= C.KVM_HOTPLUG_ADOPT
	}
	if d.NoWait {
		request.flags |= C.KVM_HOTPLUG_NO_WAIT
	}
	if d.LiveOnly {
		request.flags |= C.KVM_HOTPLUG_LIVE_ONLY
	}
	return request
}
