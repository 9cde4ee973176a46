//! The library through its Rust interface.

use std::os::fd::RawFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_hotplug::Error;
use kvm_hotplug::disk::{
    Cache, Description, DiskSpec, Format, FormatRequest, Limits as DiskLimits, Secret, Secrets, SourceObjects,
};
use kvm_hotplug::guest::{
    self, Access, AddRequest, Apply, ControllerRequest, DeferReason, DeviceInfo, DeviceState, DiskRequest,
    Guest, Listener, Lock, MediumImage, NewMedium, NewSize, NicRequest, Outcome, PendingReason, Placement,
    RawCommand, Removal, RemovalOfMany, TapSource, ThreadNumber, read_devices, read_wanted,
};
use kvm_hotplug::ids::{Address, BusName, DeviceId, IfName, MacAddr, PciAddress, ScsiAddress, Slot};
use kvm_hotplug::log::{Level, Log, Sink};
use kvm_hotplug::model::{self, Device, DeviceKind, GanetiEntry, Spec};
use kvm_hotplug::net::bandwidth::{Bandwidth, Limits};
use kvm_hotplug::net::netdev::Netdev;
use kvm_hotplug::net::port::PortSettings;
use kvm_hotplug::net::vhost::VhostMode;
use kvm_hotplug::slots::scsi::ControllerSpec;
use kvm_hotplug::store::RecordFile;
use serde_json::Value;

use super::api::*;

pub struct RustAgent;

struct RustApi(Guest);

/// Shown by the test harness when a test fails.
struct Print;

impl Sink for Print {
    fn line(&self, level: Level, text: &str) {
        #[allow(clippy::print_stdout)]
        {
            println!("  [{level:?}] {text}");
        }
    }
}

impl Agent for RustAgent {
    fn name(&self) -> &'static str {
        "rust"
    }

    fn open(&self, runtime: &Path, socket: &Path, timeout_ms: u64) -> Result<Box<dyn Api>, Failure> {
        let runtime = Arc::new(Mutex::new(RecordFile::load(runtime)?));
        let log = Log::new(Level::Debug, Arc::new(Print));
        let guest = Guest::open(runtime, socket, log, Duration::from_millis(timeout_ms))?;
        Ok(Box::new(RustApi(guest)))
    }

    fn look(&self, runtime: &Path, socket: &Path, timeout_ms: u64) -> Result<Box<dyn Api>, Failure> {
        let runtime = Arc::new(Mutex::new(RecordFile::peek(runtime)?));
        let (log, timeout) = (Log::new(Level::Debug, Arc::new(Print)), Duration::from_millis(timeout_ms));
        let guest = Guest::open_of(runtime, socket, Listener::default(), Access::Look, log, timeout)?;
        Ok(Box::new(RustApi(guest)))
    }
}

impl Api for RustApi {
    fn add_nic(&self, nic: &NicArgs) -> Result<Answer, Failure> {
        Ok(answer(self.0.add_nic(nic_request(nic)?, Duration::from_millis(nic.place.timeout_ms))?))
    }

    fn add_disk(&self, disk: &DiskArgs) -> Result<Answer, Failure> {
        Ok(answer(self.0.add_disk(&disk_request(disk)?, Duration::from_millis(disk.place.timeout_ms))?))
    }

    fn add_all(&self, nics: &[NicArgs], disks: &[DiskArgs], timeout_ms: u64) -> Result<Vec<Answer>, Failure> {
        let mut additions = Vec::new();
        for nic in nics {
            additions.push(AddRequest::Nic(nic_request(nic)?));
        }
        for disk in disks {
            additions.push(AddRequest::Disk(Box::new(disk_request(disk)?)));
        }
        let added = self.0.add_all(additions, Duration::from_millis(timeout_ms))?;
        Ok(added.into_iter().map(answer).collect())
    }

    fn add_json(&self, text: &str, timeout_ms: u64) -> Result<Value, Failure> {
        let requests = read_devices(text)?;
        let kinds: Vec<_> = requests.iter().map(AddRequest::kind).collect();
        let added = self.0.add_all(requests, Duration::from_millis(timeout_ms))?;
        Ok(kvm_hotplug::guest::Applied::of_adds(&kinds, added).to_json())
    }

    fn apply(&self, text: &str, how: ApplyArgs) -> Applied {
        let ApplyArgs { plan, keep_others, replace, live_only, no_wait, timeout_ms } = how;
        let how = Apply { plan_only: plan, keep_others, replace, live_only, no_wait };
        let applied =
            read_wanted(text).and_then(|wanted| self.0.apply(wanted, how, Duration::from_millis(timeout_ms)));
        match applied {
            Err(error) => Applied { json: None, result: Err(error.into()) },
            Ok(applied) => {
                let json = Some(applied.to_json());
                let word = match (applied.is_pending(), applied.waits_for_boot()) {
                    (true, _) => "pending",
                    (false, true) => "after-reboot",
                    (false, false) => "done",
                };
                Applied { json, result: applied.error.map_or(Ok(word), |error| Err(error.into())) }
            }
        }
    }

    fn unplug_all(&self, ids: &[String], timeout_ms: u64) -> Vec<Result<Answer, i32>> {
        let answers = {
            let how = RemovalOfMany { wait: true, ..RemovalOfMany::default() };
            self.0.unplug_all(ids, how, Duration::from_millis(timeout_ms)).unwrap()
        };
        answers.into_iter().map(|one| one.map(answer).map_err(|error| error.errno())).collect()
    }

    fn add_controller(&self, controller: &ControllerArgs) -> Result<Answer, Failure> {
        let iothread = controller.iothread.clone();
        let mut spec = ControllerSpec { queues: controller.queues, iothread, ..ControllerSpec::default() };
        if let Some(model) = &controller.model {
            spec.model = model.clone();
        }
        let request = ControllerRequest { placement: placement(&controller.place, false)?, spec };
        Ok(answer(self.0.add_controller(&request, Duration::from_millis(controller.place.timeout_ms))?))
    }

    fn unplug(&self, removal: &UnplugArgs) -> Result<Answer, Failure> {
        let kind = removal.kind.map(|kind| match kind {
            "nic" => DeviceKind::Nic,
            "disk" => DeviceKind::Disk,
            "scsi" => DeviceKind::Controller,
            other => panic!("kind {other}"),
        });
        let UnplugArgs { id, live_only, wait, leave_overlay, .. } = removal.clone();
        let ask = Removal { id, kind, live_only, wait, leave_overlay };
        Ok(answer(self.0.unplug(&ask, Duration::from_millis(removal.timeout_ms))?))
    }

    fn set_link(&self, id: &str, up: bool, timeout_ms: u64) -> Result<Changed, Failure> {
        Ok(change(&self.0.set_link(id, up, Duration::from_millis(timeout_ms))?))
    }

    fn set_nic_limits(&self, id: &str, wanted: LimitArgs, timeout_ms: u64) -> Result<Changed, Failure> {
        let limits = limits(wanted)?;
        Ok(change(&self.0.set_nic_limits(id, limits, Duration::from_millis(timeout_ms))?))
    }

    fn set_bridge(&self, id: &str, bridge: Option<&str>, timeout_ms: u64) -> Result<Changed, Failure> {
        let bridge = bridge.map(IfName::parse).transpose()?;
        Ok(change(&self.0.set_bridge(id, bridge.as_ref(), Duration::from_millis(timeout_ms))?))
    }

    fn set_limits(&self, id: &str, limits: &str, timeout_ms: u64) -> Result<Changed, Failure> {
        let limits = DiskLimits::parse(limits)?;
        Ok(change(&self.0.set_disk_limits(id, limits, Duration::from_millis(timeout_ms))?))
    }

    fn resize(&self, id: &str, size: SizeArgs, timeout_ms: u64) -> Result<u64, Failure> {
        let size = NewSize { bytes: size.bytes, may_shrink: size.may_shrink };
        Ok(self.0.resize_disk(id, size, Duration::from_millis(timeout_ms))?.1)
    }

    fn change_media(&self, id: &str, medium: &MediumArgs) -> Result<Answer, Failure> {
        let format = if medium.format == "qcow2" { FormatRequest::Qcow2 } else { FormatRequest::Raw };
        let image = medium.path.clone().map(|path| MediumImage { path, format, backing: None });
        let lock = if medium.force { Lock::Broken } else { Lock::Respected };
        let timeout = Duration::from_millis(medium.timeout_ms);
        Ok(answer(self.0.change_media(id, NewMedium { image, lock }, timeout)?))
    }

    fn qmp(&self, command: &QmpArgs) -> Result<Value, Failure> {
        let raw = RawCommand {
            name: command.name.clone(),
            arguments: command.arguments.as_object().unwrap().clone(),
            fd: command.fd.as_ref().map(|fd| fd.try_clone().unwrap().into()),
            force: command.force,
        };
        Ok(self.0.qmp(raw, Duration::from_millis(command.timeout_ms))?)
    }

    fn forward_qmp_events(&self, on: bool) {
        self.0.forward_qmp_events(on).unwrap();
    }

    fn describe(&self, id: Option<&str>) -> Result<Option<Value>, Failure> {
        Ok(self.0.describe(id, Duration::from_millis(AMPLE))?)
    }

    fn capabilities(&self) -> Result<Value, Failure> {
        Ok(self.0.capabilities(Duration::from_millis(AMPLE))?)
    }

    fn give_capabilities(&self, text: &str) -> Result<(), Failure> {
        Ok(self.0.give_capabilities(text, Duration::from_millis(AMPLE))?)
    }

    fn next_event_json(&self) -> Option<Value> {
        Some(self.0.next_event().unwrap()?.to_json())
    }

    fn process(&self, timeout_ms: u64) -> Result<usize, Failure> {
        Ok(self.0.process(Duration::from_millis(timeout_ms))?)
    }

    fn next_event(&self) -> Option<Notification> {
        let event = self.0.next_event().unwrap()?;
        let what = match event.kind {
            guest::EventKind::Added => EventKind::Added,
            guest::EventKind::Removed => EventKind::Removed,
            guest::EventKind::RemovedByGuest => EventKind::RemovedByGuest,
            guest::EventKind::Refused => EventKind::Refused,
            guest::EventKind::Pending => EventKind::Pending,
            guest::EventKind::Undone => EventKind::Undone,
            guest::EventKind::MonitorLost => EventKind::MonitorLost,
            guest::EventKind::Lost(count) => EventKind::Lost(count),
            guest::EventKind::MonitorRestored => EventKind::MonitorRestored,
            guest::EventKind::IoError(error) => EventKind::IoError {
                write: error.write,
                no_space: error.no_space,
                action: match error.action {
                    guest::IoAction::Report => "report",
                    guest::IoAction::Ignore => "ignore",
                    guest::IoAction::Stop => "stop",
                },
            },
            guest::EventKind::Shutdown { by_guest } => EventKind::Shutdown { by_guest },
            guest::EventKind::Reset { by_guest } => EventKind::Reset { by_guest },
            guest::EventKind::Panicked => EventKind::Panicked,
            guest::EventKind::TrayOpened => EventKind::TrayOpened,
            guest::EventKind::TrayClosed => EventKind::TrayClosed,
            guest::EventKind::Qmp => EventKind::Qmp,
            guest::EventKind::AddFailed(failure) => {
                EventKind::AddFailed { kind: failure.kind as i32, errno: failure.errno }
            }
        };
        let times = event.count;
        let generation = event.device.as_ref().map_or(0, |device| device.generation);
        Some(Notification {
            what,
            id: event.device.map(|device| device.id),
            generation,
            text: event.text,
            times,
        })
    }

    fn list(&self) -> Vec<Item> {
        let device_info = self.0.list().unwrap();
        let shown = |DeviceInfo { device, state, .. }| {
            let (presence, later) = match state {
                DeviceState::Live => (Presence::Live, None),
                DeviceState::Pending(why) => (Presence::Pending(reason(why)), None),
                DeviceState::AddAfterReboot(why) => (Presence::AddAfterReboot, Some(later(&why))),
                DeviceState::Missing => (Presence::Missing, None),
                DeviceState::RemoveAfterReboot(why) => (Presence::RemoveAfterReboot, Some(later(&why))),
            };
            Item { presence, later, ..item(&device) }
        };
        device_info.into_iter().map(shown).collect()
    }

    fn slots(&self) -> Result<Vec<SlotItem>, Failure> {
        let lines = self.0.slot_map(Duration::from_millis(AMPLE))?;
        let usage = |state| match state {
            guest::SlotStatus::Free => SlotUse::Free,
            guest::SlotStatus::Reserved => SlotUse::Reserved,
            guest::SlotStatus::Taken => SlotUse::Taken,
            guest::SlotStatus::Quarantined => SlotUse::Quarantined,
            guest::SlotStatus::NotHotpluggable => SlotUse::NotHotpluggable,
            guest::SlotStatus::Unknown => SlotUse::Unknown,
            guest::SlotStatus::Missing => SlotUse::Missing,
        };
        let slot = |line: guest::SlotInfo| SlotItem {
            bus: line.address.bus().to_string(),
            slot: number(&line.address),
            state: usage(line.state),
            occupant: line.occupant,
        };
        Ok(lines.into_iter().map(slot).collect())
    }

    fn verify(&self) -> Result<Vec<String>, Failure> {
        Ok(self.0.verify(Duration::from_millis(AMPLE))?.iter().map(ToString::to_string).collect())
    }

    fn settle(&self) -> Result<Vec<String>, Failure> {
        let pending = self.0.settle(Duration::from_millis(AMPLE))?;
        Ok(pending.iter().map(|info| info.device.id.to_string()).collect())
    }

    fn repair(&self) -> Result<Vec<String>, Failure> {
        Ok(self.0.repair(Duration::from_millis(AMPLE))?.iter().map(ToString::to_string).collect())
    }

    fn fd(&self) -> RawFd {
        self.0.fd()
    }

    fn cancel(&self) -> bool {
        self.0.cancel()
    }

    fn thread(&self) -> usize {
        ThreadNumber::this().0
    }

    fn cancel_thread(&self, thread: usize) -> bool {
        self.0.cancel_thread(ThreadNumber(thread))
    }
}

fn placement(place: &Place, scsi: bool) -> Result<Placement, Failure> {
    let address = |(bus, number): &(String, u8)| -> Result<Address, Error> {
        let bus = BusName::parse(bus)?;
        Ok(match scsi {
            true => ScsiAddress::of_target(bus, *number).into(),
            false => PciAddress { bus, slot: Slot::try_from(u64::from(*number))? }.into(),
        })
    };
    Ok(Placement {
        id: place.id.as_deref().map(DeviceId::parse).transpose()?,
        address: place.address.as_ref().map(address).transpose()?,
        scsi_bus: place.scsi_bus.as_deref().map(BusName::parse).transpose()?,
        live_only: place.live_only,
        no_wait: place.no_wait,
        accept_chain: false,
        adopt: place.adopt,
        ganeti: None,
        properties: place
            .properties
            .as_deref()
            .map(model::properties::parse)
            .transpose()?
            .unwrap_or_default(),
    })
}

fn change(outcome: &Outcome) -> Changed {
    match outcome {
        Outcome::Done(_) => Changed::Done,
        Outcome::AfterReboot(..) => Changed::AfterReboot,
        other => panic!("a change came to {other:?}"),
    }
}

fn answer(outcome: Outcome) -> Answer {
    let (state, device) = match outcome {
        Outcome::Done(device) => (State::Done, Some(device)),
        Outcome::AfterReboot(device, why) => (State::AfterReboot(later(&why)), Some(device)),
        Outcome::Pending(device, why) => (State::Pending(reason(why)), Some(device)),
        Outcome::DoneByPath => (State::Done, None),
        Outcome::PendingByPath(why) => (State::Pending(reason(why)), None),
        Outcome::Absent => (State::Absent, None),
    };
    let later = match state {
        State::AfterReboot(later) => Some(later),
        State::Done | State::Pending(_) | State::Absent => None,
    };
    Answer { state, device: device.map(|device| Item { later, ..item(&device) }) }
}

fn later(why: &DeferReason) -> Later {
    match why {
        DeferReason::QemuTooOld(_) => Later::QemuTooOld,
        DeferReason::Model(_) => Later::Model,
        DeferReason::NoAddress => Later::NoAddress,
        DeferReason::Controller(_) => Later::Controller,
        DeferReason::Full(_) => Later::Full,
        DeferReason::Recorded => Later::Recorded,
    }
}

fn reason(why: PendingReason) -> Why {
    match why {
        PendingReason::Deadline => Why::Deadline,
        PendingReason::NotBooted => Why::NotBooted,
        PendingReason::NotStarted => Why::NotStarted,
        PendingReason::Paused => Why::Paused,
        PendingReason::Asleep => Why::Asleep,
        PendingReason::Stopped => Why::Stopped,
        PendingReason::NotAwaited => Why::NotAwaited,
        PendingReason::Migrating => Why::Migrating,
        PendingReason::InUse(_) => Why::InUse,
        PendingReason::TrayLocked => Why::TrayLocked,
    }
}

/// The slot or target.
fn number(address: &Address) -> u8 {
    match address {
        Address::Pci(address) => address.slot.get(),
        Address::Scsi(address) => address.target,
    }
}

fn item(device: &Device) -> Item {
    let ifname = match &device.spec {
        Spec::Nic(spec) => spec.ifname.as_ref().map(ToString::to_string),
        Spec::Disk(_) | Spec::Controller(_) => None,
    };
    Item {
        id: device.id.to_string(),
        kind: device.kind().word(),
        address: device.address.as_ref().map(|at| (at.bus().to_string(), number(at))),
        generation: device.generation,
        presence: match device.presence {
            model::Presence::Live => Presence::Live,
            model::Presence::AddAfterReboot => Presence::AddAfterReboot,
            model::Presence::RemoveAfterReboot => Presence::RemoveAfterReboot,
        },
        later: None,
        mac: device.mac().map(|mac| mac.to_string()),
        ifname,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind() as i32,
            errno: error.errno(),
            text: error.message().to_owned(),
            step: error.step().map(str::to_owned),
            qmp_class: error.qmp_class().map(str::to_owned),
            qmp_desc: error.qmp_desc().map(str::to_owned),
            undo: error.undo() as i32,
            left: error.left().to_vec(),
        }
    }
}

fn limits(wanted: LimitArgs) -> Result<Limits, Failure> {
    let one = |direction, (average, burst)| Bandwidth::new(direction, average, burst);
    Ok(Limits { inbound: one("inbound", wanted.inbound)?, outbound: one("outbound", wanted.outbound)? })
}

fn nic_request(nic: &NicArgs) -> Result<NicRequest, Failure> {
    let fds = nic.fds.iter().map(|fd| fd.try_clone().unwrap().into()).collect();
    let netdev = nic.netdev.as_deref().map(Netdev::parse).transpose()?;
    let tap = TapSource::new(netdev, fds, nic.ifname.clone(), nic.owner, None)?;
    let request = NicRequest {
        placement: placement(&nic.place, false)?,
        mac: nic.mac.as_deref().map(MacAddr::parse).transpose()?,
        queues: nic.queues,
        vhost: if nic.vhost { VhostMode::Required } else { VhostMode::Off },
        mtu: nic.mtu,
        bridge: nic.bridge.as_deref().map(IfName::parse).transpose()?,
        tap,
        boot_index: nic.boot_index,
        link_down: nic.link_down,
        limits: limits(nic.limits)?,
        port: nic.port.as_deref().map(PortSettings::parse).transpose()?.flatten(),
        model: nic.model.clone().unwrap_or_else(|| "virtio-net-pci".into()),
    };
    match &nic.ganeti {
        Some(entry) => Ok(request.with_ganeti(GanetiEntry::parse(entry)?)?),
        None => Ok(request),
    }
}

fn disk_request(disk: &DiskArgs) -> Result<DiskRequest, Failure> {
    let mut spec = DiskSpec::new(&disk.path, Format::Raw);
    spec.source = disk.source.as_deref().map(Description::parse).transpose()?;
    let mut secrets = Secrets::default();
    for (name, text) in &disk.secrets {
        secrets.add(name.clone(), Secret::new(text.as_bytes())?)?;
    }
    let tls_creds = disk.tls_creds.as_deref().map(SourceObjects::parse_tls).transpose()?;
    spec.objects = SourceObjects::new(&secrets, tls_creds.unwrap_or_default());
    spec.serial = disk.serial.clone();
    spec.read_only = disk.read_only;
    spec.share_rw = disk.share_rw;
    spec.boot_index = disk.boot_index;
    spec.iothread = disk.iothread.clone();
    spec.limits = disk.limits.as_deref().map(DiskLimits::parse).transpose()?;
    if let Some(model) = &disk.model {
        spec.model = model.clone();
    }
    let format = match disk.format.as_deref() {
        None => FormatRequest::Probe,
        Some("raw") => FormatRequest::Raw,
        Some("qcow2") => FormatRequest::Qcow2,
        Some(other) => panic!("format {other}"),
    };
    spec.backing = disk.backing.clone();
    let placement = Placement { accept_chain: disk.accept_chain, ..placement(&disk.place, spec.is_scsi())? };
    if disk.uncached {
        spec.cache = Cache::None;
    }
    let request = DiskRequest { placement, spec, format, secrets };
    match &disk.ganeti {
        Some(entry) => Ok(request.with_ganeti(GanetiEntry::parse(entry)?)?),
        None => Ok(request),
    }
}
