//! A test, or a part of one, that this machine cannot run: without a kernel module, a device, or other
//! hardware.

use std::io::Write;
use std::path::PathBuf;

/// Appends a line with the test's name and the reason to the file that the environment variable
/// `KVM_HOTPLUG_NOT_RUN` names (build/not-run without it); tests/run shows that list at its end. The test
/// then leaves out what it cannot do, or returns. What tests/bin/setup installs has to be there: a test that
/// misses it fails.
pub fn not_run(test: &str, reason: &str) {
    let path = match std::env::var_os("KVM_HOTPLUG_NOT_RUN").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("build/not-run"),
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).unwrap();
    }
    let line = format!("{test}: {}\n", reason.replace('\n', " "));
    // In one piece: tests beside this one write there too.
    let mut list = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
    list.write_all(line.as_bytes()).unwrap();
}

/// Whether there are other users here, to whom root can give files and processes. Root of a user namespace
/// that somebody else than root has made (`tests/run unit`) has none, and no rights to the host's devices.
#[allow(dead_code)]
pub fn has_other_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let count = map.split_whitespace().nth(2).and_then(|count| count.parse::<u32>().ok());
    nix::unistd::geteuid().is_root() && count.is_some_and(|count| count > 65534)
}

/// What is said where it has none.
#[allow(dead_code)]
pub const NO_OTHER_USERS: &str = "needs root of the host, and not of a user namespace";
