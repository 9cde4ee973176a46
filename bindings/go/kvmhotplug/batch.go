package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"encoding/json"
	"math"
	"syscall"
	"unsafe"
)

// MostAtOnce is how many devices [Guest.AddMany] and [Guest.DelMany] take.
const MostAtOnce = C.KVM_HOTPLUG_BATCH_MAX

// Batch is several devices to add.
type Batch struct {
	NICs  []NIC  `json:"nics,omitempty"`
	Disks []Disk `json:"disks,omitempty"`
}

// AddMany plugs several NICs and disks into the guest as one operation, which takes less time than one by one: all of
// them or nothing. If one cannot be added, those that could are taken out again, and the guest is asked to let go of
// them. They get their slots in the order in which they stand, and are answered in it: all NICs, then all disks. Each
// one's state is [Done] or [AfterReboot].
func (g *Guest) AddMany(ctx context.Context, batch Batch) ([]Device, error) {
	var memory arena
	defer memory.free()
	nics, release := batch.nics(&memory)
	defer release()
	disks := batch.disks(&memory)
	if memory.err != nil {
		return nil, memory.err
	}
	request := (*C.struct_kvm_hotplug_add_batch)(memory.array(1, C.sizeof_struct_kvm_hotplug_add_batch))
	request.nics, request.nic_size, request.nic_count = nics, C.sizeof_struct_kvm_hotplug_nic, C.size_t(len(batch.NICs))
	request.disks, request.disk_size, request.disk_count = disks, C.sizeof_struct_kvm_hotplug_disk, C.size_t(len(batch.Disks))
	devices := make([]C.struct_kvm_hotplug_device, max(len(batch.NICs)+len(batch.Disks), 1))
	added := make([]Device, len(batch.NICs)+len(batch.Disks))
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		code := C.kvm_hotplug_add_many(handle, request, C.sizeof_struct_kvm_hotplug_add_batch, &devices[0], C.sizeof_struct_kvm_hotplug_device, failure)
		for index := range added {
			added[index] = g.deviceOf(handle, &devices[index])
		}
		return code
	})
	if err != nil {
		return nil, err
	}
	return added, nil
}

func (b *Batch) nics(memory *arena) (first *C.struct_kvm_hotplug_nic, release func()) {
	var releases []func()
	if len(b.NICs) > 0 {
		first = (*C.struct_kvm_hotplug_nic)(memory.array(len(b.NICs), C.sizeof_struct_kvm_hotplug_nic))
	}
	for index := range b.NICs {
		request, release := b.NICs[index].request(memory)
		unsafe.Slice(first, len(b.NICs))[index] = request
		releases = append(releases, release)
	}
	return first, func() {
		for _, release := range releases {
			release()
		}
	}
}

func (b *Batch) disks(memory *arena) (first *C.struct_kvm_hotplug_disk) {
	if len(b.Disks) > 0 {
		first = (*C.struct_kvm_hotplug_disk)(memory.array(len(b.Disks), C.sizeof_struct_kvm_hotplug_disk))
	}
	for index := range b.Disks {
		unsafe.Slice(first, len(b.Disks))[index] = b.Disks[index].request(memory)
	}
	return first
}

// Answer is what became of one of several devices.
type Answer struct {
	// Result is as that of [Guest.Del], and empty but for the id where there is an error.
	Result
	// Errno is that of the error, or 0.
	Errno syscall.Errno
}

// MarshalJSON shows the result; or, where there is an error, that and the id: a failed removal has no state.
func (a Answer) MarshalJSON() ([]byte, error) {
	if a.Errno == 0 {
		return json.Marshal(a.Result)
	}
	return json.Marshal(struct {
		ID      string        `json:"id"`
		Errno   syscall.Errno `json:"errno"`
		Message string        `json:"message"`
	}{a.Device.ID, a.Errno, a.Errno.Error()})
}

// DelMany takes several devices out of the guest: it is asked for all of them in one write, and they are waited for
// together. Each has an answer of its own, in the order of ids, and one that stays keeps none of the others. The error is
// that of the first device that has one; with it, the answers are there if the guest could be asked.
func (g *Guest) DelMany(ctx context.Context, ids []string, how Removal) ([]Answer, error) {
	const unwritten = C.int(math.MinInt32)
	var memory arena
	defer memory.free()
	names := memory.strings("the id", ids)
	if memory.err != nil {
		return nil, memory.err
	}
	request := (*C.struct_kvm_hotplug_del_batch)(memory.array(1, C.sizeof_struct_kvm_hotplug_del_batch))
	request.ids, request.id_count, request.flags = names, C.size_t(len(ids)), how.flags()
	devices := make([]C.struct_kvm_hotplug_device, max(len(ids), 1))
	codes := make([]C.int, max(len(ids), 1))
	codes[0] = unwritten
	paths := make([]string, len(ids))
	_, err := g.call(ctx, DefaultRemovalTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		for index, name := range unsafe.Slice(names, len(ids)) {
			paths[index] = g.path(handle, name)
		}
		request.timeout_ms = timeout
		return C.kvm_hotplug_del_many(handle, request, C.sizeof_struct_kvm_hotplug_del_batch, &devices[0], C.sizeof_struct_kvm_hotplug_device, &codes[0], failure)
	})
	if codes[0] == unwritten {
		return nil, err
	}
	answers := make([]Answer, len(ids))
	for index, id := range ids {
		if codes[index] < 0 {
			answers[index].Errno = syscall.Errno(-codes[index])
		} else {
			answers[index].Result = withPath(resultOf(codes[index], deviceOf(&devices[index])), paths[index])
		}
		answers[index].Device.ID = id
	}
	return answers, err
}
