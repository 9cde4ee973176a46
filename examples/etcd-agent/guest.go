package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// A guard that ends its guest does so within guardLook, and the kernel then takes some time.
	stopLimit = 10 * time.Second
	quitLimit = 2 * time.Second
)

// claim makes this node the owner, if everything is still as it was when it was decided. Of several nodes one
// wins.
func (w *worker) claim(s situation) error {
	keys, guest := w.agent.keys, s.Guest
	made, err := json.Marshal(Owner{Node: s.Node, From: guest.Owner.Node})
	if err != nil {
		return err
	}
	conditions := []clientv3.Cmp{
		unchanged(keys.guest(w.name, ownerPart), guest.OwnerRevision),
		unchanged(keys.guest(w.name, migrationPart), guest.MigrationRevision),
	}
	if old := guest.Owner.Node; old != "" {
		// It has not been back meanwhile, not even for a time that this node has not heard of.
		conditions = append(conditions, unchanged(keys.lease(old), 0), unchanged(keys.epoch(old), s.View.node(old).Epoch))
	}
	operations := []clientv3.Op{clientv3.OpPut(keys.guest(w.name, ownerPart), string(made))}
	if guest.Migration != nil {
		operations = append(operations, clientv3.OpDelete(keys.guest(w.name, migrationPart)))
	}
	return w.swap(conditions, operations...)
}

// forget ends a guest that is not wanted any more, and then its keys.
func (w *worker) forget(ctx context.Context, s situation) error {
	if err := w.stop(ctx); err != nil {
		return err
	}
	for _, node := range []string{s.Node, s.Guest.Owner.From} {
		if node == "" {
			continue
		}
		if err := kvmhotplug.Delete(w.agent.recordFile(node, w.name)); err != nil {
			return err
		}
	}
	keys := w.agent.keys
	return w.swap(
		[]clientv3.Cmp{
			unchanged(keys.guest(w.name, ownerPart), s.Guest.OwnerRevision),
			unchanged(keys.guest(w.name, specPart), 0),
		},
		clientv3.OpDelete(keys.guest(w.name, ""), clientv3.WithPrefix()),
	)
}

// start boots the guest from its record.
func (w *worker) start(ctx context.Context, guest guestView) error {
	if err := w.fetchRecord(guest); err != nil {
		return err
	}
	record, err := kvmhotplug.Load(w.agent.recordFile(w.agent.node, w.name))
	if err != nil {
		return err
	}
	defer record.Close()
	if err := record.SetLogger(w.logger, w.agent.level); err != nil {
		return err
	}
	// The guest is off: its guard's lock is free here, and a node that it was taken from has ended it.
	settled, err := record.Settle()
	if err != nil {
		return err
	}
	w.logger.Info("starts", "settled", settled)
	if err := w.launch(ctx, record, kvmhotplug.BootOptions{SparePorts: guest.Spec.SparePorts}); err != nil {
		return err
	}
	record.Close()
	return w.open(ctx, kvmhotplug.OpenOptions{Starting: true})
}

// fetchRecord sees that this node's directory has the guest's record: that of the dead node, or a new one.
func (w *worker) fetchRecord(guest guestView) error {
	own := w.agent.recordFile(w.agent.node, w.name)
	theirs := ""
	if guest.Owner.From != "" {
		theirs = w.agent.recordFile(guest.Owner.From, w.name)
	}
	if !exists(own) && theirs != "" && exists(theirs) {
		if err := w.take(theirs, own); err != nil {
			return fmt.Errorf("the record of node %s: %w", guest.Owner.From, err)
		}
	}
	if !exists(own) {
		if err := w.newRecord(own, *guest.Spec); err != nil {
			return err
		}
	}
	if theirs == "" {
		return nil
	}
	return kvmhotplug.Delete(theirs)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// take settles what a dead agent left in the journal of its record, and copies it.
func (w *worker) take(theirs, own string) error {
	record, err := kvmhotplug.Load(theirs)
	if err != nil {
		return err
	}
	defer record.Close()
	settled, err := record.Settle()
	if err != nil {
		return err
	}
	w.logger.Info("takes the record", "from", theirs, "settled", settled)
	return saveCopy(record, own)
}

func saveCopy(record *kvmhotplug.Runtime, path string) error {
	made, err := record.Copy()
	if err != nil {
		return err
	}
	defer made.Close()
	return made.Save(path)
}

func (w *worker) newRecord(path string, spec Spec) error {
	record, err := kvmhotplug.New(kvmhotplug.Config{Name: w.name, Command: command(w.name, w.agent.monitor(w.name), spec)})
	if err != nil {
		return err
	}
	defer record.Close()
	return record.Save(path)
}

// command is QEMU's without NICs and disks. It is the same on every node.
func command(name, monitor string, spec Spec) []string {
	return append([]string{
		"qemu-system-x86_64", "-name", name, "-machine", spec.Machine, "-m", strconv.Itoa(spec.Memory),
		"-nodefaults", "-display", "none",
		"-qmp", "unix:" + monitor + ",server=on,wait=off",
	}, spec.Options...)
}

// launch starts QEMU under a guard. The guest has leave to run before the guard looks.
func (w *worker) launch(ctx context.Context, record *kvmhotplug.Runtime, options kvmhotplug.BootOptions) error {
	said, err := os.OpenFile(filepath.Join(w.agent.dir, w.name+".log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer said.Close()
	boot, err := record.Boot(options)
	if err != nil {
		return err
	}
	defer boot.Close()
	if err := w.permits.grant(w.name); err != nil {
		return err
	}
	guard := guardCommand(w.agent.dir, w.name, boot.Args, boot.Files)
	guard.Stdout, guard.Stderr = said, said
	if err := guard.Start(); err != nil {
		return err
	}
	return w.awaitGuard(ctx, guard)
}

// awaitGuard returns when the guard has its lock, or why it has ended instead.
func (w *worker) awaitGuard(ctx context.Context, guard *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() { ended <- guard.Wait() }()
	for {
		if w.runs() {
			return nil
		}
		select {
		case err := <-ended:
			text, _ := os.ReadFile(filepath.Join(w.agent.dir, w.name+".log"))
			return fmt.Errorf("QEMU has ended: %v; it said: %s", err, text)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(guardLook / 4):
		}
	}
}

// open connects to the guest's monitor. The library finishes or undoes what a dead agent left in the journal.
func (w *worker) open(ctx context.Context, how kvmhotplug.OpenOptions) error {
	w.close()
	record, err := kvmhotplug.Load(w.agent.recordFile(w.agent.node, w.name))
	if err != nil {
		return err
	}
	if err = record.SetLogger(w.logger, w.agent.level); err == nil {
		w.live, err = kvmhotplug.OpenWith(ctx, record, w.agent.monitor(w.name), how)
	}
	if err != nil {
		record.Close()
		return err
	}
	w.record = record
	return nil
}

// resume lets a guest run that has arrived by a migration, or that comes back from one that failed.
func (w *worker) resume(ctx context.Context) error {
	if err := w.tell(ctx, "cont", ""); err != nil {
		return err
	}
	// The library looks at the guest anew: until now it was on its way.
	return w.open(ctx, kvmhotplug.OpenOptions{})
}

// stop ends the guest's QEMU, and returns when it and its guard are gone.
func (w *worker) stop(ctx context.Context) error {
	if w.live != nil {
		// Sooner than by the guard, and with its images closed. Without an answer the guard does it.
		limited, cancel := context.WithTimeout(ctx, quitLimit)
		_ = w.tell(limited, "quit", "")
		cancel()
	}
	w.close()
	if err := w.permits.withdraw(w.name); err != nil {
		return err
	}
	for end := bootTime() + stopLimit; w.runs(); {
		if bootTime() > end {
			return errors.New("its guard does not end")
		}
		if !sleep(ctx, guardLook/4) {
			return ctx.Err()
		}
	}
	return nil
}
