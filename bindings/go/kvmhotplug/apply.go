package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"encoding/json"
	"time"
)

// Apply is how [Guest.Apply] makes a guest have the devices of a list.
type Apply struct {
	// PlanOnly: say what would be done, and do nothing.
	PlanOnly bool `json:"plan_only,omitempty"`
	// KeepOthers: NICs and disks that are not in the list stay.
	KeepOthers bool `json:"keep_others,omitempty"`
	// Replace: a device whose settings differ in what cannot be changed in a running guest is removed and added.
	Replace bool `json:"replace,omitempty"`
	// LiveOnly: live or not at all. What would take effect after a reboot fails with [ErrNotHotpluggable].
	LiveOnly bool `json:"live_only,omitempty"`
	// NoWait: ask the guest to let go of devices, but do not wait for it. Adds are waited for.
	NoWait bool `json:"no_wait,omitempty"`
}

func (a Apply) flags() (flags C.uint32_t) {
	for _, each := range []struct {
		is   bool
		flag C.uint32_t
	}{
		{a.PlanOnly, C.KVM_HOTPLUG_APPLY_PLAN},
		{a.KeepOthers, C.KVM_HOTPLUG_APPLY_KEEP_OTHERS},
		{a.Replace, C.KVM_HOTPLUG_APPLY_REPLACE},
		{a.LiveOnly, C.KVM_HOTPLUG_LIVE_ONLY},
		{a.NoWait, C.KVM_HOTPLUG_NO_WAIT},
	} {
		if each.is {
			flags |= each.flag
		}
	}
	return flags
}

// Applied is what has become of the devices of a list, or would: docs/json.md has the meaning of each member.
type Applied struct {
	// State sums up the answers of the devices: [Done], [Pending] or [AfterReboot].
	State State `json:"-"`
	// Changes is about how many devices something was to be done.
	Changes int `json:"changes"`
	// Devices are those of the list in its order, then those that were to go.
	Devices []AppliedDevice `json:"devices"`
}

// AppliedDevice is one device with what was to be done about it.
type AppliedDevice struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	// Action is none, add, del, change or replace, and Why says why.
	Action string `json:"action"`
	Why    string `json:"why"`
	// Answer is done, after-reboot, pending, refused, failed or left (nothing has been done), and Reason says why.
	Answer     string  `json:"answer"`
	Reason     string  `json:"reason"`
	Generation uint64  `json:"generation"`
	Bus        string  `json:"bus"`
	Slot       *uint32 `json:"slot"`
	Channel    *uint32 `json:"channel"`
	Target     *uint32 `json:"target"`
	LUN        *uint32 `json:"lun"`
}

// Apply makes the guest have the NICs and disks of a list and no others, or says what that takes: what
// kvm_hotplug_apply() says in the header. The list is JSON, an array of devices or an object with it as "devices"; each
// device has an id. The same list once more does nothing. Where the call fails after it has decided what is to be done, the
// devices say what is done and what is left.
func (g *Guest) Apply(ctx context.Context, list json.RawMessage, how Apply) (Applied, error) {
	return g.devices(ctx, DefaultRemovalTimeout, list, func(handle *C.struct_kvm_hotplug, text *C.char, timeout C.uint32_t, answer **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_apply(handle, text, timeout, how.flags(), answer, failure)
	})
}

// AddJSON adds the device that a JSON object describes, or those of an array, as one operation: what
// kvm_hotplug_add_json() says in the header. With noWait the devices are [Pending], and events tell how it went.
func (g *Guest) AddJSON(ctx context.Context, devices json.RawMessage, liveOnly, noWait bool) (Applied, error) {
	flags := Apply{LiveOnly: liveOnly, NoWait: noWait}.flags()
	return g.devices(ctx, DefaultTimeout, devices, func(handle *C.struct_kvm_hotplug, text *C.char, timeout C.uint32_t, answer **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_add_json(handle, text, timeout, flags, answer, failure)
	})
}

type devicesCall func(handle *C.struct_kvm_hotplug, text *C.char, timeout C.uint32_t, answer **C.char, failure **C.struct_kvm_hotplug_error) C.int

func (g *Guest) devices(ctx context.Context, otherwise time.Duration, list json.RawMessage, do devicesCall) (Applied, error) {
	var memory arena
	defer memory.free()
	text := memory.required("the list", string(list))
	if memory.err != nil {
		return Applied{}, memory.err
	}
	var answer *C.char
	code, err := g.call(ctx, otherwise, func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return do(handle, text, timeout, &answer, failure)
	})
	defer C.kvm_hotplug_text_free(answer)
	var applied Applied
	if answer != nil {
		if malformed := json.Unmarshal([]byte(C.GoString(answer)), &applied); malformed != nil && err == nil {
			err = malformed
		}
	}
	if err == nil {
		applied.State = State(code)
	}
	return applied, err
}
