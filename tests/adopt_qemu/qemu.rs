//! A QEMU that somebody starts by a command.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use kvm_hotplug::qmp::Version;
use kvm_hotplug::sys::inherit;
use serde_json::{Value, json};

use super::PATIENCE;
use super::case::Case;

/// The program; `KVM_HOTPLUG_TEST_QEMU` names another one.
pub(crate) fn program() -> String {
    std::env::var("KVM_HOTPLUG_TEST_QEMU").unwrap_or_else(|_| "qemu-system-x86_64".to_owned())
}

/// The version it says it is.
pub(crate) fn version() -> Version {
    let output = Command::new(program()).arg("--version").output().expect("qemu-system-x86_64 is needed");
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_once("version ").expect(&text).1;
    let mut numbers = words.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap());
    let mut next = || numbers.next().unwrap();
    Version { major: next(), minor: next(), micro: next() }
}

/// Runs a program of the host, which has to succeed.
pub(crate) fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap_or_else(|_| panic!("{program} is needed"));
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) struct Qemu {
    process: std::process::Child,
    log: std::path::PathBuf,
    reader: BufReader<UnixStream>,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Qemu {
    /// Starts it in the folder of the case, with descriptors under these numbers, and talks to its second
    /// monitor.
    pub(crate) fn start(case: &Case, argv: &[String], fds: Vec<(i32, OwnedFd)>) -> Self {
        for socket in [case.monitor(), case.observer()] {
            let _ = std::fs::remove_file(socket);
        }
        Self::start_at(case, argv, fds, &case.observer())
    }

    /// The same for a command whose second monitor is at this path.
    pub(crate) fn start_at(case: &Case, argv: &[String], fds: Vec<(i32, OwnedFd)>, observer: &Path) -> Self {
        let log = observer.with_extension("log");
        let output = File::create(&log).unwrap();
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).stdin(Stdio::null()).current_dir(case.path(""));
        command.stdout(output.try_clone().unwrap()).stderr(output);
        // Out of the way of the numbers that they are to have.
        let aside =
            |(number, fd): &(i32, OwnedFd)| (*number, inherit::duplicate_above(fd.as_fd(), 200).unwrap());
        let fds: Vec<(i32, OwnedFd)> = fds.iter().map(aside).collect();
        let places: Vec<(i32, i32)> =
            fds.iter().map(|(number, fd)| (*number, fd.as_fd().as_raw_fd())).collect();
        let inherit = move || {
            for (number, fd) in &places {
                // SAFETY: open in the parent, and so in the child.
                let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
                inherit::place(fd, *number)?;
            }
            Ok(())
        };
        // SAFETY: system calls only.
        unsafe { command.pre_exec(inherit) };
        let mut process = command.spawn().unwrap();
        drop(fds);
        let start = Instant::now();
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(observer) {
                break stream;
            }
            let ended = process.try_wait().unwrap();
            let text = std::fs::read_to_string(&log).unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{argv:?}: {ended:?} {text}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut qemu = Self { process, log, reader: BufReader::new(stream) };
        assert!(qemu.read()["QMP"].is_object());
        qemu.ask("qmp_capabilities", json!({}));
        qemu
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("QEMU is gone: {}", std::fs::read_to_string(&self.log).unwrap()))
    }

    pub(crate) fn ask(&mut self, command: &str, arguments: Value) -> Value {
        self.ask_all(&json!({"execute": command, "arguments": arguments}))
    }

    /// Runs a whole command, which has to succeed.
    pub(crate) fn ask_all(&mut self, command: &Value) -> Value {
        self.reader.get_mut().write_all(command.to_string().as_bytes()).unwrap();
        loop {
            let mut message = self.read();
            if let Some(value) = message.get_mut("return") {
                return value.take();
            }
            assert!(message.get("event").is_some(), "{command}: {message}");
        }
    }
}
