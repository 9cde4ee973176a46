//! QEMU's process and its host, as they can be seen: its command, its taps and its files.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::argument::Argument;
use super::config;
use super::request::AdoptRequest;
use super::taken::{HostView, SeenTap, Why};
use crate::disk::{self, BackingRule, DiskSpec, Identity};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::net::given;
use crate::net::link::{self, Interfaces};
use crate::net::share::{MOST_DESCRIPTORS, Taps};
use crate::qmp::Client;
use crate::sorted;

/// The longest command or file of `-readconfig` that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// What the kernel calls a descriptor of vhost-net ends in this.
const VHOST: &str = "/vhost-net";

/// QEMU's process.
#[derive(Debug)]
pub(super) struct Process {
    pid: Option<i32>,
    /// What it was started with, the program first.
    pub(super) command: Vec<String>,
    directory: Option<PathBuf>,
    taps: Option<Taps>,
    /// Where its descriptors lead; none if they cannot be seen.
    files: Option<BTreeMap<i32, PathBuf>>,
}

impl Process {
    /// The one that listens at the monitor, as far as the caller does not say otherwise.
    pub(super) fn of(client: &Client, request: &AdoptRequest) -> Result<Self> {
        let pid = match request.pid {
            Some(pid) => Some(pid),
            None => client.peer().ok(),
        };
        let command = match &request.command {
            Some(command) => command.clone(),
            None => {
                let missing = || {
                    Error::new(ErrorKind::NotFound, "the process of QEMU cannot be seen; give its command")
                };
                read_command(pid.ok_or_else(missing)?)?
            }
        };
        let own = || fs::read_link(format!("/proc/{}/cwd", pid?)).ok();
        let directory = request.directory.clone().or_else(own);
        let taps = pid.and_then(|pid| Taps::of_process(pid, MOST_DESCRIPTORS).ok());
        let files = pid.and_then(files_of);
        Ok(Self { pid, command, directory, taps, files })
    }

    /// One whose command does not matter.
    pub(super) fn of_running(pid: i32) -> Self {
        let taps = Taps::of_process(pid, MOST_DESCRIPTORS).ok();
        Self { pid: Some(pid), command: Vec::new(), directory: None, taps, files: files_of(pid) }
    }

    /// The ids that files of `-readconfig` name.
    pub(super) fn elsewhere(&self, arguments: &[Argument]) -> BTreeMap<String, String> {
        let named = arguments.iter().filter(|argument| argument.option == "readconfig");
        let texts = named.filter_map(|argument| {
            let path = self.absolute(Path::new(argument.text.as_deref()?)).ok()?;
            fs::metadata(&path).ok().filter(|file| file.is_file() && file.len() <= LONGEST)?;
            fs::read_to_string(path).ok()
        });
        sorted::map(texts.flat_map(|text| config::ids(&text)))
    }

    /// Whether QEMU has this very file open, as far as that can be seen.
    fn has_open(&self, identity: Identity) -> Option<bool> {
        let (pid, files) = (self.pid?, self.files.as_ref()?);
        let is_it = |number: &i32| {
            let file = fs::metadata(format!("/proc/{pid}/fd/{number}"));
            file.is_ok_and(|file| match identity {
                Identity::File { device, inode } => (file.dev(), file.ino()) == (device, inode),
                Identity::Device(device) => file.rdev() == device,
            })
        };
        Some(files.keys().any(is_it))
    }
}

/// The command of a process, as the kernel has it. QEMU leaves it as it was.
pub(super) fn read_command(pid: i32) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/cmdline");
    let bytes = fs::read(&path).map_err(|error| Error::host(error, format!("read {path}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::invalid(format!("the command of process {pid} is not UTF-8")))?;
    let command: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    if command.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, format!("process {pid} has no command")));
    }
    Ok(command)
}

fn files_of(pid: i32) -> Option<BTreeMap<i32, PathBuf>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let file = |entry: fs::DirEntry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?))
    };
    Some(sorted::map(entries.flatten().take(MOST_DESCRIPTORS).filter_map(file)))
}

impl HostView for Process {
    fn tap_of(&self, descriptor: i32) -> Option<IfName> {
        self.taps.as_ref()?.name_of(descriptor).cloned()
    }

    fn taps(&self) -> Vec<IfName> {
        self.taps.as_ref().map(Taps::names).unwrap_or_default()
    }

    fn tap(&self, name: &IfName) -> std::result::Result<SeenTap, Why> {
        let cannot = |error: Error| format!("its tap {name} cannot be seen: {error}");
        let taps = self
            .taps
            .as_ref()
            .ok_or_else(|| format!("its tap {name} cannot be seen: QEMU's descriptors are hidden"))?;
        let fd = taps.share(name).map_err(cannot)?;
        let seen = given::look_at(fd.as_fd()).map_err(cannot)?;
        let identity = Interfaces::open().and_then(|host| host.identity_of(name)).ok();
        let here = identity.filter(|_| seen.tap.is_here());
        let bridge = match &here {
            Some(_) => link::bridge_of(name).map_err(cannot)?,
            None => None,
        };
        Ok(SeenTap {
            bridge,
            own: here.filter(|_| !seen.persistent),
            given: seen.tap,
            vnet_hdr: seen.vnet_hdr,
        })
    }

    fn vhosts(&self) -> Option<usize> {
        let files = self.files.as_ref()?;
        let is_vhost = |path: &&PathBuf| path.to_str().is_some_and(|path| path.ends_with(VHOST));
        Some(files.values().filter(is_vhost).count())
    }

    fn file_of(&self, descriptor: i32) -> Option<PathBuf> {
        self.files.as_ref()?.get(&descriptor).cloned()
    }

    fn is_same_file(&self, one: &Path, other: &Path) -> bool {
        matches!((Identity::of_path(one), Identity::of_path(other)), (Ok(one), Ok(other)) if one == other)
    }

    fn absolute(&self, path: &Path) -> std::result::Result<PathBuf, Why> {
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        let from = self.directory.as_ref().map(|directory| directory.join(path)).filter(|path| path.exists());
        // One that has become a daemon has left the directory that it was started in.
        let open = || self.files.as_ref()?.values().find(|file| file.ends_with(path)).cloned();
        let unknown = || format!("where the path {} begins is not known", path.display());
        from.or_else(open).ok_or_else(unknown)
    }

    fn look_at(&self, spec: &mut DiskSpec, below: &[PathBuf]) -> std::result::Result<(), Why> {
        // What QEMU has open below the image is vouched for, and nothing else.
        let rule = match below {
            [] => BackingRule::Forbidden,
            files => BackingRule::Files(files.to_vec()),
        };
        let mut seen = DiskSpec { read_only: true, ..spec.clone() };
        let image =
            disk::image::resolve(&mut seen, spec.format.into(), &rule).map_err(|error| error.to_string())?;
        let top = image.layers.first().map(|layer| layer.identity);
        // A QEMU that the guest has taken over may name any file, but has only its own ones open.
        match top.and_then(|top| self.has_open(top)) {
            Some(true) => {}
            Some(false) => {
                let path = spec.path.display();
                return Err(format!("QEMU has another file open than the one that is at {path}"));
            }
            None => return Err("which files QEMU has open cannot be seen".to_owned()),
        }
        (spec.chain, spec.probe_backing) = (seen.chain, seen.probe_backing);
        Ok(())
    }
}
