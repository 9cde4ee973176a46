package kvmhotplug_test

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// resident is the memory of this process in bytes, Go's and C's.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	ok(t, err)
	var size, pages int
	_, err = fmt.Sscan(string(text), &size, &pages)
	ok(t, err)
	return pages * os.Getpagesize()
}

// What C is given and gives is freed: each call moves some 100 KiB, of which thousands of calls may leave next to nothing.
func TestMemoryIsFreed(t *testing.T) {
	const calls, tolerated = 400, 16 << 20
	long := strings.Repeat("x", 100_000)
	guest := open(t, startFake(t).socket)
	ctx := within(t, patience)
	file, err := os.Open(os.DevNull)
	ok(t, err)
	defer file.Close()
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		ok(t, err)
		return len(entries)
	}
	for _, one := range []struct {
		name string
		call func()
	}{
		{"a path", func() { _, _ = kvmhotplug.Load("/" + long) }},
		{"an id", func() { _, _ = guest.DelDisk(ctx, long) }},
		{"a NIC", func() { _, _ = guest.AddNIC(ctx, kvmhotplug.NIC{MAC: long, Tap: []*os.File{file}}) }},
		{"a disk", func() { _, _ = guest.AddDisk(ctx, kvmhotplug.Disk{Path: "/" + long, Serial: long}) }},
		{"a record", func() {
			made, err := kvmhotplug.New(kvmhotplug.Config{Name: "web1", Command: []string{"qemu", long}})
			ok(t, err)
			ok(t, made.SetLogger(slog.Default(), slog.LevelError))
			_, _ = made.PlanBoot(-1)
			ok(t, made.Close())
		}},
		{"a command", func() {
			_, _ = guest.QMP(ctx, kvmhotplug.Command{Execute: "x", Arguments: []byte(`"` + long + `"`), File: file})
		}},
	} {
		for range calls / 10 {
			one.call()
		}
		before, open := resident(t), descriptors()
		for range calls {
			one.call()
		}
		if grown := resident(t) - before; grown > tolerated {
			t.Errorf("%s: %d calls leave %d KiB", one.name, calls, grown>>10)
		}
		if left := descriptors() - open; left > 0 {
			t.Errorf("%s: %d calls leave %d descriptors", one.name, calls, left)
		}
	}
	runtime.KeepAlive(file)
}

// The same for a text that the library gives out, of some 4 KiB.
func TestPlansAreFreed(t *testing.T) {
	const calls, tolerated = 4_000, 6 << 20
	guest := open(t, startFake(t).socket)
	ctx := within(t, patience)
	folder := t.TempDir() + strings.Repeat("/"+strings.Repeat("x", 240), 15)
	ok(t, os.MkdirAll(folder, 0o700))
	path := folder + "/disk"
	ok(t, os.Rename(image(t, "disk"), path))
	plan := func() {
		plan, err := guest.PlanDisk(ctx, kvmhotplug.Disk{Path: path})
		ok(t, err)
		if len(strings.Join(plan.Host, "")) < len(path) {
			t.Fatalf("the plan does not have the path: %v", plan.Host)
		}
	}
	for range calls / 10 {
		plan()
	}
	before := resident(t)
	for range calls {
		plan()
	}
	if grown := resident(t) - before; grown > tolerated {
		t.Errorf("%d plans leave %d KiB", calls, grown>>10)
	}
}
