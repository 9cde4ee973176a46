//! Devices: in, out, and what the guest has to say about it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::model::{Answer, Dev, Machine, Model, UnplugBehaviour};
use super::wire::QmpError;
use super::{Later, deleted};

impl Model {
    pub(super) fn device_add(&mut self, arguments: &Value) -> Answer {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str).map(str::to_owned);
        let driver = text("driver").unwrap_or_default();
        if driver.starts_with("scsi-") {
            return self.scsi_add(arguments, &driver);
        }
        if !driver.starts_with("virtio-") {
            return Err(QmpError::generic(format!("'{driver}' is not a valid device model name")));
        }
        let bus = text("bus").unwrap_or_else(|| self.root().into());
        self.check_bus(&bus)?;
        let id = text("id");
        if id.as_deref().is_some_and(|id| self.device(id).is_some()) {
            return Err(QmpError::generic(format!("Duplicate device ID '{}'", id.unwrap_or_default())));
        }
        let (netdev, drive) = (text("netdev"), text("drive"));
        self.check_backend(&driver, netdev.as_deref(), drive.as_deref())?;
        let (slot, function) = address(arguments.get("addr"))?;
        let occupant = self.devices.iter().find(|d| d.bus == bus && d.slot == slot && d.function == function);
        if let Some(occupant) = occupant {
            let (by, id) = (&occupant.driver, occupant.id.as_deref().unwrap_or("(null)"));
            return Err(QmpError::generic(format!(
                "PCI: slot {slot} function {function} not available for {driver}, in use by {by},id={id}"
            )));
        }
        let pci_id = match (&drive, driver.starts_with("virtio-scsi")) {
            (_, true) => (0x1af4, 0x1004),
            (Some(_), false) => (0x1af4, 0x1001),
            (None, false) => (0x1af4, 0x1000),
        };
        if let Some(netdev) = &netdev {
            self.detach_queues(netdev);
        }
        let configured = self.is_running() && self.numbered;
        let device = Dev::new(id.as_deref(), &driver, &bus, slot, function);
        let mac = text("mac");
        self.devices.push(Dev { netdev, drive, mac, pci_id, configured, ..device });
        Ok(json!({}))
    }

    fn scsi_add(&mut self, arguments: &Value, driver: &str) -> Answer {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| arguments.get(key).and_then(Value::as_u64);
        let (id, bus, drive) = (text("id"), text("bus"), text("drive"));
        let controller = bus.strip_suffix(".0").and_then(|id| self.device(id));
        if !controller.is_some_and(|device| device.driver.starts_with("virtio-scsi")) {
            return Err(QmpError::generic(format!("Bus '{bus}' not found")));
        }
        if self.device(id).is_some() {
            return Err(QmpError::generic(format!("Duplicate device ID '{id}'")));
        }
        self.check_backend(driver, None, Some(drive))?;
        let (Some(channel), Some(target), Some(lun)) = (number("channel"), number("scsi-id"), number("lun"))
        else {
            return Err(QmpError::generic("the fake places no SCSI disks by itself"));
        };
        for (what, number, last) in
            [("channel", channel, 0), ("device", target, 255), ("device lun", lun, 16383)]
        {
            if number > last {
                return Err(QmpError::generic(format!("bad scsi {what} id: {number}")));
            }
        }
        let unit = Some((channel, target, lun));
        if let Some(other) = self.devices.iter().find(|device| device.bus == bus && device.unit == unit) {
            let other = other.id.as_deref().unwrap_or("no id");
            return Err(QmpError::generic(format!("lun already used by '{other}'")));
        }
        let device = Dev::new(Some(id), driver, bus, 0, 0);
        self.devices.push(Dev { unit, drive: Some(drive.into()), ..device });
        Ok(json!({}))
    }

    fn check_bus(&self, bus: &str) -> Result<(), QmpError> {
        let known = bus == self.root() || self.device(bus).is_some_and(|d| d.driver == "pcie-root-port");
        if !known {
            return Err(QmpError::generic(format!("Bus '{bus}' not found")));
        }
        if (bus == self.root() && self.machine != Machine::Pc) || self.closed.contains(bus) {
            return Err(QmpError::generic(format!("Bus '{bus}' does not support hotplugging")));
        }
        Ok(())
    }

    fn check_backend(&self, driver: &str, netdev: Option<&str>, drive: Option<&str>) -> Result<(), QmpError> {
        let refuse = |driver: &str, property: &str, why: String| {
            let driver = driver.replace("-pci", "-device");
            Err(QmpError::generic(format!("Property '{driver}.{property}' can't {why}")))
        };
        if let Some(id) = netdev {
            if !self.netdevs.contains_key(id) {
                return refuse(driver, "netdev", format!("find value '{id}'"));
            }
            if self.devices.iter().any(|device| device.netdev.as_deref() == Some(id)) {
                return refuse(driver, "netdev", format!("take value '{id}', it's in use"));
            }
        }
        match drive {
            Some(id) if !self.nodes.contains_key(id) => refuse(driver, "drive", format!("find value '{id}'")),
            Some(id) if self.devices.iter().any(|device| device.drive.as_deref() == Some(id)) => {
                Err(QmpError::generic(format!("Permission conflict on node '{id}'")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn device_del(&mut self, id: &str) -> Answer {
        let (running, expiry) = (self.is_running(), self.expiry);
        let usual = self.manners.get(id).copied().unwrap_or(self.unplug_behaviour);
        let Some(device) = self.device_mut(id) else { return Err(QmpError::absent(id)) };
        if device.unit.is_some() {
            // QEMU takes it from its controller at once, whatever the guest is doing.
            self.grant(id);
            return Ok(json!({}));
        }
        let expired = |asked: Instant| expiry.is_some_and(|after| asked.elapsed() >= after);
        if device.asked.is_some_and(|asked| !expired(asked)) {
            return Err(QmpError::generic(format!("Device {id} is already in the process of unplug")));
        }
        if let UnplugBehaviour::Busy(times @ 1..) = usual {
            self.manners.insert(id.into(), UnplugBehaviour::Busy(times - 1));
            let text = "Hot-unplug failed: guest is busy (power indicator blinking)";
            return Err(QmpError::generic(text));
        }
        device.asked = Some(Instant::now());
        // A guest that does not run hears nothing.
        match if running { usual } else { UnplugBehaviour::Never } {
            UnplugBehaviour::AtOnce | UnplugBehaviour::Busy(_) => self.grant(id),
            UnplugBehaviour::BeforeReply => {
                self.grant(id);
                let mut events = std::mem::take(&mut self.events);
                self.early.append(&mut events);
            }
            UnplugBehaviour::After(time) => self.later.push((time, Later::Grant(id.into()))),
            UnplugBehaviour::Refuses => self.later.push((Duration::ZERO, Later::Refuse(id.into()))),
            UnplugBehaviour::Never => {}
        }
        Ok(json!({}))
    }

    /// The device is gone from the guest; its backend stays. With a controller go its disks.
    pub fn grant(&mut self, id: &str) {
        let Some(device) = self.device(id) else { return };
        if device.unit.is_some() {
            self.devices.retain(|device| device.id.as_deref() != Some(id));
            self.events.push(("DEVICE_DELETED".into(), deleted(id)));
            return;
        }
        let bus = format!("{id}.0");
        let on_it =
            self.devices.iter().filter(|device| device.bus == bus).filter_map(|device| device.id.clone());
        on_it.collect::<Vec<_>>().iter().for_each(|disk| self.grant(disk));
        self.devices.retain(|device| device.id.as_deref() != Some(id));
        let backend = json!({ "path": format!("/machine/peripheral/{id}/virtio-backend") });
        self.events.push(("DEVICE_DELETED".into(), backend));
        self.events.push(("DEVICE_DELETED".into(), deleted(id)));
    }

    /// The guest will not let go of the device; QEMU takes a new request.
    pub fn guest_refuses(&mut self, id: &str) {
        if let Some(device) = self.device_mut(id) {
            device.asked = None;
            self.events.push(("DEVICE_UNPLUG_GUEST_ERROR".into(), deleted(id)));
        }
    }

    /// A reset completes every removal that was asked for.
    pub(super) fn reset(&mut self) -> Answer {
        let asked: Vec<String> =
            self.devices.iter().filter(|d| d.asked.is_some()).filter_map(|d| d.id.clone()).collect();
        self.events.push(("RESET".into(), json!({ "guest": false, "reason": "host-qmp-system-reset" })));
        asked.iter().for_each(|id| self.grant(id));
        Ok(json!({}))
    }
}

/// QEMU reads the text as hexadecimal slot and function.
fn address(addr: Option<&Value>) -> Result<(u8, u8), QmpError> {
    let text = addr.and_then(Value::as_str).unwrap_or_default();
    let (slot, function) = text.split_once('.').unwrap_or((text, "0"));
    let slot = u8::from_str_radix(slot, 16).ok().filter(|slot| *slot < 32);
    let function = u8::from_str_radix(function, 16).ok().filter(|function| *function < 8);
    match (slot, function) {
        (Some(slot), Some(function)) => Ok((slot, function)),
        _ => Err(QmpError::generic(format!("Property 'x.addr' doesn't take value '{text}'"))),
    }
}
