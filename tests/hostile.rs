//! QEMU is not trusted: whatever it says and whenever, no call panics, hangs or eats the agent's memory, and
//! the record stays one that the next agent can work with.
//!
//! `KVM_HOTPLUG_HOSTILE_CASES` sets the number of random scripts (2,000) that are the same in every run.
//! After them come fresh ones, one for each twenty. `KVM_HOTPLUG_HOSTILE_SEED` replays one.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, unreachable_pub)]
#![allow(clippy::result_large_err)]

#[path = "hostile/agent.rs"]
mod agent;
#[path = "hostile/memory_bombs.rs"]
mod memory_bombs;
#[path = "hostile/memory_cost.rs"]
mod memory_cost;
#[path = "hostile/script.rs"]
mod script;
#[path = "hostile/storms.rs"]
mod storms;
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use agent::Scene;
use support::host;

/// Tests that share the random scripts; each runs in a process of its own, side by side.
const SHARDS: u64 = 4;

/// For so many scripts that every run plays there is one that no other run does.
const EACH_FRESH: u64 = 20;

/// Above those that every run plays.
fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos()) << 12
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn shard(index: u64) {
    let name = format!("anything_at_any_time_{index}");
    host::in_own_process_off_disk(&name, &mut || match setting("KVM_HOTPLUG_HOSTILE_SEED") {
        Some(seed) if seed % SHARDS == index => one(seed),
        Some(_) => {}
        None => {
            let cases = setting("KVM_HOTPLUG_HOSTILE_CASES").unwrap_or(2000);
            let fresh = fresh_seed();
            let seeds = (0..cases).chain(fresh..fresh + cases / EACH_FRESH);
            seeds.filter(|seed| seed % SHARDS == index).for_each(one);
        }
    });
}

fn one(seed: u64) {
    println!("KVM_HOTPLUG_HOSTILE_SEED={seed}");
    memory_cost::not_longer_than(180);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let start = Instant::now();
    let result = TestRunner::new_with_rng(config, rng).run(&script::script(), |script| {
        agent::play(&script);
        Ok(())
    });
    memory_cost::not_longer_than(0);
    println!("seed {seed}: {:?}", start.elapsed());
    if let Err(error) = result {
        panic!("KVM_HOTPLUG_HOSTILE_SEED={seed}: {error}");
    }
}

#[test]
fn anything_at_any_time_0() {
    shard(0);
}

#[test]
fn anything_at_any_time_1() {
    shard(1);
}

#[test]
fn anything_at_any_time_2() {
    shard(2);
}

#[test]
fn anything_at_any_time_3() {
    shard(3);
}

/// A peer that never stops saying that a device is gone, while another one is waited for.
#[test]
fn repeating_itself_for_ever_is_no_way_to_fill_memory() {
    host::in_own_process("repeating_itself_for_ever_is_no_way_to_fill_memory", &mut || {
        let scene = Scene::calm();
        let other = "d1-a-name-as-long-as-can-be-is";
        scene.add_disk("d0");
        scene.add_disk(other);
        let line = format!("{{\"event\":\"DEVICE_DELETED\",\"data\":{{\"device\":\"{other}\"}}}}\r\n");
        let line = line.repeat(200).into_bytes();
        scene.qemu().model(|model| model.unplug_behaviour = support::fake::UnplugBehaviour::Never);
        let ended = AtomicBool::new(false);
        let (outcome, cost) = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    scene.qemu().say(line.clone());
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let measured = memory_cost::measure(|| scene.unplug("d0", Duration::from_millis(1500)));
            ended.store(true, Ordering::Relaxed);
            measured
        });
        println!("{cost:?} {outcome:?}");
        assert!(cost.peak < 2 << 20, "{cost:?}");
    });
}
