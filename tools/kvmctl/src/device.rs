//! A device and how it stands, for people and as JSON.

use kvm_hotplug::disk::DiskSpec;
use kvm_hotplug::guest::{DeviceInfo, DeviceState, GuestView, MISSING, Outcome};
use kvm_hotplug::ids::{Address, IfName};
use kvm_hotplug::model::{Device, Intent, Operation, Presence, Spec};
use kvm_hotplug::net::netdev::Netdev;
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::store::RecordFile;
use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;

/// How a device stands. The names are those that the library describes it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Live,
    AfterReboot,
    Pending,
    Missing,
}

/// A device, how it stands and why.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) device: Device,
    pub(crate) state: State,
    /// Empty for nothing to say.
    pub(crate) reason: String,
    /// An add that is unfinished.
    pub(crate) is_coming: bool,
    /// What the guest calls it, as far as that is known.
    pub(crate) view: GuestView,
}

impl Shown {
    fn new(device: &Device, state: State, reason: impl ToString) -> Self {
        Self {
            device: device.clone(),
            state,
            reason: reason.to_string(),
            is_coming: false,
            view: GuestView::default(),
        }
    }

    /// As the record alone has it.
    pub(crate) fn recorded(device: &Device) -> Self {
        Self::new(device, recorded_state(device), "")
    }

    /// As the guest has it.
    pub(crate) fn in_guest(info: &DeviceInfo) -> Self {
        let shown = match &info.state {
            DeviceState::Live => Self::recorded(&info.device),
            DeviceState::Pending(why) => Self::new(&info.device, State::Pending, why),
            DeviceState::Missing => Self::new(&info.device, State::Missing, MISSING),
            DeviceState::AddAfterReboot(why) | DeviceState::RemoveAfterReboot(why) => {
                Self::new(&info.device, State::AfterReboot, why)
            }
        };
        Self { view: info.view.clone(), ..shown }
    }

    /// As an operation has left it that was begun, and whose end is not written down.
    fn unfinished(device: &Device, operation: Operation) -> Self {
        let is_coming = matches!(operation, Operation::Add | Operation::RollbackAdd);
        let state = match operation {
            Operation::Add | Operation::RollbackAdd | Operation::Remove => State::Pending,
            Operation::RemoveNext
            | Operation::SetLink
            | Operation::Move
            | Operation::SetLimits
            | Operation::ChangeMedium => recorded_state(device),
        };
        Self { is_coming, ..Self::new(device, state, operation.condition()) }
    }

    /// As a call has answered.
    pub(crate) fn answered(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Done(device) => Some(Self::recorded(device)),
            Outcome::AfterReboot(device, why) => Some(Self::new(device, State::AfterReboot, why)),
            Outcome::Pending(device, why) => Some(Self::new(device, State::Pending, why)),
            Outcome::DoneByPath | Outcome::PendingByPath(_) | Outcome::Absent => None,
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.device.id.as_str()
    }

    /// `pci.0:05`, `hba.0:3:1`; `-` without a place.
    pub(crate) fn place(&self) -> String {
        match &self.device.address {
            None => "-".to_owned(),
            Some(Address::Pci(address)) => format!("{}:{:02x}", address.bus, address.slot.get()),
            Some(Address::Scsi(address)) => {
                format!("{}:{}:{}", address.bus, address.target, address.lun.get())
            }
        }
    }
}

fn recorded_state(device: &Device) -> State {
    match device.presence {
        Presence::Live => State::Live,
        Presence::AddAfterReboot | Presence::RemoveAfterReboot => State::AfterReboot,
    }
}

/// The devices of the guest, or of its record if the guest is not open.
pub(crate) fn all(session: &Session<'_>) -> Result<Vec<Shown>> {
    let mut devices: Vec<Shown> = match session.guest_if_open() {
        Some(guest) => guest.list()?.iter().map(Shown::in_guest).collect(),
        None => recorded(&*session.record()?),
    };
    // A guest that was not opened for looking has settled its journal, or lists what is left of it.
    if session.guest_if_open().is_none() || session.only_looks() {
        let record = session.record()?;
        let was_added =
            |intent: &&Intent| matches!(intent.operation, Operation::Add | Operation::RollbackAdd);
        for intent in record.journal().intents.iter().filter(was_added) {
            if devices.iter().all(|listed| listed.device.id != intent.device.id) {
                devices.push(Shown::unfinished(&intent.device, intent.operation));
            }
        }
    }
    Ok(devices)
}

fn recorded(file: &RecordFile) -> Vec<Shown> {
    let journal = file.journal();
    let shown = |device: &Device| match journal.find(device.id.as_str()) {
        Some(intent) if intent.device.generation == device.generation => {
            Shown::unfinished(device, intent.operation)
        }
        _ => Shown::recorded(device),
    };
    file.record().devices.iter().map(shown).collect()
}

/// A device as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Json<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    state: State,
    reason: &'a str,
    generation: u64,
    model: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(flatten)]
    settings: Settings<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Place<'a> {
    Pci { bus: &'a str, slot: u8 },
    Scsi { bus: &'a str, target: u8, lun: u16 },
    None { bus: Option<&'a str> },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Settings<'a> {
    Nic {
        mac: String,
        tap: Option<&'a str>,
        bridge: Option<&'a str>,
        /// The type of the one in the place of a tap.
        #[serde(skip_serializing_if = "Option::is_none")]
        netdev: Option<&'a str>,
        queues: u16,
        vhost: bool,
        mtu: u16,
        link: &'static str,
    },
    Disk {
        path: String,
        format: &'static str,
        serial: Option<&'a str>,
        read_only: bool,
    },
    Controller {},
}

impl Shown {
    pub(crate) fn json(&self) -> Json<'_> {
        let device = &self.device;
        let place = match &device.address {
            None => Place::None { bus: None },
            Some(Address::Pci(address)) => Place::Pci { bus: address.bus.as_str(), slot: address.slot.get() },
            Some(Address::Scsi(address)) => {
                Place::Scsi { bus: address.bus.as_str(), target: address.target, lun: address.lun.get() }
            }
        };
        Json {
            id: device.id.as_str(),
            kind: device.kind().name(),
            state: self.state,
            reason: &self.reason,
            generation: device.generation,
            model: device.model(),
            place,
            settings: settings(&device.spec),
        }
    }
}

fn settings(spec: &Spec) -> Settings<'_> {
    match spec {
        Spec::Nic(nic) => Settings::Nic {
            mac: nic.mac.to_string(),
            tap: nic.ifname.as_ref().map(IfName::as_str),
            bridge: nic.bridge.as_ref().map(IfName::as_str),
            netdev: nic.netdev.as_ref().map(Netdev::kind),
            queues: nic.queues,
            vhost: nic.vhost,
            mtu: nic.mtu.unwrap_or(0),
            link: if nic.link_down { "down" } else { "up" },
        },
        Spec::Disk(disk) => Settings::Disk {
            path: path(disk),
            format: disk.format.as_str(),
            serial: disk.serial.as_deref(),
            read_only: disk.read_only,
        },
        Spec::Controller(_) => Settings::Controller {},
    }
}

/// What QEMU opens.
pub(crate) fn path(disk: &DiskSpec) -> String {
    disk.title().into_owned()
}

/// The backend of a device, in words.
pub(crate) fn words(spec: &Spec) -> String {
    match spec {
        Spec::Nic(nic) => nic_words(nic),
        Spec::Disk(disk) => disk_words(disk),
        Spec::Controller(controller) => controller.model.clone(),
    }
}

fn nic_words(nic: &NicSpec) -> String {
    let mut words = nic.mac.to_string();
    let mut add = |text: String| words.push_str(&text);
    nic.ifname.iter().for_each(|tap| add(format!(", tap {tap}")));
    nic.netdev.iter().for_each(|netdev| add(format!(", netdev {}", netdev.kind())));
    nic.bridge.iter().for_each(|bridge| add(format!(" on {bridge}")));
    nic.mtu.iter().for_each(|mtu| add(format!(", mtu {mtu}")));
    let queues = (nic.queues > 1).then(|| format!(", {} queues", nic.queues));
    queues.into_iter().for_each(&mut add);
    for (is_said, word) in [(nic.vhost, ", vhost"), (nic.link_down, ", link down")] {
        if is_said {
            add(word.to_owned());
        }
    }
    words
}

fn disk_words(disk: &DiskSpec) -> String {
    let mut words = path(disk);
    if disk.format == kvm_hotplug::disk::Format::Qcow2 {
        words.push_str(", qcow2");
    }
    if let Some(serial) = &disk.serial {
        words.push_str(&format!(", serial {serial}"));
    }
    if disk.read_only {
        words.push_str(", read-only");
    }
    words
}

/// What a call answers, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Answer<'a> {
    answer: &'static str,
    id: &'a str,
    #[serde(flatten)]
    device: Option<Answered<'a>>,
}

#[derive(Debug, Serialize)]
struct Answered<'a> {
    reason: &'a str,
    device: Json<'a>,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(answer: &'static str, id: &'a str) -> Self {
        Self { answer, id, device: None }
    }

    /// The same, with how the device stands.
    pub(crate) fn with(answer: &'static str, shown: &'a Shown) -> Self {
        let device = Answered { reason: &shown.reason, device: shown.json() };
        Self { answer, id: shown.id(), device: Some(device) }
    }
}

/// The word for an answer.
pub(crate) fn answer_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) | Outcome::DoneByPath => "done",
        Outcome::AfterReboot(..) => "after-reboot",
        Outcome::Pending(..) | Outcome::PendingByPath(_) => "pending",
        Outcome::Absent => "absent",
    }
}
