// Feel plugs a NIC into a running guest: what the C ABI is like from Go, by cgo and without a package in between.
//
//	go run ./feel RUNTIME-FILE QMP-SOCKET BRIDGE
//
// with the library installed; otherwise CGO_LDFLAGS=-Lfolder and LD_LIBRARY_PATH=folder say where it is.
//
// The library has no thread-local state, so no call needs runtime.LockOSThread.
package main

/*
#cgo CFLAGS: -I${SRCDIR}/../../../include
#cgo LDFLAGS: -lkvm_hotplug
#include <stdlib.h>
#include <kvm_hotplug.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// Error is a failure of the library; errors.Is finds the errno in it, as in errors.Is(err, syscall.ENOSPC).
type Error struct {
	Message string
	Errno   syscall.Errno
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Errno }

// failure makes a Go error of the library's and frees that.
func failure(err *C.struct_kvm_hotplug_error) error {
	defer C.kvm_hotplug_error_free(err)
	return &Error{
		Message: C.GoString(C.kvm_hotplug_error_message(err)),
		Errno:   syscall.Errno(C.kvm_hotplug_error_errno(err)),
	}
}

// Guest is a running guest and its record.
type Guest struct {
	record *C.struct_kvm_runtime
	handle *C.struct_kvm_hotplug
}

// Open loads the record and connects to the guest; Close ends both.
func Open(file, socket string) (*Guest, error) {
	var guest Guest
	var err *C.struct_kvm_hotplug_error
	cFile, cSocket := C.CString(file), C.CString(socket)
	defer C.free(unsafe.Pointer(cFile))
	defer C.free(unsafe.Pointer(cSocket))

	if C.kvm_runtime_load(cFile, &guest.record, &err) < 0 {
		return nil, failure(err)
	}
	if C.kvm_hotplug_open(guest.record, cSocket, 0, &guest.handle, &err) < 0 {
		guest.Close()
		return nil, failure(err)
	}
	return &guest, nil
}

// Close leaves the guest and its devices as they are.
func (g *Guest) Close() {
	C.kvm_hotplug_close(g.handle)
	C.kvm_runtime_free(g.record)
	g.handle, g.record = nil, nil
}

// AddNIC plugs a NIC with a tap on this bridge and returns its id. Recorded means that it comes with the next boot only.
func (g *Guest) AddNIC(bridge string) (id string, recorded bool, _ error) {
	var err *C.struct_kvm_hotplug_error
	var device C.struct_kvm_hotplug_device
	nic := C.struct_kvm_hotplug_nic{bridge: C.CString(bridge)}
	defer C.free(unsafe.Pointer(nic.bridge))

	answer := C.kvm_hotplug_add_nic(g.handle, &nic, C.sizeof_struct_kvm_hotplug_nic,
		&device, C.sizeof_struct_kvm_hotplug_device, &err)
	if answer < 0 {
		return "", false, failure(err)
	}
	return C.GoString(&device.id[0]), answer == C.KVM_HOTPLUG_AFTER_REBOOT, nil
}

func run(file, socket, bridge string) error {
	guest, err := Open(file, socket)
	if err != nil {
		return err
	}
	defer guest.Close()
	id, recorded, err := guest.AddNIC(bridge)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the guest is full: %w", err)
	case err != nil:
		return err
	case recorded:
		fmt.Println(id, "comes with the next boot")
	default:
		fmt.Println(id, "is in the guest")
	}
	return nil
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: feel RUNTIME-FILE QMP-SOCKET BRIDGE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "feel:", err)
		os.Exit(1)
	}
}
