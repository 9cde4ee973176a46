//! Changing devices that are in the guest: link, bridge, size; and what is known of them.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::model::Spec;
use serde_json::json;

use crate::support::api::*;
use crate::support::fake::{Act, Machine, Setup};
use crate::support::fixture::Fixture;
use crate::support::{host, programs};

const MIB: u64 = 1 << 20;

/// A bridge of the host that goes with the test.
pub struct Bridge(pub String);

impl Bridge {
    pub fn new() -> Self {
        host::needs_tun();
        let name = format!("b{:x}n{}", std::process::id(), host::unique());
        programs::run(&["ip", "link", "add", &name, "type", "bridge"]);
        Self(name)
    }

    pub fn ports(&self) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/sys/class/net/{}/brif", self.0)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        programs::run(&["ip", "link", "del", &self.0]);
    }
}

fn is_recorded_down(fixture: &Fixture, id: &str) -> bool {
    match &fixture.record().find(id).unwrap().spec {
        Spec::Nic(spec) => spec.link_down,
        _ => panic!("{id} is a disk"),
    }
}

fn recorded_bridge(fixture: &Fixture, id: &str) -> Option<String> {
    match &fixture.record().find(id).unwrap().spec {
        Spec::Nic(spec) => spec.bridge.as_ref().map(ToString::to_string),
        _ => panic!("{id} is a disk"),
    }
}

pub fn a_link_goes_down_and_up(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic(2)));
    fixture.qemu.take_seen();
    for up in [false, false, true, true] {
        assert_eq!(api.set_link(&nic.id, up, AMPLE), Ok(Changed::Done));
        let seen = fixture.qemu.take_seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!((seen[0].name.as_str(), &seen[0].arguments["up"]), ("set_link", &json!(up)));
        assert_eq!(is_recorded_down(&fixture, &nic.id), !up);
        assert!(!fixture.journal().exists());
    }
}

pub fn a_nic_can_come_with_its_cable_pulled(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let ask = NicArgs { link_down: true, ..fixture.nic_as("nic1", "52:54:00:00:00:01") };
    done(api.add_nic(&ask));
    assert_eq!(fixture.qemu.take_names(), ["getfd", "netdev_add", "device_add", "set_link"]);
    assert!(is_recorded_down(&fixture, "nic1"));
    // The same again is the same; another link is another setting.
    done(api.add_nic(&ask));
    let failure = fails(api.add_nic(&NicArgs { link_down: false, ..ask.clone() }), ErrorKind::Conflict);
    assert!(failure.text.contains("another link"), "{failure:?}");
    assert_eq!(api.describe(Some("nic1")).unwrap().unwrap()["link"], "down");
}

/// A device that is in the guest is not left without its backend because a later step was refused.
pub fn a_refused_link_takes_the_nic_back(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    fixture.qemu.fault("set_link", 0, Act::refuse("no cable"));
    let ask = NicArgs { link_down: true, ..fixture.nic(1) };
    let failure = fails(api.add_nic(&ask), ErrorKind::Qmp);
    assert_eq!((failure.qmp_desc.as_deref(), failure.undo), (Some("no cable"), 1));
    assert_eq!(fixture.snapshot(), before);
    done(api.add_nic(&ask));
}

/// QEMU has all links up when it starts.
pub fn recorded_links_are_set_down_in_a_new_qemu(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let down = done(api.add_nic(&NicArgs { link_down: true, ..fixture.nic(1) }));
    done(api.add_nic(&fixture.nic(1)));
    fixture.qemu.model(|model| model.netdevs.values_mut().for_each(|netdev| netdev.link_down = false));
    fixture.qemu.take_seen();
    // A new connection may lead to a new QEMU.
    fixture.qemu.hang_up();
    api.process(AMPLE).unwrap();
    let links: Vec<_> = fixture.qemu.take_seen().into_iter().filter(|seen| seen.name == "set_link").collect();
    assert_eq!(links.len(), 1, "{links:?}");
    assert_eq!(links[0].arguments, json!({ "name": down.id, "up": false }));
    fixture.qemu.take_seen();
    api.process(AMPLE).unwrap();
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "once for each connection");
    drop(api);
    fixture.open(agent);
    assert_eq!(fixture.qemu.take_names().iter().filter(|name| *name == "set_link").count(), 1);
}

pub fn what_cannot_be_changed_is_told_apart(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    let nic = done(api.add_nic(&fixture.nic(1)));
    fails(api.set_link("nobody", false, AMPLE), ErrorKind::NotFound);
    fails(api.set_link(&disk.id, false, AMPLE), ErrorKind::Invalid);
    fails(api.set_bridge(&disk.id, None, AMPLE), ErrorKind::Invalid);
    fails(api.resize(&nic.id, SizeArgs::bytes(2 * MIB), AMPLE), ErrorKind::Invalid);
    fixture.qemu.model(|model| model.unplug_behaviour = crate::support::fake::UnplugBehaviour::Never);
    for id in [&nic.id, &disk.id] {
        api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of(id) }).unwrap();
    }
    let failure = fails(api.set_link(&nic.id, false, AMPLE), ErrorKind::State);
    assert_eq!(failure.errno, libc::EBUSY);
    fails(api.set_bridge(&nic.id, None, AMPLE), ErrorKind::State);
    fails(api.resize(&disk.id, SizeArgs::bytes(2 * MIB), AMPLE), ErrorKind::State);
}

pub fn changes_wait_with_their_device_for_the_reboot(agent: &dyn Agent) {
    let fixture = Fixture::new(Setup { version: (4, 2, 0), ..Setup::default() });
    let api = fixture.open(agent);
    let place = Place { id: Some("nic1".into()), ..Place::default() };
    api.add_nic(&NicArgs { place, ..fixture.nic(1) }).unwrap();
    let place = Place { id: Some("disk1".into()), ..Place::default() };
    api.add_disk(&DiskArgs { place, ..fixture.disk("a.img") }).unwrap();
    fixture.qemu.take_seen();
    assert_eq!(api.set_link("nic1", false, AMPLE), Ok(Changed::AfterReboot));
    assert_eq!(api.set_bridge("nic1", Some("br9"), AMPLE), Ok(Changed::AfterReboot));
    assert!(is_recorded_down(&fixture, "nic1"));
    assert_eq!(recorded_bridge(&fixture, "nic1").as_deref(), Some("br9"));
    fails(api.resize("disk1", SizeArgs::bytes(2 * MIB), AMPLE), ErrorKind::NotHotpluggable);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
}

pub fn a_nic_moves_to_another_bridge(agent: &dyn Agent) {
    let (fixture, a, b) = (Fixture::pc(), Bridge::new(), Bridge::new());
    let api = fixture.open(agent);
    let ask = NicArgs { bridge: Some(a.0.clone()), mtu: Some(1400), ..fixture.nic(1) };
    let nic = done(api.add_nic(&ask));
    let tap = nic.ifname.clone().unwrap();
    assert_eq!((a.ports(), b.ports()), (vec![tap.clone()], vec![]));
    fixture.qemu.take_seen();
    for _ in 0..2 {
        assert_eq!(api.set_bridge(&nic.id, Some(&b.0), AMPLE), Ok(Changed::Done));
        assert_eq!((a.ports(), b.ports()), (vec![], vec![tap.clone()]));
        assert_eq!(recorded_bridge(&fixture, &nic.id), Some(b.0.clone()));
        assert!(!fixture.journal().exists());
    }
    let described = api.describe(Some(&nic.id)).unwrap().unwrap();
    let expected = json!({
        "name": tap, "here": true, "mtu": 1400, "bridge": b.0, "inbound": null, "outbound": null,
        "port": {"isolated": false, "learning": true, "hairpin": false},
    });
    assert_eq!(described["tap"], expected);
    assert_eq!(api.set_bridge(&nic.id, None, AMPLE), Ok(Changed::Done));
    assert_eq!((a.ports(), b.ports(), recorded_bridge(&fixture, &nic.id)), (vec![], vec![], None));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "the guest is not bothered");
}

fn mtu(name: &str) -> u32 {
    let host = kvm_hotplug::net::link::Interfaces::open().unwrap();
    host.mtu_of(&kvm_hotplug::ids::IfName::parse(name).unwrap()).unwrap()
}

/// A bridge whose MTU nobody set takes that of its smallest port, so a tap gets its bridge's before it joins,
/// wherever it comes from; and has what it had when that comes to nothing.
pub fn a_nic_that_moves_takes_its_bridges_mtu(agent: &dyn Agent) {
    let (fixture, small, large) = (Fixture::pc(), Bridge::new(), Bridge::new());
    let jumbo = host::tap(&fixture.nic(1).ifname.unwrap(), 1);
    let jumbo = (
        kvm_hotplug::net::given::inspect(std::os::fd::AsFd::as_fd(&jumbo[0])).unwrap().name.to_string(),
        jumbo,
    );
    programs::run(&["ip", "link", "set", &jumbo.0, "mtu", "9000", "master", &large.0]);
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&NicArgs { bridge: Some(small.0.clone()), ..fixture.nic(1) }));
    let tap = nic.ifname.unwrap();
    assert_eq!([&small.0, &large.0, &tap].map(|name| mtu(name)), [1500, 9000, 1500]);
    for _ in 0..2 {
        assert_eq!(api.set_bridge(&nic.id, Some(&large.0), AMPLE), Ok(Changed::Done));
        assert_eq!((mtu(&tap), mtu(&large.0)), (9000, 9000));
    }
    assert_eq!(api.set_bridge(&nic.id, None, AMPLE), Ok(Changed::Done));
    assert_eq!(mtu(&tap), 9000);
    let other = done(api.add_nic(&NicArgs { bridge: Some(small.0.clone()), ..fixture.nic(1) }));
    assert_eq!(api.set_bridge(&nic.id, Some(&small.0), AMPLE), Ok(Changed::Done));
    assert_eq!([&small.0, &tap].map(|name| mtu(name)), [1500, 1500]);
    assert_eq!(api.set_bridge(&nic.id, Some(&large.0), AMPLE), Ok(Changed::Done));
    // One that was announced to the guest stays.
    let told =
        done(api.add_nic(&NicArgs { bridge: Some(small.0.clone()), mtu: Some(1500), ..fixture.nic(1) }));
    assert_eq!(api.set_bridge(&told.id, Some(&large.0), AMPLE), Ok(Changed::Done));
    assert_eq!(mtu(told.ifname.as_ref().unwrap()), 1500);
    drop(other);
}

pub fn a_move_that_fails_leaves_the_nic_where_it_was(agent: &dyn Agent) {
    let (fixture, a, b) = (Fixture::pc(), Bridge::new(), Bridge::new());
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&NicArgs { bridge: Some(a.0.clone()), ..fixture.nic(1) }));
    let tap = nic.ifname.clone().unwrap();
    let before = fixture.snapshot();
    let stays = |what: &str| {
        assert_eq!(a.ports(), std::slice::from_ref(&tap), "{what}");
        assert_eq!(fixture.snapshot(), before, "{what}");
    };
    fails(api.set_bridge(&nic.id, Some("nosuchbridge"), AMPLE), ErrorKind::NotFound);
    stays("no such bridge");
    fails(api.set_bridge(&nic.id, Some("lo"), AMPLE), ErrorKind::Invalid);
    stays("no bridge");
    let obstacle = fixture.dir.path().join("web1.runtime.journal.new");
    std::fs::create_dir(&obstacle).unwrap();
    fails(api.set_bridge(&nic.id, Some(&b.0), AMPLE), ErrorKind::Host);
    std::fs::remove_dir(&obstacle).unwrap();
    stays("no journal");
    // The tap has moved by the time that the record cannot be replaced, and goes back as it was.
    let aside = fixture.dir.path().join("aside");
    std::fs::rename(&fixture.runtime, &aside).unwrap();
    std::fs::create_dir(&fixture.runtime).unwrap();
    programs::run(&["ip", "link", "set", &b.0, "mtu", "1400"]);
    let failure = fails(api.set_bridge(&nic.id, Some(&b.0), AMPLE), ErrorKind::Host);
    assert_eq!((failure.undo, mtu(&tap)), (1, 1500), "{failure:?}");
    std::fs::remove_dir(&fixture.runtime).unwrap();
    std::fs::rename(&aside, &fixture.runtime).unwrap();
    stays("no record");
    assert_eq!(api.set_bridge(&nic.id, Some(&b.0), AMPLE), Ok(Changed::Done));
    // A tap that is not here is somebody else's to move.
    programs::run(&["ip", "link", "set", &tap, "name", &format!("{}x", &tap[..tap.len() - 1])]);
    let failure = fails(api.set_bridge(&nic.id, Some(&a.0), AMPLE), ErrorKind::NotFound);
    assert!(failure.text.contains("not in this network namespace"), "{failure:?}");
    // Nor is another one that only has its name.
    programs::run(&["ip", "tuntap", "add", "dev", &tap, "mode", "tap"]);
    fails(api.set_bridge(&nic.id, Some(&a.0), AMPLE), ErrorKind::Foreign);
    programs::run(&["ip", "link", "del", &tap]);
    assert_eq!(recorded_bridge(&fixture, &nic.id), Some(b.0.clone()));
}

/// A bridge takes no more than 1,023 ports; the tap has left its old one by the time that shows.
pub fn a_move_that_fails_half_way_is_taken_back(agent: &dyn Agent) {
    host::in_own_netns(&format!("{}::a_move_that_fails_half_way_is_taken_back", agent.name()), &mut || {
        let (fixture, full) = (Fixture::pc(), Bridge::new());
        let lines = |n| format!("tuntap add dev p{n} mode tap\nlink set p{n} master {}\n", full.0);
        let batch = fixture.dir.path().join("batch");
        std::fs::write(&batch, (0..1023).map(lines).collect::<String>()).unwrap();
        programs::run(&["ip", "-batch", batch.to_str().unwrap()]);
        for origin in [Some(Bridge::new()), None] {
            let api = fixture.open(agent);
            let bridge = origin.as_ref().map(|bridge| bridge.0.clone());
            let nic = done(api.add_nic(&NicArgs { bridge: bridge.clone(), ..fixture.nic(1) }));
            let before = fixture.record_text();
            programs::run(&["ip", "link", "set", &full.0, "mtu", "1400"]);
            let failure = fails(api.set_bridge(&nic.id, Some(&full.0), AMPLE), ErrorKind::Host);
            assert_eq!(mtu(nic.ifname.as_ref().unwrap()), 1500);
            assert_eq!((failure.undo, failure.left.len()), (1, 0), "{failure:?}");
            let described = api.describe(Some(&nic.id)).unwrap().unwrap();
            assert_eq!(described["tap"]["bridge"], json!(bridge));
            assert_eq!(fixture.record_text(), before);
            assert!(!fixture.journal().exists());
            done(api.unplug(&UnplugArgs::of(&nic.id)));
        }
    });
}

/// The agent died between the two bridges, or behind them.
pub fn an_interrupted_move_is_settled(agent: &dyn Agent) {
    for interrupted in ["between", "arrived"] {
        let (fixture, a, b) = (Fixture::pc(), Bridge::new(), Bridge::new());
        let api = fixture.open(agent);
        let nic = done(api.add_nic(&NicArgs { bridge: Some(a.0.clone()), ..fixture.nic(1) }));
        let tap = nic.ifname.clone().unwrap();
        drop(api);
        let before = fixture.record_text();
        {
            let mut runtime = kvm_hotplug::store::RecordFile::load(&fixture.runtime).unwrap();
            let device = runtime.record().find(&nic.id).unwrap().clone();
            runtime
                .write_journal(|journal| journal.log_intent(kvm_hotplug::model::Operation::Move, &device))
                .unwrap();
        }
        programs::run(&["ip", "link", "set", &tap, "nomaster", "mtu", "1400"]);
        if interrupted == "arrived" {
            programs::run(&["ip", "link", "set", &tap, "master", &b.0]);
        }
        let _api = fixture.open(agent);
        assert_eq!((mtu(&tap), mtu(&a.0)), (1500, 1500), "{interrupted}");
        assert_eq!((a.ports(), b.ports()), (vec![tap], vec![]), "{interrupted}");
        assert_eq!(fixture.record_text(), before);
        assert!(!fixture.journal().exists());
    }
}

/// What cannot be put back is told, and does not keep the agent from its work.
pub fn a_move_that_cannot_be_settled_is_told(agent: &dyn Agent) {
    let (fixture, a) = (Fixture::pc(), Bridge::new());
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&NicArgs { bridge: Some(a.0.clone()), ..fixture.nic(1) }));
    drop(api);
    {
        let mut runtime = kvm_hotplug::store::RecordFile::load(&fixture.runtime).unwrap();
        let device = runtime.record().find(&nic.id).unwrap().clone();
        runtime
            .write_journal(|journal| journal.log_intent(kvm_hotplug::model::Operation::Move, &device))
            .unwrap();
    }
    drop(a);
    let api = fixture.open(agent);
    let news = api.next_event().unwrap();
    assert_eq!((news.what, news.id), (EventKind::Undone, Some(nic.id)));
    assert!(news.text.contains("could not be taken back"), "{}", news.text);
    assert!(!fixture.journal().exists());
}

pub fn a_disk_grows(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let image = fixture.disk("a.img");
    let disk = done(api.add_disk(&image));
    let length = || std::fs::metadata(&image.path).unwrap().len();
    fixture.qemu.take_seen();
    assert_eq!(api.resize(&disk.id, SizeArgs::bytes(3 * MIB), AMPLE).unwrap(), 3 * MIB);
    assert_eq!(
        fixture.qemu.take_names(),
        ["x-debug-query-block-graph", "query-named-block-nodes", "block_resize"]
    );
    assert_eq!(length(), 3 * MIB);
    // The same again asks, and does nothing.
    assert_eq!(api.resize(&disk.id, SizeArgs::bytes(3 * MIB), AMPLE).unwrap(), 3 * MIB);
    assert_eq!(fixture.qemu.take_names(), ["x-debug-query-block-graph", "query-named-block-nodes"]);
    // Grown from outside.
    std::fs::File::options().write(true).open(&image.path).unwrap().set_len(5 * MIB).unwrap();
    assert_eq!(api.resize(&disk.id, SizeArgs::default(), AMPLE).unwrap(), 5 * MIB);
    assert_eq!(
        fixture.qemu.take_names(),
        ["x-debug-query-block-graph", "query-named-block-nodes", "block_resize"]
    );
    let described = api.describe(Some(&disk.id)).unwrap().unwrap();
    assert_eq!((&described["size"], &described["node_name"]), (&json!(5 * MIB), &json!(disk.id)));
}

pub fn a_disk_shrinks_only_when_asked_to(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let image = fixture.disk("a.img");
    let disk = done(api.add_disk(&image));
    let before = fixture.snapshot();
    let failure = fails(api.resize(&disk.id, SizeArgs::bytes(MIB / 2), AMPLE), ErrorKind::Invalid);
    assert!(failure.text.contains("has 1048576 bytes"), "{failure:?}");
    // Grown on the host, not told to the guest yet: less than that would cut the image as well.
    std::fs::File::options().write(true).open(&image.path).unwrap().set_len(4 * MIB).unwrap();
    fails(api.resize(&disk.id, SizeArgs::bytes(2 * MIB), AMPLE), ErrorKind::Invalid);
    fails(api.resize(&disk.id, SizeArgs::bytes(2 * MIB + 1), AMPLE), ErrorKind::Invalid);
    assert_eq!(fixture.snapshot(), before);
    let size = SizeArgs { bytes: Some(MIB / 2), may_shrink: true };
    assert_eq!(api.resize(&disk.id, size, AMPLE).unwrap(), MIB / 2);
    let frozen = done(api.add_disk(&DiskArgs { read_only: true, ..fixture.disk("b.img") }));
    fails(api.resize(&frozen.id, SizeArgs::bytes(2 * MIB), AMPLE), ErrorKind::NotHotpluggable);
}

/// QEMU says no, but has done part of it.
pub fn a_resize_half_done_is_told(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    fixture.qemu.fault("block_resize", 0, Act::refuse("No space left on device"));
    let failure = fails(api.resize(&disk.id, SizeArgs::bytes(2 * MIB), AMPLE), ErrorKind::Qmp);
    assert_eq!((failure.undo, failure.left.len()), (0, 0), "{failure:?}");
    fixture.qemu.fault("block_resize", 0, Act::refuse("No space left on device"));
    let half = json!([{ "node-name": disk.id, "image": { "virtual-size": 3 * MIB / 2 } }]);
    fixture.qemu.fault("query-named-block-nodes", 1, Act::Return(half));
    let failure = fails(api.resize(&disk.id, SizeArgs::bytes(2 * MIB), AMPLE), ErrorKind::Qmp);
    assert_eq!(failure.left, [format!("disk {}, which has 1572864 bytes now", disk.id)]);
}

pub fn everything_known_is_described(agent: &dyn Agent) {
    let fixture = Fixture::new(Setup { machine: Machine::Q35(4), ..Setup::default() });
    let api = fixture.open(agent);
    let nic =
        done(api.add_nic(&NicArgs { boot_index: Some(3), ..fixture.nic_as("nic1", "52:54:00:00:00:01") }));
    done(api.add_disk(&DiskArgs { serial: Some("s1".into()), ..fixture.disk_as("disk1", "a.img") }));
    fixture.qemu.take_seen();
    let all = api.describe(None).unwrap().unwrap();
    assert_eq!(fixture.qemu.take_names(), ["query-named-block-nodes"]);
    assert_eq!(
        all[0],
        json!({
            "id": "nic1", "type": "nic", "state": "live", "reason": "", "generation": 1, "model": "virtio-net-pci", "properties": {},
            "bus": "rp0", "slot": 0, "channel": null, "target": null, "lun": null, "in_guest": true,
            "pci_path": "03.0/00.0", "guest_address": "0000:01:00.0", "guest_name": "enp1s0",
            "guest_slot_name": null,
            "mac": "52:54:00:00:00:01", "queues": 1, "vhost": false, "mtu": null, "link": "up", "bridge": null,
            "boot_index": 3,
            "tap_given": false, "tap_owner": null, "netns": null, "netdev": null, "inbound": null, "outbound": null, "port": null,
            "tap": {
                "name": nic.ifname.unwrap(), "here": true, "mtu": 1500, "bridge": null, "inbound": null,
                "outbound": null, "port": null,
            },
        })
    );
    assert_eq!(
        all[1],
        json!({
            "id": "disk1", "type": "disk", "state": "live", "reason": "", "generation": 2, "model": "virtio-blk-pci", "properties": {},
            "bus": "rp1", "slot": 0, "channel": null, "target": null, "lun": null, "in_guest": true,
            "pci_path": "03.1/00.0", "guest_address": "0000:02:00.0",
            "guest_name": "/dev/disk/by-path/pci-0000:02:00.0", "guest_slot_name": null,
            "path": fixture.disk("a.img").path, "secrets": null, "tls_creds": null, "source": null, "format": "raw", "read_only": false, "share_rw": false, "serial": "s1",
            "cache": "writeback", "aio": "threads", "discard": "ignore", "detect_zeroes": "off", "boot_index": null,
            "logical_block_size": null, "physical_block_size": null, "queues": null, "node_name": "disk1",
            "size": MIB, "allocated": 0, "fdsets": [1], "overlay": null,
            "iothread": null, "limits": null, "tray_open": null,
        })
    );
    assert_eq!(api.describe(Some("disk1")).unwrap().unwrap(), all[1]);
    assert_eq!(api.describe(Some("nobody")).unwrap(), None);
}
