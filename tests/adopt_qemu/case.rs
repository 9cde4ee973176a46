//! One command line of tests/data/adopt, with what it needs on its host and what is to come of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kvm_hotplug::ids::IfName;
use kvm_hotplug::net::bandwidth::Limits;
use kvm_hotplug::net::tap::{TapRequest, TunDevice};
use kvm_hotplug::qmp::Version;
use serde::Deserialize;
use serde_json::Value;

use super::qemu::{self, run};

/// The bridge that taps are put on.
pub(crate) const BRIDGE: &str = "kbr0";

/// What a file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    command: Vec<String>,
    recorded: BTreeMap<String, String>,
    left: BTreeMap<String, String>,
    /// Taps that are there before.
    #[serde(default)]
    taps: Vec<Tap>,
    /// Descriptors of taps that QEMU inherits, with their names.
    #[serde(default)]
    fds: BTreeMap<i32, String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Images whose names do not tell their format.
    #[serde(default)]
    images: BTreeMap<String, String>,
    /// Images with a backing file.
    #[serde(default)]
    chains: BTreeMap<String, String>,
    /// What is done over QMP before the guest runs.
    #[serde(default)]
    qmp: Vec<Value>,
    /// NICs over taps that the record says are somebody's.
    #[serde(default)]
    given: BTreeSet<String>,
    /// The oldest QEMU that takes the command.
    #[serde(default)]
    since: Option<String>,
    /// Devices are in a file of -readconfig.
    #[serde(default)]
    in_config: bool,
    /// No slot is free in which a device can be plugged.
    #[serde(default)]
    full: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tap {
    name: String,
    #[serde(default)]
    bridge: bool,
    #[serde(default)]
    persistent: bool,
}

/// The same with a folder.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) recorded: BTreeMap<String, String>,
    pub(crate) left: BTreeMap<String, String>,
    pub(crate) given: BTreeSet<String>,
    pub(crate) since: Version,
    pub(crate) in_config: bool,
    #[allow(dead_code)]
    pub(crate) full: bool,
    file: File,
    folder: tempfile::TempDir,
    fds: RefCell<Vec<(i32, OwnedFd)>>,
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/adopt");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Case::read(path)).collect()
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let file: File =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // The name of a socket has to be short.
        let folder = tempfile::Builder::new().prefix("kha").tempdir_in("/var/tmp").unwrap();
        let version = file.since.as_deref().unwrap_or("5.2");
        let (major, minor) = version.split_once('.').unwrap();
        let since = Version { major: major.parse().unwrap(), minor: minor.parse().unwrap(), micro: 0 };
        let mut case = Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            about: file.about.clone(),
            recorded: file.recorded.clone(),
            left: BTreeMap::new(),
            given: file.given.clone(),
            since,
            in_config: file.in_config,
            full: file.full,
            file,
            folder,
            fds: RefCell::default(),
        };
        let left = case.file.left.iter().map(|(name, why)| (case.fill(name), why.clone()));
        case.left = left.collect();
        case
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn monitor(&self) -> PathBuf {
        self.path("qmp")
    }

    pub(crate) fn observer(&self) -> PathBuf {
        self.path("obs")
    }

    /// The words with this folder's paths.
    fn fill(&self, text: &str) -> String {
        let folder = self.folder.path().to_str().unwrap();
        text.replace("{dir}", folder)
            .replace("{qmp}", &format!("{folder}/qmp"))
            .replace("{qemu}", &qemu::program())
    }

    /// The command, with a second monitor for the test.
    pub(crate) fn command(&self) -> Vec<String> {
        let observer = format!("unix:{},server=on,wait=off", self.observer().display());
        let own = self.file.command.iter().map(|word| self.fill(word));
        own.chain(["-qmp".to_owned(), observer]).collect()
    }

    pub(crate) fn commands(&self) -> Vec<Value> {
        let fill = |command: &Value| serde_json::from_str(&self.fill(&command.to_string())).unwrap();
        self.file.qmp.iter().map(fill).collect()
    }

    /// Numbers and descriptors that QEMU inherits; once.
    pub(crate) fn descriptors(&self) -> Vec<(i32, OwnedFd)> {
        self.fds.take()
    }

    /// Makes what the command needs on its host.
    pub(crate) fn prepare(&self) {
        self.make_files();
        self.make_images();
        for tap in &self.file.taps {
            assert!(tap.persistent, "one that goes with QEMU is made by QEMU, or inherited");
            run("ip", &["tuntap", "add", "dev", &tap.name, "mode", "tap", "vnet_hdr"]);
            if tap.bridge {
                run("ip", &["link", "set", "dev", &tap.name, "master", BRIDGE, "up"]);
            }
        }
        let names: BTreeSet<&String> = self.file.fds.values().collect();
        for name in names {
            let numbers = self.file.fds.iter().filter(|(_, of)| *of == name).map(|(number, _)| *number);
            let numbers: Vec<i32> = numbers.collect();
            let request = TapRequest {
                name: Some(name.clone()),
                queues: numbers.len().try_into().unwrap(),
                vnet_hdr: true,
                owner: None,
                bridge: Some(IfName::parse(BRIDGE).unwrap()),
                mtu: None,
                guest: None,
                limits: Limits::default(),
                port: None,
            };
            let tap = TunDevice::default().open(&request).unwrap();
            self.fds.borrow_mut().extend(numbers.into_iter().zip(tap.fds));
        }
    }

    fn make_files(&self) {
        for (name, text) in &self.file.files {
            std::fs::write(self.path(name), text).unwrap();
        }
        let script = format!("#!/bin/sh\nexec ip link set dev \"$1\" master {BRIDGE} up\n");
        std::fs::write(self.path("ifup"), script).unwrap();
        std::fs::set_permissions(self.path("ifup"), PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn make_images(&self) {
        let mut images = self.file.images.clone();
        let texts = self.file.command.iter().cloned();
        for text in texts.chain(self.file.qmp.iter().map(Value::to_string)) {
            for part in text.split("{dir}/").skip(1) {
                let name: String =
                    part.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
                let format = match name.rsplit_once('.').map(|(_, end)| end) {
                    Some("qcow2") => "qcow2",
                    Some("img" | "raw") => "raw",
                    _ => continue,
                };
                images.entry(name).or_insert_with(|| format.to_owned());
            }
        }
        // Those that others are made of first.
        let (tops, plain): (Vec<_>, Vec<_>) =
            images.iter().partition(|(name, _)| self.file.chains.contains_key(*name));
        for (name, format) in plain.into_iter().chain(tops) {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let path = path.to_str().unwrap().to_owned();
            let mut words = vec!["create", "-q", "-f", format.as_str()];
            let base = self.file.chains.get(name);
            if let Some(base) = base {
                words.extend(["-F", images[base].as_str(), "-b", base.as_str()]);
            }
            words.extend([path.as_str(), "1M"]);
            run("qemu-img", &words);
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        for tap in &self.file.taps {
            let _ = std::process::Command::new("ip").args(["link", "del", "dev", &tap.name]).output();
        }
    }
}
