package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"encoding/json"
	"os"
	"syscall"
)

// Plan is what a call would do.
type Plan struct {
	// Result is what the call would answer, with the device as it would be.
	Result
	// Commands are those that QEMU would get, in order.
	Commands []Command `json:"commands"`
	// Host is what would be done on the host, in sentences.
	Host []string `json:"host"`
	// SlotsLeft is, of an add, how many free PCI slots such a device gets unasked afterwards; nil for others.
	SlotsLeft *int `json:"slots_left,omitempty"`
}

// Command is one to QEMU's monitor.
type Command struct {
	Execute string `json:"execute"`
	// Arguments are a JSON object; QEMU takes some 3.5 microseconds to read each byte.
	Arguments json.RawMessage `json:"arguments,omitempty"`
	// File is one that QEMU gets along with it (getfd, add-fd); it is duplicated.
	File *os.File `json:"-"`
	// Force: send it even if it fools the record. What it did to a recorded device is the caller's to answer for.
	Force bool `json:"force,omitempty"`
}

type planRequest func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, text **C.char, err **C.struct_kvm_hotplug_error) C.int

func (g *Guest) plan(ctx context.Context, id string, do planRequest) (Plan, error) {
	var text *C.char
	result, err := g.result(ctx, DefaultTimeout, id, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		return do(handle, timeout, device, &text, failure)
	})
	defer C.kvm_hotplug_text_free(text)
	if err != nil {
		return Plan{}, err
	}
	// The rest of the text is in the device.
	var steps struct {
		Commands  []Command
		Host      []string
		SlotsLeft *int `json:"slots_left"`
	}
	if err := json.Unmarshal([]byte(C.GoString(text)), &steps); err != nil {
		return Plan{}, &Error{Kind: ErrFormat, Errno: syscall.EBADMSG, Message: "the library's plan: " + err.Error(), cause: err}
	}
	return Plan{Result: result, Commands: steps.Commands, Host: steps.Host, SlotsLeft: steps.SlotsLeft}, nil
}
