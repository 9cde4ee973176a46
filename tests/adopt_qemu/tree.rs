//! What devices a guest has, with all their properties, as QEMU's `info qtree` tells it.

use serde_json::json;

use super::qemu::Qemu;

/// All devices, each as one text: its model, its id and its properties. What only the host or the firmware
/// can tell apart is left out: the names of backends, and the addresses that the firmware gave.
#[derive(Clone, Debug)]
pub(crate) struct Tree(Vec<String>);

impl Tree {
    pub(crate) fn of(qemu: &mut Qemu) -> Self {
        let answer = qemu.ask("human-monitor-command", json!({"command-line": "info qtree"}));
        let mut devices: Vec<String> = Vec::new();
        let mut bus = String::new();
        for line in answer.as_str().unwrap().lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("bus: ") {
                name.clone_into(&mut bus);
            } else if line.starts_with("dev: ") && !is_backend(line) {
                devices.push(line.to_owned());
            } else if let Some(device) = devices.last_mut().filter(|_| is_kept(line)) {
                *device += "\n    ";
                *device += line;
            }
        }
        devices.sort();
        Self(devices)
    }

    /// What one has that the other has not.
    pub(crate) fn difference(&self, other: &Self) -> Vec<String> {
        let only = |one: &Self, two: &Self, sign: &str| {
            let only = one.0.iter().filter(|device| !two.0.contains(device));
            only.map(|device| format!("{sign} {device}")).collect::<Vec<_>>()
        };
        [only(self, other, "-"), only(other, self, "+")].concat()
    }

    /// Takes the device with this id out.
    pub(crate) fn remove(&mut self, id: &str) {
        let named = format!("id \"{id}\"");
        self.0.retain(|device| !device.lines().next().unwrap().contains(&named));
    }
}

/// The virtio device within one of PCI, which is told with that.
fn is_backend(line: &str) -> bool {
    line.starts_with("dev: virtio-") && line.contains("-device, ")
}

/// What `-drive` says of errors and of the write cache, `-device` says of a block node.
fn is_kept(line: &str) -> bool {
    const OTHERS: &[&str] = &[
        "addr 0.",
        "busnr = ",
        "bar ",
        "class ",
        "drive = ",
        "gpio-",
        "MCFG = ",
        "mmio ",
        "netdev = ",
        "rerror = ",
        "smb_io_base = ",
        "type ",
        "werror = ",
        "write-cache = ",
    ];
    !OTHERS.iter().any(|start| line.starts_with(start))
}
