package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

// State is what a call answers when it did not fail.
type State uint32

const (
	// Done: in the guest, or gone, so that its storage or tap may be torn down.
	Done State = C.KVM_HOTPLUG_ANSWER_DONE
	// AfterReboot: recorded only; takes effect with the next boot. The reason says why.
	AfterReboot State = C.KVM_HOTPLUG_ANSWER_AFTER_REBOOT
	// Pending: a removal was asked for and the guest has not granted it yet: slot, id and backend stay taken. An event
	// will follow; the reason says what the guest is doing. Do not tear anything down yet.
	Pending State = C.KVM_HOTPLUG_ANSWER_PENDING
	// Absent: there is no such device, neither in the record nor in the guest.
	Absent State = C.KVM_HOTPLUG_ANSWER_ABSENT
	// Missing ([Guest.Device] only): the record has it, and the guest did not have it when it was last asked.
	Missing State = C.KVM_HOTPLUG_STATE_MISSING
)

var stateNames = map[State]string{
	Done:        "done",
	AfterReboot: "after-reboot",
	Pending:     "pending",
	Absent:      "absent",
	Missing:     "missing",
}

// String is "done", "after-reboot", "pending", "absent" or "missing".
func (s State) String() string { return nameOf(stateNames, s) }

// MarshalText writes the name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = parseName(stateNames, text, "state")
	return err
}

// DeviceState is how a device stands.
type DeviceState uint32

const (
	// DeviceLive: in the guest.
	DeviceLive DeviceState = C.KVM_HOTPLUG_STATE_LIVE
	// DeviceAfterReboot: recorded for the next boot, with which it comes or goes.
	DeviceAfterReboot DeviceState = C.KVM_HOTPLUG_STATE_AFTER_REBOOT
	// DevicePending: on its way out of the guest, or in if the caller did not wait.
	DevicePending DeviceState = C.KVM_HOTPLUG_STATE_PENDING
	// DeviceAbsent: there is no such device, neither in the record nor in the guest.
	DeviceAbsent DeviceState = C.KVM_HOTPLUG_STATE_ABSENT
	// DeviceMissing: the record has it, and the guest did not have it when it was last asked.
	DeviceMissing DeviceState = C.KVM_HOTPLUG_STATE_MISSING
)

var deviceStateNames = map[DeviceState]string{
	DeviceLive:        "live",
	DeviceAfterReboot: "after-reboot",
	DevicePending:     "pending",
	DeviceAbsent:      "absent",
	DeviceMissing:     "missing",
}

// String is "live", "after-reboot", "pending", "absent" or "missing".
func (s DeviceState) String() string { return nameOf(deviceStateNames, s) }

// MarshalText writes the name.
func (s DeviceState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *DeviceState) UnmarshalText(text []byte) (err error) {
	*s, err = parseName(deviceStateNames, text, "state of a device")
	return err
}

// DeviceType is what a device is.
type DeviceType uint32

const (
	// TypeNIC is a network card.
	TypeNIC DeviceType = C.KVM_HOTPLUG_DEVICE_NIC
	// TypeDisk is a disk.
	TypeDisk DeviceType = C.KVM_HOTPLUG_DEVICE_DISK
	// TypeController is a SCSI controller.
	TypeController DeviceType = C.KVM_HOTPLUG_DEVICE_CONTROLLER
)

var typeNames = map[DeviceType]string{
	0:              "none",
	TypeNIC:        "nic",
	TypeDisk:       "disk",
	TypeController: "controller",
}

// String is "nic", "disk" or "controller".
func (t DeviceType) String() string { return nameOf(typeNames, t) }

// MarshalText writes the name.
func (t DeviceType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the name.
func (t *DeviceType) UnmarshalText(text []byte) (err error) {
	*t, err = parseName(typeNames, text, "type of device")
	return err
}

// AddressType is what kind of place a device has.
type AddressType uint32

const (
	// AddressNone: none yet.
	AddressNone AddressType = C.KVM_HOTPLUG_ADDRESS_NONE
	// AddressPCI: on a PCI bus: bus and slot.
	AddressPCI AddressType = C.KVM_HOTPLUG_ADDRESS_PCI
	// AddressSCSI: on the bus of a SCSI controller: bus, channel, target and lun.
	AddressSCSI AddressType = C.KVM_HOTPLUG_ADDRESS_SCSI
)

var addressNames = map[AddressType]string{
	AddressNone: "none",
	AddressPCI:  "pci",
	AddressSCSI: "scsi",
}

// String is "none", "pci" or "scsi".
func (a AddressType) String() string { return nameOf(addressNames, a) }

// MarshalText writes the name.
func (a AddressType) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the name.
func (a *AddressType) UnmarshalText(text []byte) (err error) {
	*a, err = parseName(addressNames, text, "kind of address")
	return err
}

// Reason is why a device is not (or not yet) what was asked for.
type Reason uint32

const (
	// ReasonNone: nothing to explain.
	ReasonNone Reason = C.KVM_HOTPLUG_REASON_NONE
	// ReasonQEMUTooOld (after reboot): QEMU is older than 5.2.
	ReasonQEMUTooOld Reason = C.KVM_HOTPLUG_REASON_QEMU_TOO_OLD
	// ReasonModel (after reboot): the model is not a paravirtual one.
	ReasonModel Reason = C.KVM_HOTPLUG_REASON_MODEL
	// ReasonNoAddress (after reboot): the record does not say where the device sits.
	ReasonNoAddress Reason = C.KVM_HOTPLUG_REASON_NO_ADDRESS
	// ReasonController (after reboot): the SCSI controller comes with the next boot itself, or is of a model that does not
	// tell a running guest of new disks.
	ReasonController Reason = C.KVM_HOTPLUG_REASON_CONTROLLER
	// ReasonRecorded (after reboot): nothing is in its way any more; it was recorded when the guest did not run, or with an
	// older QEMU. To have a new device now, remove it and add it again.
	ReasonRecorded Reason = C.KVM_HOTPLUG_REASON_RECORDED
	// ReasonDeadline (pending): the guest runs and has not answered yet.
	ReasonDeadline Reason = C.KVM_HOTPLUG_REASON_DEADLINE
	// ReasonNotBooted (pending): the guest runs but has never set the device up.
	ReasonNotBooted Reason = C.KVM_HOTPLUG_REASON_NOT_BOOTED
	// ReasonNotStarted (pending): the guest has not been started.
	ReasonNotStarted Reason = C.KVM_HOTPLUG_REASON_NOT_STARTED
	// ReasonPaused (pending): the guest is paused.
	ReasonPaused Reason = C.KVM_HOTPLUG_REASON_PAUSED
	// ReasonAsleep (pending): the guest is asleep (ACPI S3).
	ReasonAsleep Reason = C.KVM_HOTPLUG_REASON_ASLEEP
	// ReasonStopped (pending): the guest has crashed or was stopped by an error.
	ReasonStopped Reason = C.KVM_HOTPLUG_REASON_STOPPED
	// ReasonNotAwaited (pending): the caller did not wait.
	ReasonNotAwaited Reason = C.KVM_HOTPLUG_REASON_NOT_AWAITED
	// ReasonMigrating (pending): the guest is being migrated; it will be asked again where it runs afterwards.
	ReasonMigrating Reason = C.KVM_HOTPLUG_REASON_MIGRATING
	// ReasonInUse (pending): the guest has let go of the disk, but QEMU still uses its image, for an export, a block job or an
	// image above it, which the words name.
	ReasonInUse Reason = C.KVM_HOTPLUG_REASON_IN_USE
	// ReasonMissing (missing): the record has the device, and the guest did not have it when it was last asked.
	ReasonMissing Reason = C.KVM_HOTPLUG_REASON_MISSING
	// ReasonRemovalUnfinished (pending, from a record without its guest): a removal was begun, and its end is not written
	// down.
	ReasonRemovalUnfinished Reason = C.KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED
	// ReasonAddUnfinished (pending, from a record without its guest): an add was begun, and its end is not written down. The
	// guest may have the device, or have had it.
	ReasonAddUnfinished Reason = C.KVM_HOTPLUG_REASON_ADD_UNFINISHED
	// ReasonChangeUnfinished (from a record without its guest): a change of the device was begun, and its end is not written
	// down. The state is that of the device.
	ReasonChangeUnfinished Reason = C.KVM_HOTPLUG_REASON_CHANGE_UNFINISHED
)

var reasonNames = map[Reason]string{
	ReasonNone:       "none",
	ReasonQEMUTooOld: "qemu-too-old",
	ReasonModel:      "model",
	ReasonNoAddress:  "no-address",
	ReasonController: "controller",
	ReasonRecorded:   "recorded",
	ReasonDeadline:   "deadline",
	ReasonNotBooted:  "not-booted",
	ReasonNotStarted: "not-started",
	ReasonPaused:     "paused",
	ReasonAsleep:     "asleep",
	ReasonStopped:    "stopped",
	ReasonNotAwaited: "not-awaited",
	ReasonMigrating:  "migrating",
	ReasonInUse:      "in-use",
	ReasonMissing:    "missing",

	ReasonRemovalUnfinished: "removal-unfinished",
	ReasonAddUnfinished:     "add-unfinished",
	ReasonChangeUnfinished:  "change-unfinished",
}

// String is a short name such as "paused".
func (r Reason) String() string { return nameOf(reasonNames, r) }

// MarshalText writes the name.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the name.
func (r *Reason) UnmarshalText(text []byte) (err error) {
	*r, err = parseName(reasonNames, text, "reason")
	return err
}

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
	Serial            string       `json:"serial,omitempty"`
	WWN               uint64       `json:"wwn,omitempty"`
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
