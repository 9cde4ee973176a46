//! One guest with everything around it: a fake QEMU, a runtime file, images, taps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kvm_hotplug::model::Record;
use kvm_hotplug::store::RecordFile;

use super::api::*;
use super::fake::{FakeQemu, Machine, Setup};
use super::{host, programs};

pub struct Fixture {
    pub qemu: FakeQemu,
    pub dir: tempfile::TempDir,
    pub runtime: PathBuf,
    prefix: String,
}

/// Everything that an operation which failed must not have changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What QEMU has.
    pub qemu: Vec<String>,
    /// The runtime file, but for the number of the next attachment: one that was taken back has used it up.
    pub record: String,
    /// Files beside it.
    pub files: Vec<String>,
    /// The guest's taps on the host.
    pub taps: Vec<String>,
}

impl Fixture {
    pub fn new(setup: Setup) -> Self {
        programs::prepare();
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("web1.runtime");
        let command = ["qemu-system-x86_64", "-machine", "pc", "-m", "256"].map(String::from).to_vec();
        let record = Record::new("web1", command, 4).unwrap();
        RecordFile::new(record).save_new(&runtime).unwrap();
        let prefix = format!("f{:x}w{}n", std::process::id(), host::unique());
        Self { qemu: FakeQemu::start(setup), dir, runtime, prefix }
    }

    pub fn pc() -> Self {
        Self::new(Setup::default())
    }

    /// `q35` with this many root ports.
    pub fn q35(ports: u8) -> Self {
        Self::new(Setup { machine: Machine::Q35(ports), ..Setup::default() })
    }

    pub fn open(&self, agent: &dyn Agent) -> Box<dyn Api> {
        self.try_open(agent).unwrap()
    }

    pub fn try_open(&self, agent: &dyn Agent) -> Result<Box<dyn Api>, Failure> {
        agent.open(&self.runtime, self.qemu.path(), AMPLE)
    }

    /// A NIC whose tap is opened by the library.
    pub fn nic(&self, queues: u16) -> NicArgs {
        host::needs_tun();
        NicArgs { queues, ifname: Some(format!("{}{}", self.prefix, host::unique())), ..NicArgs::default() }
    }

    /// The same NIC under an id.
    pub fn nic_as(&self, id: &str, mac: &str) -> NicArgs {
        let place = Place { id: Some(id.into()), ..Place::default() };
        NicArgs { place, mac: Some(mac.into()), ..self.nic(1) }
    }

    /// A disk over a raw image of this name, which is made if it is not there.
    pub fn disk(&self, name: &str) -> DiskArgs {
        let path = self.dir.path().join(name);
        if !path.exists() {
            std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        }
        DiskArgs { path, format: Some("raw".into()), ..DiskArgs::default() }
    }

    /// The same disk under an id.
    pub fn disk_as(&self, id: &str, name: &str) -> DiskArgs {
        DiskArgs { place: Place { id: Some(id.into()), ..Place::default() }, ..self.disk(name) }
    }

    /// A disk over a qcow2 image with a raw backing image.
    pub fn layered_disk(&self) -> DiskArgs {
        let base = self.disk("base.img").path;
        let path = self.dir.path().join("top.qcow2");
        if !path.exists() {
            make_overlay(&path, &base);
        }
        DiskArgs { path, format: Some("qcow2".into()), ..DiskArgs::default() }
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("web1.runtime.journal")
    }

    pub fn record_text(&self) -> String {
        std::fs::read_to_string(&self.runtime).unwrap()
    }

    /// The record as another program sees it, while the agent owns it.
    pub fn record(&self) -> Record {
        RecordFile::peek(&self.runtime).unwrap().record().clone()
    }

    /// Ids in the record.
    pub fn recorded(&self) -> Vec<String> {
        self.record().devices.iter().map(|device| device.id.to_string()).collect()
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            qemu: self.qemu.snapshot(),
            record: of_now(&self.record_text()),
            files: files(self.dir.path()),
            taps: host::taps(&self.prefix),
        }
    }
}

/// What qemu-img makes of it. The program takes longer to start than most cases need, so that it is run once
/// for all paths of one length, which differ in that path only.
fn make_overlay(path: &Path, base: &Path) {
    static MADE: Mutex<BTreeMap<usize, (Vec<u8>, usize)>> = Mutex::new(BTreeMap::new());
    let name = base.to_str().unwrap();
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((image, at)) = made.get(&name.len()) {
        let mut image = image.clone();
        image[*at..*at + name.len()].copy_from_slice(name.as_bytes());
        return std::fs::write(path, image).unwrap();
    }
    let create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", name];
    programs::run(&[&create[..], &[path.to_str().unwrap()]].concat());
    let image = std::fs::read(path).unwrap();
    // In the header: where the name of the backing file is.
    let at = usize::try_from(u64::from_be_bytes(image[8..16].try_into().unwrap())).unwrap();
    assert!(image[at..].starts_with(name.as_bytes()), "the name is elsewhere");
    made.insert(name.len(), (image, at));
}

/// The record without what it remembers of earlier devices.
fn of_now(record: &str) -> String {
    let Ok(serde_json::Value::Object(mut members)) = serde_json::from_str(record) else {
        return record.to_owned();
    };
    for past in ["next_generation", "unheard"] {
        members.remove(past);
    }
    serde_json::to_string_pretty(&members).unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    // There while a handle is open.
    names.retain(|name| !name.ends_with(".lock"));
    names.sort();
    names
}
