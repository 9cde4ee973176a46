package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import "context"

// SlotState is what a slot is used for.
type SlotState uint32

const (
	// SlotFree: can be handed out.
	SlotFree SlotState = C.KVM_HOTPLUG_SLOT_FREE
	// SlotReserved: left to QEMU, unless it is pinned.
	SlotReserved SlotState = C.KVM_HOTPLUG_SLOT_RESERVED
	// SlotTaken: somebody is there.
	SlotTaken SlotState = C.KVM_HOTPLUG_SLOT_TAKEN
	// SlotQuarantined: a removal is pending there.
	SlotQuarantined SlotState = C.KVM_HOTPLUG_SLOT_QUARANTINED
	// SlotNotHotpluggable: empty, but takes no devices while the guest runs.
	SlotNotHotpluggable SlotState = C.KVM_HOTPLUG_SLOT_NOT_HOTPLUGGABLE
	// SlotUnknown: the guest has not said yet.
	SlotUnknown SlotState = C.KVM_HOTPLUG_SLOT_UNKNOWN
	// SlotMissing: left to a device of the record that the guest does not have.
	SlotMissing SlotState = C.KVM_HOTPLUG_SLOT_MISSING
)

var slotNames = map[SlotState]string{
	SlotFree:            "free",
	SlotReserved:        "reserved",
	SlotTaken:           "taken",
	SlotQuarantined:     "quarantined",
	SlotNotHotpluggable: "not-hotpluggable",
	SlotUnknown:         "unknown",
	SlotMissing:         "missing",
}

// String is a name such as "free".
func (s SlotState) String() string { return nameOf(slotNames, s) }

// MarshalText writes the name.
func (s SlotState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *SlotState) UnmarshalText(text []byte) (err error) {
	*s, err = parseName(slotNames, text, "state of a slot")
	return err
}

// Slot is one slot of one bus.
type Slot struct {
	Bus string `json:"bus"`
	// AddressType says which of Slot, or Channel, Target and LUN counts.
	AddressType AddressType `json:"address_type"`
	Slot        uint32      `json:"slot"`
	Channel     uint32      `json:"channel,omitempty"`
	Target      uint32      `json:"target,omitempty"`
	LUN         uint32      `json:"lun,omitempty"`
	State       SlotState   `json:"state"`
	// Occupant is the id of the device there, or a description of one without an id; empty for none.
	Occupant string `json:"occupant,omitempty"`
}

func slotOf(from *C.struct_kvm_hotplug_slot) Slot {
	return Slot{
		Bus:         C.GoString(&from.bus[0]),
		AddressType: AddressType(from.address_type),
		Slot:        uint32(from.slot),
		Channel:     uint32(from.channel),
		Target:      uint32(from.target),
		LUN:         uint32(from.lun),
		State:       SlotState(from.state),
		Occupant:    C.GoString(&from.occupant[0]),
	}
}

// Slots shows every slot of every PCI bus, as the guest has it now: bus by bus, in the order in which free slots are handed
// out. Behind them come the SCSI buses: of their 256 targets those in use, and the free one that is handed out next.
func (g *Guest) Slots(ctx context.Context) ([]Slot, error) {
	var list []Slot
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) (code C.int) {
		list, code = fetchList(128, slotOf, func(first *C.struct_kvm_hotplug_slot, room C.size_t, count *C.size_t) C.int {
			return C.kvm_hotplug_slot_map(handle, timeout, first, C.sizeof_struct_kvm_hotplug_slot, room, count, failure)
		})
		return code
	})
	return list, err
}
