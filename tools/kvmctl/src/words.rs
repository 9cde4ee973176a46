//! The names in JSON are those that the Go package has, which agents are written with.
#![allow(clippy::unwrap_used)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::IssueKind;
use kvm_hotplug::guest::{Mismatch, SlotStatus};
use serde::Serialize;

const FILES: [[&str; 4]; 4] = [
    [
        include_str!("../../../src/error.rs"),
        "ErrorKind",
        include_str!("../../../bindings/go/kvmhotplug/enums.go"),
        "kindNames",
    ],
    [
        include_str!("../../../src/boot/issue.rs"),
        "IssueKind",
        include_str!("../../../bindings/go/kvmhotplug/enums.go"),
        "problemKindNames",
    ],
    [
        include_str!("../../../src/engine/difference.rs"),
        "Mismatch",
        include_str!("../../../bindings/go/kvmhotplug/enums.go"),
        "differenceKindNames",
    ],
    [
        include_str!("../../../src/engine/device_info.rs"),
        "SlotStatus",
        include_str!("../../../bindings/go/kvmhotplug/enums.go"),
        "slotStateNames",
    ],
];

/// The variants of an enumeration with numbers, as serde names them.
fn variants(source: &str, name: &str) -> Vec<String> {
    let body =
        source.split(&format!("pub enum {name} = ")).nth(1).unwrap().split("\n    }\n").next().unwrap();
    let variants = body.lines().filter_map(|line| line.trim().split_once(" = ").map(|(variant, _)| variant));
    let mut names: Vec<String> = variants.map(kebab).collect();
    names.sort();
    names
}

fn kebab(variant: &str) -> String {
    let mut name = String::new();
    for c in variant.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// What stands in quotes in a table of the Go package.
fn names(source: &str, table: &str) -> Vec<String> {
    let body = source.split(&format!("var {table} = map")).nth(1).unwrap().split("\n}\n").next().unwrap();
    let mut names: Vec<String> =
        body.lines().filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn agents_and_kvmctl_use_the_same_words() {
    for [rust, name, go, table] in FILES {
        let variants = variants(rust, name);
        assert!(variants.len() > 5, "{name}: {variants:?}");
        assert_eq!(variants, names(go, table), "{name} and {table}");
    }
}

#[test]
fn words_are_what_serde_writes() {
    assert_eq!(written(ErrorKind::NotHotpluggable), kebab("NotHotpluggable"));
    assert_eq!(written(IssueKind::QemuTooOld), kebab("QemuTooOld"));
    assert_eq!(written(Mismatch::OrphanFdset), kebab("OrphanFdset"));
    assert_eq!(written(SlotStatus::Quarantined), kebab("Quarantined"));
}

fn written(value: impl Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}
