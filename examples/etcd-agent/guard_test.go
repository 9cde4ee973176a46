package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// guarded runs a guard of a program that does not end by itself, and answers how the guard ends.
func guarded(t *testing.T, path string, until time.Duration) (*exec.Cmd, <-chan error) {
	t.Helper()
	ok(t, writeUntil(path, until))
	// Longer than await waits, and not for ever.
	command := exec.Command("sleep", "120")
	ended := make(chan error, 1)
	go func() { ended <- guard(command, path) }()
	return command, ended
}

// await guards against a guest that does not end.
func await(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the guest does not end")
	}
}

func TestAGuardEndsItsGuestInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web1.until")
	until := bootTime() + 300*time.Millisecond
	command, ended := guarded(t, path, until)
	await(t, ended)
	if bootTime() < until || command.ProcessState == nil {
		t.Errorf("the guest has ended %v too early", until-bootTime())
	}
}

func TestAGuestRunsOnWhenItsTimeIsMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web1.until")
	_, ended := guarded(t, path, bootTime()+300*time.Millisecond)
	ok(t, writeUntil(path, bootTime()+time.Hour))
	select {
	case err := <-ended:
		t.Fatalf("the guest has ended: %v", err)
	case <-time.After(600 * time.Millisecond):
	}
	ok(t, os.Remove(path))
	await(t, ended)
}

func TestAGuestWhoseTimeIsOverIsNotStarted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web1.until")
	for _, text := range []string{"", "1\n", "tomorrow\n"} {
		ok(t, os.WriteFile(path, []byte(text), 0o600))
		command := exec.Command("sleep", "infinity")
		if err := guard(command, path); err == nil || command.Process != nil {
			t.Errorf("%q: the guest was started: %v", text, err)
		}
	}
}

func TestPermits(t *testing.T) {
	dir := t.TempDir()
	made := newPermits(dir, 5*time.Second)
	ok(t, made.grant("web1"))
	ok(t, made.grant("web2"))
	ok(t, made.withdraw("web2"))
	ok(t, made.withdraw("web2"))
	ok(t, made.extend(9*time.Second))
	if until := readUntil(untilFile(dir, "web1")); until != 9*time.Second {
		t.Errorf("web1 may run until %v", until)
	}
	// One that was withdrawn does not come back with the next renewal.
	if _, err := os.Stat(untilFile(dir, "web2")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("web2: %v", err)
	}
	names, err := guestsIn(dir, ".until", ".guard")
	if err != nil || len(names) != 1 || names[0] != "web1" {
		t.Errorf("guests: %v, %v", names, err)
	}
}

func TestALockSaysWhetherAGuestRuns(t *testing.T) {
	dir := t.TempDir()
	state := func() bool {
		t.Helper()
		runs, err := isGuarded(dir, "web1")
		ok(t, err)
		return runs
	}
	if state() {
		t.Error("there is no guest, and it runs")
	}
	lock, err := takeLock(lockFile(dir, "web1"))
	ok(t, err)
	if !state() {
		t.Error("its guard lives, and it does not run")
	}
	if _, err := takeLock(lockFile(dir, "web1")); err == nil {
		t.Error("a second guard has the lock as well")
	}
	lock.Close()
	if state() {
		t.Error("its guard has ended, and it runs")
	}
}
