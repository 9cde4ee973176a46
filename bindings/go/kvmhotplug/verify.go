package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import "context"

// DifferenceKind is what record and guest disagree about. Treat values you do not know as "something".
type DifferenceKind uint32

const (
	// DifferenceMissing: recorded, but not in the guest. Repair takes it out of the record.
	DifferenceMissing DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_MISSING
	// DifferenceForeign: in the guest, but not recorded: somebody else's, which is left alone.
	DifferenceForeign DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_FOREIGN
	// DifferenceAddress: sits elsewhere than recorded. Repair records where it is.
	DifferenceAddress DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_ADDRESS
	// DifferenceModel: is another device model.
	DifferenceModel DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_MODEL
	// DifferenceBackend: has another netdev or block node behind it, or none.
	DifferenceBackend DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_BACKEND
	// DifferenceMAC: has another MAC address.
	DifferenceMAC DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_MAC
	// DifferenceQueues: has another number of queues or interrupt vectors.
	DifferenceQueues DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_QUEUES
	// DifferenceMTU: announces another MTU.
	DifferenceMTU DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_MTU
	// DifferenceROM: loads another option ROM.
	DifferenceROM DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_ROM
	// DifferenceSerial: has another serial.
	DifferenceSerial DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_SERIAL
	// DifferenceReadOnly: is writable where the record says read-only, or the reverse.
	DifferenceReadOnly DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_READ_ONLY
	// DifferenceSize: the guest sees another size than the image has.
	DifferenceSize DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_SIZE
	// DifferenceSetting: another setting; the texts say which.
	DifferenceSetting DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_SETTING
	// DifferenceOrphanNode: a block node of ours that belongs to no device. Repair removes it.
	DifferenceOrphanNode DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_ORPHAN_NODE
	// DifferenceOrphanFdset: an fdset with our tag that belongs to no device. Repair removes it.
	DifferenceOrphanFdset DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_ORPHAN_FDSET
	// DifferenceBridge: the tap is on another bridge of the host than recorded, or on none.
	DifferenceBridge DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_BRIDGE
	// DifferencePort: a root port that the boot command made is not there, or is elsewhere.
	DifferencePort DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_PORT
	// DifferenceChain: the files that its image is made of on this host are not those that were recorded, or not to be opened.
	DifferenceChain DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_CHAIN
	// DifferenceOrphanNetdev: a netdev that no NIC has, and neither the record nor its command knows.
	DifferenceOrphanNetdev DifferenceKind = C.KVM_HOTPLUG_DIFFERENCE_ORPHAN_NETDEV
)

var differenceNames = map[DifferenceKind]string{
	DifferenceMissing:      "missing",
	DifferenceForeign:      "foreign",
	DifferenceAddress:      "address",
	DifferenceModel:        "model",
	DifferenceBackend:      "backend",
	DifferenceMAC:          "mac",
	DifferenceQueues:       "queues",
	DifferenceMTU:          "mtu",
	DifferenceROM:          "rom",
	DifferenceSerial:       "serial",
	DifferenceReadOnly:     "read-only",
	DifferenceSize:         "size",
	DifferenceSetting:      "setting",
	DifferenceOrphanNode:   "orphan-node",
	DifferenceOrphanFdset:  "orphan-fdset",
	DifferenceBridge:       "bridge",
	DifferencePort:         "port",
	DifferenceChain:        "chain",
	DifferenceOrphanNetdev: "orphan-netdev",
}

// String is a name such as "missing".
func (m DifferenceKind) String() string { return nameOf(differenceNames, m) }

// MarshalText writes the name.
func (m DifferenceKind) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the name.
func (m *DifferenceKind) UnmarshalText(text []byte) (err error) {
	*m, err = parseName(differenceNames, text, "kind of difference")
	return err
}

// Difference is one disagreement between record and guest.
type Difference struct {
	// ID of the device or node, or of the device that an fdset was for.
	ID   string         `json:"id"`
	Kind DifferenceKind `json:"kind"`
	// Recorded is what the record says, Found what the guest shows, Text all of it in one sentence.
	Recorded string `json:"recorded,omitempty"`
	Found    string `json:"found,omitempty"`
	Text     string `json:"text"`
	// Repairable: [Guest.Repair] deals with it.
	Repairable bool `json:"repairable"`
}

func differenceOf(from *C.struct_kvm_hotplug_difference) Difference {
	return Difference{
		ID:         C.GoString(&from.id[0]),
		Kind:       DifferenceKind(from.kind),
		Recorded:   C.GoString(&from.recorded[0]),
		Found:      C.GoString(&from.found[0]),
		Text:       C.GoString(&from.text[0]),
		Repairable: from.repairable != 0,
	}
}

// Verify compares record and guest both ways. Devices that wait for a reboot and those on their way out are no
// difference. Nothing is changed, except that unfinished operations are settled as by every call.
func (g *Guest) Verify(ctx context.Context) ([]Difference, error) {
	return g.differences(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, first *C.struct_kvm_hotplug_difference, room C.size_t, count *C.size_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_verify(handle, timeout, first, C.sizeof_struct_kvm_hotplug_difference, room, count, failure)
	})
}

// Repair mends the differences that can be mended without a decision, and answers those that are left. Nothing foreign is
// touched. Events tell what was done; what was mended before a failure stays mended.
func (g *Guest) Repair(ctx context.Context) ([]Difference, error) {
	return g.differences(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, first *C.struct_kvm_hotplug_difference, room C.size_t, count *C.size_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_repair(handle, timeout, first, C.sizeof_struct_kvm_hotplug_difference, room, count, failure)
	})
}

func (g *Guest) differences(ctx context.Context, do func(*C.struct_kvm_hotplug, C.uint32_t, *C.struct_kvm_hotplug_difference, C.size_t, *C.size_t, **C.struct_kvm_hotplug_error) C.int) ([]Difference, error) {
	var list []Difference
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) (code C.int) {
		list, code = fetchList(64, differenceOf, func(first *C.struct_kvm_hotplug_difference, room C.size_t, count *C.size_t) C.int {
			return do(handle, timeout, first, room, count, failure)
		})
		return code
	})
	return list, err
}
