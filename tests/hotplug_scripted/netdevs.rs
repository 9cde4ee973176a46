//! NICs with a netdev in the place of a tap.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::{BootRequest, FIRST_FD, Incoming};
use kvm_hotplug::qmp::Version;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fake::Setup;
use crate::support::fixture::Fixture;

fn user() -> Value {
    json!({"type": "user", "hostfwd": [{"str": "tcp:127.0.0.1:2222-:22"}]})
}

fn vhost_user() -> Value {
    json!({"type": "vhost-user", "addr": {"type": "unix", "path": "/run/switch.sock"}})
}

fn nic(id: &str, netdev: &Value) -> NicArgs {
    let place = Place { id: Some(id.into()), ..Place::default() };
    NicArgs {
        place,
        mac: Some("52:54:00:00:00:01".into()),
        netdev: Some(netdev.to_string()),
        ..NicArgs::default()
    }
}

/// Somebody has started QEMU with this memory.
fn give_memory(fixture: &Fixture, share: bool) {
    fixture.qemu.model(|model| {
        let memory = json!({ "qom-type": "memory-backend-memfd", "id": "ram", "share": share });
        model.objects.insert("ram".into(), memory);
    });
}

fn boot(fixture: &Fixture, qemu: Option<Version>, incoming: Option<Incoming>) -> Vec<String> {
    let request = BootRequest { incoming, fd_base: FIRST_FD, qemu, ..BootRequest::default() };
    let command = RecordFile::load(&fixture.runtime).unwrap().boot_command(request).unwrap();
    assert_eq!(command.fds.len(), 0);
    command.argv
}

/// The arguments of this option.
fn arguments_of<'a>(argv: &'a [String], option: &str) -> Vec<&'a str> {
    argv.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
}

fn agrees(api: &dyn Api) {
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
}

pub fn a_netdev_is_in_the_place_of_a_tap(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    done(api.add_nic(&nic("lan", &user())));
    let seen = fixture.qemu.take_seen();
    // The first asks whether QEMU has the type.
    let names: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
    assert_eq!(names, ["netdev_add", "netdev_add", "device_add"]);
    let mut expected = user();
    expected["id"] = "lan".into();
    assert_eq!((&seen[1].arguments, &seen[2].arguments["netdev"]), (&expected, &"lan".into()));
    let described = api.describe(Some("lan")).unwrap().unwrap();
    assert_eq!((&described["netdev"], &described["tap"]), (&user(), &Value::Null));
    let file: Value = serde_json::from_str(&fixture.record_text()).unwrap();
    assert_eq!(file["nics"][0]["netdev"], user());
    agrees(&*api);
    // The same again is the same; another one is a conflict.
    fixture.qemu.take_seen();
    done(api.add_nic(&nic("lan", &user())));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    let failure = fails(api.add_nic(&nic("lan", &json!({"type": "user"}))), ErrorKind::Conflict);
    assert!(failure.text.contains("exists with another netdev"), "{failure:?}");
    let tap = NicArgs { netdev: None, ..nic("lan", &user()) };
    assert!(fails(api.add_nic(&tap), ErrorKind::Conflict).text.contains("another netdev"));
    // What is changed of a tap is nothing of its.
    api.set_link("lan", false, AMPLE).unwrap();
    agrees(&*api);
    api.set_link("lan", true, AMPLE).unwrap();
    let failure = fails(api.set_bridge("lan", Some("br0"), AMPLE), ErrorKind::Invalid);
    assert!(
        failure.text.contains("has a netdev of type user and no tap, so it has no bridge"),
        "{failure:?}"
    );
    let limits = LimitArgs { inbound: (9999, 0), ..LimitArgs::default() };
    let failure = fails(api.set_nic_limits("lan", limits, AMPLE), ErrorKind::Invalid);
    assert!(failure.text.contains("so it has no limits"), "{failure:?}");
    drop(api);
    let old = Some(Version { major: 5, minor: 2, micro: 0 });
    let new = Some(Version { major: 7, minor: 2, micro: 0 });
    let text = "type=user,hostfwd=tcp:127.0.0.1:2222-:22,id=lan";
    for (qemu, text) in [(old, text), (None, text), (new, &expected.to_string())] {
        for incoming in [None, Some(Incoming::Defer)] {
            assert_eq!(arguments_of(&boot(&fixture, qemu, incoming), "-netdev"), [text]);
        }
    }
    let api = fixture.open(agent);
    done(api.unplug(&UnplugArgs::of("lan")));
    assert_eq!(fixture.snapshot(), before);
}

pub fn a_vhost_user_comes_and_goes_with_its_chardev(agent: &dyn Agent) {
    for version in [(5, 2, 0), (7, 2, 0)] {
        let fixture = Fixture::new(Setup { version, ..Setup::default() });
        give_memory(&fixture, true);
        let api = fixture.open(agent);
        let before = fixture.snapshot();
        fixture.qemu.take_seen();
        let wanted = NicArgs { queues: 2, ..nic("lan", &vhost_user()) };
        done(api.add_nic(&wanted));
        let seen = fixture.qemu.take_seen();
        let last = seen.len() - 3;
        let names: Vec<&str> = seen[last..].iter().map(|seen| seen.name.as_str()).collect();
        assert_eq!(names, ["chardev-add", "netdev_add", "device_add"]);
        let address = json!({"type": "unix", "data": {"path": "/run/switch.sock"}});
        let backend = json!({"type": "socket", "data": {"addr": address, "server": false}});
        assert_eq!(seen[last].arguments, json!({"id": "lan", "backend": backend}));
        let netdev = json!({"type": "vhost-user", "id": "lan", "chardev": "lan", "queues": 2});
        assert_eq!(seen[last + 1].arguments, netdev);
        agrees(&*api);
        fixture.qemu.take_seen();
        done(api.add_nic(&wanted));
        assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
        drop(api);
        let argv = boot(&fixture, None, None);
        assert_eq!(arguments_of(&argv, "-chardev"), ["backend=socket,id=lan,path=/run/switch.sock"]);
        assert_eq!(arguments_of(&argv, "-netdev"), ["type=vhost-user,chardev=lan,id=lan,queues=2"]);
        let api = fixture.open(agent);
        done(api.unplug(&UnplugArgs::of("lan")));
        assert_eq!(fixture.snapshot(), before, "{version:?}");
        // QEMU takes away the chardev of a netdev that it has made, and no other.
        fixture.qemu.fault("netdev_add", 1, crate::support::fake::Act::refuse("no such luck"));
        fails(api.add_nic(&wanted), ErrorKind::Qmp);
        assert_eq!(fixture.snapshot(), before, "{version:?}");
    }
}

pub fn a_vhost_user_needs_memory_that_is_shared(agent: &dyn Agent) {
    for version in [(5, 2, 0), (7, 2, 0)] {
        let fixture = Fixture::new(Setup { version, ..Setup::default() });
        let api = fixture.open(agent);
        let before = fixture.snapshot();
        let failure = fails(api.add_nic(&nic("lan", &vhost_user())), ErrorKind::NotHotpluggable);
        assert!(failure.text.contains("has none of a memory backend"), "{failure:?}");
        assert_eq!(fixture.snapshot(), before);
        give_memory(&fixture, false);
        let failure = fails(api.add_nic(&nic("lan", &vhost_user())), ErrorKind::NotHotpluggable);
        assert!(failure.text.contains("memory backend ram of this guest is not shared"), "{failure:?}");
        give_memory(&fixture, true);
        // Somebody else has a chardev of that name, which is not to go with the NIC.
        fixture.qemu.model(|model| _ = model.added_chardevs.insert("lan".into(), json!({"type": "null"})));
        let failure = fails(api.add_nic(&nic("lan", &vhost_user())), ErrorKind::Conflict);
        assert!(failure.text.contains("QEMU has a chardev lan already"), "{failure:?}");
        done(api.add_nic(&nic("wan", &vhost_user())));
        done(api.unplug(&UnplugArgs::of("wan")));
        assert!(fixture.snapshot().qemu.contains(&"chardev lan".to_owned()));
    }
}

pub fn netdevs_that_cannot_be_are_refused_before_anything_is_done(agent: &dyn Agent) {
    let fixture = Fixture::new(Setup { version: (5, 2, 0), ..Setup::default() });
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    let stream = json!({"type": "stream", "addr": {"type": "unix", "path": "/run/a"}, "server": false});
    for (netdev, kind, says) in [
        (json!({"type": "tap"}), ErrorKind::Invalid, "leave netdev out"),
        (json!({"type": "user", "smb": "/srv"}), ErrorKind::Invalid, "smb: it shares files"),
        (json!({"type": "user", "colour": "red"}), ErrorKind::Invalid, "Parameter 'colour' is unexpected"),
        (stream, ErrorKind::NotHotpluggable, "QEMU 5.2.0 does not have netdevs of type stream"),
    ] {
        let failure = fails(api.add_nic(&nic("lan", &netdev)), kind);
        assert!(failure.text.contains(says), "{netdev}: {failure:?}");
        let text = json!([{"type": "nic", "id": "lan", "netdev": netdev}]).to_string();
        assert!(api.add_json(&text, AMPLE).is_err(), "{netdev} was taken from a JSON text");
    }
    let with = |change: &dyn Fn(&mut NicArgs)| {
        let mut nic = nic("lan", &user());
        change(&mut nic);
        fails(api.add_nic(&nic), ErrorKind::Invalid).text
    };
    let together = "was given together with";
    assert!(with(&|nic| nic.bridge = Some("br0".into())).contains("bridge was given together with a netdev"));
    assert!(with(&|nic| nic.queues = 2).contains("queues was given together with a netdev"));
    assert!(with(&|nic| nic.limits.inbound = (9999, 0)).contains("inbound was given together"));
    assert!(with(&|nic| nic.ifname = Some("tap9".into())).contains(together));
    assert!(with(&|nic| nic.owner = Some(0)).contains(together));
    assert!(with(&|nic| nic.vhost = true).contains("vhost is required"));
    assert!(with(&|nic| nic.ganeti = Some("{}".into())).contains("Ganeti's NICs have taps"));
    drop(api);
    assert_eq!(fixture.snapshot(), before);
}

pub fn a_wanted_list_has_netdevs(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let list = |netdev: Value| json!([{"type": "nic", "id": "lan", "netdev": netdev}]).to_string();
    let applied = |netdev, how| api.apply(&list(netdev), how);
    let replace = ApplyArgs { replace: true, ..ApplyArgs::default() };
    assert_eq!(applied(user(), ApplyArgs::default()).result.unwrap(), "done");
    fixture.qemu.take_seen();
    assert_eq!(applied(user(), ApplyArgs::default()).result.unwrap(), "done");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    let other = json!({"type": "dgram", "local": {"type": "inet", "host": "127.0.0.1", "port": "9"}});
    assert!(applied(other.clone(), ApplyArgs::default()).result.is_err());
    assert_eq!(applied(other.clone(), replace).result.unwrap(), "done");
    assert_eq!(api.describe(Some("lan")).unwrap().unwrap()["netdev"], other);
}

pub fn a_stream_that_is_not_connected_is_a_difference(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let stream = json!({"type": "stream", "addr": {"type": "unix", "path": "/run/a"}, "server": false});
    done(api.add_nic(&nic("lan", &stream)));
    agrees(&*api);
    let become_of = |kind: &str| {
        fixture.qemu.model(|model| model.netdevs.get_mut("lan").unwrap().kind = Some(kind.into()));
        api.verify().unwrap().join("; ")
    };
    for lost in ["connection error", "error: Failed to connect to '/run/a'"] {
        let found = become_of(&format!("stream,{lost}"));
        assert!(found.contains(lost), "{found}");
    }
    let found = become_of("user");
    assert!(found.contains("netdev of type stream") && found.contains("user"), "{found}");
}
