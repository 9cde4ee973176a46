//! Any record at all, written and read back.

use kvm_hotplug::disk::{Aio, Cache, DetectZeroes, Discard, DiskSpec, Format};
use kvm_hotplug::ids::{IfName, MacAddr};
use kvm_hotplug::model::{Presence, Record, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::slots::scsi::ControllerSpec;
use kvm_hotplug::store::native;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{device, on_scsi};

prop_compose! {
    fn a_nic()(tail in any::<[u8; 3]>(), queues in 1u16..=256, vhost: bool, mtu in proptest::option::of(68u16..),
               bridge in proptest::option::of("[a-z][a-z0-9.-]{0,14}"),
               boot_index in proptest::option::of(0u32..=0x7fff_ffff)) -> Spec {
        let mut spec = NicSpec::new(MacAddr::local(tail));
        (spec.queues, spec.vhost, spec.mtu, spec.boot_index) = (queues, vhost, mtu, boot_index);
        spec.bridge = bridge.map(|name| IfName::parse(&name).unwrap());
        Spec::Nic(spec)
    }
}

prop_compose! {
    fn a_disk()(name in "[^\0]{1,40}", qcow2: bool, read_only: bool, share_rw: bool,
                serial in proptest::option::of("[ -~]{1,20}"), direct: bool, unmap: bool,
                logical in proptest::option::of(9u32..=21), queues in proptest::option::of(1u16..=1024)) -> Spec {
        let mut spec = DiskSpec::new(format!("/{name}"), if qcow2 { Format::Qcow2 } else { Format::Raw });
        (spec.read_only, spec.share_rw, spec.serial, spec.queues) = (read_only, share_rw, serial, queues);
        (spec.cache, spec.aio) = if direct { (Cache::None, Aio::Native) } else { (Cache::Unsafe, Aio::IoUring) };
        if unmap {
            (spec.discard, spec.detect_zeroes) = (Discard::Unmap, DetectZeroes::Unmap);
        }
        spec.logical_block_size = logical.map(|power| 1 << power);
        Spec::Disk(spec)
    }
}

prop_compose! {
    fn a_controller()(queues in proptest::option::of(1u16..=1021), transitional: bool) -> Spec {
        let mut spec = ControllerSpec { queues, ..ControllerSpec::default() };
        if transitional {
            spec.model = "virtio-scsi-pci-transitional".into();
        }
        Spec::Controller(spec)
    }
}

prop_compose! {
    fn a_record()(name in "[^\0]{0,20}", command in proptest::collection::vec("[^\0]{0,20}", 0..5),
                  reserved in 0u8..=32, nics in proptest::collection::vec(a_nic(), 0..6),
                  controllers in proptest::collection::vec(a_controller(), 0..3),
                  disks in proptest::collection::vec((a_disk(), any::<Option<u8>>()), 0..6),
                  presences in any::<[u8; 15]>(),
                  extra in proptest::collection::btree_map("x[a-z]{1,8}", "\\PC{0,8}", 0..3)) -> Record {
        let extra: Map<String, Value> = extra.into_iter().map(|(key, text)| (key, text.into())).collect();
        let mut record = Record::new(&name, command, reserved).unwrap();
        let mut macs = std::collections::BTreeSet::new();
        let count = controllers.len();
        let slotted = controllers.into_iter().chain(nics).map(|spec| (spec, None));
        for (index, (mut spec, target)) in slotted.chain(disks).enumerate() {
            let (id, number) = (format!("d{index}"), u8::try_from(index).unwrap());
            let mut new = match (&mut spec, target) {
                // On one of the record's controllers, or on one of the machine's.
                (Spec::Disk(disk), Some(target)) => {
                    // The queues are the controller's.
                    (disk.model, disk.queues) = ("scsi-hd".into(), None);
                    let bus = if count == 0 { "scsi.0".into() } else { format!("d{}.0", index % count) };
                    on_scsi(&id, &bus, target, spec)
                }
                _ => device(&id, number, spec),
            };
            if record.devices.iter().any(|other| other.address == new.address) {
                continue;
            }
            if new.mac().is_some_and(|mac| !macs.insert(mac)) {
                continue;
            }
            let on_controller = new.controller().is_some() || matches!(new.spec, Spec::Controller(_));
            new.presence = match presences[index] % 4 {
                _ if on_controller => Presence::Live,
                0 => Presence::AddAfterReboot,
                1 => Presence::RemoveAfterReboot,
                _ => Presence::Live,
            };
            if presences[index] % 5 == 0 {
                new.address = None;
            }
            new.extra = extra.clone();
            record.add(new);
        }
        record.extra = extra;
        record
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_record_is_read_as_it_was_written(record in a_record()) {
        let bytes = native::encode(&record).unwrap();
        let read = native::decode(&bytes).unwrap();
        prop_assert_eq!(&read, &record);
        prop_assert_eq!(native::encode(&read).unwrap(), bytes, "byte for byte the second time");
    }

    #[test]
    fn anything_else_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(native::decode(&bytes).is_err());
    }
}
