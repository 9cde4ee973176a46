//! PCI devices that are plugged in.

use serde_json::{Value, json};

use super::{Dev, Machine, Model};
use crate::command::{Answer, QmpError, path_of};

impl Model {
    pub(super) fn device_add(&mut self, arguments: &Value) -> Answer {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str).map(str::to_owned);
        let driver = text("driver").unwrap_or_default();
        if driver.starts_with("scsi-") {
            return self.scsi_add(arguments, &driver);
        }
        if !is_pci_model(&driver) {
            return Err(QmpError::generic(format!("'{driver}' is not a valid device model name")));
        }
        let bus = text("bus").unwrap_or_else(|| self.root().into());
        self.check_bus(&bus)?;
        let id = text("id");
        self.check_id(id.as_deref().unwrap_or_default())?;
        let (netdev, drive) = (text("netdev"), text("drive"));
        if let Some(netdev) = &netdev {
            self.check_netdev(&driver, netdev)?;
        }
        match &drive {
            Some(drive) => {
                let new = virtio_backend(id.as_deref().unwrap_or_default());
                self.check_drive(&driver, drive, &new)?;
            }
            None if driver.starts_with("virtio-blk") || driver == "nvme" => {
                return Err(QmpError::generic("drive property not set"));
            }
            None => {}
        }
        self.check_iothread(arguments)?;
        if driver == "nvme" && text("serial").is_none() {
            return Err(QmpError::generic("serial property not set"));
        }
        let (slot, function) = address(&driver, arguments.get("addr"))?;
        self.check_slot(&driver, &bus, slot, function)?;
        if let Some(netdev) = &netdev {
            self.detach_queues(netdev);
        }
        let configured = self.is_running() && self.numbered && self.sets_up;
        let mut device = Dev::new(id.as_deref(), &driver, &bus, slot, function);
        if arguments.get("mq") == Some(&Value::Bool(true)) {
            device.pci = device.pci.with_queues();
        }
        if bus != self.root() {
            device.pci = device.pci.behind_port();
        }
        let (mac, properties) = (text("mac"), properties(arguments));
        self.devices.push(Dev { netdev, drive, mac, configured, properties, ..device });
        Ok(json!({}))
    }

    fn check_slot(&self, driver: &str, bus: &str, slot: u8, function: u8) -> Result<(), QmpError> {
        let here = |device: &&Dev| device.bus == bus && (device.slot, device.function) == (slot, function);
        let Some(occupant) = self.devices.iter().find(here) else { return Ok(()) };
        let id = occupant.id.as_deref().unwrap_or("(null)");
        let id = if self.version.has_old_texts() { String::new() } else { format!(",id={id}") };
        Err(QmpError::generic(format!(
            "PCI: slot {slot} function {function} not available for {driver}, in use by {}{id}",
            occupant.driver
        )))
    }

    /// Before QEMU 6.0, an id is taken until its last owner's `DEVICE_DELETED` has been said.
    pub(super) fn check_id(&self, id: &str) -> Result<(), QmpError> {
        if self.device(id).is_some() {
            return Err(QmpError::generic(if self.version.keeps_ids() {
                format!("Duplicate ID '{id}' for device")
            } else {
                format!("Duplicate device ID '{id}'")
            }));
        }
        if self.version.keeps_ids() && self.leaving.iter().any(|leaving| leaving.device.has_id(id)) {
            return Err(QmpError::generic(format!("Duplicate ID '{id}' for device")));
        }
        Ok(())
    }

    fn check_bus(&self, bus: &str) -> Result<(), QmpError> {
        let known = bus == self.root() || self.device(bus).is_some_and(|d| d.driver == "pcie-root-port");
        if !known {
            return Err(QmpError::generic(format!("Bus '{bus}' not found")));
        }
        self.check_hotplug(bus)
    }

    pub(super) fn check_hotplug(&self, bus: &str) -> Result<(), QmpError> {
        if (bus == self.root() && self.machine != Machine::Pc) || self.closed.contains(bus) {
            return Err(QmpError::generic(format!("Bus '{bus}' does not support hotplugging")));
        }
        Ok(())
    }

    fn check_netdev(&self, driver: &str, netdev: &str) -> Result<(), QmpError> {
        if !self.netdevs.contains_key(netdev) {
            return Err(refused_backend(driver, "netdev", &format!("find value '{netdev}'")));
        }
        if self.all_devices().any(|device| device.netdev.as_deref() == Some(netdev)) {
            return Err(refused_backend(driver, "netdev", &format!("take value '{netdev}', it's in use")));
        }
        Ok(())
    }

    /// `new` is what the graph would call the device.
    pub(super) fn check_drive(&self, driver: &str, node: &str, new: &str) -> Result<(), QmpError> {
        if !self.nodes.contains_key(node) {
            return Err(refused_backend(driver, "drive", &format!("find value '{node}'")));
        }
        let Some(user) = self.all_devices().find(|device| device.drive.as_deref() == Some(node)) else {
            return Ok(());
        };
        let user = user.backend();
        Err(QmpError::generic(if self.version.has_old_texts() {
            format!("Conflicts with use by {user} as 'root', which does not allow 'write' on {node}")
        } else {
            format!(
                "Permission conflict on node '{node}': permissions 'write' are both required by block device \
                 '{user}' (uses node '{node}' as 'root' child) and unshared by block device '{new}' (uses node \
                 '{node}' as 'root' child)."
            )
        }))
    }

    /// Those of QOM, and those that are being taken apart.
    fn all_devices(&self) -> impl Iterator<Item = &Dev> {
        self.devices.iter().chain(self.leaving.iter().map(|leaving| &leaving.device))
    }

    /// Whether a device stands on the node. One that is gone from QOM still does, until it has been taken
    /// apart.
    pub(super) fn uses_node(&self, name: &str) -> bool {
        self.forgotten.contains(name) || self.all_devices().any(|device| self.node_of(device) == Some(name))
    }
}

impl Dev {
    /// What the block graph calls the side of a node that the device is on.
    pub(super) fn backend(&self) -> String {
        let id = self.id.as_deref().unwrap_or_default();
        if self.unit.is_some() || self.driver == "nvme" { id.to_owned() } else { virtio_backend(id) }
    }
}

impl Dev {
    /// The path in QOM of that side.
    pub(super) fn backend_path(&self) -> String {
        let id = self.id.as_deref().unwrap_or_default();
        if self.unit.is_some() { path_of(id) } else { virtio_backend(id) }
    }
}

fn virtio_backend(id: &str) -> String {
    format!("{}/virtio-backend", path_of(id))
}

fn refused_backend(driver: &str, property: &str, why: &str) -> QmpError {
    let driver = driver.replace("-pci", "-device");
    QmpError::generic(format!("Property '{driver}.{property}' can't {why}"))
}

/// Models that can be plugged in here.
fn is_pci_model(driver: &str) -> bool {
    let kinds = ["net", "blk", "scsi", "rng", "serial", "balloon"];
    kinds.iter().any(|kind| {
        let rest = driver.strip_prefix("virtio-").and_then(|rest| rest.strip_prefix(kind));
        matches!(rest, Some("-pci" | "-pci-transitional" | "-pci-non-transitional"))
    }) || driver == "nvme"
}

pub(super) fn properties(arguments: &Value) -> std::collections::BTreeMap<String, Value> {
    let all = arguments.as_object().into_iter().flatten();
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// QEMU reads the text as hexadecimal slot and function.
fn address(driver: &str, addr: Option<&Value>) -> Result<(u8, u8), QmpError> {
    let text = addr.and_then(Value::as_str).unwrap_or_default();
    let (slot, function) = text.split_once('.').unwrap_or((text, "0"));
    let slot = u8::from_str_radix(slot, 16).ok().filter(|slot| *slot < 32);
    let function = u8::from_str_radix(function, 16).ok().filter(|function| *function < 8);
    match (slot, function) {
        (Some(slot), Some(function)) => Ok((slot, function)),
        _ => Err(QmpError::generic(format!("Property '{driver}.addr' doesn't take value '{text}'"))),
    }
}
