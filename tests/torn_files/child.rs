//! The process that is cut: makes one change to a record or a guest and writes down how that went.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use kvm_hotplug::Error;
use kvm_hotplug::model::{Device, Operation, Record};
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use super::support::api::*;
use super::support::fixture::Fixture;
use super::support::rust_api::RustAgent;

/// What is done to the record alone, or to record and guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    SaveNew,
    Replace,
    WriteJournal,
    ClearJournal,
    AddNic,
    AddDisk,
    /// A SCSI disk, with the controller that comes with it.
    AddScsi,
    AddLater,
    DelNic,
    DelDisk,
    Reopen,
    /// Of a guest with a list of Ganeti's: what the list has no room for goes into a second file.
    ListAdd,
    ListAddLater,
    /// The device that was there first, and the one that came last.
    ListDelFirst,
    ListDelLast,
}

pub use Change::*;

const ALL: [Change; 15] = [
    SaveNew,
    Replace,
    WriteJournal,
    ClearJournal,
    AddNic,
    AddDisk,
    AddScsi,
    AddLater,
    DelNic,
    DelDisk,
    Reopen,
    ListAdd,
    ListAddLater,
    ListDelFirst,
    ListDelLast,
];

/// The device that a change is about.
pub const ID: &str = "victim";

pub const MAC: &str = "52:54:00:00:00:01";

/// How a process is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Not,
    Kill,
    After,
    Bytes(usize),
    Fail(i32),
    From(i32),
}

/// What became of the process.
#[derive(Debug)]
pub struct End {
    pub status: ExitStatus,
    /// What it wrote down, if it came to that.
    pub result: Option<Value>,
    /// Its calls: name and file.
    pub calls: Vec<(String, String)>,
}

impl End {
    pub fn was_killed(&self) -> bool {
        std::os::unix::process::ExitStatusExt::signal(&self.status) == Some(libc::SIGKILL)
    }

    /// The error it wrote down.
    pub fn error(&self) -> Option<&Value> {
        self.result.as_ref()?.get("error")
    }
}

/// What a process needs to know; nothing here needs quoting.
const CHANGE: &str = "TORN_CHANGE";
const RUNTIME: &str = "TORN_RUNTIME";
const SOCKET: &str = "TORN_SOCKET";
const IFNAME: &str = "TORN_IFNAME";
const RESULT: &str = "TORN_RESULT";

/// The shim, compiled once. It lies with what cargo builds: nothing drops a static, so a directory of its own
/// would stay.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cut.so");
        let new = path.with_extension(std::process::id().to_string());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/preload/cut.c");
        let flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"];
        let done = Command::new("cc").args(flags).arg(&new).arg(&source).output().expect("run cc");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::rename(new, &path).unwrap();
        path
    })
}

/// Runs a change in a process that is cut at its `at`-th call about the directory of the record.
pub fn run(change: Change, fixture: &Fixture, ifname: &str, at: usize, how: How) -> End {
    let aside = tempfile::tempdir().unwrap();
    let (log, result) = (aside.path().join("log"), aside.path().join("result"));
    let how = match how {
        How::Not => String::new(),
        How::Kill => "kill".into(),
        How::After => "after".into(),
        How::Bytes(count) => format!("bytes:{count}"),
        How::Fail(errno) => format!("fail:{errno}"),
        How::From(errno) => format!("from:{errno}"),
    };
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["child::the_process_that_is_cut", "--exact", "--ignored", "--test-threads=1", "--nocapture"]);
    child.env("LD_PRELOAD", shim()).env("CUT_DIR", fixture.dir.path()).env("CUT_LOG", &log);
    child.env("CUT_AT", if how.is_empty() { 0 } else { at }.to_string()).env("CUT_HOW", how);
    child.env(CHANGE, format!("{change:?}")).env(RUNTIME, &fixture.runtime).env(SOCKET, fixture.qemu.path());
    child.env(IFNAME, ifname).env(RESULT, &result);
    let done = child.output().unwrap();
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let calls = text.lines().map(|line| {
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    });
    let written = std::fs::read(result).ok();
    let end = End {
        status: done.status,
        result: written.map(|bytes| serde_json::from_slice(&bytes).unwrap()),
        calls: calls.collect(),
    };
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(end.was_killed() || end.result.is_some(), "{change:?}, call {at}: {said}");
    end
}

/// Not a test of its own: what `run` runs.
#[test]
#[ignore = "what the others run"]
fn the_process_that_is_cut() {
    let name = std::env::var(CHANGE).expect("run by the others");
    let change = ALL.into_iter().find(|change| format!("{change:?}") == name).unwrap();
    let path = |name| PathBuf::from(std::env::var_os(name).unwrap());
    let result = match make(change, &path(RUNTIME), &path(SOCKET)) {
        Ok(()) => json!({ "error": null }),
        Err(failure) => json!({ "error": {
            "kind": failure.kind, "errno": failure.errno, "text": failure.text, "step": failure.step,
            "undo": failure.undo, "left": failure.left,
        } }),
    };
    std::fs::write(path(RESULT), result.to_string()).unwrap();
}

fn make(change: Change, runtime: &Path, socket: &Path) -> Result<(), Failure> {
    match change {
        SaveNew => RecordFile::new(record()).save_new(runtime)?,
        Replace => {
            let mut runtime = RecordFile::load(runtime)?;
            let mut next = runtime.record().clone();
            next.name = "new-name".into();
            runtime.replace(next)?;
        }
        WriteJournal => RecordFile::load(runtime)?
            .write_journal(|journal| journal.log_intent(Operation::Remove, &device()))?,
        ClearJournal => RecordFile::load(runtime)?.write_journal(|journal| journal.clear_intent(ID))?,
        Reopen => drop(RustAgent.open(runtime, socket, AMPLE)?),
        _ => operate(change, runtime, socket)?,
    }
    Ok(())
}

/// Everything a change of the guest does, closing included; the error of the change itself counts.
fn operate(change: Change, runtime: &Path, socket: &Path) -> Result<(), Failure> {
    let api = RustAgent.open(runtime, socket, AMPLE)?;
    let place = Place { id: Some(ID.into()), ..Place::default() };
    let answer = match change {
        ListAdd | ListAddLater => api.add_nic(&NicArgs {
            mac: Some(MAC.into()),
            ifname: std::env::var(IFNAME).ok(),
            model: (change == ListAddLater).then(|| "ne2k_pci".into()),
            ..NicArgs::default()
        }),
        ListDelFirst => api.unplug(&UnplugArgs::of(&api.list()[0].id)),
        ListDelLast => {
            let last = api.list().into_iter().max_by_key(|item| item.generation);
            api.unplug(&UnplugArgs::of(&last.expect("a device").id))
        }
        AddNic | AddLater => api.add_nic(&NicArgs {
            place,
            mac: Some(MAC.into()),
            ifname: std::env::var(IFNAME).ok(),
            model: (change == AddLater).then(|| "ne2k_pci".into()),
            ..NicArgs::default()
        }),
        AddDisk | AddScsi => api.add_disk(&DiskArgs {
            place,
            path: runtime.with_file_name("disk.img"),
            format: Some("raw".into()),
            model: (change == AddScsi).then(|| "scsi-hd".into()),
            ..DiskArgs::default()
        }),
        _ => api.unplug(&UnplugArgs::of(ID)),
    };
    answer.map(drop)
}

fn record() -> Record {
    Record::new("web1", vec!["qemu".into()], 4).unwrap()
}

/// A device for journals whose guest nobody looks at.
pub fn device() -> Device {
    let file = json!({
        "format": "kvm-hotplug-runtime", "version": 1, "command": ["qemu"],
        "nics": [{ "id": ID, "generation": 1, "mac": MAC, "address": { "bus": "pci.0", "slot": 9 } }],
    });
    let record: Result<Record, Error> = kvm_hotplug::store::native::decode(file.to_string().as_bytes());
    record.unwrap().devices.remove(0)
}
