package kvmhotplug_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

func TestEventsTellOfLateRemovals(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	events := guest.Events()
	if guest.Events() != events {
		t.Fatal("another channel")
	}
	added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "stay-disk", Path: image(t, "disk")})
	state(t, added, err, kvmhotplug.Done)
	pending, err := guest.Del(within(t, patience), "stay-disk", kvmhotplug.Removal{NoWait: true})
	if pending = state(t, pending, err, kvmhotplug.Pending); pending.Reason != kvmhotplug.ReasonNotAwaited {
		t.Errorf("pending because of %v", pending.Reason)
	}
	fake.release("stay-disk")
	got := event(t, events, kvmhotplug.EventRemoved, "stay-disk")
	if got.DeviceType != kvmhotplug.TypeDisk || got.Generation != added.Device.Generation || got.Text == "" {
		t.Errorf("got %+v", got)
	}
	found, err := guest.Device(within(t, patience), "stay-disk")
	state(t, found, err, kvmhotplug.Absent)

	fake.hangUp()
	event(t, events, kvmhotplug.EventMonitorLost, "")
	_, err = guest.Slots(within(t, patience))
	ok(t, err)
}

func TestEventsTellOfAddsThatWereNotWaitedFor(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	events := guest.Events()
	begun, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "data", Path: image(t, "disk"), NoWait: true})
	begun = state(t, begun, err, kvmhotplug.Pending)
	got := event(t, events, kvmhotplug.EventAdded, "data")
	if got.Err() != nil || got.Generation != begun.Device.Generation {
		t.Errorf("got %+v after %+v", got, begun)
	}
	found, err := guest.Device(within(t, patience), "data")
	state(t, found, err, kvmhotplug.Done)

	begun, err = guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "bad-data", Path: image(t, "other"), NoWait: true})
	state(t, begun, err, kvmhotplug.Pending)
	got = event(t, events, kvmhotplug.EventAddFailed, "bad-data")
	var failed *kvmhotplug.Error
	if !errors.Is(got.Err(), kvmhotplug.ErrQMP) || !errors.As(got.Err(), &failed) || failed.Errno != syscall.EREMOTEIO {
		t.Errorf("got %+v: %v", got, got.Err())
	}
	found, err = guest.Device(within(t, patience), "bad-data")
	state(t, found, err, kvmhotplug.Absent)
}

// While QEMU is gone the goroutine goes on looking, and is there when it comes back.
func TestEventsOutliveQEMU(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	events := guest.Events()
	fake.stop()
	event(t, events, kvmhotplug.EventMonitorLost, "")
	time.Sleep(300 * time.Millisecond)
	_, err := guest.Slots(within(t, patience))
	if err == nil {
		t.Fatal("somebody answered")
	}
	ok(t, guest.Close())
	for range events {
	}
}

// A reader that does not read holds up nobody, and is told how much it has missed.
func TestEventsOfASlowReader(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	events := guest.Events()
	path := image(t, "disk")
	const count = kvmhotplug.EventBuffer + 8
	for round := range count {
		id := fmt.Sprintf("stay-%d", round)
		added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: id, Path: path})
		state(t, added, err, kvmhotplug.Done)
		_, err = guest.Del(within(t, patience), id, kvmhotplug.Removal{NoWait: true})
		ok(t, err)
		<-fake.asked
		fake.release(id)
		waitUntil(t, func() bool {
			found, err := guest.Device(context.Background(), id)
			return err == nil && found.State == kvmhotplug.Absent
		})
	}
	for round := range count {
		event(t, events, kvmhotplug.EventRemoved, fmt.Sprintf("stay-%d", round))
	}
}

func TestEventsByHand(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	poll, err := guest.Poll()
	ok(t, err)
	defer poll.Close()
	added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "stay-disk", Path: image(t, "disk")})
	state(t, added, err, kvmhotplug.Done)
	_, err = guest.Del(within(t, patience), "stay-disk", kvmhotplug.Removal{NoWait: true})
	ok(t, err)
	if _, some, err := guest.NextEvent(within(t, patience)); some || err != nil {
		t.Fatalf("an event too early: %v, %v", some, err)
	}
	fake.release("stay-disk")
	waitUntil(t, func() bool {
		count, err := guest.Process(within(t, patience))
		ok(t, err)
		return count == 1
	})
	got, some, err := guest.NextEvent(within(t, patience))
	if err != nil || !some || got.Type != kvmhotplug.EventRemoved {
		t.Fatalf("got %+v, %v, %v", got, some, err)
	}
}
