package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

const (
	// For a guest to let go of a device. What it has not done then is pending, and asked about again.
	applyLimit = 5 * time.Second
	applyAgain = 2 * time.Second
)

// outcome is what the last apply came to.
type outcome struct {
	devices []DeviceStatus
	slots   []SlotStatus
	// pending: the guest has not let go of a device. unfinished: that, or an error.
	pending, unfinished bool
}

// apply makes the guest have the devices that its keys want, and keeps what has become of each.
func (w *worker) apply(ctx context.Context, guest guestView) error {
	limited, cancel := context.WithTimeout(ctx, applyLimit)
	defer cancel()
	applied, err := w.live.Apply(limited, guest.Wanted, kvmhotplug.Apply{Replace: true})
	if err != nil || applied.Changes > 0 {
		w.logger.Info("applied", "changes", applied.Changes, "state", applied.State, "error", err)
	}
	w.applied, w.revision = string(guest.Wanted), guest.Desired
	w.outcome = outcome{devices: statusOf(applied), unfinished: err != nil}
	for _, device := range w.outcome.devices {
		if device.State == "pending" {
			w.outcome.pending, w.outcome.unfinished = true, true
		}
	}
	slots, slotsErr := w.live.Slots(ctx)
	for _, slot := range slots {
		if slot.AddressType == kvmhotplug.AddressPCI {
			w.outcome.slots = append(w.outcome.slots, SlotStatus{slot.Bus, slot.Slot, slot.State.String(), slot.Occupant})
		}
	}
	if err == nil {
		err = slotsErr
	}
	if err == nil && w.outcome.pending {
		// No failure: the guest has its time, and its answer comes as an event.
		w.failures[actApply] = failure{again: bootTime() + applyAgain}
	}
	return err
}

func statusOf(applied kvmhotplug.Applied) []DeviceStatus {
	var list []DeviceStatus
	for _, each := range applied.Devices {
		if each.Action == "del" && each.Answer == "done" {
			continue
		}
		list = append(list, DeviceStatus{ID: each.ID, Type: each.Type, State: each.Answer, Reason: each.Reason, Place: placeOf(each)})
	}
	return list
}

func placeOf(device kvmhotplug.AppliedDevice) string {
	switch {
	case device.Slot != nil:
		return fmt.Sprintf("%s slot %d", device.Bus, *device.Slot)
	case device.Target != nil && device.LUN != nil:
		return fmt.Sprintf("%s target %d lun %d", device.Bus, *device.Target, *device.LUN)
	}
	return device.Bus
}

// status is what there is to say of the guest.
func (w *worker) status(s situation) Status {
	made := Status{Node: s.Node, State: "stopped", Revision: w.revision, Devices: w.outcome.devices, Slots: w.outcome.slots}
	switch {
	case s.Guest.Migration != nil:
		made.State = "migrates to " + s.Guest.Migration.To
	case s.Here.RunState != "":
		made.State = s.Here.RunState
	case s.Here.Runs:
		made.State = "not open"
	}
	var problems []string
	if s.Guest.Problem != "" {
		problems = append(problems, s.Guest.Problem)
	}
	for what, each := range w.failures {
		if each.text != "" {
			problems = append(problems, fmt.Sprintf("%s: %s", what, each.text))
		}
	}
	sort.Strings(problems)
	made.Error = strings.Join(problems, "; ")
	return made
}
