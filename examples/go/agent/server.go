package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"example.org/kvmhotplug"
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

func newServer(guests *registry, news *feed, logger *slog.Logger, limits limits) http.Handler {
	s := &server{guests, news, logger, limits}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]handler{
		"GET /guests":         s.listGuests,
		"PUT /guests/{guest}": s.createGuest,
		"GET /guests/{guest}": s.showGuest,
		"GET /version":        showVersion,
	} {
		mux.Handle(pattern, s.answer(handle))
	}
	for pattern, handle := range map[string]onRecord{
		"GET /guests/{guest}/record":   listRecord,
		"GET /guests/{guest}/boot":     planBoot,
		"GET /guests/{guest}/check":    checkHost,
		"POST /guests/{guest}/convert": convert,
	} {
		mux.Handle(pattern, s.answer(s.look(handle)))
	}
	for pattern, handle := range map[string]onRecord{
		"POST /guests/{guest}/record/nics":   recording((*kvmhotplug.Runtime).AddNIC),
		"POST /guests/{guest}/record/disks":  recording((*kvmhotplug.Runtime).AddDisk),
		"DELETE /guests/{guest}/record/{id}": removeRecorded,
		"POST /guests/{guest}/start":         s.start,
	} {
		mux.Handle(pattern, s.answer(s.own(handle)))
	}
	for pattern, handle := range map[string]onGuest{
		"GET /guests/{guest}/devices":             listDevices,
		"POST /guests/{guest}/devices":            addMany,
		"DELETE /guests/{guest}/devices":          removeMany,
		"GET /guests/{guest}/devices/{id}":        showDevice,
		"POST /guests/{guest}/nics":               adding((*kvmhotplug.Guest).PlanNIC, (*kvmhotplug.Guest).AddNIC),
		"POST /guests/{guest}/disks":              adding((*kvmhotplug.Guest).PlanDisk, (*kvmhotplug.Guest).AddDisk),
		"POST /guests/{guest}/controllers":        adding((*kvmhotplug.Guest).PlanController, (*kvmhotplug.Guest).AddController),
		"DELETE /guests/{guest}/controllers/{id}": removing((*kvmhotplug.Guest).DelController),
		"DELETE /guests/{guest}/devices/{id}":     removeDevice,
		"DELETE /guests/{guest}/nics/{id}":        removing((*kvmhotplug.Guest).DelNIC),
		"DELETE /guests/{guest}/disks/{id}":       removing((*kvmhotplug.Guest).DelDisk),
		"GET /guests/{guest}/details":             describe,
		"GET /guests/{guest}/details/{id}":        describe,
		"PUT /guests/{guest}/nics/{id}/link":      setLink,
		"PUT /guests/{guest}/nics/{id}/bridge":    moveNIC,
		"PUT /guests/{guest}/disks/{id}/size":     resizeDisk,
		"POST /guests/{guest}/qmp":                runQMP,
		"GET /guests/{guest}/slots":               listSlots,
		"GET /guests/{guest}/differences":         verify,
		"POST /guests/{guest}/mend":               mend,
	} {
		mux.Handle(pattern, s.answer(s.open(handle)))
	}
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /guests/{guest}/events", s.events)
	return s.takeWhole(mux)
}

// answer runs a handler under the request's deadline and writes what it returns.
func (s *server) answer(handle handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		status, shown, err := func() (int, any, error) {
			ctx, cancel, err := deadline(r)
			if err != nil {
				return 0, nil, err
			}
			defer cancel()
			return handle(ctx, r)
		}()
		if err != nil {
			status, shown = s.failed(w, r, err)
		}
		s.write(w, status, shown)
		s.logger.Info("answers", "method", r.Method, "path", r.URL.Path, "status", status, "took", time.Since(start))
	})
}

func (s *server) failed(w http.ResponseWriter, r *http.Request, err error) (int, any) {
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	shown := *asError(err)
	shown.Message = err.Error()
	if shown.Undo == kvmhotplug.UndoIncomplete || status == http.StatusInternalServerError {
		s.logger.Error("failed", "method", r.Method, "path", r.URL.Path, "error", err, "left", shown.Left)
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

// deadline is that of ?timeout= or the header X-Timeout, such as 10s; without one, the library's. The call is cancelled
// when the client hangs up.
func deadline(r *http.Request) (context.Context, context.CancelFunc, error) {
	text := r.URL.Query().Get("timeout")
	if text == "" {
		text = r.Header.Get("X-Timeout")
	}
	if text == "" {
		return r.Context(), func() {}, nil
	}
	limit, err := time.ParseDuration(text)
	if err != nil || limit <= 0 {
		return nil, nil, badRequest("the timeout %q is none: such as 500ms, 10s or 2m", text)
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	return ctx, cancel, nil
}

// read takes the body as JSON; no body is the zero value.
func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	var ours *kvmhotplug.Error
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &ours):
		return ours
	case err != nil:
		return badRequest("the body: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badRequest("the body: something follows the JSON object")
	}
	return nil
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

func (s *server) events(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("guest")
	err := func() error {
		if name != "" {
			if _, err := s.guests.find(name); err != nil {
				return err
			}
		}
		ctx, cancel, err := deadline(r)
		if err != nil {
			return err
		}
		defer cancel()
		return s.news.stream(w, r.WithContext(ctx), name, s.limits)
	}()
	if err != nil {
		s.fail(w, r, err)
	}
}
