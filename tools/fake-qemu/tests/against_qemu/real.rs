//! A real QEMU without a guest.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fake_qemu::Machine;
use serde_json::Value;

use super::client::{Client, Side};
use super::files::Files;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct RealQemu {
    process: Child,
    socket: PathBuf,
    _files: Files,
}

/// The QEMU that is tested against.
pub(crate) fn program() -> String {
    std::env::var("KVM_HOTPLUG_TEST_QEMU").unwrap_or_else(|_| "qemu-system-x86_64".into())
}

impl RealQemu {
    /// With the same devices as the model, its processors stopped.
    pub(crate) fn start(machine: Machine) -> Self {
        let files = Files::new();
        let socket = files.path("qmp");
        let mut command = Command::new(program());
        command.args(["-accel", "tcg", "-m", "64", "-nodefaults", "-vga", "std", "-display", "none", "-S"]);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        match machine {
            Machine::Pc => _ = command.args(["-machine", "pc"]),
            Machine::Q35(ports) => {
                command.args(["-machine", "q35"]);
                for port in 0..ports {
                    let (slot, function) = (3 + port / 8, port % 8);
                    command.arg("-device").arg(format!(
                        "pcie-root-port,id=rp{port},bus=pcie.0,chassis={},addr={slot:x}.{function},multifunction=on",
                        port + 1
                    ));
                }
            }
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{}: {error}", program()));
        let mut qemu = Self { process, socket, _files: files };
        let end = Instant::now() + PATIENCE;
        while !qemu.socket.exists() {
            let ended = qemu.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "QEMU has no socket: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        qemu
    }

    /// As it greets its clients.
    pub(crate) fn version(&self) -> (u32, u32, u32) {
        Client::connect(self.socket()).version
    }
}

impl Side for RealQemu {
    fn socket(&self) -> &Path {
        &self.socket
    }

    /// SeaBIOS numbers the buses, and then switches the devices on one after another, in some 10 ms. QEMU
    /// shows a region as mapped once its device is on.
    fn firmware_is_done(&self, client: &mut Client) {
        let end = Instant::now() + PATIENCE;
        loop {
            let shown = client.ask("query-pci");
            if !shown.to_string().contains("\"secondary\":0") && is_mapped(&shown) {
                return;
            }
            assert!(Instant::now() < end, "the firmware has not switched on every device: {shown}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether every region in this has an address. A ROM (bar 6) has one only while the firmware reads it.
fn is_mapped(shown: &Value) -> bool {
    match shown {
        Value::Array(items) => items.iter().all(is_mapped),
        Value::Object(region) if region.contains_key("bar") => {
            region["bar"] == 6 || region["address"].as_i64().is_some_and(|address| address >= 0)
        }
        Value::Object(members) => members.values().all(is_mapped),
        _ => true,
    }
}

impl Drop for RealQemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
