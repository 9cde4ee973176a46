package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// Several devices as one operation, and several removals with an answer each.
func TestManyAtOnce(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "web1")
	first, second := newImage(t, dir, "a.img"), newImage(t, dir, "b.img")
	startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	agent := startAgent(t, dir)
	const devices = "/guests/web1/devices"

	added := want[[]kvmhotplug.Device](t, agent, http.StatusCreated, "POST", devices,
		`{"nics":[{"id":"lan","vhost":"off"}],"disks":[{"id":"a","path":"`+first+`"},{"id":"b","path":"`+second+`"}]}`)
	if len(added) != 3 || added[0].ID != "lan" || added[2].ID != "b" || added[2].State != kvmhotplug.DeviceLive {
		t.Errorf("added %+v", added)
	}
	// All or nothing.
	refused := want[failure](t, agent, http.StatusNotFound, "POST", devices, `{"nics":[{"id":"wan","vhost":"off"}],"disks":[{"path":"/absent"}]}`)
	if !strings.Contains(refused.Error.Message, "/absent") {
		t.Errorf("refused %+v", refused)
	}
	want[kvmhotplug.Result](t, agent, http.StatusNotFound, "GET", devices+"/wan", "")
	want[[]kvmhotplug.Device](t, agent, http.StatusAccepted, "POST", devices, `{"nics":[{"id":"old","model":"ne2k_pci"}]}`)
	want[failure](t, agent, http.StatusBadRequest, "POST", devices+"?plan", `{}`)

	want[failure](t, agent, http.StatusBadRequest, "DELETE", devices, "")
	want[[]kvmhotplug.Result](t, agent, http.StatusOK, "DELETE", devices+"?id=old&id=nobody", "")
	left := want[[]struct {
		ID     string
		State  kvmhotplug.State
		Device kvmhotplug.Device
		Errno  syscall.Errno
	}](t, agent, http.StatusMultiStatus, "DELETE", devices+"?id=a&id=b&id=a&no_wait", "")
	if len(left) != 3 || left[0].State != kvmhotplug.Pending || left[1].Device.ID != "b" || left[2].ID != "a" || left[2].Errno != syscall.EINVAL {
		t.Errorf("left %+v", left)
	}
	agent.end(t)
}

// A guest that is off gets devices, is checked, started and opened, and outlives the agent.
func TestRecordOfAGuestThatIsOff(t *testing.T) {
	dir := directory(t)
	path := newImage(t, dir, "data.img")
	agent := startAgent(t, dir)
	const guest = "/guests/db1"
	program := setting("KVM_HOTPLUG_TEST_QEMU", "qemu-system-x86_64")
	want[status](t, agent, http.StatusCreated, "PUT", guest, fmt.Sprintf(
		`{"command":["%s","-nodefaults","-display","none","-machine","pc","-accel","tcg","-m","32","-qmp","unix:%s,server=on,wait=off"]}`,
		program, filepath.Join(dir, "db1.qmp")))

	want[kvmhotplug.Device](t, agent, http.StatusCreated, "POST", guest+"/record/nics", `{"id":"lan","vhost":"off"}`)
	disk := want[kvmhotplug.Device](t, agent, http.StatusCreated, "POST", guest+"/record/disks", `{"id":"data","path":"`+path+`"}`)
	if disk.State != kvmhotplug.DeviceAfterReboot || disk.Bus != "pci.0" {
		t.Errorf("recorded %+v", disk)
	}
	want[failure](t, agent, http.StatusNotFound, "POST", guest+"/record/disks", `{"path":"/absent"}`)
	want[kvmhotplug.Device](t, agent, http.StatusCreated, "POST", guest+"/record/nics", `{"id":"extra","vhost":"off"}`)
	want[map[string]any](t, agent, http.StatusOK, "DELETE", guest+"/record/extra", "")
	if plan := want[kvmhotplug.BootPlan](t, agent, http.StatusOK, "GET", guest+"/boot", ""); plan.Devices != 2 {
		t.Errorf("planned %+v", plan)
	}
	if problems := want[[]kvmhotplug.Problem](t, agent, http.StatusOK, "GET", guest+"/check", ""); len(problems) != 0 {
		t.Errorf("in the way: %+v", problems)
	}
	ok(t, os.Rename(path, path+".away"))
	if problems := want[[]kvmhotplug.Problem](t, agent, http.StatusOK, "GET", guest+"/check", ""); len(problems) != 1 || problems[0].ID != "data" {
		t.Errorf("in the way: %+v", problems)
	}
	ok(t, os.Rename(path+".away", path))

	copied := filepath.Join(dir, "copy.json")
	want[map[string]any](t, agent, http.StatusCreated, "POST", guest+"/convert", `{"format":"native","path":"`+copied+`"}`)
	want[failure](t, agent, http.StatusConflict, "POST", guest+"/convert", `{"format":"native","path":"`+copied+`"}`)
	want[failure](t, agent, http.StatusBadRequest, "POST", guest+"/convert", `{"format":"native","path":"copy.json"}`)
	want[failure](t, agent, http.StatusBadRequest, "POST", guest+"/convert", `{"path":"/tmp/x"}`)

	started := want[struct{ PID int }](t, agent, http.StatusCreated, "POST", guest+"/start", `{"paused":true}`)
	t.Cleanup(func() { _ = syscall.Kill(started.PID, syscall.SIGKILL) })
	devices := want[[]kvmhotplug.Device](t, agent, http.StatusOK, "GET", guest+"/devices", "")
	if len(devices) != 2 || devices[0].State != kvmhotplug.DeviceLive {
		t.Errorf("started with %+v", devices)
	}
	want[[]kvmhotplug.Difference](t, agent, http.StatusOK, "GET", guest+"/differences", "")
	busy := want[failure](t, agent, http.StatusConflict, "POST", guest+"/record/nics", `{"id":"late"}`)
	if busy.Error.Errno != syscall.EBUSY {
		t.Errorf("changing the record of a running guest: %+v", busy)
	}
	agent.end(t)
	if err := syscall.Kill(started.PID, 0); err != nil {
		t.Errorf("QEMU has gone with the agent: %v", err)
	}
}
