//! A QEMU with nothing in it but a machine and a monitor.

use std::path::Path;

/// The program; `KVM_HOTPLUG_TEST_QEMU` names another one.
pub(crate) fn program() -> String {
    std::env::var("KVM_HOTPLUG_TEST_QEMU").unwrap_or_else(|_| "qemu-system-x86_64".to_owned())
}

/// Its command, which more can be added to. The monitor listens at `socket`.
pub(crate) fn command(machine: &str, socket: &Path) -> Vec<String> {
    let monitor = format!("unix:{},server=on,wait=off", socket.display());
    let program = program();
    let words: [&str; 12] = [
        &program,
        "-nodefaults",
        "-display",
        "none",
        "-accel",
        "tcg",
        "-m",
        "32",
        "-machine",
        machine,
        "-qmp",
        &monitor,
    ];
    words.map(str::to_owned).into()
}
