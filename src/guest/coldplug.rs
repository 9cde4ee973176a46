//! The same requests to the record of a guest that does not run: what is added comes with the next boot, what
//! is removed does not.
//!
//! A device that is added here waits for the boot, and one that is removed goes with it, as with changes that
//! a running guest cannot make: so the record tells no lie even if the guest does run after all.

use std::path::Path;

use crate::boot;
use crate::disk::Identity;
use crate::engine::disk::{DiskRequest, check_unshared, files_to_compare, for_looking};
use crate::engine::nic::{NicRequest, check_mac, check_unused, used_macs};
use crate::engine::{Outcome, Placement, Removal, TapSource};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Device, DeviceKind, Presence, Spec};
use crate::net::namespace::{self, within};
use crate::net::{link, mac, vhost};
use crate::sorted;
use crate::store::{RecordFile, images};

/// Adds a NIC to the record, or answers the one that is there. Its tap is opened by the boot command.
pub fn add_nic(record_file: &mut RecordFile, request: &NicRequest) -> Result<Device> {
    let own = request.settle(record_file.dialect())?;
    request.placement.check(DeviceKind::Nic, &request.model)?;
    if matches!(request.tap, TapSource::Given(_)) {
        let text =
            "tap_fds are of no use to a guest that does not run: its taps are opened when it is started";
        return Err(Error::invalid(text));
    }
    let differs = |spec: &Spec| {
        let is_same =
            |(one, other)| within(request.netns(), || Ok(link::is_same(one, other))).unwrap_or(false);
        request.differs(spec, &own, request.bridges(spec).is_some_and(is_same))
    };
    if let Some(device) = already(record_file, &request.placement, differs)? {
        return Ok(device);
    }
    let mac = match request.mac {
        Some(mac) => check_mac(record_file.contents(), &[], mac, is_staying).map(|()| mac)?,
        None => mac::generate(|mac| {
            used_macs(record_file.contents(), &[]).any(|(used, device)| used == *mac && is_staying(device))
        })?,
    };
    let mut spec = request.spec(mac, &own);
    check_unused(record_file.contents(), &[], request, None)?;
    spec.netns = spec.netns.as_deref().map(namespace::resolve).transpose()?;
    if let Some(bridge) = spec.bridge.take() {
        spec.bridge = Some(within(spec.netns.as_deref(), || Ok(link::real_name(&bridge)))?);
    }
    spec.vhost = !vhost::open(own.vhost, own.queues, Path::new(vhost::DEVICE))?.is_empty();
    record(record_file, Spec::Nic(spec), &request.placement)
}

/// Adds a disk to the record, or answers the one that is there. The image is opened, and closed again.
pub fn add_disk(record_file: &mut RecordFile, request: &DiskRequest) -> Result<Device> {
    request.spec.validate()?;
    let settled = &request.settled(record_file.dialect())?;
    settled.placement.check(DeviceKind::Disk, &settled.spec.model)?;
    if let Some(device) = already(record_file, &request.placement, |spec| settled.differs(spec))? {
        if let Some(spec) = for_looking(&device) {
            request.check_chain(&device, images::open(record_file.record(), &spec))?;
        }
        if request.placement.accept_chain {
            record_file.accept_chain(device.id.as_str(), request.spec.backing.clone())?;
        }
        return Ok(device);
    }
    let mut spec = settled.spec.clone();
    let image = images::resolve(record_file.record(), &mut spec, request.format)?;
    record_file.dialect().check_disk(&spec, request.placement.ganeti.as_deref())?;
    let others = || record_file.record().devices.iter().filter(|device| is_staying(device));
    let paths = files_to_compare(others(), &spec, &image);
    let files = paths.into_iter().filter_map(|path| Some((path.clone(), Identity::of_path(&path).ok()?)));
    check_unshared(others(), &spec, &image, &sorted::map(files))?;
    record(record_file, Spec::Disk(spec), &request.placement)
}

/// Takes a device out of the record with the next boot, or at once if it has never been in the guest.
pub fn remove(record_file: &mut RecordFile, removal: &Removal) -> Result<Outcome> {
    record_file.check_closed()?;
    let Some(mut device) = record_file.record().find(&removal.id).cloned() else {
        return Ok(Outcome::Absent);
    };
    removal.check_kind(&device)?;
    let on_it = |other: &&Device| other.controller() == Some(device.id.as_str()) && is_staying(other);
    if let Some(disk) = record_file.record().devices.iter().find(on_it) {
        let text = format!("{} has disks on it, which are to be removed first: {}", device.id, disk.id);
        return Err(Error::new(ErrorKind::Conflict, text).with_errno(libc::EBUSY));
    }
    let mut next = record_file.record().clone();
    if device.presence == Presence::AddAfterReboot {
        next.remove(&device.id);
    } else {
        device.presence = Presence::RemoveAfterReboot;
        next.devices
            .iter_mut()
            .filter(|other| other.id == device.id)
            .for_each(|other| other.presence = device.presence);
    }
    if next != *record_file.record() {
        record_file.replace(next)?;
    }
    Ok(Outcome::Done(device))
}

/// What goes with the next boot is in nobody's way then.
fn is_staying(device: &Device) -> bool {
    device.presence != Presence::RemoveAfterReboot
}

/// The device that has the requested id, if its settings are the requested ones.
fn already(
    record_file: &RecordFile,
    placement: &Placement,
    differs: impl FnOnce(&Spec) -> Option<&'static str>,
) -> Result<Option<Device>> {
    record_file.check_closed()?;
    let conflict = |what: String| Err(Error::new(ErrorKind::Conflict, what));
    let Some(id) = placement.id.as_ref() else { return Ok(None) };
    if record_file.journal().find(id.as_str()).is_some() {
        return conflict(format!(
            "{id} has an operation that is not finished; take another id, or start the guest first"
        ));
    }
    let Some(device) = record_file.record().find(id.as_str()).cloned() else { return Ok(None) };
    if device.presence == Presence::RemoveAfterReboot {
        return conflict(format!("{id} is to be removed with the next boot; take another id"));
    }
    placement.check_existing(&device, differs(&device.spec))?;
    Ok(Some(device))
}

fn record(record_file: &mut RecordFile, spec: Spec, placement: &Placement) -> Result<Device> {
    let mut next = record_file.record().clone();
    let address = boot::place(&mut next, &spec, placement.address.as_ref(), placement.scsi_bus.as_ref())?;
    let id = match &placement.id {
        Some(id) => id.clone(),
        None => record_file.dialect().new_id(&next, spec.kind(), Some(&address))?,
    };
    if next.find(id.as_str()).is_some() || record_file.journal().find(id.as_str()).is_some() {
        let text = format!("{id}, the id for {address}, belongs to another device; give the new one an id");
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    let (generation, presence) = (next.next_generation, Presence::AddAfterReboot);
    let device = Device {
        id,
        generation,
        address: Some(address),
        presence,
        spec,
        backend: None,
        properties: placement.properties.clone(),
        ganeti: placement.ganeti.clone(),
        extra: serde_json::Map::new(),
    };
    next.add(device.clone());
    record_file.replace(next)?;
    Ok(device)
}
