//! What the cases ask of the library, in words of their own: one implementation per interface of the library.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::disk::BackingRule;
use kvm_hotplug::ids::IoThread;
use serde_json::Value;

/// A way to reach the library.
pub trait Agent {
    /// The module that `through_every_api!` puts its tests into.
    fn name(&self) -> &'static str;
    /// Loads the runtime file and opens the guest.
    fn open(&self, runtime: &Path, socket: &Path, timeout_ms: u64) -> Result<Box<dyn Api>, Failure>;
    /// The same for looking only, by a record that another program may own.
    fn look(&self, runtime: &Path, socket: &Path, timeout_ms: u64) -> Result<Box<dyn Api>, Failure>;
}

/// A live guest.
pub trait Api: Send + Sync {
    fn add_nic(&self, nic: &NicArgs) -> Result<Answer, Failure>;
    fn add_disk(&self, disk: &DiskArgs) -> Result<Answer, Failure>;
    fn add_controller(&self, controller: &ControllerArgs) -> Result<Answer, Failure>;
    fn unplug(&self, removal: &UnplugArgs) -> Result<Answer, Failure>;
    /// The NICs, then the disks.
    fn add_all(&self, nics: &[NicArgs], disks: &[DiskArgs], timeout_ms: u64) -> Result<Vec<Answer>, Failure>;
    /// The devices of a JSON text; the answer as JSON.
    fn add_json(&self, text: &str, timeout_ms: u64) -> Result<Value, Failure>;
    /// Makes the guest have the devices of a list.
    fn apply(&self, text: &str, how: ApplyArgs) -> Applied;
    /// Each with its answer or errno.
    fn unplug_all(&self, ids: &[String], timeout_ms: u64) -> Vec<Result<Answer, i32>>;
    fn set_link(&self, id: &str, up: bool, timeout_ms: u64) -> Result<Changed, Failure>;
    fn set_nic_limits(&self, id: &str, limits: LimitArgs, timeout_ms: u64) -> Result<Changed, Failure>;
    fn set_bridge(&self, id: &str, bridge: Option<&str>, timeout_ms: u64) -> Result<Changed, Failure>;
    fn set_limits(&self, id: &str, limits: &str, timeout_ms: u64) -> Result<Changed, Failure>;
    /// The size it has now.
    fn resize(&self, id: &str, size: SizeArgs, timeout_ms: u64) -> Result<u64, Failure>;
    /// Another medium for a CD drive, or none.
    fn change_media(&self, id: &str, medium: &MediumArgs) -> Result<Answer, Failure>;
    /// What the command returned.
    fn qmp(&self, command: &QmpArgs) -> Result<Value, Failure>;
    fn forward_qmp_events(&self, on: bool);
    /// None if there is no such device.
    fn describe(&self, id: Option<&str>) -> Result<Option<Value>, Failure>;
    /// What QEMU knows of device models.
    fn capabilities(&self) -> Result<Value, Failure>;
    fn give_capabilities(&self, text: &str) -> Result<(), Failure>;
    /// The next event as JSON.
    fn next_event_json(&self) -> Option<Value>;
    /// How many events can be fetched.
    fn process(&self, timeout_ms: u64) -> Result<usize, Failure>;
    fn next_event(&self) -> Option<Notification>;
    fn list(&self) -> Vec<Item>;
    fn slots(&self) -> Result<Vec<SlotItem>, Failure>;
    /// The differences there are.
    fn verify(&self) -> Result<Vec<String>, Failure>;
    /// What is still pending when everything is settled that can be.
    fn settle(&self) -> Result<Vec<String>, Failure>;
    /// The differences that are left.
    fn repair(&self) -> Result<Vec<String>, Failure>;
    fn fd(&self) -> RawFd;
    /// Whether a call was running.
    fn cancel(&self) -> bool;
    /// The number of this thread.
    fn thread(&self) -> usize;
    /// Whether the thread with this number was in a call.
    fn cancel_thread(&self, thread: usize) -> bool;
}

/// What all kinds of device have in common.
#[derive(Clone, Debug)]
pub struct Place {
    pub id: Option<String>,
    /// Bus and slot; for a SCSI disk bus and target, on unit 0.
    pub address: Option<(String, u8)>,
    /// For a SCSI disk: the bus of the controller.
    pub scsi_bus: Option<String>,
    pub live_only: bool,
    pub no_wait: bool,
    pub adopt: bool,
    pub timeout_ms: u64,
    /// Further properties, as JSON text.
    pub properties: Option<String>,
}

/// Long enough for anything that does not hang, on a busy machine.
pub const AMPLE: u64 = 60_000;

impl Default for Place {
    fn default() -> Self {
        Self {
            id: None,
            address: None,
            scsi_bus: None,
            live_only: false,
            no_wait: false,
            adopt: false,
            timeout_ms: AMPLE,
            properties: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct LimitArgs {
    /// Average and burst.
    pub inbound: (u64, u64),
    pub outbound: (u64, u64),
}

#[derive(Clone, Debug)]
pub struct NicArgs {
    pub place: Place,
    pub mac: Option<String>,
    pub queues: u16,
    /// Required, or off.
    pub vhost: bool,
    pub mtu: Option<u16>,
    pub bridge: Option<String>,
    pub boot_index: Option<u32>,
    pub link_down: bool,
    /// As JSON text.
    pub port: Option<String>,
    pub limits: LimitArgs,
    pub model: Option<String>,
    /// Name of the tap to open.
    pub ifname: Option<String>,
    /// Who may attach to it.
    pub owner: Option<u32>,
    /// Taps opened by the caller, who keeps them.
    pub fds: Vec<Arc<OwnedFd>>,
    /// What Ganeti has of it.
    pub ganeti: Option<String>,
    /// In the place of a tap, as JSON.
    pub netdev: Option<String>,
}

impl Default for NicArgs {
    fn default() -> Self {
        Self {
            place: Place::default(),
            mac: None,
            queues: 1,
            vhost: false,
            mtu: None,
            port: None,
            limits: LimitArgs::default(),
            bridge: None,
            boot_index: None,
            link_down: false,
            model: None,
            ifname: None,
            owner: None,
            fds: Vec::new(),
            ganeti: None,
            netdev: None,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct DiskArgs {
    pub place: Place,
    pub path: PathBuf,
    /// `raw` or `qcow2`; look if not given.
    pub format: Option<String>,
    pub serial: Option<String>,
    pub read_only: bool,
    pub share_rw: bool,
    pub boot_index: Option<u32>,
    pub model: Option<String>,
    /// Where backing files may be; what the record says if not given.
    pub backing: Option<BackingRule>,
    pub accept_chain: bool,
    /// No cache.
    pub uncached: bool,
    pub iothread: Option<IoThread>,
    /// As JSON text.
    pub limits: Option<String>,
    /// What Ganeti has of it.
    pub ganeti: Option<String>,
    /// Instead of the path, as JSON text.
    pub source: Option<String>,
    /// Name and text of each.
    pub secrets: Vec<(String, String)>,
    /// As JSON text.
    pub tls_creds: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct ControllerArgs {
    pub place: Place,
    pub queues: Option<u16>,
    pub model: Option<String>,
    pub iothread: Option<IoThread>,
}

#[derive(Clone, Debug)]
pub struct UnplugArgs {
    pub id: String,
    /// `nic`, `disk` or `scsi`, if it has to be one.
    pub kind: Option<&'static str>,
    pub live_only: bool,
    pub wait: bool,
    pub leave_overlay: bool,
    pub timeout_ms: u64,
}

impl UnplugArgs {
    pub fn of(id: &str) -> Self {
        Self {
            id: id.into(),
            kind: None,
            live_only: false,
            wait: true,
            leave_overlay: false,
            timeout_ms: AMPLE,
        }
    }

    pub fn within(id: &str, timeout_ms: u64) -> Self {
        Self { timeout_ms, ..Self::of(id) }
    }
}

/// How a wanted list is applied.
#[derive(Clone, Copy, Debug)]
pub struct ApplyArgs {
    pub plan: bool,
    pub keep_others: bool,
    pub replace: bool,
    pub live_only: bool,
    pub no_wait: bool,
    pub timeout_ms: u64,
}

impl Default for ApplyArgs {
    fn default() -> Self {
        Self {
            plan: false,
            keep_others: false,
            replace: false,
            live_only: false,
            no_wait: false,
            timeout_ms: AMPLE,
        }
    }
}

/// What came of a wanted list.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What is said of each device, if it came to that.
    pub json: Option<Value>,
    /// `done`, `pending` or `after-reboot`.
    pub result: Result<&'static str, Failure>,
}

/// A new size: in bytes, or what the image has now.
#[derive(Clone, Copy, Debug, Default)]
pub struct SizeArgs {
    pub bytes: Option<u64>,
    pub may_shrink: bool,
}

impl SizeArgs {
    pub fn bytes(bytes: u64) -> Self {
        Self { bytes: Some(bytes), may_shrink: false }
    }
}

/// A medium for a CD drive; without a path the one in it is taken out.
#[derive(Clone, Debug)]
pub struct MediumArgs {
    pub path: Option<PathBuf>,
    pub format: &'static str,
    pub force: bool,
    pub timeout_ms: u64,
}

impl MediumArgs {
    pub fn none() -> Self {
        Self { path: None, format: "raw", force: false, timeout_ms: AMPLE }
    }

    pub fn at(path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..Self::none() }
    }
}

/// A QMP command.
#[derive(Clone, Debug)]
pub struct QmpArgs {
    pub name: String,
    pub arguments: Value,
    pub fd: Option<Arc<OwnedFd>>,
    pub force: bool,
    pub timeout_ms: u64,
}

impl QmpArgs {
    pub fn new(name: &str, arguments: Value) -> Self {
        Self { name: name.into(), arguments, fd: None, force: false, timeout_ms: AMPLE }
    }

    pub fn forced(self) -> Self {
        Self { force: true, ..self }
    }
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub state: State,
    /// None if there is no such device.
    pub device: Option<Item>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Done,
    AfterReboot(Later),
    Pending(Why),
    Absent,
}

/// What became of a change to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    AfterReboot,
}

/// Why something waits for a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    QemuTooOld,
    Model,
    NoAddress,
    Controller,
    Full,
    Recorded,
}

/// Why a removal is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Deadline,
    NotBooted,
    NotStarted,
    Paused,
    Asleep,
    Stopped,
    NotAwaited,
    Migrating,
    InUse,
    TrayLocked,
}

/// One device.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub id: String,
    pub kind: &'static str,
    /// Bus and slot, or bus and target.
    pub address: Option<(String, u8)>,
    pub generation: u64,
    pub presence: Presence,
    /// Why it waits for a reboot, if it does.
    pub later: Option<Later>,
    pub mac: Option<String>,
    pub ifname: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Live,
    Missing,
    Pending(Why),
    AddAfterReboot,
    RemoveAfterReboot,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    pub what: EventKind,
    pub id: Option<String>,
    pub generation: u64,
    pub text: String,
    pub times: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Removed,
    RemovedByGuest,
    Refused,
    Pending,
    Undone,
    MonitorLost,
    Lost(u64),
    MonitorRestored,
    IoError { write: bool, no_space: bool, action: &'static str },
    Shutdown { by_guest: bool },
    Reset { by_guest: bool },
    Panicked,
    TrayOpened,
    TrayClosed,
    Qmp,
    AddFailed { kind: i32, errno: i32 },
}

/// One slot, or one SCSI target.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotItem {
    pub bus: String,
    pub slot: u8,
    pub state: SlotUse,
    pub occupant: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotUse {
    Free,
    Reserved,
    Taken,
    Quarantined,
    NotHotpluggable,
    Unknown,
    Missing,
}

/// An error, as far as every interface shows it.
#[derive(Clone, PartialEq)]
pub struct Failure {
    /// Number of the kind; the same in all interfaces.
    pub kind: i32,
    pub errno: i32,
    pub text: String,
    pub step: Option<String>,
    pub qmp_class: Option<String>,
    pub qmp_desc: Option<String>,
    /// 0 nothing had been changed, 1 all taken back, 2 something is left.
    pub undo: i32,
    pub left: Vec<String>,
}

impl Failure {
    pub fn is(&self, kind: ErrorKind) -> bool {
        self.kind == kind as i32
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, errno, text, step, undo, left, .. } = self;
        write!(f, "kind {kind}, errno {errno}, step {step:?}, undo {undo}, left {left:?}: {text}")
    }
}

/// The failure, which has to be of this kind.
#[track_caller]
pub fn fails<T: fmt::Debug>(result: Result<T, Failure>, kind: ErrorKind) -> Failure {
    match result {
        Err(failure) => {
            assert!(failure.is(kind), "expected {kind:?}: {failure:?}");
            assert!(failure.errno > 0, "{failure:?}");
            failure
        }
        Ok(answer) => panic!("expected {kind:?}, got {answer:?}"),
    }
}

/// The device of an answer that says it is done.
#[track_caller]
pub fn done(result: Result<Answer, Failure>) -> Item {
    match result {
        Ok(Answer { state: State::Done, device: Some(device) }) => device,
        other => panic!("expected a device that is done: {other:?}"),
    }
}
