//! One NIC, disk or SCSI controller of a guest: its settings, its place, and whether the guest has it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::backend::BackendNames;
use super::ganeti_entry::GanetiEntry;
use crate::disk::DiskSpec;
use crate::error::{Error, Result};
use crate::ids::{Address, BackendName, BusName, DeviceId, MacAddr};
use crate::net::spec::NicSpec;
use crate::slots::Placed;
use crate::slots::pci::{NewDevice, SlotKind};
use crate::slots::scsi::ControllerSpec;

/// Whether a recorded device is in the guest now, or on which side of the next reboot it belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// In the running guest.
    #[default]
    Live,
    /// Comes with the next boot.
    AddAfterReboot,
    /// In the running guest, gone with the next boot.
    RemoveAfterReboot,
}

impl Presence {
    /// For serde: the usual case is not written.
    pub fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

c_enum! {
    /// The type of a device.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum DeviceKind = kvm_hotplug_device_type, KVM_HOTPLUG_DEVICE {
        /// A network card.
        Nic = 1,
        /// A disk.
        Disk = 2,
        /// A SCSI controller.
        Controller = 3,
    }
}

impl DeviceKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nic, Self::Disk, Self::Controller];

    /// The word that begins device ids of this kind, and stands for it in the journal. That of a controller
    /// is "scsi" and not "controller", because people read it most often in the name of its bus,
    /// `scsi-pci-7.0`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nic => "nic",
            Self::Disk => "disk",
            Self::Controller => "scsi",
        }
    }

    /// The kind as programs read it in JSON: the word of the C header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nic => "nic",
            Self::Disk => "disk",
            Self::Controller => "controller",
        }
    }

    /// Refuses names of a backend that a device of this kind cannot have.
    pub fn check_backend(self, names: &BackendNames) -> Result<()> {
        match (self, names) {
            (Self::Nic, BackendNames::Netdev(_))
            | (Self::Disk, BackendNames::Nodes(_) | BackendNames::Drive(_)) => names.validate(),
            _ => Err(Error::invalid(format!("\"backend\": a {} has no {}", self.title(), names.word()))),
        }
    }

    /// A device of this kind and model, as far as choosing a slot for it goes.
    pub fn new_device(self, model: &str) -> NewDevice<'_> {
        NewDevice { kind: Some(self.slot_kind()), model }
    }

    /// The kind, as slots are reserved for it.
    pub fn slot_kind(self) -> SlotKind {
        match self {
            Self::Nic => SlotKind::Nic,
            Self::Disk => SlotKind::Disk,
            Self::Controller => SlotKind::Controller,
        }
    }

    /// The kind as it is written in messages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Nic => "NIC",
            Self::Disk => "disk",
            Self::Controller => "SCSI controller",
        }
    }
}

/// The settings of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Spec {
    /// Of a NIC.
    Nic(NicSpec),
    /// Of a disk.
    Disk(DiskSpec),
    /// Of a SCSI controller.
    Controller(ControllerSpec),
}

impl Spec {
    /// What it is the settings of.
    pub fn kind(&self) -> DeviceKind {
        match self {
            Self::Nic(_) => DeviceKind::Nic,
            Self::Disk(_) => DeviceKind::Disk,
            Self::Controller(_) => DeviceKind::Controller,
        }
    }

    /// The QEMU driver.
    pub fn model(&self) -> &str {
        match self {
            Self::Nic(spec) => &spec.model,
            Self::Disk(spec) => &spec.model,
            Self::Controller(spec) => &spec.model,
        }
    }

    /// It, as far as choosing a slot for it goes.
    pub fn new_device(&self) -> NewDevice<'_> {
        self.kind().new_device(self.model())
    }

    /// Refuses settings that QEMU would refuse.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Nic(spec) => spec.validate(),
            Self::Disk(spec) => spec.validate(),
            Self::Controller(spec) => spec.validate(),
        }
    }
}

/// What is said of an address of the wrong kind.
pub fn misplaced(model: &str, needs: &str) -> Error {
    Error::invalid(format!("a {model} needs a {needs} address"))
}

/// One recorded device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its id in QEMU.
    pub id: DeviceId,
    /// Tells this attachment from earlier ones of the same id.
    pub generation: u64,
    /// Where it sits, if it has been given a place.
    pub address: Option<Address>,
    /// Live, or waiting for a reboot.
    pub presence: Presence,
    /// What it is.
    pub spec: Spec,
    /// What its netdev, block nodes or drive are called, if another program has made them. Those that the
    /// library makes have the device's id.
    pub backend: Option<BackendNames>,
    /// Properties that the settings have no place for, as another program's `-device` set them; the next
    /// start sets them again.
    pub properties: Map<String, Value>,
    /// What Ganeti has of it, as the caller has handed it over: what a Ganeti list says of it.
    pub ganeti: Option<Box<GanetiEntry>>,
    /// Fields a newer version wrote; kept as they are.
    pub extra: Map<String, Value>,
}

impl Device {
    /// What it is.
    pub fn kind(&self) -> DeviceKind {
        self.spec.kind()
    }

    /// The bus it sits on, PCI or SCSI.
    pub fn bus(&self) -> Option<&BusName> {
        self.address.as_ref().map(Address::bus)
    }

    /// Whether the guest has to let go of it before it can leave. QEMU takes a SCSI disk from its controller
    /// and tells the guest afterwards (5.2 to 11.1).
    pub fn leaves_by_consent(&self) -> bool {
        !matches!(self.address, Some(Address::Scsi(_)))
    }

    /// The SCSI controller it sits on, by id, if it sits on one with an id.
    pub fn controller(&self) -> Option<&str> {
        self.address.as_ref()?.scsi()?.controller()
    }

    /// The QEMU driver.
    pub fn model(&self) -> &str {
        self.spec.model()
    }

    /// One goes with the boot that the other comes with: they are never in the guest together.
    pub fn takes_turns_with(&self, other: &Self) -> bool {
        let pair = [self.presence, other.presence];
        pair.contains(&Presence::AddAfterReboot) && pair.contains(&Presence::RemoveAfterReboot)
    }

    /// The name of the netdev, top block node or drive behind it, as its property in QEMU says.
    pub fn backend_name(&self) -> BackendName {
        let own = self.backend.as_ref().and_then(BackendNames::first);
        own.cloned().unwrap_or_else(|| BackendName::from(&self.id))
    }

    /// Whether its netdev, one of its block nodes, or its drive has this name.
    pub fn has_backend_named(&self, name: &str) -> bool {
        match &self.backend {
            Some(names) => names.all().iter().any(|own| own.as_str() == name),
            None => self.id.as_str() == name,
        }
    }

    /// The name that the backends of both have, if another program has made one of them: whoever takes down
    /// the one takes down the other.
    pub fn shares_backend_with<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let is_in_guest = |device: &Self| device.presence != Presence::AddAfterReboot;
        if self.kind() != other.kind() || !is_in_guest(self) || !is_in_guest(other) {
            return None;
        }
        let shared = |one: &'a Self, two: &Self| {
            let names = one.backend.as_ref().map_or(&[][..], BackendNames::all);
            names.iter().map(BackendName::as_str).find(|name| two.has_backend_named(name))
        };
        shared(self, other).or_else(|| shared(other, self))
    }

    /// The settings, if it is a NIC.
    pub fn nic(&self) -> Option<&NicSpec> {
        match &self.spec {
            Spec::Nic(spec) => Some(spec),
            Spec::Disk(_) | Spec::Controller(_) => None,
        }
    }

    /// The MAC address, if it is a NIC.
    pub fn mac(&self) -> Option<MacAddr> {
        self.nic().map(|spec| spec.mac)
    }
}

impl Placed for Device {
    fn id(&self) -> &DeviceId {
        &self.id
    }

    fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    fn model(&self) -> &str {
        self.spec.model()
    }

    fn controller_model(&self) -> Option<&str> {
        Some(self.spec.model()).filter(|_| self.kind() == DeviceKind::Controller)
    }
}
