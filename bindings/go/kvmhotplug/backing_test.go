package kvmhotplug_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// An image opens the files that were chosen for it, and those that are accepted later.
func TestBackingFilesAreChosen(t *testing.T) {
	folder, outside := t.TempDir(), t.TempDir()
	image := filepath.Join(folder, "top.qcow2")
	base, inside := filepath.Join(outside, "base.img"), filepath.Join(folder, "base.img")
	for _, path := range []string{base, inside} {
		ok(t, os.WriteFile(path, make([]byte, 4096), 0o600))
	}
	qemuImg := func(arguments ...string) {
		t.Helper()
		ok(t, exec.Command("qemu-img", arguments...).Run())
	}
	refused := func(err error) {
		t.Helper()
		if !errors.Is(err, kvmhotplug.ErrImageRefused) {
			t.Errorf("got %v, want an image that is refused", err)
		}
	}
	qemuImg("create", "-f", "qcow2", "-F", "raw", "-b", base, image)
	record, err := kvmhotplug.New(kvmhotplug.Config{Command: []string{"qemu"}})
	ok(t, err)
	defer record.Close()
	ok(t, record.Save(filepath.Join(folder, "vm.runtime")))

	disk := kvmhotplug.Disk{ID: "data", Path: image, Format: kvmhotplug.FormatQcow2}
	_, err = record.AddDisk(disk)
	refused(err)
	ok(t, record.SetBacking(kvmhotplug.BackingDirectories, outside))
	_, err = record.AddDisk(disk)
	ok(t, err)
	ok(t, record.SetBacking(kvmhotplug.BackingDefault))
	qemuImg("rebase", "-u", "-F", "raw", "-b", inside, image)
	_, err = record.Boot(kvmhotplug.BootOptions{})
	refused(err)
	refused(record.AcceptChain("data", kvmhotplug.BackingFiles, base))
	ok(t, record.AcceptChain("data", kvmhotplug.BackingFiles, inside))
	disk.Backing, disk.BackingPaths = kvmhotplug.BackingOwnDirectory, nil
	if _, err = record.AddDisk(disk); !errors.Is(err, kvmhotplug.ErrConflict) {
		t.Errorf("another rule: %v", err)
	}
	disk.AcceptChain = true
	_, err = record.AddDisk(disk)
	ok(t, err)
	command, err := record.Boot(kvmhotplug.BootOptions{})
	ok(t, err)
	ok(t, command.Close())
}
