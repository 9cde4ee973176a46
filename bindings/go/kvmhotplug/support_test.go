package kvmhotplug_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// Longer than anything takes that is going to happen.
const patience = 60 * time.Second

func within(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// notRun ends a test that this machine cannot run, without a kernel module or other hardware, and lists it with the reason
// for the end of tests/run. What tests/bin/setup installs has to be there: a test that misses it fails.
func notRun(t testing.TB, reason string) {
	t.Helper()
	list, err := os.OpenFile(setting("KVM_HOTPLUG_NOT_RUN", "../../../build/not-run"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	ok(t, err)
	_, err = fmt.Fprintf(list, "%s: %s\n", t.Name(), reason)
	ok(t, err)
	ok(t, list.Close())
	t.Skip(reason)
}

func TestWhatCannotRunIsListed(t *testing.T) {
	list := filepath.Join(t.TempDir(), "not-run")
	t.Setenv("KVM_HOTPLUG_NOT_RUN", list)
	t.Run("here", func(t *testing.T) { notRun(t, "no /dev/vhost-net") })
	text, err := os.ReadFile(list)
	ok(t, err)
	if want := t.Name() + "/here: no /dev/vhost-net\n"; string(text) != want {
		t.Errorf("listed %q, want %q", text, want)
	}
}

// failure is the package's error, of this kind, or the end of the test.
func failure(t testing.TB, err error, kind kvmhotplug.Kind) *kvmhotplug.Error {
	t.Helper()
	var failure *kvmhotplug.Error
	if !errors.As(err, &failure) || !errors.Is(err, kind) {
		t.Fatalf("want an error of kind %v, got %#v", kind, err)
	}
	return failure
}

func image(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	ok(t, os.WriteFile(path, nil, 0o600))
	ok(t, os.Truncate(path, 1<<20))
	return path
}

// record is a new one, with a file of its own.
func record(t testing.TB) *kvmhotplug.Runtime {
	t.Helper()
	made, err := kvmhotplug.New(kvmhotplug.Config{Name: "web1", Command: []string{"qemu-system-x86_64"}})
	ok(t, err)
	t.Cleanup(func() { made.Close() })
	ok(t, made.Save(filepath.Join(t.TempDir(), "web1.runtime")))
	return made
}

func open(t testing.TB, socket string) *kvmhotplug.Guest {
	t.Helper()
	guest, err := kvmhotplug.Open(within(t, patience), record(t), socket)
	ok(t, err)
	t.Cleanup(func() { guest.Close() })
	return guest
}

func state(t testing.TB, result kvmhotplug.Result, err error, want kvmhotplug.State) kvmhotplug.Result {
	t.Helper()
	ok(t, err)
	if result.State != want {
		t.Fatalf("want the answer %v, got %v (%s)", want, result.State, result.ReasonText)
	}
	return result
}

// event waits for one of this type about this device; others on the way to it are none of the test's business.
func event(t testing.TB, events <-chan kvmhotplug.Event, kind kvmhotplug.EventType, id string) kvmhotplug.Event {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case got, open := <-events:
			if !open {
				t.Fatalf("the channel was closed before %v %s", kind, id)
			}
			if got.Type == kind && got.ID == id {
				return got
			}
		case <-deadline:
			t.Fatalf("no event %v %s", kind, id)
		}
	}
}
