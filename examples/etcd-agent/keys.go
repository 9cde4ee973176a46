package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Names of guests, nodes and devices are parts of keys and of paths.
var nameFormat = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func checkName(what, name string) error {
	if !nameFormat.MatchString(name) {
		return fmt.Errorf("%s %q: a name has 1 to 64 letters, digits, dots, hyphens or underscores, and begins with a letter or a digit", what, name)
	}
	return nil
}

// schema says where everything is below a prefix. README.md has a table of it.
type schema struct{ prefix string }

// The leased key exists as long as the agent of that node renews its lease.
func (s schema) lease(node string) string { return s.prefix + "/nodes/" + node + "/lease" }

// The epoch stays. It is written whenever an agent takes the leased key, so its revision tells one lease from
// the next.
func (s schema) epoch(node string) string { return s.prefix + "/nodes/" + node + "/epoch" }

func (s schema) guest(name, part string) string { return s.prefix + "/guests/" + name + "/" + part }

func (s schema) device(name, id string) string { return s.guest(name, devicesPart+id) }

// Parts of a guest's keys.
const (
	specPart      = "spec"
	devicesPart   = "devices/"
	ownerPart     = "owner"
	migrationPart = "migration"
	statusPart    = "status"
)

// split takes a key apart: "guests", "web1", "devices/data".
func (s schema) split(key string) (kind, name, part string, ok bool) {
	rest, ok := strings.CutPrefix(key, s.prefix+"/")
	parts := strings.SplitN(rest, "/", 3)
	if !ok || len(parts) != 3 || !nameFormat.MatchString(parts[1]) {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// NodeInfo is the value of a node's leased key.
type NodeInfo struct {
	// Address is where migrations to this node come in.
	Address string `json:"address"`
}

// Spec is what a guest is to be, but for its devices, which have keys of their own.
type Spec struct {
	// Node is where the guest is to run.
	Node string `json:"node"`
	// Machine is pc or q35, or one of them with a version; Memory is in MiB.
	Machine string `json:"machine"`
	Memory  int    `json:"memory"`
	// Options are more of QEMU's options, for whatever is neither NIC nor disk.
	Options []string `json:"options,omitempty"`
	// SparePorts is for how many more devices a guest on q35 is started with root ports.
	SparePorts int `json:"spare_ports,omitempty"`
}

func (s Spec) check() error {
	if s.Memory < 1 || s.SparePorts < 0 || s.Machine == "" {
		return fmt.Errorf("a guest needs a machine, 1 MiB of memory or more, and no negative number of spare ports")
	}
	return checkName("the node", s.Node)
}

// Owner says which node may run the guest. It is only ever replaced by compare-and-swap.
type Owner struct {
	Node string `json:"node"`
	// From is the dead node that the guest was taken from, if it was: its record is still to be fetched
	// there.
	From string `json:"from,omitempty"`
}

// Phase is how far a migration is.
type Phase string

const (
	// The source asks for a target, the target waits for the guest, the source sends it, the target has all
	// of it.
	phasePrepare Phase = "prepare"
	phaseReady   Phase = "ready"
	phaseMoving  Phase = "moving"
	phaseArrived Phase = "arrived"
	// The target cannot; the source takes the migration back.
	phaseFailed Phase = "failed"
)

// Migration is a migration that is under way.
type Migration struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Phase Phase  `json:"phase"`
	// URI is where the target waits, as QEMU's command "migrate" takes it.
	URI   string `json:"uri,omitempty"`
	Error string `json:"error,omitempty"`
}

// Status is what the owner says of its guest.
type Status struct {
	Node  string `json:"node"`
	State string `json:"state"`
	// Revision of etcd up to which the guest's keys have been acted on.
	Revision int64          `json:"revision"`
	Devices  []DeviceStatus `json:"devices,omitempty"`
	Slots    []SlotStatus   `json:"slots,omitempty"`
	Error    string         `json:"error,omitempty"`
}

// DeviceStatus is a device that is wanted, or that is still there.
type DeviceStatus struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	// State is done (live), pending, after-reboot, refused, failed or left, and Reason says why.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Place  string `json:"place,omitempty"`
}

// SlotStatus is one slot of a PCI bus.
type SlotStatus struct {
	Bus      string `json:"bus"`
	Slot     uint32 `json:"slot"`
	State    string `json:"state"`
	Occupant string `json:"occupant,omitempty"`
}

// decode reads a value, and refuses members that it does not know, so that a typing error is not a default.
func decode(value []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return fmt.Errorf("something follows the JSON object")
	}
	return nil
}

// wantedDevice is the object of a device's key with its id in it, as the library's wanted lists have it.
func wantedDevice(id string, value []byte) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, fmt.Errorf("this is no JSON object")
	}
	if _, there := members["id"]; there {
		return nil, fmt.Errorf(`"id" is not for the value: the key has it`)
	}
	quoted, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	members["id"] = quoted
	return json.Marshal(members)
}
