package main

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"
)

// Its first step may come before anybody has given it a newer view: a guest that this node owns goes on.
func TestAWorkerBeginsWithTheKeysThatItWasMadeFor(t *testing.T) {
	dir := t.TempDir()
	lock, err := takeLock(lockFile(dir, "web1"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a := &agent{logger: slog.Default(), dir: dir, records: dir, node: "n1"}
	held := &session{ctx: ctx, deadline: bootTime() + time.Minute}
	permits := newPermits(dir, held.until())
	guest := guestView{Name: "web1", Owner: Owner{Node: "n1"}, OwnerRevision: 3, Spec: &Spec{Node: "n1"}}
	now := view{Revision: 7, Guests: map[string]guestView{"web1": guest}}
	if err := os.MkdirAll(a.recordDir("n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	made := newWorker(a, held, permits, "web1", now)
	s := situation{Node: "n1", View: made.seen(), Guest: made.seen().guest("web1"), Here: made.look(ctx, guest), Now: bootTime()}
	if chosen := decide(s); !s.Here.Runs || chosen != actOpen {
		t.Errorf("a guest that runs here and is owned: %s", chosen)
	}
}
