//! What is known of one guest: its command line without NICs and disks, and every NIC, disk and SCSI controller with its address.

use serde_json::{Map, Value};

use super::command_line;
use super::device::{Device, DeviceKind, Presence, Spec};
use super::root_port::RootPort;
use crate::disk::{BackingRule, DiskSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, DeviceId, SLOTS};
use crate::net::spec::NicSpec;
use crate::net::vhost::VhostMode;
use crate::slots::pci::device_id_for;
use crate::slots::scsi;
use crate::store::format::Format;
use crate::store::ganeti::{self, NicSettings};

/// Slots of `pci.0` left to QEMU's own devices unless the record says otherwise: host bridge, ISA bridge, VGA
/// and one more.
pub const DEFAULT_RESERVED: u8 = 4;

/// Most devices one record may hold; far above what any machine type has slots for.
pub const MAX_DEVICES: usize = 1024;

/// The whole record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The guest's name, for people.
    pub name: String,
    /// QEMU's command line without NICs and disks; the first element is the program.
    pub command: Vec<String>,
    /// Slots of `pci.0` that are never chosen, counted from 0.
    pub reserved_slots: u8,
    /// The generation the next attachment gets.
    pub next_generation: u64,
    /// Where the backing files of its disks may be, unless a disk says otherwise.
    pub backing: Option<BackingRule>,
    /// The user that listens at the guest's monitor, if the caller has said that it is to be remembered.
    pub monitor_user: Option<u32>,
    /// Root ports that the boot command makes.
    pub ports: Vec<RootPort>,
    /// NICs, disks and SCSI controllers.
    pub devices: Vec<Device>,
    /// Fields a newer version wrote; kept as they are.
    pub extra: Map<String, Value>,
    /// The list it came from, if it is one of Ganeti's.
    pub ganeti: Option<Box<ganeti::List>>,
}

impl Record {
    /// A guest without NICs and disks.
    pub fn new(name: &str, command: Vec<String>, reserved_slots: u8) -> Result<Self> {
        let record = Self {
            name: name.to_owned(),
            command,
            reserved_slots,
            next_generation: 1,
            backing: None,
            monitor_user: None,
            ports: Vec::new(),
            devices: Vec::new(),
            extra: Map::new(),
            ganeti: None,
        };
        record.check()?;
        Ok(record)
    }

    /// The device with this id.
    pub fn find(&self, id: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.id.as_str() == id)
    }

    /// Whether the recorded command has a device with this id.
    pub fn command_names(&self, id: &str) -> bool {
        command_line::names_device(&self.command, id)
    }

    /// Drivers of the devices that the recorded command makes without an id.
    pub fn command_devices_without_id(&self) -> Vec<String> {
        command_line::devices_without_id(&self.command)
    }

    /// Whether it is a NIC that was started without a place, as Ganeti did until 2.9: QEMU found one for it, and finds the same
    /// one for a migration target that is started in the same order. Such a guest never had another way to get one.
    pub fn was_started_unplaced(&self, device: &Device) -> bool {
        let is_live_nic = device.kind() == DeviceKind::Nic && device.presence != Presence::AddAfterReboot;
        self.was_started_by_ganeti() && is_live_nic && device.address.is_none()
    }

    /// Whether it is a list of Ganeti's, or was made of one.
    pub fn was_started_by_ganeti(&self) -> bool {
        self.ganeti.is_some() || ganeti::was_made_of_a_list(self)
    }

    /// Whether the recorded command has a netdev with this id.
    pub fn command_has_netdev(&self, id: &str) -> bool {
        command_line::names_netdev(&self.command, id)
    }

    /// Adds a device.
    pub fn add(&mut self, device: Device) {
        self.next_generation = self.next_generation.max(device.generation.saturating_add(1));
        if let Some(list) = &mut self.ganeti {
            list.introduce(&device);
        }
        self.devices.push(device);
    }

    /// Puts a device in the place of the one of its id, or adds it.
    pub fn put(&mut self, device: Device) {
        match self.devices.iter_mut().find(|entry| entry.id == device.id) {
            Some(entry) => *entry = device,
            None => self.add(device),
        }
    }

    /// Takes a device out; one that is not there is fine.
    pub fn remove(&mut self, id: &DeviceId) -> Option<Device> {
        let index = self.devices.iter().position(|device| device.id == *id)?;
        if let Some(list) = &mut self.ganeti {
            list.forget(id);
        }
        Some(self.devices.remove(index))
    }

    /// The format it has on disk.
    pub fn format(&self) -> Format {
        if self.ganeti.is_some() { Format::Ganeti } else { Format::Native }
    }

    /// The same record in another format, which may not be able to hold it: the error names what.
    pub fn convert(&self, format: Format) -> Result<Self> {
        match format {
            Format::Native => ganeti::to_native(self),
            Format::Ganeti => ganeti::to_ganeti(self),
        }
    }

    /// The id of a new device: what follows from its address, or what Ganeti looks for. A device without an address has
    /// one that cannot be mistaken.
    pub fn new_id(&self, kind: DeviceKind, address: Option<&Address>) -> Result<DeviceId> {
        match (&self.ganeti, address) {
            (Some(_), _) => ganeti::new_id(kind),
            (None, Some(Address::Pci(address))) => device_id_for(kind.word(), address),
            (None, Some(Address::Scsi(address))) => scsi::device_id_for(kind.word(), address),
            (None, None) => DeviceId::parse(&format!("{}-boot-{}", kind.word(), self.next_generation)),
        }
    }

    /// What a new NIC gets of what `wanted` and `vhost` leave open. The record may not have room for what they ask for.
    pub fn settle_nic(&self, wanted: &NicSpec, vhost: VhostMode) -> Result<NicSettings> {
        match &self.ganeti {
            Some(list) => list.settle_nic(wanted, vhost),
            None => Ok(NicSettings { queues: wanted.queues, vhost, vnet_hdr: true, rom: false }),
        }
    }

    /// Fills in what a request for a disk leaves open.
    pub fn settle_disk(&self, wanted: &mut DiskSpec) -> Result<()> {
        self.ganeti.as_ref().map_or(Ok(()), |list| list.settle_disk(wanted))
    }

    /// Where the backing files of a disk may be.
    pub fn backing_rule(&self, spec: &DiskSpec) -> BackingRule {
        spec.backing.clone().or_else(|| self.backing.clone()).unwrap_or_default()
    }

    /// Refuses a disk that the record has no room for.
    pub fn check_disk(&self, spec: &DiskSpec) -> Result<()> {
        self.ganeti.as_ref().map_or(Ok(()), |list| list.check_disk(spec))
    }

    /// Refuses what no guest could be: duplicate ids, addresses or MACs, and numbers out of range.
    pub fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::new(ErrorKind::Format, what));
        if self.reserved_slots > SLOTS {
            return bad(format!("reserved_slots is {}, a bus has {SLOTS} slots", self.reserved_slots));
        }
        if self.devices.len() > MAX_DEVICES {
            return bad(format!("{} devices, at most {MAX_DEVICES} are supported", self.devices.len()));
        }
        if self.name.contains('\0') || self.command.iter().any(|argument| argument.contains('\0')) {
            return bad("the name or command contains a NUL character".into());
        }
        RootPort::check(&self.ports).or_else(bad)?;
        self.backing.as_ref().map_or(Ok(()), BackingRule::validate)?;
        for (index, device) in self.devices.iter().enumerate() {
            for other in self.devices.iter().take(index) {
                if other.id == device.id {
                    return bad(format!("two devices have the id {}", device.id));
                }
                let same = device.address.as_ref().filter(|&at| other.address.as_ref() == Some(at));
                let came_so =
                    || self.ganeti.as_ref().is_some_and(|list| list.has_loaded(&device.id, &other.id));
                if let Some(address) = same.filter(|_| !came_so()) {
                    return bad(format!("{} and {} both sit at {address}", other.id, device.id));
                }
                let same = device.mac().filter(|&mac| other.mac() == Some(mac));
                if let Some(mac) = same.filter(|_| !device.takes_turns_with(other)) {
                    return bad(format!("{} and {} both have the MAC address {mac}", other.id, device.id));
                }
            }
            self.check_bus(device).or_else(bad)?;
        }
        Ok(())
    }

    /// Refuses a device on a bus of the wrong kind, and a disk whose controller is no controller or not there with it.
    /// A controller that the record does not have is fine: it is named in the command, or the live guest alone knows it.
    fn check_bus(&self, device: &Device) -> std::result::Result<(), String> {
        let Device { id, address: Some(address), .. } = device else { return Ok(()) };
        let needs_scsi = matches!(&device.spec, Spec::Disk(spec) if spec.is_scsi());
        if needs_scsi != address.scsi().is_some() {
            let (needs, has) = if needs_scsi { ("SCSI", "PCI") } else { ("PCI", "SCSI") };
            let model = device.model();
            return Err(format!(
                "{id} is a {model}, which needs a {needs} address, but {address} is a {has} address"
            ));
        }
        let Some(controller) = device.controller().and_then(|id| self.find(id)) else { return Ok(()) };
        if controller.kind() != DeviceKind::Controller {
            return Err(format!(
                "{id} sits at {address}, but {} is a {}",
                controller.id,
                controller.kind().title()
            ));
        }
        match (device.presence, controller.presence) {
            (Presence::Live | Presence::RemoveAfterReboot, Presence::AddAfterReboot) => {
                Err(format!("{id} is in the guest, but its controller {} waits for a reboot", controller.id))
            }
            (Presence::Live | Presence::AddAfterReboot, Presence::RemoveAfterReboot) => {
                Err(format!("{id} stays, but its controller {} goes with the next boot", controller.id))
            }
            _ => Ok(()),
        }
    }
}
