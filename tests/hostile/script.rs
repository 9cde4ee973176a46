//! What a hostile peer may say, and what the agent does meanwhile, as random choices.

use std::fmt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Number, Value, json};

use super::support::fake::{ANY, Act, Greeting, Machine};

/// Ids that the agent uses and the peer talks about.
pub const NICS: [&str; 2] = ["n0", "n1"];
pub const DISKS: [&str; 2] = ["d0", "d1"];

/// Most bytes that the peer makes by repeating something: beyond what the library takes as one message
/// (`MAX_MESSAGE`, 4 MiB) or keeps of events. Some of what is repeated has half a megabyte by itself.
const MOST_REPEATED: usize = 8 << 20;

/// A run from beginning to end.
#[derive(Clone, Debug)]
pub struct Script {
    pub machine: Machine,
    pub numbered: bool,
    pub greeting: Hello,
    pub faults: Vec<(&'static str, usize, Said)>,
    pub steps: Vec<Step>,
}

/// What a client is told first.
#[derive(Clone, Debug)]
pub enum Hello {
    Usual,
    /// After the pieces, the usual one.
    Behind(Vec<Blob>),
    Instead(Vec<Blob>),
    Cut(usize),
}

impl Hello {
    pub fn greeting(&self, version: (u32, u32, u32)) -> Greeting {
        let usual = Greeting::text(version);
        let now = |blob: &Blob| (Duration::ZERO, blob.0.clone());
        match self {
            Self::Usual => Greeting::default(),
            Self::Behind(blobs) => Greeting::pieces(blobs.iter().map(now).chain([(Duration::ZERO, usual)])),
            Self::Instead(blobs) => Greeting::pieces(blobs.iter().map(now)),
            Self::Cut(length) => Greeting::bytes(usual.get(..*length).unwrap_or(&usual)),
        }
    }
}

/// A fault, printed short.
#[derive(Clone)]
pub struct Said(pub Act);

/// Bytes, printed short.
#[derive(Clone)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Act::Instead(bytes) => write!(f, "Instead({:?})", Blob(bytes.clone())),
            Act::Endless(bytes) => write!(f, "Endless({:?})", Blob(bytes.clone())),
            Act::Around(before, after) => {
                write!(f, "Around({:?}, {:?})", Blob(before.clone()), Blob(after.clone()))
            }
            Act::Refuse(text) => write!(f, "Refuse({:?})", Blob(text.clone().into_bytes())),
            Act::Return(value) => write!(f, "Return({:?})", Blob(value.to_string().into_bytes())),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..400).unwrap_or(&self.0);
        write!(f, "{} bytes {:?}", self.0.len(), String::from_utf8_lossy(shown))
    }
}

/// What the agent does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Waited for, or not.
    AddNic(Option<&'static str>, bool),
    AddDisk(Option<&'static str>, bool),
    PlanDisk,
    Unplug(&'static str, bool),
    PlanUnplug(&'static str),
    Process,
    SlotMap,
    Verify,
    Mend,
    SetLink(&'static str, bool),
    Resize(&'static str, Option<u64>),
    Describe,
    /// A command of the agent's own.
    Ask(&'static str),
    /// Raw events are wanted, or no more.
    Watch(bool),
    Events,
    /// The peer says this although nobody asked.
    Unasked(Blob),
    HangUp,
    /// The agent ends and another one comes.
    NewAgent,
}

pub fn script() -> impl Strategy<Value = Script> {
    let machine = prop_oneof![3 => Just(Machine::Pc), 1 => (0u8..5).prop_map(Machine::Q35)];
    let faults = vec(fault(), 0..7);
    let steps = vec(step(), 2..8);
    (machine, prop::bool::weighted(0.8), hello(), faults, steps).prop_map(
        |(machine, numbered, greeting, faults, steps)| Script { machine, numbered, greeting, faults, steps },
    )
}

fn hello() -> impl Strategy<Value = Hello> {
    prop_oneof![
        12 => Just(Hello::Usual),
        2 => vec(blob(), 1..4).prop_map(Hello::Behind),
        1 => vec(blob(), 1..4).prop_map(Hello::Instead),
        1 => (0usize..120).prop_map(Hello::Cut),
    ]
}

const SIZES: [Option<u64>; 3] = [None, Some(2 << 20), Some(4 << 20)];
const QUESTIONS: [&str; 3] = ["query-status", "query-pci", "stop"];

fn step() -> impl Strategy<Value = Step> {
    let nic = prop_oneof![Just(None), select(&NICS[..]).prop_map(Some)];
    let disk = prop_oneof![Just(None), select(&DISKS[..]).prop_map(Some)];
    prop_oneof![
        3 => (nic, any::<bool>()).prop_map(|(id, wait)| Step::AddNic(id, wait)),
        3 => (disk, any::<bool>()).prop_map(|(id, wait)| Step::AddDisk(id, wait)),
        1 => Just(Step::PlanDisk),
        3 => (any_id(), any::<bool>()).prop_map(|(id, wait)| Step::Unplug(id, wait)),
        1 => any_id().prop_map(Step::PlanUnplug),
        1 => Just(Step::Process),
        1 => Just(Step::SlotMap),
        1 => Just(Step::Verify),
        2 => Just(Step::Mend),
        2 => (any_id(), any::<bool>()).prop_map(|(id, up)| Step::SetLink(id, up)),
        2 => (any_id(), select(&SIZES[..])).prop_map(|(id, size)| Step::Resize(id, size)),
        1 => Just(Step::Describe),
        1 => select(&QUESTIONS[..]).prop_map(Step::Ask),
        1 => any::<bool>().prop_map(Step::Watch),
        1 => Just(Step::Events),
        2 => blob().prop_map(Step::Unasked),
        1 => Just(Step::HangUp),
        1 => Just(Step::NewAgent),
    ]
}

fn any_id() -> impl Strategy<Value = &'static str> {
    select(vec![NICS[0], NICS[1], DISKS[0], DISKS[1], "nic-pci-4", "disk-pci-4", "rp0", "nobody"])
}

fn fault() -> impl Strategy<Value = (&'static str, usize, Said)> {
    let lie = prop_oneof![
        (Just("query-pci"), pci()),
        (Just("qom-list"), qom()),
        (Just("query-fdsets"), fdsets()),
        (Just("query-named-block-nodes"), nodes()),
        (Just("qom-get"), anything()),
        (Just("query-status"), json_of("status", anything())),
    ];
    let lie = (lie, 0usize..4).prop_map(|((name, value), skip)| (name, skip, Said(Act::Return(value))));
    let fault = (0usize..40, act()).prop_map(|(skip, act)| (ANY, skip, Said(act)));
    prop_oneof![1 => lie, 2 => fault]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        refusal().prop_map(Act::Refuse),
        Just(Act::CloseBefore),
        Just(Act::CloseAfter),
        Just(Act::HangBefore),
        Just(Act::HangAfter),
        (0u64..60).prop_map(|ms| Act::Stall(Duration::from_millis(ms))),
        (0u64..60).prop_map(|ms| Act::AnswerLate(Duration::from_millis(ms))),
        Just(Act::LoseAnswer),
        Just(Act::AnswerTwice),
        anything().prop_map(Act::AnswerWithId),
        (blob(), blob()).prop_map(|(before, after)| Act::Around(before.0, after.0)),
        blob().prop_map(|blob| Act::Instead(blob.0)),
        blob().prop_map(|blob| Act::Endless(blob.0)),
        (1usize..17).prop_map(Act::WithFds),
        anything().prop_map(Act::Return),
        (0usize..80).prop_map(Act::CutAt),
    ]
}

/// Texts that the library looks for parts of, and absurd ones.
fn refusal() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "Device 'x' not found",
            "Node d0 is in use",
            "Bus 'pci.0' does not support hotplugging",
            "PCI: slot 4 function 0 not available for virtio-net-pci, in use by x,id=y",
            "Duplicate device ID 'n0'",
            "Failed to get \"write\" lock",
            "Device n0 is already in the process of unplug",
            "Hot-unplug failed: guest is busy (power indicator blinking)",
            "",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,40}",
        (1usize..200_000).prop_map(|length| "\u{1b}[2J\n\0ä".repeat(length / 8)),
    ]
}

/// Something on the wire.
fn blob() -> impl Strategy<Value = Blob> {
    let line = |value: Value| format!("{value}\r\n").into_bytes();
    prop_oneof![
        4 => event().prop_map(line),
        1 => (event(), 2usize..3000).prop_map(move |(value, count)| {
            let line = line(value);
            line.repeat(in_bounds(count, line.len()))
        }),
        3 => (reply_id(), anything()).prop_map(move |(id, value)| line(json!({ "return": value, "id": id }))),
        1 => (reply_id(), refusal()).prop_map(move |(id, text)| {
            line(json!({ "error": { "class": "GenericError", "desc": text }, "id": id }))
        }),
        1 => (reply_id(), anything()).prop_map(move |(id, value)| line(json!({ "error": value, "id": id }))),
        1 => anything().prop_map(line),
        1 => anything().prop_map(move |value| line(json!({ "QMP": value }))),
        1 => vec(any::<u8>(), 0..200),
        1 => Just(b"{\"event\":\"\xff\xfe\",\"data\":{\"device\":\"n0\"}}".to_vec()),
        1 => (1usize..200).prop_map(|depth| [b"{\"return\":".to_vec(), b"[".repeat(depth)].concat()),
        1 => (event(), 1usize..60).prop_map(move |(value, cut)| {
            let whole = line(value);
            whole.get(..cut).unwrap_or(&whole).to_vec()
        }),
        1 => (1usize..(5 << 20)).prop_map(|size| [b"{\"return\":\"".to_vec(), vec![b'y'; size]].concat()),
        1 => (1usize..600_000).prop_map(|count| {
            [b"{\"return\":[".to_vec(), b"{\"\":0},".repeat(count), b"0],\"id\":5}".to_vec()].concat()
        }),
        1 => (1usize..100_000).prop_map(|count| b" \r\n".repeat(count)),
        1 => select(vec!["{\"return\":1e999}", "{\"return\":-0.0,\"id\":1e3}", "{}", "[]", "null", "}", "\0"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
    .prop_map(Blob)
}

/// So often, but not so that more comes of it than `MOST_REPEATED`.
fn in_bounds(count: usize, size: usize) -> usize {
    count.min(MOST_REPEATED / size.max(1)).max(1)
}

fn copies(value: &Value, count: usize) -> Vec<Value> {
    vec![value.clone(); in_bounds(count, value.to_string().len())]
}

fn reply_id() -> impl Strategy<Value = Value> {
    prop_oneof![
        5 => (0u64..60).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => anything(),
    ]
}

fn event() -> impl Strategy<Value = Value> {
    let name = select(vec![
        "DEVICE_DELETED",
        "DEVICE_DELETED",
        "DEVICE_UNPLUG_GUEST_ERROR",
        "SHUTDOWN",
        "RESET",
        "BLOCK_JOB_READY",
        "",
    ]);
    let data = prop_oneof![
        3 => any_id().prop_map(|id| json!({ "device": id, "path": format!("/machine/peripheral/{id}") })),
        1 => anything(),
        1 => json_of("device", anything()),
    ];
    (name, data).prop_map(|(name, data)| json!({ "event": name, "data": data, "timestamp": {} }))
}

fn json_of(key: &'static str, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    value.prop_map(move |value| json!({ key: value }))
}

/// Any JSON, with a liking for the edges.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::from)),
        select(vec![0i64, -1, 31, 32, 255, 256, 65_536]).prop_map(Value::from),
        any_id().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (1usize..70_000).prop_map(|count| Value::from("\u{7}x".repeat(count))),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((any_id(), inner), 0..6).prop_map(|pairs| {
                Value::Object(
                    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>(),
                )
            }),
        ]
    })
}

/// Mostly a number in range, sometimes anything.
fn number(limit: u64) -> impl Strategy<Value = Value> {
    prop_oneof![30 => (0..limit).prop_map(Value::from), 1 => anything()]
}

fn pci() -> impl Strategy<Value = Value> {
    let place = (number(32), number(8), any_id(), select(vec![-1i64, 0, 4096]), prop::bool::weighted(0.3));
    let id = select(vec![
        (0x1af4, 0x1000),
        (0x8086, 0x1237),
        (0x8086, 0x29c0),
        (0x1b36, 0x000c),
        (0x1b36, 0x0001),
    ]);
    let device = (place, id).prop_map(|((slot, function, name, at, bridge), (vendor, number))| {
        let mut device = json!({
            "slot": slot, "function": function, "qdev_id": name, "bus": 0,
            "id": { "vendor": vendor, "device": number },
            "class_info": { "class": 512, "desc": name }, "regions": [{ "address": at }],
        });
        if bridge {
            device["pci_bridge"] = json!({ "bus": { "secondary": slot, "number": 0, "subordinate": 9 } });
        }
        device
    });
    let device = device.boxed();
    let nested = device.clone().prop_recursive(40, 60, 4, |inner| {
        (inner.clone(), vec(inner, 0..4)).prop_map(|(mut port, children)| {
            let number = port["slot"].clone();
            port["pci_bridge"] =
                json!({ "bus": { "secondary": number, "subordinate": number }, "devices": children });
            port
        })
    });
    let devices = prop_oneof![
        4 => vec(nested.clone(), 0..12),
        1 => (device, 1usize..5000).prop_map(|(device, count)| copies(&device, count)),
    ];
    let bus = (number(3), devices).prop_map(|(bus, devices)| json!({ "bus": bus, "devices": devices }));
    prop_oneof![9 => vec(bus, 0..4).prop_map(Value::from), 1 => anything()]
}

fn qom() -> impl Strategy<Value = Value> {
    let kind = select(vec!["child<virtio-net-pci>", "child<pcie-root-port>", "child<>", "string", "link<x>"]);
    let entry = (any_id(), kind).prop_map(|(name, kind)| json!({ "name": name, "type": kind }));
    prop_oneof![
        6 => vec(entry, 0..20).prop_map(Value::from),
        1 => (1usize..5000).prop_map(|count| {
            (0..count).map(|n| json!({ "name": format!("x{n}"), "type": "child<virtio-net-pci>" })).collect()
        }),
        1 => anything(),
    ]
}

fn fdsets() -> impl Strategy<Value = Value> {
    let tag = any_id().prop_map(|id| format!("kh:{id}"));
    let set = (number(9), vec(tag, 0..3)).prop_map(|(id, tags)| {
        let fds: Vec<Value> = tags.into_iter().map(|tag| json!({ "fd": 9, "opaque": tag })).collect();
        json!({ "fdset-id": id, "fds": fds })
    });
    prop_oneof![
        6 => vec(set, 0..9).prop_map(Value::from),
        1 => (1u32..10_000, any_id()).prop_map(|(count, id)| {
            let tag = json!([{ "fd": 1, "opaque": format!("kh:{id}") }]);
            (0..count).map(|n| json!({ "fdset-id": n, "fds": tag })).collect()
        }),
        1 => anything(),
    ]
}

fn nodes() -> impl Strategy<Value = Value> {
    let node = (any_id(), number(2), number(1 << 20)).prop_map(|(name, ro, size)| {
        json!({ "node-name": name, "ro": ro == json!(1), "image": { "virtual-size": size } })
    });
    let node = node.boxed();
    prop_oneof![
        6 => vec(node.clone(), 0..9).prop_map(Value::from),
        1 => (node, 1usize..20_000).prop_map(|(node, count)| copies(&node, count).into()),
        1 => anything(),
    ]
}
