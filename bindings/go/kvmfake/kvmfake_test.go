package kvmfake_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmfake"
	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

func TestAnAgentIsTestedInThreeLines(t *testing.T) {
	directory := t.TempDir()
	record, err := kvmhotplug.New(kvmhotplug.Config{Name: "web1"})
	ok(t, err)
	defer record.Close()
	ok(t, record.Save(filepath.Join(directory, "web1.runtime")))
	image := filepath.Join(directory, "data.img")
	ok(t, os.WriteFile(image, make([]byte, 1<<20), 0o600))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	fake := kvmfake.Start(t)
	guest, err := kvmhotplug.Open(ctx, record, fake.Socket)
	ok(t, err)
	defer guest.Close()

	_, err = guest.AddDisk(ctx, kvmhotplug.Disk{ID: "data", Path: image})
	ok(t, err)
	if !fake.Did("device_add data") {
		t.Errorf("no device_add: %q", fake.Said())
	}
	fake.Order("error device_del not now")
	if _, err = guest.DelDisk(ctx, "data"); !errors.Is(err, kvmhotplug.ErrQMP) {
		t.Errorf("a refused removal is %v", err)
	}
	gone, err := guest.DelDisk(ctx, "data")
	if ok(t, err); gone.State != kvmhotplug.Done || !fake.Did("device_del data") {
		t.Errorf("the second removal is %v: %q", gone.State, fake.Said())
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The struct of the C interface has room for 255 bytes of a path. A caller of this package sees none of that, and gets the path of a disk
// that has gone as well: that is what it tears down.
func TestLongPathsAreWhole(t *testing.T) {
	directory := filepath.Join(t.TempDir(), strings.Repeat("d", 200), strings.Repeat("e", 200))
	ok(t, os.MkdirAll(directory, 0o700))
	record, err := kvmhotplug.New(kvmhotplug.Config{Name: "web1"})
	ok(t, err)
	defer record.Close()
	ok(t, record.Save(filepath.Join(t.TempDir(), "web1.runtime")))
	paths := map[string]string{}
	for _, id := range []string{"one", "two", "three", "cold"} {
		paths[id] = filepath.Join(directory, id)
		ok(t, os.WriteFile(paths[id], make([]byte, 1<<20), 0o600))
	}
	same := func(what string, device kvmhotplug.Device) {
		t.Helper()
		if device.ID == "" || device.Path != paths[device.ID] {
			t.Errorf("%s: the path of %q is %q", what, device.ID, device.Path)
		}
	}
	cold, err := record.AddDisk(kvmhotplug.Disk{ID: "cold", Path: paths["cold"]})
	ok(t, err)
	same("added to the record", cold)
	_, err = record.Del("cold")
	ok(t, err)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fake := kvmfake.Start(t)
	guest, err := kvmhotplug.Open(ctx, record, fake.Socket)
	ok(t, err)
	defer guest.Close()
	added, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "one", Path: paths["one"]})
	ok(t, err)
	same("added", added.Device)
	many, err := guest.AddMany(ctx, kvmhotplug.Batch{Disks: []kvmhotplug.Disk{{ID: "two", Path: paths["two"]}, {ID: "three", Path: paths["three"]}}})
	ok(t, err)
	listed, err := guest.Devices(ctx)
	ok(t, err)
	recorded, err := record.Devices()
	ok(t, err)
	if len(many) != 2 || len(listed) != 3 || len(recorded) != 3 {
		t.Fatalf("%d of 2, %d and %d of 3", len(many), len(listed), len(recorded))
	}
	for _, device := range slices.Concat(many, listed, recorded) {
		same("listed", device)
	}
	fake.Order("hold three")
	asked, err := guest.Del(ctx, "three", kvmhotplug.Removal{NoWait: true})
	ok(t, err)
	same("asked for", asked.Device)
	pending, err := guest.Settle(ctx)
	if ok(t, err); len(pending) != 1 {
		t.Fatalf("%d are pending", len(pending))
	}
	same("pending", pending[0])
	gone, err := guest.DelDisk(ctx, "one")
	ok(t, err)
	same("gone", gone.Device)
	answers, err := guest.DelMany(ctx, []string{"two"}, kvmhotplug.Removal{})
	ok(t, err)
	same("gone with others", answers[0].Device)
}
