//! Compares record and guest both ways, and mends what can be mended without touching anything foreign.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::events::What;
use super::heard::Truth;
use super::identity::Shown;
use super::overlay::overlay_of;
use super::plan::Inverse;
use super::session::Session;
use super::survey::{self, Inventory, Nodes};
use super::verify_disk;
use crate::border::readable;
use crate::deadline::Deadline;
use crate::disk::{self, DiskSpec};
use crate::error::{ErrorKind, Result};
use crate::ids::Address;
use crate::net;
use crate::ordered;
use crate::pci::Placement;
use crate::qmp::Command;
use crate::runtime::{Device, Format, Presence, Record, Spec};
use crate::scsi;

/// What record and guest disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mismatch {
    /// Recorded, but not in the guest.
    Missing = 1,
    /// In the guest, but not recorded: somebody else's.
    Foreign = 2,
    /// Sits elsewhere than recorded.
    Address = 3,
    /// Is another device model.
    Model = 4,
    /// Has another netdev or block node behind it, or none.
    Backend = 5,
    /// Has another MAC address.
    Mac = 6,
    /// Has another number of queues or interrupt vectors.
    Queues = 7,
    /// Announces another MTU.
    Mtu = 8,
    /// Loads another option ROM.
    Rom = 9,
    /// Has another serial.
    Serial = 10,
    /// Is writable where the record says read-only, or the reverse.
    ReadOnly = 11,
    /// The guest sees another size than the image has.
    Size = 12,
    /// Another setting; the texts say which.
    Setting = 13,
    /// A block node of ours that belongs to no device.
    OrphanNode = 14,
    /// An fdset with our tag that belongs to no device.
    OrphanFdset = 15,
    /// The tap is on another bridge of the host.
    Bridge = 16,
    /// A root port that the record has is not there, or is elsewhere.
    Port = 17,
    /// The files that the image is made of on this host are not those that were recorded, or not to be opened.
    Chain = 18,
    /// A netdev that no NIC has, and nobody knows of.
    OrphanNetdev = 19,
}

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What about.
    pub what: Mismatch,
    /// Id of the device, node, or owner of the fdset; empty for a device without one.
    pub id: String,
    /// What the record says.
    pub recorded: String,
    /// What the guest shows.
    pub found: String,
}

impl Mismatch {
    fn of_property(name: &str) -> Self {
        match name {
            "type" => Self::Model,
            "netdev" | "drive" => Self::Backend,
            "mac" => Self::Mac,
            "mq" | "vectors" | "num-queues" => Self::Queues,
            "host_mtu" => Self::Mtu,
            "romfile" => Self::Rom,
            "serial" => Self::Serial,
            _ => Self::Setting,
        }
    }

    /// Whether [`Session::mend`] deals with it. What is left needs a decision that only the caller can take.
    pub fn is_mendable(self) -> bool {
        matches!(self, Self::Missing | Self::Address | Self::OrphanNode | Self::OrphanFdset)
    }
}

impl Difference {
    pub(super) fn new(
        what: Mismatch,
        id: impl ToString,
        recorded: impl ToString,
        found: impl ToString,
    ) -> Self {
        let (id, recorded, found) = (id.to_string(), recorded.to_string(), found.to_string());
        Self { what, id, recorded, found }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, id, recorded, found } = self;
        match what {
            Mismatch::Missing => write!(f, "{id} is recorded at {recorded}, the guest does not have it"),
            Mismatch::Foreign if id.is_empty() => {
                write!(f, "a device without an id at {found} is not in the record")
            }
            Mismatch::Foreign => write!(f, "{id} at {found} is not in the record"),
            Mismatch::OrphanNode => write!(f, "block node {id} belongs to no device"),
            Mismatch::OrphanNetdev => write!(f, "netdev {id} belongs to no NIC"),
            Mismatch::OrphanFdset => write!(f, "fdset {found} of {id} belongs to no device"),
            _ => write!(f, "{id}: the record says {recorded}, the guest has {found}"),
        }
    }
}

impl Session {
    /// Everything that record and guest disagree about. Devices that wait for a reboot, and those on their way out, are
    /// no disagreement.
    pub(super) fn verify(&mut self, deadline: &Deadline) -> Result<Vec<Difference>> {
        self.ready(deadline)?;
        self.resync(deadline)?;
        // Somebody may have deleted a tap since.
        self.seen_taps = None;
        let questions = [survey::block_nodes(), Inventory::question()];
        let [nodes, named] = survey::ask(self.monitor()?, questions, deadline)?;
        let inventory = Inventory::read(&named)?;
        let drives = self.named_drives(deadline)?;
        let mut nodes = survey::by_name(&nodes);
        for (name, node) in survey::by_drive(&drives) {
            nodes.entry(name).or_insert(node);
        }
        let live: Vec<Device> = self.live_devices();
        let record = self.runtime().record().clone();
        let mut differences = Vec::new();
        for device in &live {
            let found = self.real_address(device, deadline)?;
            match (&device.address, found) {
                // What QEMU does not say of a device that it has is no proof that it is gone.
                (Some(recorded), None) if inventory.has(device.id.as_str()) => {
                    let nowhere = "no place that QEMU tells";
                    differences.push(Difference::new(Mismatch::Address, &device.id, recorded, nowhere));
                }
                (Some(recorded), None) => {
                    differences.push(Difference::new(Mismatch::Missing, &device.id, recorded, ""));
                    continue;
                }
                (Some(recorded), Some(found)) if *recorded != found => {
                    differences.push(Difference::new(Mismatch::Address, &device.id, recorded, &found));
                }
                _ => {}
            }
            self.compare_properties(device, &mut differences, deadline)?;
            compare_overlay(device, &mut differences);
            match &device.spec {
                Spec::Disk(spec) => {
                    compare_node(device, spec, &record, &nodes, &mut differences);
                    self.compare_files(device, spec, &record, &mut differences);
                }
                Spec::Nic(spec) => self.compare_nic(device, spec, &mut differences, deadline)?,
                Spec::Controller(_) => {}
            }
        }
        self.compare_ports(&mut differences, deadline)?;
        self.find_foreign(&mut differences);
        self.find_foreign_on_scsi(&mut differences);
        self.find_nameless(&mut differences, deadline)?;
        self.find_stray_netdevs(&mut differences, deadline)?;
        self.find_orphans(&nodes, &inventory, &mut differences);
        Ok(differences)
    }

    /// What `query-block` says, if the guest may have been started with `-drive`, as Ganeti did until 3.0: then a disk's
    /// image has the disk's name there and none as a node.
    fn named_drives(&mut self, deadline: &Deadline) -> Result<Value> {
        if self.runtime().record().format() == Format::Native {
            return Ok(Value::Null);
        }
        let [drives] = survey::ask(self.monitor()?, [Command::with("query-block", &[])], deadline)?;
        Ok(drives)
    }

    fn live_devices(&self) -> Vec<Device> {
        let in_place = |device: &&Device| {
            device.presence != Presence::AddAfterReboot
                && device.address.is_some()
                && !self.pending.contains_key(&device.id)
        };
        self.runtime().record().devices.iter().filter(in_place).cloned().collect()
    }

    /// Where QOM says that a device sits. `query-pci` follows bus numbers that are the guest's to write: while its firmware
    /// is at it, a device may be nowhere.
    pub(super) fn real_address(&mut self, device: &Device, deadline: &Deadline) -> Result<Option<Address>> {
        if matches!(device.address, Some(Address::Scsi(_))) {
            let values = self.properties(&device.id, scsi::qom::PLACE_PROPERTIES, deadline)?;
            return Ok(scsi::qom::address(values.each_ref()).map(Address::Scsi));
        }
        let [bus, addr] = self.properties(&device.id, ["parent_bus", "addr"], deadline)?;
        let placement = Placement::from_qom(Some(device.id.as_str()), device.model(), &bus, &addr);
        Ok(placement.and_then(|placement| placement.address()).map(Address::Pci))
    }

    /// The ports that the boot command made: where their devices are for the guest follows from where they are.
    fn compare_ports(&mut self, differences: &mut Vec<Difference>, deadline: &Deadline) -> Result<()> {
        let ports = self.runtime().record().ports.clone();
        for port in ports.iter().filter(|port| port.presence != Presence::AddAfterReboot) {
            let [addr, chassis] = self.properties(&port.id, ["addr", "chassis"], deadline)?;
            let place = |devfn: u64, chassis: u64| {
                format!("pcie.0 slot {}.{} chassis {chassis}", devfn >> 3, devfn & 7)
            };
            let recorded =
                place((u64::from(port.slot.get()) << 3) | u64::from(port.function), port.chassis.into());
            let found = match (addr.as_u64(), chassis.as_u64()) {
                (Some(devfn), Some(chassis)) => place(devfn, chassis),
                _ => "no such port".to_owned(),
            };
            if found != recorded {
                differences.push(Difference::new(Mismatch::Port, &port.id, recorded, found));
            }
        }
        Ok(())
    }

    /// Properties of a device; null for each that it does not have.
    fn properties<const N: usize>(
        &mut self,
        id: impl std::fmt::Display,
        names: [&str; N],
        deadline: &Deadline,
    ) -> Result<[Value; N]> {
        let path = format!("/machine/peripheral/{id}");
        let questions = names.map(|name| Command::with("qom-get", &[("path", &path), ("property", name)]));
        let batch = self.monitor()?.run(&questions, deadline);
        if let Some(error) = batch.failure {
            return Err(error.with_step("qom-get"));
        }
        let mut answers =
            batch.replies.into_iter().map(|reply| reply.and_then(Result::ok).unwrap_or_default());
        Ok([(); N].map(|()| answers.next().unwrap_or_default()))
    }

    /// Asks for each property that the generator writes, and for those whose default matters.
    fn compare_properties(
        &mut self,
        device: &Device,
        differences: &mut Vec<Difference>,
        deadline: &Deadline,
    ) -> Result<()> {
        let Some(address) = &device.address else { return Ok(()) };
        let expected = expectations(device, address);
        let path = format!("/machine/peripheral/{}", device.id);
        let questions: Vec<Command<'_>> = expected
            .keys()
            .map(|name| Command::with("qom-get", &[("path", &path), ("property", name)]))
            .collect();
        let batch = self.monitor()?.run(&questions, deadline);
        if let Some(error) = batch.failure {
            return Err(error.with_step("qom-get"));
        }
        for ((name, expected), reply) in expected.iter().zip(batch.replies) {
            // A property that this QEMU does not have cannot differ.
            let Some(Ok(found)) = reply else { continue };
            let (expected, found) = (plain_text(expected), plain_text(&found));
            // Which image that is, is told in more words.
            if name == "drive" && overlay_of(device).is_some() {
                continue;
            }
            let fits = if expected == ANY_FILE { !found.is_empty() } else { expected == found };
            if !fits {
                let what = Mismatch::of_property(name);
                differences.push(Difference::new(
                    what,
                    &device.id,
                    format!("{name} {expected}"),
                    format!("{name} {}", readable(&found)),
                ));
            }
        }
        Ok(())
    }

    /// Devices with ids that are not ours, bridges and ports aside: those are the machine's.
    fn find_foreign(&self, differences: &mut Vec<Difference>) {
        for bus in self.topology.buses() {
            for (slot, function, occupant) in bus.functions() {
                let Some(id) = occupant.id.as_deref() else { continue };
                if self.topology.bus(id).is_none() && self.is_foreign(id) {
                    let bus = bus.name().map_or("a bus without a name", |name| name.as_str());
                    let place = format!("{bus} slot {}.{function} ({})", slot.get(), occupant.description);
                    differences.push(Difference::new(Mismatch::Foreign, id, "", place));
                }
            }
        }
    }

    /// SCSI devices with ids that are not ours, unless they belong to the machine.
    fn find_foreign_on_scsi(&self, differences: &mut Vec<Difference>) {
        for (place, claim) in self.places.scsi.claims() {
            let Some(id) = claim.id.as_deref() else { continue };
            if self.is_foreign(id) {
                let place = format!("{place} ({})", claim.description);
                differences.push(Difference::new(Mismatch::Foreign, id, "", place));
            }
        }
    }

    /// Neither recorded as a device nor named in the recorded command, as a controller of the machine is.
    pub(super) fn is_foreign(&self, id: &str) -> bool {
        self.known_device(id).is_none() && !self.runtime().record().command_names(id)
    }

    /// Leftovers that carry our tag, or are made of what does.
    fn find_orphans(&self, nodes: &Nodes<'_>, inventory: &Inventory, differences: &mut Vec<Difference>) {
        // What stands behind a device that the record has not is in use, and as little ours as the device.
        let foreign = differences.iter().filter(|known| known.what == Mismatch::Foreign);
        let foreign = ordered::set(foreign.map(|known| known.id.clone()));
        let mut told = BTreeSet::new();
        for (set, owner) in self.fdsets.owned() {
            let is_there = foreign.contains(owner.as_str()) || inventory.has(owner.as_str());
            if is_there || self.known_device(owner.as_str()).is_some() {
                continue;
            }
            if nodes.contains_key(owner.as_str()) && told.insert(owner.to_string()) {
                differences.push(Difference::new(Mismatch::OrphanNode, owner, "", owner));
            }
            differences.push(Difference::new(Mismatch::OrphanFdset, owner, "", set));
        }
        // Without a set that carries the tag: it was taken from the node while that was in use.
        for name in nodes.keys().filter(|name| verify_disk::is_named_like_ours(name)) {
            let is_used = self.known_device(name).is_some() || foreign.contains(*name);
            if !is_used && told.insert((*name).to_owned()) {
                differences.push(Difference::new(Mismatch::OrphanNode, name, "", name));
            }
        }
    }

    /// Mends what is safe to mend: a device that the guest no longer has leaves the record, and what stood behind it is
    /// taken down; one that sits elsewhere is recorded where it sits; orphans with our tag are removed. Answers what is
    /// left.
    pub(super) fn mend(&mut self, deadline: &Deadline) -> Result<Vec<Difference>> {
        let differences = self.verify(deadline)?;
        let mut orphans = BTreeSet::new();
        self.finish_missing(&differences, deadline)?;
        for difference in &differences {
            match difference.what {
                Mismatch::Address => self.record_real_address(&difference.id, deadline)?,
                Mismatch::OrphanNode | Mismatch::OrphanFdset => {
                    orphans.insert(difference.id.clone());
                }
                _ => {}
            }
        }
        if !orphans.is_empty() {
            let inventory = Inventory::ask(self.monitor()?, deadline)?;
            for owner in orphans.iter().filter(|owner| !inventory.has(owner)) {
                self.remove_orphans(owner, deadline)?;
            }
        }
        if differences.iter().any(|difference| difference.what.is_mendable()) {
            return self.verify(deadline);
        }
        Ok(differences)
    }

    /// Clears up behind those that QOM, asked now that this is decided, does not have.
    fn finish_missing(&mut self, differences: &[Difference], deadline: &Deadline) -> Result<()> {
        let missing = differences.iter().filter(|difference| difference.what == Mismatch::Missing);
        let missing: Vec<Device> =
            missing.filter_map(|difference| self.known_device(&difference.id)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let truths = self.find_out_about(&missing.iter().collect::<Vec<_>>(), deadline)?;
        let gone = truths.into_iter().filter_map(|truth| match truth {
            Truth::Gone(gone) => Some(gone),
            Truth::Refused | Truth::There => None,
        });
        self.finish_and_tell_all(&gone.collect::<Vec<_>>(), deadline)
    }

    /// Only where the device itself sits: another one that has its id says nothing about it.
    fn record_real_address(&mut self, id: &str, deadline: &Deadline) -> Result<()> {
        let Some(device) = self.known_device(id) else { return Ok(()) };
        let Some(found) = self.real_address(&device, deadline)? else { return Ok(()) };
        let inventory = Inventory::ask(self.monitor()?, deadline)?;
        let anywhere = Device { address: None, ..device };
        let shown = self.identify(&[&anywhere], &inventory, deadline)?;
        if !shown.into_iter().all(Shown::is_itself) {
            return Ok(());
        }
        let mut next = self.runtime().record().clone();
        if let Some(device) = next.devices.iter_mut().find(|device| device.id.as_str() == id) {
            device.address = Some(found);
        }
        self.stale = true;
        self.runtime().replace(next)
    }

    fn remove_orphans(&mut self, owner: &str, deadline: &Deadline) -> Result<()> {
        let owner = crate::ids::DeviceId::parse(owner)?;
        let sets = self.fdsets.of(&owner);
        let mut left = self.take_down(&[Inverse::BlockdevDel(owner.clone())], deadline)?.left;
        // A node that stays is in use, by whomever, and may have to open its descriptors again.
        if left.is_empty() {
            let sets: Vec<Inverse> = sets.into_iter().map(Inverse::RemoveFd).collect();
            left = self.take_down(&sets, deadline)?.left;
            self.fdsets.release(&owner);
        }
        for leftover in left {
            self.events.guest(What::Undone, format!("left behind of {owner}: {leftover}"));
        }
        Ok(())
    }
}

/// Stands for whatever file QEMU takes by default.
const ANY_FILE: &str = "of the model";

/// What each property of the device has to be: what the generator writes, and the defaults it leaves out.
fn expectations(device: &Device, address: &Address) -> Map<String, Value> {
    let (mut expected, defaults) = match (&device.spec, address) {
        (Spec::Nic(spec), Address::Pci(address)) => (
            net::args::device_args(&device.id, address, spec),
            vec![("mq", Value::from(false)), ("host_mtu", 0.into()), ("bootindex", (-1).into())],
        ),
        (Spec::Disk(spec), _) => (
            disk::node::device_args(&device.id, address, spec),
            vec![
                ("serial", Value::from("")),
                ("share-rw", false.into()),
                ("bootindex", (-1).into()),
                ("wwn", 0.into()),
            ],
        ),
        (Spec::Controller(spec), Address::Pci(address)) => {
            (scsi::args::device_args(&device.id, address, spec), Vec::new())
        }
        // No record has such a one.
        (Spec::Nic(_) | Spec::Controller(_), Address::Scsi(_)) => return Map::new(),
    };
    for own in ["id", "bus", "addr", "channel", "scsi-id", "lun"] {
        expected.remove(own);
    }
    if let Some(driver) = expected.remove("driver") {
        expected.insert("type".to_owned(), driver);
    }
    if matches!(&device.spec, Spec::Nic(spec) if spec.boot_index.is_some() || spec.rom) {
        expected.insert("romfile".to_owned(), ANY_FILE.into());
    }
    for (name, value) in defaults {
        expected.entry(name).or_insert(value);
    }
    expected
}

fn compare_overlay(device: &Device, differences: &mut Vec<Difference>) {
    if let (Spec::Disk(spec), Some(overlay)) = (&device.spec, overlay_of(device)) {
        let recorded = format!("image {}", spec.path.display());
        differences.push(Difference::new(Mismatch::Backend, &device.id, recorded, overlay));
    }
}

fn compare_node(
    device: &Device,
    spec: &DiskSpec,
    record: &Record,
    nodes: &Nodes<'_>,
    differences: &mut Vec<Difference>,
) {
    let image = record.open_image(spec);
    if let Some(error) = image.as_ref().err().filter(|error| error.kind() == ErrorKind::ImageRefused) {
        differences.push(Difference::new(Mismatch::Chain, &device.id, recorded_files(spec), error));
    }
    let Some(node) = nodes.get(device.id.as_str()) else {
        differences.push(Difference::new(Mismatch::Backend, &device.id, "a block node", "none"));
        return;
    };
    let words = |read_only| if read_only { "read-only" } else { "writable" };
    if let Some(read_only) = node.get("ro").and_then(Value::as_bool).filter(|ro| *ro != spec.read_only) {
        let (recorded, found) = (words(spec.read_only), words(read_only));
        differences.push(Difference::new(Mismatch::ReadOnly, &device.id, recorded, found));
    }
    verify_disk::compare_settings(device, spec, node, differences);
    let seen = survey::virtual_size(node);
    let real = image.ok().map(|image| image.size);
    if let (Some(seen), Some(real)) = (seen, real) {
        // QEMU counts whole sectors.
        if seen.div_ceil(512) != real.div_ceil(512) {
            let (recorded, found) = (format!("image of {real} bytes"), format!("{seen} bytes"));
            differences.push(Difference::new(Mismatch::Size, &device.id, recorded, found));
        }
    }
}

fn recorded_files(spec: &DiskSpec) -> String {
    let Some(chain) = &spec.chain else { return format!("image {:?}", spec.path) };
    let files: Vec<String> = chain.layers.iter().map(|layer| format!("{:?}", layer.path)).collect();
    format!("image of {}", files.join(" over "))
}

/// QEMU's versions answer "on" or true for one and the same setting.
fn plain_text(value: &Value) -> String {
    match value {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
