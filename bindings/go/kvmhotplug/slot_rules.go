package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

// SetSlotPolicy says which of the free slots a new device gets that asks for none. It fails with [ErrState] while a guest is open
// with the record.
func (r *Runtime) SetSlotPolicy(policy SlotPolicy) error {
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_set_slot_policy(handle, C.uint32_t(policy), failure)
	})
}

// SetWhenFull says what an add does that finds no free slot and asks for none. With [WhenFullNextBoot] it answers
// [AnswerAfterReboot], and the next boot makes a root port or a PCI bridge for the device. It fails with [ErrState] while a guest
// is open with the record.
func (r *Runtime) SetWhenFull(whenFull WhenFull) error {
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_set_when_full(handle, C.uint32_t(whenFull), failure)
	})
}

// ReserveSlots reserves slots of a PCI bus, first to last, 0 to 31: a device gets one of them only if its request names it, or if
// it is of one of the types. It replaces what was said of the same slots before. It fails with [ErrState] while a guest is open
// with the record.
func (r *Runtime) ReserveSlots(bus string, first, last uint32, types ...DeviceType) error {
	var memory arena
	defer memory.free()
	name := memory.required("the bus", bus)
	if memory.err != nil {
		return memory.err
	}
	var bits C.uint32_t
	for _, one := range types {
		bits |= 1 << uint32(one)
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_reserve_slots(handle, name, C.uint32_t(first), C.uint32_t(last), bits, failure)
	})
}

// ReleaseSlots takes back what [Runtime.ReserveSlots] has reserved on a bus, or on all buses if bus is empty.
func (r *Runtime) ReleaseSlots(bus string) error {
	var memory arena
	defer memory.free()
	name := memory.optional("the bus", bus)
	if memory.err != nil {
		return memory.err
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_release_slots(handle, name, failure)
	})
}
