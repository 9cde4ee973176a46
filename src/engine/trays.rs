//! The trays of CD drives: whether they are open, what is in them, and that a guest has moved one.

use serde_json::Value;

use super::drives;
use super::events::EventKind;
use super::graph::is_part_of;
use super::guest_state::GuestState;
use super::limit::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Device, Presence, Spec};
use crate::qmp::Event;

/// A drive as QEMU shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tray {
    pub(super) open: bool,
    /// The guest has locked it.
    pub(super) locked: bool,
    /// The node of what is in it.
    pub(super) node: Option<String>,
}

impl Tray {
    /// That of the device with this id, in the answer to [`drives::question`].
    fn of(answer: &Value, id: &str) -> Option<Self> {
        let text = |entry: &Value, path: &str| entry.pointer(path)?.as_str().map(str::to_owned);
        let is_it = |entry: &&Value| text(entry, "/qdev").is_some_and(|device| is_part_of(&device, id));
        let entry = answer.as_array()?.iter().find(is_it)?;
        let flag = |name: &str| entry.get(name).and_then(Value::as_bool).unwrap_or(false);
        let node = text(entry, "/inserted/node-name");
        Some(Self { open: flag("tray_open"), locked: flag("locked"), node })
    }
}

impl GuestState {
    /// QEMU has said that a tray moves, or that the guest is reset, which closes all of them without a word
    /// (QEMU 5.2 to 11.1).
    pub(super) fn note_trays(&mut self, event: &Event) {
        let is_reset = event.name == "RESET";
        if !is_reset && event.name != "DEVICE_TRAY_MOVED" {
            return;
        }
        let id = event.text("id").unwrap_or_default();
        let contents = self.contents();
        let mut cds = contents.record().devices.iter().filter(|device| is_live_cd(device));
        self.trays_moved |= match is_reset {
            true => cds.any(|device| matches!(&device.spec, Spec::Disk(spec) if spec.tray_open)),
            false => cds.any(|device| is_part_of(id, device.id.as_str())),
        };
    }

    /// What QEMU shows of a drive.
    pub(super) async fn tray_of(&self, device: &Device, deadline: &Deadline) -> Result<Tray> {
        let answer = self.ask_one(drives::question(), deadline).await?;
        Tray::of(&answer, device.id.as_str()).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("QEMU does not show the drive of {}", device.id))
        })
    }

    /// Records which trays are open. What nobody waits for is told.
    pub(super) async fn look_at_trays(&mut self, deadline: &Deadline) -> Result<()> {
        let contents = self.contents();
        // What is unfinished of a drive is settled first.
        let is_at_rest = |device: &&Device| contents.journal().find(device.id.as_str()).is_none();
        let of_record = contents.record().devices.iter();
        let cds: Vec<&Device> = of_record.filter(|device| is_live_cd(device)).filter(is_at_rest).collect();
        if cds.is_empty() {
            self.trays_moved = false;
            return Ok(());
        }
        let [answer] = self.questions([drives::question()], deadline).await?;
        self.trays_moved = false;
        let mut next = contents.record().clone();
        let mut moved = Vec::new();
        for device in next.devices.iter_mut().filter(|device| cds.iter().any(|cd| cd.id == device.id)) {
            let Some(Tray { open, .. }) = Tray::of(&answer, device.id.as_str()) else { continue };
            let Spec::Disk(spec) = &mut device.spec else { continue };
            if spec.tray_open != open {
                spec.tray_open = open;
                moved.push((device.clone(), open));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        self.replace(next).await?;
        for (device, open) in moved.iter().filter(|(device, _)| !self.awaited_trays.contains(&device.id)) {
            let (kind, text) = match open {
                true => (EventKind::TrayOpened, "the guest has opened the tray"),
                false => (EventKind::TrayClosed, "the tray is closed again"),
            };
            self.events.device(kind, device, text);
        }
        Ok(())
    }
}

fn is_live_cd(device: &Device) -> bool {
    let is_cd = matches!(&device.spec, Spec::Disk(spec) if spec.is_cd());
    is_cd && device.presence != Presence::AddAfterReboot
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drives_are_found_by_id_and_by_path() {
        let answer = json!([
            { "qdev": "cd", "tray_open": true, "locked": false, "inserted": { "node-name": "medium-7" } },
            { "qdev": "/machine/peripheral/empty", "tray_open": false, "locked": true },
            { "device": "ide1-cd0", "tray_open": false },
        ]);
        let tray =
            |open, locked, node: Option<&str>| Some(Tray { open, locked, node: node.map(str::to_owned) });
        assert_eq!(Tray::of(&answer, "cd"), tray(true, false, Some("medium-7")));
        assert_eq!(Tray::of(&answer, "empty"), tray(false, true, None));
        assert_eq!(Tray::of(&answer, "c"), None);
        assert_eq!(Tray::of(&Value::Null, "cd"), None);
    }
}
