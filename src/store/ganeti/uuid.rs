//! Ganeti knows devices by uuid, and derives their QEMU ids from it.

use crate::error::Result;
use crate::ids::DeviceId;
use crate::model::{DeviceKind, ganeti_entry};
use crate::sys::random::random_bytes;

/// A random uuid (version 4, RFC 9562).
pub(super) fn random() -> Result<String> {
    let mut bytes: [u8; 16] = random_bytes()?;
    brand(&mut bytes, 4);
    Ok(text(&bytes))
}

/// A uuid (version 8) that is the same for the same seed, on every host and in every build: for a device that
/// has none, so that it is known again after each load. Ganeti itself draws a new one at every load.
pub(super) fn derived(seed: &str) -> String {
    let half =
        |start: u64| seed.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let (high, low) = (half(BASIS), half(BASIS.rotate_left(32)));
    let mut bytes = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
    brand(&mut bytes, 8);
    text(&bytes)
}

/// 64-bit FNV-1a.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The id that Ganeti looks for, since 2.16.
pub(super) fn device_id(kind: DeviceKind, uuid: &str) -> Result<DeviceId> {
    ganeti_entry::device_id(kind.word(), uuid)
}

/// The id of a device that 2.10 to 2.15 put into slot `pci`.
pub(super) fn old_device_id(kind: DeviceKind, uuid: &str, pci: u8) -> Result<DeviceId> {
    let head = uuid.split('-').next().unwrap_or_default();
    DeviceId::parse(&format!("hot{}-{head}-pci-{pci}", kind.word()))
}

/// The id of a new device, from a uuid nobody else has.
pub(crate) fn new_id(kind: DeviceKind) -> Result<DeviceId> {
    device_id(kind, &random()?)
}

/// A uuid for a device that already has an id: one that leads back to the id if it has Ganeti's form.
pub(super) fn for_id(kind: DeviceKind, id: &DeviceId) -> Result<String> {
    let random = random()?;
    let tail: Vec<&str> = random.rsplitn(3, '-').take(2).collect();
    let head = id.as_str().strip_prefix(kind.word()).and_then(|rest| rest.strip_prefix('-'));
    let groups = head.map(|head| head.split('-').map(str::len).collect::<Vec<_>>());
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    match (head, tail.as_slice()) {
        (Some(head), [last, fourth]) if groups.as_deref() == Some(&[8, 4, 4]) && is_hexadecimal(head) => {
            Ok(format!("{}-{fourth}-{last}", head.to_ascii_lowercase()))
        }
        _ => Ok(random),
    }
}

fn brand(bytes: &mut [u8; 16], version: u8) {
    let [_, _, _, _, _, _, seventh, _, ninth, ..] = bytes;
    *seventh = (*seventh & 0x0f) | (version << 4);
    *ninth = (*ninth & 0x3f) | 0x80;
}

fn text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_both_eras() {
        let uuid = "932df160-7a22-4067-a566-7e0ca8386133";
        assert_eq!(device_id(DeviceKind::Disk, uuid).unwrap().as_str(), "disk-932df160-7a22-4067");
        assert_eq!(old_device_id(DeviceKind::Nic, uuid, 6).unwrap().as_str(), "hotnic-932df160-pci-6");
        assert!(device_id(DeviceKind::Nic, "a b").is_err());
    }

    #[test]
    fn uuids_are_well_formed() {
        let uuids = [(random().unwrap(), '4'), (derived("web1"), '8')];
        for (uuid, version) in uuids {
            let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{uuid}");
            assert_eq!(uuid.chars().nth(14), Some(version), "{uuid}");
            assert!(matches!(uuid.chars().nth(19), Some('8' | '9' | 'a' | 'b')), "{uuid}");
        }
        assert_ne!(random().unwrap(), random().unwrap());
        assert_eq!(derived("web1"), derived("web1"));
        assert_ne!(derived("web1"), derived("web2"));
    }

    #[test]
    fn a_pinned_id_of_ganetis_form_is_what_ganeti_looks_for() {
        for (id, kept) in
            [("nic-932df160-7a22-4067", true), ("nic-pci-5", false), ("nic-932df160-7a22-406", false)]
        {
            let id = DeviceId::parse(id).unwrap();
            let uuid = for_id(DeviceKind::Nic, &id).unwrap();
            assert_eq!(device_id(DeviceKind::Nic, &uuid).unwrap() == id, kept, "{uuid}");
            assert_eq!(uuid.len(), 36);
        }
    }
}
