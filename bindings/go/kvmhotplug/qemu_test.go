package kvmhotplug_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// qemu is a real one without a guest in it: the firmware finds nothing to boot, and a reset completes what removals are
// pending. The tests need root, for taps.
type qemu struct {
	socket   string
	process  *os.Process
	observer net.Conn
	replies  *json.Decoder
	firmware string
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func startQEMU(t *testing.T, machine string) *qemu {
	t.Helper()
	dir := t.TempDir()
	made := &qemu{socket: filepath.Join(dir, "qmp"), firmware: filepath.Join(dir, "firmware")}
	arguments := []string{
		"-nodefaults", "-display", "none", "-machine", machine, "-accel", "tcg", "-m", "32",
		"-qmp", "unix:" + made.socket + ",server=on,wait=off",
		"-qmp", "unix:" + filepath.Join(dir, "observer") + ",server=on,wait=off",
		"-chardev", "file,id=firmware,path=" + made.firmware, "-device", "isa-debugcon,iobase=0x402,chardev=firmware",
	}
	if machine == "q35" {
		for port := range 4 {
			arguments = append(arguments, "-device", fmt.Sprintf("pcie-root-port,id=rp%d,bus=pcie.0,chassis=%d,slot=%d,addr=0x%x", port, port+1, port+1, 0x10+port))
		}
	}
	command := exec.Command(setting("KVM_HOTPLUG_TEST_QEMU", "qemu-system-x86_64"), arguments...)
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ok(t, command.Start())
	made.process = command.Process
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("QEMU said: %s", said.String())
		}
	})
	waitUntil(t, func() (connected bool) {
		var err error
		made.observer, err = net.Dial("unix", filepath.Join(dir, "observer"))
		return err == nil
	})
	t.Cleanup(func() { made.observer.Close() })
	made.replies = json.NewDecoder(made.observer)
	made.ask(t, `{"execute":"qmp_capabilities"}`)
	return made
}

// ask gives the observer's monitor a command and waits for its reply.
func (q *qemu) ask(t *testing.T, command string) {
	t.Helper()
	_, err := q.observer.Write([]byte(command))
	ok(t, err)
	for {
		var reply struct {
			Return json.RawMessage
			Error  json.RawMessage
		}
		ok(t, q.replies.Decode(&reply))
		if reply.Error != nil {
			t.Fatalf("%s: %s", command, reply.Error)
		}
		if reply.Return != nil {
			return
		}
	}
}

// awaitFirmware waits until the firmware has given up, so often since QEMU was started.
func (q *qemu) awaitFirmware(t *testing.T, times int) {
	t.Helper()
	waitUntil(t, func() bool {
		output, _ := os.ReadFile(q.firmware)
		return bytes.Count(output, []byte("No bootable device")) >= times
	})
}

func onBothMachines(t *testing.T, test func(t *testing.T, qemu *qemu)) {
	for _, machine := range []string{"pc", "q35"} {
		t.Run(machine, func(t *testing.T) { test(t, startQEMU(t, machine)) })
	}
}

func TestQEMUGetsAndLosesDevices(t *testing.T) {
	onBothMachines(t, func(t *testing.T, qemu *qemu) {
		qemu.awaitFirmware(t, 1)
		ctx := within(t, patience)
		guest := open(t, qemu.socket)
		events := guest.Events()

		disk := kvmhotplug.Disk{ID: "data", Path: image(t, "disk"), Serial: "S1", Cache: kvmhotplug.CacheUnsafe, ReadOnly: true}
		plan, err := guest.PlanDisk(ctx, disk)
		ok(t, err)
		added, err := guest.AddDisk(ctx, disk)
		state(t, added, err, kvmhotplug.Done)
		if plan.State != kvmhotplug.Done || plan.Device.Bus != added.Device.Bus || plan.Device.Slot != added.Device.Slot {
			t.Errorf("planned %+v, added %+v", plan.Device, added.Device)
		}
		if device := added.Device; device.ID != "data" || device.Serial != "S1" || !device.ReadOnly || device.Type != kvmhotplug.TypeDisk || device.Model != "virtio-blk-pci" {
			t.Errorf("added %+v", device)
		}
		again, err := guest.AddDisk(ctx, disk)
		if again = state(t, again, err, kvmhotplug.Done); again.Device.Generation != added.Device.Generation {
			t.Error("repeating it made another device")
		}
		other := disk
		other.Serial = "S2"
		_, err = guest.AddDisk(ctx, other)
		failure(t, err, kvmhotplug.ErrConflict)

		// The tap is the caller's, who closes it; the guest goes on with its own descriptors.
		tap, err := kvmhotplug.OpenTap(kvmhotplug.TapConfig{Queues: 2})
		ok(t, err)
		nic, err := guest.AddNIC(ctx, kvmhotplug.NIC{ID: "lan", MAC: "52:54:00:12:34:56", Tap: tap.Files, Vhost: kvmhotplug.VhostOff})
		nic = state(t, nic, err, kvmhotplug.Done)
		ok(t, tap.Close())
		if device := nic.Device; device.Interface != tap.Interface || device.Queues != 2 || device.MAC != "52:54:00:12:34:56" {
			t.Errorf("added %+v", device)
		}
		if _, err := net.InterfaceByName(tap.Interface); err != nil {
			t.Errorf("the tap went with the caller's descriptors: %v", err)
		}
		_, err = guest.AddNIC(ctx, kvmhotplug.NIC{Tap: tap.Files})
		failure(t, err, kvmhotplug.ErrInvalid)

		devices, err := guest.Devices(ctx)
		ok(t, err)
		if len(devices) != 2 {
			t.Errorf("%d devices", len(devices))
		}
		slots, err := guest.Slots(ctx)
		ok(t, err)
		taken := map[string]kvmhotplug.SlotState{}
		for _, slot := range slots {
			taken[slot.Occupant] = slot.State
		}
		if taken["data"] != kvmhotplug.SlotTaken || taken["lan"] != kvmhotplug.SlotTaken {
			t.Errorf("slots: %v", taken)
		}
		qemu.ask(t, `{"execute":"device_add","arguments":{"driver":"virtio-rng-pci","id":"others"`+busFor(devices[0].Bus)+`}}`)
		differences, err := guest.Verify(ctx)
		ok(t, err)
		if len(differences) != 0 && !(len(differences) == 1 && differences[0].Kind == kvmhotplug.DifferenceForeign) {
			t.Errorf("differences: %+v", differences)
		}
		_, err = guest.Del(ctx, "others", kvmhotplug.Removal{})
		failure(t, err, kvmhotplug.ErrForeign)

		// Nobody in there grants it, until the reset.
		gone, err := guest.DelDisk(within(t, 300*time.Millisecond), "data")
		gone = state(t, gone, err, kvmhotplug.Pending)
		if gone.Reason == kvmhotplug.ReasonNone || gone.Device.State != kvmhotplug.DevicePending {
			t.Errorf("pending: %+v", gone)
		}
		removal, err := guest.PlanDel(ctx, "lan", kvmhotplug.Removal{})
		ok(t, err)
		if len(removal.Commands) == 0 {
			t.Errorf("planned %+v", removal)
		}
		leaving, err := guest.Del(ctx, "lan", kvmhotplug.Removal{NoWait: true})
		state(t, leaving, err, kvmhotplug.Pending)
		qemu.ask(t, `{"execute":"system_reset"}`)
		event(t, events, kvmhotplug.EventRemoved, "data")
		gone, err = guest.DelNIC(ctx, "lan")
		if err != nil || gone.State != kvmhotplug.Done && gone.State != kvmhotplug.Absent {
			t.Errorf("after the reset: %+v, %v", gone, err)
		}
		left, err := guest.Repair(ctx)
		ok(t, err)
		for _, difference := range left {
			if difference.Kind != kvmhotplug.DifferenceForeign {
				t.Errorf("left: %+v", difference)
			}
		}
	})
}

// busFor puts somebody else's device on a free port where the machine's own bus takes none.
func busFor(bus string) string {
	if bus == "pci.0" {
		return ""
	}
	return `,"bus":"rp3"`
}

func TestQEMUAnswersEveryCallItself(t *testing.T) {
	onBothMachines(t, func(t *testing.T, qemu *qemu) {
		const callers, rounds = 16, 25
		guest := open(t, qemu.socket)
		path := image(t, "disk")
		slots, err := guest.Slots(within(t, patience))
		ok(t, err)
		var calls sync.WaitGroup
		for caller := range callers {
			calls.Add(1)
			go func() {
				defer calls.Done()
				for round := range rounds {
					name := fmt.Sprintf("%d-%d", caller, round)
					callAndCheck(t, guest, name, len(slots))
					refuseAndCheck(t, guest, path, name)
				}
			}()
		}
		calls.Wait()
	})
}

// refuseAndCheck has QEMU itself refuse something that is called by name.
func refuseAndCheck(t *testing.T, guest *kvmhotplug.Guest, path, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id := "disk-" + name
	_, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: id, Path: path, Model: "virtio-blk-pci-" + name, LiveOnly: true})
	var failed *kvmhotplug.Error
	if !errors.As(err, &failed) || !bytes.Contains([]byte(failed.Message), []byte(name)) {
		t.Errorf("%s: got %#v", id, err)
	}
}

func TestQEMUThatHangsOrDies(t *testing.T) {
	qemu := startQEMU(t, "pc")
	guest := open(t, qemu.socket)
	events := guest.Events()
	path := image(t, "disk")

	ok(t, qemu.process.Signal(syscall.SIGSTOP))
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	_, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "data", Path: path})
	failed := failure(t, err, kvmhotplug.ErrCanceled)
	if time.Since(start) > patience/4 || failed.Undo != kvmhotplug.UndoIncomplete {
		t.Errorf("after %v: %#v", time.Since(start), failed)
	}
	_, err = guest.AddDisk(within(t, 100*time.Millisecond), kvmhotplug.Disk{ID: "data", Path: path})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ok(t, qemu.process.Signal(syscall.SIGCONT))
	_, err = guest.Slots(within(t, patience))
	ok(t, err)

	ok(t, qemu.process.Kill())
	event(t, events, kvmhotplug.EventMonitorLost, "")
	waitUntil(t, func() bool {
		_, err := guest.Process(within(t, patience))
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

func TestQEMUGetsSCSIDisks(t *testing.T) {
	qemu := startQEMU(t, "pc")
	ctx := within(t, patience)
	guest := open(t, qemu.socket)
	// The first one brings its controller along.
	first, err := guest.AddDisk(ctx, kvmhotplug.Disk{Model: "scsi-hd", Path: image(t, "disk"), WWN: 0x5000c50015ea71ac})
	first = state(t, first, err, kvmhotplug.Done)
	if device := first.Device; device.AddressType != kvmhotplug.AddressSCSI || device.Target != 0 || device.WWN != 0x5000c50015ea71ac {
		t.Errorf("added %+v", device)
	}
	plan, err := guest.PlanController(ctx, kvmhotplug.Controller{ID: "second", Queues: 2})
	ok(t, err)
	controller, err := guest.AddController(ctx, kvmhotplug.Controller{ID: "second", Queues: 2})
	controller = state(t, controller, err, kvmhotplug.Done)
	if device := controller.Device; device.Type != kvmhotplug.TypeController || device.Queues != 2 || device.Slot != plan.Device.Slot {
		t.Errorf("added %+v, planned %+v", device, plan.Device)
	}
	pinned, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "data", Model: "scsi-hd", Path: image(t, "disk"), Bus: "second.0", SCSI: &kvmhotplug.SCSIAddress{Target: 7, LUN: 3}})
	if pinned = state(t, pinned, err, kvmhotplug.Done); pinned.Device.Target != 7 || pinned.Device.LUN != 3 || pinned.Device.Bus != "second.0" {
		t.Errorf("added %+v", pinned.Device)
	}
	slots, err := guest.Slots(ctx)
	ok(t, err)
	found := slices.ContainsFunc(slots, func(slot kvmhotplug.Slot) bool {
		return slot.AddressType == kvmhotplug.AddressSCSI && slot.Bus == "second.0" && slot.Target == 7 && slot.LUN == 3 && slot.Occupant == "data"
	})
	if !found {
		t.Errorf("data is not in %+v", slots)
	}
	_, err = guest.DelController(ctx, "second")
	failure(t, err, kvmhotplug.ErrConflict)
	_, err = guest.DelDisk(ctx, "second")
	failure(t, err, kvmhotplug.ErrInvalid)
	gone, err := guest.DelDisk(ctx, "data")
	state(t, gone, err, kvmhotplug.Done)
	left, err := guest.DelController(within(t, 300*time.Millisecond), "second")
	state(t, left, err, kvmhotplug.Pending)
}

func TestQEMUGetsAnotherMedium(t *testing.T) {
	qemu := startQEMU(t, "pc")
	ctx := within(t, patience)
	guest := open(t, qemu.socket)
	cd, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "cd", Model: "scsi-cd", ReadOnly: true})
	if cd = state(t, cd, err, kvmhotplug.Done); cd.Device.Path != "" {
		t.Errorf("an empty drive has %q", cd.Device.Path)
	}
	medium := image(t, "medium")
	cd, err = guest.ChangeMedia(ctx, "cd", kvmhotplug.Medium{Path: medium})
	if cd = state(t, cd, err, kvmhotplug.Done); cd.Device.Path != medium {
		t.Errorf("the drive has %q", cd.Device.Path)
	}
	cd, err = guest.ChangeMedia(ctx, "cd", kvmhotplug.Medium{Force: true})
	if cd = state(t, cd, err, kvmhotplug.Done); cd.Device.Path != "" {
		t.Errorf("the drive still has %q", cd.Device.Path)
	}
	data, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "data", Path: image(t, "disk")})
	state(t, data, err, kvmhotplug.Done)
	_, err = guest.ChangeMedia(ctx, "data", kvmhotplug.Medium{Path: medium})
	failure(t, err, kvmhotplug.ErrInvalid)
}

func newBridge(t *testing.T, letter string) string {
	t.Helper()
	name := fmt.Sprintf("khgo%s%d", letter, os.Getpid())
	if output, err := exec.Command("ip", "link", "add", name, "type", "bridge").CombinedOutput(); err != nil {
		t.Fatalf("ip link add: %v: %s", err, output)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	return name
}

func bridgeOf(t *testing.T, tap string) string {
	t.Helper()
	target, err := os.Readlink("/sys/class/net/" + tap + "/master")
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

func TestQEMUChangesDevicesInPlace(t *testing.T) {
	qemu := startQEMU(t, "pc")
	ctx := within(t, patience)
	guest := open(t, qemu.socket)
	events := guest.Events()
	here, there := newBridge(t, "a"), newBridge(t, "b")

	nic, err := guest.AddNIC(ctx, kvmhotplug.NIC{ID: "lan", Bridge: here, Vhost: kvmhotplug.VhostOff, LinkDown: true})
	if nic = state(t, nic, err, kvmhotplug.Done); !nic.Device.LinkDown {
		t.Errorf("added %+v", nic.Device)
	}
	changed, err := guest.SetLink(ctx, "lan", true)
	if changed = state(t, changed, err, kvmhotplug.Done); changed.Device.ID != "lan" || changed.Device.LinkDown {
		t.Errorf("the link: %+v", changed.Device)
	}
	changed, err = guest.SetBridge(ctx, "lan", there)
	if changed = state(t, changed, err, kvmhotplug.Done); changed.Device.Bridge != there || bridgeOf(t, nic.Device.Interface) != there {
		t.Errorf("moved to %q, the tap is on %q", changed.Device.Bridge, bridgeOf(t, nic.Device.Interface))
	}
	_, err = guest.SetBridge(ctx, "lan", "khgo-absent")
	failure(t, err, kvmhotplug.ErrNotFound)
	changed, err = guest.SetBridge(ctx, "lan", "")
	if state(t, changed, err, kvmhotplug.Done); bridgeOf(t, nic.Device.Interface) != "" {
		t.Errorf("the tap is still on %q", bridgeOf(t, nic.Device.Interface))
	}
	limits := kvmhotplug.NICLimits{Inbound: kvmhotplug.Bandwidth{Average: 1 << 20}}
	changed, err = guest.SetNICLimits(ctx, "lan", limits)
	state(t, changed, err, kvmhotplug.Done)
	if text, err := guest.Describe(ctx, "lan"); err != nil || !bytes.Contains(text, []byte(`"average":1048576`)) {
		t.Errorf("limited, and described as %s, %v", text, err)
	}
	limits.Outbound = kvmhotplug.Bandwidth{Average: 1 << 20, Burst: 1}
	_, err = guest.SetNICLimits(ctx, "lan", limits)
	failure(t, err, kvmhotplug.ErrInvalid)
	changed, err = guest.SetNICLimits(ctx, "lan", kvmhotplug.NICLimits{})
	state(t, changed, err, kvmhotplug.Done)
	_, err = guest.SetLink(ctx, "wan", true)
	failure(t, err, kvmhotplug.ErrNotFound)

	index := 3
	disk, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "data", Path: image(t, "disk"), BootIndex: &index, LogicalBlockSize: 4096, PhysicalBlockSize: 4096})
	disk = state(t, disk, err, kvmhotplug.Done)
	if device := disk.Device; device.BootIndex == nil || *device.BootIndex != 3 || device.LogicalBlockSize != 4096 || device.Format != kvmhotplug.FormatRaw {
		t.Errorf("added %+v", device)
	}
	if nic.Device.BootIndex != nil {
		t.Errorf("a NIC without a boot index has %d", *nic.Device.BootIndex)
	}
	size, err := guest.ResizeDisk(ctx, "data", kvmhotplug.Resize{Bytes: 2 << 20})
	if ok(t, err); size != 2<<20 {
		t.Errorf("resized to %d", size)
	}
	_, err = guest.ResizeDisk(ctx, "data", kvmhotplug.Resize{Bytes: 1 << 20})
	failure(t, err, kvmhotplug.ErrInvalid)
	size, err = guest.ResizeDisk(ctx, "data", kvmhotplug.Resize{Bytes: 1 << 20, Shrink: true})
	if ok(t, err); size != 1<<20 {
		t.Errorf("shrunk to %d", size)
	}
	if info, err := os.Stat(disk.Device.Path); err != nil || info.Size() != 1<<20 {
		t.Errorf("the image: %v, %v", info, err)
	}

	description, err := guest.Describe(ctx, "data")
	ok(t, err)
	var described struct {
		ID   string
		Size int64
	}
	ok(t, json.Unmarshal(description, &described))
	if described.ID != "data" || described.Size != 1<<20 {
		t.Errorf("described as %s", description)
	}
	all, err := guest.Describe(ctx, "")
	var list []any
	if ok(t, err); json.Unmarshal(all, &list) != nil || len(list) != 2 {
		t.Errorf("described as %s", all)
	}
	if none, err := guest.Describe(ctx, "wan"); none != nil || err != nil {
		t.Errorf("described as %s, %v", none, err)
	}

	qmpOfTheCaller(t, guest, events)
}

// The caller's own commands and events, over the connection of the guest.
func qmpOfTheCaller(t *testing.T, guest *kvmhotplug.Guest, events <-chan kvmhotplug.Event) {
	ctx := within(t, patience)
	reply, err := guest.QMP(ctx, kvmhotplug.Command{Execute: "query-status"})
	var status struct{ Status string }
	if ok(t, err); json.Unmarshal(reply, &status) != nil || status.Status != "running" {
		t.Errorf("query-status: %s", reply)
	}
	_, err = guest.QMP(ctx, kvmhotplug.Command{Execute: "device_del", Arguments: json.RawMessage(`{"id":"data"}`)})
	if failed := failure(t, err, kvmhotplug.ErrState); failed.Errno != syscall.EPERM {
		t.Errorf("got %#v", failed)
	}
	_, err = guest.QMP(ctx, kvmhotplug.Command{Execute: "no-such-command"})
	if failed := failure(t, err, kvmhotplug.ErrQMP); failed.QMPClass != "CommandNotFound" {
		t.Errorf("got %#v", failed)
	}
	file, err := os.Open("/dev/null")
	ok(t, err)
	defer file.Close()
	_, err = guest.QMP(ctx, kvmhotplug.Command{Execute: "getfd", Arguments: json.RawMessage(`{"fdname":"mine"}`), File: file})
	ok(t, err)
	_, err = guest.QMP(ctx, kvmhotplug.Command{Execute: "closefd", Arguments: json.RawMessage(`{"fdname":"mine"}`), Force: true})
	ok(t, err)

	ok(t, guest.ForwardQMPEvents(ctx, true))
	_, err = guest.QMP(ctx, kvmhotplug.Command{Execute: "stop"})
	ok(t, err)
	got := event(t, events, kvmhotplug.EventQMP, "")
	var sent struct{ Event string }
	if json.Unmarshal(got.QMP, &sent) != nil || sent.Event != "STOP" || got.Times == 0 {
		t.Errorf("got %+v", got)
	}
	ok(t, guest.ForwardQMPEvents(ctx, false))
	_, err = guest.QMP(ctx, kvmhotplug.Command{Execute: "system_reset"})
	ok(t, err)
	if got := event(t, events, kvmhotplug.EventReset, ""); got.ByGuest || got.QMP != nil {
		t.Errorf("got %+v", got)
	}
}

// A guest is started from its record, with what it had and what waited for that.
func TestQEMUBootsFromARecord(t *testing.T) {
	dir := t.TempDir()
	socket, path := filepath.Join(dir, "qmp"), image(t, "disk")
	record, err := kvmhotplug.New(kvmhotplug.Config{Command: []string{
		setting("KVM_HOTPLUG_TEST_QEMU", "qemu-system-x86_64"), "-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg", "-m", "32",
		"-qmp", "unix:" + socket + ",server=on,wait=off",
	}})
	ok(t, err)
	defer record.Close()
	ok(t, record.Save(filepath.Join(dir, "web1.runtime")))

	start := func() *exec.Cmd {
		boot, err := record.Boot(kvmhotplug.BootOptions{SparePorts: 2})
		ok(t, err)
		defer boot.Close()
		command := boot.Command()
		command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		ok(t, command.Start())
		return command
	}
	// A socket is there a moment before somebody listens on it.
	openStarted := func() (guest *kvmhotplug.Guest) {
		waitUntil(t, func() (opened bool) {
			var err error
			guest, err = kvmhotplug.Open(within(t, patience), record, socket)
			if err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatal(err)
			}
			return err == nil
		})
		return guest
	}
	end := func(command *exec.Cmd) {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = os.Remove(socket)
	}

	plan, err := record.PlanBoot(2)
	ok(t, err)
	if plan.Machine != kvmhotplug.MachineQ35 || plan.Devices != 0 || plan.Free < 2 || plan.NewPorts != 2 || plan.Ports != 2 {
		t.Errorf("planned %+v", plan)
	}
	running := start()
	defer func() { end(running) }()
	guest := openStarted()
	added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "data", Path: path, Serial: "S1"})
	added = state(t, added, err, kvmhotplug.Done)
	_, err = record.Boot(kvmhotplug.BootOptions{})
	if failed := failure(t, err, kvmhotplug.ErrState); failed.Errno != syscall.EBUSY {
		t.Errorf("while it runs: %#v", failed)
	}
	ok(t, guest.Close())
	end(running)

	running = start()
	guest = openStarted()
	defer guest.Close()
	found, err := guest.Device(within(t, patience), "data")
	if found = state(t, found, err, kvmhotplug.Done); found.Device.Bus != added.Device.Bus || found.Device.Slot != added.Device.Slot {
		t.Errorf("was at %+v, is at %+v", added.Device, found.Device)
	}
	differences, err := guest.Verify(within(t, patience))
	if ok(t, err); len(differences) != 0 {
		t.Errorf("differences: %+v", differences)
	}
	ok(t, os.Remove(path))
	problems, err := record.Check(within(t, patience), kvmhotplug.Check{Incoming: true})
	ok(t, err)
	kinds := map[kvmhotplug.ProblemKind]string{}
	for _, problem := range problems {
		kinds[problem.Kind] = problem.ID
	}
	if kinds[kvmhotplug.ProblemImage] != "data" {
		t.Errorf("problems: %+v", problems)
	}
	if _, pinned := kinds[kvmhotplug.ProblemMachineNotPinned]; !pinned {
		t.Errorf("problems: %+v", problems)
	}
	_, err = record.Check(within(t, patience), kvmhotplug.Check{Monitor: filepath.Join(dir, "absent")})
	failure(t, err, kvmhotplug.ErrNotFound)
	_, err = record.Boot(kvmhotplug.BootOptions{IncomingAddress: "nowhere"})
	if err == nil {
		t.Error("an address without a way in was taken")
	}
	_, err = record.Boot(kvmhotplug.BootOptions{QEMUMajor: -1})
	failure(t, err, kvmhotplug.ErrInvalid)
}
