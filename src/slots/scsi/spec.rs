//! What a SCSI controller is asked to be. A [`ControllerSpec`] goes into the runtime file as it is.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::{BusName, IoThread, is_model_name};

/// Most request queues: a virtio device has 1024 (`VIRTIO_QUEUE_MAX`), one of which is for control and one
/// for events, and QEMU's own text says "less than 1022".
pub const MAX_QUEUES: u16 = 1021;

/// The device model used unless another one is named.
pub const DEFAULT_MODEL: &str = "virtio-scsi-pci";

/// Controller models that can be plugged into a running guest, and that tell it of new disks.
pub const LIVE_MODELS: &[&str] =
    &["virtio-scsi-pci", "virtio-scsi-pci-non-transitional", "virtio-scsi-pci-transitional"];

/// Other controller models that QEMU has for PCI. Their disks are only known from the start of the guest:
/// QEMU plugs one in and tells nobody (`scsi_bus` without a hot-plug handler; `pvscsi` has one, which is not
/// tested here).
const OTHER_MODELS: &[&str] = &[
    "lsi53c895a",
    "lsi53c810",
    "lsi",
    "megasas",
    "megasas-gen2",
    "mptsas1068",
    "am53c974",
    "dc390",
    "pvscsi",
];

/// Whether disks on such a controller can be plugged into a running guest.
pub fn is_live_model(model: &str) -> bool {
    LIVE_MODELS.contains(&model)
}

/// Whether it is the model of a SCSI controller.
pub fn is_controller_model(model: &str) -> bool {
    is_live_model(model) || OTHER_MODELS.contains(&model)
}

/// The name that QEMU gives to the bus of a controller.
pub fn bus_of(id: &str) -> Result<BusName> {
    BusName::parse(&format!("{id}.0"))
}

/// All settings of one SCSI controller.
///
/// It has the device id `scsi-pci-<slot>` unless the caller pins one, and QEMU calls its bus `<id>.0`; that
/// is the bus in the [`ScsiAddress`](crate::ids::ScsiAddress) of its disks. A disk may also sit on a
/// controller that is not recorded as one: it may be named in the command of the record, as Ganeti's `scsi`
/// is, or be known to the live guest alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerSpec {
    /// QEMU device model; one that is not of the virtio-scsi-pci family cannot be plugged into a running
    /// guest.
    #[serde(default = "default_model", skip_serializing_if = "is_default_model")]
    pub model: String,
    /// Request queues, 1 to 1021; QEMU's default is one per vCPU (machine types 5.2 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// The thread that does the I/O of its disks; none for QEMU's main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iothread: Option<IoThread>,
}

fn default_model() -> String {
    DEFAULT_MODEL.to_owned()
}

fn is_default_model(model: &str) -> bool {
    model == DEFAULT_MODEL
}

impl Default for ControllerSpec {
    fn default() -> Self {
        Self { model: default_model(), queues: None, iothread: None }
    }
}

impl ControllerSpec {
    /// The first setting in which `other` differs.
    pub fn conflict_with(&self, other: &Self) -> Option<&'static str> {
        // Taken apart by name, so that a new field cannot be forgotten here.
        let Self { model, queues, iothread } = self;
        let same = [
            ("model", *model == other.model),
            ("queues", *queues == other.queues),
            ("iothread", *iothread == other.iothread),
        ];
        same.into_iter().find_map(|(name, same)| (!same).then_some(name))
    }

    /// Refuses settings that QEMU would refuse.
    pub fn validate(&self) -> Result<()> {
        if !is_model_name(&self.model) {
            return Err(Error::invalid(format!(
                "controller model {:?} is not the name of a QEMU device",
                self.model
            )));
        }
        if self.queues.is_some_and(|queues| !(1..=MAX_QUEUES).contains(&queues)) {
            return Err(Error::invalid(format!("controller queues: 1 to {MAX_QUEUES} are allowed")));
        }
        if self.iothread.is_some() && !is_live_model(&self.model) {
            let text = format!("iothread with {}: it has none to set; virtio-scsi-pci does", self.model);
            return Err(Error::invalid(text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_refuses_is_refused() {
        let with = |queues| ControllerSpec { queues: Some(queues), ..ControllerSpec::default() };
        for (spec, good) in [
            (ControllerSpec::default(), true),
            (with(1), true),
            (with(1021), true),
            (with(0), false),
            (with(1022), false),
            (ControllerSpec { model: "virtio,scsi".into(), ..ControllerSpec::default() }, false),
            (ControllerSpec { iothread: Some(IoThread::Own), ..ControllerSpec::default() }, true),
            (
                ControllerSpec {
                    model: "lsi".into(),
                    iothread: Some(IoThread::Own),
                    ..ControllerSpec::default()
                },
                false,
            ),
        ] {
            assert_eq!(spec.validate().is_ok(), good, "{spec:?}");
        }
    }
}
