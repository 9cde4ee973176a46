package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"sync"
)

// Runtime is the record of one guest: its command line without NICs and disks, and every NIC and disk with its address;
// with it its file and the lock on that. Any goroutine may use it.
type Runtime struct {
	// Held for reading by calls, which the library serialises, and for writing by Close.
	mutex  sync.RWMutex
	handle *C.struct_kvm_runtime
}

// Config is what a new record begins with. The zero value is a record without a command.
type Config struct {
	// Name of the guest, for people.
	Name string `json:"name,omitempty"`
	// Command is QEMU's command line without NICs and disks; the first string is the program.
	Command []string `json:"command,omitempty"`
	// ReservedSlots is how many slots of pci.0, counted from 0, are never chosen, 0 to 32; nil means 4.
	ReservedSlots *int `json:"reserved_slots,omitempty"`
	// Trust: its directory may be writable by others, see [LoadTrusted].
	Trust bool `json:"trust,omitempty"`
}

// New makes a record without NICs and disks. It has no file until [Runtime.Save] gives it one.
func New(config Config) (*Runtime, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	var memory arena
	defer memory.free()
	request := C.struct_kvm_runtime_config{
		name:          memory.optional("the name", config.Name),
		command:       memory.strings("the command", config.Command),
		command_count: C.uint64_t(len(config.Command)),
	}
	request.flags |= memory.given(config.ReservedSlots, "ReservedSlots", &request.reserved_slots, C.KVM_RUNTIME_NEW_RESERVED_SLOTS)
	if config.Trust {
		request.flags |= C.KVM_RUNTIME_OPEN_TRUST
	}
	return newRuntime(&memory, func(made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_new(&request, C.sizeof_struct_kvm_runtime_config, made, failure)
	})
}

// Load reads a runtime file and the journal beside it, and owns both until the record and the guest opened with it are
// closed: a lock file beside it keeps other handles and processes out ([ErrLocked]). A file that others than this user and
// root can write is refused ([ErrUntrusted]).
func Load(path string) (*Runtime, error) {
	return fromFile(path, func(name *C.char, made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_load(name, made, failure)
	})
}

// Delete deletes a runtime file and everything that the library keeps beside it, for a guest that has ended or has left
// this host. What is not there is no error.
func Delete(path string) error {
	var memory arena
	defer memory.free()
	name := memory.required("the path", path)
	if memory.err != nil {
		return memory.err
	}
	if err := checkABI(); err != nil {
		return err
	}
	var failure *C.struct_kvm_hotplug_error
	if code := C.kvm_runtime_delete(name, &failure); code < 0 {
		return takeError(failure, code)
	}
	return nil
}

// Read reads a runtime file for looking only: no lock is taken, so it works while an agent owns the file. Such a record
// can be listed; saving it or opening a guest with it fails with EROFS.
func Read(path string) (*Runtime, error) {
	return fromFile(path, func(name *C.char, made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_load_readonly(name, made, failure)
	})
}

// LoadTrusted is [Load] for a record that other users can write, or that belongs to another user. Those users then decide which program
// is started and which files it is given, with the rights of this process.
func LoadTrusted(path string) (*Runtime, error) {
	return fromFile(path, func(name *C.char, made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_open(name, C.KVM_RUNTIME_OPEN_TRUST, made, failure)
	})
}

// ReadTrusted is [Read] for a record that others can write, or of another user.
func ReadTrusted(path string) (*Runtime, error) {
	return fromFile(path, func(name *C.char, made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_open(name, C.KVM_RUNTIME_OPEN_TRUST|C.KVM_RUNTIME_OPEN_READ_ONLY, made, failure)
	})
}

func fromFile(path string, do func(*C.char, **C.struct_kvm_runtime, **C.struct_kvm_hotplug_error) C.int) (*Runtime, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	var memory arena
	defer memory.free()
	name := memory.required("the path", path)
	return newRuntime(&memory, func(made **C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return do(name, made, failure)
	})
}

func newRuntime(memory *arena, do func(**C.struct_kvm_runtime, **C.struct_kvm_hotplug_error) C.int) (*Runtime, error) {
	if memory.err != nil {
		return nil, memory.err
	}
	var handle *C.struct_kvm_runtime
	var failure *C.struct_kvm_hotplug_error
	if code := do(&handle, &failure); code < 0 {
		return nil, takeError(failure, code)
	}
	return &Runtime{handle: handle}, nil
}

func (r *Runtime) call(do func(handle *C.struct_kvm_runtime, err **C.struct_kvm_hotplug_error) C.int) error {
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	if r.handle == nil {
		return closedError("the record")
	}
	var failure *C.struct_kvm_hotplug_error
	if code := do(r.handle, &failure); code < 0 {
		return takeError(failure, code)
	}
	return nil
}

// Save writes the record to disk, replacing the file atomically; calls on a live guest do this by themselves. path is
// where a record without a file shall have one, which must not exist yet; it is empty for a record that has one.
func (r *Runtime) Save(path string) error {
	var memory arena
	defer memory.free()
	name := memory.optional("the path", path)
	if memory.err != nil {
		return memory.err
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_save(handle, name, failure)
	})
}

// Devices lists those of the record. Where the journal beside it has an operation on a device that was begun, and whose end
// is not written down, the device's reason says so; see [Runtime.Unfinished].
func (r *Runtime) Devices() ([]Device, error) {
	var list []Device
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) (code C.int) {
		show := func(from *C.struct_kvm_hotplug_device) Device { return r.deviceOf(handle, from) }
		list, code = fetchList(16, show, func(first *C.struct_kvm_hotplug_device, room C.size_t, count *C.size_t) C.int {
			return C.kvm_runtime_list(handle, first, C.sizeof_struct_kvm_hotplug_device, room, count, failure)
		})
		return code
	})
	return list, err
}

// Unfinished lists the devices that the journal beside the record is about: an operation on each was begun, and its end is
// not written down. Their reasons say which operation. One that was being added is not in the record yet. The next [Open] of
// the guest settles them.
func (r *Runtime) Unfinished() ([]Device, error) {
	var list []Device
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) (code C.int) {
		show := func(from *C.struct_kvm_hotplug_device) Device { return r.deviceOf(handle, from) }
		list, code = fetchList(4, show, func(first *C.struct_kvm_hotplug_device, room C.size_t, count *C.size_t) C.int {
			return C.kvm_runtime_unfinished(handle, first, C.sizeof_struct_kvm_hotplug_device, room, count, failure)
		})
		return code
	})
	return list, err
}

// Close frees the record, after the calls that are using it. Its file is unlocked when also the guest opened with it is
// closed; the order does not matter. Unsaved changes of a record without a file are lost. Closing again does nothing.
// The error is always nil; it is there for io.Closer.
func (r *Runtime) Close() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	C.kvm_runtime_free(r.handle)
	r.handle = nil
	return nil
}
