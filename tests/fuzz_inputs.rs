//! Every input that the fuzz targets begin with, and the same cut, changed and mixed at random. Without
//! coverage nothing new is looked for: `tests/run fuzz` does that.
//!
//! Half of the changes are the same in every run, and half are fresh: `KVM_HOTPLUG_TEST_SEED` repeats those.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, missing_docs)]

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::host;
use tempfile::TempDir;

#[path = "fuzz/support/lib.rs"]
mod fuzz;
mod support;

/// Changes for each input.
const CHANGES: usize = 16;
const FIXED_SEED: u64 = 1;

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new("tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 1, "no inputs of {target}");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Cut,
    Replace(u8),
    Repeat,
    Mix,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Cut), any::<u8>().prop_map(Kind::Replace), Just(Kind::Repeat), Just(Kind::Mix)]
}

fn changed(input: &[u8], other: &[u8], kind: Kind, at: Index, to: Index) -> Vec<u8> {
    let (begin, rest) = input.split_at(at.index(input.len() + 1));
    match kind {
        Kind::Cut => begin.to_vec(),
        Kind::Replace(byte) => {
            let tail = rest.get(1..).unwrap_or_default();
            [begin, &[byte], tail].concat()
        }
        Kind::Repeat => [begin, &begin[to.index(begin.len() + 1)..], rest].concat(),
        Kind::Mix => [begin, &other[to.index(other.len() + 1)..]].concat(),
    }
}

fn change_all(inputs: &[Vec<u8>], run: fn(&[u8]), seed: u64) {
    let cases = u32::try_from(inputs.len() * CHANGES / 2).unwrap();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let change = (any::<Index>(), any::<Index>(), kind(), any::<Index>(), any::<Index>());
    let result = TestRunner::new_with_rng(config, rng).run(&change, |(which, other, kind, at, to)| {
        let (input, other) = (&inputs[which.index(inputs.len())], &inputs[other.index(inputs.len())]);
        run(&changed(input, other, kind, at, to));
        Ok(())
    });
    if let Err(error) = result {
        panic!("KVM_HOTPLUG_TEST_SEED={seed}: {error}");
    }
}

fn fresh_seed() -> u64 {
    let given = std::env::var("KVM_HOTPLUG_TEST_SEED").ok();
    given.map_or_else(
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
        |text| text.parse().expect("a number"),
    )
}

/// In a process of its own: the other end of a monitor and its files stay until that ends.
fn play(target: &str, run: fn(&[u8])) {
    let folder = TempDir::new().unwrap();
    host::in_own_process_beneath(target, folder.path(), &mut || {
        let inputs = inputs(target);
        inputs.iter().for_each(|input| run(input));
        change_all(&inputs, run, FIXED_SEED);
        change_all(&inputs, run, fresh_seed());
    });
}

macro_rules! targets {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            play(stringify!($target), fuzz::$target::run);
        })*

        /// So that no target is forgotten here.
        #[test]
        fn all_targets_are_played() {
            let mut here = [$(stringify!($target)),*];
            here.sort_unstable();
            let entries = fs::read_dir("tests/fuzz/corpus").unwrap();
            let mut there: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            there.sort();
            assert_eq!(here[..], there[..]);
        }
    };
}

targets!(boot, guest, journal, monitor_reader, qcow2, query_pci, runtime_loader);
