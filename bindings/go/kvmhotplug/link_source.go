//go:build kvmhotplug_source

package kvmhotplug

// #cgo CFLAGS: -I${SRCDIR}/../../../include
// #cgo LDFLAGS: -L${SRCDIR}/../../../target/release -Wl,-rpath,${SRCDIR}/../../../target/release -lkvm_hotplug
import "C"
