package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// server answers requests. Every handler returns the status and what to show as JSON, or an error.
type server struct {
	guests *registry
	news   *feed
	logger *slog.Logger
	limits limits
}

type handler func(ctx context.Context, r *http.Request) (int, any, error)

// onGuest is a handler that needs a guest that is open.
type onGuest func(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error)

func (s *server) failed(w http.ResponseWriter, r *http.Request, err error) (int, any) {
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	shown := *asError(err)
	shown.Message = err.Error()
	if shown.Undo == kvmhotplug.UndoIncomplete || status == http.StatusInternalServerError {
		s.logger.Error("failed", "method", r.Method, "path", r.URL.Path, "error", err, "residue", shown.Residue)
	}
	return status, map[string]any{"error": shown}
}

// fail answers with an error.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, shown := s.failed(w, r, err)
	s.write(w, status, shown)
	s.logger.Info("answers", "method", r.Method, "path", r.URL.Path, "status", status)
}

func (s *server) open(handle onGuest) handler {
	return func(ctx context.Context, r *http.Request) (int, any, error) {
		known, err := s.guests.find(r.PathValue("guest"))
		if err != nil {
			return 0, nil, err
		}
		guest, err := known.open()
		if err != nil {
			known.retry()
			return 0, nil, err
		}
		return handle(ctx, r, guest)
	}
}

// write shows lists with one element a line, so that people and grep can read them.
func (s *server) write(w http.ResponseWriter, status int, shown any) {
	text, err := json.Marshal(shown)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":{"kind":"host","message":"the answer is no JSON"}}`)
	}
	var elements []json.RawMessage
	if json.Unmarshal(text, &elements) == nil && len(elements) > 0 {
		var lines [][]byte
		for _, element := range elements {
			lines = append(lines, element)
		}
		text = append(append([]byte("[\n"), bytes.Join(lines, []byte(",\n"))...), "\n]"...)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.limits.patience))
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// list is never null.
func list[E any](elements []E, err error) (int, any, error) {
	if elements == nil {
		elements = []E{}
	}
	return http.StatusOK, elements, err
}
