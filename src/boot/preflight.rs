//! Whether a host can start the guest of a record: looked at before anything is started, on a host that knows
//! nothing of it.
//!
//! What QEMU itself knows there, such as machine types and device models, is asked of a QEMU over its
//! monitor: the target that has been started to wait, or one that the agent starts for that purpose with
//! `-machine none`, which takes 0.2 s. The library starts none by itself: only the agent knows how QEMU is
//! started on its host, by which user and under which limits, and a library that forks in somebody's process
//! is a bad guest there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::host::{lacks_its_tap, lacks_secrets};
use super::issue::{IssueKind, PreflightIssue};
use super::running::{self, Running};
use super::started::{is_unplaced_nic, overlay_problem, started};
use super::{clashes, files};
use crate::deadline::Deadline;
use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IfName, MAPPING};
use crate::model::CommandLine;
use crate::model::pci_bridge::MODEL as BRIDGE_MODEL;
use crate::model::root_port::MODEL as PORT_MODEL;
use crate::model::{Device, Record, Spec};
use crate::net::link::{self, Interfaces};
use crate::net::namespace::within;
use crate::net::spec::NicSpec;
use crate::net::tap::TunDevice;
use crate::net::vhost;
use crate::qmp::properties::{self, Properties};
use crate::qmp::{Client, Command, OLDEST_QEMU, Version, netdevs};
use crate::sorted;
use crate::store::RecordFile;
use crate::store::images;

impl RecordFile {
    /// Everything that stands in the way of starting the guest here: for a boot, or as the target of a
    /// migration.
    ///
    /// With a monitor, QEMU is asked what it knows. Nothing is changed.
    pub fn check_host(
        &self,
        migrates: bool,
        monitor: Option<&Path>,
        deadline: &Deadline,
    ) -> Result<Vec<PreflightIssue>> {
        let command_line = CommandLine::read(&self.record().command);
        let mut issues = Vec::new();
        let record = match self.next_record(migrates, 0, &command_line) {
            Ok(record) => record,
            Err(_) if migrates && self.state().open_intent().is_some() => self.record().clone(),
            Err(error) => {
                issues.push(PreflightIssue::of_guest(IssueKind::Place, error.to_string()));
                self.record().clone()
            }
        };
        issues.extend(self.unfinished_problem(migrates));
        let devices = started(&record, migrates);
        for device in &devices {
            if migrates && device.address.is_none() && !is_unplaced_nic(self.dialect(), &record, device) {
                let text = "has no address; open the guest at the source, so that its place is recorded";
                issues.push(PreflightIssue::of(device, IssueKind::NoAddress, text));
            }
            if let Some(why) = lacks_secrets(self, device) {
                issues.push(PreflightIssue::of(device, IssueKind::Secret, why));
            }
            match lacks_its_tap(self, device, migrates) {
                Some(why) => issues.push(PreflightIssue::of(device, IssueKind::Tap, why)),
                None if self.given().taps.has(&device.id) => {}
                None => check_device(device, &record, migrates, &mut issues),
            }
        }
        for clash in clashes::find(&record, &devices, &command_line) {
            issues.push(PreflightIssue {
                kind: IssueKind::Command,
                id: clash.id,
                text: clash.error.to_string(),
            });
        }
        if migrates && command_line.incoming {
            let text = "the command has -incoming already, which a target gets when it is started";
            issues.push(PreflightIssue::of_guest(IssueKind::Command, text.to_owned()));
        }
        files::check(&record.command, &devices, &mut issues);
        let running = running::find(&record.command, None)?;
        if let Some(running) = running.filter(|running| !(migrates && is_monitor(running, monitor))) {
            issues.push(PreflightIssue::of_guest(IssueKind::Running, running.text()));
        }
        if migrates && !is_pinned(&command_line.machine_type) {
            let name = if command_line.machine_type.is_empty() {
                "pc (the default)"
            } else {
                &command_line.machine_type
            };
            let text = format!(
                "machine type {name} is another one in each version of QEMU; name one with a version, such as pc-q35-7.2"
            );
            issues.push(PreflightIssue::of_guest(IssueKind::MachineNotPinned, text));
        }
        if let Some(path) = monitor {
            let mut wanted = sorted::set(devices.iter().map(|device| device.model()));
            if !record.ports.is_empty() {
                wanted.insert(PORT_MODEL);
            }
            if !record.bridges.is_empty() {
                wanted.insert(BRIDGE_MODEL);
            }
            let mut monitor = Client::connect(path, deadline)?;
            Known::ask(&mut monitor, wanted, deadline)?.check(&devices, &command_line, &mut issues);
            check_netdevs(&mut monitor, &devices, deadline, &mut issues)?;
        }
        Ok(issues)
    }
}

impl RecordFile {
    fn unfinished_problem(&self, migrates: bool) -> Option<PreflightIssue> {
        let refused = if migrates { self.refuse_open_for_target() } else { self.refuse_open_for_boot() };
        let (error, intent) = (refused.err()?, self.state().open_intent()?);
        Some(PreflightIssue::of(&intent.device, IssueKind::Unfinished, error))
    }
}

/// A type with a version at its end is the same in all of them.
fn is_pinned(machine_type: &str) -> bool {
    machine_type
        .rsplit('-')
        .next()
        .is_some_and(|end| end.contains('.') && end.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether it is the target itself, which has been started to wait, and is asked what it knows.
fn is_monitor(running: &Running, monitor: Option<&Path>) -> bool {
    let asked = monitor.and_then(|path| running::find(&[], Some(path)).ok().flatten());
    asked.is_some_and(|asked| asked.pid.is_some() && asked.pid == running.pid)
}

fn check_device(device: &Device, record: &Record, migrates: bool, issues: &mut Vec<PreflightIssue>) {
    match &device.spec {
        // QEMU opens what is behind its netdev.
        Spec::Nic(spec) if spec.netdev.is_some() => {}
        Spec::Nic(spec) => check_nic(device, spec, issues),
        Spec::Disk(spec) => {
            issues.extend(
                overlay_problem(device).map(|text| PreflightIssue::of(device, IssueKind::Image, text)),
            );
            // The images of a guest that migrates are in use where it runs.
            let fits = |image: disk::Image| {
                disk::align::check(&image, spec)?;
                if migrates { Ok(()) } else { disk::locks::check(&image, spec) }
            };
            if let Err(error) = images::open(record, spec).and_then(fits) {
                let in_use = error.kind() == ErrorKind::ImageLocked;
                let kind = if in_use { IssueKind::ImageInUse } else { IssueKind::Image };
                issues.push(PreflightIssue::of(device, kind, error));
            }
        }
        Spec::Controller(_) => {}
    }
}

fn check_nic(device: &Device, spec: &NicSpec, issues: &mut Vec<PreflightIssue>) {
    let netns = spec.netns.as_deref();
    if let Err(error) = within(netns, || Ok(())) {
        issues.push(PreflightIssue::of(device, IssueKind::Tap, error));
    } else if let Some(bridge) = &spec.bridge {
        if let Err(error) = within(netns, || link::check_bridge(bridge, spec.port.as_deref())) {
            issues.push(PreflightIssue::of(device, IssueKind::Bridge, error));
        }
    }
    if let Err(error) = TunDevice::default().check() {
        issues.push(PreflightIssue::of(device, IssueKind::Tap, error));
    }
    let exact =
        spec.tap.as_deref().filter(|name| !name.contains("%d")).and_then(|name| IfName::parse(name).ok());
    let exists = |name: &IfName| {
        within(netns, || Interfaces::open().and_then(|host| host.exists(name))).unwrap_or(false)
    };
    if let Some(name) = exact.filter(exists) {
        let text = format!("an interface of the name {name} exists; this NIC's tap is to have it");
        issues.push(PreflightIssue::of(device, IssueKind::Tap, text));
    }
    if spec.vhost {
        if let Err(error) = vhost::open(vhost::VhostMode::Required, 1, Path::new(vhost::DEVICE)) {
            issues.push(PreflightIssue::of(device, IssueKind::Vhost, error));
        }
    }
}

/// Netdevs of a type that QEMU does not have, or with a member that it does not know.
fn check_netdevs(
    monitor: &mut Client,
    devices: &[&Device],
    deadline: &Deadline,
    issues: &mut Vec<PreflightIssue>,
) -> Result<()> {
    for device in devices {
        let Some(NicSpec { netdev: Some(netdev), queues, .. }) = device.nic() else { continue };
        let question = netdevs::question(&netdev.arguments(device.id.as_str(), *queues));
        let mut batch = monitor.run(&[question], deadline);
        let reply = batch.replies.pop().flatten();
        let reply = reply.unwrap_or_else(|| Err(batch.failure.unwrap_or_else(Error::monitor_lost)));
        match netdevs::read(netdev.kind(), reply, monitor.version()) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotHotpluggable | ErrorKind::Invalid) => {
                issues.push(PreflightIssue::of(device, IssueKind::Model, error));
            }
            Err(error) => return Err(error.with_step("ask QEMU for a netdev")),
        }
    }
    Ok(())
}

/// What a QEMU knows of what the guest needs.
struct Known {
    version: Version,
    machines: BTreeSet<String>,
    /// The properties of each; `None` of a model that it does not know.
    models: BTreeMap<String, Option<Properties>>,
}

impl Known {
    fn ask(monitor: &mut Client, wanted: BTreeSet<&str>, deadline: &Deadline) -> Result<Self> {
        let version = monitor.version();
        let model = |name: &&str| properties::question(name);
        let questions: Vec<Command> =
            std::iter::once(Command::with("query-machines", &[])).chain(wanted.iter().map(model)).collect();
        let batch = monitor.run(&questions, deadline);
        if let Some(error) = batch.failure {
            return Err(error.with_step("ask QEMU what it knows"));
        }
        let mut replies = batch.replies.into_iter().flatten();
        let machines = replies.next().transpose()?.unwrap_or_default();
        // Whatever else is wrong with a model, QEMU knows it.
        let known = replies.map(|reply| properties::read(reply).unwrap_or_else(|_| Some(Properties::new())));
        let models = sorted::map(wanted.iter().map(|name| (*name).to_owned()).zip(known));
        Ok(Self { version, machines: machine_names(&machines)?, models })
    }

    fn check(&self, devices: &[&Device], command_line: &CommandLine, issues: &mut Vec<PreflightIssue>) {
        let version = self.version;
        if version < OLDEST_QEMU {
            let text = format!("QEMU {version} is older than {OLDEST_QEMU}");
            issues.push(PreflightIssue::of_guest(IssueKind::QemuTooOld, text));
        }
        if !command_line.machine_type.is_empty() && !self.machines.contains(&command_line.machine_type) {
            let text = format!("QEMU {version} does not know the machine type {}", command_line.machine_type);
            issues.push(PreflightIssue::of_guest(IssueKind::Machine, text));
        }
        let unknown = |model: &str| self.models.get(model) == Some(&None);
        for device in devices.iter().filter(|device| unknown(device.model())) {
            let text = format!("QEMU {version} does not know the device model {}", device.model());
            issues.push(PreflightIssue::of(device, IssueKind::Model, text));
        }
        for device in devices {
            if let Some(name) = self.unknown_property(device) {
                let text = format!("QEMU {version} has no property {name} of {}", device.model());
                issues.push(PreflightIssue::of(device, IssueKind::Model, text));
            }
        }
        if unknown(PORT_MODEL) {
            let text = format!("QEMU {version} does not know {PORT_MODEL}");
            issues.push(PreflightIssue::of_guest(IssueKind::Model, text));
        }
    }
}

impl Known {
    /// A property that the record gives the device, and that its model does not have. QEMU before 9.2 passes
    /// over one that is a list, as if it had carried it out.
    fn unknown_property<'a>(&self, device: &'a Device) -> Option<&'a str> {
        let known = self.models.get(device.model())?.as_ref().filter(|known| !known.is_empty())?;
        let mapping = device.iothread().filter(|iothread| iothread.is_mapping()).map(|_| MAPPING);
        let names = device.properties.keys().map(String::as_str).chain(mapping);
        names.into_iter().find(|name| !known.contains_key(*name))
    }
}

/// Names and aliases in a `query-machines` reply.
fn machine_names(reply: &Value) -> Result<BTreeSet<String>> {
    let list = reply.as_array();
    let list =
        list.ok_or_else(|| Error::new(ErrorKind::Protocol, "query-machines: the reply is not a list"))?;
    let texts = |entry: &Value| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        ["name", "alias"].into_iter().filter_map(text).collect::<Vec<_>>()
    };
    Ok(sorted::set(list.iter().flat_map(texts)))
}
