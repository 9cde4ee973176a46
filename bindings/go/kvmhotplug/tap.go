package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"errors"
	"os"
)

// TapConfig is a tap to open. The zero value is one queue, the kernel's choice of name, attached to nothing.
type TapConfig struct {
	// Interface is the name, at most 15 characters, or a pattern with one "%d"; it must not exist. Empty for "tap%d".
	Interface string
	// Bridge to attach it to.
	Bridge string
	// Queues, 1 to 256; 0 means 1.
	Queues int
	// MTU in bytes, 68 to 65521; 0 for the bridge's, or the kernel's 1500.
	MTU int
	// Owner is a user id that may reopen it; nil for nobody but root.
	Owner *int
}

// Tap is an open tap with virtio-net headers, which disappears when the last of its descriptors is closed.
type Tap struct {
	Interface string
	// Files, one a queue, can be passed as [NIC].Tap any number of times; they stay the caller's.
	Files []*os.File
}

// OpenTap opens a tap, for callers that want to hold it themselves; [Guest.AddNIC] opens one by itself. It does not
// block.
func OpenTap(config TapConfig) (*Tap, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	var memory arena
	defer memory.free()
	request := C.struct_kvm_hotplug_tap{
		ifname: memory.optional("the interface's name", config.Interface),
		bridge: memory.optional("the bridge's name", config.Bridge),
		queues: memory.number("Queues", config.Queues),
		mtu:    memory.number("MTU", config.MTU),
	}
	request.flags |= memory.given(config.Owner, "Owner", &request.tap_owner, C.KVM_HOTPLUG_TAP_OWNER)
	if memory.err != nil {
		return nil, memory.err
	}
	// The library says what is wrong with a number that is out of range.
	descriptors := make([]C.int32_t, min(max(config.Queues, 1), 256))
	var name [16]C.char
	var failure *C.struct_kvm_hotplug_error
	count := C.kvm_hotplug_open_tap(&request, C.sizeof_struct_kvm_hotplug_tap, &descriptors[0], C.size_t(len(descriptors)), &name[0], &failure)
	if count < 0 {
		return nil, takeError(failure, count)
	}
	tap := &Tap{Interface: C.GoString(&name[0])}
	for _, descriptor := range descriptors[:count] {
		tap.Files = append(tap.Files, os.NewFile(uintptr(descriptor), tap.Interface))
	}
	return tap, nil
}

// Close closes the caller's descriptors; those that a guest was given live on.
func (t *Tap) Close() error {
	var errs []error
	for _, file := range t.Files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}
