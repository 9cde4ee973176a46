//! A QEMU started by a boot command.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use kvm_hotplug::boot::BootCommand;
use kvm_hotplug::qmp::Version;
use kvm_hotplug::sys::inherit;
use serde_json::{Value, json};

use super::{PATIENCE, bare_qemu};

/// The version it says it is.
pub(crate) fn version() -> Version {
    let output =
        Command::new(bare_qemu::program()).arg("--version").output().expect("qemu-system-x86_64 is needed");
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_once("version ").expect(&text).1;
    let mut numbers = words.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap());
    let mut next = || numbers.next().unwrap();
    Version { major: next(), minor: next(), micro: next() }
}

pub(crate) struct Child {
    process: std::process::Child,
    reader: Option<BufReader<UnixStream>>,
    log: PathBuf,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Child {
    pub(crate) fn start(boot: &BootCommand, socket: PathBuf, log: PathBuf) -> Self {
        let output = File::create(&log).unwrap();
        let mut command = Command::new(&boot.argv[0]);
        command.args(&boot.argv[1..]).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let fds: Vec<(i32, i32)> = (i32::try_from(boot.fd_base).unwrap()..)
            .zip(boot.fds.iter().map(|fd| fd.as_fd().as_raw_fd()))
            .collect();
        let inherit = move || {
            for (number, fd) in &fds {
                // SAFETY: open in the parent, and so in the child.
                let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
                inherit::place(fd, *number)?;
            }
            Ok(())
        };
        // SAFETY: system calls only.
        unsafe { command.pre_exec(inherit) };
        let mut child = Self { process: command.spawn().unwrap(), reader: None, log };
        let stream = child.connect(&socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        child.reader = Some(BufReader::new(stream));
        assert!(child.read()["QMP"].is_object());
        child.ask("qmp_capabilities", json!({}));
        child
    }

    fn connect(&mut self, socket: &PathBuf) -> UnixStream {
        let start = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(socket) {
                return stream;
            }
            let ended = self.process.try_wait().unwrap();
            let log = std::fs::read_to_string(&self.log).unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "QEMU: {ended:?} {log}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.reader.as_mut().unwrap().read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("QEMU is gone: {}", std::fs::read_to_string(&self.log).unwrap()))
    }

    pub(crate) fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let text = json!({"execute": command, "arguments": arguments}).to_string();
        self.reader.as_mut().unwrap().get_mut().write_all(text.as_bytes()).unwrap();
        loop {
            let mut message = self.read();
            if let Some(value) = message.get_mut("return") {
                return value.take();
            }
            assert!(message.get("event").is_some(), "{text}: {message}");
        }
    }

    /// Leaves the monitor to the library.
    pub(crate) fn hang_up(&mut self) -> Option<BufReader<UnixStream>> {
        self.reader.take()
    }
}
