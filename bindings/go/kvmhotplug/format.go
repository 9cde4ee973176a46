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
	var memory arena
	defer memory.free()
	var converted *Runtime
	var refused error
	err := r.call(func(handle *C.struct_kvm_runtime, _ **C.struct_kvm_hotplug_error) C.int {
		converted, refused = newRuntime(&memory, func(made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
			return C.kvm_runtime_convert(handle, C.uint32_t(format), made, failure)
		})
		return 0
	})
	if err == nil {
		err = refused
	}
	return converted, err
}
