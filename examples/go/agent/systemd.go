package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
)

// notify tells systemd how far the service is (sd_notify), if there is one that wants to know.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}

// newLogger writes text lines. The journal has a clock of its own and takes the level as a number in front.
func newLogger(to io.Writer, level slog.Level) *slog.Logger {
	if os.Getenv("JOURNAL_STREAM") == "" {
		return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level}))
	}
	made := &journalHandler{to: to, mutex: new(sync.Mutex), line: new(bytes.Buffer)}
	made.text = slog.NewTextHandler(made.line, &slog.HandlerOptions{Level: level, ReplaceAttr: dropClockAndLevel})
	return slog.New(made)
}

func dropClockAndLevel(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && (attr.Key == slog.TimeKey || attr.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return attr
}

type journalHandler struct {
	to    io.Writer
	text  slog.Handler
	mutex *sync.Mutex
	line  *bytes.Buffer
}

func (h *journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.text.Enabled(ctx, level)
}

func (h *journalHandler) Handle(ctx context.Context, record slog.Record) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.line.Reset()
	h.line.WriteString(priority(record.Level))
	if err := h.text.Handle(ctx, record); err != nil {
		return err
	}
	_, err := h.to.Write(h.line.Bytes())
	return err
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	made := *h
	made.text = h.text.WithAttrs(attrs)
	return &made
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	made := *h
	made.text = h.text.WithGroup(name)
	return &made
}

// priority is that of sd-daemon(3).
func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	case level >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
