package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import (
	"fmt"
	"syscall"
)

// ABIVersion is the version of the C ABI that this package was compiled for.
const ABIVersion = C.KVM_HOTPLUG_ABI_VERSION

// Version is that of the library, such as "0.1.0".
func Version() string {
	return C.GoString(C.kvm_hotplug_version())
}

// checkABI stands before everything that makes a handle: with a library of another ABI, any other call may crash.
func checkABI() error {
	if have := uint32(C.kvm_hotplug_abi_version()); have != ABIVersion {
		return &Error{
			Kind:    ErrVersion,
			Errno:   syscall.EPROTONOSUPPORT,
			Message: fmt.Sprintf("libkvm_hotplug has ABI version %d, this program was compiled for %d", have, ABIVersion),
		}
	}
	return nil
}
