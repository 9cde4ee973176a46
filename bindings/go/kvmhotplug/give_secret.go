package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

// GiveSecret gives a disk a secret of its source ([Disk.Secrets]) for the next start of this record, [Runtime.Boot], also of a
// migration target. Without all of them that call fails with [ErrState], and [Runtime.Check] names before which are missing.
// QEMU reads it from an inherited file in memory, as /proc/self/fd/N, so there has to be a /proc where it starts. A start takes
// what was given for it; the next one needs it again.
func (r *Runtime) GiveSecret(id, name string, data []byte) error {
	var memory arena
	defer memory.free()
	disk, secret := memory.required("the id", id), memory.required("the name", name)
	copied := memory.bytes(data)
	if memory.err != nil {
		return memory.err
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_give_secret(handle, disk, secret, copied, C.size_t(len(data)), failure)
	})
}
