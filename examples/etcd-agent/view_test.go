package main

import (
	"strings"
	"testing"
	"time"
)

func newTestMirror(pairs ...string) *mirror {
	entries := map[string]entry{}
	for i := 0; i < len(pairs); i += 2 {
		entries[pairs[i]] = entry{[]byte(pairs[i+1]), int64(10 + i)}
	}
	return newMirror(schema{"/kvm"}, entries, 50, time.Minute)
}

func TestAViewHasWhatTheKeysSay(t *testing.T) {
	now := newTestMirror(
		"/kvm/nodes/n1/lease", `{"address":"192.0.2.1"}`,
		"/kvm/nodes/n1/epoch", "",
		"/kvm/nodes/n2/epoch", "",
		"/kvm/guests/web1/spec", `{"node":"n1","machine":"pc","memory":256}`,
		"/kvm/guests/web1/devices/lan", `{"type":"nic","bridge":"br0"}`,
		"/kvm/guests/web1/devices/data", `{"type":"disk","path":"/srv/data.img"}`,
		"/kvm/guests/web1/owner", `{"node":"n1","from":"n2"}`,
		"/kvm/guests/../spec", `{}`,
		"/kvm/other", `{}`,
	).view()
	if n1 := now.node("n1"); n1.Revision != 10 || n1.Epoch != 12 || n1.Info.Address != "192.0.2.1" {
		t.Errorf("n1: %+v", n1)
	}
	// Gone since the load: nothing is known of the time before.
	for _, name := range []string{"n2", "n3"} {
		if node := now.node(name); node.Revision != 0 || node.Gone != time.Minute {
			t.Errorf("%s: %+v", name, node)
		}
	}
	guest := now.guest("web1")
	const wanted = `[{"id":"data","path":"/srv/data.img","type":"disk"},{"bridge":"br0","id":"lan","type":"nic"}]`
	if string(guest.Wanted) != wanted || guest.Problem != "" || guest.Spec == nil || guest.Owner != (Owner{"n1", "n2"}) {
		t.Errorf("web1: %+v, wanted %s", guest, guest.Wanted)
	}
	if guest.Desired != 50 || guest.Changed != 20 || guest.OwnerRevision != 22 {
		t.Errorf("revisions of web1: %d, %d, %d", guest.Desired, guest.Changed, guest.OwnerRevision)
	}
	if len(now.Guests) != 1 {
		t.Errorf("guests: %v", now.Guests)
	}
}

func TestEventsChangeAView(t *testing.T) {
	all := newTestMirror("/kvm/nodes/n1/lease", "{}", "/kvm/guests/web1/spec", `{"node":"n1","machine":"pc","memory":256}`)
	all.put("/kvm/nodes/n1/lease", nil, 60, 2*time.Minute)
	if node := all.view().node("n1"); node.Revision != 0 || node.Gone != 2*time.Minute {
		t.Errorf("n1 has gone: %+v", node)
	}
	all.put("/kvm/nodes/n1/lease", []byte("{}"), 61, 3*time.Minute)
	if node := all.view().node("n1"); node.Revision != 61 || node.Gone != time.Minute {
		t.Errorf("n1 is back: %+v", node)
	}
	all.put("/kvm/guests/web1/devices/data", nil, 62, 3*time.Minute)
	all.put("/kvm/guests/web1/status", []byte(`{"state":"running"}`), 63, 3*time.Minute)
	now := all.view()
	if guest := now.guest("web1"); guest.Desired != 62 || guest.Status.State != "running" || now.Revision != 63 {
		t.Errorf("web1: %+v at %d", guest, now.Revision)
	}
	all.put("/kvm/guests/web1/spec", nil, 64, 3*time.Minute)
	if guest := all.view().guest("web1"); guest.Spec != nil || !guest.Deleted {
		t.Errorf("web1 without a spec: %+v", guest)
	}
}

func TestWhatCannotBeReadIsAProblem(t *testing.T) {
	const good = `{"node":"n1","machine":"pc","memory":256}`
	for _, each := range []struct{ spec, device, part string }{
		{`{"node":"n1","machine":"pc","memory":256,"colour":"red"}`, "{}", "colour"},
		{`{"node":"../n1","machine":"pc","memory":256}`, "{}", "the node"},
		{`{"node":"n1","machine":"pc"}`, "{}", "1 MiB"},
		{good + good, "{}", "something follows"},
		{good, `[]`, "device data"},
		{good, `null`, "no JSON object"},
		{good, `{"id":"other"}`, "the key has it"},
	} {
		guest := newTestMirror("/kvm/guests/web1/spec", each.spec, "/kvm/guests/web1/devices/data", each.device).view().guest("web1")
		if !strings.Contains(guest.Problem, each.part) {
			t.Errorf("%s and %s: %q, want %q in it", each.spec, each.device, guest.Problem, each.part)
		}
		if each.spec == good && guest.Wanted != nil {
			t.Errorf("%s: the list is %s, and has to be none", each.device, guest.Wanted)
		}
		if each.spec != good && guest.Spec != nil {
			t.Errorf("%s: the spec is %+v", each.spec, guest.Spec)
		}
	}
}

func TestWhatIsSetHasToBeOne(t *testing.T) {
	keys := schema{"/kvm"}
	key, err := keyToSet(keys, []string{"web1", "lan"}, []byte(`{"type":"nic"}`))
	if err != nil || key != "/kvm/guests/web1/devices/lan" {
		t.Errorf("%s, %v", key, err)
	}
	for _, names := range [][]string{{"web 1"}, {"web1", "a/b"}, {"web1"}, {"web1", "lan"}} {
		if _, err := keyToSet(keys, names, []byte(`{"id":"x"}`)); err == nil {
			t.Errorf("%v is set", names)
		}
	}
}
