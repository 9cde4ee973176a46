//! Taps that come a second time: attached again, or refused.
#![allow(unreachable_pub)]

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::guest::{Guest, Mismatch};
use kvm_hotplug::ids::IfName;
use kvm_hotplug::log::Log;
use kvm_hotplug::net::share::{MOST_DESCRIPTORS, Taps};
use kvm_hotplug::store::RecordFile;

use crate::adding::MAC;
use crate::removing::SHORT;
use crate::support::api::*;
use crate::support::fake::{Dev, Setup, UnplugBehaviour};
use crate::support::fixture::Fixture;
use crate::support::{host, programs};

type Fds = Vec<Arc<OwnedFd>>;

/// A tap of the caller's, and its name.
fn tap(fixture: &Fixture, queues: u16) -> (Fds, String) {
    let name = fixture.nic(1).ifname.unwrap();
    (host::tap(&name, queues), name)
}

fn over(fds: &[Arc<OwnedFd>]) -> NicArgs {
    NicArgs { queues: u16::try_from(fds.len()).unwrap(), fds: fds.to_vec(), ..NicArgs::default() }
}

fn named(id: &str, nic: NicArgs) -> NicArgs {
    NicArgs { place: Place { id: Some(id.into()), ..nic.place }, ..nic }
}

fn copies(fds: &[Arc<OwnedFd>]) -> Fds {
    fds.iter().map(|fd| Arc::new(fd.try_clone().unwrap())).collect()
}

#[track_caller]
fn is_taken(result: Result<Answer, Failure>, tap: &str, id: &str) {
    let failure = fails(result, ErrorKind::Conflict);
    assert!(failure.text.contains(tap) && failure.text.contains(&format!("used by {id} ")), "{failure:?}");
    assert_eq!((failure.errno, failure.undo), (libc::EEXIST, 0), "{failure:?}");
}

/// The driver of the first NIC has left all queues but one detached.
pub fn a_callers_tap_serves_one_nic_after_another(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let (fds, name) = tap(&fixture, 3);
    let other = tap(&fixture, 2);
    for round in 0..3 {
        let nic = done(api.add_nic(&over(&fds)));
        assert_eq!(nic.ifname.as_ref(), Some(&name), "round {round}");
        done(api.unplug(&UnplugArgs::of(&nic.id)));
        let both = api.add_all(&[over(&fds), over(&other.0)], &[], AMPLE).unwrap();
        assert!(both.iter().all(|answer| answer.state == State::Done), "{both:?}");
        let ids: Vec<String> = both.into_iter().map(|answer| answer.device.unwrap().id).collect();
        assert!(
            api.unplug_all(&ids, AMPLE).iter().all(|answer| answer.as_ref().unwrap().state == State::Done)
        );
        let unawaited = NicArgs { place: Place { no_wait: true, ..Place::default() }, ..over(&fds) };
        assert_eq!(api.add_nic(&unawaited).unwrap().state, State::Pending(Why::NotAwaited));
        assert!(host::eventually(|| api.process(AMPLE).unwrap() > 0));
        let added = api.next_event().unwrap();
        assert_eq!(added.what, EventKind::Added, "{added:?}");
        done(api.unplug(&UnplugArgs::of(&added.id.unwrap())));
        // One queue of several, which is the one that was left detached.
        let nic = done(api.add_nic(&over(&fds[2..])));
        done(api.unplug(&UnplugArgs::of(&nic.id)));
    }
    assert_eq!(fixture.recorded(), Vec::<String>::new());
}

/// What QEMU has had once it may have detached, also if the caller never sees those descriptors.
pub fn queues_are_attached_for_every_try(agent: &dyn Agent) {
    for given in [true, false] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let (fds, _) = tap(&fixture, 4);
        let nic = if given { over(&fds) } else { fixture.nic(4) };
        // The NIC is in the guest when the disk's place turns out to be taken, and has to leave again.
        let stranger = Dev::new(Some("theirs"), "virtio-rng-pci", "pci.0", 5, 0);
        fixture.qemu.model(|model| model.devices.push(stranger));
        let added = api.add_all(&[nic], &[fixture.disk("a.img")], AMPLE).unwrap();
        let ids: Vec<String> = added.into_iter().map(|answer| answer.device.unwrap().id).collect();
        assert_eq!(ids, ["nic-pci-4", "disk-pci-6"]);
        assert_eq!(fixture.qemu.take_names().iter().filter(|name| *name == "netdev_add").count(), 2);
    }
}

pub fn a_tap_that_the_guest_has_is_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let (fds, name) = tap(&fixture, 2);
    let lan = named("lan", NicArgs { mac: Some(MAC.into()), ..over(&fds) });
    done(api.add_nic(&lan));
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    is_taken(api.add_nic(&over(&fds)), &name, "lan");
    is_taken(api.add_nic(&over(&copies(&fds))), &name, "lan");
    is_taken(api.add_nic(&over(&fds[1..])), &name, "lan");
    let unawaited = NicArgs { place: Place { no_wait: true, ..Place::default() }, ..over(&fds) };
    is_taken(api.add_nic(&unawaited), &name, "lan");
    let failure = fails(api.add_all(&[fixture.nic(1), over(&fds)], &[], AMPLE), ErrorKind::Conflict);
    assert!(
        failure.text.contains("device 2 of the list") && failure.text.contains("used by lan"),
        "{failure:?}"
    );
    assert_eq!(done(api.add_nic(&lan)).id, "lan", "the same request again");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(fixture.snapshot(), before);
    drop(api);
    let api = fixture.open(agent);
    is_taken(api.add_nic(&over(&fds)), &name, "lan");
    assert_eq!(done(api.add_nic(&lan)).id, "lan", "and to the next agent");
    // On its way out it still has it.
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let answer = api.unplug(&UnplugArgs::within("lan", SHORT)).unwrap();
    assert!(matches!(answer.state, State::Pending(_)), "{answer:?}");
    is_taken(api.add_nic(&over(&fds)), &name, "lan");
    fixture.qemu.grant("lan");
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && fixture.recorded().is_empty()));
    done(api.add_nic(&named("wan", over(&fds))));
    is_taken(api.add_nic(&over(&fds)), &name, "wan");
}

pub fn a_tap_is_given_once_in_a_list(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let (fds, name) = tap(&fixture, 2);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    for second in [fds.clone(), copies(&fds), fds[1..].to_vec()] {
        let failure =
            fails(api.add_all(&[named("lan", over(&fds)), over(&second)], &[], AMPLE), ErrorKind::Conflict);
        assert!(failure.text.contains(&name) && failure.text.contains("used by lan"), "{failure:?}");
    }
    for twice in [[fds[0].clone(), fds[0].clone()], [fds[0].clone(), copies(&fds)[0].clone()]] {
        let failure = fails(api.add_nic(&over(&twice)), ErrorKind::Invalid);
        assert!(failure.text.contains("given twice"), "{failure:?}");
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(fixture.snapshot(), before);
}

/// A tap that was made for one NIC is no other one's either, whoever comes by its descriptor.
pub fn a_tap_that_was_made_here_is_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic(1)));
    let tap = nic.ifname.unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    let fd = Taps::of_process(own, MOST_DESCRIPTORS).unwrap().share(&IfName::parse(&tap).unwrap()).unwrap();
    let fds = [Arc::new(fd)];
    is_taken(api.add_nic(&over(&fds)), &tap, &nic.id);
    let failure = fails(api.add_nic(&named(&nic.id, over(&self::tap(&fixture, 1).0))), ErrorKind::Conflict);
    assert!(failure.text.contains("another tap"), "{failure:?}");
}

pub fn the_same_nic_over_another_tap_is_a_conflict(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let (fds, name) = tap(&fixture, 1);
    let lan = named("lan", over(&fds));
    let first = done(api.add_nic(&lan));
    let failure = fails(api.add_nic(&named("lan", over(&tap(&fixture, 1).0))), ErrorKind::Conflict);
    assert!(failure.text.contains("exists with another tap"), "{failure:?}");
    // A new tap of the same name is another one.
    drop((lan, fds));
    fixture.qemu.model(|model| model.netdevs.get_mut("lan").unwrap().fds.clear());
    assert!(host::eventually(|| host::interfaces(&name).is_empty()));
    let again = host::tap(&name, 1);
    let failure = fails(api.add_nic(&named("lan", over(&again))), ErrorKind::Conflict);
    assert!(failure.text.contains("exists with another tap"), "{failure:?}");
    let second = done(api.add_nic(&named("wan", over(&again))));
    assert_eq!((first.ifname, second.ifname), (Some(name.clone()), Some(name)));
}

/// Two NICs that come with the next boot would not get the same tap, and nothing would come of that boot.
pub fn a_name_is_for_one_tap(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let ifname = fixture.nic(1).ifname;
    let later = |id: &str| {
        named(id, NicArgs { model: Some("ne2k_pci".into()), ifname: ifname.clone(), ..NicArgs::default() })
    };
    let waiting = api.add_nic(&later("one")).unwrap();
    assert!(matches!(waiting.state, State::AfterReboot(_)), "{waiting:?}");
    let live = NicArgs { ifname: ifname.clone(), ..NicArgs::default() };
    for nic in [later("two"), live] {
        let failure = fails(api.add_nic(&nic), ErrorKind::Conflict);
        let name = ifname.as_deref().unwrap();
        assert!(failure.text.contains(name) && failure.text.contains("one"), "{failure:?}");
    }
    let failure =
        fails(api.add_all(&[named("x", fixture.nic(1)), later("two")], &[], AMPLE), ErrorKind::Conflict);
    assert!(failure.text.contains("device 2 of the list"), "{failure:?}");
    let pattern = NicArgs { ifname: Some("khn%d".into()), ..later("two") };
    for id in ["two", "three"] {
        assert!(matches!(api.add_nic(&named(id, pattern.clone())).unwrap().state, State::AfterReboot(_)));
    }
}

/// With the next boot it would have another tap, of which nobody knows what the caller had set on the first
/// one.
pub fn a_callers_tap_does_not_wait_for_a_reboot(agent: &dyn Agent) {
    let old = Fixture::new(Setup { version: (4, 2, 1), ..Setup::default() });
    let new = Fixture::pc();
    for (fixture, model) in [(&old, None), (&new, Some("ne2k_pci".to_owned()))] {
        let api = fixture.open(agent);
        let (fds, name) = tap(fixture, 1);
        let before = fixture.snapshot();
        let nic = named("lan", NicArgs { model: model.clone(), ..over(&fds) });
        for asked in
            [nic.clone(), NicArgs { place: Place { no_wait: true, ..nic.place.clone() }, ..nic.clone() }]
        {
            let failure = fails(api.add_nic(&asked), ErrorKind::NotHotpluggable);
            assert!(
                failure.text.contains(&name) && failure.text.contains("leave tap_fds out"),
                "{failure:?}"
            );
        }
        assert_eq!(fixture.snapshot(), before);
        let without = named("lan", NicArgs { model, ..fixture.nic(1) });
        assert!(matches!(api.add_nic(&without).unwrap().state, State::AfterReboot(_)));
        fails(api.add_nic(&nic), ErrorKind::NotHotpluggable);
    }
}

/// The record keeps who may attach to a tap, so that the next one has the same owner.
pub fn the_owner_of_a_tap_is_recorded(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let owned = named("lan", NicArgs { owner: Some(0), ..fixture.nic(1) });
    done(api.add_nic(&owned));
    assert_eq!(done(api.add_nic(&owned)).id, "lan");
    for owner in [None, Some(65534)] {
        let failure = fails(api.add_nic(&NicArgs { owner, ..owned.clone() }), ErrorKind::Conflict);
        assert!(failure.text.contains("exists with another tap_owner"), "{failure:?}");
    }
    let record = fixture.record();
    let nic = record.devices[0].nic().unwrap();
    assert_eq!((nic.tap_owner, nic.is_over_given_tap()), (Some(0), false));
    let described = api.describe(Some("lan")).unwrap().unwrap();
    assert_eq!((&described["tap_owner"], &described["tap_given"]), (&0.into(), &false.into()), "{described}");
}

/// What of a NIC nobody but QEMU and the host shows.
pub fn verifying_sees_taps_vhost_and_stray_netdevs(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&named("lan", fixture.nic(1))));
    let tap = nic.ifname.unwrap();
    drop(api);
    let runtime = Arc::new(Mutex::new(RecordFile::load(&fixture.runtime).unwrap()));
    let guest =
        Guest::open(runtime, fixture.qemu.path(), Log::default(), Duration::from_millis(AMPLE)).unwrap();
    let found = || {
        let differences = guest.verify(Duration::from_millis(AMPLE)).unwrap();
        differences.iter().map(|difference| (difference.what, difference.to_string())).collect::<Vec<_>>()
    };
    // The fake's devices have no properties.
    let usual = found();
    let news = || found().into_iter().filter(|one| !usual.contains(one)).collect::<Vec<_>>();
    for (status, differs) in [
        (serde_json::json!({"vhost-started": true, "started": true}), true),
        (serde_json::json!({"vhost-started": false, "started": true}), false),
        (serde_json::json!({"vhost-started": false, "started": false}), false),
        (serde_json::json!(["odd"]), false),
    ] {
        fixture.qemu.model(|model| model.virtio_status = status);
        let seen = news();
        assert_eq!(seen.len(), usize::from(differs), "{seen:?}");
        assert!(
            seen.iter().all(|(what, text)| *what == Mismatch::Setting && text.contains("has vhost on")),
            "{seen:?}"
        );
    }
    fixture.qemu.model(|model| drop(model.netdevs.insert("left".into(), Default::default())));
    assert_eq!(news(), [(Mismatch::OrphanNetdev, "netdev left belongs to no NIC".to_owned())]);
    fixture.qemu.model(|model| drop(model.netdevs.remove("left")));
    programs::run(&["ip", "link", "set", &tap, "down"]);
    programs::run(&["ip", "link", "set", &tap, "name", "khnother"]);
    assert_eq!(news(), [], "it is there, under another name");
    programs::run(&["ip", "link", "del", "khnother"]);
    let seen = news();
    assert!(
        matches!(&seen[..], [(Mismatch::Backend, text)] if text.contains(&tap) && text.contains("gone")),
        "{seen:?}"
    );
}

/// The record has the name by which the kernel knows the bridge, so that nothing differs from it for ever.
pub fn a_bridge_may_be_named_by_another_name(agent: &dyn Agent) {
    host::needs_tun();
    let (fixture, bridge) = (Fixture::pc(), format!("b{:x}a{}", std::process::id(), host::unique()));
    let other = format!("{bridge}alt");
    programs::run(&["ip", "link", "add", &bridge, "type", "bridge"]);
    programs::run(&["ip", "link", "property", "add", "dev", &bridge, "altname", &other]);
    let api = fixture.open(agent);
    let lan = named("lan", NicArgs { bridge: Some(other.clone()), ..fixture.nic(1) });
    let recorded = || fixture.record().devices[0].nic().unwrap().bridge.as_ref().unwrap().to_string();
    done(api.add_nic(&lan));
    assert_eq!(recorded(), bridge);
    for name in [&other, &bridge] {
        assert_eq!(done(api.add_nic(&NicArgs { bridge: Some(name.clone()), ..lan.clone() })).id, "lan");
        assert_eq!(api.set_bridge("lan", Some(name), AMPLE), Ok(Changed::Done));
        assert_eq!(recorded(), bridge);
    }
    drop(api);
    // Recorded by an earlier version.
    let record = fixture.record_text().replace(&format!("\"{bridge}\""), &format!("\"{other}\""));
    std::fs::write(&fixture.runtime, record).unwrap();
    assert_eq!(recorded(), other);
    let api = fixture.open(agent);
    assert_eq!(done(api.add_nic(&lan)).id, "lan");
    drop(api);
    let runtime = Arc::new(Mutex::new(RecordFile::load(&fixture.runtime).unwrap()));
    let guest =
        Guest::open(runtime, fixture.qemu.path(), Log::default(), Duration::from_millis(AMPLE)).unwrap();
    let differences = guest.verify(Duration::from_millis(AMPLE)).unwrap();
    assert!(differences.iter().all(|difference| difference.what != Mismatch::Bridge), "{differences:?}");
    programs::run(&["ip", "link", "del", &bridge]);
}
