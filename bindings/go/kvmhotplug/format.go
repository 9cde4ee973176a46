package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

// Format is that of the file the record was loaded from, or the one it was converted to.
func (r *Runtime) Format() (RuntimeFormat, error) {
	var format C.uint32_t
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_get_format(handle, &format, failure)
	})
	return RuntimeFormat(format), err
}

// Convert makes a copy in another format, without a file until [Runtime.Save] gives it one; the record stays what it is. A
// Ganeti list holds less than the native format: what it cannot hold is refused by name of device and setting.
func (r *Runtime) Convert(format RuntimeFormat) (*Runtime, error) {
	return r.copyBy(func(handle *C.struct_kvm_runtime, made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_convert(handle, C.uint32_t(format), made, failure)
	})
}

// Copy makes a copy of the record, for a file of another name or for a migration target. It has no file until [Runtime.Save]
// gives it one. A guest may be open with the record. What [Runtime.Unfinished] lists is not copied: a device that is being
// removed is in the copy, one that is being added is not.
func (r *Runtime) Copy() (*Runtime, error) {
	return r.copyBy(func(handle *C.struct_kvm_runtime, made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_copy(handle, made, failure)
	})
}

// copier makes a record of another one.
type copier func(handle *C.struct_kvm_runtime, made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int

func (r *Runtime) copyBy(do copier) (*Runtime, error) {
	var memory arena
	defer memory.free()
	var made *Runtime
	var refused error
	err := r.call(func(handle *C.struct_kvm_runtime, _ **C.struct_kvm_hotplug_error) C.int {
		made, refused = newRuntime(&memory, func(out **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
			return do(handle, out, failure)
		})
		return 0
	})
	if err == nil {
		err = refused
	}
	return made, err
}
