package kvmhotplug

// #include <poll.h>
// #include <stddef.h>
// #include <kvm_hotplug.h>
//
// static int kvmhotplug_readable(int fd)
// {
//     struct pollfd entry = {.fd = fd, .events = POLLIN};
//
//     return poll(&entry, 1, 0) != 0;
// }
import "C"

import (
	"context"
	"encoding/json"
	"os"
	"syscall"
	"time"
)

// Event is news that no call answers itself.
type Event struct {
	Type EventType `json:"type"`
	// ID and DeviceType of the device; zero for events about the guest.
	ID         string     `json:"id,omitempty"`
	DeviceType DeviceType `json:"device_type,omitempty"`
	// Generation says which attachment of that id.
	Generation uint64 `json:"generation,omitempty"`
	// Interface is the tap of a NIC on the host.
	Interface string `json:"interface,omitempty"`
	// Text is details in words.
	Text string `json:"text"`
	// Times is how often it has happened since it was last fetched: what a guest can cause without end is not kept twice.
	Times uint64 `json:"times,omitempty"`
	// Lost is how many events were dropped, for EventLost.
	Lost uint64 `json:"lost,omitempty"`
	// Operation ("read" or "write"), Action and NoSpace are those of EventIOError.
	Operation string   `json:"operation,omitempty"`
	Action    IOAction `json:"action,omitempty"`
	NoSpace   bool     `json:"no_space,omitempty"`
	// ByGuest: the guest did it by itself, for EventShutdown and EventReset.
	ByGuest bool `json:"by_guest,omitempty"`
	// QMP is the object with "event", "data" and "timestamp" as QEMU sent it, for EventQMP.
	QMP json.RawMessage `json:"qmp,omitempty"`
	// ErrorKind and ErrorNumber are those of EventAddFailed.
	ErrorKind   Kind          `json:"error_kind,omitempty"`
	ErrorNumber syscall.Errno `json:"error_number,omitempty"`
}

// Err is the error that an add would have failed with if it had been waited for, as an [*Error]; nil for other events.
func (e Event) Err() error {
	if e.Type != EventAddFailed {
		return nil
	}
	return &Error{Kind: e.ErrorKind, Errno: e.ErrorNumber, Message: e.Text}
}

// eventOf reads the text of an event. Names that it does not know, of a newer library, leave their field 0.
func eventOf(text string) (Event, error) {
	var read struct {
		Event, ID, Type, Ifname, Text, Operation, Action string
		Generation, Times, Lost                          uint64
		NoSpace                                          bool   `json:"no_space"`
		ByGuest                                          bool   `json:"by_guest"`
		ErrorKind                                        string `json:"error_kind"`
		ErrorNumber                                      int    `json:"error_number"`
		QMP                                              json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		return Event{}, &Error{Kind: ErrFormat, Errno: syscall.EBADMSG, Message: "the library's event: " + err.Error(), cause: err}
	}
	event := Event{
		ID: read.ID, Generation: read.Generation, Interface: read.Ifname, Text: read.Text, Times: read.Times, Lost: read.Lost,
		Operation: read.Operation, NoSpace: read.NoSpace, ByGuest: read.ByGuest,
		ErrorNumber: syscall.Errno(read.ErrorNumber),
	}
	if string(read.QMP) != "null" {
		event.QMP = read.QMP
	}
	event.ErrorKind, _ = parseName(kindNames, []byte(read.ErrorKind), "kind of error")
	event.Type, _ = parseName(eventTypeNames, []byte(read.Event), "type of event")
	event.Action, _ = parseName(ioActionNames, []byte(read.Action), "action")
	event.DeviceType, _ = parseName(deviceTypeNames, []byte(read.Type), "type of device")
	return event, nil
}

// fetch takes the oldest event, or none.
func fetch(handle *C.struct_kvm_hotplug, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
	return C.kvm_hotplug_next_event_json(handle, text, failure)
}

// EventBuffer is how many events the channel of [Guest.Events] holds.
const EventBuffer = 64

const (
	// Requests that a guest did not hear, because it was booting, are repeated only when somebody looks.
	lookAgain = 5 * time.Second
	// While the channel is full, because its reader is slow.
	lookBehind = 200 * time.Millisecond
	// After a look that failed, doubled up to lookAgain.
	firstRetry = 100 * time.Millisecond
)

// Process takes in what QEMU has said: finishes removals that the guest granted late, clears up behind devices that the
// guest gave up by itself, and reconnects if the connection was lost. It does not wait for news, and returns the number
// of events that [Guest.NextEvent] can fetch. [Guest.Events] calls it by itself.
func (g *Guest) Process(ctx context.Context) (int, error) {
	count, err := g.call(ctx, DefaultTimeout, process)
	return int(max(count, 0)), err
}

func process(handle *C.struct_kvm_hotplug, timeout C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
	return C.kvm_hotplug_process(handle, timeout, failure)
}

// NextEvent fetches the oldest event; false if there is none. It is for agents that wait on [Guest.Poll] and call
// [Guest.Process] themselves, and not to be mixed with [Guest.Events], with which it would share the events.
func (g *Guest) NextEvent(ctx context.Context) (Event, bool, error) {
	text, count, err := g.text(ctx, func(handle *C.struct_kvm_hotplug, _ C.uint32_t, text **C.char, failure **C.struct_kvm_hotplug_error) C.int {
		return fetch(handle, text, failure)
	})
	if err != nil || count == 0 {
		return Event{}, false, err
	}
	event, err := eventOf(string(text))
	return event, err == nil, err
}

// ForwardQMPEvents turns on or off that QMP events come as they are ([EventQMP]), besides the events made from them. The library
// keeps at most 512 of them, and 2 MiB, and drops the oldest then, never other events.
func (g *Guest) ForwardQMPEvents(ctx context.Context, on bool) error {
	_, err := g.call(ctx, DefaultTimeout, func(handle *C.struct_kvm_hotplug, _ C.uint32_t, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_hotplug_forward_qmp_events(handle, flag(on), failure)
	})
	return err
}

// Poll returns a new descriptor for event loops, readable when [Guest.Process] has something to do or an event can be
// fetched. It is the caller's to close, must not be read, and says nothing more after Close. It does not block.
func (g *Guest) Poll() (*os.File, error) {
	descriptor, err := duplicateFile(g.ready)
	if err != nil {
		return nil, closedError("the guest")
	}
	return os.NewFile(uintptr(descriptor), g.ready.Name()), nil
}

// Events returns the guest's event channel, always the same one, which Close closes. From the first call on, a goroutine
// takes in news as they come and every few seconds, so that removals are finished without anybody calling; it reconnects
// if the connection was lost, trying again every few seconds while QEMU is gone.
//
// The channel holds [EventBuffer] events. Behind it, the library keeps 1024 more while the reader is slow, and then drops
// the oldest, which an [EventLost] tells; removals are finished all the same. What is behind the channel at Close is lost.
func (g *Guest) Events() <-chan Event {
	g.listening.Lock()
	defer g.listening.Unlock()
	if g.channel == nil {
		g.channel = make(chan Event, EventBuffer)
		go g.pump(g.channel)
	}
	return g.channel
}

// pump is the only sender, so that what there was room for can be sent without waiting.
func (g *Guest) pump(channel chan<- Event) {
	defer close(channel)
	retry := firstRetry
	for {
		events, err := g.look(cap(channel) - len(channel))
		for _, event := range events {
			channel <- event
		}
		pause := time.Duration(0)
		switch {
		case err != nil:
			pause, retry = retry, min(2*retry, lookAgain)
		case len(channel) == cap(channel):
			pause = lookBehind
		default:
			retry = firstRetry
		}
		if !g.await(pause) {
			return
		}
	}
}

// look takes in news and fetches events; the events are good also with an error.
func (g *Guest) look(room int) (events []Event, err error) {
	if err := g.enter(context.Background()); err != nil {
		return nil, err
	}
	defer g.leave()
	_, err = g.perform(context.Background(), time.Now().Add(DefaultTimeout), process)
	for len(events) < room {
		event, some := g.fetchOne()
		if !some {
			break
		}
		events = append(events, event)
	}
	return events, err
}

// fetchOne takes the oldest event; the guest is entered.
func (g *Guest) fetchOne() (Event, bool) {
	var text *C.char
	if fetch(g.handle, &text, nil) <= 0 {
		return Event{}, false
	}
	defer C.kvm_hotplug_text_free(text)
	event, err := eventOf(C.GoString(text))
	return event, err == nil
}

// await waits for the pause to pass or, without one, for news; false when the guest is closed.
func (g *Guest) await(pause time.Duration) bool {
	if pause > 0 {
		select {
		case <-time.After(pause):
			return true
		case <-g.closing:
			return false
		}
	}
	// Closing the file ends the wait; that it has passed is no error here.
	if raw, err := g.ready.SyscallConn(); err == nil && g.ready.SetReadDeadline(time.Now().Add(lookAgain)) == nil {
		_ = raw.Read(func(descriptor uintptr) bool { return C.kvmhotplug_readable(C.int(descriptor)) != 0 })
	}
	select {
	case <-g.closing:
		return false
	default:
		return true
	}
}

// readiness is the handle's descriptor, duplicated so that Go's poller has one of its own to close.
func readiness(handle *C.struct_kvm_hotplug) (*os.File, error) {
	var failure *C.struct_kvm_hotplug_error
	descriptor := C.kvm_hotplug_get_fd(handle, &failure)
	if descriptor < 0 {
		return nil, takeError(failure, descriptor)
	}
	made, err := duplicateDescriptor(uintptr(descriptor))
	if err == nil {
		// Go's poller takes only descriptors that do not block; to an epoll set it makes no difference.
		err = syscall.SetNonblock(made, true)
	}
	if err != nil {
		return nil, hostError("duplicating the descriptor to poll", err)
	}
	return os.NewFile(uintptr(made), "kvm-hotplug"), nil
}
