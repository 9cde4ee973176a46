package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import "context"

// Controller is a SCSI controller to add. The zero value is a virtio-scsi-pci in the first free slot.
type Controller struct {
	// ID: a letter, then up to 30 letters, digits, '-', '.' or '_'. Empty for "scsi-pci-<slot>", or "scsi-pci-<bus>" on a
	// root port. The bus for its disks is called "<id>.0".
	ID string `json:"id,omitempty"`
	// Model is QEMU's device model; empty for "virtio-scsi-pci". One that is not of its family is recorded for the next
	// boot.
	Model string `json:"model,omitempty"`
	// Bus to sit on, a PCI bus; empty for the first free slot. With it, Slot counts.
	Bus string `json:"bus,omitempty"`
	// Slot on Bus, 0 to 31.
	Slot int `json:"slot,omitempty"`
	// Queues are request queues, 1 to 1021; 0 for QEMU's default.
	Queues int `json:"queues,omitempty"`
	// Properties are further properties of the device in QEMU; see [NIC].
	Properties map[string]any `json:"properties,omitempty"`
	// IOThread and MakeIOThread are as of [Disk]: the iothread that does the I/O of its disks.
	IOThread     string `json:"iothread,omitempty"`
	MakeIOThread bool   `json:"make_iothread,omitempty"`
	// LiveOnly: live or not at all. What would take effect after a reboot fails with [ErrNotHotpluggable].
	LiveOnly bool `json:"live_only,omitempty"`
	// NoWait: do not wait for QEMU. The answer is [Pending], and [EventAdded] or [EventAddFailed] says how it went.
	NoWait bool `json:"no_wait,omitempty"`
}

// AddController plugs a SCSI controller into the guest and records it: all of it or nothing. Seldom needed: [Guest.AddDisk]
// brings one along for the first SCSI disk. It may be repeated.
func (g *Guest) AddController(ctx context.Context, controller Controller) (Result, error) {
	var memory arena
	defer memory.free()
	request := controller.request(&memory)
	if memory.err != nil {
		return Result{}, memory.err
	}
	return g.result(ctx, DefaultTimeout, controller.ID, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_add_controller(handle, &request, C.sizeof_struct_kvm_hotplug_controller, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
}

// PlanController says what [Guest.AddController] would do, without doing it.
func (g *Guest) PlanController(ctx context.Context, controller Controller) (Plan, error) {
	var memory arena
	defer memory.free()
	request := controller.request(&memory)
	if memory.err != nil {
		return Plan{}, memory.err
	}
	return g.plan(ctx, controller.ID, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_plan_controller(handle, &request, C.sizeof_struct_kvm_hotplug_controller, device, C.sizeof_struct_kvm_hotplug_device, text, failure)
	})
}

func (c *Controller) request(memory *arena) C.struct_kvm_hotplug_controller {
	request := C.struct_kvm_hotplug_controller{
		properties: memory.object("Properties", c.Properties),
		id:         memory.optional("the id", c.ID),
		model:      memory.optional("the model", c.Model),
		bus:        memory.optional("the bus", c.Bus),
		slot:       memory.number("Slot", c.Slot),
		queues:     memory.number("Queues", c.Queues),
		iothread:   memory.optional("the iothread", c.IOThread),
	}
	if c.MakeIOThread {
		request.flags |= C.KVM_HOTPLUG_MAKE_IOTHREAD
	}
	if c.NoWait {
		request.flags |= C.KVM_HOTPLUG_NO_WAIT
	}
	if c.LiveOnly {
		request.flags |= C.KVM_HOTPLUG_LIVE_ONLY
	}
	return request
}
