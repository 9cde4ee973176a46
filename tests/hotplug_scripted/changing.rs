//! Changing devices that are in the guest: link, bridge, size; and what is known of them.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::runtime::Spec;
use serde_json::json;

use crate::support::api::*;
use crate::support::fake::{Act, Machine, Setup};
use crate::support::world::World;
use crate::support::{host, programs};

const MIB: u64 = 1 << 20;

/// A bridge of the host that goes with the test.
struct Bridge(String);

impl Bridge {
    fn new() -> Self {
        host::needs_tun();
        let name = format!("b{:x}n{}", std::process::id(), host::unique());
        programs::run(&["ip", "link", "add", &name, "type", "bridge"]);
        Self(name)
    }

    fn ports(&self) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/sys/class/net/{}/brif", self.0)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        programs::run(&["ip", "link", "del", &self.0]);
    }
}

fn is_recorded_down(world: &World, id: &str) -> bool {
    match &world.record().find(id).unwrap().spec {
        Spec::Nic(spec) => spec.link_down,
        _ => panic!("{id} is a disk"),
    }
}

fn recorded_bridge(world: &World, id: &str) -> Option<String> {
    match &world.record().find(id).unwrap().spec {
        Spec::Nic(spec) => spec.bridge.as_ref().map(ToString::to_string),
        _ => panic!("{id} is a disk"),
    }
}

pub fn a_link_goes_down_and_up(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    let nic = done(api.add_nic(&world.nic(2)));
    world.qemu.take_seen();
    for up in [false, false, true, true] {
        assert_eq!(api.set_link(&nic.id, up, AMPLE), Ok(Changed::Done));
        let seen = world.qemu.take_seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!((seen[0].name.as_str(), &seen[0].arguments["up"]), ("set_link", &json!(up)));
        assert_eq!(is_recorded_down(&world, &nic.id), !up);
        assert!(!world.journal().exists());
    }
}

pub fn a_nic_can_come_with_its_cable_pulled(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    world.qemu.take_seen();
    let ask = NicAsk { link_down: true, ..world.nic_as("nic1", "52:54:00:00:00:01") };
    done(api.add_nic(&ask));
    assert_eq!(world.qemu.take_names(), ["getfd", "netdev_add", "device_add", "set_link"]);
    assert!(is_recorded_down(&world, "nic1"));
    // The same again is the same; another link is another setting.
    done(api.add_nic(&ask));
    let failure = fails(api.add_nic(&NicAsk { link_down: false, ..ask.clone() }), ErrorKind::Conflict);
    assert!(failure.text.contains("another link"), "{failure:?}");
    assert_eq!(api.describe(Some("nic1")).unwrap().unwrap()["link"], "down");
}

/// A device that is in the guest is not left without its backend because a later step was refused.
pub fn a_refused_link_takes_the_nic_back(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    let before = world.picture();
    world.qemu.take_seen();
    world.qemu.fault("set_link", 0, Act::refuse("no cable"));
    let ask = NicAsk { link_down: true, ..world.nic(1) };
    let failure = fails(api.add_nic(&ask), ErrorKind::Qmp);
    assert_eq!((failure.qmp_desc.as_deref(), failure.undo), (Some("no cable"), 1));
    assert_eq!(world.picture(), before);
    done(api.add_nic(&ask));
}

/// QEMU has all links up when it starts.
pub fn recorded_links_are_set_down_in_a_new_qemu(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    let down = done(api.add_nic(&NicAsk { link_down: true, ..world.nic(1) }));
    done(api.add_nic(&world.nic(1)));
    world.qemu.model(|model| model.netdevs.values_mut().for_each(|netdev| netdev.link_down = false));
    world.qemu.take_seen();
    // A new connection may lead to a new QEMU.
    world.qemu.hang_up();
    api.process(AMPLE).unwrap();
    let links: Vec<_> = world.qemu.take_seen().into_iter().filter(|seen| seen.name == "set_link").collect();
    assert_eq!(links.len(), 1, "{links:?}");
    assert_eq!(links[0].arguments, json!({ "name": down.id, "up": false }));
    world.qemu.take_seen();
    api.process(AMPLE).unwrap();
    assert_eq!(world.qemu.take_names(), Vec::<String>::new(), "once for each connection");
    drop(api);
    world.open(agent);
    assert_eq!(world.qemu.take_names().iter().filter(|name| *name == "set_link").count(), 1);
}

pub fn what_cannot_be_changed_is_told_apart(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    let disk = done(api.add_disk(&world.disk("a.img")));
    let nic = done(api.add_nic(&world.nic(1)));
    fails(api.set_link("nobody", false, AMPLE), ErrorKind::NotFound);
    fails(api.set_link(&disk.id, false, AMPLE), ErrorKind::Invalid);
    fails(api.move_nic(&disk.id, None, AMPLE), ErrorKind::Invalid);
    fails(api.resize(&nic.id, SizeAsk::bytes(2 * MIB), AMPLE), ErrorKind::Invalid);
    world.qemu.model(|model| model.manner = crate::support::fake::Manner::Never);
    for id in [&nic.id, &disk.id] {
        api.unplug(&UnplugAsk { wait: false, ..UnplugAsk::of(id) }).unwrap();
    }
    let failure = fails(api.set_link(&nic.id, false, AMPLE), ErrorKind::State);
    assert_eq!(failure.errno, libc::EBUSY);
    fails(api.move_nic(&nic.id, None, AMPLE), ErrorKind::State);
    fails(api.resize(&disk.id, SizeAsk::bytes(2 * MIB), AMPLE), ErrorKind::State);
}

pub fn changes_wait_with_their_device_for_the_reboot(agent: &dyn Agent) {
    let world = World::new(Setup { version: (4, 2, 0), ..Setup::default() });
    let api = world.open(agent);
    let place = Place { id: Some("nic1".into()), ..Place::default() };
    api.add_nic(&NicAsk { place, ..world.nic(1) }).unwrap();
    let place = Place { id: Some("disk1".into()), ..Place::default() };
    api.add_disk(&DiskAsk { place, ..world.disk("a.img") }).unwrap();
    world.qemu.take_seen();
    assert_eq!(api.set_link("nic1", false, AMPLE), Ok(Changed::AfterReboot));
    assert_eq!(api.move_nic("nic1", Some("br9"), AMPLE), Ok(Changed::AfterReboot));
    assert!(is_recorded_down(&world, "nic1"));
    assert_eq!(recorded_bridge(&world, "nic1").as_deref(), Some("br9"));
    fails(api.resize("disk1", SizeAsk::bytes(2 * MIB), AMPLE), ErrorKind::NotHotpluggable);
    assert_eq!(world.qemu.take_names(), Vec::<String>::new());
}

pub fn a_nic_moves_to_another_bridge(agent: &dyn Agent) {
    let (world, a, b) = (World::pc(), Bridge::new(), Bridge::new());
    let api = world.open(agent);
    let ask = NicAsk { bridge: Some(a.0.clone()), mtu: Some(1400), ..world.nic(1) };
    let nic = done(api.add_nic(&ask));
    let tap = nic.ifname.clone().unwrap();
    assert_eq!((a.ports(), b.ports()), (vec![tap.clone()], vec![]));
    world.qemu.take_seen();
    for _ in 0..2 {
        assert_eq!(api.move_nic(&nic.id, Some(&b.0), AMPLE), Ok(Changed::Done));
        assert_eq!((a.ports(), b.ports()), (vec![], vec![tap.clone()]));
        assert_eq!(recorded_bridge(&world, &nic.id), Some(b.0.clone()));
        assert!(!world.journal().exists());
    }
    let described = api.describe(Some(&nic.id)).unwrap().unwrap();
    assert_eq!(described["tap"], json!({ "name": tap, "here": true, "mtu": 1400, "bridge": b.0 }));
    assert_eq!(api.move_nic(&nic.id, None, AMPLE), Ok(Changed::Done));
    assert_eq!((a.ports(), b.ports(), recorded_bridge(&world, &nic.id)), (vec![], vec![], None));
    assert_eq!(world.qemu.take_names(), Vec::<String>::new(), "the guest is not bothered");
}

fn mtu(name: &str) -> u32 {
    let host = kvm_hotplug::net::link::Interfaces::open().unwrap();
    host.mtu_of(&kvm_hotplug::ids::IfName::parse(name).unwrap()).unwrap()
}

/// A bridge whose MTU nobody set takes that of its smallest port, so a tap gets its bridge's before it joins, wherever it comes
/// from; and has what it had when that comes to nothing.
pub fn a_nic_that_moves_takes_its_bridges_mtu(agent: &dyn Agent) {
    let (world, small, large) = (World::pc(), Bridge::new(), Bridge::new());
    let jumbo = host::tap(&world.nic(1).ifname.unwrap(), 1);
    let jumbo = (
        kvm_hotplug::net::given::inspect(std::os::fd::AsFd::as_fd(&jumbo[0])).unwrap().name.to_string(),
        jumbo,
    );
    programs::run(&["ip", "link", "set", &jumbo.0, "mtu", "9000", "master", &large.0]);
    let api = world.open(agent);
    let nic = done(api.add_nic(&NicAsk { bridge: Some(small.0.clone()), ..world.nic(1) }));
    let tap = nic.ifname.unwrap();
    assert_eq!([&small.0, &large.0, &tap].map(|name| mtu(name)), [1500, 9000, 1500]);
    for _ in 0..2 {
        assert_eq!(api.move_nic(&nic.id, Some(&large.0), AMPLE), Ok(Changed::Done));
        assert_eq!((mtu(&tap), mtu(&large.0)), (9000, 9000));
    }
    assert_eq!(api.move_nic(&nic.id, None, AMPLE), Ok(Changed::Done));
    assert_eq!(mtu(&tap), 9000);
    let other = done(api.add_nic(&NicAsk { bridge: Some(small.0.clone()), ..world.nic(1) }));
    assert_eq!(api.move_nic(&nic.id, Some(&small.0), AMPLE), Ok(Changed::Done));
    assert_eq!([&small.0, &tap].map(|name| mtu(name)), [1500, 1500]);
    assert_eq!(api.move_nic(&nic.id, Some(&large.0), AMPLE), Ok(Changed::Done));
    // One that was announced to the guest stays.
    let told = done(api.add_nic(&NicAsk { bridge: Some(small.0.clone()), mtu: Some(1500), ..world.nic(1) }));
    assert_eq!(api.move_nic(&told.id, Some(&large.0), AMPLE), Ok(Changed::Done));
    assert_eq!(mtu(told.ifname.as_ref().unwrap()), 1500);
    drop(other);
}

pub fn a_move_that_fails_leaves_the_nic_where_it_was(agent: &dyn Agent) {
    let (world, a, b) = (World::pc(), Bridge::new(), Bridge::new());
    let api = world.open(agent);
    let nic = done(api.add_nic(&NicAsk { bridge: Some(a.0.clone()), ..world.nic(1) }));
    let tap = nic.ifname.clone().unwrap();
    let before = world.picture();
    let stays = |what: &str| {
        assert_eq!(a.ports(), std::slice::from_ref(&tap), "{what}");
        assert_eq!(world.picture(), before, "{what}");
    };
    fails(api.move_nic(&nic.id, Some("nosuchbridge"), AMPLE), ErrorKind::NotFound);
    stays("no such bridge");
    fails(api.move_nic(&nic.id, Some("lo"), AMPLE), ErrorKind::Invalid);
    stays("no bridge");
    let obstacle = world.dir.path().join("web1.runtime.journal.new");
    std::fs::create_dir(&obstacle).unwrap();
    fails(api.move_nic(&nic.id, Some(&b.0), AMPLE), ErrorKind::Host);
    std::fs::remove_dir(&obstacle).unwrap();
    stays("no journal");
    // The tap has moved by the time that the record cannot be replaced, and goes back as it was.
    let aside = world.dir.path().join("aside");
    std::fs::rename(&world.runtime, &aside).unwrap();
    std::fs::create_dir(&world.runtime).unwrap();
    programs::run(&["ip", "link", "set", &b.0, "mtu", "1400"]);
    let failure = fails(api.move_nic(&nic.id, Some(&b.0), AMPLE), ErrorKind::Host);
    assert_eq!((failure.undo, mtu(&tap)), (1, 1500), "{failure:?}");
    std::fs::remove_dir(&world.runtime).unwrap();
    std::fs::rename(&aside, &world.runtime).unwrap();
    stays("no record");
    assert_eq!(api.move_nic(&nic.id, Some(&b.0), AMPLE), Ok(Changed::Done));
    // A tap that is not here is somebody else's to move.
    programs::run(&["ip", "link", "set", &tap, "name", &format!("{}x", &tap[..tap.len() - 1])]);
    let failure = fails(api.move_nic(&nic.id, Some(&a.0), AMPLE), ErrorKind::NotFound);
    assert!(failure.text.contains("not in this network namespace"), "{failure:?}");
    // Nor is another one that only has its name.
    programs::run(&["ip", "tuntap", "add", "dev", &tap, "mode", "tap"]);
    fails(api.move_nic(&nic.id, Some(&a.0), AMPLE), ErrorKind::Foreign);
    programs::run(&["ip", "link", "del", &tap]);
    assert_eq!(recorded_bridge(&world, &nic.id), Some(b.0.clone()));
}

/// A bridge takes no more than 1,023 ports; the tap has left its old one by the time that shows.
pub fn a_move_that_fails_half_way_is_taken_back(agent: &dyn Agent) {
    host::in_own_netns(&format!("{}::a_move_that_fails_half_way_is_taken_back", agent.name()), &mut || {
        let (world, full) = (World::pc(), Bridge::new());
        let lines = |n| format!("tuntap add dev p{n} mode tap\nlink set p{n} master {}\n", full.0);
        let batch = world.dir.path().join("batch");
        std::fs::write(&batch, (0..1023).map(lines).collect::<String>()).unwrap();
        programs::run(&["ip", "-batch", batch.to_str().unwrap()]);
        for origin in [Some(Bridge::new()), None] {
            let api = world.open(agent);
            let bridge = origin.as_ref().map(|bridge| bridge.0.clone());
            let nic = done(api.add_nic(&NicAsk { bridge: bridge.clone(), ..world.nic(1) }));
            let before = world.record_text();
            programs::run(&["ip", "link", "set", &full.0, "mtu", "1400"]);
            let failure = fails(api.move_nic(&nic.id, Some(&full.0), AMPLE), ErrorKind::Host);
            assert_eq!(mtu(nic.ifname.as_ref().unwrap()), 1500);
            assert_eq!((failure.undo, failure.left.len()), (1, 0), "{failure:?}");
            let described = api.describe(Some(&nic.id)).unwrap().unwrap();
            assert_eq!(described["tap"]["bridge"], json!(bridge));
            assert_eq!(world.record_text(), before);
            assert!(!world.journal().exists());
            done(api.unplug(&UnplugAsk::of(&nic.id)));
        }
    });
}

/// The agent died between the two bridges, or behind them.
pub fn an_interrupted_move_is_settled(agent: &dyn Agent) {
    for interrupted in ["between", "arrived"] {
        let (world, a, b) = (World::pc(), Bridge::new(), Bridge::new());
        let api = world.open(agent);
        let nic = done(api.add_nic(&NicAsk { bridge: Some(a.0.clone()), ..world.nic(1) }));
        let tap = nic.ifname.clone().unwrap();
        drop(api);
        let before = world.record_text();
        {
            let mut runtime = kvm_hotplug::runtime::RecordFile::load(&world.runtime).unwrap();
            let device = runtime.record().find(&nic.id).unwrap().clone();
            runtime
                .write_journal(|journal| journal.log_intent(kvm_hotplug::runtime::Operation::Move, &device))
                .unwrap();
        }
        programs::run(&["ip", "link", "set", &tap, "nomaster", "mtu", "1400"]);
        if interrupted == "arrived" {
            programs::run(&["ip", "link", "set", &tap, "master", &b.0]);
        }
        let _api = world.open(agent);
        assert_eq!((mtu(&tap), mtu(&a.0)), (1500, 1500), "{interrupted}");
        assert_eq!((a.ports(), b.ports()), (vec![tap], vec![]), "{interrupted}");
        assert_eq!(world.record_text(), before);
        assert!(!world.journal().exists());
    }
}

/// What cannot be put back is told, and does not keep the agent from its work.
pub fn a_move_that_cannot_be_settled_is_told(agent: &dyn Agent) {
    let (world, a) = (World::pc(), Bridge::new());
    let api = world.open(agent);
    let nic = done(api.add_nic(&NicAsk { bridge: Some(a.0.clone()), ..world.nic(1) }));
    drop(api);
    {
        let mut runtime = kvm_hotplug::runtime::RecordFile::load(&world.runtime).unwrap();
        let device = runtime.record().find(&nic.id).unwrap().clone();
        runtime
            .write_journal(|journal| journal.log_intent(kvm_hotplug::runtime::Operation::Move, &device))
            .unwrap();
    }
    drop(a);
    let api = world.open(agent);
    let news = api.next_event().unwrap();
    assert_eq!((news.what, news.id), (EventKind::Undone, Some(nic.id)));
    assert!(news.text.contains("could not be taken back"), "{}", news.text);
    assert!(!world.journal().exists());
}

pub fn a_disk_grows(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    let image = world.disk("a.img");
    let disk = done(api.add_disk(&image));
    let length = || std::fs::metadata(&image.path).unwrap().len();
    world.qemu.take_seen();
    assert_eq!(api.resize(&disk.id, SizeAsk::bytes(3 * MIB), AMPLE).unwrap(), 3 * MIB);
    assert_eq!(
        world.qemu.take_names(),
        ["x-debug-query-block-graph", "query-named-block-nodes", "block_resize"]
    );
    assert_eq!(length(), 3 * MIB);
    // The same again asks, and does nothing.
    assert_eq!(api.resize(&disk.id, SizeAsk::bytes(3 * MIB), AMPLE).unwrap(), 3 * MIB);
    assert_eq!(world.qemu.take_names(), ["x-debug-query-block-graph", "query-named-block-nodes"]);
    // Grown from outside.
    std::fs::File::options().write(true).open(&image.path).unwrap().set_len(5 * MIB).unwrap();
    assert_eq!(api.resize(&disk.id, SizeAsk::default(), AMPLE).unwrap(), 5 * MIB);
    assert_eq!(
        world.qemu.take_names(),
        ["x-debug-query-block-graph", "query-named-block-nodes", "block_resize"]
    );
    let described = api.describe(Some(&disk.id)).unwrap().unwrap();
    assert_eq!((&described["size"], &described["node_name"]), (&json!(5 * MIB), &json!(disk.id)));
}

pub fn a_disk_shrinks_only_when_asked_to(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    let image = world.disk("a.img");
    let disk = done(api.add_disk(&image));
    let before = world.picture();
    let failure = fails(api.resize(&disk.id, SizeAsk::bytes(MIB / 2), AMPLE), ErrorKind::Invalid);
    assert!(failure.text.contains("has 1048576 bytes"), "{failure:?}");
    // Grown on the host, not told to the guest yet: less than that would cut the image as well.
    std::fs::File::options().write(true).open(&image.path).unwrap().set_len(4 * MIB).unwrap();
    fails(api.resize(&disk.id, SizeAsk::bytes(2 * MIB), AMPLE), ErrorKind::Invalid);
    fails(api.resize(&disk.id, SizeAsk::bytes(2 * MIB + 1), AMPLE), ErrorKind::Invalid);
    assert_eq!(world.picture(), before);
    let size = SizeAsk { bytes: Some(MIB / 2), may_shrink: true };
    assert_eq!(api.resize(&disk.id, size, AMPLE).unwrap(), MIB / 2);
    let frozen = done(api.add_disk(&DiskAsk { read_only: true, ..world.disk("b.img") }));
    fails(api.resize(&frozen.id, SizeAsk::bytes(2 * MIB), AMPLE), ErrorKind::NotHotpluggable);
}

/// QEMU says no, but has done part of it.
pub fn a_resize_half_done_is_told(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    let disk = done(api.add_disk(&world.disk("a.img")));
    world.qemu.fault("block_resize", 0, Act::refuse("No space left on device"));
    let failure = fails(api.resize(&disk.id, SizeAsk::bytes(2 * MIB), AMPLE), ErrorKind::Qmp);
    assert_eq!((failure.undo, failure.left.len()), (0, 0), "{failure:?}");
    world.qemu.fault("block_resize", 0, Act::refuse("No space left on device"));
    let half = json!([{ "node-name": disk.id, "image": { "virtual-size": 3 * MIB / 2 } }]);
    world.qemu.fault("query-named-block-nodes", 1, Act::Return(half));
    let failure = fails(api.resize(&disk.id, SizeAsk::bytes(2 * MIB), AMPLE), ErrorKind::Qmp);
    assert_eq!(failure.left, [format!("disk {}, which has 1572864 bytes now", disk.id)]);
}

pub fn everything_known_is_described(agent: &dyn Agent) {
    let world = World::new(Setup { machine: Machine::Q35(4), ..Setup::default() });
    let api = world.open(agent);
    let nic = done(api.add_nic(&NicAsk { boot_index: Some(3), ..world.nic_as("nic1", "52:54:00:00:00:01") }));
    done(api.add_disk(&DiskAsk { serial: Some("s1".into()), ..world.disk_as("disk1", "a.img") }));
    world.qemu.take_seen();
    let all = api.describe(None).unwrap().unwrap();
    assert_eq!(world.qemu.take_names(), ["query-named-block-nodes"]);
    assert_eq!(
        all[0],
        json!({
            "id": "nic1", "type": "nic", "state": "live", "reason": "", "generation": 1, "model": "virtio-net-pci",
            "bus": "rp0", "slot": 0, "channel": null, "target": null, "lun": null, "in_guest": true,
            "mac": "52:54:00:00:00:01", "queues": 1, "vhost": false, "mtu": null, "link": "up", "bridge": null,
            "boot_index": 3,
            "tap_given": false, "tap_owner": null,
            "tap": { "name": nic.ifname.unwrap(), "here": true, "mtu": 1500, "bridge": null },
        })
    );
    assert_eq!(
        all[1],
        json!({
            "id": "disk1", "type": "disk", "state": "live", "reason": "", "generation": 2, "model": "virtio-blk-pci",
            "bus": "rp1", "slot": 0, "channel": null, "target": null, "lun": null, "in_guest": true,
            "path": world.disk("a.img").path, "format": "raw", "read_only": false, "share_rw": false, "serial": "s1",
            "cache": "writeback", "aio": "threads", "discard": "ignore", "detect_zeroes": "off", "boot_index": null,
            "logical_block_size": null, "physical_block_size": null, "queues": null, "node_name": "disk1",
            "size": MIB, "allocated": 0, "fdsets": [1], "overlay": null,
        })
    );
    assert_eq!(api.describe(Some("disk1")).unwrap().unwrap(), all[1]);
    assert_eq!(api.describe(Some("nobody")).unwrap(), None);
}
