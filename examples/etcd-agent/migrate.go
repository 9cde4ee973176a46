package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Ports at which targets wait, as libvirt has them.
const (
	firstPort = 49152
	lastPort  = 49215
)

// setMigration writes the next state of the migration, if nobody has written since.
func (w *worker) setMigration(s situation, next Migration) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	keys := w.agent.keys
	return w.swap(
		[]clientv3.Cmp{
			unchanged(keys.guest(w.name, migrationPart), s.Guest.MigrationRevision),
			unchanged(keys.guest(w.name, ownerPart), s.Guest.OwnerRevision),
		},
		clientv3.OpPut(keys.guest(w.name, migrationPart), string(text)),
	)
}

// offer asks the node that is to have the guest to get ready. From then on the devices stay as they are.
func (w *worker) offer(ctx context.Context, s situation) error {
	left, err := w.live.Settle(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("the guest has not let go of %s", left[0].ID)
	}
	return w.setMigration(s, Migration{From: s.Node, To: s.Guest.Spec.Node, Phase: phasePrepare})
}

// send writes down that it does so, and then sends the guest.
func (w *worker) send(ctx context.Context, s situation) error {
	next := *s.Guest.Migration
	next.Phase = phaseMoving
	if err := w.setMigration(s, next); err != nil {
		return err
	}
	arguments, err := json.Marshal(map[string]string{"uri": next.URI})
	if err != nil {
		return err
	}
	return w.tell(ctx, "migrate", string(arguments))
}

// handOver makes the target the owner. Until then its QEMU has the guest, and does not run it.
func (w *worker) handOver(s situation) error {
	keys, migration := w.agent.keys, *s.Guest.Migration
	made, err := json.Marshal(Owner{Node: migration.To})
	if err != nil {
		return err
	}
	return w.swap(
		[]clientv3.Cmp{
			unchanged(keys.guest(w.name, ownerPart), s.Guest.OwnerRevision),
			unchanged(keys.guest(w.name, migrationPart), s.Guest.MigrationRevision),
			unchanged(keys.lease(migration.To), s.View.node(migration.To).Revision),
		},
		clientv3.OpPut(keys.guest(w.name, ownerPart), string(made)),
		clientv3.OpDelete(keys.guest(w.name, migrationPart)),
	)
}

// abort takes the migration back. The guest goes on here, and it is tried again after a pause.
func (w *worker) abort(s situation) error {
	why := s.Guest.Migration.Error
	if why == "" {
		why = fmt.Sprintf("the migration to %s has not come to its end (QEMU says: %s)", s.Guest.Migration.To, s.Here.Migrate)
	}
	keys := w.agent.keys
	err := w.swap(
		[]clientv3.Cmp{
			unchanged(keys.guest(w.name, ownerPart), s.Guest.OwnerRevision),
			unchanged(keys.guest(w.name, migrationPart), s.Guest.MigrationRevision),
		},
		clientv3.OpDelete(keys.guest(w.name, migrationPart)),
	)
	if err == nil {
		w.failed(actOffer, errors.New(why))
	}
	return err
}

// prepare starts a QEMU that waits for the guest, from the source's record, and says where.
func (w *worker) prepare(ctx context.Context, s situation) error {
	uri, err := w.makeTarget(ctx, s)
	if err != nil {
		return w.decline(s, err)
	}
	next := *s.Guest.Migration
	next.Phase, next.URI = phaseReady, uri
	return w.setMigration(s, next)
}

// acknowledge says that all of the guest is here. Only then is it handed over: the source is done some time
// earlier.
func (w *worker) acknowledge(s situation) error {
	next := *s.Guest.Migration
	next.Phase = phaseArrived
	return w.setMigration(s, next)
}

// decline says why this node cannot have the guest; the source takes the migration back.
func (w *worker) decline(s situation, why error) error {
	next := *s.Guest.Migration
	next.Phase, next.Error = phaseFailed, fmt.Sprintf("node %s: %v", s.Node, why)
	return w.setMigration(s, next)
}

func (w *worker) makeTarget(ctx context.Context, s situation) (string, error) {
	own := w.agent.recordFile(s.Node, w.name)
	if err := kvmhotplug.Delete(own); err != nil {
		return "", err
	}
	// The source has it open, and has settled everything.
	theirs, err := kvmhotplug.Read(w.agent.recordFile(s.Guest.Migration.From, w.name))
	if err != nil {
		return "", err
	}
	defer theirs.Close()
	if err := saveCopy(theirs, own); err != nil {
		return "", err
	}
	record, err := kvmhotplug.Load(own)
	if err != nil {
		return "", err
	}
	defer record.Close()
	if err := w.checkHost(ctx, record); err != nil {
		return "", err
	}
	// Paused: it does not run when it is complete, but when this node is its owner.
	options := kvmhotplug.BootOptions{Incoming: kvmhotplug.IncomingDefer, Paused: true}
	if err := w.launch(ctx, record, options); err != nil {
		return "", err
	}
	record.Close()
	if err := w.open(ctx, kvmhotplug.OpenOptions{Starting: true}); err != nil {
		return "", err
	}
	differences, err := w.live.Verify(ctx)
	if err != nil {
		return "", err
	}
	if len(differences) > 0 {
		return "", fmt.Errorf("it would not be the same guest: %s", differences[0].Text)
	}
	return w.listen(ctx)
}

// checkHost says what keeps this node from being the target. A machine type without a version is fine among
// equal QEMUs.
func (w *worker) checkHost(ctx context.Context, record *kvmhotplug.Runtime) error {
	problems, err := record.Check(ctx, kvmhotplug.Check{Incoming: true})
	if err != nil {
		return err
	}
	for _, problem := range problems {
		if problem.Kind != kvmhotplug.ProblemMachineNotPinned {
			return errors.New(problem.Text)
		}
	}
	return nil
}

// listen has QEMU wait at a port that is free, and answers its address.
func (w *worker) listen(ctx context.Context) (string, error) {
	var failed error
	for port := firstPort; port <= lastPort; port++ {
		uri := "tcp:" + net.JoinHostPort(w.agent.info.Address, strconv.Itoa(port))
		arguments, err := json.Marshal(map[string]string{"uri": uri})
		if err != nil {
			return "", err
		}
		if failed = w.tell(ctx, "migrate-incoming", string(arguments)); failed == nil {
			return uri, nil
		}
		if !errors.Is(failed, kvmhotplug.ErrQMP) {
			break
		}
	}
	return "", failed
}
