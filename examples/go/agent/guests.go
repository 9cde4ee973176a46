package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"sync"
	"syscall"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

const (
	recordSuffix = ".runtime"
	socketSuffix = ".qmp"

	// Between two looks for new runtime files, and between two attempts to open a guest.
	lookAgain = 2 * time.Second
	openLimit = 10 * time.Second
)

var nameFormat = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// guest is one of the directory, whether its QEMU is there or not.
type guest struct {
	name, record, socket string
	logger               *slog.Logger
	level                slog.Level
	news                 *feed
	leave                context.CancelFunc
	// Closed after the first attempt to open it.
	tried chan struct{}
	// Asks for an attempt at once.
	again chan struct{}
	// Has one place, for who uses the record's file: the agent itself while it opens the guest, or who changes the record.
	file chan struct{}
	// The last QEMU that was started here, if any. Whoever has the file may look at it, and set it.
	qemu *started

	mutex sync.Mutex
	live  *kvmhotplug.Guest
	why   error
}

// status is how a guest stands, for people.
type status struct {
	Guest string `json:"guest"`
	// "open": it can be worked with; "gone": nobody answers at the QMP socket; "unusable": another error.
	State  string            `json:"state"`
	Error  *kvmhotplug.Error `json:"error,omitempty"`
	Socket string            `json:"socket"`
	Record string            `json:"record"`
}

func (g *guest) status() status {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	made := status{Guest: g.name, State: "open", Socket: g.socket, Record: g.record}
	if g.live == nil {
		made.State = "unusable"
		if isGone(g.why) {
			made.State = "gone"
		}
		made.Error = asError(g.why)
	}
	return made
}

// isGone tells from other troubles that QEMU is not running.
func isGone(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, kvmhotplug.ErrNotFound) || errors.Is(err, kvmhotplug.ErrMonitorLost)
}

// open is the guest to work with, or why there is none.
func (g *guest) open() (*kvmhotplug.Guest, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.live == nil {
		return nil, &unavailable{g.name, g.why}
	}
	return g.live, nil
}

// unavailable is the error of a guest that is not open.
type unavailable struct {
	name string
	why  error
}

func (u *unavailable) Error() string { return fmt.Sprintf("%s is not open: %v", u.name, u.why) }

func (u *unavailable) Unwrap() error { return u.why }

func (g *guest) set(live *kvmhotplug.Guest, why error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.live, g.why = live, why
}

// supervise opens the guest, hands on its events, and begins anew when its QEMU is gone, until the context ends.
func (g *guest) supervise(ctx context.Context) {
	g.set(nil, errors.New("not opened yet"))
	first := sync.OnceFunc(func() { close(g.tried) })
	defer first()
	var said string
	for ctx.Err() == nil {
		record, live, err := g.connect(ctx)
		g.set(live, err)
		first()
		if err == nil {
			said = ""
			g.logger.Info("is open")
			g.news.add(g.name, "opened", kvmhotplug.Event{Text: "the guest is open"})
			err = g.follow(ctx, live)
			g.set(nil, err)
			live.Close()
			record.Close()
			if ctx.Err() == nil {
				g.news.add(g.name, "gone", kvmhotplug.Event{Text: err.Error()})
			}
		}
		// Once, not with every attempt.
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			g.logger.Warn("is not open", "error", err)
		}
		select {
		case <-g.again:
		case <-ctx.Done():
		case <-time.After(lookAgain):
		}
	}
	g.set(nil, &kvmhotplug.Error{Kind: kvmhotplug.ErrState, Errno: syscall.ESHUTDOWN, Message: "the agent is ending"})
}

// takeFile waits until nobody uses the record's file.
func (g *guest) takeFile(ctx context.Context) error {
	select {
	case g.file <- struct{}{}:
		return nil
	case <-ctx.Done():
	}
	failed := &kvmhotplug.Error{Kind: kvmhotplug.ErrTimeout, Errno: syscall.ETIMEDOUT, Message: "the record of " + g.name + " is in use by another request"}
	if errors.Is(ctx.Err(), context.Canceled) {
		failed.Kind, failed.Errno = kvmhotplug.ErrCanceled, syscall.ECANCELED
	}
	return failed
}

func (g *guest) leaveFile() { <-g.file }

// connect loads the record and opens the guest. While QEMU is gone the record is not held, so that others can start it.
func (g *guest) connect(ctx context.Context) (*kvmhotplug.Runtime, *kvmhotplug.Guest, error) {
	if err := g.takeFile(ctx); err != nil {
		return nil, nil, err
	}
	defer g.leaveFile()
	record, err := kvmhotplug.Load(g.record)
	if err != nil {
		return nil, nil, err
	}
	limited, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	if err = record.SetLogger(g.logger, g.level); err == nil {
		var live *kvmhotplug.Guest
		if live, err = kvmhotplug.Open(limited, record, g.socket); err == nil {
			return record, live, nil
		}
	}
	record.Close()
	return nil, nil, err
}

// hold gives the record of a guest that does not run to somebody who changes it.
func (g *guest) hold(ctx context.Context, change func(*kvmhotplug.Runtime) error) error {
	if err := g.takeFile(ctx); err != nil {
		return err
	}
	defer g.leaveFile()
	if err := g.isOff(); err != nil {
		return err
	}
	record, err := kvmhotplug.Load(g.record)
	if err != nil {
		return err
	}
	defer record.Close()
	if err := record.SetLogger(g.logger, g.level); err != nil {
		return err
	}
	return change(record)
}

// isOff is an error for a guest that runs, whether it is open or about to be.
func (g *guest) isOff() error {
	var text string
	switch _, err := g.open(); {
	case err == nil:
		text = " runs: change the guest, and its record follows"
	case g.qemu.runs():
		text = fmt.Sprintf(" was started and is not open: its QEMU, process %d, runs", g.qemu.pid)
	case g.answered():
		g.retry()
		text = " is not open, but a QEMU answers at " + g.socket + ": try again"
	default:
		return nil
	}
	return &kvmhotplug.Error{Kind: kvmhotplug.ErrConflict, Errno: syscall.EBUSY, Message: g.name + text}
}

// follow hands on events until the guest is gone or the agent ends.
func (g *guest) follow(ctx context.Context, live *kvmhotplug.Guest) error {
	events := live.Events()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, ok := <-events:
			if !ok {
				return os.ErrClosed
			}
			g.news.add(g.name, event.Type.String(), event)
			if event.Type != kvmhotplug.EventMonitorLost {
				continue
			}
			limited, cancel := context.WithTimeout(ctx, openLimit)
			_, err := live.Process(limited)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

// retry asks for an attempt to open the guest at once.
func (g *guest) retry() {
	select {
	case g.again <- struct{}{}:
	default:
	}
}

func sleep(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}
