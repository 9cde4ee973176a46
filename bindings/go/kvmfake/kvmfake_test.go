package kvmfake_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
