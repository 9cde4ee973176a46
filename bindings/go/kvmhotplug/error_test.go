package kvmhotplug_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

func TestErrorsAnswerToKindErrnoAndTheStandardOnes(t *testing.T) {
	_, err := kvmhotplug.Load(filepath.Join(t.TempDir(), "absent"))
	failed := failure(t, err, kvmhotplug.ErrNotFound)
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno != syscall.ENOENT || failed.Errno != syscall.ENOENT {
		t.Errorf("errno %d, want ENOENT", errno)
	}
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, kvmhotplug.ErrInvalid) {
		t.Errorf("%v does not answer as a file that is not there", err)
	}
	if !strings.Contains(err.Error(), "absent") {
		t.Errorf("%q does not name the file", err)
	}

	path := filepath.Join(t.TempDir(), "torn")
	ok(t, os.WriteFile(path, []byte(`{"version":`), 0o600))
	_, err = kvmhotplug.Load(path)
	if failed := failure(t, err, kvmhotplug.ErrFormat); failed.Errno != syscall.EBADMSG {
		t.Errorf("errno %d, want EBADMSG", failed.Errno)
	}
}

func TestErrorsOfContexts(t *testing.T) {
	timeout := error(&kvmhotplug.Error{Kind: kvmhotplug.ErrTimeout, Errno: syscall.ETIMEDOUT})
	if !errors.Is(timeout, context.DeadlineExceeded) || errors.Is(timeout, context.Canceled) || !os.IsTimeout(timeout) {
		t.Error("a timeout does not answer as one")
	}
	canceled := error(&kvmhotplug.Error{Kind: kvmhotplug.ErrCanceled, Errno: syscall.ECANCELED})
	if !errors.Is(canceled, context.Canceled) || errors.Is(canceled, context.DeadlineExceeded) || os.IsTimeout(canceled) {
		t.Error("a cancelled call does not answer as one")
	}
	guest := open(t, startFake(t).socket)
	because := errors.New("the operator changed his mind")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(because)
	_, err := guest.Devices(ctx)
	failure(t, err, kvmhotplug.ErrCanceled)
	if !errors.Is(err, because) {
		t.Errorf("%v does not tell why the context was cancelled", err)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	err := &kvmhotplug.Error{
		Kind: kvmhotplug.ErrQMP, Errno: syscall.EREMOTEIO, Message: "device_add nic: no", Step: "device_add nic",
		QMPClass: "GenericError", QMPDesc: "no", Undo: kvmhotplug.UndoIncomplete, Residue: []string{"netdev nic"},
	}
	text, marshalErr := json.Marshal(err)
	ok(t, marshalErr)
	want := `{"kind":"qmp","errno":121,"message":"device_add nic: no","step":"device_add nic","qmp_class":"GenericError",` +
		`"qmp_desc":"no","undo":"incomplete","residue":["netdev nic"]}`
	if string(text) != want {
		t.Errorf("got %s", text)
	}
	var back kvmhotplug.Error
	ok(t, json.Unmarshal(text, &back))
	if back.Kind != err.Kind || back.Undo != err.Undo || back.Errno != err.Errno {
		t.Errorf("came back as %#v", back)
	}
	if kvmhotplug.Kind(9999).String() != "unknown-9999" {
		t.Errorf("a kind of a newer library is called %v", kvmhotplug.Kind(9999))
	}
}

func TestNamesAreRead(t *testing.T) {
	var disk kvmhotplug.Disk
	ok(t, json.Unmarshal([]byte(`{"path":"/a","format":"qcow2","cache":"none","aio":"io_uring","boot_index":0}`), &disk))
	if disk.Format != kvmhotplug.FormatQcow2 || disk.Cache != kvmhotplug.CacheNone || disk.AIO != kvmhotplug.AIOIOUring ||
		disk.BootIndex == nil || *disk.BootIndex != 0 {
		t.Errorf("read as %+v", disk)
	}
	err := json.Unmarshal([]byte(`{"path":"/a","format":"vmdk"}`), &disk)
	if failed := failure(t, err, kvmhotplug.ErrInvalid); !strings.Contains(failed.Message, "one of probe, qcow2, raw") {
		t.Errorf("%q does not say what there is", failed)
	}
}

func TestStringsThatCWouldCut(t *testing.T) {
	guest := open(t, startFake(t).socket)
	ctx := within(t, patience)
	_, err := kvmhotplug.Load("/run/web1\x00.runtime")
	failure(t, err, kvmhotplug.ErrInvalid)
	_, err = kvmhotplug.New(kvmhotplug.Config{Command: []string{"qemu", "-name\x00"}})
	failure(t, err, kvmhotplug.ErrInvalid)
	_, err = guest.AddDisk(ctx, kvmhotplug.Disk{Path: "/etc/passwd\x00.img"})
	failure(t, err, kvmhotplug.ErrInvalid)
	_, err = guest.AddNIC(ctx, kvmhotplug.NIC{Bridge: "br0\x00"})
	failure(t, err, kvmhotplug.ErrInvalid)
	_, err = guest.DelNIC(ctx, "a\x00b")
	failure(t, err, kvmhotplug.ErrInvalid)
	_, err = guest.AddDisk(ctx, kvmhotplug.Disk{Path: "/a", Queues: -1})
	failure(t, err, kvmhotplug.ErrInvalid)
	minus := -1
	_, err = guest.AddNIC(ctx, kvmhotplug.NIC{BootIndex: &minus})
	failure(t, err, kvmhotplug.ErrInvalid)
}
