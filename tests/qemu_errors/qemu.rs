//! A QEMU whose guest is not started, and a client of its monitor.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kvm_hotplug::Error;
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::qmp::{self, Client, Version};
use serde_json::Value;

use super::bare_qemu;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Qemu {
    process: Child,
    client: Client,
    folder: tempfile::TempDir,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

impl Qemu {
    pub(crate) fn start(machine: &str, extra: &[&str]) -> Self {
        // The name of a socket has to be short.
        let folder = tempfile::Builder::new().prefix("khq").tempdir_in("/var/tmp").unwrap();
        let socket = folder.path().join("qmp");
        let command = bare_qemu::command(machine, &socket);
        let mut process = Command::new(&command[0])
            .args(&command[1..])
            .arg("-S")
            .args(extra)
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 is needed");
        let deadline = Deadline::after(PATIENCE);
        let client = loop {
            let ended = process.try_wait().unwrap();
            match Client::connect(&socket, &deadline) {
                Ok(client) => break client,
                Err(error) if ended.is_some() || deadline.check().is_err() => {
                    end(&mut process);
                    panic!("QEMU {extra:?}: {ended:?}: {error}");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        Self { process, client, folder }
    }

    pub(crate) fn version(&self) -> Version {
        self.client.version()
    }

    /// Of a file in a folder that goes with this QEMU.
    pub(crate) fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn ask(&mut self, command: &'static str, arguments: Value) -> Result<Value, Error> {
        let Value::Object(arguments) = arguments else { panic!("{arguments} is no object") };
        self.client.execute(&qmp::Command::new(command, arguments), &Deadline::after(PATIENCE))
    }

    pub(crate) fn works(&mut self, command: &'static str, arguments: Value) {
        let text = arguments.to_string();
        self.ask(command, arguments).unwrap_or_else(|error| panic!("{command} {text}: {error}"));
    }
}

/// Runs a program that has to succeed; what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A loop device, detached in the end.
pub(crate) struct Loop(String);

impl Loop {
    /// None where this machine has no loop devices.
    pub(crate) fn new_read_only(file: &str) -> Option<Self> {
        let output = Command::new("losetup").args(["--read-only", "--find", "--show", file]).output();
        let output = output.expect("losetup is needed");
        let path = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        output.status.success().then_some(Self(path))
    }

    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}
