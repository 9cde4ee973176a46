//! One process with two thousand guests: what each of them holds, counted. None of it depends on the machine.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout)]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_hotplug::guest::Guest;
use kvm_hotplug::log::Log;
use kvm_hotplug::model::Record;
use kvm_hotplug::store::RecordFile;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Deserializer, Value, json};
use support::counting::{Counting, held};

#[global_allocator]
static COUNTING: Counting = Counting;

const GUESTS: usize = 2000;

/// The connection, the pollable descriptor and what makes it readable, cancelling, and the record's directory
/// and lock.
const FDS: usize = 6;

/// In bytes, of what the library has allocated. A page cache, a socket's buffers and the like are the
/// kernel's.
const MOST_MEMORY: usize = 32 << 10;

/// One monitor after the other on one socket: each says what an empty guest says, and stays connected.
fn monitors(path: &Path) -> JoinHandle<Vec<UnixStream>> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || (0..GUESTS).map(|_| play(listener.accept().unwrap().0)).collect())
}

/// Up to the answer to the last question of opening.
fn play(mut client: UnixStream) -> UnixStream {
    client
        .write_all(br#"{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22}},"capabilities":[]}}"#)
        .unwrap();
    let mut heard = Vec::new();
    let mut told = 0;
    loop {
        let mut piece = [0; 4096];
        let count = client.read(&mut piece).unwrap();
        heard.extend_from_slice(&piece[..count]);
        let commands: Vec<Value> =
            Deserializer::from_slice(&heard).into_iter().map_while(Result::ok).collect();
        for command in commands.iter().skip(told) {
            let mut reply = json!({ "return": answer(command["execute"].as_str().unwrap()) });
            if let Some(id) = command.get("id") {
                reply["id"] = id.clone();
            }
            client.write_all(reply.to_string().as_bytes()).unwrap();
        }
        told = commands.len();
        if commands.last().is_some_and(|command| command["execute"] == "query-status") {
            return client;
        }
    }
}

fn answer(command: &str) -> Value {
    match command {
        "qmp_capabilities" => json!({}),
        "query-pci" => json!([{ "bus": 0, "devices": [{
            "bus": 0, "slot": 0, "function": 0, "qdev_id": "", "class_info": { "class": 1536 },
            "id": { "vendor": 0x8086, "device": 0x1237 }, "regions": [],
        }] }]),
        "qom-list" | "query-fdsets" => json!([]),
        "query-status" => json!({ "status": "running", "running": true }),
        other => panic!("{other} is asked at open"),
    }
}

fn entries(path: &str) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

/// Both ends of each connection are in this process.
fn room_for_descriptors() {
    let needed = u64::try_from(GUESTS * (FDS + 1) + 100).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).expect("root may open so many files");
    }
}

#[test]
fn what_two_thousand_guests_hold() {
    room_for_descriptors();
    // In memory: thousands of files are synced.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let socket = dir.path().join("qmp");
    let monitors = monitors(&socket);
    let open = |number: usize| {
        let mut runtime = RecordFile::new(Record::new("guest", vec!["qemu".to_owned()], 4).unwrap());
        runtime.save_new(&dir.path().join(format!("{number}.runtime"))).unwrap();
        Guest::open(Arc::new(Mutex::new(runtime)), &socket, Log::default(), Duration::from_secs(60)).unwrap()
    };
    let (memory, threads, fds) = (held(), entries("/proc/self/task"), entries("/proc/self/fd"));
    let mut guests = Vec::with_capacity(GUESTS);
    guests.push(open(0));
    let first = held();
    guests.extend((1..GUESTS).map(open));
    let each = (held() - first).unsigned_abs() / (GUESTS - 1) + size_of::<Guest>();
    assert!(each <= MOST_MEMORY, "{each} bytes for each guest");
    // The one that plays the monitors may have ended.
    assert!(entries("/proc/self/task") <= threads, "the library has no threads");
    // The listener has gone with its thread, which had the other end of each connection.
    let clients = monitors.join().unwrap();
    assert_eq!(entries("/proc/self/fd") + 1 - fds - clients.len(), GUESTS * FDS);
    println!("{each} bytes and {FDS} descriptors for each guest");
    drop(guests);
    // A thread that was joined leaves some bytes on one side or the other.
    assert!((held() - memory).abs() < 1024, "{} bytes are left of them", held() - memory);
}
