package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// Largest body taken.
const bodyLimit = 256 << 10

// refusal is an error of the agent's own with a status that no kind of error has.
type refusal struct {
	status int
	why    *kvmhotplug.Error
}

func (r *refusal) Error() string { return r.why.Message }

func (r *refusal) Unwrap() error { return r.why }

func refused(status int, errno syscall.Errno, format string, arguments ...any) error {
	kind := kvmhotplug.ErrInvalid
	switch status {
	case http.StatusNotFound:
		kind = kvmhotplug.ErrNotFound
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		kind = kvmhotplug.ErrTimeout
	}
	return &refusal{status, &kvmhotplug.Error{Kind: kind, Errno: errno, Message: fmt.Sprintf(format, arguments...)}}
}

// takeWhole has the whole request here before anything is done for it: a client that never sends the rest of its body has
// nothing that others wait for.
func (s *server) takeWhole(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Time{})
		_ = control.SetReadDeadline(time.Now().Add(s.limits.patience))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			// The deadline stays: whatever the client has not sent, nobody waits for.
			w.Header().Set("Connection", "close")
			s.fail(w, r, s.bodyError(err))
			return
		}
		// What follows has its own deadline, and is cancelled when the client hangs up.
		_ = control.SetReadDeadline(time.Time{})
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		next.ServeHTTP(w, r)
	})
}

func (s *server) bodyError(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return refused(http.StatusRequestEntityTooLarge, syscall.EMSGSIZE, "the body is larger than %d bytes", large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refused(http.StatusRequestTimeout, syscall.ETIMEDOUT, "the body did not come within %v", s.limits.patience)
	}
	return badRequest("the body: %v", err)
}

// check refuses what the route does not take, in the query and as a body.
func check(r *http.Request, route route) error {
	takes := strings.Fields(route.takes)
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("the query: %v", err)
	}
	for name, values := range query {
		switch {
		case name != "timeout" && (name == "body" || !slices.Contains(takes, name)):
			return badRequest("%s takes no %q in its query%s", route.pattern, name, known(takes))
		case len(values) > 1 && name != "id":
			return badRequest("%s is there %d times", name, len(values))
		case slices.Contains(flags, name):
			if !slices.Contains([]string{"", "0", "1", "false", "true"}, values[0]) {
				return badRequest("%s=%q is neither 1 (or true, or nothing) nor 0 (or false)", name, values[0])
			}
		case slices.Contains(values, ""):
			return badRequest("%s has no value", name)
		}
	}
	return checkBody(r, route, slices.Contains(takes, "body"))
}

func known(takes []string) string {
	takes = slices.DeleteFunc(append(slices.Clone(takes), "timeout"), func(name string) bool { return name == "body" })
	return ": only " + strings.Join(takes, ", ")
}

// Parameters that are there or not: ?plan, ?plan=1, ?plan=true.
var flags = []string{"plan", "no_wait", "live_only", "leave_overlay", "incoming"}

// wanted tells whether a flag is in the query.
func wanted(r *http.Request, flag string) bool {
	query := r.URL.Query()
	value := query.Get(flag)
	return query.Has(flag) && value != "0" && value != "false"
}

// checkBody looks at what the client says of its body. curl -d says it were a form, unless told otherwise.
func checkBody(r *http.Request, route route, wanted bool) error {
	if !wanted {
		if r.ContentLength != 0 {
			return badRequest("%s takes no body", route.pattern)
		}
		return nil
	}
	unsupported := func(what, said string) error {
		return refused(http.StatusUnsupportedMediaType, syscall.EINVAL, "%s %q is not supported: the body has to be JSON, in UTF-8", what, said)
	}
	if coding := strings.Join(r.Header.Values("Content-Encoding"), ", "); coding != "" && coding != "identity" {
		return unsupported("the content encoding", coding)
	}
	said := strings.Join(r.Header.Values("Content-Type"), ", ")
	if said == "" {
		return nil
	}
	kind, parameters, err := mime.ParseMediaType(said)
	charset := parameters["charset"]
	if err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return unsupported("the content type", said)
	}
	if kind != "application/json" && kind != "application/x-www-form-urlencoded" && !strings.HasSuffix(kind, "+json") {
		return unsupported("the content type", said)
	}
	return nil
}

// deadline is that of ?timeout= or the header X-Timeout, such as 10s; without one, the library's. The call is cancelled
// when the client hangs up.
func deadline(r *http.Request) (context.Context, context.CancelFunc, error) {
	text, header := r.URL.Query().Get("timeout"), r.Header.Get("X-Timeout")
	if text != "" && header != "" && text != header {
		return nil, nil, badRequest("the timeout is %q in the query and %q in X-Timeout", text, header)
	}
	if text == "" {
		text = header
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

// read takes the body, which has to be a JSON object that the type can hold.
func read(r *http.Request, into any) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return decode(text, into)
}
