package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import "context"

// ProblemKind is what stands in the way of a start. Treat values you do not know as "something".
type ProblemKind uint32

const (
	// ProblemImage: an image or one of its backing files cannot be opened as the guest needs it.
	ProblemImage ProblemKind = C.KVM_RUNTIME_PROBLEM_IMAGE
	// ProblemBridge: a bridge is missing, or is none.
	ProblemBridge ProblemKind = C.KVM_RUNTIME_PROBLEM_BRIDGE
	// ProblemTap: taps cannot be made, or there is an interface of the name that a tap is to have; or the NIC was added
	// over a tap of the caller's, which cannot be given for a start yet.
	ProblemTap ProblemKind = C.KVM_RUNTIME_PROBLEM_TAP
	// ProblemVhost: a NIC has vhost, and this host has none.
	ProblemVhost ProblemKind = C.KVM_RUNTIME_PROBLEM_VHOST
	// ProblemQEMUTooOld: QEMU is older than 5.2.
	ProblemQEMUTooOld ProblemKind = C.KVM_RUNTIME_PROBLEM_QEMU_TOO_OLD
	// ProblemMachine: QEMU does not know the machine type.
	ProblemMachine ProblemKind = C.KVM_RUNTIME_PROBLEM_MACHINE
	// ProblemMachineNotPinned (migration): the machine type has no version, and is another one in each version of QEMU.
	ProblemMachineNotPinned ProblemKind = C.KVM_RUNTIME_PROBLEM_MACHINE_NOT_PINNED
	// ProblemModel: QEMU does not know the device model.
	ProblemModel ProblemKind = C.KVM_RUNTIME_PROBLEM_MODEL
	// ProblemNoAddress (migration): a device of the running guest has no address in the record.
	ProblemNoAddress ProblemKind = C.KVM_RUNTIME_PROBLEM_NO_ADDRESS
	// ProblemPlace: the guest cannot be put together: two want one place, there is none left, or an add was interrupted.
	ProblemPlace ProblemKind = C.KVM_RUNTIME_PROBLEM_PLACE
	// ProblemRunning: the guest runs, or somebody listens at a socket of its command.
	ProblemRunning ProblemKind = C.KVM_RUNTIME_PROBLEM_RUNNING
	// ProblemImageInUse: another QEMU uses the image (boot), or another disk of the guest.
	ProblemImageInUse ProblemKind = C.KVM_RUNTIME_PROBLEM_IMAGE_IN_USE
	// ProblemCommand: the record has no command, or QEMU would not start with it.
	ProblemCommand ProblemKind = C.KVM_RUNTIME_PROBLEM_COMMAND
	// ProblemUnfinished: an add or change of this device is unfinished, and the record does not say how it ends.
	ProblemUnfinished ProblemKind = C.KVM_RUNTIME_PROBLEM_UNFINISHED
)

var problemNames = map[ProblemKind]string{
	ProblemImage:            "image",
	ProblemBridge:           "bridge",
	ProblemTap:              "tap",
	ProblemVhost:            "vhost",
	ProblemQEMUTooOld:       "qemu-too-old",
	ProblemMachine:          "machine",
	ProblemMachineNotPinned: "machine-not-pinned",
	ProblemModel:            "model",
	ProblemNoAddress:        "no-address",
	ProblemPlace:            "place",
	ProblemRunning:          "running",
	ProblemImageInUse:       "image-in-use",
	ProblemCommand:          "command",
	ProblemUnfinished:       "unfinished",
}

// String is a name such as "image".
func (t ProblemKind) String() string { return nameOf(problemNames, t) }

// MarshalText writes the name.
func (t ProblemKind) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the name.
func (t *ProblemKind) UnmarshalText(text []byte) (err error) {
	*t, err = parseName(problemNames, text, "kind of problem")
	return err
}

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
