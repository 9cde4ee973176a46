package kvmhotplug_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

func TestRecordsOfGuestsThatDoNotRun(t *testing.T) {
	made := record(t)
	path := image(t, "disk")
	disk, err := made.AddDisk(kvmhotplug.Disk{ID: "data", Path: path, Serial: "S1"})
	ok(t, err)
	if disk.ID != "data" || disk.Path != path || disk.Serial != "S1" || disk.State != kvmhotplug.DeviceAfterReboot {
		t.Errorf("added %+v", disk)
	}
	nic, err := made.AddNIC(kvmhotplug.NIC{ID: "lan", MAC: "52:54:00:12:34:56", Vhost: kvmhotplug.VhostOff})
	ok(t, err)
	if nic.ID != "lan" || nic.MAC != "52:54:00:12:34:56" || nic.Slot == disk.Slot {
		t.Errorf("added %+v", nic)
	}
	_, err = made.AddDisk(kvmhotplug.Disk{ID: "data", Path: path, Serial: "S2"})
	failure(t, err, kvmhotplug.ErrConflict)
	file, err := os.Open(os.DevNull)
	ok(t, err)
	defer file.Close()
	_, err = made.AddNIC(kvmhotplug.NIC{Tap: []*os.File{file}})
	failure(t, err, kvmhotplug.ErrInvalid)
	devices, err := made.Devices()
	if ok(t, err); len(devices) != 2 {
		t.Errorf("%d devices", len(devices))
	}

	copied, err := made.Copy()
	ok(t, err)
	defer copied.Close()
	copiedTo := t.TempDir() + "/copy"
	ok(t, copied.Save(copiedTo))
	failure(t, kvmhotplug.Delete(copiedTo), kvmhotplug.ErrLocked)
	options := kvmhotplug.BootOptions{Monitor: "/run/second", SetMonitor: true, Plan: true}
	boot, err := copied.Boot(options)
	if ok(t, err); !slices.Contains(boot.Args, "unix:/run/second,server=on,wait=off") {
		t.Errorf("the command is %q", boot.Args)
	}
	if there, err := copied.Del("data"); !there || err != nil {
		t.Errorf("removed from the copy: %v, %v", there, err)
	}
	copied.Close()
	ok(t, kvmhotplug.Delete(copiedTo))
	if _, err := os.Stat(copiedTo); !os.IsNotExist(err) {
		t.Errorf("it is not deleted: %v", err)
	}

	entry := json.RawMessage(`{"uuid":"932df160-7a22-4067-a566-7e0ca8386133","dev_type":"sharedfile"}`)
	added, err := made.AddDisk(kvmhotplug.Disk{Path: image(t, "entry"), GanetiEntry: entry})
	if ok(t, err); added.ID != "disk-932df160-7a22-4067" {
		t.Errorf("the disk is %q", added.ID)
	}
	_, err = made.Del(added.ID)
	ok(t, err)

	for _, expected := range []bool{true, false} {
		if there, err := made.Del("data"); there != expected || err != nil {
			t.Errorf("removed: %v, %v", there, err)
		}
	}

	guest, err := kvmhotplug.Open(within(t, patience), made, startFake(t).socket)
	ok(t, err)
	defer guest.Close()
	_, err = made.Del("lan")
	failure(t, err, kvmhotplug.ErrState)
}
