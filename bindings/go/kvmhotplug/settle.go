package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import "context"

// Settle settles what is unfinished of a guest that is known to be off, by its record: removals are done, adds that are
// not in the record are dropped. It answers how many operations that were. Of a guest that runs it would lose devices:
// open that one instead.
func (r *Runtime) Settle() (int, error) {
	var count C.int
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		count = C.kvm_runtime_settle(handle, failure)
		return count
	})
	return int(count), err
}

// Settle finishes or undoes what is unfinished of the guest, as opening it did, changes nothing else, and lists the
// removals that the guest has not granted. If there are none, the runtime file can be taken to another host as it is.
func (g *Guest) Settle(ctx context.Context) ([]Device, error) {
	var list []Device
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) (code C.int) {
		show := func(from *C.struct_kvm_hotplug_device) Device { return g.deviceOf(handle, from) }
		list, code = fetchList(16, show, func(first *C.struct_kvm_hotplug_device, room C.size_t, count *C.size_t) C.int {
			return C.kvm_hotplug_settle(handle, timeout, first, C.sizeof_struct_kvm_hotplug_device, room, count, failure)
		})
		return code
	})
	return list, err
}
