package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"os"
	"sync"
	"time"
)

// Guest is a live guest: the connection to its monitor, its slot map, and what is pending. A monitor serves one client at
// a time: while a guest is open, no other program can use that QMP socket.
type Guest struct {
	// Until it is closed.
	handle *C.struct_kvm_hotplug
	// Held for reading by calls, for writing by Close.
	inside  sync.RWMutex
	closing chan struct{}
	closed  sync.Once
	// Readable when there is news.
	ready *os.File

	listening sync.Mutex
	channel   chan Event
}

// Open connects to the QMP socket of a running QEMU, looks at the guest, and finishes or undoes what an agent that died
// had begun; events tell what was settled. The record must have a file, and one guest may be open with it at a time; it
// may be closed before the guest.
//
// The socket is a path, "@name" for an abstract name, or, if no file has that name, "host:port", "[address]:port" or
// "vsock:CID:PORT". Over TCP and vsock no descriptors can be passed, so that neither NICs nor disks can be added
// ([ErrNotHotpluggable]).
//
// Cancelling answers at once. The attempt then ends by itself, at its deadline at the latest; until then the record
// counts as that of an open guest.
func Open(ctx context.Context, record *Runtime, socket string) (*Guest, error) {
	return OpenWith(ctx, record, socket, OpenOptions{})
}

// OpenOptions is who has to listen at a monitor's socket, as the kernel noted it when that process began to listen. The zero
// value is the user that the record remembers, or anybody.
type OpenOptions struct {
	// UID is the user; the record remembers it, and every later open expects it. Nil for the remembered one.
	UID *int
	// PID is the process; 0 for any. It is another one with each start of QEMU.
	PID int
	// Accept: another user than the remembered one is fine, and is remembered instead.
	Accept bool
	// LookOnly: the guest is only looked at; see [Look].
	LookOnly bool
	// InMemory: the record needs no file, as long as it has none; if this process ends, nobody finishes what it has begun.
	InMemory bool
	// Starting: QEMU is being started, so wait until it listens and replies, or until the context ends.
	Starting bool
}

// Look opens a guest only to look at it. QEMU is asked questions and told nothing, and neither record nor journal is written:
// what an earlier agent left unfinished stays as it is. The handle has a copy of the record, so one from [Read] will do,
// also while another program owns it; but a monitor serves one client at a time. Every call that would change something fails
// with [ErrState].
func Look(ctx context.Context, record *Runtime, socket string) (*Guest, error) {
	return OpenWith(ctx, record, socket, OpenOptions{LookOnly: true})
}

// OpenWith is [Open] if the right one listens at the socket ([ErrUntrusted] if not).
func OpenWith(ctx context.Context, record *Runtime, socket string, options OpenOptions) (*Guest, error) {
	return detached(ctx, "opening the guest", func(timeout C.uint32_t) (*Guest, error) {
		return openUntil(record, socket, options, timeout)
	}, func(late *Guest) { late.Close() })
}

func openUntil(record *Runtime, socket string, options OpenOptions, timeout C.uint32_t) (*Guest, error) {
	var memory arena
	defer memory.free()
	request := options.request(&memory, timeout)
	path := memory.required("the socket's path", socket)
	if memory.err != nil {
		return nil, memory.err
	}
	return opened(record, func(from *C.struct_kvm_runtime, handle **C.struct_kvm_hotplug, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_open_with(from, path, &request, C.sizeof_struct_kvm_hotplug_open_options, handle, failure)
	})
}

func (options OpenOptions) request(memory *arena, timeout C.uint32_t) C.struct_kvm_hotplug_open_options {
	request := C.struct_kvm_hotplug_open_options{timeout_ms: timeout, peer_pid: C.int32_t(options.PID)}
	request.flags |= memory.given(options.UID, "UID", &request.peer_uid, C.KVM_HOTPLUG_OPEN_PEER_UID)
	if options.PID != 0 {
		request.flags |= C.KVM_HOTPLUG_OPEN_PEER_PID
	}
	if options.Accept {
		request.flags |= C.KVM_HOTPLUG_OPEN_ACCEPT_PEER
	}
	if options.LookOnly {
		request.flags |= C.KVM_HOTPLUG_OPEN_LOOK_ONLY
	}
	if options.InMemory {
		request.flags |= C.KVM_HOTPLUG_OPEN_IN_MEMORY
	}
	if options.Starting {
		request.flags |= C.KVM_HOTPLUG_OPEN_STARTING
	}
	return request
}

// opened makes a guest of the handle that a call opens.
func opened(record *Runtime, open func(*C.struct_kvm_runtime, **C.struct_kvm_hotplug, **C.struct_kvm_hotplug_error) C.int) (*Guest, error) {
	// By itself: what C is given must not lie beside pointers of Go.
	var handle *C.struct_kvm_hotplug
	err := record.call(func(from *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return open(from, &handle, failure)
	})
	if err != nil {
		return nil, err
	}
	guest := &Guest{handle: handle, closing: make(chan struct{})}
	if guest.ready, err = readiness(guest.handle); err != nil {
		C.kvm_hotplug_close(guest.handle)
		return nil, err
	}
	return guest, nil
}

// Close closes the connection; the guest and its devices stay as they are, pending removals and adds that were not waited for
// stay in the journal. All later calls fail with os.ErrClosed; those that are running are awaited: cancel their contexts if
// that takes too long. The event channel is closed. Closing again does nothing.
//
// It must not be called from a log handler, which runs in the middle of a call. The error is always nil; it is there for
// io.Closer.
func (g *Guest) Close() error {
	g.closed.Do(func() {
		close(g.closing)
		g.ready.Close()
		g.inside.Lock()
		defer g.inside.Unlock()
		C.kvm_hotplug_close(g.handle)
		g.handle = nil
	})
	return nil
}

// Devices lists those of the record, and those that are only on their way out. Nothing is asked of QEMU.
func (g *Guest) Devices(ctx context.Context) ([]Device, error) {
	var list []Device
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, _ C.uint32_t, failure **C.struct_kvm_hotplug_error) (code C.int) {
		show := func(from *C.struct_kvm_hotplug_device) Device { return g.deviceOf(handle, from) }
		list, code = fetchList(16, show, func(first *C.struct_kvm_hotplug_device, room C.size_t, count *C.size_t) C.int {
			return C.kvm_hotplug_list(handle, first, C.sizeof_struct_kvm_hotplug_device, room, count, failure)
		})
		return code
	})
	return list, err
}

// Device looks up one device by its id; the answer's state is [Absent] if there is no such device. Nothing is asked of
// QEMU.
func (g *Guest) Device(ctx context.Context, id string) (Result, error) {
	var memory arena
	defer memory.free()
	name := memory.required("the id", id)
	if memory.err != nil {
		return Result{}, memory.err
	}
	return g.result(ctx, DefaultTimeout, id, func(handle *C.struct_kvm_hotplug, _ C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_get_device(handle, name, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
}

// deviceRequest is a call that answers with a device.
type deviceRequest func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, err **C.struct_kvm_hotplug_error) C.int

func (g *Guest) result(ctx context.Context, otherwise time.Duration, id string, do deviceRequest) (Result, error) {
	var device C.struct_kvm_hotplug_device
	var result Result
	_, err := g.call(ctx, otherwise, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		code := do(handle, timeout, &device, failure)
		if code >= 0 {
			result = resultOf(code, g.deviceOf(handle, &device))
		}
		return code
	})
	if err != nil {
		return Result{}, err
	}
	if result.Device.ID == "" {
		result.Device.ID = id
	}
	return result, nil
}
