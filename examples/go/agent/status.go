package main

import (
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// statusClientClosed is nginx's: the client hung up, and its call was cancelled. Nobody reads it but the log.
const statusClientClosed = 499

// Kinds not named here are the agent's or the host's trouble: 500.
var statusOfKind = map[kvmhotplug.Kind]int{
	kvmhotplug.ErrInvalid:         http.StatusBadRequest,
	kvmhotplug.ErrNotFound:        http.StatusNotFound,
	kvmhotplug.ErrConflict:        http.StatusConflict,
	kvmhotplug.ErrNoSlot:          http.StatusConflict,
	kvmhotplug.ErrAddressTaken:    http.StatusConflict,
	kvmhotplug.ErrNotHotpluggable: http.StatusUnprocessableEntity,
	kvmhotplug.ErrGuestRefused:    http.StatusConflict,
	kvmhotplug.ErrGuestBusy:       http.StatusServiceUnavailable,
	kvmhotplug.ErrTimeout:         http.StatusGatewayTimeout,
	kvmhotplug.ErrCanceled:        statusClientClosed,
	kvmhotplug.ErrMonitorBusy:     http.StatusServiceUnavailable,
	kvmhotplug.ErrMonitorLost:     http.StatusBadGateway,
	kvmhotplug.ErrProtocol:        http.StatusBadGateway,
	kvmhotplug.ErrQMP:             http.StatusBadGateway,
	kvmhotplug.ErrLocked:          http.StatusLocked,
	kvmhotplug.ErrFormat:          http.StatusUnprocessableEntity,
	kvmhotplug.ErrLimit:           http.StatusUnprocessableEntity,
	kvmhotplug.ErrForeign:         http.StatusForbidden,
	kvmhotplug.ErrImageLocked:     http.StatusLocked,
	kvmhotplug.ErrImageRefused:    http.StatusForbidden,
	kvmhotplug.ErrUnavailable:     http.StatusNotImplemented,
	kvmhotplug.ErrState:           http.StatusServiceUnavailable,
	kvmhotplug.ErrMigrating:       http.StatusServiceUnavailable,
	kvmhotplug.ErrUntrusted:       http.StatusForbidden,
}

func statusOf(err error) int {
	var closed *unavailable
	if errors.As(err, &closed) {
		return http.StatusServiceUnavailable
	}
	var own *refusal
	if errors.As(err, &own) {
		return own.status
	}
	known := asError(err)
	if known.Kind == kvmhotplug.ErrState && known.Errno == syscall.EPERM {
		// A QMP command that would fool the record.
		return http.StatusForbidden
	}
	if status, ok := statusOfKind[known.Kind]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// statusOfState is that of a call that did not fail: what is not done yet is 202.
func statusOfState(state kvmhotplug.State, done int) int {
	switch state {
	case kvmhotplug.AfterReboot, kvmhotplug.Pending:
		return http.StatusAccepted
	}
	return done
}

// asError is the library's error, or one in its shape.
func asError(err error) *kvmhotplug.Error {
	var known *kvmhotplug.Error
	if errors.As(err, &known) {
		return known
	}
	made := &kvmhotplug.Error{Kind: kvmhotplug.ErrHost, Errno: syscall.EIO, Message: err.Error()}
	errors.As(err, &made.Errno)
	return made
}

func badRequest(format string, arguments ...any) error {
	return &kvmhotplug.Error{Kind: kvmhotplug.ErrInvalid, Errno: syscall.EINVAL, Message: fmt.Sprintf(format, arguments...)}
}
