package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import "context"

// Difference is one disagreement between record and guest.
type Difference struct {
	// ID of the device or node, or of the device that an fdset was for.
	ID   string         `json:"id"`
	Kind DifferenceKind `json:"kind"`
	// Recorded is what the record says, Found what the guest shows, Text all of it in one sentence.
	Recorded string `json:"recorded,omitempty"`
	Found    string `json:"found,omitempty"`
	Text     string `json:"text"`
	// Repairable: [Guest.Repair] deals with it.
	Repairable bool `json:"repairable"`
}

func differenceOf(from *C.struct_kvm_hotplug_difference) Difference {
	return Difference{
		ID:         C.GoString(&from.id[0]),
		Kind:       DifferenceKind(from.kind),
		Recorded:   C.GoString(&from.recorded[0]),
		Found:      C.GoString(&from.found[0]),
		Text:       C.GoString(&from.text[0]),
		Repairable: from.repairable != 0,
	}
}

// Verify compares record and guest both ways. Devices that wait for a reboot and those on their way out are no
// difference. Nothing is changed, except that unfinished operations are settled as by every call.
func (g *Guest) Verify(ctx context.Context) ([]Difference, error) {
	return g.differences(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, first *C.struct_kvm_hotplug_difference, room C.size_t, count *C.size_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_verify(handle, timeout, first, C.sizeof_struct_kvm_hotplug_difference, room, count, failure)
	})
}

// Repair mends the differences that can be mended without a decision, and answers those that are left. Nothing foreign is
// touched. Events tell what was done; what was mended before a failure stays mended.
func (g *Guest) Repair(ctx context.Context) ([]Difference, error) {
	return g.differences(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, first *C.struct_kvm_hotplug_difference, room C.size_t, count *C.size_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_repair(handle, timeout, first, C.sizeof_struct_kvm_hotplug_difference, room, count, failure)
	})
}

func (g *Guest) differences(ctx context.Context, do func(*C.struct_kvm_hotplug, C.uint32_t, *C.struct_kvm_hotplug_difference, C.size_t, *C.size_t, **C.struct_kvm_hotplug_error) C.int) ([]Difference, error) {
	var list []Difference
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) (code C.int) {
		list, code = fetchList(64, differenceOf, func(first *C.struct_kvm_hotplug_difference, room C.size_t, count *C.size_t) C.int {
			return do(handle, timeout, first, room, count, failure)
		})
		return code
	})
	return list, err
}
