package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// How many events are kept for those who come late or read slowly.
const feedLength = 1024

// item is one event of a guest. Besides those of the library there are "opened" and "gone", about the guest itself, and
// "missed", with how many events were not kept for this reader.
type item struct {
	ID    uint64    `json:"event"`
	Time  time.Time `json:"time"`
	Guest string    `json:"guest,omitempty"`
	Type  string    `json:"type"`
	kvmhotplug.Event
}

// feed is the events of all guests, numbered from 1, the last ones kept. Nobody who reads slowly holds up anybody.
type feed struct {
	mutex  sync.Mutex
	kept   []item
	last   uint64
	more   chan struct{}
	closed bool
	// How many read it.
	streams int
}

func newFeed() *feed { return &feed{more: make(chan struct{})} }

func (f *feed) add(guest, kind string, event kvmhotplug.Event) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.last++
	f.kept = append(f.kept, item{f.last, time.Now().UTC().Truncate(time.Millisecond), guest, kind, event})
	if len(f.kept) > feedLength {
		f.kept = append([]item(nil), f.kept[len(f.kept)-feedLength:]...)
	}
	f.wake()
}

func (f *feed) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.closed = true
	f.wake()
}

func (f *feed) wake() {
	close(f.more)
	f.more = make(chan struct{})
}

// after is what came after that number; more is closed when there is something else, and over says that the end is.
func (f *feed) after(number uint64) (items []item, more <-chan struct{}, over bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	first := f.last + 1 - uint64(len(f.kept))
	if number > f.last {
		// One of an earlier agent, which counted for itself.
		number = 0
	}
	if number+1 < first {
		missed := first - 1 - number
		items = append(items, item{ID: first - 1, Time: time.Now().UTC(), Type: "missed", Event: kvmhotplug.Event{
			Text: fmt.Sprintf("%d events are not kept any more", missed), Lost: missed,
		}})
		number = first - 1
	}
	if number < f.last {
		items = append(items, f.kept[number+1-first:]...)
	}
	return items, f.more, f.closed
}

func (f *feed) number() uint64 {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.last
}

// enter takes one of so many places for streams.
func (f *feed) enter(most int) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.streams >= most {
		return &refusal{http.StatusServiceUnavailable, &kvmhotplug.Error{
			Kind: kvmhotplug.ErrLimit, Errno: syscall.EAGAIN, Message: fmt.Sprintf("there are %d event streams already, and no more are taken", f.streams),
		}}
	}
	f.streams++
	return nil
}

func (f *feed) leave() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.streams--
}

// stream writes events as they come, of one guest or of all: one JSON object a line, or server-sent events for those who
// accept these. It begins with the next event, or after ?since=NUMBER or the header Last-Event-ID; it ends with the
// request, its deadline, after ?limit=COUNT events, with the agent, and when the reader takes nothing for too long.
func (f *feed) stream(w http.ResponseWriter, r *http.Request, guest string, limits limits) error {
	since, err := numberOf(r, "since", r.Header.Get("Last-Event-ID"), f.number())
	if err != nil {
		return err
	}
	limit, err := numberOf(r, "limit", "", 1<<63)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "application/x-ndjson")
		return nil
	}
	if err := f.enter(limits.connections / 2); err != nil {
		return err
	}
	defer f.leave()
	form := "%[2]s\n"
	w.Header().Set("Content-Type", "application/x-ndjson")
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		form = "id: %[1]d\ndata: %[2]s\n\n"
		w.Header().Set("Content-Type", "text/event-stream")
	}
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	// The end of the stream is written after this returns.
	defer func() { _ = control.SetWriteDeadline(time.Now().Add(limits.patience)) }()
	if control.Flush() != nil {
		return nil
	}
	for limit > 0 {
		items, more, over := f.after(since)
		for _, one := range items {
			since = one.ID
			if limit == 0 || guest != "" && one.Guest != "" && one.Guest != guest {
				continue
			}
			text, err := json.Marshal(one)
			if err != nil {
				return err
			}
			_ = control.SetWriteDeadline(time.Now().Add(limits.patience))
			if _, err := fmt.Fprintf(w, form, one.ID, text); err != nil {
				return nil
			}
			limit--
		}
		_ = control.SetWriteDeadline(time.Now().Add(limits.patience))
		if control.Flush() != nil {
			return nil
		}
		if over || limit == 0 {
			return nil
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return nil
		}
	}
	return nil
}

func numberOf(r *http.Request, name, otherwise string, standard uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		text = otherwise
	}
	if text == "" {
		return standard, nil
	}
	number, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, badRequest("%s=%q is no number", name, text)
	}
	return number, nil
}
