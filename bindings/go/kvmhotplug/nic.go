package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"encoding/json"
	"os"
	"syscall"
)

// NIC is one to add. The zero value is a virtio-net-pci with one queue, a generated MAC address and a tap of its own,
// attached to nothing.
type NIC struct {
	// ID of device and netdev: a letter, then up to 30 letters, digits, '-', '.' or '_'. Empty for "nic-pci-<slot>", or
	// "nic-pci-<bus>" on a root port.
	ID string `json:"id,omitempty"`
	// MAC address, not multicast. Empty for a random one that begins with 52:54:00.
	MAC string `json:"mac,omitempty"`
	// Bridge the tap is attached to. Not together with Tap.
	Bridge string `json:"bridge,omitempty"`
	// Interface is the tap's name, at most 15 characters, or a pattern with one "%d"; it must not exist. Empty for
	// "tap%d". Not together with Tap.
	Interface string `json:"interface,omitempty"`
	// Tap is one that the caller opened, one file per queue, all of one interface. The files are duplicated: the caller
	// keeps and closes its own, at any time after the call, and may give them again when the NIC is gone. A tap that a
	// NIC of this guest has is refused. The NIC does not wait for a reboot, and a guest that has it is not started from its
	// record until the NIC is removed, except from one in Ganeti's format if the tap was on a bridge. Empty to have a tap
	// opened.
	Tap []*os.File `json:"-"`
	// Model is QEMU's device model; empty for "virtio-net-pci". One that is not of its family is recorded for the next
	// boot.
	Model string `json:"model,omitempty"`
	// Bus to sit on; empty for the first free slot. With it, Slot counts.
	Bus string `json:"bus,omitempty"`
	// Slot on Bus, 0 to 31.
	Slot int `json:"slot,omitempty"`
	// Queues are queue pairs, 1 to 256; 0 means 1, or as many as Tap has files.
	Queues int `json:"queues,omitempty"`
	// Vhost says whether the host kernel moves the packets.
	Vhost Vhost `json:"vhost,omitempty"`
	// MTU in bytes, 68 to 65535, announced to the guest and set on a tap opened here. 0 announces none.
	MTU int `json:"mtu,omitempty"`
	// BootIndex is the place in the firmware's boot order; nil for none.
	BootIndex *int `json:"boot_index,omitempty"`
	// TapOwner is a user id that may reopen a tap opened here; nil for nobody but root.
	TapOwner *int `json:"tap_owner,omitempty"`
	// NetworkNamespace is the path of the network namespace in which the tap is made and the bridge looked for, such as
	// /run/netns/blue; empty for that of the caller. It is recorded. Not together with Tap.
	NetworkNamespace string `json:"netns,omitempty"`
	// Netdev, in the place of a tap, is a netdev as QEMU describes it, without its id, such as
	// {"type": "user", "hostfwd": [{"str": "tcp:127.0.0.1:2222-:22"}]}. The types are user, stream, dgram and vhost-user.
	// QEMU opens what is behind it by itself. Not together with anything of a tap.
	Netdev json.RawMessage `json:"netdev,omitempty"`
	// GanetiEntry is what Ganeti has of the NIC, a JSON object, for a record in Ganeti's format: it stands in the list as it
	// is given. ID, MAC and Bridge that are empty are taken from it.
	GanetiEntry json.RawMessage `json:"ganeti,omitempty"`
	// Properties are further properties of the device in QEMU, such as "rx_queue_size": 1024 or "csum": false. Values are
	// strings, whole numbers and booleans. QEMU is asked which it knows, and of which type. They are recorded and verified.
	Properties map[string]any `json:"properties,omitempty"`
	// Limits of how much the guest receives and sends over it; none in the zero value.
	NICLimits
	// LinkDown: with its cable pulled, until [Guest.SetLink] says otherwise.
	LinkDown bool `json:"link_down,omitempty"`
	// LiveOnly: live or not at all. What would take effect after a reboot fails with [ErrNotHotpluggable].
	LiveOnly bool `json:"live_only,omitempty"`
	// Adopt: if the guest has a device with the ID that the record does not have, such as one whose agent was killed before
	// it had recorded it, and its settings are those that are asked for, it is recorded, and nothing else is done. Needs ID
	// and MAC, which may follow from GanetiEntry.
	Adopt bool `json:"adopt,omitempty"`
	// NoWait: do not wait for QEMU. The answer is [Pending], and [EventAdded] or [EventAddFailed] says how it went.
	NoWait bool `json:"no_wait,omitempty"`
}

// Bandwidth is a limit of one direction; the zero value is none.
type Bandwidth struct {
	// Average in bytes per second, 1024 to 2^40; 0 for no limit.
	Average uint64 `json:"average,omitempty"`
	// Burst is how many bytes may go at once, at least 69632; 0 for a tenth of a second.
	Burst uint64 `json:"burst,omitempty"`
}

// NICLimits is how much a guest may receive and send over a NIC.
type NICLimits struct {
	// Port is how the tap that is made here is a port of the bridge: a JSON object with "isolated", "learning", "hairpin", "vlan"
	// and "trunk", as port in struct kvm_hotplug_nic; nil for as the kernel makes it.
	Port map[string]any `json:"port,omitempty"`
	// Inbound is what the guest receives. What is too much waits for up to 50 ms.
	Inbound Bandwidth `json:"inbound"`
	// Outbound is what the guest sends. What is too much is dropped.
	Outbound Bandwidth `json:"outbound"`
}

// AddNIC plugs a NIC into the guest and records it: all of it or nothing. It may be repeated: with an id that exists and
// the same settings it succeeds and does nothing.
//
// The answer's state is [Done] (in the guest), [AfterReboot] (recorded; the reason says why) or, with NoWait, [Pending].
func (g *Guest) AddNIC(ctx context.Context, nic NIC) (Result, error) {
	var memory arena
	defer memory.free()
	request, release := nic.request(&memory)
	defer release()
	if memory.err != nil {
		return Result{}, memory.err
	}
	return g.result(ctx, DefaultTimeout, nic.ID, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_add_nic(handle, &request, C.sizeof_struct_kvm_hotplug_nic, device, C.sizeof_struct_kvm_hotplug_device, failure)
	})
}

// PlanNIC says what [Guest.AddNIC] would do, without doing it.
func (g *Guest) PlanNIC(ctx context.Context, nic NIC) (Plan, error) {
	var memory arena
	defer memory.free()
	request, release := nic.request(&memory)
	defer release()
	if memory.err != nil {
		return Plan{}, memory.err
	}
	return g.plan(ctx, nic.ID, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, device *C.struct_kvm_hotplug_device, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		request.timeout_ms = timeout
		return C.kvm_hotplug_plan_nic(handle, &request, C.sizeof_struct_kvm_hotplug_nic, device, C.sizeof_struct_kvm_hotplug_device, text, failure)
	})
}

func (n *NIC) request(memory *arena) (C.struct_kvm_hotplug_nic, func()) {
	tap, release := duplicate(memory, "Tap", n.Tap...)
	request := C.struct_kvm_hotplug_nic{
		id:           memory.optional("the id", n.ID),
		mac:          memory.optional("the MAC address", n.MAC),
		bridge:       memory.optional("the bridge's name", n.Bridge),
		ifname:       memory.optional("the interface's name", n.Interface),
		model:        memory.optional("the model", n.Model),
		bus:          memory.optional("the bus", n.Bus),
		tap_fds:      memory.integers(tap),
		tap_fd_count: C.uint32_t(len(tap)),
		queues:       memory.number("Queues", n.Queues),
		vhost:        C.uint32_t(n.Vhost),
		mtu:          memory.number("MTU", n.MTU),
		slot:         memory.number("Slot", n.Slot),
		netns:        memory.optional("the network namespace", n.NetworkNamespace),
		ganeti_entry: memory.optional("Ganeti's entry", string(n.GanetiEntry)),
		properties:   memory.object("Properties", n.Properties),
		netdev:       memory.optional("the netdev", string(n.Netdev)),

		port:             memory.object("Port", n.Port),
		inbound_average:  C.uint64_t(n.Inbound.Average),
		inbound_burst:    C.uint64_t(n.Inbound.Burst),
		outbound_average: C.uint64_t(n.Outbound.Average),
		outbound_burst:   C.uint64_t(n.Outbound.Burst),
	}
	request.flags |= memory.given(n.BootIndex, "BootIndex", &request.boot_index, C.KVM_HOTPLUG_BOOT_INDEX)
	request.flags |= memory.given(n.TapOwner, "TapOwner", &request.tap_owner, C.KVM_HOTPLUG_TAP_OWNER)
	if n.LinkDown {
		request.flags |= C.KVM_HOTPLUG_NIC_LINK_DOWN
	}
	if n.Adopt {
		request.flags |= C.KVM_HOTPLUG_ADOPT
	}
	if n.NoWait {
		request.flags |= C.KVM_HOTPLUG_NO_WAIT
	}
	if n.LiveOnly {
		request.flags |= C.KVM_HOTPLUG_LIVE_ONLY
	}
	return request, release
}

// duplicate makes descriptors that nobody closes during the call, whatever becomes of the files meanwhile.
// os.File.Fd would do as well, and make the caller's descriptors blocking.
func duplicate(memory *arena, what string, files ...*os.File) (descriptors []int, release func()) {
	release = func() {
		for _, descriptor := range descriptors {
			syscall.Close(descriptor)
		}
	}
	for _, file := range files {
		descriptor, err := duplicateFile(file)
		if err != nil {
			if memory.err == nil {
				memory.err = &Error{Kind: ErrInvalid, Errno: syscall.EBADF, Message: what + ": " + err.Error(), cause: err}
			}
			continue
		}
		descriptors = append(descriptors, descriptor)
	}
	return descriptors, release
}

func duplicateFile(file *os.File) (descriptor int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(number uintptr) {
		descriptor, err = duplicateDescriptor(number)
	})
	if controlErr != nil {
		return -1, controlErr
	}
	return descriptor, err
}

func duplicateDescriptor(number uintptr) (int, error) {
	made, _, errno := syscall.Syscall(syscall.SYS_FCNTL, number, syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(made), nil
}
