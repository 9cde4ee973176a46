package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"

	"example.org/kvmhotplug"
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
	return &refusal{status, &kvmhotplug.Error{Kind: kvmhotplug.ErrInvalid, Errno: errno, Message: fmt.Sprintf(format, arguments...)}}
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
		r.Body = io.NopCloser(bytes.NewReader(body))
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
