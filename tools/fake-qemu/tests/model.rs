//! The model as a value: commands one by one, choices for the guest, copies that go different ways.

use std::time::Duration;

use fake_qemu::{Command, Descriptor, Event, Machine, Model, Monitor, QmpError, UnplugBehaviour, Version};
use serde_json::{Value, json};

const NOW: Duration = Duration::from_secs(1);

fn connected(machine: Machine, version: (u32, u32, u32)) -> Model {
    let mut model = Model::new(machine, version.into());
    model.connect(0);
    run(&mut model, "qmp_capabilities", json!({}));
    model
}

fn try_run(model: &mut Model, name: &str, arguments: Value) -> Result<Value, QmpError> {
    model.execute(NOW, 0, &Command::new(name, arguments)).reply
}

fn run(model: &mut Model, name: &str, arguments: Value) -> Value {
    try_run(model, name, arguments).unwrap()
}

fn pass(model: &mut Model, number: i32, name: &str, arguments: Value) {
    let image = Descriptor::image(number, "a.img", 1 << 20, true);
    model.execute(NOW, 0, &Command::new(name, arguments).with(image)).reply.unwrap();
}

/// With a disk `data` on `pci.0`, or on the first port.
fn with_disk(machine: Machine, version: (u32, u32, u32)) -> Model {
    let mut model = connected(machine, version);
    pass(&mut model, 10, "add-fd", json!({ "fdset-id": 7, "opaque": "data" }));
    add_node(&mut model);
    add_device(&mut model).unwrap();
    model
}

fn add_node(model: &mut Model) {
    let file = json!({ "driver": "file", "filename": "/dev/fdset/7" });
    run(model, "blockdev-add", json!({ "node-name": "data", "driver": "raw", "file": file }));
}

fn add_device(model: &mut Model) -> Result<Value, QmpError> {
    let (bus, addr) = if model.machine == Machine::Pc { ("pci.0", "4") } else { ("rp0", "0") };
    let arguments =
        json!({ "driver": "virtio-blk-pci", "id": "data", "drive": "data", "bus": bus, "addr": addr });
    try_run(model, "device_add", arguments)
}

fn del(model: &mut Model) -> Vec<Event> {
    let outcome = model.execute(NOW, 0, &Command::new("device_del", json!({ "id": "data" })));
    outcome.reply.as_ref().unwrap();
    outcome.events().cloned().collect()
}

fn gone() -> Vec<Event> {
    vec![Event::backend_deleted("data"), Event::deleted("data")]
}

#[test]
fn copies_go_different_ways() {
    let mut model = with_disk(Machine::Q35(2), (7, 2, 0));
    model.unplug_behaviour = UnplugBehaviour::Never;
    assert_eq!(del(&mut model), []);
    let (mut granted, mut refused) = (model.clone(), model.clone());
    assert_eq!((model.fingerprint(), &model), (granted.fingerprint(), &granted));
    assert!(granted.grant("data") && refused.guest_refuses("data"));
    assert_eq!(granted.take_events(), gone());
    assert_eq!(refused.take_events().len(), 1);
    assert!(granted.device("data").is_none() && refused.device("data").is_some());
    let prints = [&model, &granted, &refused].map(Model::fingerprint);
    assert!(prints[0] != prints[1] && prints[1] != prints[2] && prints[0] != prints[2]);
    assert!(!granted.grant("data"), "it has gone");
}

/// Numbers of descriptors are the kernel's choice, and names of nodes QEMU's own.
#[test]
fn what_is_made_up_makes_no_other_fingerprint() {
    let mut model = connected(Machine::Pc, (7, 2, 0));
    let mut other = model.clone();
    for (model, number) in [(&mut model, 10), (&mut other, 11)] {
        pass(model, number, "add-fd", json!({ "fdset-id": 7 }));
        add_node(model);
    }
    run(&mut other, "blockdev-del", json!({ "node-name": "data" }));
    assert_ne!(model.fingerprint(), other.fingerprint());
    add_node(&mut other);
    assert_eq!(model.fingerprint(), other.fingerprint());
    assert_ne!(model, other);
}

#[test]
fn a_device_that_leaves_late_keeps_its_node_and_in_5_2_its_id() {
    for version in [(5, 2, 0), (7, 2, 0)] {
        let mut model = with_disk(Machine::Pc, version);
        model.leaves_late = true;
        assert_eq!(del(&mut model), []);
        assert!(
            !run(&mut model, "qom-list", json!({ "path": "/machine/peripheral" }))
                .to_string()
                .contains("data")
        );
        let busy = try_run(&mut model, "blockdev-del", json!({ "node-name": "data" })).unwrap_err();
        assert_eq!(busy.desc, "Node data is in use");
        assert_eq!(model.violations, Vec::<String>::new());
        let mut without_node = model.clone();
        without_node.leaves_late = false;
        assert!(model.finish_leaving("data") && !model.finish_leaving("data"));
        assert_eq!(model.take_events(), gone());
        run(&mut model, "blockdev-del", json!({ "node-name": "data" }));
        let taken = try_run(
            &mut without_node,
            "device_add",
            json!({ "driver": "virtio-net-pci", "id": "data", "bus": "pci.0", "addr": "5" }),
        );
        assert_eq!(taken.is_err(), version < (6, 0, 0), "{taken:?}");
    }
}

#[test]
fn what_the_guest_did_not_hear_it_hears_when_it_goes_on() {
    let mut model = with_disk(Machine::Pc, (7, 2, 0));
    run(&mut model, "stop", json!({}));
    assert_eq!(del(&mut model), []);
    let again = try_run(&mut model, "device_del", json!({ "id": "data" })).unwrap_err();
    assert_eq!(again.desc, "Device data is already in the process of unplug");
    let mut reset = model.clone();
    let outcome = model.execute(NOW, 0, &Command::new("cont", json!({})));
    assert_eq!((outcome.before, outcome.after), (vec![Event::new("RESUME", Value::Null)], gone()));
    let outcome = reset.execute(NOW, 0, &Command::new("system_reset", json!({})));
    assert_eq!((outcome.before.len(), outcome.after), (1, gone()));
}

#[test]
fn time_is_an_argument() {
    let mut model = with_disk(Machine::Pc, (7, 2, 0));
    model.unplug_behaviour = UnplugBehaviour::After(Duration::from_secs(5));
    assert_eq!(del(&mut model), []);
    assert_eq!(model.next_timeout(), Some(Duration::from_secs(6)));
    model.advance(Duration::from_secs(5));
    assert_eq!(model.take_events(), []);
    model.advance(Duration::from_secs(6));
    assert_eq!((model.take_events(), model.next_timeout()), (gone(), None));
    let mut model = with_disk(Machine::Pc, (7, 2, 0));
    (model.unplug_behaviour, model.expiry) = (UnplugBehaviour::Never, Some(Duration::from_secs(5)));
    del(&mut model);
    let before = model.fingerprint();
    model.advance(Duration::from_secs(2));
    assert_eq!(model.fingerprint(), before, "nothing follows from that time");
    model.advance(Duration::from_secs(6));
    assert_ne!(model.fingerprint(), before, "another request would be taken");
    assert!(
        model
            .execute(Duration::from_secs(6), 0, &Command::new("device_del", json!({ "id": "data" })))
            .reply
            .is_ok()
    );
}

/// Names of descriptors belong to the monitor that they came by; descriptors that nothing uses go with the
/// last client.
#[test]
fn each_monitor_has_its_own_descriptors() {
    for (version, sweeps) in [((7, 2, 0), true), ((9, 1, 0), false)] {
        let mut model = connected(Machine::Pc, version);
        model.monitors.push(Monitor::new("second", "/second"));
        pass(&mut model, 5, "getfd", json!({ "fdname": "a" }));
        pass(&mut model, 6, "add-fd", json!({ "fdset-id": 1 }));
        model.connect(1);
        for name in ["qmp_capabilities", "closefd"] {
            let outcome = model.execute(NOW, 1, &Command::new(name, json!({ "fdname": "a" })));
            assert_eq!(outcome.reply.is_ok(), name == "qmp_capabilities");
        }
        let client = run(&mut model, "query-chardev", json!({}));
        assert_eq!(client[1]["filename"], "unix:/second,server=on");
        model.disconnect(1);
        assert_eq!(
            run(&mut model, "query-chardev", json!({}))[1]["filename"],
            "disconnected:unix:/second,server=on"
        );
        assert_eq!(model.descriptors().count(), 2, "not the last client");
        model.disconnect(0);
        let left: Vec<i32> = model.descriptors().map(|fd| fd.number).collect();
        assert_eq!(left, if sweeps { vec![5] } else { vec![5, 6] });
    }
}

#[test]
fn a_resize_is_an_effect_on_the_file() {
    let mut model = with_disk(Machine::Pc, (7, 2, 0));
    let outcome =
        model.execute(NOW, 0, &Command::new("block_resize", json!({ "node-name": "data", "size": 1000 })));
    assert_eq!(outcome.effects, [fake_qemu::Effect::Truncate { number: 10, length: 1000 }]);
    assert_eq!(model.nodes["data"].size, 1024);
    assert_eq!(model.version, Version(7, 2, 0));
}

/// The model is a value: nothing in it reaches for what is outside.
#[test]
fn the_model_has_no_file_clock_or_thread() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("command.rs")];
    files.extend(std::fs::read_dir(source.join("model")).unwrap().map(|entry| entry.unwrap().path()));
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for outside in [
            "std::fs",
            "std::os",
            "std::net",
            "std::thread",
            "std::env",
            "nix::",
            "libc::",
            "Instant",
            "SystemTime",
        ] {
            assert!(!text.contains(outside), "{} has {outside}", file.display());
        }
    }
}
