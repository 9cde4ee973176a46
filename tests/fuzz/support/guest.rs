//! A guest in hostile hands: it answers every command of an agent with whatever it likes. No call crashes or
//! outstays its deadline, and the record stays one that can be loaded.
//!
//! The input is text. The first line says what the agent does, one letter a call (see [`call`]), and whether
//! an earlier agent was interrupted (`A`, `U`, `R`: the journal's verb). Each further line answers one
//! command: `!` and bytes that are sent as they are, `-` and an error text, or the value to return.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use super::{Answer, Peer, Reaction};
use kvm_hotplug::disk::{DiskSpec, Format, FormatRequest, Secrets};
use kvm_hotplug::guest::{DiskRequest, Guest, Placement, Removal};
use kvm_hotplug::ids::DeviceId;
use kvm_hotplug::log::Log;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_millis(50);

/// A call may outstay its deadline to say what became of the device; the rest is for a busy machine.
const SLACK: Duration = Duration::from_secs(5);

const MOST_CALLS: usize = 12;

const GREETING: &[u8] =
    b"{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":2,\"major\":7}},\"capabilities\":[]}}\n";

static SCENE: LazyLock<Scene> = LazyLock::new(Scene::new);

struct Scene {
    peer: Peer,
    runtime: PathBuf,
    image: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let peer = Peer::start();
        let image = peer.directory().join("disk.img");
        fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        Self { runtime: peer.directory().join("vm.runtime"), image, peer }
    }

    /// The record has the disk `old`; an interrupted agent was at the disk `new`, or at removing `old`.
    fn write_files(&self, interrupted: Option<&str>) {
        let disk = |id: &str, slot: u8| {
            let address = json!({"bus": "pci.0", "slot": slot});
            json!({"id": id, "generation": 1, "address": address, "path": self.image, "format": "raw", "share_rw": true})
        };
        let record =
            json!({"format": "kvm-hotplug-runtime", "version": 1, "command": [], "disks": [disk("old", 5)]});
        fs::write(&self.runtime, record.to_string()).unwrap();
        let journal = self.peer.directory().join("vm.runtime.journal");
        let Some(operation) = interrupted else {
            let _ = fs::remove_file(journal);
            return;
        };
        let disk = if operation == "remove" { disk("old", 5) } else { disk("new", 6) };
        let intents = json!([{"verb": operation, "disk": disk}]);
        let text = json!({"format": "kvm-hotplug-journal", "version": 1, "intents": intents});
        fs::write(journal, text.to_string()).unwrap();
    }
}

/// One call on the handle; letters that mean nothing are passed over.
fn call(guest: &Guest, letter: u8, image: &Path) {
    let unplug = |id: &str, wait| {
        let removal = Removal { id: id.to_owned(), kind: None, live_only: false, wait, leave_overlay: false };
        let _ = guest.unplug(&removal, TIMEOUT);
    };
    match letter {
        b'a' => {
            let spec = DiskSpec { share_rw: true, ..DiskSpec::new(image, Format::Raw) };
            let placement = Placement { id: DeviceId::parse("new").ok(), ..Placement::default() };
            let _ = guest.add_disk(
                &DiskRequest { placement, spec, format: FormatRequest::Raw, secrets: Secrets::default() },
                TIMEOUT,
            );
        }
        b'u' => unplug("old", true),
        b'n' => unplug("new", false),
        b'p' => drop(guest.process(TIMEOUT)),
        b's' => drop(guest.slot_map(TIMEOUT)),
        b'v' => drop(guest.verify(TIMEOUT)),
        b'm' => drop(guest.repair(TIMEOUT)),
        b'l' => drop(guest.list()),
        b'e' => while guest.next_event().is_ok_and(|event| event.is_some()) {},
        _ => {}
    }
}

fn in_time<T>(work: impl FnOnce() -> T) -> T {
    let in_flight = Instant::now();
    let result = work();
    let taken = in_flight.elapsed();
    assert!(taken < TIMEOUT + SLACK, "a call of {TIMEOUT:?} took {taken:?}");
    result
}

fn answer(line: &[u8]) -> Answer {
    match line {
        [b'!', raw @ ..] => Answer::Bytes(vec![[raw, b"\n"].concat()]),
        [b'-', text @ ..] => {
            let text = String::from_utf8_lossy(text);
            Answer::Reply(json!({"error": {"class": "GenericError", "desc": text}}))
        }
        json => Answer::Reply(json!({"return": serde_json::from_slice(json).unwrap_or(Value::Null)})),
    }
}

/// What the target does with an input.
pub fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let calls = lines.next().unwrap_or_default();
    let answers = lines.map(answer).collect();
    let scene = &*SCENE;
    if !scene.peer.prepare(Reaction { opening: vec![GREETING.to_vec()], negotiates: true, answers }) {
        return;
    }
    let verbs = [(b'A', "add"), (b'U', "undo-add"), (b'R', "remove")];
    scene.write_files(
        verbs.iter().find(|(letter, _)| calls.contains(letter)).map(|(_, operation)| *operation),
    );
    let runtime = Arc::new(Mutex::new(RecordFile::load(&scene.runtime).unwrap()));
    if let Ok(guest) = in_time(|| Guest::open(runtime, scene.peer.path(), Log::default(), TIMEOUT)) {
        for letter in calls.iter().take(MOST_CALLS) {
            in_time(|| call(&guest, *letter, &scene.image));
        }
    }
    // Decoding checks it, too.
    RecordFile::peek(&scene.runtime).unwrap();
}
