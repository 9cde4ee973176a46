package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

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
	return nil, &kvmhotplug.Error{Kind: kvmhotplug.ErrNotFound, Errno: syscall.ENOENT, Message: fmt.Sprintf("there is no guest %q; PUT /guests/%s makes its record", name, url.PathEscape(name))}
}
