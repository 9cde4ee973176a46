package main

import (
	"context"
	"net/http"
	"syscall"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

func (s *server) listGuests(context.Context, *http.Request) (int, any, error) {
	all := []status{}
	for _, guest := range s.guests.list() {
		all = append(all, guest.status())
	}
	return http.StatusOK, all, nil
}

func (s *server) showGuest(_ context.Context, r *http.Request) (int, any, error) {
	guest, err := s.guests.find(r.PathValue("guest"))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, guest.status(), nil
}

// createGuest makes the record of a guest whose QEMU is started elsewhere.
func (s *server) createGuest(ctx context.Context, r *http.Request) (int, any, error) {
	name := r.PathValue("guest")
	if !nameFormat.MatchString(name) {
		return 0, nil, badRequest("the name %q is none: letters, digits, '.', '_' and '-', at most 64", name)
	}
	config := kvmhotplug.Config{Name: name}
	if err := read(r, &config); err != nil {
		return 0, nil, err
	}
	guest, err := s.guests.create(name, config)
	if err != nil {
		return 0, nil, err
	}
	select {
	case <-guest.tried:
	case <-ctx.Done():
	}
	return http.StatusCreated, guest.status(), nil
}

func showVersion(context.Context, *http.Request) (int, any, error) {
	return http.StatusOK, map[string]any{"library": kvmhotplug.Version(), "abi": kvmhotplug.ABIVersion}, nil
}

func listDevices(ctx context.Context, _ *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	return list(guest.Devices(ctx))
}

func showDevice(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	result, err := guest.Device(ctx, r.PathValue("id"))
	if err == nil && result.State == kvmhotplug.Absent {
		return http.StatusNotFound, result, nil
	}
	return http.StatusOK, result.Device, err
}

func planned(plan kvmhotplug.Plan, err error) (int, any, error) {
	return http.StatusOK, plan, err
}

// adding plugs one device in, or says what that would take.
func adding[T any](
	plan func(*kvmhotplug.Guest, context.Context, T) (kvmhotplug.Plan, error),
	add func(*kvmhotplug.Guest, context.Context, T) (kvmhotplug.Result, error),
) onGuest {
	return func(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
		var device T
		if err := read(r, &device); err != nil {
			return 0, nil, err
		}
		if wanted(r, "plan") {
			return planned(plan(guest, ctx, device))
		}
		result, err := add(guest, ctx, device)
		return statusOfState(result.State, http.StatusCreated), result, err
	}
}

func removalOf(r *http.Request) kvmhotplug.Removal {
	return kvmhotplug.Removal{NoWait: wanted(r, "no_wait"), LiveOnly: wanted(r, "live_only"), LeaveOverlay: wanted(r, "leave_overlay")}
}

func removeDevice(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	id := r.PathValue("id")
	how := removalOf(r)
	if wanted(r, "plan") {
		return planned(guest.PlanDel(ctx, id, how))
	}
	result, err := guest.Del(ctx, id, how)
	return statusOfState(result.State, http.StatusOK), result, err
}

// removing leaves a device of another type alone.
func removing(remove func(*kvmhotplug.Guest, context.Context, string) (kvmhotplug.Result, error)) onGuest {
	return func(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
		result, err := remove(guest, ctx, r.PathValue("id"))
		return statusOfState(result.State, http.StatusOK), result, err
	}
}

// describe shows everything that is known of one device, or of all.
func describe(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	id := r.PathValue("id")
	text, err := guest.Describe(ctx, id)
	if err == nil && text == nil {
		return 0, nil, &kvmhotplug.Error{Kind: kvmhotplug.ErrNotFound, Errno: syscall.ENOENT, Message: "there is no device " + id}
	}
	return http.StatusOK, text, err
}

func setLink(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	var link struct {
		Up *bool `json:"up"`
	}
	if err := read(r, &link); err != nil {
		return 0, nil, err
	}
	if link.Up == nil {
		return 0, nil, badRequest(`the body says nothing about "up"`)
	}
	result, err := guest.SetLink(ctx, r.PathValue("id"), *link.Up)
	return statusOfState(result.State, http.StatusOK), result, err
}

// moveNIC takes a NIC out of any bridge when the name is "".
func moveNIC(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	var to struct {
		Bridge *string `json:"bridge"`
	}
	if err := read(r, &to); err != nil {
		return 0, nil, err
	}
	if to.Bridge == nil {
		return 0, nil, badRequest(`the body names no "bridge"`)
	}
	result, err := guest.SetBridge(ctx, r.PathValue("id"), *to.Bridge)
	return statusOfState(result.State, http.StatusOK), result, err
}

func resizeDisk(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	var to kvmhotplug.Resize
	if err := read(r, &to); err != nil {
		return 0, nil, err
	}
	size, err := guest.ResizeDisk(ctx, r.PathValue("id"), to)
	return http.StatusOK, map[string]uint64{"bytes": size}, err
}

// runQMP passes a command of the client's own on to QEMU.
func runQMP(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	var command kvmhotplug.Command
	if err := read(r, &command); err != nil {
		return 0, nil, err
	}
	reply, err := guest.QMP(ctx, command)
	return http.StatusOK, map[string]any{"return": reply}, err
}

func listSlots(ctx context.Context, _ *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	return list(guest.Slots(ctx))
}

func verify(ctx context.Context, _ *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	return list(guest.Verify(ctx))
}

func repair(ctx context.Context, _ *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	return list(guest.Repair(ctx))
}
