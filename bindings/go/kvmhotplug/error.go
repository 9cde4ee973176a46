package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Kind says what went wrong, in numbers that never change meaning. It is itself an error, for errors.Is:
//
//	if errors.Is(err, kvmhotplug.ErrNoSlot) { … }
//
// Newer libraries may have kinds that this package does not know: treat them by the errno.
type Kind uint32

const (
	// ErrInvalid: an argument is malformed, out of range or contradicts another one.
	ErrInvalid Kind = C.KVM_HOTPLUG_ERROR_INVALID
	// ErrNotFound: a file, interface or bus that was named does not exist.
	ErrNotFound Kind = C.KVM_HOTPLUG_ERROR_NOT_FOUND
	// ErrConflict: the id, MAC address, serial or image is in use, or the device exists with other settings.
	ErrConflict Kind = C.KVM_HOTPLUG_ERROR_CONFLICT
	// ErrNoSlot: no free slot on any bus that takes hot-plugged devices.
	ErrNoSlot Kind = C.KVM_HOTPLUG_ERROR_NO_SLOT
	// ErrAddressTaken: the address asked for is taken or quarantined.
	ErrAddressTaken Kind = C.KVM_HOTPLUG_ERROR_ADDRESS_TAKEN
	// ErrNotHotpluggable: the bus, device or QEMU cannot do this to a running guest.
	ErrNotHotpluggable Kind = C.KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE
	// ErrGuestRefused: the guest said no to an unplug request; the device stays. QEMU up to 11.1 hears such an answer about
	// processors and memory only: a guest that will not let a NIC or disk go looks like one that takes its time.
	ErrGuestRefused Kind = C.KVM_HOTPLUG_ERROR_GUEST_REFUSED
	// ErrGuestBusy: the guest was busy with an earlier plug or unplug until the deadline.
	ErrGuestBusy Kind = C.KVM_HOTPLUG_ERROR_GUEST_BUSY
	// ErrTimeout: the deadline passed; errors.Is(err, context.DeadlineExceeded) as well.
	ErrTimeout Kind = C.KVM_HOTPLUG_ERROR_TIMEOUT
	// ErrCanceled: the context was cancelled; errors.Is(err, context.Canceled) as well.
	ErrCanceled Kind = C.KVM_HOTPLUG_ERROR_CANCELED
	// ErrMonitorBusy: the monitor socket accepts the connection but serves another client.
	ErrMonitorBusy Kind = C.KVM_HOTPLUG_ERROR_MONITOR_BUSY
	// ErrMonitorLost: the monitor closed the connection.
	ErrMonitorLost Kind = C.KVM_HOTPLUG_ERROR_MONITOR_LOST
	// ErrProtocol: the monitor said something that is not QMP, or too much of it.
	ErrProtocol Kind = C.KVM_HOTPLUG_ERROR_PROTOCOL
	// ErrQMP: QEMU answered a command with an error; see [Error].QMPClass.
	ErrQMP Kind = C.KVM_HOTPLUG_ERROR_QMP
	// ErrHost: the operating system refused a call; the errno is its own.
	ErrHost Kind = C.KVM_HOTPLUG_ERROR_HOST
	// ErrLocked: another handle or process holds the runtime file; the message names it.
	ErrLocked Kind = C.KVM_HOTPLUG_ERROR_LOCKED
	// ErrFormat: a runtime file, journal or image header is malformed.
	ErrFormat Kind = C.KVM_HOTPLUG_ERROR_FORMAT
	// ErrVersion: a file comes from a newer version of the library, or the library does not fit this package.
	ErrVersion Kind = C.KVM_HOTPLUG_ERROR_VERSION
	// ErrLimit: something exceeds a stated limit.
	ErrLimit Kind = C.KVM_HOTPLUG_ERROR_LIMIT
	// ErrForeign: the device was not made by the library and is left alone.
	ErrForeign Kind = C.KVM_HOTPLUG_ERROR_FOREIGN
	// ErrImageLocked: the image is in use by another QEMU.
	ErrImageLocked Kind = C.KVM_HOTPLUG_ERROR_IMAGE_LOCKED
	// ErrUnavailable: the host lacks something that was required, such as vhost-net.
	ErrUnavailable Kind = C.KVM_HOTPLUG_ERROR_UNAVAILABLE
	// ErrState: the handle is in a state that does not allow this call; after Close, errors.Is(err, os.ErrClosed) as well.
	ErrState Kind = C.KVM_HOTPLUG_ERROR_STATE
	// ErrPanic: an internal error of the library was caught; the handle only closes from here on.
	ErrPanic Kind = C.KVM_HOTPLUG_ERROR_PANIC
	// ErrMigrating: the guest is being migrated, or has been, or waits for a migration to come in.
	ErrMigrating Kind = C.KVM_HOTPLUG_ERROR_MIGRATING
	// ErrUntrusted: a file, or what listens at a socket, belongs to somebody whom this process has no reason to trust.
	ErrUntrusted Kind = C.KVM_HOTPLUG_ERROR_UNTRUSTED
	// ErrImageRefused: an image, or a file that an image names, is not opened: nobody chose it, it is not what was recorded, or
	// it is no file with data of its own. See [Backing].
	ErrImageRefused Kind = C.KVM_HOTPLUG_ERROR_IMAGE_REFUSED
)

var kindNames = map[Kind]string{
	ErrInvalid:         "invalid",
	ErrNotFound:        "not-found",
	ErrConflict:        "conflict",
	ErrNoSlot:          "no-slot",
	ErrAddressTaken:    "address-taken",
	ErrNotHotpluggable: "not-hotpluggable",
	ErrGuestRefused:    "guest-refused",
	ErrGuestBusy:       "guest-busy",
	ErrTimeout:         "timeout",
	ErrCanceled:        "canceled",
	ErrMonitorBusy:     "monitor-busy",
	ErrMonitorLost:     "monitor-lost",
	ErrProtocol:        "protocol",
	ErrQMP:             "qmp",
	ErrHost:            "host",
	ErrLocked:          "locked",
	ErrFormat:          "format",
	ErrVersion:         "version",
	ErrLimit:           "limit",
	ErrForeign:         "foreign",
	ErrImageLocked:     "image-locked",
	ErrUnavailable:     "unavailable",
	ErrState:           "state",
	ErrPanic:           "panic",
	ErrMigrating:       "migrating",
	ErrUntrusted:       "untrusted",
	ErrImageRefused:    "image-refused",
}

// String is a short name such as "no-slot".
func (k Kind) String() string { return nameOf(kindNames, k) }

// Error makes a kind usable with errors.Is.
func (k Kind) Error() string { return "kvmhotplug: " + k.String() }

// MarshalText writes the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name.
func (k *Kind) UnmarshalText(text []byte) (err error) {
	*k, err = parseName(kindNames, text, "kind of error")
	return err
}

// Undo says what became of the steps that had been done when a call failed.
type Undo uint32

const (
	// UndoNothing: nothing had been changed.
	UndoNothing Undo = C.KVM_HOTPLUG_UNDO_NOTHING
	// UndoComplete: everything that had been done was taken back.
	UndoComplete Undo = C.KVM_HOTPLUG_UNDO_COMPLETE
	// UndoIncomplete: something is left, which [Error].Residue names. The journal knows of it: the next call on the guest
	// settles it, also in another process.
	UndoIncomplete Undo = C.KVM_HOTPLUG_UNDO_INCOMPLETE
)

var undoNames = map[Undo]string{
	UndoNothing:    "nothing",
	UndoComplete:   "complete",
	UndoIncomplete: "incomplete",
}

// String is "nothing", "complete" or "incomplete".
func (u Undo) String() string { return nameOf(undoNames, u) }

// MarshalText writes the name.
func (u Undo) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads the name.
func (u *Undo) UnmarshalText(text []byte) (err error) {
	*u, err = parseName(undoNames, text, "outcome of an undo")
	return err
}

// Error is why a call failed.
type Error struct {
	Kind  Kind          `json:"kind"`
	Errno syscall.Errno `json:"errno"`
	// Message is one line for people: the step, what was wrong, where, what to do, and what is left behind.
	Message string `json:"message"`
	// Step is the one that failed, such as "device_add nic-pci-5", or empty.
	Step string `json:"step,omitempty"`
	// QMPClass is the class of QEMU's error, such as "GenericError"; empty if QEMU did not refuse a command.
	QMPClass string `json:"qmp_class,omitempty"`
	// QMPDesc is QEMU's own words.
	QMPDesc string `json:"qmp_desc,omitempty"`
	Undo    Undo   `json:"undo"`
	// Residue names what is left behind, if Undo is UndoIncomplete.
	Residue []string `json:"residue,omitempty"`

	cause error
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Is answers for kinds and for what a context ends with.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Kind == ErrCanceled
	case context.DeadlineExceeded:
		return e.Kind == ErrTimeout
	}
	kind, ok := target.(Kind)
	return ok && kind == e.Kind
}

// Unwrap gives the errno to errors.Is and errors.As, and the cause of a context's end where there is one.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Errno}
	}
	return []error{e.Errno, e.cause}
}

// Timeout is what net.Error and os.IsTimeout look for.
func (e *Error) Timeout() bool { return e.Kind == ErrTimeout }

// takeError makes a Go error of the library's and frees that.
func takeError(from *C.struct_kvm_hotplug_error, code C.int) error {
	if from == nil {
		return &Error{Kind: ErrHost, Errno: syscall.Errno(-code), Message: syscall.Errno(-code).Error()}
	}
	defer C.kvm_hotplug_error_free(from)
	taken := &Error{
		Kind:     Kind(C.kvm_hotplug_error_kind(from)),
		Errno:    syscall.Errno(C.kvm_hotplug_error_errno(from)),
		Message:  C.GoString(C.kvm_hotplug_error_message(from)),
		Step:     C.GoString(C.kvm_hotplug_error_step(from)),
		QMPClass: C.GoString(C.kvm_hotplug_error_qmp_class(from)),
		QMPDesc:  C.GoString(C.kvm_hotplug_error_qmp_desc(from)),
		Undo:     Undo(C.kvm_hotplug_error_undo(from)),
	}
	if left := C.GoString(C.kvm_hotplug_error_residue(from)); left != "" {
		taken.Residue = strings.Split(left, "\n")
	}
	return taken
}

func invalid(format string, arguments ...any) error {
	return &Error{Kind: ErrInvalid, Errno: syscall.EINVAL, Message: fmt.Sprintf(format, arguments...)}
}

func hostError(what string, cause error) error {
	failure := &Error{Kind: ErrHost, Errno: syscall.EIO, Message: what + ": " + cause.Error(), cause: cause}
	errors.As(cause, &failure.Errno)
	return failure
}

func closedError(what string) error {
	return &Error{Kind: ErrState, Errno: syscall.EBADF, Message: what + " is closed", cause: os.ErrClosed}
}

// endedError is for a call that its context ended before it had begun: nothing was changed.
func endedError(ctx context.Context, text string) error {
	if ctx.Err() == context.Canceled {
		return &Error{Kind: ErrCanceled, Errno: syscall.ECANCELED, Message: text + ": cancelled", cause: context.Cause(ctx)}
	}
	return &Error{Kind: ErrTimeout, Errno: syscall.ETIMEDOUT, Message: text + ": the deadline passed", cause: context.Cause(ctx)}
}
