//! Limits of a tap: what the kernel has of them, and the messages by which it gets them, against those of
//! `tc`.

use std::collections::BTreeSet;
use std::process::Command;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::ids::{IfName, MacAddr};
use kvm_hotplug::net::bandwidth::{Bandwidth, Limits};
use kvm_hotplug::net::limits::{LimitChange, of_tap};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::net::tap::TapRequest;

use crate::{Made, host, ifname, not_run, request};

/// Set in the child whose messages are looked at: the tap, and the limit of both directions.
const CHILD: &str = "KVM_HOTPLUG_TEST_LIMITS";

/// Before each frame, of zeros: no offloads.
const VNET_HEADER: usize = 10;

/// Messages about disciplines and filters that change something.
const KINDS: [u16; 4] = [36, 37, 44, 45];

fn limit(average: u64, burst: u32) -> Option<Bandwidth> {
    Some(Bandwidth { average, burst })
}

fn change(tap: &IfName, there: Limits, back: Limits) -> LimitChange {
    let mut nic = Box::new(NicSpec::new(MacAddr::local([1, 2, 3])));
    nic.ifname = Some(tap.clone());
    LimitChange { nic, there, back }
}

fn set(tap: &IfName, there: Limits) -> kvm_hotplug::error::Result<()> {
    change(tap, there, Limits::default()).run()
}

fn inbound(average: u64, burst: u32) -> Limits {
    Limits { inbound: limit(average, burst), outbound: None }
}

/// What `tc` has, or why not.
fn try_tc(words: &str) -> Result<String, String> {
    let output =
        Command::new("tc").args(words.split_whitespace()).output().expect("run tc (package iproute2)");
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn tc(words: &str) -> String {
    try_tc(words).unwrap_or_else(|error| panic!("tc {words}: {error}"))
}

fn qdiscs(tap: &IfName) -> String {
    tc(&format!("qdisc show dev {tap}"))
}

/// A kernel without `act_police` cannot limit what a guest sends.
fn has_police() -> bool {
    let tap = Made::persistent("tap");
    tc(&format!("qdisc add dev {} ingress", tap.0));
    let words = format!(
        "filter add dev {} ingress prio 9 protocol all u32 match u32 0 0 action police rate 1mbit burst 100k conform-exceed drop",
        tap.0
    );
    try_tc(&words).is_ok()
}

#[test]
fn what_a_guest_receives_is_limited_by_tbf() {
    host();
    let tap = Made::persistent("tap");
    assert_eq!(of_tap(&tap.0).unwrap(), Limits::default());
    let before = qdiscs(&tap.0);
    for (average, burst) in [(1_000_000, 100_000), (2_000_000, 100_000), (1 << 33, 1 << 28), (1024, 69632)] {
        set(&tap.0, inbound(average, burst)).unwrap();
        let shown = qdiscs(&tap.0);
        assert!(shown.contains("tbf 6b76: ") && shown.contains(" root "), "{shown}");
        let found = of_tap(&tap.0).unwrap();
        assert_eq!(inbound(average, burst).first_other(&found), None, "{found:?} {shown}");
        let other = inbound(average + 1, burst).first_other(&found).unwrap();
        assert!(other.0.contains("inbound") && other.1.contains(&average.to_string()), "{other:?}");
        assert!(inbound(average, burst + burst / 100).first_other(&found).is_some());
    }
    set(&tap.0, Limits::default()).unwrap();
    assert_eq!((qdiscs(&tap.0), of_tap(&tap.0).unwrap()), (before, Limits::default()));
}

#[test]
fn disciplines_of_others_are_left_alone() {
    host();
    let tap = Made::persistent("tap");
    tc(&format!("qdisc add dev {} root handle 1: tbf rate 1mbit burst 10k limit 10k", tap.0));
    tc(&format!("qdisc add dev {} ingress", tap.0));
    tc(&format!("filter add dev {} ingress prio 7 protocol all u32 match u32 0 0", tap.0));
    let before = (qdiscs(&tap.0), tc(&format!("filter show dev {} ingress", tap.0)));
    assert_eq!(of_tap(&tap.0).unwrap(), Limits::default());
    let error = set(&tap.0, inbound(1_000_000, 100_000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("discipline tbf of somebody else"), "{error}");
    set(&tap.0, Limits::default()).unwrap();
    // If this is possible, their filter stays, before and after.
    let send = Limits { inbound: None, outbound: limit(1_000_000, 100_000) };
    if set(&tap.0, send).is_ok() {
        assert_eq!(send.first_other(&of_tap(&tap.0).unwrap()), None);
    }
    set(&tap.0, Limits::default()).unwrap();
    assert_eq!((qdiscs(&tap.0), tc(&format!("filter show dev {} ingress", tap.0))), before);
}

/// 700 KB at once over a tap that lets 70 KB pass.
fn drops_what_is_too_much() {
    let limits = Limits { inbound: None, outbound: limit(100_000, 70_000) };
    let tap = host().open(&TapRequest { limits, ..request() }).unwrap();
    let mut frame = [0; VNET_HEADER + 1400];
    frame[VNET_HEADER..VNET_HEADER + 6].fill(0xff);
    frame[VNET_HEADER + 12..VNET_HEADER + 14].copy_from_slice(&[0x88, 0xb5]);
    for _ in 0..500 {
        nix::unistd::write(&tap.fds[0], &frame).unwrap();
    }
    let shown = tc(&format!("-s filter show dev {} ingress", tap.name));
    let dropped = shown.split("(dropped ").nth(1).and_then(|rest| rest.split(',').next());
    let dropped: u32 = dropped.unwrap_or_default().parse().unwrap();
    assert!((400..500).contains(&dropped), "{shown}");
}

#[test]
fn what_a_guest_sends_is_limited_by_police() {
    host();
    let tap = Made::persistent("tap");
    let before = qdiscs(&tap.0);
    let both = Limits { inbound: limit(3_000_000, 100_000), outbound: limit(1_000_000, 100_000) };
    if !has_police() {
        not_run::not_run("net_host, limits of what a guest sends", "the kernel has no act_police");
        let error = change(&tap.0, both, inbound(500_000, 70_000)).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("outbound: this host's kernel"), "{error}");
        let left = of_tap(&tap.0).unwrap();
        assert_eq!(inbound(500_000, 70_000).first_other(&left), None, "{left:?}");
        set(&tap.0, Limits::default()).unwrap();
        assert_eq!(qdiscs(&tap.0), before);
        return;
    }
    for outbound in [both.outbound, limit(1 << 33, 1 << 28), limit(2_000_000, 69632)] {
        let both = Limits { outbound, ..both };
        set(&tap.0, both).unwrap();
        let found = of_tap(&tap.0).unwrap();
        assert_eq!(both.first_other(&found), None, "{found:?}");
    }
    drops_what_is_too_much();
    let shown = tc(&format!("filter show dev {} ingress", tap.0));
    assert!(shown.matches("police 0x").count() == 1, "{shown}");
    set(&tap.0, Limits::default()).unwrap();
    assert_eq!((qdiscs(&tap.0), of_tap(&tap.0).unwrap()), (before, Limits::default()));
}

/// The messages that a command sends about disciplines and filters, but for their sequence numbers; `None` if
/// it cannot be traced.
fn messages(command: &[&str]) -> Option<Vec<Vec<u8>>> {
    let kind = |message: &[u8]| message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    let all = sent(command, |message| kind(message).is_some_and(|kind| KINDS.contains(&kind)))?;
    Some(all.into_iter().map(without_time_of_burst).collect())
}

/// The messages of a command on routing sockets that count, but for their sequence numbers.
pub fn sent(command: &[&str], counts: impl Fn(&[u8]) -> bool) -> Option<Vec<Vec<u8>>> {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let options = ["-f", "-e", "trace=sendto,sendmsg", "-e", "write=all", "-o", trace.to_str().unwrap()];
    Command::new("strace").args(options).args(command).output().ok()?;
    let text = std::fs::read_to_string(&trace).ok()?;
    let mut all: Vec<Vec<u8>> = Vec::new();
    for line in text.lines() {
        let Some(dump) = line.strip_prefix(" | ") else { continue };
        let (at, bytes) = dump.split_at(6);
        if at.trim() == "00000" {
            all.push(Vec::new());
        }
        let hex = bytes.get(..49).unwrap_or(bytes);
        all.last_mut()?.extend(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    all.retain(|message| counts(message));
    all.iter_mut().for_each(|message| message[8..12].fill(0));
    Some(all)
}

/// Of a rate that has more than 32 bits `tc` makes the time of a burst as if it had 32. The kernel goes by
/// the bytes of the burst, which are in the message as well.
fn without_time_of_burst(mut message: Vec<u8>) -> Vec<u8> {
    const LARGE: [u8; 4] = [0xff; 4];
    if message.get(60..64) == Some(&LARGE) && message[40..43] == *b"tbf" {
        message[80..84].fill(0);
    }
    message
}

/// Without most of the tables of rates.
fn text(messages: &[Vec<u8>]) -> String {
    let start = |message: &Vec<u8>| message.iter().take(180).copied().collect::<Vec<u8>>();
    let part = |message: &Vec<u8>| format!("{:02x?} of {} bytes", start(message), message.len());
    messages.iter().map(part).collect::<Vec<_>>().join("\n")
}

/// Not a test of its own: the process whose messages are looked at.
#[test]
fn child_that_is_traced() {
    let Ok(words) = std::env::var(CHILD) else { return };
    let [tap, average, burst] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{words}") };
    let (tap, average, burst) = (ifname(tap), average.parse().unwrap(), burst.parse().unwrap());
    let both = Limits { inbound: limit(average, burst), outbound: limit(average, burst) };
    // Twice, since the second time takes the place of the first; a kernel without police refuses at the end.
    for _ in 0..2 {
        let _ = change(&tap, both, inbound(average, burst)).run();
    }
    set(&tap, Limits::default()).unwrap();
}

#[test]
fn the_messages_are_those_of_tc() {
    host();
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let has_police = has_police();
    // No length takes a whole number of microseconds at these: `tc` is one off there, by its floating point.
    for (average, burst) in [
        (123_457_u64, 69632_u32),
        (1_000_003, 100_000),
        (12_500_003, 1_250_000),
        (5_368_709_141, 1 << 28),
        (1031, 69632),
    ] {
        let tap = Made::persistent("tap");
        let words = format!("{CHILD}={} {average} {burst}", tap.0);
        let child = ["env", &words, program, "--exact", "limits::child_that_is_traced"];
        let Some(own) = messages(&child) else {
            not_run::not_run(
                "net_host, messages about limits against those of tc",
                "strace cannot trace here",
            );
            return;
        };
        let queue = (average * 50 / 1000 + u64::from(burst)).min(u64::from(u32::MAX));
        let tbf = format!("root handle 6b76: tbf rate {average}bps burst {burst}b limit {queue}b");
        let filter = "ingress prio 27510";
        let police = format!("action police rate {average}bps burst {burst}b mtu 69632b conform-exceed drop");
        let mut of_tc = BTreeSet::new();
        let filter_all = format!("{filter} protocol all");
        let mut all = vec![
            format!("qdisc add dev {} {tbf}", tap.0),
            format!("qdisc replace dev {} {tbf}", tap.0),
            format!("qdisc del dev {} root handle 6b76:", tap.0),
            format!("qdisc add dev {} ingress", tap.0),
            format!("filter replace dev {} {filter_all} u32 match u32 0 0 {police}", tap.0),
            format!("filter del dev {} {filter}", tap.0),
            format!("qdisc del dev {} ingress", tap.0),
        ];
        if has_police {
            // The second time it is changed.
            let entry = "handle 800::800 u32 match u32 0 0";
            all.push(format!("filter replace dev {} {filter_all} {entry} {police}", tap.0));
        }
        for words in all {
            let command: Vec<&str> = std::iter::once("tc").chain(words.split(' ')).collect();
            let sent = messages(&command).unwrap();
            assert_eq!(sent.len(), 1, "{words}");
            let is_ours = own.contains(&sent[0]);
            assert!(is_ours, "tc {words}\n{}\nis not among\n{}", text(&sent), text(&own));
            of_tc.extend(sent);
        }
        let others: Vec<_> = own.iter().filter(|message| !of_tc.contains(*message)).cloned().collect();
        assert!(others.is_empty(), "{}\nare none of tc's", text(&others));
    }
}
