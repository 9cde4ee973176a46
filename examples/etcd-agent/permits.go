package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// permits are the times until which the guards of this node let their guests run, of one session.
type permits struct {
	dir string

	mutex   sync.Mutex
	until   time.Duration
	granted map[string]bool
}

func newPermits(dir string, until time.Duration) *permits {
	return &permits{dir: dir, until: until, granted: map[string]bool{}}
}

// grant lets a guest run as long as the session goes on.
func (p *permits) grant(name string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.granted[name] = true
	return writeUntil(untilFile(p.dir, name), p.until)
}

// withdraw ends a guest: its guard sees that the file is gone.
func (p *permits) withdraw(name string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.granted, name)
	err := os.Remove(untilFile(p.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// extend moves the time of all guests. It answers the first failure; the other guests have their time.
func (p *permits) extend(until time.Duration) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.until = until
	var failed error
	for name := range p.granted {
		if err := writeUntil(untilFile(p.dir, name), until); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// guestsIn are the guests that have a file with one of these suffixes in a directory.
func guestsIn(dir string, suffixes ...string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		for _, suffix := range suffixes {
			name, ok := strings.CutSuffix(entry.Name(), suffix)
			if ok && nameFormat.MatchString(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
