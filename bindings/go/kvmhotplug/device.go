package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

// Device is a NIC, disk or SCSI controller of a record or guest. Fields that do not apply are empty.
type Device struct {
	// ID in QEMU, and that of the netdev or block node behind the device.
	ID   string     `json:"id"`
	Type DeviceType `json:"type"`
	// State: Done means in the guest, AfterReboot recorded for the next boot (to come or to go), Pending on its way out.
	State  DeviceState `json:"state"`
	Reason Reason      `json:"reason,omitempty"`
	// ReasonText is the reason in words.
	ReasonText string `json:"reason_text,omitempty"`
	// RemovedAfterReboot: the device goes with the next boot.
	RemovedAfterReboot bool `json:"removed_after_reboot,omitempty"`
	// Model is QEMU's device model.
	Model string `json:"model"`
	// Bus it sits on; empty if it has no place yet. AddressType says which of Slot, or Channel, Target and LUN counts.
	Bus         string      `json:"bus,omitempty"`
	AddressType AddressType `json:"address_type"`
	Slot        uint32      `json:"slot"`
	Channel     uint32      `json:"channel,omitempty"`
	Target      uint32      `json:"target,omitempty"`
	LUN         uint32      `json:"lun,omitempty"`
	// Queues are queue pairs of a NIC, virtqueues of a disk and request queues of a controller (0: QEMU's default).
	Queues uint32 `json:"queues,omitempty"`
	// Generation tells this attachment from earlier ones of the same id.
	Generation uint64 `json:"generation"`

	// BootIndex is the place in the firmware's boot order, nil for none.
	BootIndex *int `json:"boot_index,omitempty"`

	// Of NICs: the address; the tap when it was added; the bridge; whether vhost-net moves the packets; the MTU announced
	// to the guest; and whether the link is recorded as down.
	MAC       string `json:"mac,omitempty"`
	Interface string `json:"interface,omitempty"`
	Bridge    string `json:"bridge,omitempty"`
	Vhost     bool   `json:"vhost,omitempty"`
	MTU       uint32 `json:"mtu,omitempty"`
	LinkDown  bool   `json:"link_down,omitempty"`

	// Of disks: what was asked for in [Disk].
	Serial string `json:"serial,omitempty"`
	WWN    uint64 `json:"wwn,omitempty"`
	// PCIPath, in the guest, is slot and function of each bridge from the root bus on, and of the device, as in
	// "10.0/00.0"; of a SCSI disk, those of its controller. GuestAddress is the address that the guest sees there, as in
	// "0000:01:00.0". Both are hexadecimal, and empty where they are not known, as is what follows.
	PCIPath      string `json:"pci_path,omitempty"`
	GuestAddress string `json:"guest_address,omitempty"`
	// GuestName is what Linux with udev of systemd calls the device by that address: "enp1s0" or
	// "/dev/disk/by-path/pci-0000:00:05.0". It prefers GuestSlotName ("ens5") for a NIC on pci.0 of machine pc.
	GuestName         string       `json:"guest_name,omitempty"`
	GuestSlotName     string       `json:"guest_slot_name,omitempty"`
	Path              string       `json:"path,omitempty"`
	Format            Format       `json:"format,omitempty"`
	Cache             Cache        `json:"cache,omitempty"`
	AIO               AIO          `json:"aio,omitempty"`
	Discard           Discard      `json:"discard,omitempty"`
	DetectZeroes      DetectZeroes `json:"detect_zeroes,omitempty"`
	LogicalBlockSize  uint32       `json:"logical_block_size,omitempty"`
	PhysicalBlockSize uint32       `json:"physical_block_size,omitempty"`
	ReadOnly          bool         `json:"read_only,omitempty"`
	ShareRW           bool         `json:"share_rw,omitempty"`
}

func deviceOf(from *C.struct_kvm_hotplug_device) Device {
	device := Device{
		ID:                 C.GoString(&from.id[0]),
		Type:               DeviceType(from.device_type),
		State:              DeviceState(from.state),
		Reason:             Reason(from.reason),
		ReasonText:         C.GoString(&from.reason_text[0]),
		RemovedAfterReboot: from.removed_after_reboot != 0,
		Model:              C.GoString(&from.model[0]),
		Bus:                C.GoString(&from.bus[0]),
		AddressType:        AddressType(from.address_type),
		Slot:               uint32(from.slot),
		Channel:            uint32(from.channel),
		Target:             uint32(from.target),
		LUN:                uint32(from.lun),
		Queues:             uint32(from.queues),
		Generation:         uint64(from.generation),
		MAC:                C.GoString(&from.mac[0]),
		Interface:          C.GoString(&from.ifname[0]),
		Bridge:             C.GoString(&from.bridge[0]),
		Vhost:              from.vhost != 0,
		MTU:                uint32(from.mtu),
		Serial:             C.GoString(&from.serial[0]),
		Path:               C.GoString(&from.path[0]),
		ReadOnly:           from.read_only != 0,
		WWN:                uint64(from.wwn),
		LinkDown:           from.link_down != 0,
		Format:             Format(from.format),
		Cache:              Cache(from.cache),
		AIO:                AIO(from.aio),
		Discard:            Discard(from.discard),
		DetectZeroes:       DetectZeroes(from.detect_zeroes),
		LogicalBlockSize:   uint32(from.logical_block_size),
		PhysicalBlockSize:  uint32(from.physical_block_size),
		ShareRW:            from.share_rw != 0,
		PCIPath:            C.GoString(&from.pci_path[0]),
		GuestAddress:       C.GoString(&from.guest_address[0]),
		GuestName:          C.GoString(&from.guest_name[0]),
		GuestSlotName:      C.GoString(&from.guest_slot_name[0]),
	}
	// One that the library did not fill in has no place in any order either.
	if index := int(from.boot_index); index >= 0 && device.ID != "" {
		device.BootIndex = &index
	}
	return device
}

// Result is the answer of a call that did not fail.
type Result struct {
	State State `json:"state"`
	// Reason is why the state is not Done.
	Reason     Reason `json:"reason,omitempty"`
	ReasonText string `json:"reason_text,omitempty"`
	// Device is the one that was added, or is on its way out; empty but for the ID if there is no such device.
	Device Device `json:"device"`
}

func resultOf(code C.int, device Device) Result {
	result := Result{State: State(code), Device: device}
	if result.State == AfterReboot || result.State == Pending {
		result.Reason, result.ReasonText = result.Device.Reason, result.Device.ReasonText
	}
	return result
}

// fillPath fills in a path that the struct has no room for. A disk that has gone meanwhile has none.
func fillPath(device *Device, from *C.struct_kvm_hotplug_device, get func(id *C.char, text **C.char) C.int) {
	if device.Type != TypeDisk || device.Path != "" {
		return
	}
	device.Path = pathOf(&from.id[0], get)
}

// pathOf is the whole path of a disk, and empty for what is none.
func pathOf(id *C.char, get func(id *C.char, text **C.char) C.int) (path string) {
	var text *C.char
	if get(id, &text) == 0 {
		path = C.GoString(text)
		C.kvm_hotplug_text_free(text)
	}
	return path
}

// path is that of a disk of the guest. A removal asks for it before: afterwards the library does not know it any more.
func (g *Guest) path(handle *C.struct_kvm_hotplug, id *C.char) string {
	return pathOf(id, func(id *C.char, text **C.char) C.int { return C.kvm_hotplug_get_path(handle, id, text, nil) })
}

// deviceOf is the device as a guest shows it.
func (g *Guest) deviceOf(handle *C.struct_kvm_hotplug, from *C.struct_kvm_hotplug_device) Device {
	device := deviceOf(from)
	fillPath(&device, from, func(id *C.char, text **C.char) C.int {
		return C.kvm_hotplug_get_path(handle, id, text, nil)
	})
	return device
}

// deviceOf is the device as a record shows it.
func (r *Runtime) deviceOf(handle *C.struct_kvm_runtime, from *C.struct_kvm_hotplug_device) Device {
	device := deviceOf(from)
	fillPath(&device, from, func(id *C.char, text **C.char) C.int {
		return C.kvm_runtime_get_path(handle, id, text, nil)
	})
	return device
}
