package kvmhotplug

// #include <kvm_hotplug.h>
import "C"

import (
	"context"
	"math"
	"runtime"
	"time"
)

const (
	// DefaultTimeout of calls whose context has no deadline, except removals.
	DefaultTimeout = C.KVM_HOTPLUG_DEFAULT_TIMEOUT_MS * time.Millisecond
	// DefaultRemovalTimeout of removals whose context has no deadline.
	DefaultRemovalTimeout = C.KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS * time.Millisecond
)

// A cancel that comes before the call has reached the library ends nothing; it is repeated after this.
const cancelAgain = 200 * time.Microsecond

// How long after its deadline a call is ended that has not ended by itself.
const overdue = time.Second

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

// call makes one call. Others may be in the library with this handle at the same time.
func (g *Guest) call(ctx context.Context, otherwise time.Duration, do request) (C.int, error) {
	deadline := deadlineOf(ctx, otherwise)
	if err := g.enter(ctx); err != nil {
		return 0, err
	}
	defer g.leave()
	return g.perform(ctx, deadline, do)
}

// perform makes the call; the guest is entered.
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

// enter keeps the handle open until leave, or fails without having changed anything.
func (g *Guest) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return endedError(ctx, "not begun")
	}
	select {
	case <-g.closing:
		return closedError("the guest")
	default:
	}
	g.inside.RLock()
	// Close may have come before.
	select {
	case <-g.closing:
		g.leave()
		return closedError("the guest")
	default:
		return nil
	}
}

func (g *Guest) leave() { g.inside.RUnlock() }

// cancelWith ends the call that comes next when the context is cancelled, until the function it returns is called; nothing
// is cancelled after that. Until then the goroutine stays on its thread, so that no other call is ended: the library tells calls
// apart by their threads. The deadline is the library's own matter: it has better answers at the end of it than "cancelled".
// A call that it gives no timeout is ended as well, a while later.
func (g *Guest) cancelWith(ctx context.Context, deadline time.Time) (end func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	runtime.LockOSThread()
	thread := C.kvm_hotplug_thread()
	over, stopped := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		pause := time.Duration(0)
		if ctx.Err() == context.DeadlineExceeded && !time.Now().Before(deadline) {
			pause = overdue
		}
		for {
			select {
			case <-over:
				return
			case <-time.After(pause):
			}
			if C.kvm_hotplug_cancel_thread(g.handle, thread, nil) != 0 {
				return
			}
			pause = cancelAgain
		}
	})
	return func() {
		close(over)
		if !stop() {
			<-stopped
		}
		runtime.UnlockOSThread()
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
