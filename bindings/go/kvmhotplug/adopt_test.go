package kvmhotplug_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// A guest that somebody else has started: its record is made from what runs, and says what is not in it.
func TestQEMUIsAdopted(t *testing.T) {
	onBothMachines(t, func(t *testing.T, qemu *qemu) {
		ctx := within(t, 30*time.Second)
		dry, err := kvmhotplug.Adopt(ctx, kvmhotplug.Adoption{Monitor: qemu.socket, DryRun: true})
		ok(t, err)
		if dry.Runtime != nil || !json.Valid(dry.Report) {
			t.Fatalf("a dry run made %v and %s", dry.Runtime, dry.Report)
		}
		slots := 7
		made, err := kvmhotplug.Adopt(ctx, kvmhotplug.Adoption{Monitor: qemu.socket, Name: "web", ReservedSlots: &slots})
		ok(t, err)
		defer made.Runtime.Close()
		var report struct {
			Left []struct{ Model string }
		}
		ok(t, json.Unmarshal(made.Report, &report))
		if len(report.Left) == 0 || report.Left[0].Model != "isa-debugcon" {
			t.Fatalf("the report is %s", made.Report)
		}
		memory, err := kvmhotplug.OpenWith(ctx, made.Runtime, qemu.socket, kvmhotplug.OpenOptions{InMemory: true})
		ok(t, err)
		ok(t, memory.Close())
		ok(t, made.Runtime.Save(filepath.Join(t.TempDir(), "runtime")))
		guest, err := kvmhotplug.Open(ctx, made.Runtime, qemu.socket)
		ok(t, err)
		ok(t, guest.Close())
		_, err = kvmhotplug.Adopt(ctx, kvmhotplug.Adoption{Monitor: filepath.Join(t.TempDir(), "none")})
		failure(t, err, kvmhotplug.ErrNotFound)
	})
}
