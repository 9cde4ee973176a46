//! What a QEMU in hostile hands may say, for [`Act`](crate::Act): answers that are small on the wire and
//! large in memory, and words that are repeated without end.

use serde_json::{Value, json};

/// A kind of answer that is as large as it is asked to be, in bytes on the wire.
pub type MemoryBomb = (&'static str, fn(usize) -> Value);

/// What an answer may be made of.
pub const MEMORY_BOMBS: [MemoryBomb; 14] = [
    ("objects", |room| many(&json!({ "": 0 }), room)),
    ("empty objects", |room| many(&json!({}), room)),
    ("lists", |room| many(&json!([]), room)),
    ("numbers", |room| many(&json!(0), room)),
    ("texts", |room| many(&json!(""), room)),
    ("one text", |room| "y".repeat(room).into()),
    ("control characters", |room| "\u{1}".repeat(room / 6).into()),
    ("children", |room| many(&json!({ "name": "nobody", "type": "child<x>" }), room)),
    ("long children", |room| many(&json!({ "name": "y".repeat(room / 3), "type": "child<x>" }), room)),
    ("long disks", |room| many(&json!({ "name": "y".repeat(room / 3), "type": "child<scsi-hd>" }), room)),
    ("disks", |room| {
        let disks = (0..room / 40).map(|n| json!({ "name": format!("d{n}"), "type": "child<scsi-hd>" }));
        disks.collect()
    }),
    ("fdsets", |room| {
        let set = |number: usize| json!({ "fdset-id": number, "fds": [{ "fd": 1, "opaque": "kh:d0" }] });
        (0..count_of(&set(12345), room)).map(set).collect()
    }),
    ("nodes", |room| many(&json!({ "node-name": "d0", "ro": true }), room)),
    ("devices", |room| {
        let device = json!({ "slot": 4, "function": 0, "id": { "vendor": 1, "device": 2 }, "qdev_id": "d0" });
        json!([{ "bus": 0, "devices": many(&device, room) }])
    }),
];

/// As many of these as there is room for, in bytes on the wire.
pub fn many(unit: &Value, room: usize) -> Value {
    vec![unit.clone(); count_of(unit, room)].into()
}

fn count_of(unit: &Value, room: usize) -> usize {
    (room / (unit.to_string().len() + 1)).max(1)
}

/// What is said without end. The first of them say that the guest may not be running any more.
pub const STORMS: [&str; 6] = [
    "{\"event\":\"RESUME\",\"data\":{}}\r\n",
    "{\"event\":\"STOP\",\"data\":{}}\r\n",
    "{\"event\":\"RESET\",\"data\":{\"guest\":true}}\r\n",
    "{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"d0\"}}\r\n",
    "{\"event\":\"BLOCK_IO_ERROR\",\"data\":{\"node-name\":\"d0\",\"operation\":\"write\",\"action\":\"report\"}}\r\n",
    "{\"return\":{},\"id\":7}\r\n",
];
