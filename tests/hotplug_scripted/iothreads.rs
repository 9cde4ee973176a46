//! Iothreads: the object that a device is made with, alone or together with others.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::BootRequest;
use kvm_hotplug::ids::IoThread;
use kvm_hotplug::model::Spec;
use kvm_hotplug::qmp::Version;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fake::Setup;
use crate::support::fixture::Fixture;

fn disk_with(fixture: &Fixture, id: &str, image: &str, iothread: IoThread) -> DiskArgs {
    DiskArgs { iothread: Some(iothread), ..fixture.disk_as(id, image) }
}

fn shared(name: &str) -> IoThread {
    IoThread::made(Some(name)).unwrap()
}

fn objects(fixture: &Fixture) -> Vec<String> {
    let mut names = Vec::new();
    fixture.qemu.model(|model| names = model.objects.keys().cloned().collect());
    names
}

/// Somebody has started QEMU with these.
fn start_with(fixture: &Fixture, name: &str, kind: &str) {
    fixture.qemu.model(|model| {
        model.objects.insert(name.into(), json!({ "qom-type": kind, "id": name }));
    });
}

pub fn a_disk_has_an_iothread_of_its_own(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let empty = fixture.snapshot();
    fixture.qemu.take_seen();
    let disk = disk_with(&fixture, "data", "a.img", IoThread::Own);
    done(api.add_disk(&disk));
    let seen = fixture.qemu.take_seen();
    let names: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
    assert_eq!(names, ["qom-list", "add-fd", "object-add", "blockdev-add", "device_add"]);
    assert_eq!(seen[2].arguments, json!({ "qom-type": "iothread", "id": "data-iothread" }));
    assert_eq!(seen[4].arguments["iothread"], "data-iothread");
    assert_eq!(api.describe(Some("data")).unwrap().unwrap()["iothread"], "own");
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    // The same again is there, another one is a conflict.
    fixture.qemu.take_seen();
    done(api.add_disk(&disk));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    let other = disk_with(&fixture, "data", "a.img", shared("io"));
    let failure = fails(api.add_disk(&other), ErrorKind::Conflict);
    assert!(failure.text.contains("another iothread"), "{failure:?}");
    done(api.unplug(&UnplugArgs::of("data")));
    let mut after = fixture.snapshot();
    after.files.retain(|name| name != "a.img");
    assert_eq!(after, empty);
    // So has a SCSI controller, and its disks have none.
    let own = Some(IoThread::Own);
    let place = Place { id: Some("scsi".into()), ..Place::default() };
    done(api.add_controller(&ControllerArgs { iothread: own, place, ..ControllerArgs::default() }));
    assert_eq!(objects(&fixture), ["scsi-iothread"]);
    assert_eq!(api.describe(Some("scsi")).unwrap().unwrap()["iothread"], "own");
    let model = Some("scsi-hd".into());
    let on_scsi = DiskArgs { model, ..disk_with(&fixture, "lun", "b.img", IoThread::Own) };
    let failure = fails(api.add_disk(&on_scsi), ErrorKind::Invalid);
    assert!(failure.text.contains("belongs to the controller"), "{failure:?}");
    done(api.unplug(&UnplugArgs::of("scsi")));
    assert_eq!(objects(&fixture), Vec::<String>::new());
}

pub fn an_iothread_of_several_goes_with_the_last(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let one = disk_with(&fixture, "one", "a.img", shared("io"));
    let two = disk_with(&fixture, "two", "b.img", shared("io"));
    fixture.qemu.take_seen();
    api.add_all(&[], &[one.clone(), two.clone()], AMPLE).unwrap();
    let count = |name: &str| fixture.qemu.take_names().iter().filter(|one| *one == name).count();
    assert_eq!(count("object-add"), 1);
    done(api.unplug(&UnplugArgs::of("one")));
    assert_eq!((count("object-del"), objects(&fixture)), (0, vec!["io".to_owned()]));
    // It is there already.
    done(api.add_disk(&one));
    assert_eq!(count("object-add"), 0);
    let plan = api.verify().unwrap();
    assert_eq!(plan, Vec::<String>::new());
    let answers = api.unplug_all(&["one".into(), "two".into()], AMPLE);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((count("object-del"), objects(&fixture)), (1, vec![]));
}

/// The second of a list is refused: what the first has brought for both goes with it.
pub fn an_iothread_of_a_list_that_fails_goes(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let (one, two) = (
        disk_with(&fixture, "one", "a.img", shared("io")),
        disk_with(&fixture, "two", "b.img", shared("io")),
    );
    done(api.add_nic(&fixture.nic(1)));
    let before = fixture.snapshot();
    for (command, nth) in [("device_add", 1), ("blockdev-add", 1), ("device_add", 0), ("object-add", 0)] {
        fixture.qemu.fault(command, nth, crate::support::fake::Act::refuse("no"));
        let failure = fails(api.add_all(&[], &[one.clone(), two.clone()], AMPLE), ErrorKind::Qmp);
        assert_eq!(failure.left, Vec::<String>::new(), "{command} {nth}");
        assert_eq!(fixture.snapshot(), before, "{command} {nth}");
    }
    api.add_all(&[], &[one, two], AMPLE).unwrap();
}

pub fn an_iothread_of_qemus_own_has_to_be_there(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    start_with(&fixture, "io", "iothread");
    start_with(&fixture, "group", "throttle-group");
    let api = fixture.open(agent);
    let named = |name: &str| disk_with(&fixture, "data", "a.img", IoThread::existing(name).unwrap());
    let failure = fails(api.add_disk(&named("none")), ErrorKind::NotFound);
    assert!(failure.text.contains("no iothread none"), "{failure:?}");
    let failure = fails(api.add_disk(&named("group")), ErrorKind::Invalid);
    assert!(failure.text.contains("group is an object of QEMU, but no iothread"), "{failure:?}");
    done(api.add_disk(&named("io")));
    assert_eq!(api.describe(Some("data")).unwrap().unwrap()["iothread"], json!({ "existing": "io" }));
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(objects(&fixture), ["group", "io"], "what is not ours stays");
    // It is not made a second time, either, nor is one that QEMU has under the name of a device's own.
    start_with(&fixture, "data-iothread", "iothread");
    let own = disk_with(&fixture, "data", "a.img", IoThread::Own);
    let failure = fails(api.add_disk(&own), ErrorKind::Conflict);
    assert!(failure.text.contains("QEMU has an object data-iothread already"), "{failure:?}");
    let failure =
        fails(api.add_disk(&disk_with(&fixture, "data", "a.img", shared("io"))), ErrorKind::Conflict);
    assert_eq!(failure.left, Vec::<String>::new());
    assert_eq!(objects(&fixture), ["data-iothread", "group", "io"]);
}

/// The queues of a disk and of a controller, divided among several iothreads.
pub fn queues_are_divided_among_iothreads(agent: &dyn Agent) {
    let fixture = Fixture::new(Setup { version: (10, 0, 0), ..Setup::default() });
    let api = fixture.open(agent);
    let both = r#"[{"iothread":"a","vqs":[0,2]},{"iothread":"b","vqs":[1]}]"#;
    let made = IoThread::made(Some(both)).unwrap();
    let disk = disk_with(&fixture, "data", "a.img", made.clone());
    fixture.qemu.take_seen();
    done(api.add_disk(&disk));
    let seen = fixture.qemu.take_seen();
    let names: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
    let asked = ["device-list-properties", "qom-list"];
    let sent = ["add-fd", "object-add", "object-add", "blockdev-add", "device_add"];
    assert_eq!(names, [&asked[..], &sent].concat());
    let last = &seen.last().unwrap().arguments;
    assert_eq!(last["iothread-vq-mapping"], serde_json::from_str::<Value>(both).unwrap());
    assert_eq!(last.get("iothread"), None);
    let described = api.describe(Some("data")).unwrap().unwrap();
    assert_eq!(described["iothread"]["shared-mapping"], last["iothread-vq-mapping"]);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    // The same again is there, and another division is another setting.
    done(api.add_disk(&disk));
    let other = IoThread::made(Some(r#"[{"iothread":"a"},{"iothread":"b"}]"#)).unwrap();
    let failure =
        fails(api.add_disk(&disk_with(&fixture, "data", "a.img", other.clone())), ErrorKind::Conflict);
    assert!(failure.text.contains("another iothread"), "{failure:?}");
    // A controller has one of them as well, and one more.
    let third = IoThread::made(Some(r#"[{"iothread":"b"},{"iothread":"c"}]"#)).unwrap();
    let place = || Place { id: Some("scsi".into()), ..Place::default() };
    done(api.add_controller(&ControllerArgs {
        iothread: Some(third),
        place: place(),
        ..ControllerArgs::default()
    }));
    assert_eq!(objects(&fixture), ["a", "b", "c"]);
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(objects(&fixture), ["b", "c"]);
    done(api.unplug(&UnplugArgs::of("scsi")));
    assert_eq!(objects(&fixture), Vec::<String>::new());
    // Those that QEMU has are looked for by name, and stay.
    start_with(&fixture, "a", "iothread");
    let existing = |text: &str| disk_with(&fixture, "data", "a.img", IoThread::existing(text).unwrap());
    let failure = fails(api.add_disk(&existing(both)), ErrorKind::NotFound);
    assert!(failure.text.contains("no iothread b"), "{failure:?}");
    done(api.add_disk(&existing(r#"[{"iothread":"a"}]"#)));
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(objects(&fixture), ["a"]);
}

/// One that would pass over the list is told from one that takes it, and a boot writes it as JSON.
pub fn an_old_qemu_divides_no_queues(agent: &dyn Agent) {
    let both = r#"[{"iothread":"a"},{"iothread":"b"}]"#;
    for (version, why) in [
        ((7, 2, 0), "QEMU 7.2.0 has no property iothread-vq-mapping of it"),
        ((9, 0, 0), "QEMU 9.0.0 passes over such a list"),
    ] {
        let fixture = Fixture::new(Setup { version, ..Setup::default() });
        let api = fixture.open(agent);
        let before = fixture.snapshot();
        let made = IoThread::made(Some(both)).unwrap();
        let failure = fails(
            api.add_disk(&disk_with(&fixture, "data", "a.img", made.clone())),
            ErrorKind::NotHotpluggable,
        );
        assert!(failure.text.contains(why), "{failure:?}");
        let place = Place { id: Some("scsi".into()), ..Place::default() };
        let controller = ControllerArgs { iothread: Some(made), place, ..ControllerArgs::default() };
        let failure = fails(api.add_controller(&controller), ErrorKind::NotHotpluggable);
        assert!(failure.text.contains(why), "{failure:?}");
        let mut after = fixture.snapshot();
        after.files.retain(|name| name != "a.img");
        assert_eq!(after, before);
    }
    let fixture = Fixture::new(Setup { version: (9, 2, 0), ..Setup::default() });
    let api = fixture.open(agent);
    done(api.add_disk(&disk_with(&fixture, "data", "a.img", IoThread::made(Some(both)).unwrap())));
    drop(api);
    let file = RecordFile::load(&fixture.runtime).unwrap();
    for qemu in [None, Some(Version { major: 9, minor: 2, micro: 0 })] {
        let request = BootRequest { qemu, fd_base: 3, ..BootRequest::default() };
        let argv = file.plan_command(request).unwrap().argv;
        let mapping = r#""iothread-vq-mapping":[{"iothread":"a"},{"iothread":"b"}]"#;
        assert!(argv.iter().any(|argument| argument.contains(mapping)), "{argv:?}");
        assert_eq!(argv.iter().filter(|argument| *argument == "-object").count(), 2);
    }
}

/// A text has it as the record has it; and the record is what a boot starts the guest by.
pub fn an_iothread_in_texts_records_and_boots(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let path = |name: &str| fixture.disk(name).path;
    let (one, two) = (path("a.img"), path("b.img"));
    let api = fixture.open(agent);
    let list = json!([
        {"type": "disk", "id": "own", "path": one, "iothread": "own"},
        {"type": "disk", "id": "with", "path": two, "iothread": {"shared": "io"}},
        {"type": "controller", "id": "scsi", "iothread": {"shared": "io"}},
    ]);
    api.add_json(&list.to_string(), AMPLE).unwrap();
    assert_eq!(objects(&fixture), ["io", "own-iothread"]);
    drop(api);
    let record: Value = serde_json::from_str(&fixture.record_text()).unwrap();
    assert_eq!(record["disks"][0]["iothread"], "own");
    assert_eq!(record["disks"][1]["iothread"], json!({ "shared": "io" }));
    let mut file = RecordFile::load(&fixture.runtime).unwrap();
    for (qemu, forms) in [
        (None, ["qom-type=iothread,id=io", "qom-type=iothread,id=own-iothread"]),
        (
            Some(Version { major: 7, minor: 2, micro: 0 }),
            [r#"{"id":"io","qom-type":"iothread"}"#, r#"{"id":"own-iothread","qom-type":"iothread"}"#],
        ),
    ] {
        let request = BootRequest { qemu, fd_base: 3, ..BootRequest::default() };
        let argv = file.plan_command(request).unwrap().argv;
        let mut made: Vec<&str> = Vec::new();
        for pair in argv.windows(2).filter(|pair| pair[0] == "-object") {
            made.push(&pair[1]);
        }
        made.sort_unstable();
        assert_eq!(made, forms);
    }
    // One that the command is to have.
    let mut next = file.record().clone();
    if let Some(Spec::Disk(spec)) =
        next.devices.iter_mut().find(|one| one.id.as_str() == "own").map(|one| &mut one.spec)
    {
        spec.iothread = Some(IoThread::existing("elsewhere").unwrap());
    }
    file.replace(next).unwrap();
    let error = file.plan_command(BootRequest { fd_base: 3, ..BootRequest::default() }).unwrap_err();
    assert!(error.to_string().contains("the iothread elsewhere"), "{error}");
}

/// It would never answer again.
pub fn an_old_qemu_resizes_no_disk_with_an_iothread(agent: &dyn Agent) {
    for (version, is_refused) in [((5, 2, 0), true), ((7, 2, 0), false)] {
        let fixture = Fixture::new(Setup { version, ..Setup::default() });
        let api = fixture.open(agent);
        done(api.add_disk(&disk_with(&fixture, "data", "a.img", IoThread::Own)));
        let place = Place { id: Some("scsi".into()), ..Place::default() };
        let iothread = Some(IoThread::Own);
        done(api.add_controller(&ControllerArgs { place, iothread, ..ControllerArgs::default() }));
        let model = Some("scsi-hd".into());
        done(api.add_disk(&DiskArgs { model, ..fixture.disk_as("lun", "b.img") }));
        fixture.qemu.take_seen();
        for id in ["data", "lun"] {
            let resized = api.resize(id, SizeArgs::bytes(2 << 20), AMPLE);
            let is_sent = fixture.qemu.take_names().contains(&"block_resize".to_owned());
            assert_eq!((resized.is_err(), is_sent), (is_refused, !is_refused), "{resized:?}");
            if let Err(failure) = resized {
                assert!(failure.text.contains("stands still for good"), "{failure:?}");
            }
        }
    }
}
