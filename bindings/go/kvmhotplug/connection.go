package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"os"
)

// OpenConnection is [OpenWith] over a connection to the monitor that the caller has made: a Unix, TCP or vsock stream
// socket, such as one end of a pair whose other end QEMU has. Nothing may have been read from it or written to it. The
// library has a duplicate; the file stays the caller's.
//
// The library cannot make such a connection again. If it is lost, calls fail with [ErrMonitorLost] and ENOTCONN until
// [Guest.GiveConnection] gives another one, or the guest is closed and opened again. What was begun stays in the journal.
//
// OpenOptions.UID and PID are refused where the kernel does not say who listens: for TCP, vsock, and the end of a pair. Over
// a monitor that QEMU deletes with its client, such as one of [Guest.LendMonitor], no NIC can be added.
func OpenConnection(ctx context.Context, record *Runtime, connection *os.File, options OpenOptions) (*Guest, error) {
	return detached(ctx, "opening the guest", func(timeout C.uint32_t) (*Guest, error) {
		var memory arena
		defer memory.free()
		fds, release := duplicate(&memory, "the connection to the monitor", connection)
		defer release()
		request := options.request(&memory, timeout)
		if memory.err != nil {
			return nil, memory.err
		}
		return opened(record, func(from *C.struct_kvm_runtime, handle **C.struct_kvm_hotplug, failure **C.struct_kvm_hotplug_error) C.int {
			return C.kvm_hotplug_open_connection(from, C.int(fds[0]), &request, C.sizeof_struct_kvm_hotplug_open_options, handle, failure)
		})
	}, func(late *Guest) { late.Close() })
}

// GiveConnection gives a guest of [OpenConnection] another connection to a monitor of the same QEMU, or of the one that has
// taken its place. The library uses it when the present one is lost, and no earlier.
func (g *Guest) GiveConnection(ctx context.Context, connection *os.File) error {
	var memory arena
	fds, release := duplicate(&memory, "the connection to the monitor", connection)
	defer release()
	if memory.err != nil {
		return memory.err
	}
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, _ C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_give_connection(handle, C.int(fds[0]), failure)
	})
	return err
}

// LendMonitor has QEMU make another monitor, and returns a connection to it, for a script, a console or a profiler. Needs
// QEMU 11.1 ([ErrNotHotpluggable] before). QEMU greets there as on any monitor, and deletes it when the file is closed. What
// is done over it is not checked as [Guest.QMP] checks.
func (g *Guest) LendMonitor(ctx context.Context) (*os.File, error) {
	fd := C.int(-1)
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_lend_monitor(handle, timeout, &fd, failure)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "monitor"), nil
}
