package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// How often a worker looks at its guest when nothing tells it to.
	lookAgain = time.Second
	// While a migration goes on.
	lookClosely = 50 * time.Millisecond
	// The pause after a failure, doubled each time.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// For one step about a guest.
	stepLimit = 15 * time.Second
)

// worker does what is to be done about one guest, one step after the other.
type worker struct {
	agent   *agent
	session *session
	permits *permits
	name    string
	logger  *slog.Logger

	news  chan struct{}
	mutex sync.Mutex
	now   view

	// What follows is the worker's own.
	record *kvmhotplug.Runtime
	live   *kvmhotplug.Guest
	// The list that has been applied, up to which revision, and what became of it.
	applied  string
	revision int64
	outcome  outcome
	// The migration as it was last seen, and since when it is so.
	migration progress
	since     time.Duration
	failures  map[action]failure
	// Nothing is decided before the view is as new as the last write.
	behind  int64
	written Status
}

// progress is a migration's key and what query-migrate says.
type progress struct {
	revision int64
	status   string
}

// newWorker has the view that its first step is decided by: without one, no node would own the guest, and
// the worker would end it.
func newWorker(a *agent, held *session, permits *permits, name string, now view) *worker {
	return &worker{
		agent: a, session: held, permits: permits, name: name, now: now, logger: a.logger.With("guest", name),
		news: make(chan struct{}, 1), failures: map[action]failure{},
	}
}

// see gives the worker a newer view.
func (w *worker) see(now view) {
	w.mutex.Lock()
	w.now = now
	w.mutex.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *worker) seen() view {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.now
}

// work goes on until the session ends. It closes what it has open, and leaves the guest as it is.
func (w *worker) work(ctx context.Context) {
	defer w.close()
	for ctx.Err() == nil {
		pause := lookAgain
		if w.step(ctx) {
			pause = 0
		} else if w.migration.revision != 0 {
			pause = lookClosely
		}
		select {
		case <-w.news:
		case event, open := <-w.events():
			if !open {
				w.close()
				continue
			}
			w.hear(event)
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (w *worker) events() <-chan kvmhotplug.Event {
	if w.live == nil {
		return nil
	}
	return w.live.Events()
}

// hear takes in that something has happened to the guest. What it comes to is in the next answer of apply.
func (w *worker) hear(event kvmhotplug.Event) {
	w.logger.Info("event", "type", event.Type, "device", event.ID, "text", event.Text)
	w.applied = ""
	delete(w.failures, actApply)
	if event.Type == kvmhotplug.EventMonitorLost {
		w.close()
	}
}

// step decides and acts once. True: there may be more to do at once.
func (w *worker) step(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	now := w.seen()
	if now.Revision < w.behind {
		return false
	}
	guest := now.guest(w.name)
	if guest.Spec != nil && guest.Spec.Node == w.agent.node {
		delete(w.failures, actOffer)
	}
	s := situation{
		Node: w.agent.node, View: now, Guest: guest, Here: w.look(limited, guest), Now: bootTime(),
		Wait: w.agent.times.wait(), Patience: patience,
	}
	chosen := decide(s)
	if chosen == actNothing {
		w.report(s)
		return false
	}
	if chosen != actApply {
		w.logger.Info(string(chosen), "owner", guest.Owner.Node, "run_state", s.Here.RunState, "migrate", s.Here.Migrate)
	}
	err := w.do(limited, chosen, s)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		w.failed(chosen, err)
	} else if chosen != actOffer {
		// Whether a migration succeeds is not known when it is offered: the pauses get longer.
		delete(w.failures, chosen)
	}
	w.report(s)
	return err == nil
}

// failure is an action that has failed, how often in a row, and when it is tried again.
type failure struct {
	text  string
	times int
	again time.Duration
}

func (w *worker) failed(what action, err error) {
	last := w.failures[what]
	if errors.Is(err, errLost) {
		w.logger.Info("gives up", "action", what, "why", err)
	} else if err.Error() != last.text {
		w.logger.Warn("failed", "action", what, "error", err)
	}
	w.failures[what] = failure{err.Error(), last.times + 1, bootTime() + min(firstRetry<<min(last.times, 10), lastRetry)}
}

func (w *worker) retries() map[action]time.Duration {
	again := map[action]time.Duration{}
	for what, each := range w.failures {
		again[what] = each.again
	}
	return again
}

// look finds out what this node has of the guest.
func (w *worker) look(ctx context.Context, guest guestView) (found here) {
	found = here{Runs: w.runs(), Open: w.live != nil, Retry: w.retries()}
	defer func() {
		if seen := (progress{guest.MigrationRevision, found.Migrate}); seen != w.migration {
			w.migration, w.since = seen, bootTime()
		}
		found.Since = w.since
	}()
	_, err := os.Stat(w.agent.recordFile(w.agent.node, w.name))
	found.Record = err == nil
	if !found.Runs {
		w.close()
		found.Open = false
		return found
	}
	if w.live == nil {
		return found
	}
	found.RunState, err = w.ask(ctx, "query-status")
	if err == nil && guest.Migration != nil {
		found.Migrate, err = w.ask(ctx, "query-migrate")
	}
	if err != nil {
		w.failed(actOpen, err)
		w.close()
		found.Open = false
	}
	found.Applied = w.applied == string(guest.Wanted) && w.applied != "" && !w.outcome.unfinished
	found.Busy = w.outcome.pending
	if found.Applied {
		w.revision = guest.Desired
	}
	return found
}

// ask is the "status" of what a query returns; empty if it has none.
func (w *worker) ask(ctx context.Context, query string) (string, error) {
	text, err := w.live.QMP(ctx, kvmhotplug.Command{Execute: query})
	if err != nil {
		return "", err
	}
	var answer struct{ Status string }
	return answer.Status, json.Unmarshal(text, &answer)
}

// runs: a guard or QEMU lives. What cannot be found out counts as living.
func (w *worker) runs() bool {
	alive, err := isGuarded(w.agent.dir, w.name)
	if err != nil {
		w.logger.Error("cannot see whether the guest runs", "error", err)
		return true
	}
	return alive
}

func (w *worker) close() {
	if w.live != nil {
		w.live.Close()
	}
	if w.record != nil {
		w.record.Close()
	}
	w.live, w.record, w.applied, w.outcome = nil, nil, "", outcome{}
}

func (w *worker) do(ctx context.Context, what action, s situation) error {
	switch what {
	case actClaim:
		return w.claim(s)
	case actForget:
		return w.forget(ctx, s)
	case actStart:
		return w.start(ctx, s.Guest)
	case actOpen:
		return w.open(ctx, kvmhotplug.OpenOptions{})
	case actContinue:
		return w.resume(ctx)
	case actStop:
		return w.stop(ctx)
	case actDiscard:
		return kvmhotplug.Delete(w.agent.recordFile(w.agent.node, w.name))
	case actApply:
		return w.apply(ctx, s.Guest)
	case actOffer:
		return w.offer(ctx, s)
	case actSend:
		return w.send(ctx, s)
	case actCancel:
		return w.tell(ctx, "migrate_cancel", "")
	case actHand:
		return w.handOver(s)
	case actAbort:
		return w.abort(s)
	case actPrepare:
		return w.prepare(ctx, s)
	case actAcknowledge:
		return w.acknowledge(s)
	case actDecline:
		return w.decline(s, fmt.Errorf("the QEMU of the target has ended"))
	}
	return fmt.Errorf("nobody knows how to %s", what)
}

// tell runs a QMP command that answers nothing.
func (w *worker) tell(ctx context.Context, command, arguments string) error {
	request := kvmhotplug.Command{Execute: command}
	if arguments != "" {
		request.Arguments = json.RawMessage(arguments)
	}
	_, err := w.live.QMP(ctx, request)
	return err
}

// swap writes what others may have changed meanwhile: the loser gives up, and looks again.
func (w *worker) swap(conditions []clientv3.Cmp, operations ...clientv3.Op) error {
	revision, err := w.session.swap(conditions, operations...)
	if err == nil {
		w.behind = revision
	}
	return err
}

// report writes the status, if this node is the owner and there is something new to say.
func (w *worker) report(s situation) {
	if s.Guest.Owner.Node != s.Node || s.Guest.OwnerRevision == 0 {
		return
	}
	status := w.status(s)
	if reflect.DeepEqual(status, w.written) {
		return
	}
	text, err := json.Marshal(status)
	if err != nil {
		w.logger.Error("the status", "error", err)
		return
	}
	owner := unchanged(w.agent.keys.guest(w.name, ownerPart), s.Guest.OwnerRevision)
	_, err = w.session.swap([]clientv3.Cmp{owner}, clientv3.OpPut(w.agent.keys.guest(w.name, statusPart), string(text)))
	if err == nil {
		w.written = status
	}
}
