package kvmhotplug_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// A guest that does not run gets a disk, is booted with it, and loses it with the next boot.
func TestDevicesOfAGuestThatDoesNotRun(t *testing.T) {
	folder := t.TempDir()
	image := filepath.Join(folder, "data.img")
	ok(t, os.WriteFile(image, make([]byte, 4096), 0o600))
	record, err := kvmhotplug.New(kvmhotplug.Config{Command: []string{"qemu"}})
	ok(t, err)
	defer record.Close()
	ok(t, record.Save(filepath.Join(folder, "vm.runtime")))
	boot := func() {
		t.Helper()
		command, err := record.Boot(kvmhotplug.BootOptions{})
		ok(t, err)
		ok(t, command.Close())
	}
	remove := func(id string, want bool) {
		t.Helper()
		there, err := record.Del(id)
		ok(t, err)
		if there != want {
			t.Errorf("%s was there: %v, want %v", id, there, want)
		}
	}

	disk, err := record.AddDisk(kvmhotplug.Disk{Path: image})
	ok(t, err)
	if disk.ID != "disk-pci-4" || disk.State != kvmhotplug.DeviceAfterReboot {
		t.Errorf("got %+v", disk)
	}
	nic, err := record.AddNIC(kvmhotplug.NIC{Model: "e1000"})
	ok(t, err)
	remove(nic.ID, true)
	remove(nic.ID, false)
	if _, err := record.AddNIC(kvmhotplug.NIC{Model: "usb-net"}); !errors.Is(err, kvmhotplug.ErrNotHotpluggable) {
		t.Errorf("a NIC that is no PCI device: %v", err)
	}
	ok(t, record.ReserveSlots("pci.0", 4, 9, kvmhotplug.TypeDisk))
	ok(t, record.SetSlotPolicy(kvmhotplug.SlotsLongestFree))
	ok(t, record.SetWhenFull(kvmhotplug.WhenFullNextBoot))
	plan, err := record.PlanBoot(40)
	ok(t, err)
	if plan.Machine == kvmhotplug.MachinePc && (plan.Bridges != 1 || plan.NewBridges != 1 || plan.Free < 40) {
		t.Errorf("bridges for 40 more devices: %+v", plan)
	}
	ok(t, record.SetWhenFull(kvmhotplug.WhenFullRefuse))
	nic, err = record.AddNIC(kvmhotplug.NIC{})
	ok(t, err)
	if nic.Slot != 10 {
		t.Errorf("slot %d is reserved for disks", nic.Slot)
	}
	remove(nic.ID, true)
	ok(t, record.ReleaseSlots(""))
	if err := record.ReserveSlots("pci.0", 5, 4); !errors.Is(err, kvmhotplug.ErrFormat) {
		t.Errorf("a range that ends before it begins: %v", err)
	}
	boot()
	remove(disk.ID, true)
	boot()
	remove(disk.ID, false)
}
