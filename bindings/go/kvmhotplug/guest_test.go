package kvmhotplug_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// Thousands of calls from many goroutines, on guests that several of them share: each gets its own answer or its own
// error, never another one's.
func TestEveryCallGetsItsOwnAnswer(t *testing.T) {
	const guests, callers, rounds = 8, 16, 12
	var calls sync.WaitGroup
	for number := range guests {
		guest := open(t, startFake(t).socket)
		for caller := range callers {
			calls.Add(1)
			go func() {
				defer calls.Done()
				for round := range rounds {
					callAndCheck(t, guest, fmt.Sprintf("%d-%d-%d", number, caller, round), 32)
				}
			}()
		}
	}
	calls.Wait()
}

func callAndCheck(t *testing.T, guest *kvmhotplug.Guest, name string, slotCount int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	check := func(err error, kind kvmhotplug.Kind, errno syscall.Errno, part string) {
		if !errors.Is(err, kind) || !errors.Is(err, errno) || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: want kind %v, errno %d and %q, got %v", name, kind, errno, part, err)
		}
	}
	_, err := guest.AddDisk(ctx, kvmhotplug.Disk{Path: "/absent/" + name})
	check(err, kvmhotplug.ErrNotFound, syscall.ENOENT, "/absent/"+name)
	_, err = guest.AddNIC(ctx, kvmhotplug.NIC{MAC: "no-" + name})
	check(err, kvmhotplug.ErrInvalid, syscall.EINVAL, "no-"+name)
	_, err = guest.PlanNIC(ctx, kvmhotplug.NIC{Bus: "bus-" + name, Vhost: kvmhotplug.VhostOff})
	check(err, kvmhotplug.ErrNotFound, syscall.ENOENT, "bus-"+name)
	plan, err := guest.PlanNIC(ctx, kvmhotplug.NIC{ID: "nic-" + name, Vhost: kvmhotplug.VhostOff})
	if err != nil || plan.Device.ID != "nic-"+name || len(plan.Commands) < 3 || plan.SlotsLeft == nil {
		t.Errorf("%s: planned %+v, %v", name, plan, err)
	}
	gone, err := guest.DelDisk(ctx, "none-"+name)
	if err != nil || gone.State != kvmhotplug.Absent || gone.Device.ID != "none-"+name {
		t.Errorf("%s: removing what is not there answers %+v, %v", name, gone, err)
	}
	slots, err := guest.Slots(ctx)
	if err != nil || len(slots) != slotCount {
		t.Errorf("%s: %d slots, %v", name, len(slots), err)
	}
}

// The same with the monitor's own refusals, and disks that come and go.
func TestEveryDiskGetsItsOwnAnswer(t *testing.T) {
	const guests, callers, rounds = 4, 8, 4
	paths := make([]string, callers)
	for caller := range paths {
		paths[caller] = image(t, "disk")
	}
	var calls sync.WaitGroup
	for range guests {
		guest := open(t, startFake(t).socket)
		for caller, path := range paths {
			calls.Add(1)
			go func() {
				defer calls.Done()
				for round := range rounds {
					comeAndGo(t, guest, path, fmt.Sprintf("%d-%d", caller, round))
				}
			}()
		}
	}
	calls.Wait()
}

func comeAndGo(t *testing.T, guest *kvmhotplug.Guest, path, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "bad-" + name, Path: path})
	var failed *kvmhotplug.Error
	if !errors.As(err, &failed) {
		t.Errorf("bad-%s was added: %v", name, err)
		return
	}
	if failed.Kind != kvmhotplug.ErrQMP || failed.Errno != syscall.EREMOTEIO || failed.QMPClass != "GenericError" ||
		failed.QMPDesc != "the fake has taken against bad-"+name || failed.Step != "device_add bad-"+name ||
		failed.Undo != kvmhotplug.UndoComplete || failed.Residue != nil {
		t.Errorf("bad-%s: %#v", name, failed)
	}
	added, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "good-" + name, Path: path})
	if err != nil || added.State != kvmhotplug.Done || added.Device.ID != "good-"+name || added.Device.Path != path {
		t.Errorf("good-%s: %+v, %v", name, added, err)
	}
	found, err := guest.Device(ctx, "good-"+name)
	if err != nil || found.State != kvmhotplug.Done || found.Device.Generation != added.Device.Generation {
		t.Errorf("good-%s is listed as %+v, %v", name, found, err)
	}
	_, err = guest.DelNIC(ctx, "good-"+name)
	if !errors.Is(err, kvmhotplug.ErrInvalid) {
		t.Errorf("good-%s was taken for a NIC: %v", name, err)
	}
	gone, err := guest.DelDisk(ctx, "good-"+name)
	if err != nil || gone.State != kvmhotplug.Done || gone.Device.Path != path {
		t.Errorf("good-%s is still there: %+v, %v", name, gone, err)
	}
}

func TestCancelEndsOneCallAndNoOther(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	path := image(t, "disk")
	for round := range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		id := fmt.Sprintf("stay-%d", round)
		added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: id, Path: path})
		state(t, added, err, kvmhotplug.Done)
		go func() {
			// The removals of earlier rounds may have been asked for again.
			for id != <-fake.asked {
			}
			cancel()
		}()
		start := time.Now()
		_, err = guest.DelDisk(ctx, id)
		failed := failure(t, err, kvmhotplug.ErrCanceled)
		if !errors.Is(err, context.Canceled) || failed.Errno != syscall.ECANCELED || time.Since(start) > patience/2 {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		// It was asked for, and stays so. The library may not have heard that QEMU has heard it, and looks.
		_, err = guest.Process(within(t, patience))
		ok(t, err)
		found, err := guest.Device(within(t, patience), id)
		state(t, found, err, kvmhotplug.Pending)
		fake.release(id)
		waitUntil(t, func() bool {
			found, err := guest.Del(within(t, patience), id, kvmhotplug.Removal{})
			ok(t, err)
			return found.State == kvmhotplug.Absent
		})
	}
}

// While removals wait for the guest, everything else is done; each context ends its own call.
func TestRemovalThatWaitsHoldsUpNobody(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	ctx := within(t, patience)
	ids := []string{"stay-one", "stay-two", "stay-three"}
	cancels := map[string]context.CancelFunc{}
	answers := map[string]chan error{}
	for _, id := range ids {
		added, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: id, Path: image(t, id)})
		state(t, added, err, kvmhotplug.Done)
		removal, cancel := context.WithCancel(context.Background())
		defer cancel()
		cancels[id], answers[id] = cancel, make(chan error, 1)
		go func() {
			gone, err := guest.DelDisk(removal, id)
			if err == nil && gone.State != kvmhotplug.Done {
				err = fmt.Errorf("%s is %v", id, gone.State)
			}
			answers[id] <- err
		}()
		for id != <-fake.asked {
		}
	}
	// Many at once, from many goroutines, and none of them waits for the guest.
	var others sync.WaitGroup
	for caller := range 8 {
		others.Add(1)
		go func() {
			defer others.Done()
			comeAndGo(t, guest, image(t, "other"), fmt.Sprint(caller))
			callAndCheck(t, guest, fmt.Sprint(caller), 32)
			found, err := guest.Device(ctx, "stay-one")
			state(t, found, err, kvmhotplug.Pending)
			if _, err := guest.Process(ctx); err != nil {
				t.Error(err)
			}
		}()
	}
	others.Wait()
	for _, id := range ids {
		select {
		case err := <-answers[id]:
			t.Fatalf("%s: the guest has let go of nothing: %v", id, err)
		default:
		}
	}
	cancels["stay-two"]()
	failure(t, <-answers["stay-two"], kvmhotplug.ErrCanceled)
	_, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "stay-one", Path: image(t, "stay-one")})
	failure(t, err, kvmhotplug.ErrConflict)
	for _, id := range []string{"stay-three", "stay-one"} {
		fake.release(id)
		ok(t, <-answers[id])
	}
	if event, some, err := guest.NextEvent(ctx); some || err != nil {
		t.Errorf("what a call answers is no event: %+v, %v", event, err)
	}
}

// Contexts that end at any moment, before, in the middle of and after their call: a call whose context lives on is never
// ended by the cancel of another one.
func TestCancelNeverHitsALaterCall(t *testing.T) {
	guest := open(t, startFake(t).socket)
	ctx := within(t, patience)
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for round := range 300 {
				ending, cancel := context.WithCancel(ctx)
				go func() {
					time.Sleep(time.Duration((round*37+caller*101)%600) * time.Microsecond)
					cancel()
				}()
				_, err := guest.Slots(ending)
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("the call whose context ends: %v", err)
				}
				if _, err := guest.Slots(ctx); err != nil {
					t.Errorf("the call whose context lives on: %v", err)
				}
				cancel()
			}
		}()
	}
	callers.Wait()
}

func TestCancelledAdditionIsTakenBackOrNamed(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-fake.asked
		cancel()
	}()
	_, err := guest.AddDisk(ctx, kvmhotplug.Disk{ID: "mute-disk", Path: image(t, "disk")})
	failed := failure(t, err, kvmhotplug.ErrCanceled)
	if failed.Undo != kvmhotplug.UndoIncomplete || len(failed.Residue) == 0 || !strings.Contains(failed.Residue[0], "mute-disk") {
		t.Fatalf("nothing says what is left: %#v", failed)
	}
	fake.hangUp()
	// The next call settles it: the device is not there, so nothing is left.
	_, err = guest.Slots(within(t, patience))
	ok(t, err)
	found, err := guest.Device(within(t, patience), "mute-disk")
	state(t, found, err, kvmhotplug.Absent)
}

func TestDeadlines(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	path := image(t, "disk")
	added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "stay-disk", Path: path})
	state(t, added, err, kvmhotplug.Done)

	// A removal that the guest does not grant in time is pending, and no error.
	gone, err := guest.DelDisk(within(t, 200*time.Millisecond), "stay-disk")
	if gone = state(t, gone, err, kvmhotplug.Pending); gone.Reason == kvmhotplug.ReasonNone || gone.ReasonText == "" {
		t.Errorf("nothing says why: %+v", gone)
	}

	// A turn that does not come in time is an error, and the call was not begun.
	held, release := context.WithCancel(context.Background())
	var holder sync.WaitGroup
	holder.Add(1)
	go func() {
		defer holder.Done()
		_, _ = guest.AddDisk(held, kvmhotplug.Disk{ID: "mute-first", Path: image(t, "first")})
	}()
	for strings.HasPrefix(<-fake.asked, "stay") {
	}
	_, err = guest.AddDisk(within(t, 20*time.Millisecond), kvmhotplug.Disk{Path: "/absent"})
	if failed := failure(t, err, kvmhotplug.ErrTimeout); !strings.Contains(failed.Message, "still running") || failed.Undo != kvmhotplug.UndoNothing {
		t.Errorf("got %#v", failed)
	}
	// Nor does one that is cancelled wait for it.
	waiting, stop := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, stop)
	_, err = guest.AddDisk(waiting, kvmhotplug.Disk{Path: "/absent"})
	if failed := failure(t, err, kvmhotplug.ErrCanceled); failed.Undo != kvmhotplug.UndoNothing {
		t.Errorf("got %#v", failed)
	}
	release()
	holder.Wait()
	fake.hangUp()
	_, err = guest.Slots(within(t, patience))
	ok(t, err)

	// One that has passed already begins nothing.
	past, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = guest.Devices(past)
	failure(t, err, kvmhotplug.ErrTimeout)

	// A monitor that does not answer.
	_, err = guest.AddDisk(within(t, 200*time.Millisecond), kvmhotplug.Disk{ID: "mute-disk", Path: image(t, "other")})
	if failed := failure(t, err, kvmhotplug.ErrTimeout); failed.Errno != syscall.ETIMEDOUT || failed.Undo != kvmhotplug.UndoIncomplete {
		t.Errorf("got %#v", failed)
	}
}

func waitUntil(t *testing.T, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "qmp")
	_, err := kvmhotplug.Open(within(t, patience), record(t), socket)
	failure(t, err, kvmhotplug.ErrNotFound)

	// Accepts the connection and says nothing.
	address, err := listenOnly(t, socket)
	ok(t, err)
	silent := record(t)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = kvmhotplug.Open(ctx, silent, address)
	failure(t, err, kvmhotplug.ErrCanceled)
	_, err = kvmhotplug.Open(within(t, 300*time.Millisecond), record(t), address)
	if !errors.Is(err, kvmhotplug.ErrTimeout) && !errors.Is(err, kvmhotplug.ErrMonitorBusy) {
		t.Errorf("got %v", err)
	}
	_, err = kvmhotplug.Open(ctx, silent, address)
	failure(t, err, kvmhotplug.ErrCanceled)
}

func TestCloseWhileInUse(t *testing.T) {
	fake := startFake(t)
	guest := open(t, fake.socket)
	path := image(t, "disk")
	added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "stay-disk", Path: path})
	state(t, added, err, kvmhotplug.Done)
	events := guest.Events()

	running, cancel := context.WithCancel(context.Background())
	results := make(chan error, 3)
	go func() {
		_, err := guest.DelDisk(running, "stay-disk")
		results <- err
	}()
	<-fake.asked
	// The removal holds up nobody before that.
	_, err = guest.Slots(within(t, patience))
	ok(t, err)
	closed := make(chan struct{}, 2)
	for range cap(closed) {
		go func() {
			guest.Close()
			closed <- struct{}{}
		}()
	}
	// Those that come from now on fail at once; the one that is running is awaited.
	waitUntil(t, func() bool {
		_, err := guest.Slots(within(t, patience))
		return errors.Is(err, os.ErrClosed) && errors.Is(err, kvmhotplug.ErrState)
	})
	select {
	case <-closed:
		t.Error("Close did not wait for the call that is running")
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	failure(t, <-results, kvmhotplug.ErrCanceled)
	<-closed
	<-closed
	ok(t, guest.Close())
	for range events {
	}
	_, err = guest.AddDisk(within(t, patience), kvmhotplug.Disk{Path: path})
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := guest.Poll(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, open := <-guest.Events(); open {
		t.Error("an event after Close")
	}
}

func TestRecordsBelongToOneGuestAndClose(t *testing.T) {
	fake := startFake(t)
	owned := record(t)
	guest, err := kvmhotplug.Open(within(t, patience), owned, fake.socket)
	ok(t, err)
	_, err = kvmhotplug.Open(within(t, patience), owned, startFake(t).socket)
	if failed := failure(t, err, kvmhotplug.ErrState); failed.Errno != syscall.EBUSY {
		t.Errorf("got %#v", failed)
	}
	ok(t, owned.Close())
	ok(t, owned.Close())
	_, err = owned.Devices()
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	// The guest keeps what it needs of the record.
	added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{Path: image(t, "disk")})
	state(t, added, err, kvmhotplug.Done)
	ok(t, guest.Close())
}

func TestLookingChangesNothing(t *testing.T) {
	fake := startFake(t)
	owned := record(t)
	// A look needs no record to itself.
	for range 2 {
		guest, err := kvmhotplug.Look(within(t, patience), owned, fake.socket)
		ok(t, err)
		devices, err := guest.Devices(within(t, patience))
		ok(t, err)
		if len(devices) != 0 {
			t.Errorf("got %v", devices)
		}
		_, err = guest.AddDisk(within(t, patience), kvmhotplug.Disk{Path: image(t, "disk")})
		if failed := failure(t, err, kvmhotplug.ErrState); failed.Errno != syscall.EROFS {
			t.Errorf("got %#v", failed)
		}
		ok(t, guest.Close())
	}
}

// listenOnly accepts connections and says nothing on them.
func listenOnly(t *testing.T, socket string) (string, error) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			if _, err := listener.Accept(); err != nil {
				return
			}
		}
	}()
	return socket, nil
}

func TestSeveralAtOnce(t *testing.T) {
	guest := open(t, startFake(t).socket)
	ctx := within(t, patience)
	one, two := image(t, "disk"), image(t, "disk")
	added, err := guest.AddMany(ctx, kvmhotplug.Batch{Disks: []kvmhotplug.Disk{{ID: "one", Path: one}, {ID: "stay-two", Path: two}}})
	ok(t, err)
	if len(added) != 2 || added[0].ID != "one" || added[1].ID != "stay-two" || added[1].Path != two || added[1].State != kvmhotplug.DeviceLive {
		t.Errorf("added %+v", added)
	}
	_, err = guest.AddMany(ctx, kvmhotplug.Batch{NICs: []kvmhotplug.NIC{{MAC: "no"}}})
	failure(t, err, kvmhotplug.ErrInvalid)
	_, err = guest.AddMany(ctx, kvmhotplug.Batch{Disks: []kvmhotplug.Disk{{ID: "bad-three", Path: image(t, "disk")}}})
	failure(t, err, kvmhotplug.ErrQMP)

	gone, err := guest.DelMany(within(t, 500*time.Millisecond), []string{"none", "stay-two", "one"}, kvmhotplug.Removal{})
	ok(t, err)
	var states []string
	for _, answer := range gone {
		states = append(states, fmt.Sprint(answer.Device.ID, " ", answer.State, " ", int(answer.Errno)))
	}
	if got := strings.Join(states, ", "); got != "none absent 0, stay-two pending 0, one done 0" {
		t.Errorf("removed: %s", got)
	}
	shown, err := json.Marshal(append(gone[:1], kvmhotplug.Answer{Result: kvmhotplug.Result{Device: kvmhotplug.Device{ID: "db"}}, Errno: syscall.EBUSY}))
	ok(t, err)
	if got := string(shown); !strings.HasPrefix(got, `[{"state":"absent",`) || !strings.HasSuffix(got, `,{"id":"db","errno":16,"message":"device or resource busy"}]`) {
		t.Errorf("shown as %s", got)
	}
	gone, err = guest.DelMany(ctx, make([]string, kvmhotplug.MostAtOnce+1), kvmhotplug.Removal{})
	if failed := failure(t, err, kvmhotplug.ErrInvalid); failed.Errno != syscall.E2BIG || gone != nil {
		t.Errorf("removed %+v: %#v", gone, failed)
	}
}

func TestWhatTheRecordHasNotIsShown(t *testing.T) {
	guest := open(t, startFake(t).socket)
	_, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "own", Path: image(t, "disk")})
	ok(t, err)
	text, err := guest.DescribeUnrecorded(within(t, patience))
	ok(t, err)
	var found []map[string]any
	ok(t, json.Unmarshal(text, &found))
	for _, device := range found {
		if device["id"] == "own" || device["path"] == "" {
			t.Errorf("shown: %v", device)
		}
	}
}

func TestWhatAQemuKnowsIsGivenToAnotherGuest(t *testing.T) {
	known, err := open(t, startFake(t).socket).Capabilities(within(t, patience))
	ok(t, err)
	guest := open(t, startFake(t).socket)
	ok(t, guest.GiveCapabilities(within(t, patience), known))
	other := bytes.Replace(known, []byte(`"package":"`), []byte(`"package":"other`), 1)
	if err := guest.GiveCapabilities(within(t, patience), other); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("another build: %v", err)
	}
}

// Without Starting, nobody at the socket is an error at once; with it, at the end.
func TestAStartIsAwaited(t *testing.T) {
	owned, nowhere := record(t), filepath.Join(t.TempDir(), "qmp")
	_, err := kvmhotplug.OpenWith(within(t, patience), owned, nowhere, kvmhotplug.OpenOptions{})
	failure(t, err, kvmhotplug.ErrNotFound)
	brief := within(t, 100*time.Millisecond)
	_, err = kvmhotplug.OpenWith(brief, owned, nowhere, kvmhotplug.OpenOptions{Starting: true})
	if err == nil || errors.Is(err, kvmhotplug.ErrNotFound) {
		t.Errorf("it was not waited for: %v", err)
	}
}
