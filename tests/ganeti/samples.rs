//! What each file of `tests/data/ganeti` says.

use kvm_hotplug::disk::{Aio, Cache, Discard, DiskSpec, Format as ImageFormat};
use kvm_hotplug::model::{Presence, Record, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::store::{Document, Format};

use super::{Dir, places};

fn record(name: &str) -> Record {
    let dir = Dir::sample(name);
    let Document { record, dialect } = dir.load().document();
    assert_eq!(dialect.format(), Format::Ganeti, "{name}");
    assert!(record.devices.iter().all(|device| device.presence == Presence::Live), "{name}");
    let generations: Vec<u64> = record.devices.iter().map(|device| device.generation).collect();
    assert_eq!(generations, (1..record.next_generation).collect::<Vec<u64>>(), "{name}");
    record
}

fn nics(record: &Record) -> Vec<&NicSpec> {
    let specs = record.devices.iter().map(|device| &device.spec);
    specs.filter_map(|spec| if let Spec::Nic(nic) = spec { Some(nic) } else { None }).collect()
}

fn disks(record: &Record) -> Vec<&DiskSpec> {
    let specs = record.devices.iter().map(|device| &device.spec);
    specs.filter_map(|spec| if let Spec::Disk(disk) = spec { Some(disk) } else { None }).collect()
}

fn command_has(record: &Record, arguments: &[&str]) -> bool {
    record.command.windows(arguments.len()).any(|window| window == arguments)
}

#[test]
fn devices_are_where_and_what_ganeti_made_them() {
    let table: &[(&str, &[&str])] = &[
        (
            "4entry-pci-2.15.2",
            &[
                "hotnic-003fc157-pci-6 pci.0 6",
                "hotnic-9e7c85f6-pci-7 pci.0 7",
                "hotdisk-7c079136-pci-4 pci.0 4",
                "hotdisk-9f5c5bd4-pci-5 pci.0 5",
            ],
        ),
        (
            "4entry-hvinfo-2.16.2",
            &[
                "nic-003fc157-66a8-4e6d pci.0 14",
                "nic-9e7c85f6-b6e5-4243 pci.0 15",
                "disk-7c079136-2573-4112 pci.0 12",
                "disk-9f5c5bd4-6f60-480b pci.0 13",
            ],
        ),
        (
            "4entry-hvinfo-3.0.2-scsi-hd",
            &[
                "nic-003fc157-66a8-4e6d pci.0 12",
                "disk-7c079136-2573-4112 scsi.0 0:0:0",
                "disk-9f5c5bd4-6f60-480b scsi.0 0:1:0",
            ],
        ),
        (
            "4entry-hvinfo-3.2dev-live2-after-disk-add",
            &[
                "nic-4564e5d5-8df4-40ec pci.0 13",
                "nic-9e7c85f6-b6e5-4243 pci.0 14",
                "disk-8db0f07a-f486-481e pci.0 12",
                "disk-932df160-7a22-4067 pci.0 15",
            ],
        ),
        (
            "4entry-hvinfo-3.2dev-rbd-userspace",
            &[
                "nic-003fc157-66a8-4e6d pci.0 14",
                "disk-7c079136-2573-4112 pci.0 12",
                "disk-9f5c5bd4-6f60-480b pci.0 13",
            ],
        ),
        // Not placed, and so not known to QEMU by any id; the disks are in the command.
        ("3entry-2.9.7", &["nic-003fc157-66a8-4e6d -", "nic-9e7c85f6-b6e5-4243 -"]),
    ];
    for (name, expected) in table {
        assert_eq!(places(&record(name).devices), *expected, "{name}");
    }
    let plain = places(&record("4entry-hvinfo-2.16.2").devices);
    for same in ["4entry-hvinfo-3.0.2-plain", "4entry-hvinfo-3.1.0rc2-plain", "hand-unknown-keys"] {
        assert_eq!(places(&record(same).devices), plain, "{same}");
    }
    let old = places(&record("4entry-pci-2.15.2").devices);
    assert_eq!(places(&record("4entry-pci-2.10.8-oldargs").devices), old);
}

#[test]
fn names_commands_and_reservations() {
    for name in ["3entry-2.0.6", "3entry-2.9.7", "4entry-pci-2.15.2", "4entry-hvinfo-3.1.0rc2-plain"] {
        let record = record(name);
        assert_eq!((record.name.as_str(), record.reserved_slots), ("web1.example.com", 12), "{name}");
        assert!(command_has(&record, &["-m", "512"]), "{name}: an integer in the file");
    }
    assert!(command_has(&record("3entry-2.0.6"), &["-smp", "2"]));
    assert!(!command_has(&record("4entry-hvinfo-2.16.2"), &["-drive"]));
    let drive = "file=/var/run/ganeti/instance-disks/web1.example.com:1,format=raw,if=virtio";
    assert!(command_has(&record("3entry-2.9.7"), &["-drive", drive]), "its disks stay in the command");
}

#[test]
fn settings_are_those_of_the_hypervisor_parameters() {
    let record_of = |name| record(name);
    let plain = record_of("4entry-hvinfo-3.0.2-plain");
    let [first, second] = nics(&plain)[..] else { panic!("two NICs") };
    assert_eq!(
        (first.mac.to_string(), first.bridge.as_ref().unwrap().as_str()),
        ("aa:00:00:00:00:00".into(), "br0")
    );
    assert_eq!(second.bridge, None, "it is routed");
    for nic in [first, second] {
        assert_eq!((nic.model.as_str(), nic.queues, nic.rom), ("virtio-net-pci", 1, true));
    }
    let [disk, _] = disks(&plain)[..] else { panic!("two disks") };
    assert_eq!(disk.path.to_str(), Some("/var/run/ganeti/instance-disks/web1.example.com:0"));
    assert_eq!((disk.format, disk.model.as_str(), &disk.uri), (ImageFormat::Raw, "virtio-blk-pci", &None));
    assert_eq!((disk.cache, disk.aio, disk.discard), (Cache::Writeback, Aio::Threads, Discard::Ignore));

    let scsi = record_of("4entry-hvinfo-3.0.2-scsi-hd");
    assert_eq!(disks(&scsi)[0].model, "scsi-hd");
    assert!(!nics(&scsi)[0].vhost);

    let rbd = record_of("4entry-hvinfo-3.2dev-rbd-userspace");
    let uris: Vec<_> = disks(&rbd).iter().map(|disk| disk.uri.as_deref().unwrap()).collect();
    assert_eq!(
        uris,
        [
            "rbd:rbd/7c079136-2573-4112-82d0-0d3d2aa90d8f.rbd.disk0",
            "rbd:rbd/9f5c5bd4-6f60-480b-acdc-9bb1a4b7df79.rbd.disk1:id=ganeti",
        ]
    );
    assert!(nics(&rbd)[0].vhost);
}

/// What Ganeti upgrades on load; see `command_after` of its loader in `tests/bin/ganeti-interop`.
#[test]
fn an_old_command_is_one_for_todays_qemu() {
    let record = record("4entry-pci-2.10.8-oldargs");
    assert!(command_has(&record, &["-rtc", "base=localtime"]));
    assert!(command_has(&record, &["-device", "virtio-balloon,id=balloon,bus=pci.0,addr=0x3"]));
    let object = "tls-creds-x509,id=vnctls0,endpoint=server,dir=/etc/ssl/vnc,verify-peer=yes";
    assert!(command_has(&record, &["-object", object, "-vnc", ":5101,tls-creds=vnctls0"]));
    for gone in ["-localtime", "-balloon", "-chroot"] {
        assert!(!command_has(&record, &[gone]), "{gone}");
    }
}

/// Before 2.8 a NIC had no uuid. Ganeti draws a new one at every load, so that it can never be found again.
#[test]
fn a_nic_without_a_uuid_is_the_same_at_every_load() {
    let (first, again) = (record("3entry-2.0.6"), record("3entry-2.0.6"));
    assert_eq!(places(&first.devices), places(&again.devices));
    let [one, other] = &places(&first.devices)[..] else { panic!("two NICs") };
    assert!(one.starts_with("nic-") && one.ends_with(" -") && one != other, "{one} {other}");
    assert!(nics(&first).iter().all(|nic| nic.bridge.as_ref().unwrap().as_str() == "br0"), "the key of 2.0");
    let dir = Dir::sample("3entry-2.0.6");
    dir.load().save().unwrap();
    assert_eq!(places(&dir.load().record().devices), places(&first.devices), "also once it is saved");
}
