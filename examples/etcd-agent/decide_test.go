package main

import (
	"testing"
	"time"
)

// A moment in the life of guest "web1", as node "n1" sees it, changed by each test.
type moment struct {
	owner, from, wanted string
	deleted             bool
	migration           *Migration
	here                here
	// Since when these nodes are gone; all others are alive.
	gone map[string]time.Duration
	now  time.Duration
}

const (
	testWait     = 10 * time.Second
	testPatience = time.Minute
)

func (m moment) decide(node string) action {
	now := view{Revision: 100, Nodes: map[string]nodeView{}, Guests: map[string]guestView{}}
	for _, name := range []string{"n1", "n2", "n3"} {
		each := nodeView{Name: name, Revision: 7, Epoch: 7}
		if since, ok := m.gone[name]; ok {
			each.Revision, each.Gone = 0, since
		}
		now.Nodes[name] = each
	}
	guest := guestView{Name: "web1", Owner: Owner{Node: m.owner, From: m.from}, Wanted: []byte("[]"), Deleted: m.deleted, Migration: m.migration}
	if m.owner != "" {
		guest.OwnerRevision = 8
	}
	if !m.deleted {
		guest.Spec = &Spec{Node: m.wanted}
	}
	if m.migration != nil {
		guest.MigrationRevision = 9
	}
	return decide(situation{Node: node, View: now, Guest: guest, Here: m.here, Now: m.now, Wait: testWait, Patience: testPatience})
}

func expect(t *testing.T, what string, got, want action) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestWhoClaimsAGuest(t *testing.T) {
	const now = 100 * time.Second
	for _, each := range []struct {
		what   string
		moment moment
		want   action
	}{
		{"nobody has it, and it is to be here", moment{wanted: "n1"}, actClaim},
		{"nobody has it, and it is to be elsewhere", moment{wanted: "n2"}, actNothing},
		{"elsewhere, and that node is gone for a moment", moment{wanted: "n2", gone: map[string]time.Duration{"n2": now - testWait + 1}}, actNothing},
		{"elsewhere, and that node is gone for good", moment{wanted: "n2", gone: map[string]time.Duration{"n2": now - testWait}}, actClaim},
		{"its owner lives", moment{wanted: "n1", owner: "n2"}, actNothing},
		{"its owner is gone for a moment", moment{wanted: "n1", owner: "n2", gone: map[string]time.Duration{"n2": now - testWait + 1}}, actNothing},
		{"its owner is gone for good", moment{wanted: "n3", owner: "n2", gone: map[string]time.Duration{"n2": now - testWait}}, actClaim},
		{"it is not wanted, and its owner is gone", moment{deleted: true, owner: "n2", gone: map[string]time.Duration{"n2": 0}}, actClaim},
		{"it is not wanted, and nobody has it", moment{deleted: true}, actNothing},
		{"a claim has failed just now", moment{wanted: "n1", here: here{Retry: map[action]time.Duration{actClaim: now + 1}}}, actNothing},
		{"its migration has another target", moment{
			wanted: "n3", owner: "n2", gone: map[string]time.Duration{"n2": 0}, migration: &Migration{From: "n2", To: "n3", Phase: phaseMoving},
		}, actNothing},
		{"its migration has another target, which is gone too", moment{
			wanted: "n3", owner: "n2", gone: map[string]time.Duration{"n2": 0, "n3": 0}, migration: &Migration{From: "n2", To: "n3", Phase: phaseMoving},
		}, actClaim},
		{"this node is the target, and the source is gone for good", moment{
			wanted: "n1", owner: "n2", gone: map[string]time.Duration{"n2": 0}, migration: &Migration{From: "n2", To: "n1", Phase: phaseMoving},
			here: here{Runs: true, Open: true, RunState: "paused"},
		}, actClaim},
	} {
		each.moment.now = now
		expect(t, each.what, each.moment.decide("n1"), each.want)
	}
}

func TestWhoIsNotTheOwnerRunsNothing(t *testing.T) {
	running := here{Runs: true, Open: true, Record: true, RunState: "running"}
	ended := here{Record: true}
	expect(t, "somebody else has it", moment{owner: "n2", wanted: "n2", here: running}.decide("n1"), actStop)
	expect(t, "nobody has it", moment{wanted: "n1", here: running}.decide("n1"), actStop)
	expect(t, "there is no such guest", moment{deleted: true, here: running}.decide("n1"), actStop)
	expect(t, "it has ended", moment{owner: "n2", wanted: "n2", here: ended}.decide("n1"), actDiscard)
	// The new owner fetches the record, and deletes it.
	expect(t, "it was taken from here", moment{owner: "n2", from: "n1", wanted: "n2", here: ended}.decide("n1"), actNothing)
}

func TestWhatTheOwnerDoes(t *testing.T) {
	running := here{Runs: true, Open: true, Record: true, RunState: "running", Applied: true}
	with := func(change func(*here)) here {
		made := running
		change(&made)
		return made
	}
	for _, each := range []struct {
		what string
		here here
		want action
	}{
		{"it is off", here{}, actStart},
		{"its monitor is not open", here{Runs: true}, actOpen},
		{"all is well", running, actNothing},
		{"its devices are not those that are wanted", with(func(h *here) { h.Applied = false }), actApply},
		{"they are, and that has failed just now", with(func(h *here) {
			h.Applied, h.Retry = false, map[action]time.Duration{actApply: time.Hour}
		}), actNothing},
		{"it has arrived by a migration", with(func(h *here) { h.RunState = "paused" }), actContinue},
		{"it is back from a migration", with(func(h *here) { h.RunState = "postmigrate" }), actContinue},
		{"its source has died before all of it was here", with(func(h *here) { h.RunState = "inmigrate" }), actStop},
	} {
		expect(t, each.what, moment{owner: "n1", wanted: "n1", here: each.here}.decide("n1"), each.want)
	}
	expect(t, "it is not wanted any more", moment{owner: "n1", deleted: true, here: running}.decide("n1"), actForget)
	expect(t, "it is wanted elsewhere", moment{owner: "n1", wanted: "n2", here: running}.decide("n1"), actOffer)
	gone := map[string]time.Duration{"n2": 0}
	expect(t, "elsewhere is gone", moment{owner: "n1", wanted: "n2", here: running, gone: gone}.decide("n1"), actNothing)
	leaving := with(func(h *here) { h.Applied, h.Busy, h.Retry = false, true, map[action]time.Duration{actApply: time.Hour} })
	expect(t, "a device is on its way out", moment{owner: "n1", wanted: "n2", here: leaving}.decide("n1"), actNothing)
}

func TestWhatTheSourceDoes(t *testing.T) {
	for _, each := range []struct {
		what              string
		phase             Phase
		migrate, runState string
		since             time.Duration
		gone              bool
		want              action
	}{
		{"the target gets ready", phasePrepare, "", "running", 0, false, actNothing},
		{"the target does not get ready", phasePrepare, "", "running", testPatience, false, actAbort},
		{"the target has gone", phasePrepare, "", "running", 0, true, actAbort},
		{"the target waits", phaseReady, "", "running", 0, false, actSend},
		{"the target waits, and an earlier migration has failed", phaseReady, "failed", "running", 0, false, actSend},
		{"the target waited, and has gone", phaseReady, "", "running", 0, true, actAbort},
		{"the target cannot", phaseFailed, "", "running", 0, false, actAbort},
		{"it is sent", phaseMoving, "active", "running", 10 * testPatience, false, actNothing},
		{"it is sent to a node that has gone", phaseMoving, "active", "running", 0, true, actCancel},
		{"an agent has died before it was sent", phaseMoving, "", "running", 0, false, actAbort},
		{"an agent has died before it was sent, and an earlier one is completed", phaseMoving, "completed", "running", 0, false, actAbort},
		{"sending has failed", phaseMoving, "failed", "running", 0, false, actAbort},
		{"it is about to stop", phaseMoving, "completed", "finish-migrate", 0, false, actNothing},
		{"it is sent, and not all of it is there", phaseMoving, "completed", "postmigrate", 0, false, actNothing},
		{"it does not arrive", phaseMoving, "completed", "postmigrate", testPatience, false, actAbort},
		{"it has arrived", phaseArrived, "completed", "postmigrate", 0, false, actHand},
		{"it has arrived at a node that has gone", phaseArrived, "completed", "postmigrate", 0, true, actAbort},
	} {
		m := moment{owner: "n1", wanted: "n2", now: each.since, migration: &Migration{From: "n1", To: "n2", Phase: each.phase}}
		m.here = here{Runs: true, Open: true, RunState: each.runState, Migrate: each.migrate}
		if each.gone {
			m.gone = map[string]time.Duration{"n2": 0}
		}
		expect(t, each.what, m.decide("n1"), each.want)
	}
	dead := moment{owner: "n1", wanted: "n2", migration: &Migration{From: "n1", To: "n2", Phase: phaseMoving}}
	expect(t, "its QEMU has ended", dead.decide("n1"), actAbort)
}

func TestWhatTheTargetDoes(t *testing.T) {
	waits := here{Runs: true, Open: true, RunState: "inmigrate"}
	has := here{Runs: true, Open: true, RunState: "paused"}
	for _, each := range []struct {
		what  string
		phase Phase
		here  here
		want  action
	}{
		{"it is asked", phasePrepare, here{}, actPrepare},
		{"it is asked, and has a QEMU of an earlier attempt", phasePrepare, waits, actStop},
		{"it waits", phaseReady, waits, actNothing},
		{"its QEMU has ended", phaseReady, here{}, actDecline},
		{"the guest comes", phaseMoving, waits, actNothing},
		{"its agent is a new one", phaseMoving, here{Runs: true}, actOpen},
		{"all of it is here", phaseMoving, has, actAcknowledge},
		{"it has said so", phaseArrived, has, actNothing},
		{"it has declined", phaseFailed, waits, actStop},
	} {
		m := moment{owner: "n2", wanted: "n1", migration: &Migration{From: "n2", To: "n1", Phase: each.phase}, here: each.here}
		expect(t, each.what, m.decide("n1"), each.want)
	}
	stale := moment{owner: "n3", wanted: "n1", migration: &Migration{From: "n2", To: "n1", Phase: phaseReady}, here: waits}
	expect(t, "the migration is one of an earlier owner", stale.decide("n1"), actStop)
}

// Whatever the keys say, two nodes that see the same never both start a guest, or let it run.
func TestTwoNodesNeverBothRunIt(t *testing.T) {
	for _, owner := range []string{"", "n1", "n2", "n3"} {
		for _, wanted := range []string{"n1", "n2", "n3"} {
			for _, state := range []here{{}, {Runs: true, Open: true, RunState: "paused"}, {Runs: true, Open: true, RunState: "postmigrate"}} {
				for _, phase := range []Phase{"", phasePrepare, phaseReady, phaseMoving, phaseArrived, phaseFailed} {
					m := moment{owner: owner, wanted: wanted, here: state, gone: map[string]time.Duration{"n3": 0}, now: time.Hour}
					if phase != "" {
						m.migration = &Migration{From: "n1", To: "n2", Phase: phase}
					}
					runs := 0
					for _, node := range []string{"n1", "n2"} {
						if chosen := m.decide(node); chosen == actStart || chosen == actContinue {
							runs++
						}
					}
					if runs > 1 {
						t.Errorf("both nodes run it: %+v", m)
					}
				}
			}
		}
	}
}
