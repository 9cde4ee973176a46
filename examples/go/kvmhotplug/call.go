package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

const (
	// DefaultTimeout of calls whose context has no deadline, except removals.
	DefaultTimeout = C.KVM_HOTPLUG_DEFAULT_TIMEOUT_MS * time.Millisecond
	// DefaultRemovalTimeout of removals whose context has no deadline.
	DefaultRemovalTimeout = C.KVM_HOTPLUG_DEFAULT_REMOVAL_TIMEOUT_MS * time.Millisecond
)

// A cancel that comes before the call has reached the library ends nothing; it is repeated after this.
const cancelAgain = 200 * time.Microsecond

// request is one call into the library on a guest: the handle, and the milliseconds that are left for it.
type request func(handle *C.struct_kvm_hotplug, timeout C.uint32_t, err **C.struct_kvm_hotplug_error) C.int

func deadlineOf(ctx context.Context, otherwise time.Duration) time.Time {
	if deadline, ok := ctx.Deadline(); ok {
		return deadline
	}
	return time.Now().Add(otherwise)
}

// milliseconds until then, rounded up, and never 0, which would mean the default.
func millisecondsUntil(deadline time.Time) C.uint32_t {
	left := (time.Until(deadline) + time.Millisecond - 1) / time.Millisecond
	return C.uint32_t(min(max(left, 1), math.MaxUint32))
}

// call waits for the guest's turn and makes one call. With the turn held nobody else is in the library with this handle,
// so that a cancel, which ends whatever call is running, can only hit this one.
func (g *Guest) call(ctx context.Context, otherwise time.Duration, do request) (C.int, error) {
	deadline := deadlineOf(ctx, otherwise)
	if err := g.enter(ctx, deadline); err != nil {
		return 0, err
	}
	defer g.leave()
	return g.perform(ctx, deadline, do)
}

// perform makes the call; the turn is held.
func (g *Guest) perform(ctx context.Context, deadline time.Time, do request) (C.int, error) {
	var failure *C.struct_kvm_hotplug_error
	end := g.cancelWith(ctx, deadline)
	code := do(g.handle, millisecondsUntil(deadline), &failure)
	end()
	if code >= 0 {
		return code, nil
	}
	err := takeError(failure, code)
	if ours, ok := err.(*Error); ok && (ours.Kind == ErrCanceled || ours.Kind == ErrTimeout) {
		ours.cause = context.Cause(ctx)
	}
	return code, err
}

// enter takes the turn, or fails without having changed anything.
func (g *Guest) enter(ctx context.Context, deadline time.Time) error {
	const waiting = "another call on this guest is still running"
	if ctx.Err() != nil {
		return endedError(ctx, "not begun")
	}
	select {
	case <-g.closing:
		return closedError("the guest")
	case g.turn <- struct{}{}:
	default:
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		select {
		case <-g.closing:
			return closedError("the guest")
		case <-ctx.Done():
			return endedError(ctx, waiting)
		case <-timer.C:
			return endedError(ctx, waiting)
		case g.turn <- struct{}{}:
		}
	}
	// Of several things that are ready, select takes any.
	select {
	case <-g.closing:
		g.leave()
		return closedError("the guest")
	default:
		return nil
	}
}

func (g *Guest) leave() { <-g.turn }

// cancelWith ends the call when the context is cancelled, until the function it returns is called; nothing is cancelled
// after that. The deadline is the library's own matter: it has better answers at the end of it than "cancelled".
func (g *Guest) cancelWith(ctx context.Context, deadline time.Time) (end func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	var over atomic.Bool
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		if ctx.Err() == context.DeadlineExceeded && !time.Now().Before(deadline) {
			return
		}
		for !over.Load() && C.kvm_hotplug_cancel(g.handle, nil) == 0 {
			time.Sleep(cancelAgain)
		}
	})
	return func() {
		over.Store(true)
		if !stop() {
			<-stopped
		}
	}
}

// detached makes a call that the library cannot cancel. When the context is cancelled it is left to itself, and what it
// brings is discarded.
func detached[T any](ctx context.Context, what string, do func(timeout C.uint32_t) (T, error), discard func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var none T
	deadline := deadlineOf(ctx, DefaultTimeout)
	if ctx.Err() != nil {
		return none, endedError(ctx, "not begun")
	}
	done, abandoned := make(chan outcome), make(chan struct{})
	go func() {
		value, err := do(millisecondsUntil(deadline))
		select {
		case done <- outcome{value, err}:
		case <-abandoned:
			if err == nil {
				discard(value)
			}
		}
	}()
	select {
	case got := <-done:
		return got.value, got.err
	case <-ctx.Done():
	}
	if ctx.Err() == context.DeadlineExceeded {
		// The library keeps to the deadline, and knows what it was waiting for.
		got := <-done
		return got.value, got.err
	}
	close(abandoned)
	return none, endedError(ctx, what)
}
