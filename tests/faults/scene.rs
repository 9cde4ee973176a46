//! What goes wrong, and the world around it.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use kvm_hotplug::ids::IoThread;
use kvm_hotplug::model::{Device, Spec};

use crate::support::adopted;
use crate::support::api::*;
use crate::support::fixture::{Fixture, Snapshot};
use crate::support::host;

/// An operation of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    AddNic(u16),
    AddVhost(u16),
    /// A NIC whose netdev has a chardev.
    AddVhostUser,
    DelVhostUser,
    AddRaw,
    AddLayered,
    /// A SCSI disk on a controller that is there.
    AddScsi,
    /// A SCSI disk that brings its controller.
    AddFirstScsi,
    AddController,
    /// A disk with an iothread of its own.
    AddThreaded,
    /// A controller with one.
    AddThreadedController,
    /// A disk with limits.
    AddLimited,
    DelLimited,
    /// A disk over a network, with credentials for TLS and their password.
    AddSecret,
    DelSecret,
    /// The limits of a disk that has a group, and of one that has none.
    SetLimits,
    SetFirstLimits,
    DelNic(u16),
    DelVhost(u16),
    DelRaw,
    DelLayered,
    DelScsi,
    DelController,
    DelThreaded,
    DelThreadedController,
    /// Of what another program has started: a NIC, a disk with two nodes, and one with a drive.
    DelStartedNic,
    DelStartedNodes,
    DelStartedDrive,
    /// A NIC with its cable pulled.
    AddNicDown,
    LinkDown,
    Resize,
    /// Another medium in a CD drive.
    ChangeMedium,
}

/// What becomes of an operation that failed without saying that it is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The next call takes it back.
    Undone,
    /// The next call carries it through.
    CarriedThrough,
    /// Whoever repeats it finds out.
    Repeated,
}

pub use Operation::*;

pub const ID: &str = "victim";

/// The controller that comes with a SCSI disk.
pub const CONTROLLER: &str = "scsi-pci-4";

/// What may be left of a device is called by one of these.
pub const PARTS: [&str; 7] =
    [ID, "fdset", "medium", CONTROLLER, adopted::NETDEV, adopted::NODES[0], adopted::NODES[1]];

/// Time for an operation whose monitor falls silent.
pub const SHORT: u64 = 150;

impl Operation {
    pub fn is_add(self) -> bool {
        matches!(
            self,
            AddNic(_)
                | AddVhost(_)
                | AddVhostUser
                | AddRaw
                | AddLayered
                | AddNicDown
                | AddScsi
                | AddFirstScsi
                | AddController
                | AddThreaded
                | AddLimited
                | AddSecret
                | AddThreadedController
        )
    }

    pub fn fate(self) -> Fate {
        match self {
            LinkDown | SetLimits | SetFirstLimits => Fate::Undone,
            Resize | ChangeMedium => Fate::Repeated,
            _ if self.is_add() => Fate::Undone,
            _ => Fate::CarriedThrough,
        }
    }

    /// Commands that it takes at least, so that no case passes by sending nothing.
    pub fn least(self) -> usize {
        match self {
            LinkDown | AddController | DelController => 1,
            Resize | SetLimits | SetFirstLimits | AddThreadedController | DelThreadedController => 2,
            _ => 3,
        }
    }

    pub fn needs_vhost(self) -> bool {
        matches!(self, AddVhost(_) | DelVhost(_))
    }

    /// What has to be there before.
    fn prepare(self, fixture: &Fixture, api: &dyn Api) {
        let before = match self {
            DelNic(queues) => AddNic(queues),
            DelVhost(queues) => AddVhost(queues),
            DelVhostUser => AddVhostUser,
            DelRaw => AddRaw,
            DelLayered => AddLayered,
            DelScsi => AddFirstScsi,
            DelController => AddController,
            DelThreaded => AddThreaded,
            DelSecret => AddSecret,
            DelLimited | SetLimits => AddLimited,
            DelThreadedController => AddThreadedController,
            AddScsi => {
                done(api.add_controller(&ControllerArgs::default()));
                return;
            }
            LinkDown => AddNic(2),
            Resize | SetFirstLimits => AddRaw,
            ChangeMedium => {
                let place = Place { id: Some(ID.into()), ..Place::default() };
                let model = Some("scsi-cd".into());
                done(api.add_disk(&DiskArgs { place, model, read_only: true, ..fixture.disk("disk.img") }));
                return;
            }
            _ => return,
        };
        done(before.run(fixture, api, AMPLE));
    }

    pub fn run(self, fixture: &Fixture, api: &dyn Api, timeout_ms: u64) -> Result<Answer, Failure> {
        let place = Place { id: Some(ID.into()), timeout_ms, ..Place::default() };
        match self {
            AddNic(queues) | AddVhost(queues) => {
                let mac = Some("52:54:00:00:00:01".into());
                api.add_nic(&NicArgs { place, mac, vhost: self.needs_vhost(), ..fixture.nic(queues) })
            }
            AddVhostUser => {
                let mac = Some("52:54:00:00:00:01".into());
                let netdev = r#"{"type": "vhost-user", "addr": {"type": "unix", "path": "/run/switch"}}"#;
                api.add_nic(&NicArgs { place, mac, netdev: Some(netdev.into()), ..NicArgs::default() })
            }
            AddNicDown => {
                let mac = Some("52:54:00:00:00:01".into());
                api.add_nic(&NicArgs { place, mac, link_down: true, ..fixture.nic(1) })
            }
            LinkDown => {
                let changed = api.set_link(ID, false, timeout_ms)?;
                assert_eq!(changed, Changed::Done);
                Ok(Answer { state: State::Done, device: api.list().pop() })
            }
            Resize => {
                let size = api.resize(ID, SizeArgs::bytes(3 << 20), timeout_ms)?;
                assert_eq!(size, 3 << 20);
                Ok(Answer { state: State::Done, device: api.list().pop() })
            }
            ChangeMedium => {
                let path = fixture.disk("other.img").path;
                api.change_media(ID, &MediumArgs { timeout_ms, ..MediumArgs::at(&path) })
            }
            AddRaw => api.add_disk(&DiskArgs { place, ..fixture.disk("disk.img") }),
            AddLayered => api.add_disk(&DiskArgs { place, ..fixture.layered_disk() }),
            AddScsi | AddFirstScsi => {
                api.add_disk(&DiskArgs { place, model: Some("scsi-hd".into()), ..fixture.disk("disk.img") })
            }
            AddController => api.add_controller(&ControllerArgs { place, ..ControllerArgs::default() }),
            AddThreaded => {
                let iothread = Some(IoThread::Own);
                api.add_disk(&DiskArgs { place, iothread, ..fixture.disk("disk.img") })
            }
            AddLimited => {
                let limits = Some(r#"{"bps-total": 1000}"#.to_owned());
                api.add_disk(&DiskArgs { place, limits, ..fixture.disk("disk.img") })
            }
            AddSecret => {
                let server = r#"{"type": "inet", "host": "storage", "port": "1"}"#;
                let source = Some(format!(r#"{{"driver": "nbd", "server": {server}, "tls-creds": "tls"}}"#));
                let x509 = r#"{"qom-type": "tls-creds-x509", "dir": "/keys", "passwordid": "password"}"#;
                let tls_creds = Some(format!(r#"{{"tls": {x509}}}"#));
                let secrets = vec![("password".to_owned(), "sesame".to_owned())];
                let format = Some("raw".to_owned());
                api.add_disk(&DiskArgs { place, source, format, secrets, tls_creds, ..DiskArgs::default() })
            }
            SetLimits | SetFirstLimits => {
                let changed = api.set_limits(ID, r#"{"iops-write": 5}"#, timeout_ms)?;
                assert_eq!(changed, Changed::Done);
                Ok(Answer { state: State::Done, device: api.list().pop() })
            }
            AddThreadedController => {
                let iothread = Some(IoThread::Own);
                api.add_controller(&ControllerArgs { place, iothread, ..ControllerArgs::default() })
            }
            DelNic(_)
            | DelVhost(_)
            | DelVhostUser
            | DelRaw
            | DelLayered
            | DelScsi
            | DelController
            | DelThreaded
            | DelSecret
            | DelLimited
            | DelThreadedController
            | DelStartedNic
            | DelStartedNodes
            | DelStartedDrive => api.unplug(&UnplugArgs::within(ID, timeout_ms)),
        }
    }
}

/// A world in which only the operation itself is still to be done.
pub struct Scene {
    pub fixture: Fixture,
    api: Option<Box<dyn Api>>,
    pub start: Snapshot,
    pub fds: usize,
}

impl Scene {
    pub fn new(agent: &dyn Agent, operation: Operation) -> Self {
        let fixture = Fixture::pc();
        fixture.disk("disk.img");
        if operation == ChangeMedium {
            fixture.disk("other.img");
        }
        if matches!(operation, AddLayered | DelLayered) {
            fixture.layered_disk();
        }
        match operation {
            DelStartedNic => adopted::nic(&fixture, ID, 5),
            DelStartedNodes => adopted::disk(&fixture, ID, 5),
            DelStartedDrive => adopted::drive(&fixture, ID, 5),
            AddVhostUser | DelVhostUser => fixture.qemu.model(|model| {
                let memory =
                    serde_json::json!({ "qom-type": "memory-backend-memfd", "id": "ram", "share": true });
                model.objects.insert("ram".into(), memory);
            }),
            _ => {}
        }
        let api = fixture.open(agent);
        operation.prepare(&fixture, api.as_ref());
        if !operation.is_add() {
            // The longest way of a removal begins with the question what the guest does, which this brings
            // about.
            fixture.qemu.emit("RESUME", serde_json::json!({}));
        }
        fixture.qemu.take_seen();
        fixture.qemu.settle();
        let start = fixture.snapshot();
        let fds = own_fds(&fixture);
        Self { fixture, api: Some(api), start, fds }
    }

    /// What the world looks like when the operation has been done.
    pub fn goal(agent: &dyn Agent, operation: Operation) -> Goal {
        let scene = Self::new(agent, operation);
        done(operation.run(&scene.fixture, scene.api(), AMPLE));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut commands = Vec::new();
        for name in scene.fixture.qemu.take_names() {
            let count = counts.entry(name.clone()).or_default();
            commands.push((name, *count));
            *count += 1;
        }
        Goal { qemu: scene.fixture.qemu.snapshot(), recorded: recorded(&scene.fixture), commands }
    }

    pub fn is_start(&self) -> bool {
        self.fixture.snapshot() == self.start
    }

    pub fn is_goal(&self, goal: &Goal) -> bool {
        self.fixture.qemu.snapshot() == goal.qemu
            && recorded(&self.fixture) == goal.recorded
            && !self.fixture.journal().exists()
    }

    pub fn api(&self) -> &dyn Api {
        self.api.as_deref().unwrap()
    }

    /// A silent monitor talks again, to the same handle or to a new agent.
    pub fn next_comes_by(&mut self, agent: &dyn Agent, next: Next) {
        if matches!(next, Next::Agent) {
            self.api = None;
        }
        self.fixture.qemu.resume();
        if self.api.is_none() {
            self.api = Some(self.fixture.open(agent));
        }
    }

    /// Calls until things are as wanted, no longer than the guest needs for its part.
    #[track_caller]
    pub fn settles(&self, so: impl Fn() -> bool) {
        self.settles_within(5, so);
    }

    #[track_caller]
    pub fn settles_within(&self, seconds: u64, so: impl Fn() -> bool) {
        let settled = host::eventually_within(seconds, || {
            self.api().process(AMPLE).unwrap();
            so()
        });
        assert!(
            settled,
            "{:#?}\nis not what was to be; at first it was\n{:#?}",
            self.fixture.snapshot(),
            self.start
        );
    }
}

/// What the world looks like when an operation has been done, and the commands that took.
pub struct Goal {
    pub qemu: Vec<String>,
    pub recorded: Vec<String>,
    /// Name, and how many of the same name came before.
    pub commands: Vec<(String, usize)>,
}

/// The devices of the record, and what of them an operation changes.
fn recorded(fixture: &Fixture) -> Vec<String> {
    let line = |device: &Device| match &device.spec {
        Spec::Nic(nic) => format!("{}, link down: {}", device.id, nic.link_down),
        Spec::Disk(disk) if disk.is_cd() => format!("{}, medium: {:?}", device.id, disk.path.file_name()),
        _ => device.id.to_string(),
    };
    fixture.record().devices.iter().map(line).collect()
}

/// What the library has open, the fake left aside.
pub fn own_fds(fixture: &Fixture) -> usize {
    host::open_fds().len() - fixture.qemu.fds_held()
}

/// How whoever calls next comes by.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    Call,
    Agent,
}
