//! Takes out a device without an id, which is known by its path in QOM. The record does not have it, so after
//! a crash there is nothing to be settled.

use std::time::Duration;

use serde_json::Value;

use super::dry_run::DryRun;
use super::guest_state::GuestState;
use super::inventory;
use super::limit::Deadline;
use super::outcome::{Outcome, PendingReason};
use super::removal::Removal;
use super::store_step::Undurable;
use super::unrecorded::{UNATTACHED, kind_of};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::MacAddr;
use crate::model::{Device, DeviceKind};
use crate::qmp::qemu_errors::{self, Refusal};
use crate::qmp::{Command, Event};
use crate::sanitize::readable;
use crate::slots::pci::{CONTAINERS, QomAddress, QomChild};
use crate::slots::scsi;

/// What no id begins with, and each path does.
const ROOT: char = '/';

/// How often QEMU is asked whether the device is still there. QEMU tells that it has left by an event as
/// well, but events may be lost.
const PAUSE: Duration = Duration::from_millis(100);

const DEVICE_DEL: &str = "device_del";

/// A device that the guest is to be asked for.
#[derive(Debug)]
pub(super) struct Leaving {
    path: String,
    /// The guest has a say in it. It has none in a SCSI device.
    by_consent: bool,
}

impl Leaving {
    fn command(&self) -> Command {
        Command::with(DEVICE_DEL, &[("id", &self.path)])
    }
}

/// What has become of a removal when the guest has been asked.
// Clippy takes an outcome, which is made once for each call, for large.
#[allow(clippy::large_enum_variant)]
pub(super) enum Begun {
    Answered(Outcome),
    Asked(Leaving),
}

/// Whether a device is named by its path in QOM and not by its id.
pub(super) fn is_path(name: &str) -> bool {
    name.starts_with(ROOT)
}

impl GuestState {
    pub(super) async fn remove_by_path(&mut self, removal: &Removal, deadline: &Deadline) -> Result<Outcome> {
        match self.begin_by_path(removal, deadline).await? {
            Begun::Answered(outcome) => Ok(outcome),
            Begun::Asked(leaving) => self.end_by_path(&leaving, deadline).await,
        }
    }

    /// Asks the guest, and waits for nothing.
    pub(super) async fn begin_by_path(&mut self, removal: &Removal, deadline: &Deadline) -> Result<Begun> {
        let Some(leaving) = self.find_by_path(removal, deadline).await? else {
            return Ok(Begun::Answered(Outcome::Absent));
        };
        if removal.wait {
            // From now on a refusal is noted.
            self.awaited_paths.insert(leaving.path.clone(), false);
        }
        match self.ask_by_path(&leaving, deadline).await {
            Ok(Outcome::PendingByPath(PendingReason::Deadline)) if removal.wait => Ok(Begun::Asked(leaving)),
            Ok(Outcome::PendingByPath(PendingReason::Deadline)) => {
                Ok(Begun::Answered(Outcome::PendingByPath(PendingReason::NotAwaited)))
            }
            other => {
                self.awaited_paths.remove(&leaving.path);
                other.map(Begun::Answered)
            }
        }
    }

    /// Waits for one that the guest has been asked for.
    pub(super) async fn end_by_path(&mut self, leaving: &Leaving, deadline: &Deadline) -> Result<Outcome> {
        let outcome = self.await_by_path(leaving, deadline).await;
        self.awaited_paths.remove(&leaving.path);
        outcome
    }

    /// The device, unless it is gone. An error says why it stays.
    async fn find_by_path(&mut self, removal: &Removal, deadline: &Deadline) -> Result<Option<Leaving>> {
        self.ready(deadline).await?;
        let path = removal.id.as_str();
        let Some((container, name)) = container_of(path) else {
            return Err(Error::invalid(format!(
                "{}: devices without an id are directly below {} and {UNATTACHED}, and \
                 kvm_hotplug_describe_unrecorded() has their paths",
                readable(path),
                CONTAINERS[1]
            )));
        };
        let [list] = self.questions([Command::with("qom-list", &[("path", container)])], deadline).await?;
        let Some(child) = QomChild::list(&list)?.into_iter().find(|child| child.name == name) else {
            return Ok(None);
        };
        let Some(kind) = kind_of(&child.driver) else {
            return Err(Error::invalid(format!(
                "{} is a {}, and neither a NIC nor a disk nor a SCSI controller",
                readable(path),
                readable(&child.driver)
            )));
        };
        if let Some(wanted) = removal.kind.filter(|wanted| *wanted != kind) {
            let text = format!("{} is a {}, not a {}", readable(path), kind.title(), wanted.title());
            return Err(Error::invalid(text));
        }
        let names = ["parent_bus", "addr", "hotpluggable", "mac"];
        let answers = inventory::properties(self, &[(container, &child)], names, deadline).await?;
        let [bus, addr, hotpluggable, mac] = answers.into_iter().next().unwrap_or_default();
        self.refuse_recorded_nic(path, &mac)?;
        let address = QomAddress::from_qom(None, &child.driver, &bus, &addr);
        if let Some(why) = self.why_it_stays(address.as_ref(), &hotpluggable) {
            let text = format!("{} cannot be removed from the running guest: {why}", readable(path));
            return Err(Error::new(ErrorKind::NotHotpluggable, text));
        }
        if kind == DeviceKind::Controller {
            self.refuse_used_controller(path, deadline).await?;
        }
        let by_consent = !scsi::qom::is_unit(&child.driver);
        Ok(Some(Leaving { path: path.to_owned(), by_consent }))
    }

    /// A Ganeti list of before hotplug does not say where a NIC sits, and QEMU has such a NIC without an id.
    /// Its MAC address says that it is recorded.
    fn refuse_recorded_nic(&self, path: &str, mac: &Value) -> Result<()> {
        let Some(mac) = mac.as_str().and_then(|text| MacAddr::parse(text).ok()) else { return Ok(()) };
        let contents = self.contents();
        let is_it = |device: &&Device| device.address.is_none() && device.mac() == Some(mac);
        match contents.record().devices.iter().find(is_it) {
            None => Ok(()),
            Some(device) => {
                let text = format!(
                    "{} is {} of the record; remove it by that id, and it goes with the next boot",
                    readable(path),
                    device.id
                );
                Err(Error::new(ErrorKind::Conflict, text))
            }
        }
    }

    /// What this removal would do, if the guest lets go.
    pub(super) async fn dry_run_by_path(&mut self, removal: &Removal, deadline: &Deadline) -> Result<DryRun> {
        let Some(leaving) = self.find_by_path(removal, deadline).await? else {
            return Ok(DryRun::nothing(Outcome::Absent));
        };
        self.refuse_while_migrating(deadline).await?;
        let Command { name, arguments, .. } = leaving.command();
        let command = (name.into_owned(), arguments.as_deref().cloned().unwrap_or_default());
        Ok(DryRun { commands: vec![command], ..DryRun::nothing(Outcome::DoneByPath) })
    }

    /// When QEMU takes out a controller, it takes out the disks on it too.
    async fn refuse_used_controller(&mut self, path: &str, deadline: &Deadline) -> Result<()> {
        let places = [CONTAINERS[0], CONTAINERS[1], UNATTACHED];
        let lists = self
            .questions(places.map(|place| Command::with("qom-list", &[("path", place)])), deadline)
            .await?;
        let mut units = Vec::new();
        for (place, list) in places.iter().zip(&lists) {
            let all = QomChild::list(list)?.into_iter().filter(|child| scsi::qom::is_unit(&child.driver));
            units.extend(all.map(|child| (*place, child)));
        }
        let units: Vec<(&str, &QomChild)> = units.iter().map(|(place, child)| (*place, child)).collect();
        let own = format!("{path}/");
        for some in units.chunks(inventory::QUESTIONS) {
            let buses = inventory::properties(self, some, ["parent_bus"], deadline).await?;
            let is_on_it = |bus: &Value| bus.as_str().is_some_and(|bus| bus.starts_with(&own));
            if let Some(((place, child), _)) = some.iter().zip(buses).find(|(_, [bus])| is_on_it(bus)) {
                let text = format!(
                    "{} has disks on it, which are to be removed first, such as {place}/{}",
                    readable(path),
                    readable(&child.name)
                );
                return Err(Error::new(ErrorKind::Conflict, text).with_errno(crate::error::errno::EBUSY));
            }
        }
        Ok(())
    }

    /// Asks the guest. A guest that sleeps or has not been started is not asked, as for recorded devices.
    async fn ask_by_path(&mut self, leaving: &Leaving, deadline: &Deadline) -> Result<Outcome> {
        self.refuse_while_migrating(deadline).await?;
        let state = self.run_state(deadline).await?.filter(|_| leaving.by_consent);
        if let Some(why) = self.unplug_blocked.filter(|_| leaving.by_consent) {
            return Ok(Outcome::PendingByPath(why));
        }
        self.wait_for_guest_clock(deadline).await?;
        self.needs_resync = true;
        let Err(error) = self.send_one(Undurable::RemovalByPath.may(), leaving.command(), deadline).await
        else {
            return Ok(Outcome::PendingByPath(state.unwrap_or(PendingReason::Deadline)));
        };
        if !error.is_refusal() {
            return Err(error.with_undo(vec![may_have_been_asked(&leaving.path)]));
        }
        match qemu_errors::refusal(DEVICE_DEL, &error) {
            Some(Refusal::Absent) => Ok(Outcome::DoneByPath),
            Some(Refusal::AlreadyUnplugging) => {
                Ok(Outcome::PendingByPath(state.unwrap_or(PendingReason::Deadline)))
            }
            _ => {
                Err(qemu_errors::explain(DEVICE_DEL, error)
                    .with_step(format!("{DEVICE_DEL} {}", leaving.path)))
            }
        }
    }

    /// Waits until QOM does not show it any more.
    async fn await_by_path(&mut self, leaving: &Leaving, deadline: &Deadline) -> Result<Outcome> {
        let path = leaving.path.as_str();
        loop {
            let question = Command::with("qom-get", &[("path", path), ("property", "type")]);
            match self.ask_one(question, deadline).await {
                Ok(_) => {}
                Err(error) if qemu_errors::refusal("qom-get", &error) == Some(Refusal::Absent) => {
                    self.needs_resync = true;
                    return Ok(Outcome::DoneByPath);
                }
                Err(error) => return Err(error.with_undo(vec![may_have_been_asked(path)])),
            }
            self.drain_events();
            if self.awaited_paths.get(path) == Some(&true) {
                let text = format!(
                    "the guest refused to let go of {path}: it may be in use there; the device stays"
                );
                return Err(Error::new(ErrorKind::GuestRefused, text));
            }
            match self.pause_yielding(PAUSE, deadline).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    return Ok(Outcome::PendingByPath(PendingReason::Deadline));
                }
                Err(error) => return Err(error.with_undo(vec![may_have_been_asked(path)])),
            }
        }
    }

    /// The guest has refused to let go of a device without an id.
    pub(super) fn note_refused_path(&mut self, event: &Event) {
        let is_refusal = event.name == "DEVICE_UNPLUG_GUEST_ERROR";
        let path = event.text("path").filter(|_| is_refusal);
        if let Some(is_refused) = path.and_then(|path| self.awaited_paths.get_mut(path)) {
            *is_refused = true;
        }
    }
}

/// Where QEMU keeps the device of this path, and its name there.
fn container_of(path: &str) -> Option<(&'static str, &str)> {
    let (container, name) = path.rsplit_once(ROOT)?;
    let known = [CONTAINERS[1], UNATTACHED].into_iter().find(|known| *known == container)?;
    (!name.is_empty()).then_some((known, name))
}

fn may_have_been_asked(path: &str) -> String {
    format!("{}: the guest may have been asked for it", readable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_without_an_id_have_such_a_path() {
        let anonymous = "/machine/peripheral-anon/device[0]";
        assert_eq!(container_of(anonymous), Some(("/machine/peripheral-anon", "device[0]")));
        assert_eq!(container_of("/machine/unattached/device[7]"), Some(("/machine/unattached", "device[7]")));
        for other in [
            "lan",
            "/",
            "/machine",
            "/machine/peripheral/lan",
            "/machine/peripheral-anon/",
            "/machine/peripheral-anon/device[0]/virtio-backend",
        ] {
            assert_eq!(container_of(other), None, "{other}");
        }
    }
}
