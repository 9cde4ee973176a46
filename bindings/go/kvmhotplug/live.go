package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"encoding/json"
)

// SetLink pulls the cable of a NIC, or puts it back: the guest sees its carrier go and come. Recorded, so that it
// outlives the guest. The answer's state is [Done] or [AfterReboot].
func (g *Guest) SetLink(ctx context.Context, id string, up bool) (Result, error) {
	var memory arena
	defer memory.free()
	name := memory.required("the id", id)
	if memory.err != nil {
		return Result{}, memory.err
	}
	return g.change(ctx, id, name, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_set_link(handle, name, flag(up), timeout, failure)
	})
}

// SetBridge moves a NIC to another bridge of the host, or with "" out of any: its tap changes places, and the guest notices
// nothing. The tap is looked for in the network namespace of the calling thread (see runtime.LockOSThread). The answer's
// state is [Done] or [AfterReboot].
func (g *Guest) SetBridge(ctx context.Context, id, bridge string) (Result, error) {
	var memory arena
	defer memory.free()
	name, to := memory.required("the id", id), memory.optional("the bridge's name", bridge)
	if memory.err != nil {
		return Result{}, memory.err
	}
	return g.change(ctx, id, name, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_set_bridge(handle, name, to, timeout, failure)
	})
}

// SetNICLimits sets how much the guest may receive and send over a NIC, in both directions at once, by queueing disciplines
// of the host's kernel. Recorded, so that it outlives the guest. A failure leaves the limits that it had. The answer's state
// is [Done] or [AfterReboot].
func (g *Guest) SetNICLimits(ctx context.Context, id string, limits NICLimits) (Result, error) {
	var memory arena
	defer memory.free()
	name := memory.required("the id", id)
	if memory.err != nil {
		return Result{}, memory.err
	}
	wanted := C.struct_kvm_hotplug_nic_limits{
		inbound_average:  C.uint64_t(limits.Inbound.Average),
		inbound_burst:    C.uint64_t(limits.Inbound.Burst),
		outbound_average: C.uint64_t(limits.Outbound.Average),
		outbound_burst:   C.uint64_t(limits.Outbound.Burst),
	}
	return g.change(ctx, id, name, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_set_nic_limits(handle, name, &wanted, C.sizeof_struct_kvm_hotplug_nic_limits, timeout, failure)
	})
}

// change is a call that answers with the device as it is afterwards, in the same turn.
func (g *Guest) change(ctx context.Context, id string, name *C.char, do request) (Result, error) {
	return g.result(ctx, DefaultTimeout, id, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		code := do(handle, timeout, failure)
		if code >= 0 {
			C.kvm_hotplug_get_device(handle, name, device, C.sizeof_struct_kvm_hotplug_device, nil)
		}
		return code
	})
}

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}

// SetDiskLimits sets how much I/O a disk may do while the guest uses it, and with it all disks of its group; nil lifts the
// limits. It is recorded, and works for a disk that was added without limits. The answer's state is [Done] or [AfterReboot].
func (g *Guest) SetDiskLimits(ctx context.Context, id string, limits DiskLimits) (Result, error) {
	var memory arena
	defer memory.free()
	name, text := memory.required("the id", id), memory.object("Limits", limits)
	if memory.err != nil {
		return Result{}, memory.err
	}
	return g.change(ctx, id, name, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_set_disk_limits(handle, name, text, timeout, failure)
	})
}

// Resize is the new size of a disk.
type Resize struct {
	// Bytes is a multiple of 512; or 0 for what the image or block device has now, after it was grown from outside.
	Bytes uint64 `json:"bytes"`
	// Shrink: the disk may get smaller. What lies behind its new end is lost.
	Shrink bool `json:"shrink,omitempty"`
}

// ResizeDisk gives a disk another size while the guest uses it, and answers the size it has now; the guest sees it at
// once. After a deadline or a cancel QEMU may or may not have done it, which a repeated call finds out.
func (g *Guest) ResizeDisk(ctx context.Context, id string, to Resize) (uint64, error) {
	var memory arena
	defer memory.free()
	name := memory.required("the id", id)
	if memory.err != nil {
		return 0, memory.err
	}
	var flags C.uint32_t
	if to.Shrink {
		flags |= C.KVM_HOTPLUG_RESIZE_SHRINK
	}
	var size C.uint64_t
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_resize_disk(handle, name, C.uint64_t(to.Bytes), flags, timeout, &size, failure)
	})
	return uint64(size), err
}

// Medium is what a CD drive is to have in it.
type Medium struct {
	// Path is the absolute path of an image file or block device; empty to take out the medium that is in the drive.
	Path string `json:"path"`
	// Format is the format of the image.
	Format Format `json:"format,omitempty"`
	// Backing is where the image's backing files may be, and BackingPaths the absolute paths that it names, if it names any.
	Backing      Backing  `json:"backing,omitempty"`
	BackingPaths []string `json:"backing_paths,omitempty"`
	// Force: the tray is opened also if the guest has locked it.
	Force bool `json:"force,omitempty"`
}

// ChangeMedia changes the medium of a CD drive while the guest runs. The answer's state is [Done], [AfterReboot], or
// [Pending] for a guest that has locked the tray until the deadline: nothing is changed then, and the call can be
// repeated.
func (g *Guest) ChangeMedia(ctx context.Context, id string, medium Medium) (Result, error) {
	var memory arena
	defer memory.free()
	name := memory.required("the id", id)
	request := C.struct_kvm_hotplug_medium{
		path:          memory.optional("the path", medium.Path),
		backing_paths: memory.strings("a path for backing files", medium.BackingPaths),
		format:        C.uint32_t(medium.Format),
		backing:       C.uint32_t(medium.Backing),
		backing_count: memory.number("BackingPaths", len(medium.BackingPaths)),
		force:         C.uint32_t(flag(medium.Force)),
	}
	if memory.err != nil {
		return Result{}, memory.err
	}
	return g.result(ctx, DefaultTimeout, id, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_change_media(handle, name, &request, C.sizeof_struct_kvm_hotplug_medium, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
}

// QMP runs a command of the caller's own over the guest's connection, and answers what it returned, at most 4 MiB. What
// would fool the record is refused with [ErrState] unless [Command].Force is set: see kvm_hotplug_qmp() in the header.
// After a deadline, a cancel or a lost connection the library does not know whether QEMU ran the command.
func (g *Guest) QMP(ctx context.Context, command Command) (json.RawMessage, error) {
	var memory arena
	defer memory.free()
	request := C.struct_kvm_hotplug_command{
		execute:   memory.required("the command", command.Execute),
		arguments: memory.optional("the arguments", string(command.Arguments)),
	}
	if command.Force {
		request.flags |= C.KVM_HOTPLUG_QMP_FORCE
	}
	if command.File != nil {
		descriptors, release := duplicate(&memory, "File", command.File)
		defer release()
		if memory.err == nil {
			request.fd = C.int32_t(descriptors[0])
			request.flags |= C.KVM_HOTPLUG_QMP_PASS_FD
		}
	}
	if memory.err != nil {
		return nil, memory.err
	}
	text, _, err := g.text(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_qmp(handle, &request, C.sizeof_struct_kvm_hotplug_command, text, failure)
	})
	return text, err
}

// Describe says everything that is known of a device as a JSON object, also what only guest and host know: what
// kvm_hotplug_describe() says in the header. Without an id it is an array of all devices. Nil if there is no such device.
func (g *Guest) Describe(ctx context.Context, id string) (json.RawMessage, error) {
	var memory arena
	defer memory.free()
	name := memory.optional("the id", id)
	if memory.err != nil {
		return nil, memory.err
	}
	text, code, err := g.text(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_describe(handle, name, timeout, text, failure)
	})
	if err != nil || State(code) == Absent {
		return nil, err
	}
	return text, nil
}

// DescribeUnrecorded is a JSON array of the NICs, disks and SCSI controllers that the guest has and the record has not: those
// of another program, and those without an id. kvm_hotplug_describe_unrecorded() in the header has the rest.
func (g *Guest) DescribeUnrecorded(ctx context.Context) (json.RawMessage, error) {
	text, _, err := g.text(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_describe_unrecorded(handle, timeout, text, failure)
	})
	if err != nil {
		return nil, err
	}
	return text, nil
}

// Capabilities says what the guest's QEMU knows of device models, as JSON: kvm_hotplug_get_capabilities() in the header says
// what. An agent keeps it for all guests of one build of QEMU; see [Guest.GiveCapabilities].
func (g *Guest) Capabilities(ctx context.Context) (json.RawMessage, error) {
	text, _, err := g.text(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_get_capabilities(handle, timeout, text, failure)
	})
	if err != nil {
		return nil, err
	}
	return text, nil
}

// GiveCapabilities gives the library what another guest of the same build of QEMU has said, so that this one is not asked. With
// another build it is an [Error] with ESTALE.
func (g *Guest) GiveCapabilities(ctx context.Context, known json.RawMessage) error {
	var memory arena
	defer memory.free()
	text := memory.required("the capabilities", string(known))
	if memory.err != nil {
		return memory.err
	}
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_give_capabilities(handle, text, timeout, failure)
	})
	return err
}

// text is a call that answers with a text, which is freed.
func (g *Guest) text(ctx context.Context, do func(*C.struct_kvm_hotplug, C.uint32_t, **C.char, **C.struct_kvm_hotplug_error) C.int) (json.RawMessage, C.int, error) {
	var text *C.char
	code, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return do(handle, timeout, &text, failure)
	})
	defer C.kvm_hotplug_text_free(text)
	return json.RawMessage(C.GoString(text)), code, err
}
