//go:build etcd

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// These tests need an etcd, whose address is in ETCD_ENDPOINTS; tests/run cluster etcd has one.

func newClient(t *testing.T) (*clientv3.Client, schema) {
	t.Helper()
	endpoints := os.Getenv("ETCD_ENDPOINTS")
	if endpoints == "" {
		t.Fatal("ETCD_ENDPOINTS names no etcd")
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(endpoints, ","), DialTimeout: 5 * time.Second})
	ok(t, err)
	t.Cleanup(func() { client.Close() })
	keys := schema{"/test/" + t.Name()}
	t.Cleanup(func() { _, _ = client.Delete(context.Background(), keys.prefix, clientv3.WithPrefix()) })
	return client, keys
}

var testTimes = timing{ttl: 2 * time.Second, grace: time.Second, margin: time.Second}

func join(t *testing.T, client *clientv3.Client, keys schema, node string) *session {
	t.Helper()
	made, err := register(context.Background(), client, keys, node, NodeInfo{}, testTimes)
	ok(t, err)
	t.Cleanup(made.end)
	return made
}

// leave ends the lease of a node at once, as only a test may.
func leave(t *testing.T, client *clientv3.Client, held *session) {
	t.Helper()
	_, err := client.Revoke(context.Background(), held.id)
	ok(t, err)
}

func look(t *testing.T, client *clientv3.Client, keys schema) view {
	t.Helper()
	all, _, err := load(context.Background(), client, keys)
	ok(t, err)
	return all.view()
}

func put(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	_, err := client.Put(context.Background(), key, value)
	ok(t, err)
}

func claimant(t *testing.T, held *session) *worker {
	a := &agent{client: held.client, keys: held.keys, node: held.node, times: testTimes, dir: t.TempDir(), logger: slog.Default()}
	return newWorker(a, held, newPermits(a.dir, held.until()), "web1", view{})
}

func as(node string, now view) situation {
	return situation{Node: node, View: now, Guest: now.guest("web1"), Now: bootTime(), Wait: testTimes.wait()}
}

func TestOfTwoClaimsOneWins(t *testing.T) {
	client, keys := newClient(t)
	put(t, client, keys.guest("web1", specPart), `{"node":"n1","machine":"pc","memory":64}`)
	n1, n2 := join(t, client, keys, "n1"), join(t, client, keys, "n2")
	// Both have seen that nobody has it.
	now := look(t, client, keys)
	ok(t, claimant(t, n1).claim(as("n1", now)))
	if err := claimant(t, n2).claim(as("n2", now)); !errors.Is(err, errLost) {
		t.Errorf("the second claim: %v", err)
	}
	if owner := look(t, client, keys).guest("web1").Owner; owner.Node != "n1" {
		t.Errorf("the owner is %+v", owner)
	}
}

func TestANodeThatIsBackKeepsItsGuests(t *testing.T) {
	client, keys := newClient(t)
	n1, n2 := join(t, client, keys, "n1"), join(t, client, keys, "n2")
	put(t, client, keys.guest("web1", ownerPart), `{"node":"n1"}`)
	leave(t, client, n1)
	gone := look(t, client, keys)
	back := join(t, client, keys, "n1")
	if err := claimant(t, n2).claim(as("n2", gone)); !errors.Is(err, errLost) {
		t.Errorf("a claim of a guest whose node is back: %v", err)
	}
	// It was back for a time that the other node has not heard of: its guests have run until later than that
	// node thinks.
	leave(t, client, back)
	if err := claimant(t, n2).claim(as("n2", gone)); !errors.Is(err, errLost) {
		t.Errorf("a claim by what was known of an earlier lease: %v", err)
	}
	ok(t, claimant(t, n2).claim(as("n2", look(t, client, keys))))
	if owner := look(t, client, keys).guest("web1").Owner; owner != (Owner{"n2", "n1"}) {
		t.Errorf("the owner is %+v", owner)
	}
}

func TestWhoHasNoLeaseWritesNothing(t *testing.T) {
	client, keys := newClient(t)
	put(t, client, keys.guest("web1", specPart), `{"node":"n1","machine":"pc","memory":64}`)
	n1 := join(t, client, keys, "n1")
	now := look(t, client, keys)
	leave(t, client, n1)
	if err := claimant(t, n1).claim(as("n1", now)); !errors.Is(err, errLost) {
		t.Errorf("a claim without a lease: %v", err)
	}
	// Neither does the agent before, when the next one has the lease.
	join(t, client, keys, "n1")
	if err := claimant(t, n1).claim(as("n1", now)); !errors.Is(err, errLost) {
		t.Errorf("a claim with an earlier lease: %v", err)
	}
}

func TestAHandOverNeedsTheMigrationAsItWas(t *testing.T) {
	client, keys := newClient(t)
	n1, n2 := join(t, client, keys, "n1"), join(t, client, keys, "n2")
	put(t, client, keys.guest("web1", ownerPart), `{"node":"n1"}`)
	put(t, client, keys.guest("web1", migrationPart), `{"from":"n1","to":"n2","phase":"arrived"}`)
	before := look(t, client, keys)
	// The target has found out that it cannot.
	ok(t, claimant(t, n2).decline(as("n2", before), errors.New("its disk is gone")))
	if err := claimant(t, n1).handOver(as("n1", before)); !errors.Is(err, errLost) {
		t.Errorf("a hand-over to a target that has declined: %v", err)
	}
	ok(t, claimant(t, n1).abort(as("n1", look(t, client, keys))))
	if guest := look(t, client, keys).guest("web1"); guest.Owner.Node != "n1" || guest.Migration != nil {
		t.Errorf("after that: %+v", guest)
	}
}

func TestASessionEndsBeforeItsLease(t *testing.T) {
	client, keys := newClient(t)
	begun := bootTime()
	held := join(t, client, keys, "n1")
	if _, err := register(context.Background(), client, keys, "n1", NodeInfo{}, testTimes); !errors.Is(err, errTaken) {
		t.Errorf("a second agent of the node: %v", err)
	}
	if until := held.until(); until < begun+testTimes.ttl || until > bootTime()+testTimes.ttl {
		t.Errorf("the lease is thought to end %v after it was asked for", until-begun)
	}
	renewed := make(chan time.Duration, 100)
	ctx, stop := context.WithCancel(context.Background())
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		held.renew(ctx, testTimes, slog.Default(), func(deadline time.Duration) { renewed <- deadline })
	}()
	first := held.until()
	for deadline := first; deadline <= first; {
		deadline = <-renewed
	}
	stop()
	<-finished
	if held.ctx.Err() == nil {
		t.Error("the session goes on without renewals")
	}
}
