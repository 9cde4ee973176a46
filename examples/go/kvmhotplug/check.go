package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import "context"

// Trouble is what stands in the way of a start. Treat values you do not know as "something".
type Trouble uint32

const (
	// TroubleImage: an image or one of its backing files cannot be opened as the guest needs it.
	TroubleImage Trouble = C.KVM_RUNTIME_TROUBLE_IMAGE
	// TroubleBridge: a bridge is missing, or is none.
	TroubleBridge Trouble = C.KVM_RUNTIME_TROUBLE_BRIDGE
	// TroubleTap: taps cannot be made, or there is an interface of the name that a tap is to have; or the NIC was added
	// over a tap of the caller's, which cannot be given for a start yet.
	TroubleTap Trouble = C.KVM_RUNTIME_TROUBLE_TAP
	// TroubleVhost: a NIC has vhost, and this host has none.
	TroubleVhost Trouble = C.KVM_RUNTIME_TROUBLE_VHOST
	// TroubleQEMUTooOld: QEMU is older than 5.2.
	TroubleQEMUTooOld Trouble = C.KVM_RUNTIME_TROUBLE_QEMU_TOO_OLD
	// TroubleMachine: QEMU does not know the machine type.
	TroubleMachine Trouble = C.KVM_RUNTIME_TROUBLE_MACHINE
	// TroubleMachineNotPinned (migration): the machine type has no version, and is another one in each version of QEMU.
	TroubleMachineNotPinned Trouble = C.KVM_RUNTIME_TROUBLE_MACHINE_NOT_PINNED
	// TroubleModel: QEMU does not know the device model.
	TroubleModel Trouble = C.KVM_RUNTIME_TROUBLE_MODEL
	// TroubleNoAddress (migration): a device of the running guest has no address in the record.
	TroubleNoAddress Trouble = C.KVM_RUNTIME_TROUBLE_NO_ADDRESS
	// TroublePlace: the guest cannot be put together: two want one place, there is none left, or an add was interrupted.
	TroublePlace Trouble = C.KVM_RUNTIME_TROUBLE_PLACE
	// TroubleRunning: the guest runs, or somebody listens at a socket of its command.
	TroubleRunning Trouble = C.KVM_RUNTIME_TROUBLE_RUNNING
	// TroubleImageInUse: another QEMU uses the image (boot), or another disk of the guest.
	TroubleImageInUse Trouble = C.KVM_RUNTIME_TROUBLE_IMAGE_IN_USE
	// TroubleCommand: the record has no command, or QEMU would not start with it.
	TroubleCommand Trouble = C.KVM_RUNTIME_TROUBLE_COMMAND
	// TroubleUnfinished: an add or change of this device is unfinished, and the record does not say how it ends.
	TroubleUnfinished Trouble = C.KVM_RUNTIME_TROUBLE_UNFINISHED
)

var troubleNames = map[Trouble]string{
	TroubleImage:            "image",
	TroubleBridge:           "bridge",
	TroubleTap:              "tap",
	TroubleVhost:            "vhost",
	TroubleQEMUTooOld:       "qemu-too-old",
	TroubleMachine:          "machine",
	TroubleMachineNotPinned: "machine-not-pinned",
	TroubleModel:            "model",
	TroubleNoAddress:        "no-address",
	TroublePlace:            "place",
	TroubleRunning:          "running",
	TroubleImageInUse:       "image-in-use",
	TroubleCommand:          "command",
	TroubleUnfinished:       "unfinished",
}

// String is a name such as "image".
func (t Trouble) String() string { return nameOf(troubleNames, t) }

// MarshalText writes the name.
func (t Trouble) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the name.
func (t *Trouble) UnmarshalText(text []byte) (err error) {
	*t, err = parseName(troubleNames, text, "trouble")
	return err
}

// Problem is one thing that stands in the way of a start.
type Problem struct {
	// ID of the device that it is about; empty for the guest as a whole.
	ID      string  `json:"id,omitempty"`
	Trouble Trouble `json:"trouble"`
	Text    string  `json:"text"`
}

func problemOf(from *C.struct_kvm_runtime_problem) Problem {
	return Problem{
		ID:      C.GoString(&from.id[0]),
		Trouble: Trouble(from.trouble),
		Text:    C.GoString(&from.text[0]),
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
