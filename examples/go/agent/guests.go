package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.org/kvmhotplug"
)

const (
	recordSuffix = ".runtime"
	socketSuffix = ".qmp"

	// Between two looks for new runtime files, and between two attempts to open a guest.
	lookAgain = 2 * time.Second
	openLimit = 10 * time.Second
)

var nameFormat = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// registry holds the guests of a directory.
type registry struct {
	dir    string
	logger *slog.Logger
	level  slog.Level
	news   *feed

	ending context.Context
	end    context.CancelFunc
	done   sync.WaitGroup

	mutex  sync.Mutex
	guests map[string]*guest
}

func newRegistry(dir string, logger *slog.Logger, level slog.Level, news *feed) *registry {
	made := &registry{dir: dir, logger: logger, level: level, news: news, guests: map[string]*guest{}}
	made.ending, made.end = context.WithCancel(context.Background())
	return made
}

// start opens every guest of the directory, and returns when each was tried once: what a dead agent left unfinished is
// settled then, where QEMU can be asked. The context ends the waiting; the guests stay until stop, for the calls that are
// still to be answered.
func (r *registry) start(ctx context.Context) error {
	if err := r.look(); err != nil {
		return err
	}
	for _, guest := range r.list() {
		select {
		case <-guest.tried:
		case <-ctx.Done():
		}
	}
	r.done.Add(1)
	go func() {
		defer r.done.Done()
		for sleep(r.ending, lookAgain) {
			if err := r.look(); err != nil {
				r.logger.Warn("cannot look for runtime files", "error", err)
			}
		}
	}()
	return nil
}

// stop closes all guests, after the calls that they are in.
func (r *registry) stop() {
	r.end()
	r.done.Wait()
}

// look takes in runtime files that are new, and lets go of guests whose file is gone.
func (r *registry) look() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), recordSuffix)
		if ok && nameFormat.MatchString(name) && entry.Type().IsRegular() {
			there[name] = true
			r.take(name)
		}
	}
	for _, guest := range r.list() {
		if !there[guest.name] {
			r.mutex.Lock()
			delete(r.guests, guest.name)
			r.mutex.Unlock()
			guest.leave()
			r.logger.Info("the runtime file is gone", "guest", guest.name)
		}
	}
	return nil
}

func (r *registry) take(name string) *guest {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if known, ok := r.guests[name]; ok {
		return known
	}
	ctx, leave := context.WithCancel(r.ending)
	made := &guest{
		name:   name,
		record: filepath.Join(r.dir, name+recordSuffix),
		socket: filepath.Join(r.dir, name+socketSuffix),
		logger: r.logger.With("guest", name),
		level:  r.level,
		news:   r.news,
		leave:  leave,
		tried:  make(chan struct{}),
		again:  make(chan struct{}, 1),
		file:   make(chan struct{}, 1),
	}
	r.guests[name] = made
	r.done.Add(1)
	go func() {
		defer r.done.Done()
		made.supervise(ctx)
	}()
	return made
}

// create makes the record of a new guest.
func (r *registry) create(name string, config kvmhotplug.Config) (*guest, error) {
	record, err := kvmhotplug.New(config)
	if err != nil {
		return nil, err
	}
	err = record.Save(filepath.Join(r.dir, name+recordSuffix))
	record.Close()
	if err != nil {
		return nil, err
	}
	return r.take(name), nil
}

func (r *registry) list() []*guest {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var all []*guest
	for _, guest := range r.guests {
		all = append(all, guest)
	}
	slices.SortFunc(all, func(a, b *guest) int { return strings.Compare(a.name, b.name) })
	return all
}

func (r *registry) find(name string) (*guest, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if guest, ok := r.guests[name]; ok {
		return guest, nil
	}
	return nil, &kvmhotplug.Error{Kind: kvmhotplug.ErrNotFound, Errno: syscall.ENOENT, Message: fmt.Sprintf("there is no guest %q", name)}
}

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
	if _, err := g.open(); err == nil {
		text := g.name + " runs: change the guest, and its record follows"
		return &kvmhotplug.Error{Kind: kvmhotplug.ErrConflict, Errno: syscall.EBUSY, Message: text}
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
