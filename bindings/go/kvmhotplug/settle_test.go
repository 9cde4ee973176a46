package kvmhotplug_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// A journal that a process left which died, of a guest that nobody can ask any more.
func TestSettleAGuestThatIsOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vm")
	ok(t, os.WriteFile(path, []byte(`{"format":"kvm-hotplug-runtime","version":1,"command":["qemu-system-x86_64"],"nics":[
		{"id":"gone","generation":1,"mac":"52:54:00:00:00:01"},{"id":"kept","generation":2,"mac":"52:54:00:00:00:02"}],"disks":[]}`), 0o600))
	ok(t, os.WriteFile(path+".journal", []byte(`{"format":"kvm-hotplug-journal","version":1,"intents":[
		{"verb":"remove","nic":{"id":"gone","generation":1,"mac":"52:54:00:00:00:01"}},
		{"verb":"add","nic":{"id":"new","generation":9,"mac":"52:54:00:00:00:03"}}]}`), 0o600))
	record, err := kvmhotplug.Load(path)
	ok(t, err)
	defer record.Close()
	for _, want := range []int{2, 0} {
		if settled, err := record.Settle(); err != nil || settled != want {
			t.Errorf("settled %d (%v), want %d", settled, err, want)
		}
	}
	left, err := record.Devices()
	ok(t, err)
	if len(left) != 1 || left[0].ID != "kept" {
		t.Errorf("left in the record: %v", left)
	}
	if _, err := os.Stat(path + ".journal"); !os.IsNotExist(err) {
		t.Errorf("the journal is still there: %v", err)
	}
}

// A guest that runs lists what it has not let go of, and nothing when it has.
func TestSettleAGuestThatRuns(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "stay-disk", Path: image(t, "disk")})
	state(t, added, err, kvmhotplug.Done)
	gone, err := guest.DelDisk(within(t, 200*time.Millisecond), "stay-disk")
	state(t, gone, err, kvmhotplug.Pending)
	pending, err := guest.Settle(within(t, patience))
	ok(t, err)
	if len(pending) != 1 || pending[0].ID != "stay-disk" {
		t.Errorf("pending: %v", pending)
	}
	fake.release("stay-disk")
	waitUntil(t, func() bool {
		pending, err := guest.Settle(within(t, patience))
		ok(t, err)
		return len(pending) == 0
	})
}
