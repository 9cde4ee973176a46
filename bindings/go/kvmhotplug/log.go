package kvmhotplug

// #include <stdint.h>
// #include <stdlib.h>
// #include <kvm_hotplug.h>
//
// extern void kvmhotplugLogLine(void *userdata, int level, char *message);
// extern void kvmhotplugLogFree(void *userdata);
//
// /* The userdata is a number, a cgo.Handle, and never a pointer. */
// static int kvmhotplug_set_log(struct kvm_runtime *runtime, int level, uintptr_t handle,
//                               struct kvm_hotplug_error **reterr)
// {
//     return kvm_runtime_set_log(runtime, level, (kvm_hotplug_log_fn)kvmhotplugLogLine, (void *)handle,
//                                kvmhotplugLogFree, reterr);
// }
import "C"

import (
	"context"
	"log/slog"
	"runtime/cgo"
)

// SetLogger sets where log lines go, for guests opened with this record from now on: those of this level and above. Nil
// stops logging. Without this call nothing is logged.
//
// The handler runs in the middle of a call of this package: while it runs, its guest answers nobody else, so it must not
// wait for one that does. Guests opened with one record may log at the same time. A handler that panics loses the line.
func (r *Runtime) SetLogger(logger *slog.Logger, level slog.Level) error {
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		if logger == nil {
			return C.kvm_runtime_set_log(handle, C.KVM_HOTPLUG_LOG_OFF, nil, nil, nil, failure)
		}
		// The library frees it, also when this fails.
		userdata := cgo.NewHandle(logger)
		return C.kvmhotplug_set_log(handle, libraryLevel(level), C.uintptr_t(userdata), failure)
	})
}

func libraryLevel(level slog.Level) C.int {
	switch {
	case level > slog.LevelWarn:
		return C.KVM_HOTPLUG_LOG_ERROR
	case level > slog.LevelInfo:
		return C.KVM_HOTPLUG_LOG_WARNING
	case level > slog.LevelDebug:
		return C.KVM_HOTPLUG_LOG_INFO
	}
	return C.KVM_HOTPLUG_LOG_DEBUG
}

func slogLevel(level C.int) slog.Level {
	switch level {
	case C.KVM_HOTPLUG_LOG_ERROR:
		return slog.LevelError
	case C.KVM_HOTPLUG_LOG_WARNING:
		return slog.LevelWarn
	case C.KVM_HOTPLUG_LOG_INFO:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func logLine(userdata cgo.Handle, level C.int, message string) {
	// A panic must not unwind the library's frames.
	defer func() { _ = recover() }()
	userdata.Value().(*slog.Logger).Log(context.Background(), slogLevel(level), message)
}
