package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import "context"

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
