//! A test, or a part of one, that this machine cannot run: without a kernel module, a device, or other hardware.

use std::io::Write;
use std::path::PathBuf;

/// Appends a line with the test's name and the reason to the file that the environment variable `KVM_HOTPLUG_NOT_RUN` names
/// (build/not-run without it); tests/run shows that list at its end. The test then leaves out what it cannot do, or returns.
/// What tests/bin/setup installs has to be there: a test that misses it fails.
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
