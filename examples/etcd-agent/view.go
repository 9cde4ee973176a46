package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"
)

// entry is a key's value with the revision that wrote it.
type entry struct {
	value    []byte
	revision int64
}

// nodeView is a node at one moment.
type nodeView struct {
	Name string
	Info NodeInfo
	// Revision of the leased key; 0 if there is none, and then Gone is since when this process has known
	// that.
	Revision int64
	Gone     time.Duration
	// Epoch is the revision of the epoch's key.
	Epoch int64
}

// guestView is a guest's keys at one moment.
type guestView struct {
	Name string
	// Spec is nil if there is none, or none that can be read: Problem says why then.
	Spec    *Spec
	Problem string
	Wanted  json.RawMessage
	// Desired is the revision up to which spec and devices are those here, and Changed that of the youngest
	// of their keys.
	Desired, Changed  int64
	Owner             Owner
	OwnerRevision     int64
	Migration         *Migration
	MigrationRevision int64
	Status            *Status
	// Deleted: there is no key of a spec.
	Deleted bool
}

// view is everything below the prefix at one moment. It is not changed any more.
type view struct {
	Revision int64
	Nodes    map[string]nodeView
	Guests   map[string]guestView
	// Loaded is when it was read as a whole. Nothing is known of the time before.
	Loaded time.Duration
}

func (v view) node(name string) nodeView {
	if known, ok := v.Nodes[name]; ok {
		return known
	}
	return nodeView{Name: name, Gone: v.Loaded}
}

func (v view) guest(name string) guestView {
	if known, ok := v.Guests[name]; ok {
		return known
	}
	return guestView{Name: name, Deleted: true}
}

// mirror is the keys as they come from etcd: loaded once, then changed by every event of the watch.
type mirror struct {
	schema  schema
	entries map[string]entry
	loaded  time.Duration
	// Since when a node's leased key is known to be missing.
	gone map[string]time.Duration
	// The last revision that changed spec or devices of a guest. What was deleted before the load is in none
	// of its keys.
	desired map[string]int64
	start   int64
	// The revision of the last event.
	revision int64
}

// newMirror begins at a revision of etcd, at which the entries are all that there is.
func newMirror(keys schema, entries map[string]entry, revision int64, now time.Duration) *mirror {
	return &mirror{schema: keys, entries: entries, loaded: now, gone: map[string]time.Duration{}, desired: map[string]int64{}, start: revision, revision: revision}
}

// put takes in an event; without a value the key was deleted.
func (m *mirror) put(key string, value []byte, revision int64, now time.Duration) {
	m.revision = max(m.revision, revision)
	kind, name, part, ok := m.schema.split(key)
	if !ok {
		return
	}
	if value == nil {
		delete(m.entries, key)
	} else {
		m.entries[key] = entry{value, revision}
	}
	switch {
	case kind == "nodes" && part == "lease" && value == nil:
		m.gone[name] = now
	case kind == "nodes" && part == "lease":
		delete(m.gone, name)
	case kind == "guests" && (part == specPart || strings.HasPrefix(part, devicesPart)):
		m.desired[name] = revision
	}
}

// view is the keys as they are now, taken apart.
func (m *mirror) view() view {
	made := view{Revision: m.revision, Nodes: map[string]nodeView{}, Guests: map[string]guestView{}, Loaded: m.loaded}
	devices, changed := map[string]map[string][]byte{}, map[string]int64{}
	for key, each := range m.entries {
		kind, name, part, ok := m.schema.split(key)
		switch {
		case !ok:
		case kind == "nodes":
			made.Nodes[name] = nodeWith(made.node(name), part, each)
		case kind == "guests" && strings.HasPrefix(part, devicesPart):
			if devices[name] == nil {
				devices[name] = map[string][]byte{}
			}
			devices[name][strings.TrimPrefix(part, devicesPart)] = each.value
			changed[name] = max(changed[name], each.revision)
		case kind == "guests":
			made.Guests[name] = guestWith(made.guest(name), part, each)
			if part == specPart {
				changed[name] = max(changed[name], each.revision)
			}
		}
	}
	for name, since := range m.gone {
		node := made.node(name)
		node.Gone = since
		made.Nodes[name] = node
	}
	for name := range made.Guests {
		guest := made.Guests[name]
		guest.Desired = max(m.start, m.desired[name])
		wanted, err := wantedList(devices[name])
		if err != nil && guest.Problem == "" {
			guest.Problem = err.Error()
		}
		guest.Wanted, guest.Changed = wanted, changed[name]
		made.Guests[name] = guest
	}
	return made
}

func nodeWith(node nodeView, part string, each entry) nodeView {
	switch part {
	case "lease":
		node.Revision = each.revision
		_ = json.Unmarshal(each.value, &node.Info)
	case "epoch":
		node.Epoch = each.revision
	}
	return node
}

func guestWith(guest guestView, part string, each entry) guestView {
	var err error
	switch part {
	case specPart:
		guest.Deleted = false
		var spec Spec
		if err = decode(each.value, &spec); err == nil {
			err = spec.check()
		}
		if err == nil {
			guest.Spec = &spec
		}
	case ownerPart:
		guest.OwnerRevision = each.revision
		err = json.Unmarshal(each.value, &guest.Owner)
	case migrationPart:
		guest.MigrationRevision = each.revision
		guest.Migration = new(Migration)
		err = json.Unmarshal(each.value, guest.Migration)
	case statusPart:
		guest.Status = new(Status)
		err = json.Unmarshal(each.value, guest.Status)
	}
	if err != nil {
		guest.Problem = fmt.Sprintf("the key of the %s: %v", part, err)
	}
	return guest
}

// wantedList is the devices in the order of their ids, as the library takes a list.
func wantedList(devices map[string][]byte) (json.RawMessage, error) {
	ids := make([]string, 0, len(devices))
	for id := range devices {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	list := make([]json.RawMessage, 0, len(ids))
	for _, id := range ids {
		device, err := wantedDevice(id, devices[id])
		if err != nil {
			return nil, fmt.Errorf("the key of the device %s: %w", id, err)
		}
		list = append(list, device)
	}
	return json.Marshal(list)
}
