//! Which devices a guest is started with, and which of them it cannot be started with.

use super::host;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Device, DeviceKind, Presence, Record, Spec};
use crate::store::{Dialect, RecordFile};

/// Before anything is opened: a NIC over the caller's own tap does not get another one without a word, and a
/// disk has its secrets.
pub(super) fn refuse_without_given(record_file: &RecordFile, next: &Record, migrates: bool) -> Result<()> {
    for device in started(next, migrates) {
        if let Some(why) = host::lacks_its_tap(record_file, device, migrates) {
            return Err(Error::new(ErrorKind::State, format!("{} {why}", device.id)));
        }
        if let Some(why) = host::lacks_secrets(record_file, device) {
            return Err(Error::new(ErrorKind::State, format!("{} {why}", device.id)));
        }
    }
    Ok(())
}

/// A guest that was seen to write to another image than the recorded one must not find its old data.
pub(super) fn refuse_overlays(next: &Record, migrates: bool) -> Result<()> {
    started(next, migrates).into_iter().try_for_each(|device| match overlay_problem(device) {
        None => Ok(()),
        Some(text) => {
            let error = Error::new(ErrorKind::Conflict, text).with_errno(libc::EBUSY);
            Err(error.context(&device.id))
        }
    })
}

/// What stands in the way of starting a disk from its recorded image.
pub(super) fn overlay_problem(device: &Device) -> Option<String> {
    let Spec::Disk(spec) = &device.spec else { return None };
    let overlay = spec.overlay.as_ref()?;
    Some(format!(
        "the guest wrote to {overlay} when it was last seen, which is not in the record and has its data; started from {} it would \
         lose that. Take the disk out of the record and add the image that has the data, whose backing file can be named anew \
         with qemu-img rebase -u",
        spec.title()
    ))
}

/// The devices that a guest is started with: a migration target has none that waits for a boot.
pub(super) fn started(record: &Record, migrates: bool) -> Vec<&Device> {
    let is_there = |device: &&Device| !migrates || device.presence != Presence::AddAfterReboot;
    record.devices.iter().filter(is_there).collect()
}

/// Whether it is a NIC that was started without a record_dir, as Ganeti did until 2.9: QEMU found one for it,
/// and finds the same one for a migration target that is started in the same order. Such a guest never had
/// another way to get one.
pub(super) fn is_unplaced_nic(dialect: &Dialect, record: &Record, device: &Device) -> bool {
    let is_live_nic = device.kind() == DeviceKind::Nic && device.presence != Presence::AddAfterReboot;
    dialect.was_started_by_ganeti(record) && is_live_nic && device.address.is_none()
}
