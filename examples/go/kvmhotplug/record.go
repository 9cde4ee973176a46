package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

// AddNIC adds a NIC to the record of a guest that does not run: [Runtime.Boot] makes it part of the guest. The request is
// that of [Guest.AddNIC], without Tap and TapOwner; its slot is chosen now. The record must have a file, and no guest may
// be open with it. It may be repeated. The device's state is [AfterReboot] until the boot.
func (r *Runtime) AddNIC(nic NIC) (Device, error) {
	var memory arena
	defer memory.free()
	request, release := nic.request(&memory)
	defer release()
	if memory.err != nil {
		return Device{}, memory.err
	}
	result, err := r.result(nic.ID, func(handle *C.struct_kvm_runtime, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_add_nic(handle, &request, C.sizeof_struct_kvm_hotplug_nic, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
	return result.Device, err
}

// AddDisk adds a disk to the record of a guest that does not run, as [Runtime.AddNIC] does, with a SCSI controller if it
// needs one. The image is opened and closed again.
func (r *Runtime) AddDisk(disk Disk) (Device, error) {
	var memory arena
	defer memory.free()
	request := disk.request(&memory)
	if memory.err != nil {
		return Device{}, memory.err
	}
	result, err := r.result(disk.ID, func(handle *C.struct_kvm_runtime, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_add_disk(handle, &request, C.sizeof_struct_kvm_hotplug_disk, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
	return result.Device, err
}

// Remove takes a device out of the record of a guest that does not run: it is gone with the next [Runtime.Boot], and at
// once if it has never been in the guest. The answer's state is [Done] or [Absent].
func (r *Runtime) Remove(id string) (Result, error) {
	var memory arena
	defer memory.free()
	request := Removal{}.request(&memory, id)
	if memory.err != nil {
		return Result{}, memory.err
	}
	return r.result(id, func(handle *C.struct_kvm_runtime, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_remove(handle, &request, C.sizeof_struct_kvm_hotplug_removal, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
}

func (r *Runtime) result(id string, do func(*C.struct_kvm_runtime, *C.struct_kvm_hotplug_device, **C.struct_kvm_hotplug_error) C.int) (Result, error) {
	var device C.struct_kvm_hotplug_device
	var code C.int
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		code = do(handle, &device, failure)
		return code
	})
	if err != nil {
		return Result{}, err
	}
	result := resultOf(code, &device)
	if result.Device.ID == "" {
		result.Device.ID = id
	}
	return result, nil
}
