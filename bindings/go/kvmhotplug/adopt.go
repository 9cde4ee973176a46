package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"encoding/json"
)

// Adoption says which guest is adopted, and what of it is known; what is left out is found out.
type Adoption struct {
	// Monitor is the path of the guest's QMP socket, nobody else connected.
	Monitor string `json:"monitor"`
	// Name of the guest, for people.
	Name string `json:"name,omitempty"`
	// Command that QEMU was started with, the program first.
	Command []string `json:"command,omitempty"`
	// Directory in which relative paths of the command begin.
	Directory string `json:"directory,omitempty"`
	// PID is the process, if it is not the one that listens at the monitor.
	PID int `json:"pid,omitempty"`
	// ReservedSlots is how many slots of pci.0, counted from 0, are never chosen, 0 to 32.
	ReservedSlots *int `json:"reserved_slots,omitempty"`
	// Trust: the record's directory may be writable by others, see [LoadTrusted].
	Trust bool `json:"trust,omitempty"`
	// DryRun makes the report and no record.
	DryRun bool `json:"dry_run,omitempty"`
}

// Adopted is what an adoption makes.
type Adopted struct {
	// Runtime has no file until [Runtime.Save] gives it one; nil after a dry run.
	Runtime *Runtime
	// Report says what is recorded, what is not and why, and what the next start will lack: docs/json.md.
	Report json.RawMessage
}

// Adopt makes a record of a running guest that any program has started; kvm_runtime_adopt() in the header says what is
// recorded. Nothing in the guest changes.
//
// Cancelling answers at once; the look then ends by itself, at its deadline at the latest.
func Adopt(ctx context.Context, what Adoption) (Adopted, error) {
	if err := checkABI(); err != nil {
		return Adopted{}, err
	}
	return detached(ctx, "adopting the guest", func(timeout C.uint32_t) (Adopted, error) {
		var memory arena
		defer memory.free()
		options := C.struct_kvm_runtime_adopt_options{
			qmp_path:      memory.required("the monitor's path", what.Monitor),
			name:          memory.optional("the name", what.Name),
			command:       memory.strings("the command", what.Command),
			command_count: C.uint64_t(len(what.Command)),
			directory:     memory.optional("the directory", what.Directory),
			pid:           C.int32_t(what.PID),
			timeout_ms:    timeout,
		}
		options.flags |= memory.given(what.ReservedSlots, "ReservedSlots", &options.reserved_slots, C.KVM_RUNTIME_NEW_RESERVED_SLOTS)
		if what.Trust {
			options.flags |= C.KVM_RUNTIME_OPEN_TRUST
		}
		var text *C.char
		defer func() { C.kvm_hotplug_text_free(text) }()
		adopt := func(made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
			if what.DryRun {
				made = nil
			}
			return C.kvm_runtime_adopt(&options, C.sizeof_struct_kvm_runtime_adopt_options, made, &text, failure)
		}
		runtime, err := newRuntime(&memory, adopt)
		if err != nil {
			return Adopted{}, err
		}
		if what.DryRun {
			runtime = nil
		}
		return Adopted{Runtime: runtime, Report: json.RawMessage(C.GoString(text))}, nil
	}, func(late Adopted) {
		if late.Runtime != nil {
			late.Runtime.Close()
		}
	})
}
