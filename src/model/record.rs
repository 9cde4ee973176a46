//! What is known of one guest: its command line without NICs and disks, and every NIC, disk and SCSI
//! controller with its address.

use serde_json::{Map, Value};

use super::command_line;
use super::device::{Device, DeviceKind, Presence, Spec};
use super::pci_bridge::PciBridge;
use super::root_port::RootPort;
use crate::disk::{BackingRule, DiskSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, DeviceId, SLOTS};
use crate::slots::pci::{Rules, SlotRules, device_id_for};
use crate::slots::scsi;

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
    /// Which other slots are left alone, and which of the free ones is chosen.
    pub slot_rules: SlotRules,
    /// The generation the next attachment gets.
    pub next_generation: u64,
    /// Where the backing files of its disks may be, unless a disk says otherwise.
    pub backing: Option<BackingRule>,
    /// The user that listens at the guest's monitor, if the caller has said that it is to be remembered.
    pub monitor_user: Option<u32>,
    /// Root ports that the boot command makes.
    pub ports: Vec<RootPort>,
    /// PCI bridges that the boot command makes.
    pub bridges: Vec<PciBridge>,
    /// NICs, disks and SCSI controllers.
    pub devices: Vec<Device>,
    /// Fields a newer version wrote; kept as they are.
    pub extra: Map<String, Value>,
}

impl Record {
    /// A guest without NICs and disks.
    pub fn new(name: &str, command: Vec<String>, reserved_slots: u8) -> Result<Self> {
        let record = Self {
            name: name.to_owned(),
            command,
            reserved_slots,
            slot_rules: SlotRules::default(),
            next_generation: 1,
            backing: None,
            monitor_user: None,
            ports: Vec::new(),
            bridges: Vec::new(),
            devices: Vec::new(),
            extra: Map::new(),
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

    /// Whether the recorded command has a netdev with this id.
    pub fn command_has_netdev(&self, id: &str) -> bool {
        command_line::names_netdev(&self.command, id)
    }

    /// Adds a device.
    pub fn add(&mut self, device: Device) {
        self.next_generation = self.next_generation.max(device.generation.saturating_add(1));
        self.devices.push(device);
    }

    /// Puts a device in the place of the one of its id, or adds it.
    pub fn put(&mut self, device: Device) {
        match self.devices.iter_mut().find(|entry| entry.id == device.id) {
            Some(entry) => *entry = device,
            None => self.add(device),
        }
    }

    /// What its slots are chosen by.
    pub fn rules(&self) -> Result<Rules> {
        Rules::of(self.reserved_slots, &self.slot_rules)
    }

    /// Takes a device out; one that is not there is fine.
    pub fn remove(&mut self, id: &DeviceId) -> Option<Device> {
        let index = self.devices.iter().position(|device| device.id == *id)?;
        let device = self.devices.remove(index);
        if let Some(address) = device.address.as_ref().and_then(Address::pci) {
            self.slot_rules.note_freed(address);
        }
        Some(device)
    }

    /// The id of a new device, which follows from its address. A device without an address has one that
    /// cannot be mistaken.
    pub fn new_id(&self, kind: DeviceKind, address: Option<&Address>) -> Result<DeviceId> {
        match address {
            Some(Address::Pci(address)) => device_id_for(kind.word(), address),
            Some(Address::Scsi(address)) => scsi::device_id_for(kind.word(), address),
            None => DeviceId::parse(&format!("{}-boot-{}", kind.word(), self.next_generation)),
        }
    }

    /// Where the backing files of a disk may be.
    pub fn backing_rule(&self, spec: &DiskSpec) -> BackingRule {
        spec.backing.clone().or_else(|| self.backing.clone()).unwrap_or_default()
    }

    /// Refuses what no guest could be: duplicate ids, addresses or MACs, and numbers out of range.
    pub fn check(&self) -> Result<()> {
        self.check_sharing(|_, _| false)
    }

    /// The same, but some may share an address.
    pub fn check_sharing(&self, may_share: impl Fn(&DeviceId, &DeviceId) -> bool) -> Result<()> {
        let bad = |what: String| Err(Error::new(ErrorKind::Format, what));
        if self.reserved_slots > SLOTS {
            return bad(format!("reserved_slots is {}, a bus has {SLOTS} slots", self.reserved_slots));
        }
        self.slot_rules.check()?;
        if self.devices.len() > MAX_DEVICES {
            return bad(format!("{} devices, at most {MAX_DEVICES} are supported", self.devices.len()));
        }
        if self.name.contains('\0') || self.command.iter().any(|argument| argument.contains('\0')) {
            return bad("the name or command contains a NUL character".into());
        }
        RootPort::check(&self.ports).or_else(bad)?;
        PciBridge::check(&self.bridges).or_else(bad)?;
        self.backing.as_ref().map_or(Ok(()), BackingRule::validate)?;
        for (index, device) in self.devices.iter().enumerate() {
            for other in self.devices.iter().take(index) {
                if other.id == device.id {
                    return bad(format!("two devices have the id {}", device.id));
                }
                let same = device.address.as_ref().filter(|&at| other.address.as_ref() == Some(at));
                if let Some(address) = same.filter(|_| !may_share(&device.id, &other.id)) {
                    return bad(format!("{} and {} both sit at {address}", other.id, device.id));
                }
                if let Some(name) =
                    device.differs_in_helper(other).filter(|_| !device.takes_turns_with(other))
                {
                    return bad(format!(
                        "{} and {} both have the object {name}, with different settings or a secret of their own",
                        other.id, device.id
                    ));
                }
                if let Some(name) = device.shares_backend_with(other) {
                    return bad(format!("{} and {} both have the backend {name}", other.id, device.id));
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

    /// Refuses a device on a bus of the wrong kind, and a disk whose controller is no controller or not there
    /// with it. A controller that the record does not have is fine: it is named in the command, or the live
    /// guest alone knows it.
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
