// Package kvmhotplug plugs NICs, disks and SCSI controllers into running QEMU/KVM guests, takes them out again, and keeps the
// record from which an identical guest is started: libkvm_hotplug for Go.
//
//	record, err := kvmhotplug.Load("/run/agent/web1.runtime")
//	if err != nil {
//		return err
//	}
//	defer record.Close()
//	guest, err := kvmhotplug.Open(ctx, record, "/run/agent/web1.qmp")
//	if err != nil {
//		return err
//	}
//	defer guest.Close()
//
//	added, err := guest.AddNIC(ctx, kvmhotplug.NIC{Bridge: "br0", Queues: 2})
//	if errors.Is(err, kvmhotplug.ErrNoSlot) {
//		return fmt.Errorf("the guest is full: %w", err)
//	}
//	if err != nil {
//		return err
//	}
//	// Done: in the guest now. AfterReboot: recorded only, added.ReasonText says why.
//
//	gone, err := guest.DelDisk(ctx, "disk-pci-6")
//	if err != nil {
//		return err
//	}
//	// Done: its storage may be torn down. Pending: asked, not granted yet; guest.Events() will tell.
//
// # Building
//
// The package finds the installed library with pkg-config (kvm_hotplug.pc, which `make install` puts beside it). Without
// pkg-config, the build tag kvmhotplug_source takes the header from the source tree that the package lies in, and the
// library from its target/release; CGO_CFLAGS and CGO_LDFLAGS go before both, for a library elsewhere:
//
//	CGO_CFLAGS=-I/opt/kvm/include CGO_LDFLAGS=-L/opt/kvm/lib go build -tags kvmhotplug_source
//
// With only the header there, go vet and go build of packages work; linking a program needs the library.
//
// # Deadlines and cancelling
//
// Every call that may block takes a context. Its deadline is the call's and covers all of it: waiting for another call
// on the guest, commands, and the guest's consent. Without a deadline it is [DefaultTimeout], or
// [DefaultRemovalTimeout] for removals; a context without one never means to wait for ever.
//
// A call that was not begun when the context ended does nothing and says so. In one that was:
//
//   - A deadline ends an addition with an error of kind [ErrTimeout], and a removal with the answer [Pending], which is
//     no error: the guest was asked, and may still let go.
//   - Cancelling ends the call as soon as it can, with an error of kind [ErrCanceled]. It ends that call only, never the
//     next one on the guest. What an addition had done is taken back, or, if QEMU does not answer, named in
//     [Error].Residue and written to the journal; the next call on the guest settles it. [Error].Undo says which of these
//     it is. A removal that was cancelled is or may be pending, as [Error].Residue says; after [Guest.Process] it is
//     known, and [Guest.Device] says so.
//
// # Errors
//
// Every error of this package is an [*Error]. Ask for its kind with errors.Is(err, kvmhotplug.ErrNoSlot), for the errno
// with errors.Is(err, syscall.ENOSPC); errors.Is also knows context.Canceled, context.DeadlineExceeded, os.ErrNotExist,
// os.ErrExist, os.ErrPermission, os.ErrClosed and errors.ErrUnsupported, through the errno.
//
// # Goroutines
//
// Any goroutine may call anything at any time, Close included. Calls on different guests are independent. On one guest several
// calls may be under way at once: a removal that waits for the guest holds up nobody; what asks QEMU and waits for the answer, as
// an add does, is done one after the other, in the order in which the calls came. A second removal of a device joins the
// first, and an add of a device that is being removed fails. A context that is cancelled ends its own call and no other, also
// while that waits for others. Each call that is under way has a thread.
//
// A log handler is called by the goroutine of a call, and for an add that is not waited for by that of any call. Nothing has a
// finalizer: call Close. C keeps no Go pointers.
package kvmhotplug
