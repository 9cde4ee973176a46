//! Any list that is loaded and saved is the same list.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Dir, sample};

const LISTS_OF_FOUR: [&str; 9] = [
    "4entry-hvinfo-2.16.2",
    "4entry-hvinfo-3.0.2-plain",
    "4entry-hvinfo-3.0.2-scsi-hd",
    "4entry-hvinfo-3.1.0rc2-plain",
    "4entry-hvinfo-3.2dev-live2-after-disk-add",
    "4entry-hvinfo-3.2dev-rbd-userspace",
    "4entry-pci-2.10.8-oldargs",
    "4entry-pci-2.15.2",
    "hand-unknown-keys",
];

/// Not only the values: keys in their order, integers as integers, one line, one newline at its end.
#[test]
fn samples_come_out_byte_for_byte() {
    use std::os::unix::fs::PermissionsExt;
    for name in LISTS_OF_FOUR {
        let dir = Dir::sample(name);
        dir.load().save().unwrap();
        assert_eq!(
            String::from_utf8(dir.bytes()).unwrap(),
            String::from_utf8(sample(name)).unwrap(),
            "{name}"
        );
        assert_eq!(dir.names(), ["web1.runtime"], "{name}");
        let mode = std::fs::metadata(dir.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// Three entries become four, and the rest stays what it was, but for what no Ganeti can read.
#[test]
fn lists_of_three_get_their_disks() {
    for name in ["3entry-2.9.7", "3entry-2.0.6"] {
        let dir = Dir::sample(name);
        let before: Value = serde_json::from_slice(&sample(name)).unwrap();
        dir.load().save().unwrap();
        let after = dir.value();
        assert_eq!((after[0].clone(), after[2].clone()), (before[0].clone(), before[2].clone()), "{name}");
        assert_eq!((after.as_array().unwrap().len(), after[3].clone()), (4, json!([])), "{name}");
        if name == "3entry-2.9.7" {
            assert_eq!(after[1], before[1]);
        } else {
            assert_eq!(
                after[1][0],
                json!({"ip": null, "mac": "aa:00:00:bf:2f:16",
                "nicparams": {"link": "br0", "mode": "bridged"}})
            );
        }
        let text = String::from_utf8(dir.bytes()).unwrap();
        assert_eq!((text.matches('\n').count(), text.ends_with("[]]\n")), (1, true));
    }
}

/// The members of an object in their order.
type Members = Vec<(String, Value)>;

/// Anything that may be the value of a key nobody knows.
fn a_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9f64..1e9).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The text of an object: known members and unknown ones, shuffled.
fn an_object(known: Members) -> impl Strategy<Value = String> {
    (prop::collection::btree_map("x[a-z]{1,6}", a_value(), 0..3), Just(known))
        .prop_map(|(unknown, known)| known.into_iter().chain(unknown).collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|members| {
            let member = |(key, value): &(String, Value)| format!("{}: {value}", Value::from(key.as_str()));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        })
}

fn place(form: u8, kind: &str, slot: u8, uuid: &str) -> Members {
    let id = format!("{kind}-{}", uuid.rsplitn(3, '-').nth(2).unwrap());
    let driver = if kind == "nic" { "virtio-net-pci" } else { "virtio-blk-pci" };
    let place = match form % 4 {
        0 => json!({ "pci": slot }),
        1 => json!({ "hvinfo": {} }),
        2 => json!({}),
        _ => json!({ "hvinfo": {"addr": format!("{slot:#x}"), "driver": driver, "bus": "pci.0", "id": id} }),
    };
    let Value::Object(place) = place else { panic!("an object") };
    place.into_iter().chain([("uuid".to_owned(), uuid.into())]).collect()
}

prop_compose! {
    fn a_nic(slot: u8)(form: u8, uuid in uuid(), routed: bool) -> Members {
        let mode = if routed { "routed" } else { "bridged" };
        let mut known = place(form, "nic", slot, &uuid);
        known.push(("mac".into(), format!("aa:00:00:00:00:{slot:02x}").into()));
        known.push(("nicparams".into(), json!({"mode": mode, "link": "br0"})));
        known
    }
}

prop_compose! {
    fn a_disk(slot: u8)(form: u8, uuid in uuid(), size: u32) -> Members {
        let mut known = place(form, "disk", slot, &uuid);
        known.extend([("dev_type".into(), "plain".into()), ("size".into(), size.into()), ("children".into(), json!([]))]);
        known
    }
}

fn uuid() -> impl Strategy<Value = String> {
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
}

fn several(kind: fn(u8) -> BoxedStrategy<Members>, from: u8) -> impl Strategy<Value = Vec<String>> {
    (0u8..5).prop_flat_map(move |count| {
        (from..from + count).map(|slot| kind(slot).prop_flat_map(an_object)).collect::<Vec<_>>()
    })
}

fn a_list() -> impl Strategy<Value = String> {
    let argument = prop_oneof!["-?[a-z,=]{1,10}".prop_map(Value::from), any::<u16>().prop_map(Value::from),];
    (
        prop::collection::vec(argument, 0..8),
        several(|slot| a_nic(slot).boxed(), 3),
        an_object(vec![("disk_cache".into(), "none".into()), ("kvm_pci_reservations".into(), 5.into())]),
        several(|slot| a_disk(slot).boxed(), 12),
        "[a-z]{1,6}",
    )
        .prop_map(|(command, nics, hvparams, disks, link)| {
            let command = command.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
            let disks: Vec<String> = disks
                .iter()
                .enumerate()
                .map(|(index, disk)| format!("[{disk}, \"/{link}:{index}\", null]"))
                .collect();
            format!("[[{command}], [{}], {hvparams}, [{}]]\n", nics.join(", "), disks.join(", "))
        })
}

/// Text in which every object shows the order of its keys.
fn outline(value: &Value, text: &str) -> String {
    // serde_json's tree sorts keys, so the order is looked for in the text itself.
    format!("{value}\n{}", text.split('"').skip(1).step_by(2).collect::<Vec<_>>().join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_list_survives_loading_and_saving(text in a_list()) {
        let dir = Dir::with(&text);
        dir.load().save().unwrap();
        let before: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&dir.value(), &before);
        let saved = String::from_utf8(dir.bytes()).unwrap();
        if text.is_ascii() && !text.contains('\\') {
            prop_assert_eq!(outline(&dir.value(), &saved), outline(&before, &text));
        }
        dir.load().save().unwrap();
        prop_assert_eq!(String::from_utf8(dir.bytes()).unwrap(), saved, "byte for byte the second time");
    }
}
