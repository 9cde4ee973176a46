//! The trays of CD drives, and what is in them.

use serde_json::{Value, json};

use super::{Dev, Model};
use crate::command::{Answer, Event, QmpError};

impl Dev {
    /// Whether it has a tray.
    pub(super) fn is_cd(&self) -> bool {
        self.driver == "scsi-cd"
    }
}

impl Model {
    /// The drive that a command names, which has to have a tray.
    fn drive(&mut self, id: &str) -> Result<&mut Dev, QmpError> {
        let Some(device) = self.device_mut(id) else { return Err(QmpError::absent(id)) };
        if device.drive.is_none() && !device.is_cd() {
            return Err(QmpError::generic("Device does not have a block device backend"));
        }
        if !device.is_cd() {
            return Err(QmpError::generic(format!("Device '{id}' is not removable")));
        }
        Ok(device)
    }

    /// A guest that has locked the tray is asked, and the command has succeeded with that.
    pub(super) fn open_tray(&mut self, arguments: &Value) -> Answer {
        let id = arguments.get("id").and_then(Value::as_str).unwrap_or_default();
        let force = arguments.get("force") == Some(&Value::Bool(true));
        let drive = self.drive(id)?;
        if !drive.tray.locked || force {
            self.move_tray(id, true);
        }
        Ok(json!({}))
    }

    pub(super) fn close_tray(&mut self, id: &str) -> Answer {
        self.drive(id)?;
        self.move_tray(id, false);
        Ok(json!({}))
    }

    /// The tray opens or closes, by whomever. False if there is no such drive, or nothing has moved.
    pub fn move_tray(&mut self, id: &str, open: bool) -> bool {
        let Ok(drive) = self.drive(id) else { return false };
        if drive.tray.open == open {
            return false;
        }
        drive.tray.open = open;
        let moved = json!({ "device": "", "tray-open": open, "id": id });
        self.before.push(Event::new("DEVICE_TRAY_MOVED", moved));
        true
    }

    pub(super) fn remove_medium(&mut self, id: &str) -> Answer {
        let drive = self.drive(id)?;
        if !drive.tray.open {
            return Err(QmpError::generic(format!("Tray of device '{id}' is not open")));
        }
        drive.drive = None;
        Ok(json!({}))
    }

    pub(super) fn insert_medium(&mut self, id: &str, node: &str) -> Answer {
        self.drive(id)?;
        let in_use = self.uses_node(node);
        if !self.nodes.contains_key(node) {
            return Err(QmpError::generic(format!("Node '{node}' not found")));
        }
        if in_use {
            return Err(QmpError::generic(format!("Node '{node}' is already in use")));
        }
        let drive = self.drive(id)?;
        if !drive.tray.open {
            return Err(QmpError::generic(format!("Tray of device '{id}' is not open")));
        }
        if drive.drive.is_some() {
            return Err(QmpError::generic("There already is a medium in the device"));
        }
        drive.drive = Some(node.to_owned());
        Ok(json!({}))
    }

    /// What is in a drive that leaves.
    pub(super) fn forget_medium_of(&mut self, device: &Dev) {
        if device.is_cd() && !device.properties.contains_key("drive") {
            self.forgotten.extend(device.drive.clone());
        }
    }

    /// With a reset, all trays are closed without a word.
    pub(super) fn close_all_trays(&mut self) {
        self.devices.iter_mut().for_each(|device| device.tray = Default::default());
    }
}
