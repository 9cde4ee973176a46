//! Disks on the bus of a SCSI controller.

use serde_json::{Value, json};

use super::device::properties;
use super::{Dev, Model};
use crate::command::{Answer, QmpError};

impl Model {
    pub(super) fn scsi_add(&mut self, arguments: &Value, driver: &str) -> Answer {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default();
        let (id, bus, drive) = (text("id"), text("bus"), text("drive"));
        let controller = bus.strip_suffix(".0").and_then(|id| self.device(id));
        if !controller.is_some_and(|device| device.driver.starts_with("virtio-scsi")) {
            return Err(QmpError::generic(format!("Bus '{bus}' not found")));
        }
        self.check_id(id)?;
        // A CD drive may be empty.
        let is_empty = driver == "scsi-cd" && arguments.get("drive").is_none();
        // QEMU sets the properties in turn, looks at the place, and then opens the node.
        if !is_empty && !self.nodes.contains_key(drive) {
            self.check_drive(driver, drive, id)?;
        }
        let unit = self.check_unit(arguments, bus)?;
        if !is_empty {
            self.check_drive(driver, drive, id)?;
        }
        let device = Dev::new(Some(id), driver, bus, 0, 0);
        let (drive, properties) = ((!is_empty).then(|| drive.to_owned()), properties(arguments));
        self.devices.push(Dev { unit: Some(unit), drive, properties, ..device });
        Ok(json!({}))
    }

    fn check_unit(&self, arguments: &Value, bus: &str) -> Result<(u64, u64, u64), QmpError> {
        let number = |key: &str| arguments.get(key).and_then(Value::as_u64);
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
        let unit = (channel, target, lun);
        match self.devices.iter().find(|device| device.bus == bus && device.unit == Some(unit)) {
            Some(other) => {
                let other = other.id.as_deref().unwrap_or("no id");
                Err(QmpError::generic(format!("lun already used by '{other}'")))
            }
            None => Ok(unit),
        }
    }
}
