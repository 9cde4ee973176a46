//! The rooms of `src` use each other inward only, no files of a room use each other in a circle, and what
//! only decides touches nothing outside.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "layers/clock.rs"]
mod clock;
#[path = "layers/graph.rs"]
mod graph;
#[path = "layers/source.rs"]
mod source;

use std::path::Path;

use graph::Tree;
use source::Source;

/// The rooms from the innermost outward. A room uses those of lines above its own; those of one line do not
/// know each other.
const LINES: &[&[&str]] = &[
    &["error"],
    &["c_enum", "json", "log", "mutex", "planted", "sanitize", "sorted"],
    &["ids", "sys", "deadline", "clock"],
    &["qmp", "net", "disk", "slots"],
    &["model"],
    &["store"],
    &["boot"],
    &["engine"],
    &["adopt"],
    &["guest"],
    &["capi"],
    &["lib"],
];

/// Rooms that only decide. What they are told comes in as arguments, the time included.
const PURE: &[&str] = &["engine", "model", "slots"];

/// All that those may use. `sys`, `clock` and `deadline` are clocks, randomness and waiting; `store` and
/// `boot` are files.
const USED_BY_PURE: &[&str] = &[
    "error", "log", "mutex", "planted", "sanitize", "sorted", "ids", "qmp", "net", "disk", "slots", "model",
];

/// What those may not name: files, descriptors, sockets, clocks, threads and the process itself.
const OUTSIDE: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "os"],
    &["std", "net"],
    &["std", "io"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["thread"],
    &["nix"],
    &["libc"],
    &["Instant", "now"],
    &["std", "time", "Instant", "now"],
    &["SystemTime"],
    &["std", "time", "SystemTime"],
];

/// Files of the room that is being rebuilt that still touch the outside.
const OUTSIDE_KNOWN: &[&str] = &[];

/// Rooms that decide, and what they still use that is none of their business.
const USES_KNOWN: &[(&str, &str)] = &[("engine", "store"), ("engine", "sys")];

fn tree() -> Tree {
    let tree = Tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(tree.sources().count() > 150, "the sources are elsewhere");
    tree
}

fn line_of(room: &str) -> Option<usize> {
    LINES.iter().position(|line| line.contains(&room))
}

fn room_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// Arrows between rooms that do not lead inward.
fn outward(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.sources() {
        let own = source.room();
        let Some(line) = line_of(own) else {
            found.push(format!("{}: the room {own} has no line", source.path));
            continue;
        };
        for used in tree.used_by(source) {
            let room = room_of(used);
            let is_inward = room == own || line_of(room).is_some_and(|other| other < line);
            let is_pure = !PURE.contains(&own)
                || room == own
                || USED_BY_PURE.contains(&room)
                || USES_KNOWN.contains(&(own, room));
            if !is_inward || !is_pure {
                found.push(format!("{} uses {used}", source.path));
            }
        }
    }
    found
}

/// What a file names of the world outside.
fn outside(source: &Source) -> Vec<String> {
    let imported = source.imports.iter().map(|import| &import.path);
    let names = imported.chain(&source.paths).filter(|path| {
        OUTSIDE
            .iter()
            .any(|names| path.len() >= names.len() && names.iter().zip(path.iter()).all(|(a, b)| a == b))
    });
    names.map(|path| format!("{} names {}", source.path, path.join("::"))).collect()
}

#[test]
fn rooms_use_what_is_further_in() {
    assert_eq!(outward(&tree()), Vec::<String>::new());
}

#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let tree = tree();
    let circles: Vec<String> = tree.circles().iter().map(|circle| circle.join(" -> ")).collect();
    assert_eq!(circles, Vec::<String>::new());
}

#[test]
fn rooms_that_decide_touch_nothing_outside() {
    let tree = tree();
    let pure = tree.sources().filter(|source| PURE.contains(&source.room()));
    let new = pure.filter(|source| !OUTSIDE_KNOWN.contains(&source.path.as_str()));
    let found: Vec<String> = new.flat_map(outside).collect();
    assert_eq!(found, Vec::<String>::new());
}

/// An exception goes when it is not needed any more.
#[test]
fn exceptions_are_needed() {
    let tree = tree();
    for path in OUTSIDE_KNOWN {
        let is_there = tree.sources().any(|source| source.path == *path && !outside(source).is_empty());
        assert!(is_there, "{path} touches nothing outside any more: take it out of OUTSIDE_KNOWN");
    }
    for (own, other) in USES_KNOWN {
        let mut sources = tree.sources().filter(|source| source.room() == *own);
        let is_there = sources.any(|source| tree.used_by(source).iter().any(|used| room_of(used) == *other));
        assert!(is_there, "{own} does not use {other} any more: take it out of USES_KNOWN");
    }
}

#[test]
fn circles_are_seen_through_reexports_and_groups() {
    let tree = Tree::from_texts(&[
        ("disk/mod.rs", "pub mod image; pub mod spec; mod leaf; pub use spec::{DiskSpec, Format as F};"),
        ("disk/spec.rs", "use super::{leaf::{self, Leaf}, image::Image}; fn f(_: leaf::Leaf) {}"),
        ("disk/image.rs", "fn open(spec: &crate::disk::DiskSpec) -> crate::disk::F { todo!() }"),
        ("disk/leaf.rs", "pub struct Leaf; impl Leaf { pub(in crate::disk) fn f() {} }"),
    ]);
    assert_eq!(tree.circles(), [["disk/image.rs", "disk/spec.rs"]]);
}

#[test]
fn what_is_no_code_does_not_count() {
    let text = r##"
        //! use crate::store::Runtime;
        /// See [`crate::store::Runtime`].
        const TEXT: &str = "crate::store::Runtime \" use std::fs;";
        const RAW: &str = r#"use crate::boot"#;
        fn quote<'a>(text: &'a str) -> char { '"' }
        #[cfg(test)]
        use crate::store::Runtime;
        #[cfg(test)]
        mod tests { use crate::boot::place; fn f() { if true { std::fs::read("x"); } } }
        fn last() -> crate::error::Error { todo!() }
    "##;
    let tree = Tree::from_texts(&[
        ("model/record.rs", text),
        ("store/mod.rs", "pub struct Runtime;"),
        ("boot/mod.rs", "pub fn place() {}"),
        ("error.rs", "pub struct Error;"),
    ]);
    let record = tree.sources().find(|source| source.path == "model/record.rs").unwrap();
    assert_eq!(tree.used_by(record).into_iter().collect::<Vec<_>>(), ["error.rs"]);
    assert_eq!(outside(record), Vec::<String>::new());
}

#[test]
fn what_leads_outward_is_named() {
    let tree = Tree::from_texts(&[
        (
            "model/record.rs",
            "use crate::{store, ids::DeviceId}; fn f() { store::open(); crate::sys::random(); }",
        ),
        (
            "slots/mod.rs",
            "use std::{fs, time::{Instant, SystemTime}}; fn f() { Instant::now(); libc::getpid(); }",
        ),
        ("store/mod.rs", "pub fn open() {}"),
        ("sys/mod.rs", "pub fn random() {}"),
        ("ids.rs", "pub struct DeviceId;"),
        ("cellar/mod.rs", ""),
    ]);
    assert_eq!(
        outward(&tree),
        [
            "cellar/mod.rs: the room cellar has no line",
            "model/record.rs uses store/mod.rs",
            "model/record.rs uses sys/mod.rs"
        ]
    );
    let slots = tree.sources().find(|source| source.room() == "slots").unwrap();
    assert_eq!(
        outside(slots),
        [
            "slots/mod.rs names std::fs",
            "slots/mod.rs names std::time::SystemTime",
            "slots/mod.rs names Instant::now",
            "slots/mod.rs names libc::getpid"
        ]
    );
}
