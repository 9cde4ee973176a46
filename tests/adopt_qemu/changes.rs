//! A guest that was adopted is changed: a NIC and a disk are added, and one of each that was there before is
//! taken out.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kvm_hotplug::ErrorKind;
use kvm_hotplug::disk::{DiskSpec, Format, Secrets};
use kvm_hotplug::guest::{DiskRequest, Guest, NicRequest, Outcome, Placement, Removal, TapSource};
use kvm_hotplug::ids::{DeviceId, IfName};
use kvm_hotplug::log::Log;
use kvm_hotplug::model::{DeviceKind, Record};
use kvm_hotplug::net::bandwidth::Limits;
use kvm_hotplug::net::vhost::VhostMode;
use kvm_hotplug::store::RecordFile;
use serde_json::json;

use super::PATIENCE;
use super::case::{BRIDGE, Case};
use super::qemu::Qemu;
use super::{native, not_run};

/// What is added.
pub(crate) const ADDED: [&str; 2] = ["extra-nic", "extra-disk"];

fn placement(id: &str) -> Placement {
    Placement { id: Some(DeviceId::parse(id).unwrap()), ..Placement::default() }
}

pub(crate) fn change(case: &Case, file: &Arc<Mutex<RecordFile>>, qemu: &mut Qemu) {
    let guest = Guest::open(file.clone(), &case.monitor(), Log::default(), PATIENCE).unwrap();
    add(case, guest.add_nic(nic(), PATIENCE));
    add(case, guest.add_disk(&disk(case), PATIENCE));
    let record = file.lock().unwrap().record().clone();
    for kind in [DeviceKind::Nic, DeviceKind::Disk] {
        if let Some(id) = there_before(&record, kind) {
            remove(case, &guest, qemu, &id);
        }
    }
}

fn nic() -> NicRequest {
    NicRequest {
        placement: placement(ADDED[0]),
        mac: None,
        queues: 1,
        vhost: VhostMode::Off,
        mtu: None,
        bridge: Some(IfName::parse(BRIDGE).unwrap()),
        link_down: false,
        limits: Limits::default(),
        port: None,
        tap: TapSource::Open { name: None, owner: None, netns: None },
        boot_index: None,
        model: "virtio-net-pci".to_owned(),
    }
}

fn disk(case: &Case) -> DiskRequest {
    let path = case.path("extra.img");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    DiskRequest {
        placement: placement(ADDED[1]),
        spec: DiskSpec::new(&path, Format::Raw),
        format: Format::Raw.into(),
        secrets: Secrets::default(),
    }
}

fn add(case: &Case, answer: kvm_hotplug::Result<Outcome>) {
    match answer {
        Ok(Outcome::Done(_)) if !case.full => {}
        // Whatever is free on the root bus of q35 takes no device.
        Err(error) if case.full && error.kind() == ErrorKind::NoSlot => {}
        other => panic!("{}: {other:?}", case.name),
    }
}

fn there_before(record: &Record, kind: DeviceKind) -> Option<String> {
    let is_it = |id: &str| !ADDED.contains(&id);
    let mut found = record.devices.iter().filter(|device| device.kind() == kind);
    found.find(|device| is_it(device.id.as_str())).map(|device| device.id.to_string())
}

/// Without a system in it, the guest lets go of a device of PCI when it is reset, or its slot switched off.
fn remove(case: &Case, guest: &Guest, qemu: &mut Qemu, id: &str) {
    let removal =
        Removal { id: id.to_owned(), kind: None, live_only: false, wait: false, leave_overlay: false };
    let bus = guest.find(id).unwrap().and_then(|info| info.device.bus().cloned());
    let bus = bus.filter(|_| native::is_native());
    if bus.as_ref().is_some_and(|bus| native::is_behind_shpc(qemu, bus.as_str())) {
        let why = "QEMU 5.2 has SHPC there on q35, and no guest runs that has a driver for it";
        return not_run::not_run(
            &format!("adopt_qemu, {}: removing {id} behind a PCI bridge", case.name),
            why,
        );
    }
    let port = bus.and_then(|bus| native::devfn_of(qemu, bus.as_str()));
    match guest.unplug(&removal, PATIENCE) {
        Ok(Outcome::Done(_)) => {}
        Ok(Outcome::Pending(..)) => match port {
            Some(devfn) => native::switch_off(qemu, devfn),
            None => drop(qemu.ask("system_reset", json!({}))),
        },
        Err(error) if case.full && error.kind() == ErrorKind::NotHotpluggable => return,
        other => panic!("{}: {id}: {other:?}", case.name),
    }
    let start = Instant::now();
    while guest.find(id).unwrap().is_some() {
        assert!(start.elapsed() < PATIENCE, "{}: {id} does not go", case.name);
        guest.process(PATIENCE).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
}
