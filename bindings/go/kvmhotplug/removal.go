package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import "context"

// Removal is how to take a device out. The zero value waits for the guest.
type Removal struct {
	// NoWait: ask the guest, but do not wait for it. The answer is [Pending] unless the device is gone already.
	NoWait bool `json:"no_wait,omitempty"`
	// LiveOnly: live or not at all. What would take effect after a reboot fails with [ErrNotHotpluggable].
	LiveOnly bool `json:"live_only,omitempty"`
	// LeaveOverlay: also a disk whose data is in an image that the record does not have, such as a snapshot that somebody else
	// made; without, that fails with [ErrConflict]. The image stays as it is, and nothing but the caller knows of it then.
	LeaveOverlay bool `json:"leave_overlay,omitempty"`
}

// Del takes a device out of the guest and its record: it asks the guest to release the device, waits until QEMU says
// that this very device is gone, and takes down its backend (netdev and tap, or block node). The backend is not touched before
// that. The call may be repeated: it then waits again for a removal that is pending.
//
// The answer's state is [Done] (gone: its storage or tap may be torn down), [Pending] (the guest has not let go: at the
// deadline, or at once if it cannot act; the reason says which), [AfterReboot] or [Absent].
func (g *Guest) Del(ctx context.Context, id string, how Removal) (Result, error) {
	var memory arena
	defer memory.free()
	request := how.request(&memory, id)
	if memory.err != nil {
		return Result{}, memory.err
	}
	var path string
	result, err := g.result(ctx, DefaultRemovalTimeout, id, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		path = g.path(handle, request.id)
		request.timeout_ms = timeout
		return C.kvm_hotplug_del(handle, &request, C.sizeof_struct_kvm_hotplug_del_options, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
	return withPath(result, path), err
}

// withPath is the answer of a removal, with the path of a disk that the struct had no room for.
func withPath(result Result, path string) Result {
	if result.Device.Type == TypeDisk && result.Device.Path == "" {
		result.Device.Path = path
	}
	return result
}

// DelNIC is [Guest.Del] for NICs only: another device of that id is left alone, with [ErrInvalid].
func (g *Guest) DelNIC(ctx context.Context, id string) (Result, error) {
	return g.del(ctx, id, func(handle *C.struct_kvm_hotplug, name *C.char, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_del_nic(handle, name, timeout, failure)
	})
}

// DelDisk is [Guest.Del] for disks only: another device of that id is left alone, with [ErrInvalid].
func (g *Guest) DelDisk(ctx context.Context, id string) (Result, error) {
	return g.del(ctx, id, func(handle *C.struct_kvm_hotplug, name *C.char, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_del_disk(handle, name, timeout, failure)
	})
}

// DelController is [Guest.Del] for SCSI controllers only; [ErrConflict] while there are disks on it.
func (g *Guest) DelController(ctx context.Context, id string) (Result, error) {
	return g.del(ctx, id, func(handle *C.struct_kvm_hotplug, name *C.char, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_del_controller(handle, name, timeout, failure)
	})
}

func (g *Guest) del(ctx context.Context, id string, do func(*C.struct_kvm_hotplug, *C.char, C.uint32_t, **C.struct_kvm_hotplug_error) C.int) (Result, error) {
	var memory arena
	defer memory.free()
	name := memory.required("the id", id)
	if memory.err != nil {
		return Result{}, memory.err
	}
	var path string
	result, err := g.result(ctx, DefaultRemovalTimeout, id, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		path = g.path(handle, name)
		// What it was, and why it still is; in the same turn, so that it belongs to this answer.
		C.kvm_hotplug_get_device(handle, name, device, C.sizeof_struct_kvm_hotplug_device, nil)
		code := do(handle, name, timeout, failure)
		if code == C.KVM_HOTPLUG_ANSWER_PENDING || code == C.KVM_HOTPLUG_ANSWER_AFTER_REBOOT {
			C.kvm_hotplug_get_device(handle, name, device, C.sizeof_struct_kvm_hotplug_device, nil)
		}
		return code
	})
	return withPath(result, path), err
}

// PlanDel says what [Guest.Del] would do if the guest lets go, without doing it.
func (g *Guest) PlanDel(ctx context.Context, id string, how Removal) (Plan, error) {
	var memory arena
	defer memory.free()
	request := how.request(&memory, id)
	if memory.err != nil {
		return Plan{}, memory.err
	}
	return g.plan(ctx, id, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_plan_del(handle, &request, C.sizeof_struct_kvm_hotplug_del_options, device, C.sizeof_struct_kvm_hotplug_device, text, failure)
	})
}

func (r Removal) request(memory *arena, id string) C.struct_kvm_hotplug_del_options {
	return C.struct_kvm_hotplug_del_options{id: memory.required("the id", id), flags: r.flags()}
}

func (r Removal) flags() (flags C.uint32_t) {
	if r.NoWait {
		flags |= C.KVM_HOTPLUG_NO_WAIT
	}
	if r.LiveOnly {
		flags |= C.KVM_HOTPLUG_LIVE_ONLY
	}
	if r.LeaveOverlay {
		flags |= C.KVM_HOTPLUG_DEL_LEAVE_OVERLAY
	}
	return flags
}
