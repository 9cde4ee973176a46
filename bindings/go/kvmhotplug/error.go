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

// Error makes a kind usable with errors.Is.
func (v Kind) Error() string { return "kvmhotplug: " + v.String() }

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
