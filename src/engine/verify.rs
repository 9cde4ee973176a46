//! Compares record and guest both ways.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::difference::{Difference, Mismatch};
use super::drives;
use super::guest_state::GuestState;
use super::host_step::Image;
use super::inventory::{self, Nodes, PeripheralIds};
use super::limit::Deadline;
use super::overlay::overlay_of;
use super::verify_disk;
use crate::disk::{self, DiskSpec, node};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Address;
use crate::model::properties::{agrees, plain_text};
use crate::model::{BackendNames, Device, Presence, Spec};
use crate::net::args;
use crate::qmp::Command;
use crate::sanitize::readable;
use crate::slots::pci::{QomAddress, QomChild};
use crate::slots::scsi;
use crate::sorted;
use crate::store::Format;

impl GuestState {
    /// Everything that record and guest disagree about. Devices that wait for a reboot, and those on their
    /// way out, are no disagreement.
    pub(super) async fn verify(&mut self, deadline: &Deadline) -> Result<Vec<Difference>> {
        self.ready(deadline).await?;
        self.resync(deadline).await?;
        // Somebody may have deleted a tap since.
        self.tap_cache = None;
        let questions = [inventory::block_nodes(), PeripheralIds::question()];
        let [nodes, named] = self.questions(questions, deadline).await?;
        let named = QomChild::list(&named)?;
        let peripheral_ids = PeripheralIds::of(&named);
        let drives = self.named_drives(deadline).await?;
        let mut nodes = inventory::by_name(&nodes);
        let drives_by_name = drives::by_name(&drives);
        for (name, node) in &drives_by_name {
            nodes.entry(*name).or_insert(*node);
        }
        let live: Vec<Device> = self.live_devices();
        let mut differences = Vec::new();
        for device in &live {
            let found = self.real_address(device, deadline).await?;
            match (&device.address, found) {
                // What QEMU does not say of a device that it has is no proof that it is gone.
                (Some(recorded), None) if peripheral_ids.has(device.id.as_str()) => {
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
            self.compare_properties(device, &mut differences, deadline).await?;
            compare_overlay(device, &mut differences);
            match &device.spec {
                // Whether something is in it, its property tells.
                Spec::Disk(spec) if !spec.has_medium() => {}
                Spec::Disk(spec) => {
                    let image = self.open_image(spec).await;
                    compare_node(device, spec, image.as_ref(), &nodes, &mut differences);
                    if let Some(found) = self.other_limits(device, spec, deadline).await? {
                        let recorded =
                            spec.limits.as_ref().map(|limits| Value::from(limits.values().clone()));
                        let recorded = format!("limits {}", recorded.unwrap_or_default());
                        let found = format!("limits {}", readable(&found.to_string()));
                        differences.push(Difference::new(Mismatch::Setting, &device.id, recorded, found));
                    }
                    if let Ok(image) = &image {
                        self.compare_files(device, image, &mut differences).await?;
                    }
                    let name = device.backend_name();
                    let opened_by_qemu = match &device.backend {
                        Some(_) => nodes.get(name.as_str()),
                        None => drives_by_name.get(name.as_str()),
                    };
                    if let Some(node) = opened_by_qemu {
                        self.compare_opened_file(device, spec, node, &mut differences).await?;
                    }
                }
                Spec::Nic(spec) => self.compare_nic(device, spec, &mut differences, deadline).await?,
                Spec::Controller(_) => {}
            }
        }
        self.compare_objects(&live, &mut differences, deadline).await?;
        self.compare_ports(&mut differences, deadline).await?;
        self.compare_bridges(&mut differences, deadline).await?;
        self.find_foreign(&named, &mut differences, deadline).await?;
        self.find_foreign_on_scsi(&peripheral_ids, &mut differences);
        self.find_devices_without_id(&mut differences, deadline).await?;
        self.find_stray_netdevs(&mut differences, deadline).await?;
        self.find_orphans(&nodes, &peripheral_ids, &mut differences);
        Ok(differences)
    }

    /// What `query-block` says, if the guest may have been started with `-drive`, as Ganeti did until 3.0:
    /// then a disk's image has a name there and none as a node.
    async fn named_drives(&mut self, deadline: &Deadline) -> Result<Value> {
        if self.contents().dialect().format() == Format::Native {
            return self.drives_of_others(deadline).await;
        }
        let [drives] = self.questions([drives::question()], deadline).await?;
        Ok(drives)
    }

    fn live_devices(&self) -> Vec<Device> {
        let in_place = |device: &&Device| {
            device.presence != Presence::AddAfterReboot
                && device.address.is_some()
                && !self.phases.is_unplugging(&device.id)
        };
        self.contents().record().devices.iter().filter(in_place).cloned().collect()
    }

    /// Where QOM says that a device sits. `query-pci` follows bus numbers that are the guest's to write:
    /// while its firmware is at it, a device may be nowhere.
    pub(super) async fn real_address(
        &mut self,
        device: &Device,
        deadline: &Deadline,
    ) -> Result<Option<Address>> {
        if matches!(device.address, Some(Address::Scsi(_))) {
            let values = self.properties(&device.id, scsi::qom::PLACE_PROPERTIES, deadline).await?;
            return Ok(scsi::qom::address(values.each_ref()).map(Address::Scsi));
        }
        let [bus, addr] = self.properties(&device.id, ["parent_bus", "addr"], deadline).await?;
        let placement = QomAddress::from_qom(Some(device.id.as_str()), device.model(), &bus, &addr);
        Ok(placement.and_then(|placement| placement.address()).map(Address::Pci))
    }

    /// The ports that the boot command made: where their devices are for the guest follows from where they
    /// are.
    async fn compare_ports(&mut self, differences: &mut Vec<Difference>, deadline: &Deadline) -> Result<()> {
        let ports = self.contents().record().ports.clone();
        for port in ports.iter().filter(|port| port.presence != Presence::AddAfterReboot) {
            let [addr, chassis] = self.properties(&port.id, ["addr", "chassis"], deadline).await?;
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

    /// The same of PCI bridges.
    async fn compare_bridges(
        &mut self,
        differences: &mut Vec<Difference>,
        deadline: &Deadline,
    ) -> Result<()> {
        let bridges = self.contents().record().bridges.clone();
        for bridge in bridges.iter().filter(|bridge| bridge.presence != Presence::AddAfterReboot) {
            let [addr, chassis] = self.properties(&bridge.id, ["addr", "chassis_nr"], deadline).await?;
            let place = |devfn: u64, number: u64| format!("pci.0 slot {} chassis_nr {number}", devfn >> 3);
            let recorded = place(u64::from(bridge.slot.get()) << 3, bridge.chassis_nr.into());
            let found = match (addr.as_u64(), chassis.as_u64()) {
                (Some(devfn), Some(number)) => place(devfn, number),
                _ => "no such bridge".to_owned(),
            };
            if found != recorded {
                differences.push(Difference::new(Mismatch::Port, &bridge.id, recorded, found));
            }
        }
        Ok(())
    }

    /// Properties of a device; null for each that it does not have.
    async fn properties<const N: usize>(
        &mut self,
        id: impl std::fmt::Display,
        names: [&str; N],
        deadline: &Deadline,
    ) -> Result<[Value; N]> {
        let path = format!("/machine/peripheral/{id}");
        let questions = names.map(|name| Command::with("qom-get", &[("path", &path), ("property", name)]));
        let batch = self.ask(questions.to_vec(), deadline).await;
        if let Some(error) = batch.failure {
            return Err(error.with_step("qom-get"));
        }
        let mut answers =
            batch.replies.into_iter().map(|reply| reply.and_then(Result::ok).unwrap_or_default());
        Ok([(); N].map(|()| answers.next().unwrap_or_default()))
    }

    /// Asks for each property that the generator writes, and for those whose default matters.
    async fn compare_properties(
        &mut self,
        device: &Device,
        differences: &mut Vec<Difference>,
        deadline: &Deadline,
    ) -> Result<()> {
        let Some(address) = &device.address else { return Ok(()) };
        let expected = expectations(device, address);
        let path = format!("/machine/peripheral/{}", device.id);
        let questions: Vec<Command> = expected
            .keys()
            .map(|name| Command::with("qom-get", &[("path", &path), ("property", name)]))
            .collect();
        let batch = self.ask(questions.to_vec(), deadline).await;
        if let Some(error) = batch.failure {
            return Err(error.with_step("qom-get"));
        }
        for ((name, expected), reply) in expected.iter().zip(batch.replies) {
            // A property that this QEMU does not have cannot differ.
            let Some(Ok(found)) = reply else { continue };
            // Which image that is, is told in more words.
            if name == "drive" && overlay_of(device).is_some() {
                continue;
            }
            let fits = match expected == ANY_FILE {
                true => found != "",
                false => agrees(expected, &found),
            };
            if !fits {
                let (expected, found) = (plain_text(expected), plain_text(&found));
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

    /// Leftovers that carry our tag, or are made of what does.
    fn find_orphans(
        &self,
        nodes: &Nodes<'_>,
        peripheral_ids: &PeripheralIds,
        differences: &mut Vec<Difference>,
    ) {
        // The backend of a device that the record does not have is in use, and is not ours.
        let foreign = differences.iter().filter(|known| known.what == Mismatch::Foreign);
        let foreign = sorted::set(foreign.map(|known| known.id.clone()));
        let mut told = BTreeSet::new();
        for (set, owner) in self.fdsets.owned() {
            let is_there = foreign.contains(owner.as_str()) || peripheral_ids.has(owner.as_str());
            if is_there || self.is_of_known(owner.as_str()) {
                continue;
            }
            if nodes.contains_key(owner.as_str()) && told.insert(owner.to_string()) {
                differences.push(Difference::new(Mismatch::OrphanNode, owner, "", owner));
            }
            differences.push(Difference::new(Mismatch::OrphanFdset, owner, "", set));
        }
        // Without a set that carries the tag: it was taken from the node while that was in use.
        let is_below = |name: &str| node::filter_above(name).is_some_and(|above| nodes.contains_key(above));
        let ours = nodes.keys().filter(|name| verify_disk::is_named_like_ours(name) && !is_below(name));
        for name in ours {
            let is_used = self.is_of_known(name) || foreign.contains(*name);
            if !is_used && told.insert((*name).to_owned()) {
                differences.push(Difference::new(Mismatch::OrphanNode, name, "", name));
            }
        }
    }
}

/// Stands for whatever file QEMU takes by default.
const ANY_FILE: &str = "of the model";

/// What each property of the device has to be: what the generator writes, and the defaults it leaves out.
fn expectations(device: &Device, address: &Address) -> Map<String, Value> {
    let (mut expected, defaults) = match (&device.spec, address) {
        (Spec::Nic(spec), Address::Pci(address)) => (
            args::device_args(&device.id, address, spec),
            vec![("mq", Value::from(false)), ("host_mtu", 0.into()), ("bootindex", (-1).into())],
        ),
        (Spec::Disk(spec), _) => (
            disk::node::device_args(&device.id, address, spec),
            vec![
                ("serial", Value::from("")),
                ("share-rw", false.into()),
                ("bootindex", (-1).into()),
                ("wwn", 0.into()),
            ]
            .into_iter()
            .chain((!spec.has_medium()).then(|| ("drive", "".into())))
            .collect(),
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
    for property in ["netdev", "drive"] {
        if let Some(name) = expected.get_mut(property) {
            *name = device.backend_name().as_str().into();
        }
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
    expected.extend(device.properties.clone());
    if matches!(device.backend, Some(BackendNames::Drive(_))) {
        // What -drive was told of it, the device does not show.
        ["write-cache", "rerror", "werror"].iter().for_each(|name| drop(expected.remove(*name)));
    }
    expected
}

fn compare_overlay(device: &Device, differences: &mut Vec<Difference>) {
    if let (Spec::Disk(spec), Some(overlay)) = (&device.spec, overlay_of(device)) {
        let recorded = format!("image {}", spec.title());
        differences.push(Difference::new(Mismatch::Backend, &device.id, recorded, overlay));
    }
}

fn compare_node(
    device: &Device,
    spec: &DiskSpec,
    image: std::result::Result<&Image, &Error>,
    nodes: &Nodes<'_>,
    differences: &mut Vec<Difference>,
) {
    if let Some(error) = image.err().filter(|error| error.kind() == ErrorKind::ImageRefused) {
        differences.push(Difference::new(Mismatch::Chain, &device.id, recorded_files(spec), error));
    }
    let Some(node) = nodes.get(device.backend_name().as_str()) else {
        differences.push(Difference::new(Mismatch::Backend, &device.id, "a block node", "none"));
        return;
    };
    let words = |read_only| if read_only { "read-only" } else { "writable" };
    if let Some(read_only) = node.get("ro").and_then(Value::as_bool).filter(|ro| *ro != spec.read_only) {
        let (recorded, found) = (words(spec.read_only), words(read_only));
        differences.push(Difference::new(Mismatch::ReadOnly, &device.id, recorded, found));
    }
    verify_disk::compare_settings(
        device,
        spec,
        verify_disk::below_throttle(device, node, nodes),
        differences,
    );
    let seen = inventory::virtual_size(node);
    let real = image.ok().and_then(|image| image.size);
    if let (Some(seen), Some(real)) = (seen, real) {
        // QEMU counts whole sectors.
        if seen.div_ceil(512) != real.div_ceil(512) {
            let (recorded, found) = (format!("image of {real} bytes"), format!("{seen} bytes"));
            differences.push(Difference::new(Mismatch::Size, &device.id, recorded, found));
        }
    }
}

fn recorded_files(spec: &DiskSpec) -> String {
    let Some(chain) = &spec.chain else { return format!("image {:?}", spec.title()) };
    let files: Vec<String> = chain.layers.iter().map(|layer| format!("{:?}", layer.path)).collect();
    format!("image of {}", files.join(" over "))
}
