package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import "context"

// Problem is one thing that stands in the way of a start.
type Problem struct {
	// ID of the device that it is about; empty for the guest as a whole.
	ID   string      `json:"id,omitempty"`
	Kind ProblemKind `json:"kind"`
	Text string      `json:"text"`
}

func problemOf(from *C.struct_kvm_runtime_problem) Problem {
	return Problem{
		ID:   C.GoString(&from.id[0]),
		Kind: ProblemKind(from.kind),
		Text: C.GoString(&from.text[0]),
	}
}

// Check is what a host is asked for before a start.
type Check struct {
	// Incoming: the guest is to come from another host by migration, and not to be booted.
	Incoming bool `json:"incoming,omitempty"`
	// Monitor is the socket of any QEMU of the version that is going to be used, nobody else connected; empty to leave
	// QEMU out.
	Monitor string `json:"monitor,omitempty"`
}

// Check says whether this host can start the guest of the record: images can be opened, bridges exist, taps can be made,
// vhost is there, everything has a place; with a monitor also what QEMU knows here. Nothing is changed.
//
// Cancelling answers at once; the look then ends by itself, at its deadline at the latest.
func (r *Runtime) Check(ctx context.Context, what Check) ([]Problem, error) {
	return detached(ctx, "checking the host", func(timeout C.uint32_t) (list []Problem, err error) {
		var memory arena
		defer memory.free()
		monitor := memory.optional("the monitor's path", what.Monitor)
		if memory.err != nil {
			return nil, memory.err
		}
		var flags C.uint32_t
		if what.Incoming {
			flags |= C.KVM_RUNTIME_CHECK_INCOMING
		}
		err = r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) (code C.int) {
			list, code = fetchList(32, problemOf, func(first *C.struct_kvm_runtime_problem, room C.size_t, count *C.size_t) C.int {
				return C.kvm_runtime_check(handle, flags, monitor, timeout, first, C.sizeof_struct_kvm_runtime_problem, room, count, failure)
			})
			return code
		})
		return list, err
	}, func([]Problem) {})
}
