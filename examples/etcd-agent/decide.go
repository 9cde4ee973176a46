package main

import (
	"slices"
	"time"
)

// action is what an agent does about a guest next.
type action string

const (
	actNothing action = "nothing"
	// About who runs the guest.
	actClaim  action = "claim"
	actForget action = "forget"
	// About QEMU on this node.
	actStart    action = "start"
	actOpen     action = "open"
	actContinue action = "continue"
	actStop     action = "stop"
	actDiscard  action = "discard"
	// About the devices.
	actApply action = "apply"
	// About a migration, as its source.
	actOffer  action = "offer"
	actSend   action = "send"
	actCancel action = "cancel"
	actHand   action = "hand over"
	actAbort  action = "abort"
	// And as its target.
	actPrepare     action = "prepare"
	actAcknowledge action = "acknowledge"
	actDecline     action = "decline"
)

// here is what this node has of a guest.
type here struct {
	// Runs: a QEMU of the guest, or its guard, lives on this node.
	Runs bool
	// Record: a runtime file of the guest is in this node's directory.
	Record bool
	// Open: the guest can be worked with.
	Open bool
	// RunState is what query-status says, Migrate what query-migrate says.
	RunState string
	Migrate  string
	// Applied: the wanted list has been applied, and there is nothing to look after.
	Applied bool
	// Busy: devices are on their way out, which have to be gone before a migration.
	Busy bool
	// Since is when this agent has first seen the migration as it is: its key, and what query-migrate says.
	Since time.Duration
	// Retry is the time before which an action that has failed is not tried again.
	Retry map[action]time.Duration
}

// situation is all that a decision depends on.
type situation struct {
	Node  string
	View  view
	Guest guestView
	Here  here
	Now   time.Duration
	// Wait is how long a node has to be gone before its guests are ended for certain; Patience is for a
	// target.
	Wait     time.Duration
	Patience time.Duration
}

func (s situation) alive(node string) bool { return s.View.node(node).Revision != 0 }

// dead: the lease of the node is over for so long that its guards have ended its guests.
func (s situation) dead(node string) bool {
	known := s.View.node(node)
	return known.Revision == 0 && s.Now >= known.Gone+s.Wait
}

// decide is what this node does about a guest next. It only looks at its argument.
func decide(s situation) action {
	chosen := s.choose()
	if !s.ready(chosen) {
		return actNothing
	}
	return chosen
}

func (s situation) ready(what action) bool { return s.Now >= s.Here.Retry[what] }

func (s situation) choose() action {
	guest := s.Guest
	if guest.Owner.Node == s.Node {
		return s.asOwner()
	}
	if guest.Migration != nil && guest.Migration.To == s.Node && guest.Migration.From == guest.Owner.Node {
		return s.asTarget()
	}
	if s.Here.Runs {
		return actStop
	}
	// Who has taken the guest from this node while it was cut off fetches the record, and deletes it.
	if s.Here.Record && guest.Owner.From != s.Node {
		return actDiscard
	}
	if s.mayClaim() {
		return actClaim
	}
	return actNothing
}

// mayClaim: nobody else runs the guest, and nobody else has a better right to it.
func (s situation) mayClaim() bool {
	guest := s.Guest
	if guest.OwnerRevision == 0 {
		return guest.Spec != nil && (guest.Spec.Node == s.Node || s.dead(guest.Spec.Node))
	}
	// The target of a migration may have the guest as it was when its source died.
	if guest.Migration != nil && guest.Migration.To != s.Node && !s.dead(guest.Migration.To) {
		return false
	}
	return s.dead(guest.Owner.Node)
}

func (s situation) asOwner() action {
	guest, own := s.Guest, s.Here
	switch {
	case guest.Deleted:
		return actForget
	case !own.Runs && guest.Migration != nil:
		return actAbort
	case !own.Runs && guest.Spec == nil:
		return actNothing
	case !own.Runs:
		return actStart
	case !own.Open:
		return actOpen
	case guest.Migration != nil:
		return s.asSource()
	case own.RunState == "inmigrate":
		// This node was to be the target, and the source died before all of the guest was here.
		return actStop
	case slices.Contains([]string{"paused", "postmigrate", "prelaunch"}, own.RunState):
		return actContinue
	case !own.Applied && guest.Wanted != nil && s.ready(actApply):
		return actApply
	case guest.Spec != nil && guest.Spec.Node != s.Node && s.alive(guest.Spec.Node) && !own.Busy:
		return actOffer
	}
	return actNothing
}

// Words of query-migrate for a migration that goes on by itself.
var underWay = []string{"setup", "active", "pre-switchover", "device", "wait-unplug", "cancelling", "postcopy-active"}

func (s situation) asSource() action {
	migration, own := s.Guest.Migration, s.Here
	late := s.Now >= own.Since+s.Patience
	switch {
	case migration.Phase == phaseFailed:
		return actAbort
	case migration.Phase == phasePrepare || migration.Phase == phaseReady:
		switch {
		case late || !s.alive(migration.To):
			return actAbort
		case migration.Phase == phaseReady:
			return actSend
		}
		return actNothing
	case slices.Contains(underWay, own.Migrate):
		if s.alive(migration.To) {
			return actNothing
		}
		return actCancel
	case own.Migrate != "completed" || own.RunState == "running":
		// It has failed, or it is an earlier one that is completed, and this one was never begun.
		return actAbort
	case late || !s.alive(migration.To):
		return actAbort
	case migration.Phase == phaseArrived && own.RunState == "postmigrate":
		return actHand
	}
	return actNothing
}

func (s situation) asTarget() action {
	switch phase := s.Guest.Migration.Phase; {
	case s.dead(s.Guest.Owner.Node):
		return actClaim
	case phase == phasePrepare && s.Here.Runs:
		return actStop
	case phase == phasePrepare:
		return actPrepare
	case phase == phaseFailed && s.Here.Runs:
		return actStop
	case phase != phaseFailed && !s.Here.Runs:
		return actDecline
	case phase == phaseMoving && s.Here.Open && s.Here.RunState == "paused":
		return actAcknowledge
	case s.Here.Runs && !s.Here.Open:
		return actOpen
	}
	return actNothing
}
