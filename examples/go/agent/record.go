package main

import (
	"context"
	"math"
	"net/http"
	"path/filepath"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// onRecord is a handler that needs a guest's record, and no QEMU.
type onRecord func(ctx context.Context, r *http.Request, record *kvmhotplug.Runtime) (int, any, error)

// look opens the record for reading, whoever has it.
func (s *server) look(handle onRecord) handler {
	return func(ctx context.Context, r *http.Request) (int, any, error) {
		guest, err := s.guests.find(r.PathValue("guest"))
		if err != nil {
			return 0, nil, err
		}
		record, err := kvmhotplug.Read(guest.record)
		if err != nil {
			return 0, nil, err
		}
		defer record.Close()
		return handle(ctx, r, record)
	}
}

// own takes the record of a guest that does not run, to change it.
func (s *server) own(handle onRecord) handler {
	return func(ctx context.Context, r *http.Request) (status int, shown any, err error) {
		guest, err := s.guests.find(r.PathValue("guest"))
		if err != nil {
			return 0, nil, err
		}
		err = guest.hold(ctx, func(record *kvmhotplug.Runtime) (err error) {
			status, shown, err = handle(ctx, r, record)
			return err
		})
		return status, shown, err
	}
}

func listRecord(_ context.Context, _ *http.Request, record *kvmhotplug.Runtime) (int, any, error) {
	return list(record.Devices())
}

// planBoot says how full the next boot will be.
func planBoot(_ context.Context, r *http.Request, record *kvmhotplug.Runtime) (int, any, error) {
	spare, err := numberOf(r, "spare_ports", "", 0)
	if err != nil {
		return 0, nil, err
	}
	plan, err := record.PlanBoot(int(min(spare, math.MaxInt32)))
	return http.StatusOK, plan, err
}

// checkHost says what keeps this host from starting the guest.
func checkHost(ctx context.Context, r *http.Request, record *kvmhotplug.Runtime) (int, any, error) {
	return list(record.Check(ctx, kvmhotplug.Check{Incoming: wanted(r, "incoming"), Monitor: r.URL.Query().Get("monitor")}))
}

// convert writes a copy of the record in another format.
func convert(_ context.Context, r *http.Request, record *kvmhotplug.Runtime) (int, any, error) {
	var to struct {
		Format kvmhotplug.RuntimeFormat `json:"format"`
		Path   string                   `json:"path"`
	}
	if err := read(r, &to); err != nil {
		return 0, nil, err
	}
	if to.Format == 0 || !filepath.IsAbs(to.Path) {
		return 0, nil, badRequest(`the body needs a "format" and an absolute "path"`)
	}
	converted, err := record.Convert(to.Format)
	if err != nil {
		return 0, nil, err
	}
	defer converted.Close()
	return http.StatusCreated, to, converted.Save(to.Path)
}

// recording adds to the record of a guest that does not run.
func recording[T any](add func(*kvmhotplug.Runtime, T) (kvmhotplug.Device, error)) onRecord {
	return func(_ context.Context, r *http.Request, record *kvmhotplug.Runtime) (int, any, error) {
		var device T
		if err := read(r, &device); err != nil {
			return 0, nil, err
		}
		added, err := add(record, device)
		return http.StatusCreated, added, err
	}
}

func removeRecorded(_ context.Context, r *http.Request, record *kvmhotplug.Runtime) (int, any, error) {
	id := r.PathValue("id")
	found, err := record.Del(id)
	return http.StatusOK, map[string]any{"id": id, "found": found}, err
}
