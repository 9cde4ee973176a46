//! What goes by a clock that a test may put in the place of the real one asks no other for the time, and
//! waits nowhere else: time would pass while something is under way, or not at all.

use std::path::{Path, PathBuf};

/// What goes by the clock, and what may be there that does not.
const BY_THE_CLOCK: &[(&str, &[&str])] = &[
    ("src/guest", &[]),
    ("tests/hotplug_scripted.rs", &[]),
    ("tests/hotplug_scripted", &[]),
    ("tests/faults.rs", &[]),
    ("tests/faults", &[]),
    ("tests/support/fixture.rs", &[]),
    // A thread more, which is counted.
    ("tools/fake-qemu/src/fake.rs", &["thread::spawn("]),
    // What events say of the time.
    ("tools/fake-qemu/src/wire.rs", &["SystemTime"]),
    ("tools/fake-qemu/src/server", &[]),
    ("tools/fake-qemu/src/state.rs", &[]),
    ("tools/fake-qemu/src/model", &[]),
];

/// Other clocks, other waits, and threads that the clock does not know of.
const OTHERS: &[&str] = &[
    "Instant::now(",
    "SystemTime",
    ".elapsed(",
    "poll::poll(",
    "PollTimeout",
    "thread::sleep(",
    "thread::spawn(",
    "thread::scope(",
    "yield_now(",
    ".wait_timeout(",
    "recv_timeout(",
    "Barrier",
    ".notify_one();",
    ".notify_all();",
];

fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    // The tests of a module are its own.
    entries.filter(|path| !path.ends_with("tests.rs")).flat_map(|path| files(&path)).collect()
}

#[test]
fn what_goes_by_a_clock_goes_by_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for (place, allowed) in BY_THE_CLOCK {
        let files = files(&root.join(place));
        assert!(!files.is_empty(), "{place} is empty");
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let code = || text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let others = OTHERS.iter().filter(|other| code().any(|line| line.contains(**other)));
        found
            .extend(others.filter(|other| !allowed.contains(other)).map(|other| format!("{place}: {other}")));
        let needless = allowed.iter().filter(|other| !code().any(|line| line.contains(**other)));
        found.extend(needless.map(|other| format!("{place}: {other} is not there any more")));
    }
    assert_eq!(found, Vec::<String>::new());
}
