package kvmhotplug_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// lines is a place to log to from several goroutines.
type lines struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

func TestLogLines(t *testing.T) {
	var all, few lines
	logger := func(to *lines) *slog.Logger {
		return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	made := record(t)
	ok(t, made.SetLogger(logger(&few), slog.LevelInfo))
	ok(t, made.SetLogger(nil, slog.LevelInfo))
	ok(t, made.SetLogger(logger(&few), slog.LevelWarn))
	ok(t, made.SetLogger(logger(&all), slog.LevelDebug))
	guest, err := kvmhotplug.Open(within(t, patience), made, startFake(t).socket)
	ok(t, err)
	_, err = guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "bad-disk", Path: image(t, "disk")})
	failure(t, err, kvmhotplug.ErrQMP)
	ok(t, guest.Close())
	ok(t, made.Close())
	if text := all.String(); !strings.Contains(text, "level=INFO msg=\"connected to QEMU") || !strings.Contains(text, "level=WARN") ||
		!strings.Contains(text, "bad-disk") || !strings.Contains(text, "level=DEBUG") {
		t.Errorf("logged:\n%s", text)
	}
	if few.String() != "" {
		t.Errorf("a logger that was replaced got:\n%s", few.String())
	}
}

type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool { return true }

func (panicking) Handle(context.Context, slog.Record) error { panic("on purpose") }

func TestLogHandlerThatPanics(t *testing.T) {
	made := record(t)
	ok(t, made.SetLogger(slog.New(panicking{}), slog.LevelDebug))
	guest, err := kvmhotplug.Open(within(t, patience), made, startFake(t).socket)
	ok(t, err)
	_, err = guest.Slots(within(t, patience))
	ok(t, err)
	ok(t, guest.Close())
}
