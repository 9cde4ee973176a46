package kvmhotplug_test

import (
	"net"
	"os"
	"syscall"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// connected is a connection to the monitor, as a file of its own.
func connected(t *testing.T, socket string) *os.File {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	ok(t, err)
	defer conn.Close()
	file, err := conn.(*net.UnixConn).File()
	ok(t, err)
	t.Cleanup(func() { file.Close() })
	return file
}

func TestConnectionsOfTheCaller(t *testing.T) {
	fake, ctx := startFake(t), within(t, patience)
	first, second := connected(t, fake.socket), connected(t, fake.socket)
	guest, err := kvmhotplug.OpenConnection(ctx, record(t), first, kvmhotplug.OpenOptions{})
	ok(t, err)
	defer guest.Close()
	first.Close()
	_, err = guest.AddDisk(ctx, kvmhotplug.Disk{ID: "data", Path: image(t, "disk")})
	ok(t, err)
	_, err = guest.LendMonitor(ctx)
	failure(t, err, kvmhotplug.ErrNotHotpluggable)

	fake.hangUp()
	_, err = guest.Describe(ctx, "")
	if lost := failure(t, err, kvmhotplug.ErrMonitorLost); lost.Errno != syscall.ENOTCONN {
		t.Errorf("%v", lost)
	}
	ok(t, guest.GiveConnection(ctx, second))
	_, err = guest.Describe(ctx, "")
	ok(t, err)

	null, err := os.Open(os.DevNull)
	ok(t, err)
	defer null.Close()
	failure(t, guest.GiveConnection(ctx, null), kvmhotplug.ErrInvalid)
	_, err = kvmhotplug.OpenConnection(ctx, record(t), null, kvmhotplug.OpenOptions{})
	failure(t, err, kvmhotplug.ErrInvalid)
	null.Close()
	_, err = kvmhotplug.OpenConnection(ctx, record(t), null, kvmhotplug.OpenOptions{})
	failure(t, err, kvmhotplug.ErrInvalid)
}
