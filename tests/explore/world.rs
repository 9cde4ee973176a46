//! A world: the files of a record, a QEMU with its guest, a host, and the time; and at most one agent.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fake_qemu::model::Model;
use fake_qemu::{Command, Descriptor, Dev, Effect, Event, FdSet, Netdev, Node, Outcome, QmpError, SetFd};
use kvm_hotplug::model::Record;
use kvm_hotplug::store::RecordFile;

use crate::faults::Also;
use crate::host::Host;
use crate::restart::{FIRST_QEMU, Parts, new_qemu};

/// What somebody else has in the same guest, by this name.
pub const THEIRS: &str = "theirs";
/// The paths of QEMU's monitors.
pub const MONITORS: [&str; 2] = ["/run/web1.monitor", "/run/web1.second"];
const THEIR_SET: u32 = 77;

/// The files of a record by their names, without the lock.
pub type Files = BTreeMap<String, Vec<u8>>;

pub struct World {
    dir: tempfile::TempDir,
    pub model: Model,
    pub host: Host,
    pub now: Duration,
    begin: Instant,
    pub(crate) last_link: u64,
    /// The connections, and which monitor each is to.
    pub links: BTreeMap<u64, usize>,
    pub(crate) last_number: i32,
    /// What may happen here that may not happen in every scenario.
    also: &'static [Also],
    /// No QEMU runs.
    pub is_down: bool,
    pub has_no_power: bool,
    /// What each of these files was when the directory was synced last.
    pub(crate) unsynced: Vec<(String, Option<Vec<u8>>)>,
    /// What QEMU had of each device when that came.
    pub(crate) parts: BTreeMap<String, Parts>,
    /// What an agent that died has sent by a monitor, and QEMU has not carried out.
    pub(crate) rest: Vec<(usize, Command)>,
    /// Ids of the devices that QEMU was started with and no call has named since.
    pub inherited: BTreeSet<String>,
    /// Ids that the call of the moment names: it asks the next QEMU, too.
    pub named: Vec<&'static str>,
    /// Attachments that a call has answered to be there, or `None` for a device that it has answered to be
    /// gone.
    pub promised: BTreeMap<String, Option<u64>>,
    /// `DEVICE_DELETED` of what has left is said after so many batches, if nobody waits before.
    pub held: Option<usize>,
    /// The guest does not answer before the next call.
    pub silent: bool,
    /// A client was cut off right after a command that had a descriptor: nobody knows whether QEMU has that.
    pub uncertain: bool,
    /// The guest has let go of something by itself.
    pub ejected: bool,
    /// In any call.
    pub has_ejected: bool,
    /// Link or bridge could not be set when a change that was interrupted was taken back: the caller is told,
    /// and it stays so.
    pub change_refused: bool,
    /// Somebody else has taken an id, or QEMU has refused to take a backend down. Not both in one run: a
    /// journal that is there again after a power failure says the same as one whose backend is left, and the
    /// device of somebody else counts more than that.
    pub taken: bool,
    pub residue: bool,
    /// A file could not be written in the call of the moment.
    pub write_failed: bool,
    pub violations: Vec<String>,
}

/// The folder and the images of a world, which are the same for all runs.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("explore").tempdir_in("/dev/shm").unwrap()
}

impl World {
    /// A guest without devices of ours.
    pub fn new(dir: tempfile::TempDir, also: &'static [Also]) -> Self {
        let mut world = Self {
            dir,
            model: new_qemu(),
            host: Host::default(),
            now: Duration::from_secs(100),
            begin: Instant::now(),
            last_link: 0,
            links: BTreeMap::new(),
            last_number: 100,
            also,
            is_down: false,
            has_no_power: false,
            unsynced: Vec::new(),
            parts: BTreeMap::new(),
            rest: Vec::new(),
            promised: BTreeMap::new(),
            inherited: BTreeSet::new(),
            named: Vec::new(),
            held: None,
            silent: false,
            uncertain: false,
            ejected: false,
            has_ejected: false,
            change_refused: false,
            taken: false,
            residue: false,
            write_failed: false,
            violations: Vec::new(),
        };
        world.host.qemu = FIRST_QEMU;
        world.write_files(&Files::new());
        let command = ["qemu-system-x86_64", "-machine", "pc", "-m", "256"].map(String::from).to_vec();
        RecordFile::new(Record::new("web1", command, 4).unwrap()).save_new(&world.path()).unwrap();
        for name in ["one.img", "two.img"] {
            let path = world.image(name);
            std::fs::OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(false)
                .open(&path)
                .unwrap()
                .set_len(1 << 20)
                .unwrap();
            world.host.know_image(&path);
        }
        world.add_theirs();
        world
    }

    /// What stands in the guest and is not ours.
    pub(crate) fn add_theirs(&mut self) {
        let (tap, image) = (Descriptor::tap(1, THEIRS), Descriptor::image(2, THEIRS, 4096, true));
        let model = &mut self.model;
        model.netdevs.insert(THEIRS.into(), Netdev { fds: vec![tap], ..Netdev::default() });
        model.fdsets.insert(
            THEIR_SET,
            FdSet {
                fds: vec![SetFd { fd: image, opaque: Some(THEIRS.into()), removed: false }],
                users: [THEIRS.to_owned()].into(),
            },
        );
        let node = Node { sets: [THEIR_SET].into(), size: 4096, ..Node::default() };
        model.nodes.insert(THEIRS.into(), node);
        model.objects.insert(THEIRS.into(), serde_json::json!({ "qom-type": "iothread", "id": THEIRS }));
        let nic = Dev {
            netdev: Some(THEIRS.into()),
            mac: Some("52:54:00:99:99:99".into()),
            ..Dev::new(Some(THEIRS), "virtio-net-pci", "pci.0", 30, 0)
        };
        model.devices.push(nic);
        self.host.add_foreign_tap(THEIRS);
    }

    /// Whether all that is not ours is as it was.
    pub fn check_theirs(&mut self) {
        let model = &self.model;
        let fds = model.fdsets.get(&THEIR_SET).map(|set| set.fds.iter().filter(|fd| !fd.removed).count());
        let whole = model.device(THEIRS).is_some()
            && model.netdevs.get(THEIRS).is_some_and(|netdev| netdev.fds.len() == 1 && !netdev.link_down)
            && model.objects.contains_key(THEIRS)
            && model.nodes.get(THEIRS).is_some_and(|node| node.size == 4096)
            && fds == Some(1)
            && self.host.taps().contains_key(THEIRS);
        if !whole {
            self.violations.push("what is not ours was changed".into());
        }
    }

    /// The record's file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("web1.runtime")
    }

    pub fn image(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn into_folder(self) -> tempfile::TempDir {
        self.dir
    }

    pub fn instant(&self) -> Instant {
        self.begin + self.now
    }

    /// The time goes on to this.
    pub fn advance_to(&mut self, at: Instant) {
        self.now = self.now.max(at.saturating_duration_since(self.begin));
        self.model.advance(self.now);
    }

    pub fn files(&self) -> Files {
        let mut files = Files::new();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("web1.runtime") && !name.ends_with(".lock") {
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
        files
    }

    /// The files are these and no others.
    pub fn write_files(&self, files: &Files) {
        for name in self.files().keys().filter(|name| !files.contains_key(*name)) {
            std::fs::remove_file(self.dir.path().join(name)).unwrap();
        }
        for (name, bytes) in files {
            std::fs::write(self.dir.path().join(name), bytes).unwrap();
        }
    }

    /// Whether this may happen here.
    pub fn also(&self, what: Also) -> bool {
        self.also.contains(&what)
    }

    /// QEMU carries out a command. A descriptor that is not to arrive leads to nothing.
    pub fn execute(&mut self, link: u64, command: &kvm_hotplug::qmp::Command, arrives: bool) -> Outcome {
        let monitor = self.links.get(&link).copied().unwrap_or_default();
        self.last_number += i32::from(command.fd.is_some());
        let mut sent = self.command(command, self.last_number);
        if !arrives {
            sent.fds.iter_mut().for_each(|fd| fd.file = fake_qemu::File::Other("closed".into()));
        }
        self.check_command(&sent, monitor);
        let outcome = self.model.execute(self.now, monitor, &sent);
        if command.name == "device_add" {
            self.keep_parts(sent.text("id"));
        }
        for effect in &outcome.effects {
            if let Effect::Truncate { number, length } = effect {
                self.truncate(*number, *length);
            }
        }
        self.host.close_unused(&self.model);
        outcome
    }

    /// Whether QEMU has no reason of its own to refuse a command: that something is not there, it always says
    /// so.
    pub fn would_do(&self, command: &kvm_hotplug::qmp::Command) -> bool {
        let sent = self.command(command, 0);
        let monitor = self.links.values().next().copied().unwrap_or_default();
        self.model.clone().execute(self.now, monitor, &sent).reply.is_ok()
    }

    pub(crate) fn command(&self, command: &kvm_hotplug::qmp::Command, number: i32) -> Command {
        let arguments = command.arguments.as_ref();
        let arguments = arguments.map_or_else(|| serde_json::json!({}), |all| all.as_ref().clone().into());
        let sent = Command::new(&command.name, arguments);
        match &command.fd {
            Some(fd) => sent.with(self.host.describe(fd, number)),
            None => sent,
        }
    }

    fn truncate(&self, number: i32, length: u64) {
        let file = self.model.descriptors().find(|fd| fd.number == number).map(|fd| &fd.file);
        if let Some(fake_qemu::File::Image { name, .. }) = file {
            let path = self.host.path_of(name).unwrap();
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
        }
    }

    fn check_command(&mut self, command: &Command, monitor: usize) {
        let named = ["id", "name", "node-name", "fdname"].iter().any(|key| command.text(key) == THEIRS);
        let their_set = command.arguments.get("fdset-id") == Some(&THEIR_SET.into());
        let asks = command.name.starts_with("query-") || command.name.starts_with("qom-");
        let their_device =
            command.name == "device_del" && self.model.device(command.text("id")).is_some_and(is_theirs);
        if command.name == "device_del" && self.inherited.contains(command.text("id")) {
            self.violations.push(format!("{command:?} was meant for a QEMU that has ended"));
        }
        if (named || their_set || their_device) && !asks {
            self.violations.push(format!("{command:?} touches what is not ours"));
        }
        let closed = |fd: &Descriptor| fd.file == fake_qemu::File::Other("closed".into());
        let closes = match command.name.as_str() {
            "closefd" => self.model.monitors[monitor].fds.get(command.text("fdname")).is_some_and(closed),
            "getfd" => self.model.monitors[monitor].fds.get(command.text("fdname")).is_some_and(closed),
            "remove-fd" => {
                let set = command.arguments.get("fdset-id").and_then(serde_json::Value::as_u64);
                let set = set.and_then(|set| self.model.fdsets.get(&u32::try_from(set).unwrap()));
                set.is_some_and(|set| set.fds.iter().any(|fd| closed(&fd.fd)))
            }
            _ => false,
        };
        if closes {
            self.violations.push(format!("{command:?} closes what may be another's by now"));
        }
    }

    /// What nobody has broken before is said here.
    pub fn take_violations(&mut self) -> Vec<String> {
        let mut all = std::mem::take(&mut self.violations);
        all.append(&mut self.model.violations);
        all.append(&mut self.host.violations);
        all
    }

    /// The same for two worlds that go on alike, when no agent is there.
    pub fn fingerprint(&self, more: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.files().hash(&mut hasher);
        self.model.fingerprint().hash(&mut hasher);
        self.host.snapshot().hash(&mut hasher);
        (
            self.held,
            self.silent,
            self.uncertain,
            self.has_ejected,
            self.change_refused,
            self.taken,
            self.residue,
        )
            .hash(&mut hasher);
        (self.host.qemu, self.is_down, &self.unsynced, &self.promised, &self.inherited).hash(&mut hasher);
        format!("{:?}", self.rest).hash(&mut hasher);
        more.hash(&mut hasher);
        hasher.finish()
    }

    /// Ids of devices of ours that are in the guest.
    pub fn own_devices(&self) -> Vec<String> {
        let own = self.model.devices.iter().filter(|device| !is_theirs(device));
        own.filter_map(|device| device.id.clone()).collect()
    }

    /// Somebody else plugs a NIC in.
    pub fn add_their_device(&mut self, id: &str) {
        let mac = Some("52:54:00:99:00:01".into());
        let slot = if id == crate::call::IDS[0] { 28 } else { 29 };
        self.taken = true;
        self.model.devices.push(Dev { mac, ..Dev::new(Some(id), "virtio-net-pci", "pci.0", slot, 0) });
    }

    /// `DEVICE_DELETED` of all that have left.
    pub fn finish_leaving(&mut self) -> Vec<Event> {
        self.held = None;
        while let Some(id) = self.model.leaving.first().and_then(|leaving| leaving.device.id.clone()) {
            self.model.finish_leaving(&id);
        }
        self.model.take_events()
    }
}

/// Whether somebody else has made the device.
pub fn is_theirs(device: &Dev) -> bool {
    device.mac.as_deref().is_some_and(|mac| mac.starts_with("52:54:00:99"))
}

/// A refusal that nothing in the guest explains.
pub fn refusal() -> QmpError {
    QmpError::generic("refused, to see what becomes of it")
}
