package kvmhotplug_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

const header = "../../../include/kvm_hotplug.h"

// Functions that the package does not call, each with the reason.
var unbound = map[string]string{
	"kvm_hotplug_cancel":     "kvm_hotplug_cancel_thread ends one call and no other",
	"kvm_hotplug_open":       "kvm_hotplug_open_with does the same and more",
	"kvm_hotplug_next_event": "kvm_hotplug_next_event_json says more",
	"kvm_hotplug_enum_name":  "String of each enumeration says the same",
	"kvm_boot_inherit":       "for a child between fork and exec; exec.Cmd.ExtraFiles does that in Go",
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	ok(t, err)
	return string(text)
}

// used is what the expression finds in the package's source, by the group that matched.
func used(t *testing.T, expression string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	ok(t, err)
	words := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(read(t, file), -1) {
			words[strings.Join(match[1:], "")] = true
		}
	}
	return words
}

func TestEveryFunctionOfTheHeaderIsBound(t *testing.T) {
	comments := regexp.MustCompile(`(?s)/\*.*?\*/`)
	declared := regexp.MustCompile(`(?m)^[a-z][a-z0-9_ *]*\b(kvm_[a-z0-9_]+)\(`)
	words := used(t, `\b(kvm_[a-z0-9_]+)\(`)
	functions := declared.FindAllStringSubmatch(comments.ReplaceAllString(read(t, header), ""), -1)
	if len(functions) < 36 {
		t.Fatalf("only %d functions were found in the header", len(functions))
	}
	for _, match := range functions {
		if _, excused := unbound[match[1]]; words[match[1]] == excused {
			t.Errorf("%s: called %v, listed as not called %v", match[1], words[match[1]], excused)
		}
	}
}

// named is an enumeration of the package by the number and the name of each value.
type named func(value int) string

func text[E interface {
	~uint32
	fmt.Stringer
}](value int) string {
	return E(value).String()
}

// Every value of the header's enumerations has a name here, made from the header's.
func TestEnumerationsAreThoseOfTheHeader(t *testing.T) {
	enumerations := []struct {
		name, prefix string
		named        named
	}{
		{"kvm_hotplug_error_kind", "KVM_HOTPLUG_ERROR_", text[kvmhotplug.Kind]},
		{"kvm_hotplug_undo", "KVM_HOTPLUG_UNDO_", text[kvmhotplug.Undo]},
		{"kvm_hotplug_answer", "KVM_HOTPLUG_ANSWER_", text[kvmhotplug.State]},
		{"kvm_hotplug_state", "KVM_HOTPLUG_STATE_", text[kvmhotplug.DeviceState]},
		{"kvm_hotplug_device_type", "KVM_HOTPLUG_DEVICE_", text[kvmhotplug.DeviceType]},
		{"kvm_hotplug_address_type", "KVM_HOTPLUG_ADDRESS_", text[kvmhotplug.AddressType]},
		{"kvm_hotplug_reason", "KVM_HOTPLUG_REASON_", text[kvmhotplug.Reason]},
		{"kvm_hotplug_vhost", "KVM_HOTPLUG_VHOST_", text[kvmhotplug.Vhost]},
		{"kvm_hotplug_format", "KVM_HOTPLUG_FORMAT_", text[kvmhotplug.Format]},
		{"kvm_runtime_slot_policy", "KVM_RUNTIME_SLOT_POLICY_", text[kvmhotplug.SlotPolicy]},
		{"kvm_runtime_when_full", "KVM_RUNTIME_WHEN_FULL_", text[kvmhotplug.WhenFull]},
		{"kvm_runtime_format", "KVM_RUNTIME_FORMAT_", text[kvmhotplug.RuntimeFormat]},
		{"kvm_hotplug_backing", "KVM_HOTPLUG_BACKING_", text[kvmhotplug.Backing]},
		{"kvm_hotplug_cache", "KVM_HOTPLUG_CACHE_", text[kvmhotplug.Cache]},
		{"kvm_hotplug_aio", "KVM_HOTPLUG_AIO_", text[kvmhotplug.AIO]},
		{"kvm_hotplug_discard", "KVM_HOTPLUG_DISCARD_", text[kvmhotplug.Discard]},
		{"kvm_hotplug_detect_zeroes", "KVM_HOTPLUG_DETECT_ZEROES_", text[kvmhotplug.DetectZeroes]},
		{"kvm_hotplug_event_type", "KVM_HOTPLUG_EVENT_", text[kvmhotplug.EventType]},
		{"kvm_hotplug_slot_state", "KVM_HOTPLUG_SLOT_", text[kvmhotplug.SlotState]},
		{"kvm_hotplug_io_action", "KVM_HOTPLUG_IO_ACTION_", text[kvmhotplug.IOAction]},
		{"kvm_boot_incoming", "KVM_BOOT_INCOMING_", text[kvmhotplug.Incoming]},
		{"kvm_boot_machine", "KVM_BOOT_MACHINE_", text[kvmhotplug.Machine]},
		{"kvm_runtime_problem_kind", "KVM_RUNTIME_PROBLEM_", text[kvmhotplug.ProblemKind]},
		{"kvm_hotplug_difference_kind", "KVM_HOTPLUG_DIFFERENCE_", text[kvmhotplug.DifferenceKind]},
	}
	// Levels are slog's.
	elsewhere := []string{"kvm_hotplug_log_level"}
	bodies := regexp.MustCompile(`(?s)\nenum (\w+) \{(.*?)\n\};`).FindAllStringSubmatch(read(t, header), -1)
	values := regexp.MustCompile(`(?m)^    (KVM_\w+) = (\d+),(?: /\*\*<.*)?$`)
	seen := 0
	for _, body := range bodies {
		if slices.Contains(elsewhere, body[1]) {
			continue
		}
		seen++
		index := slices.IndexFunc(enumerations, func(one struct {
			name, prefix string
			named        named
		}) bool {
			return one.name == body[1]
		})
		if index < 0 {
			t.Errorf("enum %s of the header is not in this table", body[1])
			continue
		}
		one := enumerations[index]
		for _, value := range values.FindAllStringSubmatch(body[2], -1) {
			number, err := strconv.Atoi(value[2])
			ok(t, err)
			want := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(value[1], one.prefix)), "_", "-")
			if value[1] == "KVM_HOTPLUG_AIO_IO_URING" {
				want = "io_uring" // QEMU's own word
			}
			if got := one.named(number); got != want {
				t.Errorf("%s = %d is named %q, want %q", value[1], number, got, want)
			}
		}
	}
	if seen != len(enumerations) {
		t.Errorf("%d of %d enumerations were found in the header", seen, len(enumerations))
	}
}

// The fields that the package fills in or reads are all that the header's structs have.
func TestEveryFieldOfTheHeaderIsUsed(t *testing.T) {
	// Always 0.
	spare := []string{"reserved"}
	// Events come as JSON.
	elsewhere := []string{"kvm_hotplug_event"}
	comments := regexp.MustCompile(`(?s)/\*.*?\*/`)
	bodies := regexp.MustCompile(`(?s)\nstruct (\w+) \{(.*?)\n\};`).FindAllStringSubmatch(comments.ReplaceAllString(read(t, header), ""), -1)
	fields := regexp.MustCompile(`(?m)^    .*?(\w+)(\[\d+\])?;$`)
	words := used(t, `(?:\.(\w+)\b|\b(\w+):)`)
	if len(bodies) < 9 {
		t.Fatalf("only %d structs were found in the header", len(bodies))
	}
	for _, body := range bodies {
		if slices.Contains(elsewhere, body[1]) {
			continue
		}
		for _, field := range fields.FindAllStringSubmatch(body[2], -1) {
			if !words[field[1]] && !slices.Contains(spare, field[1]) {
				t.Errorf("struct %s: nothing here uses %s", body[1], field[1])
			}
		}
	}
}

// What the header's comments send the reader to is there.
func TestTheHeaderDeclaresWhatItMentions(t *testing.T) {
	text := read(t, header)
	names := regexp.MustCompile(`\bKVM_(?:HOTPLUG|RUNTIME|BOOT)_[A-Z0-9_]*[A-Z0-9]\b|\benum kvm_\w+|\bstruct kvm_\w+|\bkvm_[a-z0-9_]+\(\)`)
	comments := regexp.MustCompile(`(?s)/\*.*?\*/`)
	code := comments.ReplaceAllString(text, "")
	for _, comment := range comments.FindAllString(text, -1) {
		for _, name := range names.FindAllString(comment, -1) {
			// How the header itself is made.
			if name == "KVM_HOTPLUG_HEADER" {
				continue
			}
			if !strings.Contains(code, strings.TrimSuffix(name, ")")) {
				t.Errorf("the header mentions %s, and does not declare it", name)
			}
		}
	}
}
