//! The enumerations of the Go package, made from the header's.

use std::fmt::Write;

use crate::header::{Header, Item, Kind};
use crate::names;
use crate::words::{fill, translated};

/// What an enumeration is called in Go.
struct Name {
    /// `kvm_hotplug_cache`.
    c: &'static str,
    /// What the names of its values begin with in C.
    c_prefix: &'static str,
    /// Its type in Go.
    go: &'static str,
    /// What the names of its values begin with in Go.
    prefix: &'static str,
    /// What one value of it is, for an error about a name that is none.
    what: &'static str,
}

const fn name(
    c: &'static str,
    c_prefix: &'static str,
    go: &'static str,
    prefix: &'static str,
    what: &'static str,
) -> Name {
    Name { c, c_prefix, go, prefix, what }
}

const NAMES: &[Name] = &[
    name("kvm_hotplug_error_kind", "KVM_HOTPLUG_ERROR", "Kind", "Err", "kind of error"),
    name("kvm_hotplug_undo", "KVM_HOTPLUG_UNDO", "Undo", "Undo", "outcome of an undo"),
    name("kvm_hotplug_device_type", "KVM_HOTPLUG_DEVICE", "DeviceType", "Type", "type of device"),
    name("kvm_hotplug_answer", "KVM_HOTPLUG_ANSWER", "State", "", "state"),
    name("kvm_hotplug_state", "KVM_HOTPLUG_STATE", "DeviceState", "Device", "state of a device"),
    name("kvm_hotplug_address_type", "KVM_HOTPLUG_ADDRESS", "AddressType", "Address", "kind of address"),
    name("kvm_hotplug_reason", "KVM_HOTPLUG_REASON", "Reason", "Reason", "reason"),
    name("kvm_hotplug_vhost", "KVM_HOTPLUG_VHOST", "Vhost", "Vhost", "vhost mode"),
    name("kvm_hotplug_format", "KVM_HOTPLUG_FORMAT", "Format", "Format", "image format"),
    name("kvm_hotplug_cache", "KVM_HOTPLUG_CACHE", "Cache", "Cache", "cache mode"),
    name("kvm_hotplug_aio", "KVM_HOTPLUG_AIO", "AIO", "AIO", "way of I/O"),
    name("kvm_hotplug_discard", "KVM_HOTPLUG_DISCARD", "Discard", "Discard", "discard mode"),
    name(
        "kvm_hotplug_detect_zeroes",
        "KVM_HOTPLUG_DETECT_ZEROES",
        "DetectZeroes",
        "DetectZeroes",
        "zero detection",
    ),
    name("kvm_hotplug_backing", "KVM_HOTPLUG_BACKING", "Backing", "Backing", "rule for backing files"),
    name("kvm_hotplug_slot_state", "KVM_HOTPLUG_SLOT", "SlotState", "Slot", "state of a slot"),
    name(
        "kvm_hotplug_difference_kind",
        "KVM_HOTPLUG_DIFFERENCE",
        "DifferenceKind",
        "Difference",
        "kind of difference",
    ),
    name("kvm_hotplug_io_action", "KVM_HOTPLUG_IO_ACTION", "IOAction", "IO", "action"),
    name("kvm_hotplug_event_type", "KVM_HOTPLUG_EVENT", "EventType", "Event", "type of event"),
    name("kvm_boot_incoming", "KVM_BOOT_INCOMING", "Incoming", "Incoming", "way of an incoming migration"),
    name("kvm_boot_machine", "KVM_BOOT_MACHINE", "Machine", "Machine", "kind of machine"),
    name("kvm_runtime_problem_kind", "KVM_RUNTIME_PROBLEM", "ProblemKind", "Problem", "kind of problem"),
    name("kvm_runtime_slot_policy", "KVM_RUNTIME_SLOT_POLICY", "SlotPolicy", "Slots", "slot policy"),
    name("kvm_runtime_when_full", "KVM_RUNTIME_WHEN_FULL", "WhenFull", "WhenFull", "way of a full guest"),
    name("kvm_runtime_format", "KVM_RUNTIME_FORMAT", "RuntimeFormat", "Runtime", "runtime file format"),
];

/// A value that the Go package has besides: its type, its name or number in Go, its name in C if it has one,
/// its text, and what is said of it.
const MORE: &[(&str, &str, &str, &str, &str)] = &[
    ("DeviceType", "0", "", "none", ""),
    (
        "State",
        "Missing",
        "KVM_HOTPLUG_STATE_MISSING",
        "missing",
        "([Guest.Device] only) recorded, but not in the guest when it was last asked.",
    ),
];

/// Levels are those of log/slog.
const LEFT_OUT: &[&str] = &["kvm_hotplug_log_level"];

/// Words that Go writes in capitals.
const CAPITALS: &[&str] =
    &["AIO", "CPU", "FD", "ID", "IO", "LUN", "MAC", "MTU", "NIC", "PCI", "QEMU", "QMP", "ROM", "SCSI", "TCP"];

/// What the comments of the header name by its C word, in Go's. A word of C that is not here is an error.
const WORDS: &[(&str, &str)] = &[
    ("kvm_hotplug_cancel() ended the call", "the context was cancelled"),
    ("kvm_hotplug_change_media()", "[Guest.ChangeMedia]"),
    ("kvm_hotplug_error_qmp_class()", "[Error].QMPClass"),
    ("kvm_hotplug_error_residue()", "[Error].Residue"),
    ("kvm_hotplug_forward_qmp_events()", "[Guest.ForwardQMPEvents]"),
    ("kvm_hotplug_next_event_json()", "[Guest.NextEvent]"),
    ("kvm_hotplug_repair()", "[Guest.Repair]"),
    ("kvm_hotplug_verify()", "[Guest.Verify]"),
    ("kvm_runtime_give_secret()", "[Runtime.GiveSecret]"),
    ("kvm_runtime_set_backing()", "[Runtime.SetBacking]"),
    ("kvm_runtime_unfinished()", "[Runtime.Unfinished]"),
    ("KVM_HOTPLUG_NO_WAIT", "NoWait"),
    ("struct kvm_hotplug_controller", "[Controller]"),
    ("struct kvm_hotplug_disk", "[Disk]"),
    ("backing_paths", "BackingPaths"),
    ("reason_text", "the reason's text"),
    ("incoming_fd", "IncomingFile"),
    ("error_kind, error_number and text say why", "[Event.Err] says why"),
    ("by_guest", "ByGuest"),
    ("no_space", "NoSpace"),
    ("action, write and", "Operation, Action and"),
    ("cache NONE or DIRECTSYNC", "[CacheNone] or [CacheDirectsync]"),
];

/// The source of the file.
pub fn enumerations(header: &Header) -> Result<String, String> {
    let mut out = String::from(
        "// Code generated by build.rs from include/kvm_hotplug.h. DO NOT EDIT.\n\n\
         package kvmhotplug\n\n// #include <kvm_hotplug.h>\nimport \"C\"\n",
    );
    let enums = header.items.iter().filter(|item| matches!(item.kind, Kind::Enum(_)));
    for item in enums.filter(|item| !LEFT_OUT.contains(&item.name.as_str())) {
        let name = NAMES.iter().find(|name| name.c == item.name);
        let name = name.ok_or_else(|| format!("enum {} has no name in Go: src/go.rs", item.name))?;
        enumeration(&mut out, item, name)?;
    }
    Ok(out)
}

fn enumeration(out: &mut String, item: &Item, name: &Name) -> Result<(), String> {
    let Kind::Enum(values) = &item.kind else { return Ok(()) };
    let Name { go, what, .. } = name;
    let about = lower_first(&in_go(&item.doc.join(" "))?);
    let mut constants = String::new();
    let mut names = Vec::new();
    for value in values {
        let rest = value.name.strip_prefix(name.c_prefix).and_then(|rest| rest.strip_prefix('_'));
        let rest = rest.ok_or_else(|| format!("{} does not begin with {}_", value.name, name.c_prefix))?;
        let constant = format!("{}{}", name.prefix, camel(rest));
        let doc = in_go(&value.doc.join(" "))?;
        comment(&mut constants, "\t", &format!("{constant}: {}", lower_first(&doc)));
        let _ = writeln!(constants, "\t{constant} {go} = C.{}", value.name);
        names.push((constant, names::word(rest)));
    }
    for (_, constant, c, text, doc) in MORE.iter().filter(|(of, ..)| of == go) {
        if !c.is_empty() {
            comment(&mut constants, "\t", &format!("{constant} {doc}"));
            let _ = writeln!(constants, "\t{constant} {go} = C.{c}");
        }
        names.push(((*constant).to_owned(), (*text).to_owned()));
    }
    let list = variable(go);
    let room = names.iter().map(|(constant, _)| constant.len()).max().unwrap_or(0) + 1;
    out.push('\n');
    comment(out, "", &format!("{go}: {about}"));
    let _ = write!(out, "type {go} uint32\n\nconst (\n{constants})\n\nvar {list} = map[{go}]string{{\n");
    for (constant, text) in &names {
        let _ = writeln!(out, "\t{:room$} \"{text}\",", format!("{constant}:"), room = room);
    }
    let example = names.first().map_or("", |(_, text)| text);
    let _ = write!(
        out,
        "}}\n\n// String is a name such as \"{example}\".\n\
         func (v {go}) String() string {{ return nameOf({list}, v) }}\n\n\
         // MarshalText writes the name.\n\
         func (v {go}) MarshalText() ([]byte, error) {{ return []byte(v.String()), nil }}\n\n\
         // UnmarshalText reads the name.\n\
         func (v *{go}) UnmarshalText(text []byte) (err error) {{\n\t*v, err = parseName({list}, text, \"{what}\")\n\treturn err\n}}\n"
    );
    Ok(())
}

/// `slotStateNames` for `SlotState`, `ioActionNames` for `IOAction`.
fn variable(go: &str) -> String {
    let capitals = go.chars().take_while(char::is_ascii_uppercase).count();
    let lower = if capitals == go.len() || capitals == 1 { capitals } else { capitals - 1 };
    let first: String = go.chars().take(lower).map(|char| char.to_ascii_lowercase()).collect();
    first + &go.chars().skip(lower).collect::<String>() + "Names"
}

/// `NotHotpluggable` for `NOT_HOTPLUGGABLE`.
fn camel(name: &str) -> String {
    let word = |word: &str| match CAPITALS.contains(&word) {
        true => word.to_owned(),
        false => {
            word.chars().take(1).chain(word.chars().skip(1).map(|char| char.to_ascii_lowercase())).collect()
        }
    };
    name.split('_').map(word).collect()
}

/// A comment of the header in Go's words.
fn in_go(text: &str) -> Result<String, String> {
    let value = |prefix: &str, rest: &str| {
        let name = NAMES.iter().find(|name| name.c_prefix == prefix);
        format!("[{}{}]", name.map_or("", |name| name.prefix), camel(rest))
    };
    translated(text, WORDS, NAMES.iter().map(|name| name.c_prefix), value)
        .map_err(|word| format!("{word} has no word in Go: src/go.rs, WORDS"))
}

/// As it stands behind a colon; names and abbreviations keep their capitals.
fn lower_first(text: &str) -> String {
    let first = text.split(|char: char| !char.is_ascii_alphanumeric()).next().unwrap_or_default();
    let is_name = first.chars().skip(1).any(|char| char.is_ascii_uppercase() || char.is_ascii_digit());
    match (is_name || first == "Linux", text.chars().next()) {
        (false, Some(char)) => char.to_ascii_lowercase().to_string() + text.get(1..).unwrap_or_default(),
        _ => text.to_owned(),
    }
}

/// Filled lines of at most 110 columns, a tab counted as four.
fn comment(out: &mut String, indent: &str, text: &str) {
    fill(out, &format!("{indent}// "), 110 - 4 * indent.len() - 3, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_go_writes_them() {
        for (c, go) in
            [("NOT_HOTPLUGGABLE", "NotHotpluggable"), ("QEMU_TOO_OLD", "QEMUTooOld"), ("Q35", "Q35")]
        {
            assert_eq!(camel(c), go);
        }
        for (go, names) in
            [("SlotState", "slotStateNames"), ("IOAction", "ioActionNames"), ("AIO", "aioNames")]
        {
            assert_eq!(variable(go), names);
        }
    }

    #[test]
    fn comments_have_words_of_go() {
        assert_eq!(in_go("See KVM_HOTPLUG_ERROR_QMP.").unwrap(), "See [ErrQMP].");
        assert_eq!(in_go("With KVM_HOTPLUG_NO_WAIT.").unwrap(), "With NoWait.");
        assert!(in_go("See kvm_unheard_of().").is_err());
        assert_eq!(lower_first("The guest."), "the guest.");
        assert_eq!(lower_first("QEMU is old."), "QEMU is old.");
    }

    #[test]
    fn an_enumeration_without_a_name_is_an_error() {
        let header =
            "/**\n * E.\n */\nenum kvm_e {\n    KVM_E_A = 1, /**< A. */\n};\n/** F. */\nint kvm_f(void);\n";
        let error = enumerations(&Header::parse(header).unwrap()).unwrap_err();
        assert!(error.contains("enum kvm_e"), "{error}");
    }
}
