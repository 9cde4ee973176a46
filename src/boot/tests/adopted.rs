//! Guests whose devices another program has started.

use super::*;
use crate::model::BackendNames;

/// A disk with two nodes, one with a drive, and one without an entry in the record.
fn disks(scene: &Scene) -> [Device; 3] {
    let names = |text: &str| -> Option<BackendNames> { serde_json::from_str(text).unwrap() };
    let mut disks = ["disk0", "disk1", "own"].map(|id| scene.disk(id));
    disks[0].backend = names(r#"{"nodes":["format0","storage0"]}"#);
    disks[1].backend = names(r#"{"drive":"drive0"}"#);
    for (slot, disk) in (9..).zip(&mut disks) {
        let address = format!(r#"{{"bus":"pci.0","slot":{slot}}}"#);
        disk.address = Some(serde_json::from_str(&address).unwrap());
    }
    disks
}

fn loaded(scene: &Scene, runtime: RecordFile) -> RecordFile {
    drop(runtime);
    RecordFile::load(&scene.0.path().join("vm.runtime")).unwrap()
}

#[test]
fn a_boot_gives_backends_the_ids_of_their_devices() {
    let scene = Scene::new();
    let devices = disks(&scene);
    let mut runtime = scene.runtime(&["qemu"], &devices);
    let planned = runtime.plan_command(request()).unwrap().argv;
    assert_eq!(runtime.record().devices[0].backend, devices[0].backend, "only looked at");
    let argv = runtime.boot_command(request()).unwrap().argv;
    assert_eq!(argv, planned);
    let argv = argv.join(" ");
    for id in ["disk0", "disk1", "own"] {
        assert!(argv.contains(&format!(r#""node-name":"{id}""#)), "{argv}");
        assert!(argv.contains(&format!("drive={id},")), "{argv}");
    }
    assert!(!argv.contains("format0") && !argv.contains("drive0"), "{argv}");
    let runtime = loaded(&scene, runtime);
    assert!(runtime.record().devices.iter().all(|device| device.backend.is_none()));
}

/// The record of the source is another file, which nobody touches here.
#[test]
fn a_target_has_the_ids_too_and_so_has_what_is_pending_in_it() {
    let scene = Scene::new();
    let devices = disks(&scene);
    let mut runtime = scene.runtime(&["qemu"], &devices);
    runtime.write_journal(|journal| journal.log_intent(Operation::Remove, &devices[0])).unwrap();
    let target = BootRequest { incoming: Some(Incoming::Tcp(":4444".into())), ..request() };
    let argv = runtime.boot_command(target).unwrap().argv.join(" ");
    assert!(argv.contains("drive=disk0,") && !argv.contains("format0"), "{argv}");
    let runtime = loaded(&scene, runtime);
    let recorded = runtime.record().devices.iter();
    let pending = runtime.journal().intents.iter().map(|intent| &intent.device);
    assert_eq!(recorded.chain(pending).filter(|device| device.backend.is_none()).count(), 4);
}
