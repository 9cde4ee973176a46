package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

// AddNIC adds a NIC to the record of a guest that does not run; [Runtime.Boot] makes it part of the guest. Its slot is chosen
// now, its tap is opened by the boot command. It may be repeated: with an id that exists and the same settings it succeeds and
// does nothing.
func (r *Runtime) AddNIC(nic NIC) (Device, error) {
	var memory arena
	defer memory.free()
	request, release := nic.request(&memory)
	defer release()
	if memory.err != nil {
		return Device{}, memory.err
	}
	var device C.struct_kvm_hotplug_device
	var added Device
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		code := C.kvm_runtime_add_nic(handle, &request, C.sizeof_struct_kvm_hotplug_nic, &device, C.sizeof_struct_kvm_hotplug_device, failure)
		added = r.deviceOf(handle, &device)
		return code
	})
	if err != nil {
		return Device{}, err
	}
	return added, nil
}

// AddDisk adds a disk to the record of a guest that does not run; [Runtime.Boot] makes it part of the guest. The image is
// opened and closed again, to see whether it can be and what it is. It may be repeated like [Runtime.AddNIC].
func (r *Runtime) AddDisk(disk Disk) (Device, error) {
	var memory arena
	defer memory.free()
	request := disk.request(&memory)
	if memory.err != nil {
		return Device{}, memory.err
	}
	var device C.struct_kvm_hotplug_device
	var added Device
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		code := C.kvm_runtime_add_disk(handle, &request, C.sizeof_struct_kvm_hotplug_disk, &device, C.sizeof_struct_kvm_hotplug_device, failure)
		added = r.deviceOf(handle, &device)
		return code
	})
	if err != nil {
		return Device{}, err
	}
	return added, nil
}

// Del takes a device out of the record of a guest that does not run: it is gone with the next [Runtime.Boot], and at once if
// it has never been in the guest. False if there is no such device.
func (r *Runtime) Del(id string) (bool, error) {
	var memory arena
	defer memory.free()
	request := Removal{}.request(&memory, id)
	if memory.err != nil {
		return false, memory.err
	}
	var code C.int
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		code = C.kvm_runtime_del(handle, &request, C.sizeof_struct_kvm_hotplug_del_options, nil, 0, failure)
		return code
	})
	return err == nil && State(code) != Absent, err
}
