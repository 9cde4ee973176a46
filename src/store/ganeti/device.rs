//! A NIC or disk of a Ganeti list, read: where it sits, by which id QEMU knows it, and with which settings it
//! was started.

use super::element::Element;
use super::json::Json;
use super::params::Params;
use super::uuid;
use crate::disk::{DiskSpec, Format};
use crate::error::Result;
use crate::ids::{
    Address, BusName, Channel, DeviceId, IfName, Lun, MacAddr, PciAddress, SLOTS, ScsiAddress, Slot,
    is_model_name,
};
use crate::model::{Device, DeviceKind, Presence, Spec};
use crate::net::spec::NicSpec;

/// Models that sit on no PCI slot, although some versions of Ganeti write one for them: they were started
/// without id and place.
const NEVER_PLACED: &[&str] = &["ide", "ide-hd", "mtd", "ne2k_isa", "pflash", "scsi", "sd"];

/// Which device this is, and of which guest: what a uuid is derived from if there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose<'a> {
    pub(super) guest: &'a str,
    pub(super) kind: DeviceKind,
}

/// Where a device is in the guest, and what it is there.
struct IdAndAddress {
    id: DeviceId,
    address: Option<Address>,
    model: Option<String>,
}

/// A NIC or disk.
pub(super) fn read(element: &Element<'_>, kind: DeviceKind, params: &Params, guest: &str) -> Result<Device> {
    match kind {
        DeviceKind::Nic => nic(element, params, guest),
        DeviceKind::Disk => disk(element, params, guest),
        DeviceKind::Controller => Err(element.expected("a NIC or disk")),
    }
}

/// Reads a NIC's object.
pub(super) fn nic(nic: &Element<'_>, params: &Params, guest: &str) -> Result<Device> {
    let expected = "a MAC address such as \"aa:00:00:35:ac:a5\"";
    let mac = nic.required("mac", expected)?;
    let address = MacAddr::parse(mac.text(expected)?).map_err(|error| mac.refused(error))?;
    let whose = Whose { guest, kind: DeviceKind::Nic };
    let place = place(nic, whose, &address.to_string(), true)?;
    let mut spec = NicSpec::new(address);
    spec.bridge = bridge(nic)?;
    spec.model = place.model.unwrap_or_else(|| params.nic_model().to_owned());
    if spec.model.starts_with("virtio-net") {
        (spec.vhost, spec.queues) = (params.vhost(), params.queues());
    }
    spec.rom = true;
    Ok(device(place.id, place.address, Spec::Nic(spec)))
}

/// Reads a disk's triple: its object, the link to it, and the URI that QEMU opens instead if the disk says
/// so.
pub(super) fn disk(disk: &Element<'_>, params: &Params, guest: &str) -> Result<Device> {
    let expected = "a list of three: the disk, its link and its URI";
    let parts = disk.list(expected)?;
    let [object, link, uri] = parts.as_slice() else { return Err(disk.expected(expected)) };
    object.object()?;
    let (path, uri) = (path(link)?, uri_in_use(object, uri)?);
    let whose = Whose { guest, kind: DeviceKind::Disk };
    let place = place(object, whose, &path, params.disks_had_slots())?;
    let dev_type = match object.member("dev_type")? {
        Some(word) => word.text("a string such as \"plain\" or \"file\"")?,
        None => "",
    };
    let mut spec = DiskSpec::new(path, Format::Raw);
    spec.uri = uri;
    spec.model = place.model.unwrap_or_else(|| params.disk_model().to_owned());
    (spec.cache, spec.aio, spec.discard) = (params.cache(dev_type), params.aio(), params.discard());
    Ok(device(place.id, place.address, Spec::Disk(spec)))
}

fn device(id: DeviceId, address: Option<Address>, spec: Spec) -> Device {
    // Numbered by who has the whole list.
    Device {
        id,
        generation: 0,
        address,
        presence: Presence::Live,
        spec,
        backend: None,
        properties: serde_json::Map::new(),
        ganeti: None,
        extra: serde_json::Map::new(),
    }
}

fn path(link: &Element<'_>) -> Result<String> {
    let expected = "the absolute path of the disk's link";
    let text = link.text(expected)?;
    if !text.starts_with('/') || text.contains('\0') {
        return Err(link.expected(expected));
    }
    Ok(text.to_owned())
}

/// The URI, if QEMU opens that and not the link: Ganeti notes it down whichever it is.
fn uri_in_use(object: &Element<'_>, uri: &Element<'_>) -> Result<Option<String>> {
    let text = match uri.json() {
        Json::Null => "",
        _ => uri.text("null or a URI such as \"rbd:pool/image\"")?,
    };
    let access = match object.member("params")? {
        Some(params) => params.member("access")?.map(|access| access.text("a string")).transpose()?,
        None => None,
    };
    Ok((access == Some("userspace") && !text.is_empty()).then(|| text.to_owned()))
}

/// Mode "bridged" in `nicparams`, or `bridge` before 2.1.
fn bridge(nic: &Element<'_>) -> Result<Option<IfName>> {
    let expected = "the name of a bridge";
    let link = match (nic.member("nicparams")?, nic.member("bridge")?) {
        (Some(nicparams), _) => {
            let mode = nicparams.required("mode", "\"bridged\", \"routed\" or \"openvswitch\"")?;
            if mode.text("\"bridged\", \"routed\" or \"openvswitch\"")? != "bridged" {
                return Ok(None);
            }
            nicparams.required("link", expected)?
        }
        (None, Some(bridge)) => bridge,
        (None, None) => return Ok(None),
    };
    IfName::parse(link.text(expected)?).map(Some).map_err(|error| link.refused(error))
}

/// By `hvinfo` (since 2.16), by `pci` (2.10 to 2.15), or nowhere: then the device cannot be told from others
/// in QEMU.
fn place(object: &Element<'_>, whose: Whose<'_>, seed: &str, had_slots: bool) -> Result<IdAndAddress> {
    let stored = object.member("uuid")?;
    let uuid = match &stored {
        Some(uuid) => uuid.text("a uuid")?.to_owned(),
        None => uuid::derived(&format!("{} {} {seed}", whose.guest, whose.kind.word())),
    };
    let refused = |error| stored.as_ref().unwrap_or(object).refused(error);
    let own_id = || uuid::device_id(whose.kind, &uuid).map_err(refused);
    let hvinfo = object.member("hvinfo")?;
    let pci = object.member("pci")?;
    match (hvinfo, pci) {
        (Some(hvinfo), _) => by_hvinfo(&hvinfo, own_id),
        (None, Some(pci)) => {
            let slot = pci.number(SLOTS - 1)?;
            // Without a uuid there was no id to start it with.
            if !had_slots || stored.is_none() {
                return Ok(IdAndAddress { id: own_id()?, address: None, model: None });
            }
            let id = uuid::old_device_id(whose.kind, &uuid, slot).map_err(refused)?;
            let address =
                PciAddress { bus: BusName::parse("pci.0")?, slot: Slot::try_from(u64::from(slot))? };
            Ok(IdAndAddress { id, address: Some(address.into()), model: None })
        }
        (None, None) => Ok(IdAndAddress { id: own_id()?, address: None, model: None }),
    }
}

fn by_hvinfo(hvinfo: &Element<'_>, own_id: impl Fn() -> Result<DeviceId>) -> Result<IdAndAddress> {
    let expected = "a QEMU device id such as \"nic-9e7c85f6-b6e5-4243\"";
    let id = match hvinfo.member("id")? {
        Some(id) => DeviceId::parse(id.text(expected)?).map_err(|error| id.refused(error))?,
        None => return Ok(IdAndAddress { id: own_id()?, address: None, model: None }),
    };
    let expected = "a QEMU driver such as \"virtio-net-pci\"";
    let driver = hvinfo.required("driver", expected)?;
    let model = driver.text(expected)?;
    if !is_model_name(model) {
        return Err(driver.expected(expected));
    }
    if NEVER_PLACED.contains(&model) {
        return Ok(IdAndAddress { id, address: None, model: None });
    }
    let address = address(hvinfo)?;
    Ok(IdAndAddress { id, address, model: Some(model.to_owned()) })
}

fn address(hvinfo: &Element<'_>) -> Result<Option<Address>> {
    let Some(bus) = hvinfo.member("bus")? else { return Ok(None) };
    let name = BusName::parse(bus.text("the name of a bus")?).map_err(|error| bus.refused(error))?;
    if let Some(target) = hvinfo.member("scsi-id")? {
        // virtio-scsi has one channel; QEMU refuses any other (5.2 to 11.1).
        let channel = hvinfo.required("channel", "0")?.number(Channel::LAST.get())?;
        let lun = hvinfo.required("lun", "a whole number from 0 to 255")?.number(u8::MAX)?;
        return Ok(Some(Address::Scsi(ScsiAddress {
            bus: name,
            channel: Channel::try_from(u64::from(channel))?,
            target: target.number(u8::MAX)?,
            lun: Lun::try_from(u64::from(lun))?,
        })));
    }
    let expected = "a slot in hexadecimal, 0x0 to 0x1f, such as \"0xe\"";
    let addr = hvinfo.required("addr", expected)?;
    let slot = slot(addr.text(expected)?).ok_or_else(|| addr.expected(expected))?;
    Ok(Some(PciAddress { bus: name, slot }.into()))
}

/// QEMU reads `addr` as hexadecimal, with or without "0x", and a function after a dot.
fn slot(text: &str) -> Option<Slot> {
    let digits = text.strip_suffix(".0").unwrap_or(text);
    let digits = digits.strip_prefix("0x").or(digits.strip_prefix("0X")).unwrap_or(digits);
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok().and_then(Slot::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_hexadecimal() {
        for (text, number) in [("0xe", 14), ("e", 14), ("0xe.0", 14), ("14", 20), ("0x1F", 31), ("0", 0)] {
            assert_eq!(slot(text).map(Slot::get), Some(number), "{text}");
        }
        for bad in ["", "0x", "0x20", "0xe.1", "+e", "-1", "0xg", " e"] {
            assert_eq!(slot(bad), None, "{bad:?}");
        }
    }
}
