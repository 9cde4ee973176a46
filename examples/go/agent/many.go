package main

import (
	"context"
	"net/http"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// addMany plugs NICs and disks in as one operation, all or nothing.
func addMany(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	var batch kvmhotplug.Batch
	if err := read(r, &batch); err != nil {
		return 0, nil, err
	}
	added, err := guest.AddMany(ctx, batch)
	status := http.StatusCreated
	for _, device := range added {
		status = max(status, statusOfState(kvmhotplug.State(device.State), http.StatusCreated))
	}
	_, shown, err := list(added, err)
	return status, shown, err
}

// removeMany asks for all of them at once. Each has an answer of its own: 207 if one of them is an error.
func removeMany(ctx context.Context, r *http.Request, guest *kvmhotplug.Guest) (int, any, error) {
	ids := r.URL.Query()["id"]
	if len(ids) == 0 {
		return 0, nil, badRequest("which devices? ?id=A&id=B")
	}
	answers, err := guest.DelMany(ctx, ids, removalOf(r))
	if answers == nil {
		return 0, nil, err
	}
	status := http.StatusOK
	for _, answer := range answers {
		if answer.Errno != 0 {
			status = http.StatusMultiStatus
			continue
		}
		status = max(status, statusOfState(answer.State, http.StatusOK))
	}
	return status, answers, nil
}
