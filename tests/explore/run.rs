//! One run: calls with what may happen to them, and afterwards a fresh agent to whom nothing happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kvm_hotplug::disk::{DiskSpec, Format, FormatRequest};
use kvm_hotplug::engine::{
    AddRequest, Answer, DiskRequest, Event, EventKind, Mismatch, NewSize, NicRequest, Outcome, Placement,
    Removal, Request, TapSource,
};
use kvm_hotplug::error::Result;
use kvm_hotplug::ids::{DeviceId, IfName, MacAddr};
use kvm_hotplug::model::{DeviceKind, Presence};
use kvm_hotplug::net::vhost::VhostMode;
use kvm_hotplug::store::RecordFile;

use crate::agent::{Agent, Died};
use crate::choices::Choices;
use crate::world::{self, THEIRS, World};

/// The ids of all devices that have one of the caller's.
pub const IDS: [&str; 2] = ["lan", "data"];

/// What a caller does.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// A NIC with this id, the last byte of its address, and its bridge.
    AddNic(&'static str, u8, &'static str),
    /// A disk with this id over this image.
    AddDisk(&'static str, &'static str),
    /// A SCSI disk, whose controller comes with it.
    AddScsi(&'static str, &'static str),
    /// A NIC and a disk as one operation.
    AddBoth(&'static str, &'static str),
    Remove(&'static str),
    RemoveBoth(&'static str, &'static str),
    SetLink(&'static str, bool),
    Move(&'static str, &'static str),
    Resize(&'static str, u64),
    /// Everything of the guest that is ours, by the record.
    RemoveControllers,
    Process,
}

/// Worlds without an agent that have been met, and with how many faults to come.
#[derive(Default)]
pub struct Met {
    pub worlds: BTreeMap<u64, usize>,
    pub runs: usize,
    pub cut_short: usize,
}

fn placement(id: &str) -> Placement {
    Placement { id: Some(DeviceId::parse(id).unwrap()), ..Placement::default() }
}

fn nic(id: &str, mac: u8, bridge: &str) -> AddRequest {
    AddRequest::Nic(NicRequest {
        placement: placement(id),
        mac: Some(MacAddr::parse(&format!("52:54:00:00:00:{mac:02x}")).unwrap()),
        queues: 1,
        vhost: VhostMode::Off,
        mtu: None,
        bridge: Some(IfName::parse(bridge).unwrap()),
        link_down: false,
        tap: TapSource::Open { name: Some(format!("tap-{id}")), owner: None },
        boot_index: None,
        model: "virtio-net-pci".into(),
    })
}

fn disk(world: &World, id: &str, image: &str, model: &str) -> AddRequest {
    let mut spec = DiskSpec::new(world.image(image), Format::Raw);
    spec.model = model.into();
    AddRequest::Disk(Box::new(DiskRequest { placement: placement(id), spec, format: FormatRequest::Raw }))
}

fn removal(id: &str) -> Removal {
    Removal { id: id.into(), kind: None, live_only: false, wait: true, leave_overlay: false }
}

/// What stands in record, guest and host under an id.
fn traces(world: &World, id: &str) -> Vec<String> {
    let record = RecordFile::peek(&world.path());
    let mut all = Vec::new();
    match &record {
        Ok(record) => {
            all.extend(record.record().find(id).map(|device| format!("record {}", device.generation)));
            let intent = record.journal().find(id);
            all.extend(
                intent.map(|intent| format!("journal {:?} {}", intent.operation, intent.device.generation)),
            );
        }
        Err(error) => all.push(format!("the files do not parse: {error}")),
    }
    let model = &world.model;
    let own = model.device(id).filter(|device| !world::is_theirs(device));
    all.extend(own.map(|device| format!("device {:?} {:?}", device.mac, device.drive)));
    all.extend(model.netdevs.contains_key(id).then(|| format!("netdev {id}")));
    all.extend(model.nodes.contains_key(id).then(|| format!("node {id}")));
    let tap = format!("tap-{id}");
    all.extend(world.host.taps().contains_key(&tap).then_some(tap));
    all
}

impl Call {
    fn request(self, world: &World) -> Option<Request> {
        Some(match self {
            Self::AddNic(id, mac, bridge) => Request::Add(vec![nic(id, mac, bridge)]),
            Self::AddDisk(id, image) => Request::Add(vec![disk(world, id, image, "virtio-blk-pci")]),
            Self::AddScsi(id, image) => Request::Add(vec![disk(world, id, image, "scsi-hd")]),
            Self::AddBoth(one, other) => {
                Request::Add(vec![nic(one, 7, "br0"), disk(world, other, "two.img", "virtio-blk-pci")])
            }
            Self::Remove(id) => Request::Remove(removal(id)),
            Self::RemoveBoth(one, other) => {
                let how = kvm_hotplug::engine::RemovalOfMany { wait: true, ..Default::default() };
                Request::RemoveMany(vec![one.into(), other.into()], how)
            }
            Self::SetLink(id, up) => Request::SetLink(id.into(), up),
            Self::Move(id, bridge) => Request::MoveNic(id.into(), Some(IfName::parse(bridge).unwrap())),
            Self::Resize(id, bytes) => {
                Request::Resize(id.into(), NewSize { bytes: Some(bytes), may_shrink: false })
            }
            Self::RemoveControllers => {
                let record = RecordFile::peek(&world.path()).ok()?;
                let controller =
                    record.record().devices.iter().find(|device| device.kind() == DeviceKind::Controller)?;
                Request::Remove(removal(controller.id.as_str()))
            }
            Self::Process => Request::Process,
        })
    }

    fn ids(self) -> Vec<&'static str> {
        match self {
            Self::AddNic(id, ..) | Self::AddDisk(id, _) | Self::AddScsi(id, _) | Self::Remove(id) => vec![id],
            Self::SetLink(id, _) | Self::Move(id, _) | Self::Resize(id, _) => vec![id],
            Self::AddBoth(one, other) | Self::RemoveBoth(one, other) => vec![one, other],
            Self::RemoveControllers | Self::Process => Vec::new(),
        }
    }
}

/// What an agent has told of its devices.
#[derive(Default)]
struct Told {
    /// Attachments that a call has answered to be gone, or there.
    answered: BTreeSet<(String, u64, Transition)>,
    events: BTreeSet<(String, u64, Transition)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Transition {
    Came,
    Went,
}

impl Told {
    fn take(&mut self, event: &Event, violations: &mut Vec<String>) {
        let Some(device) = &event.device else { return };
        let transition = match event.kind {
            EventKind::Added => Transition::Came,
            EventKind::Removed | EventKind::RemovedByGuest | EventKind::Undone => Transition::Went,
            _ => return,
        };
        let key = (device.id.clone(), device.generation, transition);
        if self.answered.contains(&key) {
            violations.push(format!("{event:?} says what a call has answered"));
        }
        if !self.events.insert(key) {
            violations.push(format!("{event:?} is said twice"));
        }
    }

    fn answer(&mut self, call: Call, outcome: &Outcome, violations: &mut Vec<String>) {
        let adds =
            matches!(call, Call::AddNic(..) | Call::AddDisk(..) | Call::AddScsi(..) | Call::AddBoth(..));
        let removes = matches!(call, Call::Remove(_) | Call::RemoveBoth(..) | Call::RemoveControllers);
        let Outcome::Done(device) = outcome else { return };
        let transition = if adds { Transition::Came } else { Transition::Went };
        let key = (device.id.to_string(), device.generation, transition);
        if removes && self.events.contains(&key) {
            violations.push(format!("{call:?} answers what an event has said: {}", device.id));
        }
        if adds || removes {
            self.answered.insert(key);
        }
    }
}

/// Which of the agents it is that come when everything is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    Second,
}

pub struct Run<'a> {
    pub world: World,
    pub choices: &'a mut Choices,
    pub met: &'a mut Met,
    pub tells: bool,
}

impl Run<'_> {
    /// Does the calls, the first `calm` of them without faults; false if it has gone on in this way before.
    pub fn play(&mut self, calls: &[Call], calm: usize) -> bool {
        self.met.runs += 1;
        let mut agent: Option<(Agent, Told)> = None;
        let mut quiet = Choices::new(0);
        for (at, call) in calls.iter().enumerate() {
            for _ in 0..4 {
                if agent.is_none() {
                    agent = self.open(at < calm);
                }
                if agent.is_some() {
                    break;
                }
                if self.is_met(at) {
                    return false;
                }
            }
            let Some((mut own, mut told)) = agent.take() else {
                self.world.violations.push("four agents could not open the guest".into());
                return true;
            };
            if self.tells {
                self.choices.story.push(format!("{call:?}"));
            }
            let choices = if at < calm { &mut quiet } else { &mut *self.choices };
            match call_checked(&mut self.world, &mut own, &mut told, *call, choices, self.tells) {
                Ok(()) => agent = Some((own, told)),
                Err(Died) => {
                    own.end(&mut self.world);
                    if self.is_met(at + 1) {
                        return false;
                    }
                }
            }
            if !self.world.violations.is_empty() || !self.world.model.violations.is_empty() {
                break;
            }
        }
        if let Some((agent, _)) = agent {
            agent.end(&mut self.world);
        }
        if self.is_met(calls.len()) {
            return false;
        }
        true
    }

    fn open(&mut self, calm: bool) -> Option<(Agent, Told)> {
        let mut quiet = Choices::new(0);
        let mut agent = match Agent::start(&self.world, self.tells) {
            Ok(agent) => agent,
            Err(error) => {
                self.world.violations.push(format!("the record cannot be loaded: {error}"));
                return None;
            }
        };
        let choices = if calm { &mut quiet } else { &mut *self.choices };
        let mut told = Told::default();
        match agent.call(&mut self.world, choices, Request::Open) {
            Ok(Ok(_)) => {
                drain(&mut self.world, &mut agent, &mut told);
                Some((agent, told))
            }
            Ok(Err(error)) => {
                if self.tells {
                    self.choices.story.push(format!("open: {error}"));
                }
                agent.end(&mut self.world);
                None
            }
            Err(Died) => {
                agent.end(&mut self.world);
                None
            }
        }
    }

    /// Whether the same world has been met, with at least as many faults to come and the same calls.
    fn is_met(&mut self, at: usize) -> bool {
        let print = self.world.fingerprint(&at);
        let left = self.choices.left() + 1;
        let before = self.met.worlds.entry(print).or_default();
        let known = *before >= left;
        *before = left.max(*before);
        self.met.cut_short += usize::from(known);
        known
    }

    /// A fresh agent without faults comes to rest, and everything agrees; a second one changes nothing.
    pub fn close(&mut self) {
        self.choices.end_faults();
        let world = &mut self.world;
        world.finish_leaving();
        if world.model.run_state != "running" {
            world.model.set_run_state("running");
        }
        world.model.take_events();
        self.settle(Pass::First);
        if !self.world.violations.is_empty() {
            return;
        }
        self.check_rest();
        let (files, print) = (self.world.files(), self.world.fingerprint(&0));
        self.settle(Pass::Second);
        if self.world.files() != files || self.world.fingerprint(&0) != print {
            self.world.violations.push("a second agent has changed something".into());
        }
        self.world.check_theirs();
    }

    fn settle(&mut self, pass: Pass) {
        let Some((mut agent, mut told)) = self.open(true) else {
            self.world.violations.push("a fresh agent cannot open the guest".into());
            return;
        };
        let mut quiet = Choices::new(0);
        for _ in 0..6 {
            for request in [Request::Process, Request::Settle] {
                if let Ok(Err(error)) = agent.call(&mut self.world, &mut quiet, request) {
                    self.world.violations.push(format!("a fresh agent: {error}"));
                }
            }
            drain(&mut self.world, &mut agent, &mut told);
            if RecordFile::peek(&self.world.path()).is_ok_and(|record| record.journal().intents.is_empty()) {
                break;
            }
            self.grant_all();
            let later = self.world.instant() + Duration::from_secs(11);
            self.world.advance_to(later);
        }
        let is_as_asked = !self.world.has_ejected && !self.world.taken;
        if let Ok(Ok(Answer::Differences(all))) = agent.call(&mut self.world, &mut quiet, Request::Verify) {
            let missing = all.iter().filter(|one| is_as_asked && one.what == Mismatch::Missing);
            let missing: Vec<String> =
                missing.map(|one| format!("{} has left, and nobody has cleared up", one.id)).collect();
            self.world.violations.extend(missing);
        }
        match agent.call(&mut self.world, &mut quiet, Request::Repair) {
            Ok(Ok(Answer::Differences(left))) => {
                // What QEMU did not close while the guest was paused goes with a connection.
                let is_known = self.world.uncertain || self.world.change_refused || pass == Pass::First;
                let is_ours = |id: &str| !self.world.model.device(id).is_some_and(world::is_theirs);
                let left = left.iter().filter(|left| !is_known && is_ours(&left.id));
                let left: Vec<String> = left.map(|left| format!("a fresh agent leaves {left:?}")).collect();
                self.world.violations.extend(left);
            }
            Ok(other) => self.world.violations.push(format!("a fresh agent: {other:?}")),
            Err(Died) => {}
        }
        drain(&mut self.world, &mut agent, &mut told);
        agent.end(&mut self.world);
    }

    fn grant_all(&mut self) {
        for id in self.world.model.asked() {
            self.world.model.grant(&id);
        }
        self.world.finish_leaving();
    }

    /// Record, guest and host say the same, and nothing is left of anything else.
    fn check_rest(&mut self) {
        let mut wrong = Vec::new();
        match RecordFile::peek(&self.world.path()) {
            Err(error) => wrong.push(format!("the files do not parse: {error}")),
            Ok(record) => {
                if !record.journal().intents.is_empty() {
                    wrong.push(format!("unfinished: {:?}", record.journal().intents));
                }
                let devices = &record.record().devices;
                let model = &self.world.model;
                let live: BTreeSet<&str> = devices
                    .iter()
                    .filter(|device| device.presence == Presence::Live)
                    .map(|device| device.id.as_str())
                    .collect();
                let own = |ids: Vec<&str>| {
                    ids.into_iter().filter(|id| *id != THEIRS).map(str::to_owned).collect::<BTreeSet<_>>()
                };
                let of = |kind: DeviceKind| {
                    devices
                        .iter()
                        .filter(|device| device.kind() == kind)
                        .map(|device| device.id.to_string())
                        .collect::<BTreeSet<_>>()
                };
                let live: BTreeSet<String> = live.into_iter().map(str::to_owned).collect();
                let mut same = |what: &str, found: BTreeSet<String>, recorded: BTreeSet<String>| {
                    if found != recorded {
                        wrong.push(format!("{what}: {found:?}, recorded are {recorded:?}"));
                    }
                };
                same("devices", self.world.own_devices().into_iter().collect(), live);
                same("netdevs", own(model.netdevs.keys().map(String::as_str).collect()), of(DeviceKind::Nic));
                same("nodes", own(model.nodes.keys().map(String::as_str).collect()), of(DeviceKind::Disk));
                if !self.world.uncertain {
                    let names = model.monitors[0].fds.keys().map(String::as_str).collect();
                    same("descriptors", own(names), BTreeSet::new());
                    let sets: Vec<&String> = model
                        .fdsets
                        .values()
                        .filter(|set| set.users.is_empty())
                        .flat_map(|set| &set.fds)
                        .filter_map(|fd| fd.opaque.as_ref())
                        .collect();
                    same(
                        "fdsets without node",
                        own(sets.into_iter().map(String::as_str).collect()),
                        BTreeSet::new(),
                    );
                    let taps = self.world.host.taps();
                    let recorded =
                        devices.iter().filter_map(|device| Some(device.nic()?.ifname.as_ref()?.to_string()));
                    same("taps", own(taps.keys().map(String::as_str).collect()), recorded.collect());
                }
                for device in devices {
                    let Some(nic) = device.nic().filter(|_| !self.world.change_refused) else { continue };
                    let link_down = model.netdevs.get(device.id.as_str()).map(|netdev| netdev.link_down);
                    if link_down.is_some_and(|down| down != nic.link_down) {
                        wrong.push(format!(
                            "link of {}: down is {link_down:?}, recorded {}",
                            device.id, nic.link_down
                        ));
                    }
                    let taps = self.world.host.taps();
                    let bridge = nic.ifname.as_ref().and_then(|name| taps.get(name.as_str()));
                    let recorded = nic.bridge.as_ref().map(ToString::to_string);
                    if bridge.is_some_and(|bridge| *bridge != recorded) {
                        wrong.push(format!("bridge of {}: {bridge:?}, recorded {recorded:?}", device.id));
                    }
                }
            }
        }
        self.world.violations.append(&mut wrong);
    }
}

fn drain(world: &mut World, agent: &mut Agent, told: &mut Told) {
    let mut quiet = Choices::new(0);
    while let Ok(Ok(Answer::Event(Some(event)))) = agent.call(world, &mut quiet, Request::NextEvent) {
        told.take(&event, &mut world.violations);
    }
}

fn call_checked(
    world: &mut World,
    agent: &mut Agent,
    told: &mut Told,
    call: Call,
    choices: &mut Choices,
    tells: bool,
) -> std::result::Result<(), Died> {
    let Some(request) = call.request(world) else { return Ok(()) };
    world.silent = false;
    (world.ejected, world.write_failed) = (false, false);
    let before: Vec<Vec<String>> = call.ids().iter().map(|id| traces(world, id)).collect();
    let answer = agent.call(world, choices, request)?;
    if tells {
        choices.story.push(format!("answer: {answer:?}"));
    }
    world.host.close_unused(&world.model);
    check_answer(world, call, &before, &answer, told);
    drain(world, agent, told);
    Ok(())
}

/// An answer means exactly before or after.
fn check_answer(
    world: &mut World,
    call: Call,
    before: &[Vec<String>],
    answer: &Result<Answer>,
    told: &mut Told,
) {
    let adds = matches!(call, Call::AddNic(..) | Call::AddDisk(..) | Call::AddScsi(..) | Call::AddBoth(..));
    let mut violations = Vec::new();
    let mut outcome = |outcome: &Outcome| {
        told.answer(call, outcome, &mut violations);
        let Outcome::Done(device) = outcome else { return };
        let now = traces(world, device.id.as_str());
        let there = now.iter().any(|line| line.starts_with("record "))
            && now.iter().any(|line| line.starts_with("device "));
        if adds && !there && !world.ejected {
            violations.push(format!("{call:?} is answered as done, and there is {now:?}"));
        }
        let is_removal = matches!(call, Call::Remove(_) | Call::RemoveBoth(..));
        if is_removal && !now.is_empty() && !world.uncertain {
            violations.push(format!("{call:?} is answered as done, and there is {now:?}"));
        }
        let open = now.iter().any(|line| line.starts_with("journal "));
        if adds && open && !world.ejected && !world.write_failed {
            violations.push(format!("{call:?} is answered as done, and is unfinished: {now:?}"));
        }
    };
    match answer {
        Ok(Answer::Outcomes(all)) => all.iter().for_each(&mut outcome),
        Ok(Answer::Outcome(one)) => outcome(one),
        Ok(Answer::Each(all)) => all.iter().flatten().for_each(&mut outcome),
        Err(error) if adds && error.left().is_empty() && !world.ejected && !world.uncertain => {
            for (id, before) in call.ids().iter().zip(before) {
                let now = traces(world, id);
                if now.iter().any(|line| !before.contains(line)) {
                    violations.push(format!(
                        "{call:?} has failed ({error}) and says that nothing is left: before {before:?}, now {now:?}"
                    ));
                }
            }
        }
        _ => {}
    }
    world.violations.append(&mut violations);
}
