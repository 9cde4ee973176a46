package kvmhotplug_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// plug is compiled, so that what README and package documentation show compiles.
func plug(ctx context.Context) error {
	record, err := kvmhotplug.Load("/run/agent/web1.runtime")
	if err != nil {
		return err
	}
	defer record.Close()
	guest, err := kvmhotplug.Open(ctx, record, "/run/agent/web1.qmp")
	if err != nil {
		return err
	}
	defer guest.Close()

	added, err := guest.AddNIC(ctx, kvmhotplug.NIC{Bridge: "br0", Queues: 2})
	if errors.Is(err, kvmhotplug.ErrNoSlot) {
		return fmt.Errorf("the guest is full: %w", err)
	}
	if err != nil {
		return err
	}
	// Done: in the guest now. AfterReboot: recorded only, added.ReasonText says why.

	gone, err := guest.DelDisk(ctx, "disk-pci-6")
	if err != nil {
		return err
	}
	// Done: its storage may be torn down. Pending: asked, not granted yet; guest.Events() will tell.

	fmt.Println(added.State, added.Device.ID, gone.State)
	return nil
}

func TestTheDocumentationShowsTheExample(t *testing.T) {
	if err := plug(context.Background()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a runtime file: %v", err)
	}
	example := read(t, "example_test.go")
	_, body, _ := strings.Cut(example, "func plug(ctx context.Context) error {\n")
	body, _, _ = strings.Cut(body, "\n\tfmt.Println(added.State")
	body = strings.TrimRight(body, "\n")

	_, shown, _ := strings.Cut(read(t, "../../../README.md"), "```go\n")
	shown, _, _ = strings.Cut(shown, "\n```")
	if want := strings.TrimPrefix(strings.ReplaceAll(body, "\n\t", "\n"), "\t"); shown != want {
		t.Errorf("README.md shows\n%s\nwant\n%s", shown, want)
	}
	documented := "//" + strings.ReplaceAll(body, "\n", "\n//")
	if !strings.Contains(read(t, "doc.go"), documented+"\n") {
		t.Errorf("doc.go does not show\n%s", documented)
	}
}
