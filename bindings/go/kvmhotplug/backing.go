package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

// SetBacking says where the backing files of all disks of the record may be, but for those that have a rule of their own. Paths
// are absolute, at most 64, and only for [BackingFiles] and [BackingDirectories]. It fails with [ErrState] while a guest is open
// with the record.
func (r *Runtime) SetBacking(rule Backing, paths ...string) error {
	var memory arena
	defer memory.free()
	array, count := memory.strings("a path", paths), memory.number("paths", len(paths))
	if memory.err != nil {
		return memory.err
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_set_backing(handle, C.uint32_t(rule), array, count, failure)
	})
}

// AcceptChain records the files that a disk's image is made of now, in place of those that were recorded before, after its chain
// was changed on purpose or its image was replaced. They have to be where the rule for the disk allows it, which is the one given
// from then on; [BackingDefault] leaves it as it is. While a guest is open with the record, [Guest.AddDisk] with AcceptChain does
// the same.
func (r *Runtime) AcceptChain(id string, rule Backing, paths ...string) error {
	var memory arena
	defer memory.free()
	name, array, count := memory.required("the id", id), memory.strings("a path", paths), memory.number("paths", len(paths))
	if memory.err != nil {
		return memory.err
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_accept_chain(handle, name, C.uint32_t(rule), array, count, failure)
	})
}
