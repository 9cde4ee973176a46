package kvmhotplug_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

func wanted(t testing.TB, devices ...map[string]any) json.RawMessage {
	t.Helper()
	list, err := json.Marshal(map[string]any{"devices": devices})
	ok(t, err)
	return list
}

func said(applied kvmhotplug.Applied) string {
	var all []string
	for _, device := range applied.Devices {
		all = append(all, fmt.Sprintf("%s %s %s", device.ID, device.Action, device.Answer))
	}
	return strings.Join(all, ", ")
}

func disk(t testing.TB, id string) map[string]any {
	return map[string]any{"type": "disk", "id": id, "path": image(t, id)}
}

func TestApplyMakesItSo(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	ctx := within(t, patience)
	one, two := disk(t, "one"), disk(t, "two")
	for _, each := range []struct {
		list json.RawMessage
		how  kvmhotplug.Apply
		said string
	}{
		{wanted(t, one), kvmhotplug.Apply{PlanOnly: true}, "one add done"},
		{wanted(t, one), kvmhotplug.Apply{}, "one add done"},
		{wanted(t, one), kvmhotplug.Apply{}, "one none done"},
		{wanted(t, two), kvmhotplug.Apply{KeepOthers: true}, "two add done"},
		{wanted(t, two), kvmhotplug.Apply{}, "two none done, one del done"},
	} {
		applied, err := guest.Apply(ctx, each.list, each.how)
		ok(t, err)
		if said(applied) != each.said || applied.State != kvmhotplug.Done {
			t.Errorf("%s: %+v", each.said, applied)
		}
	}
	// What fails says so of each device.
	two["serial"] = "S1"
	applied, err := guest.Apply(ctx, wanted(t, two), kvmhotplug.Apply{})
	if refused := failure(t, err, kvmhotplug.ErrConflict); refused.Errno != syscall.EEXIST {
		t.Errorf("refused with %v", refused)
	}
	if said(applied) != "two replace refused" || !strings.Contains(applied.Devices[0].Reason, "serial") {
		t.Errorf("refused: %+v", applied)
	}
	applied, err = guest.Apply(ctx, wanted(t, two), kvmhotplug.Apply{Replace: true, LiveOnly: true})
	if ok(t, err); said(applied) != "two replace done" {
		t.Errorf("replaced: %+v", applied)
	}
	stays := disk(t, "stay-here")
	applied, err = guest.Apply(ctx, wanted(t, two, stays), kvmhotplug.Apply{})
	if ok(t, err); said(applied) != "two none done, stay-here add done" || applied.Devices[1].Slot == nil {
		t.Errorf("added: %+v", applied)
	}
	applied, err = guest.Apply(ctx, wanted(t, two), kvmhotplug.Apply{NoWait: true})
	if ok(t, err); said(applied) != "two none done, stay-here del pending" || applied.State != kvmhotplug.Pending {
		t.Errorf("pending: %+v", applied)
	}
	if _, err := guest.Apply(ctx, json.RawMessage("{"), kvmhotplug.Apply{}); err != nil {
		failure(t, err, kvmhotplug.ErrInvalid)
	} else {
		t.Error("half an object is taken for a list")
	}
}

func TestAddJSON(t *testing.T) {
	guest := open(t, startFake(t).socket)
	ctx := within(t, patience)
	text, err := json.Marshal(disk(t, "data"))
	ok(t, err)
	added, err := guest.AddJSON(ctx, text, true, false)
	if ok(t, err); said(added) != "data add done" || added.State != kvmhotplug.Done {
		t.Errorf("added: %+v", added)
	}
	_, err = guest.AddJSON(ctx, json.RawMessage(`{"type": "nic", "mtuu": 1}`), false, false)
	if wrong := failure(t, err, kvmhotplug.ErrInvalid); !strings.Contains(wrong.Error(), "mtuu") {
		t.Errorf("a member that does not exist: %v", wrong)
	}
}
