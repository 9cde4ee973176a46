package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import "os"

// GiveTap gives a NIC that was added with NIC.Tap its tap for the next start of this record, [Runtime.Boot], also of a
// migration target: one file for each queue. Without it that call fails with [ErrState], and [Runtime.Check] says so before.
// It may be another tap than before. A start takes what was given for it; the next one needs its taps again.
func (r *Runtime) GiveTap(id string, queues ...*os.File) error {
	var memory arena
	defer memory.free()
	name := memory.required("the id", id)
	descriptors, release := duplicate(&memory, "a queue of the tap", queues...)
	defer release()
	array := memory.integers(descriptors)
	if memory.err != nil {
		return memory.err
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_give_tap(handle, name, array, C.size_t(len(descriptors)), failure)
	})
}
