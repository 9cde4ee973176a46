package main

import (
	"log/slog"
	"net/http"
	"path"
	"syscall"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// route is a request that is answered. It takes ?timeout, and the named parameters of the query; "body" is among them if it
// has one. What it does not know it refuses: a misspelt ?plan must not plug anything in.
type route struct {
	pattern, takes string
	handle         handler
}

func (s *server) routes() []route {
	return []route{
		{"GET /version", "", showVersion},
		{"GET /guests", "", s.listGuests},
		{"PUT /guests/{guest}", "body", s.createGuest},
		{"GET /guests/{guest}", "", s.showGuest},
		{"POST /guests/{guest}/start", "body", s.start},

		{"GET /guests/{guest}/record", "", s.look(listRecord)},
		{"GET /guests/{guest}/boot", "spare_ports", s.look(planBoot)},
		{"GET /guests/{guest}/check", "incoming monitor", s.look(checkHost)},
		{"POST /guests/{guest}/convert", "body", s.look(convert)},
		{"POST /guests/{guest}/record/nics", "body", s.own(recording((*kvmhotplug.Runtime).AddNIC))},
		{"POST /guests/{guest}/record/disks", "body", s.own(recording((*kvmhotplug.Runtime).AddDisk))},
		{"DELETE /guests/{guest}/record/{id}", "", s.own(removeRecorded)},

		{"GET /guests/{guest}/devices", "", s.open(listDevices)},
		{"POST /guests/{guest}/devices", "body", s.open(addMany)},
		{"DELETE /guests/{guest}/devices", "id no_wait live_only leave_overlay", s.open(removeMany)},
		{"GET /guests/{guest}/devices/{id}", "", s.open(showDevice)},
		{"DELETE /guests/{guest}/devices/{id}", "plan no_wait live_only leave_overlay", s.open(removeDevice)},
		{"POST /guests/{guest}/nics", "body plan", s.open(adding((*kvmhotplug.Guest).PlanNIC, (*kvmhotplug.Guest).AddNIC))},
		{"POST /guests/{guest}/disks", "body plan", s.open(adding((*kvmhotplug.Guest).PlanDisk, (*kvmhotplug.Guest).AddDisk))},
		{"POST /guests/{guest}/controllers", "body plan",
			s.open(adding((*kvmhotplug.Guest).PlanController, (*kvmhotplug.Guest).AddController))},
		{"DELETE /guests/{guest}/nics/{id}", "", s.open(removing((*kvmhotplug.Guest).DelNIC))},
		{"DELETE /guests/{guest}/disks/{id}", "", s.open(removing((*kvmhotplug.Guest).DelDisk))},
		{"DELETE /guests/{guest}/controllers/{id}", "", s.open(removing((*kvmhotplug.Guest).DelController))},
		{"GET /guests/{guest}/details", "", s.open(describe)},
		{"GET /guests/{guest}/details/{id}", "", s.open(describe)},
		{"PUT /guests/{guest}/nics/{id}/link", "body", s.open(setLink)},
		{"PUT /guests/{guest}/nics/{id}/bridge", "body", s.open(moveNIC)},
		{"PUT /guests/{guest}/disks/{id}/size", "body", s.open(resizeDisk)},
		{"POST /guests/{guest}/qmp", "body", s.open(runQMP)},
		{"GET /guests/{guest}/slots", "", s.open(listSlots)},
		{"GET /guests/{guest}/differences", "", s.open(verify)},
		{"POST /guests/{guest}/repair", "", s.open(repair)},
	}
}

func newServer(guests *registry, news *feed, logger *slog.Logger, limits limits) http.Handler {
	s := &server{guests, news, logger, limits}
	mux := http.NewServeMux()
	for _, route := range s.routes() {
		mux.Handle(route.pattern, s.answer(route))
	}
	for _, pattern := range []string{"GET /events", "GET /guests/{guest}/events"} {
		mux.Handle(pattern, s.events(route{pattern: pattern, takes: "since limit"}))
	}
	return s.takeWhole(s.find(mux))
}

// find answers in JSON, too, when there is no such request.
func (s *server) find(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		where := r.URL.EscapedPath()
		otherwise, pattern := mux.Handler(r)
		switch {
		case path.Clean(where) != where:
			// Redirecting would send a request with a body elsewhere.
			s.fail(w, r, refused(http.StatusNotFound, syscall.ENOENT, "there is no %s", where))
		case pattern != "":
			mux.ServeHTTP(w, r)
		default:
			said := &header{http.Header{}}
			otherwise.ServeHTTP(said, r)
			if allowed := said.Header().Get("Allow"); allowed != "" {
				w.Header().Set("Allow", allowed)
				s.fail(w, r, refused(http.StatusMethodNotAllowed, syscall.EOPNOTSUPP, "%s takes %s, and not %s", where, allowed, r.Method))
				return
			}
			s.fail(w, r, refused(http.StatusNotFound, syscall.ENOENT, "there is no %s", where))
		}
	})
}

// header is an answer of which only the header is wanted.
type header struct{ header http.Header }

func (h *header) Header() http.Header { return h.header }

func (h *header) Write(text []byte) (int, error) { return len(text), nil }

func (h *header) WriteHeader(int) {}

// answer runs a handler under the request's deadline and writes what it returns.
func (s *server) answer(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		status, shown, err := func() (int, any, error) {
			if err := check(r, route); err != nil {
				return 0, nil, err
			}
			ctx, cancel, err := deadline(r)
			if err != nil {
				return 0, nil, err
			}
			defer cancel()
			return route.handle(ctx, r)
		}()
		if err != nil {
			status, shown = s.failed(w, r, err)
		}
		s.write(w, status, shown)
		s.logger.Info("answers", "method", r.Method, "path", r.URL.Path, "status", status, "took", time.Since(start))
	})
}

func (s *server) events(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("guest")
		err := func() error {
			if err := check(r, route); err != nil {
				return err
			}
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
	})
}
