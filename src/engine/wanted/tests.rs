//! The decision as a table: what is recorded, what is wanted and how it stands, and what is to be done.

use super::*;
use crate::disk::Format;
use crate::engine::device_text::read_devices;
use crate::ids::{BusName, PciAddress, Slot};
use crate::net::spec::NicSpec;
use crate::slots::scsi::ControllerSpec;

const PLAIN: Apply =
    Apply { plan_only: false, keep_others: false, replace: false, live_only: false, no_wait: false };
const KEEP: Apply = Apply { keep_others: true, ..PLAIN };
const REPLACE: Apply = Apply { replace: true, ..PLAIN };

fn device(id: &str, slot: u8, spec: Spec) -> Device {
    let bus = BusName::parse("pci.0").unwrap();
    let address = PciAddress { bus, slot: Slot::try_from(u64::from(slot)).unwrap() };
    Device {
        id: DeviceId::parse(id).unwrap(),
        generation: u64::from(slot),
        address: Some(address.into()),
        presence: Presence::Live,
        spec,
        backend: None,
        properties: serde_json::Map::new(),
        ganeti: None,
        extra: serde_json::Map::new(),
    }
}

/// A NIC over `tap7`, a disk over `/srv/a.img` with a serial, a controller.
fn recorded() -> Vec<Device> {
    let mut nic = NicSpec::new(MacAddr::parse("52:54:00:00:00:01").unwrap());
    nic.tap = Some("tap%d".to_owned());
    nic.ifname = Some(IfName::parse("tap7").unwrap());
    let mut disk = DiskSpec::new("/srv/a.img", Format::Raw);
    disk.serial = Some("S1".to_owned());
    vec![
        device("lan", 4, Spec::Nic(nic)),
        device("data", 5, Spec::Disk(disk)),
        device("hba", 6, Spec::Controller(ControllerSpec::default())),
    ]
}

fn request(text: &str) -> AddRequest {
    read_devices(text, &|_| Ok(Vec::new())).unwrap().remove(0)
}

/// What is decided, a line for each device: id, action, what it waits for, and whether it is refused.
fn decided(wanted: &[(impl AsRef<str>, Standing)], how: Apply) -> Vec<String> {
    let devices = recorded();
    let recorded: Vec<&Device> = devices.iter().collect();
    let requests: Vec<AddRequest> = wanted.iter().map(|(text, _)| request(text.as_ref())).collect();
    let wanted: Vec<Wanted<'_>> = requests
        .iter()
        .zip(wanted)
        .map(|(request, (_, standing))| Wanted {
            id: request.placement().id.as_ref().unwrap(),
            request,
            standing: standing.clone(),
        })
        .collect();
    let line = |one: &Decided| {
        let after: Vec<&str> = one.after.iter().map(DeviceId::as_str).collect();
        let after = if after.is_empty() { String::new() } else { format!(" after {}", after.join(",")) };
        let refused = if one.refused.is_some() { ", refused" } else { "" };
        format!("{} {}{after}{refused}", one.id, one.action.word())
    };
    decide(&recorded, &wanted, how).iter().map(line).collect()
}

const LAN: &str = r#"{"type": "nic", "id": "lan"}"#;
const DATA: &str = r#"{"type": "disk", "id": "data", "path": "/srv/a.img"}"#;

/// What is wanted and how it stands, how it is applied, and what is decided.
type Row<'a> = (Vec<(String, Standing)>, Apply, &'a [&'a str]);

#[test]
fn what_is_decided() {
    let changes = || Standing::Changes(vec![Change::Link { up: false }]);
    let (lan, data) = (|| LAN.to_owned(), || DATA.to_owned());
    let (unknown, same) = (|| Standing::Unknown, || Standing::Same);
    let differs = || Standing::Differs("mtu");
    let nic = |more: &str| format!(r#"{{"type": "nic", "id": "wan"{more}}}"#);
    let over =
        |image: &str, more: &str| format!(r#"{{"type": "disk", "id": "more", "path": "{image}"{more}}}"#);
    let disk = |more: &str| over("/srv/b.img", more);
    let other = || disk(r#", "bus": "pci.0", "slot": 5"#);
    let rows: Vec<Row<'_>> = vec![
        (vec![], PLAIN, &["lan del", "data del"]),
        (vec![], KEEP, &[]),
        (vec![(lan(), same()), (data(), same())], PLAIN, &["lan none", "data none"]),
        (vec![(data(), same()), (lan(), same())], PLAIN, &["data none", "lan none"]),
        (vec![(lan(), same())], PLAIN, &["lan none", "data del"]),
        (vec![(lan(), changes())], KEEP, &["lan change"]),
        (vec![(lan(), differs())], KEEP, &["lan replace after lan, refused"]),
        (vec![(lan(), differs())], REPLACE, &["lan replace after lan", "data del"]),
        (vec![(lan(), Standing::Leaving)], KEEP, &["lan replace after lan"]),
        (vec![(lan(), Standing::Missing)], KEEP, &["lan replace after lan"]),
        (vec![(lan(), Standing::GoesAtBoot)], REPLACE, &["lan replace after lan, refused", "data del"]),
        // Only the journal has it.
        (vec![(nic(""), Standing::Leaving)], KEEP, &["wan replace after wan"]),
        // What an add needs, and what goes has.
        (vec![(nic(""), unknown())], PLAIN, &["wan add", "lan del", "data del"]),
        (vec![(nic(""), unknown())], KEEP, &["wan add"]),
        (
            vec![(nic(r#", "mac": "52:54:00:00:00:01""#), unknown())],
            PLAIN,
            &["wan add after lan", "lan del", "data del"],
        ),
        (vec![(nic(r#", "mac": "52:54:00:00:00:01""#), unknown())], KEEP, &["wan add"]),
        (
            vec![(nic(r#", "ifname": "tap7""#), unknown())],
            PLAIN,
            &["wan add after lan", "lan del", "data del"],
        ),
        (vec![(nic(r#", "ifname": "tap%d""#), unknown())], PLAIN, &["wan add", "lan del", "data del"]),
        (vec![(over("/srv/a.img", ""), unknown())], PLAIN, &["more add after data", "lan del", "data del"]),
        (
            vec![(disk(r#", "serial": "S1""#), unknown())],
            PLAIN,
            &["more add after data", "lan del", "data del"],
        ),
        (vec![(other(), unknown())], PLAIN, &["more add after data", "lan del", "data del"]),
        // The place of a device that stays is no reason to wait: the add itself fails.
        (vec![(other(), unknown()), (data(), same())], PLAIN, &["more add", "data none", "lan del"]),
        // One that is replaced frees what it has.
        (
            vec![(other(), unknown()), (data(), Standing::Differs("serial"))],
            REPLACE,
            &["more add after data", "data replace after data", "lan del"],
        ),
    ];
    for (wanted, how, expected) in rows {
        assert_eq!(decided(&wanted, how), expected, "{wanted:?}, {how:?}");
    }
}

/// For any record and any list: nothing is done to a device that stays as it is, each device has one
/// line, no controller goes, and nothing is removed that is in the list and does not have to be.
#[test]
fn every_device_has_one_line() {
    let standings = [
        Standing::Same,
        Standing::Changes(vec![Change::Link { up: true }]),
        Standing::Differs("mac"),
        Standing::Leaving,
        Standing::Missing,
        Standing::GoesAtBoot,
    ];
    let wishes = |text: &'static str| {
        let all = standings.clone().map(|standing| Some((text, standing)));
        std::iter::once(None).chain(all)
    };
    for lan in wishes(LAN) {
        for data in wishes(DATA) {
            for how in [PLAIN, KEEP, REPLACE] {
                let wanted: Vec<_> = lan.iter().chain(&data).cloned().collect();
                let lines = decided(&wanted, how);
                let of = |id: &str| lines.iter().filter(|line| line.starts_with(id)).count();
                let stays = |wish: &Option<_>| usize::from(wish.is_some() || !how.keep_others);
                assert_eq!(
                    (of("lan "), of("data "), of("hba ")),
                    (stays(&lan), stays(&data), 0),
                    "{lines:?}"
                );
                for (wish, id) in [(&lan, "lan"), (&data, "data")] {
                    let dels = lines.iter().filter(|line| **line == format!("{id} del")).count();
                    assert_eq!(dels, usize::from(wish.is_none() && !how.keep_others), "{lines:?}");
                    if matches!(wish, Some((_, Standing::Same))) {
                        assert!(lines.contains(&format!("{id} none")), "{lines:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn why_is_said_in_words() {
    let from = Some(IfName::parse("br0").unwrap());
    let changes = [Change::Bridge { from, to: None }, Change::Link { up: false }];
    assert_eq!(words(&changes), "it is on br0, and is to be on no bridge; its link is up, and is to be down");
}
