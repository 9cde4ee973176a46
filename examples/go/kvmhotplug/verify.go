package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import "context"

// Mismatch is what record and guest disagree about. Treat values you do not know as "something".
type Mismatch uint32

const (
	// MismatchMissing: recorded, but not in the guest. Mend takes it out of the record.
	MismatchMissing Mismatch = C.KVM_HOTPLUG_MISMATCH_MISSING
	// MismatchForeign: in the guest, but not recorded: somebody else's, which is left alone.
	MismatchForeign Mismatch = C.KVM_HOTPLUG_MISMATCH_FOREIGN
	// MismatchAddress: sits elsewhere than recorded. Mend records where it is.
	MismatchAddress Mismatch = C.KVM_HOTPLUG_MISMATCH_ADDRESS
	// MismatchModel: is another device model.
	MismatchModel Mismatch = C.KVM_HOTPLUG_MISMATCH_MODEL
	// MismatchBackend: has another netdev or block node behind it, or none.
	MismatchBackend Mismatch = C.KVM_HOTPLUG_MISMATCH_BACKEND
	// MismatchMAC: has another MAC address.
	MismatchMAC Mismatch = C.KVM_HOTPLUG_MISMATCH_MAC
	// MismatchQueues: has another number of queues or interrupt vectors.
	MismatchQueues Mismatch = C.KVM_HOTPLUG_MISMATCH_QUEUES
	// MismatchMTU: announces another MTU.
	MismatchMTU Mismatch = C.KVM_HOTPLUG_MISMATCH_MTU
	// MismatchROM: loads another option ROM.
	MismatchROM Mismatch = C.KVM_HOTPLUG_MISMATCH_ROM
	// MismatchSerial: has another serial.
	MismatchSerial Mismatch = C.KVM_HOTPLUG_MISMATCH_SERIAL
	// MismatchReadOnly: is writable where the record says read-only, or the reverse.
	MismatchReadOnly Mismatch = C.KVM_HOTPLUG_MISMATCH_READ_ONLY
	// MismatchSize: the guest sees another size than the image has.
	MismatchSize Mismatch = C.KVM_HOTPLUG_MISMATCH_SIZE
	// MismatchSetting: another setting; the texts say which.
	MismatchSetting Mismatch = C.KVM_HOTPLUG_MISMATCH_SETTING
	// MismatchOrphanNode: a block node of ours that belongs to no device. Mend removes it.
	MismatchOrphanNode Mismatch = C.KVM_HOTPLUG_MISMATCH_ORPHAN_NODE
	// MismatchOrphanFdset: an fdset with our tag that belongs to no device. Mend removes it.
	MismatchOrphanFdset Mismatch = C.KVM_HOTPLUG_MISMATCH_ORPHAN_FDSET
	// MismatchBridge: the tap is on another bridge of the host than recorded, or on none.
	MismatchBridge Mismatch = C.KVM_HOTPLUG_MISMATCH_BRIDGE
	// MismatchPort: a root port that the boot command made is not there, or is elsewhere.
	MismatchPort Mismatch = C.KVM_HOTPLUG_MISMATCH_PORT
	// MismatchChain: the files that its image is made of on this host are not those that were recorded, or not to be opened.
	MismatchChain Mismatch = C.KVM_HOTPLUG_MISMATCH_CHAIN
	// MismatchOrphanNetdev: a netdev that no NIC has, and neither the record nor its command knows.
	MismatchOrphanNetdev Mismatch = C.KVM_HOTPLUG_MISMATCH_ORPHAN_NETDEV
)

var mismatchNames = map[Mismatch]string{
	MismatchMissing:      "missing",
	MismatchForeign:      "foreign",
	MismatchAddress:      "address",
	MismatchModel:        "model",
	MismatchBackend:      "backend",
	MismatchMAC:          "mac",
	MismatchQueues:       "queues",
	MismatchMTU:          "mtu",
	MismatchROM:          "rom",
	MismatchSerial:       "serial",
	MismatchReadOnly:     "read-only",
	MismatchSize:         "size",
	MismatchSetting:      "setting",
	MismatchOrphanNode:   "orphan-node",
	MismatchOrphanFdset:  "orphan-fdset",
	MismatchBridge:       "bridge",
	MismatchPort:         "port",
	MismatchChain:        "chain",
	MismatchOrphanNetdev: "orphan-netdev",
}

// String is a name such as "missing".
func (m Mismatch) String() string { return nameOf(mismatchNames, m) }

// MarshalText writes the name.
func (m Mismatch) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the name.
func (m *Mismatch) UnmarshalText(text []byte) (err error) {
	*m, err = parseName(mismatchNames, text, "mismatch")
	return err
}

// Difference is one disagreement between record and guest.
type Difference struct {
	// ID of the device or node, or of the device that an fdset was for.
	ID       string   `json:"id"`
	Mismatch Mismatch `json:"mismatch"`
	// Recorded is what the record says, Found what the guest shows, Text all of it in one sentence.
	Recorded string `json:"recorded,omitempty"`
	Found    string `json:"found,omitempty"`
	Text     string `json:"text"`
	// Mendable: [Guest.Mend] deals with it.
	Mendable bool `json:"mendable"`
}

func differenceOf(from *C.struct_kvm_hotplug_difference) Difference {
	return Difference{
		ID:       C.GoString(&from.id[0]),
		Mismatch: Mismatch(from.mismatch),
		Recorded: C.GoString(&from.recorded[0]),
		Found:    C.GoString(&from.found[0]),
		Text:     C.GoString(&from.text[0]),
		Mendable: from.mendable != 0,
	}
}

// Verify compares record and guest both ways. Devices that wait for a reboot and those on their way out are no
// difference. Nothing is changed, except that unfinished operations are settled as by every call.
func (g *Guest) Verify(ctx context.Context) ([]Difference, error) {
	return g.differences(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, first *C.struct_kvm_hotplug_difference, room C.size_t, count *C.size_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_verify(handle, timeout, first, C.sizeof_struct_kvm_hotplug_difference, room, count, failure)
	})
}

// Mend mends the differences that can be mended without a decision, and answers those that are left. Nothing foreign is
// touched. Events tell what was done; what was mended before a failure stays mended.
func (g *Guest) Mend(ctx context.Context) ([]Difference, error) {
	return g.differences(ctx, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, first *C.struct_kvm_hotplug_difference, room C.size_t, count *C.size_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_mend(handle, timeout, first, C.sizeof_struct_kvm_hotplug_difference, room, count, failure)
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
