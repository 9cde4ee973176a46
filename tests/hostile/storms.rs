//! A peer that never stops talking, and a QEMU with more open files than a disk farm: neither takes a
//! processor, nor more time than the call was given.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvm_hotplug::guest::RemovalOfMany;

use super::agent::Scene;
use super::memory_cost::{measure, processor_time};
use super::support::fake::hostile::STORMS;
use super::support::fake::{Act, UnplugBehaviour};
use super::support::host;

/// Most of a processor that a call may take while it only waits.
const SHARE: f64 = 0.3;

/// And of the time in which it was not in the queue for one: where others have the processors as well, a call
/// that never rests has a small share of them.
const SHARE_OF_OWN: f64 = 0.6;

/// While `work` is done the peer says this, as fast as it is read.
fn in_a_storm<T>(scene: &Scene, said: &str, work: impl FnOnce() -> T) -> T {
    let ended = AtomicBool::new(false);
    let some = said.repeat(50).into_bytes();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                scene.qemu().say(some.clone());
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let done = work();
        ended.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn a_storm_takes_no_processor() {
    host::in_own_process("storms::a_storm_takes_no_processor", &mut || {
        for storm in STORMS.iter().filter(|storm| !storm.contains("DEVICE_DELETED")) {
            // The same work takes more of a processor that others use as well, now and then.
            assert!((0..3).any(|_| rests_in_a_storm(storm)), "{storm:?}");
        }
    });
}

/// Whether a removal that waits leaves the processor to others.
fn rests_in_a_storm(storm: &str) -> bool {
    let scene = Scene::calm();
    scene.add_disk("d0");
    scene.qemu().model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let before = processor_time();
    let (outcome, cost) =
        in_a_storm(&scene, storm, || measure(|| scene.unplug("d0", Duration::from_millis(1500))));
    let spent = processor_time().saturating_sub(before);
    let share_of = |time: Duration| spent.as_secs_f64() / time.as_secs_f64();
    let (share, of_own) = (share_of(cost.time), share_of(cost.time.saturating_sub(cost.queued)));
    println!("{storm:?}: {share:.2} of a processor, {of_own:.2} of its own time, {cost:?}, {outcome:?}");
    assert!(cost.own_time() < Duration::from_millis(1750), "{storm:?}: {cost:?}");
    share < SHARE && of_own < SHARE_OF_OWN
}

/// Behind the answer to each command there is, for as long as somebody listens.
#[test]
fn storms_behind_each_answer() {
    host::in_own_process_off_disk("storms::storms_behind_each_answer", &mut || {
        for storm in STORMS {
            for command in ["query-status", "query-pci", "qom-list", "device_del", "blockdev-del"] {
                let scene = Scene::calm();
                scene.add_disk("d0");
                let storm = storm.repeat(2000).into_bytes();
                scene.qemu().fault(command, 0, Act::Around(Vec::new(), storm));
                let (outcome, cost) = measure(|| scene.unplug("d0", Duration::from_millis(300)));
                println!("{command}: {cost:?}, {outcome:?}");
                assert!(cost.own_time() < Duration::from_millis(550), "{command}: {cost:?}");
                assert!(cost.peak < super::agent::MAX_MEMORY, "{command}: {cost:?}");
            }
        }
    });
}

/// The peer is this very process, with the taps among thousands of other files: to look for them takes no
/// call beyond its time.
#[test]
fn thousands_of_descriptors_take_no_time() {
    const NICS: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
    host::needs_tun();
    host::in_own_process("storms::thousands_of_descriptors_take_no_time", &mut || {
        let resource = nix::sys::resource::Resource::RLIMIT_NOFILE;
        let (_, most) = nix::sys::resource::getrlimit(resource).unwrap();
        nix::sys::resource::setrlimit(resource, most.min(8192), most).unwrap();
        let scene = Scene::calm();
        let null = std::fs::File::open("/dev/null").unwrap();
        let _others: Vec<_> = (0..4000).map_while(|_| null.try_clone().ok()).collect();
        NICS.into_iter().for_each(|id| scene.add_nic(id));
        let ids = NICS.map(str::to_owned);
        let how = RemovalOfMany { live_only: false, wait: true, leave_overlay: false };
        let (outcome, cost) = measure(|| scene.guest().unplug_all(&ids, how, Duration::from_millis(300)));
        println!("{cost:?}, {outcome:?}");
        assert!(cost.own_time() < Duration::from_millis(550), "{cost:?}");
    });
}
