//! Limits of what a guest receives and sends: with its tap, changed, told, and gone with the NIC. What it
//! sends cannot be limited by every kernel, so that these tests limit what it receives; tests/net_host has
//! the rest.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::ids::IfName;
use kvm_hotplug::model::Operation;
use kvm_hotplug::net::bandwidth::Limits;
use kvm_hotplug::net::limits;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fixture::Fixture;
use crate::support::{host, programs};

const AVERAGE: u64 = 1_000_000;
const BURST: u64 = 100_000;

fn receives(average: u64) -> LimitArgs {
    LimitArgs { inbound: (average, BURST), ..LimitArgs::default() }
}

fn limited(nic: NicArgs) -> NicArgs {
    NicArgs { limits: receives(AVERAGE), ..nic }
}

/// What the kernel has.
fn average_of(tap: &str) -> Option<u64> {
    let limits = limits::of_tap(&IfName::parse(tap).unwrap()).unwrap();
    assert_eq!(limits.outbound, None);
    limits.inbound.map(|limit| limit.average)
}

fn tc(words: &str) {
    let words: Vec<&str> = std::iter::once("tc").chain(words.split(' ')).collect();
    programs::run(&words);
}

fn described(api: &dyn Api, id: &str) -> Value {
    api.describe(Some(id)).unwrap().unwrap()
}

pub fn a_nic_has_its_limits_from_the_start(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&limited(fixture.nic_as("lan", "52:54:00:00:00:01"))));
    let tap = nic.ifname.unwrap();
    assert_eq!(average_of(&tap), Some(AVERAGE));
    let said = described(&*api, "lan");
    let wanted = json!({"average": AVERAGE, "burst": BURST});
    assert_eq!((&said["inbound"], &said["outbound"]), (&wanted, &Value::Null));
    assert_eq!(said["tap"]["inbound"]["average"], json!(AVERAGE));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    let recorded = fixture.record().devices[0].nic().unwrap().limits();
    assert_eq!(recorded.inbound.map(|limit| (limit.average, u64::from(limit.burst))), Some((AVERAGE, BURST)));
    assert_eq!(recorded.outbound, None);
    // The same again is the same; another limit is a conflict.
    let other = NicArgs { limits: receives(2 * AVERAGE), ..fixture.nic_as("lan", "52:54:00:00:00:01") };
    let failure = fails(api.add_nic(&other), ErrorKind::Conflict);
    assert!(failure.text.contains("another inbound"), "{failure:?}");
    // Somebody else takes it away.
    tc(&format!("qdisc del dev {tap} root"));
    let told = api.verify().unwrap();
    assert!(told.len() == 1 && told[0].contains("inbound without a limit"), "{told:?}");
    assert_eq!(api.set_nic_limits("lan", receives(AVERAGE), AMPLE), Ok(Changed::Done));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    // A burst that is left out is a tenth of a second, or the least that there is.
    for (average, burst) in [(10_000_000, 1_000_000), (20_000, 69632)] {
        let limits = LimitArgs { inbound: (average, 0), ..LimitArgs::default() };
        assert_eq!(api.set_nic_limits("lan", limits, AMPLE), Ok(Changed::Done));
        assert_eq!(described(&*api, "lan")["inbound"]["burst"], json!(burst));
    }
    done(api.unplug(&UnplugArgs::of("lan")));
    assert_eq!(fixture.recorded(), Vec::<String>::new());
}

pub fn limits_are_changed_while_the_guest_runs(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic_as("lan", "52:54:00:00:00:01")));
    let tap = nic.ifname.unwrap();
    let without = fixture.record_text();
    fixture.qemu.take_seen();
    for average in [AVERAGE, AVERAGE, 3 * AVERAGE] {
        assert_eq!(api.set_nic_limits("lan", receives(average), AMPLE), Ok(Changed::Done));
        assert_eq!(average_of(&tap), Some(average));
        assert_eq!(described(&*api, "lan")["inbound"]["average"], json!(average));
        assert!(!fixture.journal().exists());
    }
    // They stay with the tap wherever it goes.
    assert_eq!(api.set_bridge("lan", None, AMPLE), Ok(Changed::Done));
    assert_eq!(average_of(&tap), Some(3 * AVERAGE));
    assert_eq!(api.set_nic_limits("lan", LimitArgs::default(), AMPLE), Ok(Changed::Done));
    assert_eq!((average_of(&tap), fixture.record_text()), (None, without));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "the guest is not bothered");
    for (limits, expected) in [
        (LimitArgs { inbound: (1, 0), ..LimitArgs::default() }, "inbound: average 1"),
        (LimitArgs { outbound: (AVERAGE, 1500), ..LimitArgs::default() }, "outbound: burst 1500"),
        (LimitArgs { outbound: (0, BURST), ..LimitArgs::default() }, "outbound: average 0"),
        (LimitArgs { inbound: (AVERAGE, 1 << 32), ..LimitArgs::default() }, "inbound: burst 4294967296"),
        (LimitArgs { inbound: (1024, 1 << 20), ..LimitArgs::default() }, "inbound: burst 1048576"),
    ] {
        let failure = fails(api.set_nic_limits("lan", limits, AMPLE), ErrorKind::Invalid);
        assert!(failure.text.contains(expected), "{failure:?}");
    }
    fails(api.set_nic_limits("nosuch", receives(AVERAGE), AMPLE), ErrorKind::NotFound);
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    fails(api.set_nic_limits(&disk.id, receives(AVERAGE), AMPLE), ErrorKind::Invalid);
}

pub fn limits_that_cannot_be_set_leave_those_that_were(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&limited(fixture.nic_as("lan", "52:54:00:00:00:01"))));
    let tap = nic.ifname.unwrap();
    let before = fixture.snapshot();
    let stays = |what: &str| {
        assert_eq!(average_of(&tap), Some(AVERAGE), "{what}");
        assert_eq!(fixture.snapshot(), before, "{what}");
    };
    let obstacle = fixture.dir.path().join("web1.runtime.journal.new");
    std::fs::create_dir(&obstacle).unwrap();
    fails(api.set_nic_limits("lan", receives(2 * AVERAGE), AMPLE), ErrorKind::Host);
    std::fs::remove_dir(&obstacle).unwrap();
    stays("no journal");
    // The limits are set by the time that the record cannot be replaced, and are set back.
    let aside = fixture.dir.path().join("aside");
    std::fs::rename(&fixture.runtime, &aside).unwrap();
    std::fs::create_dir(&fixture.runtime).unwrap();
    let failure = fails(api.set_nic_limits("lan", receives(2 * AVERAGE), AMPLE), ErrorKind::Host);
    assert_eq!((failure.undo, failure.left.len()), (1, 0), "{failure:?}");
    std::fs::remove_dir(&fixture.runtime).unwrap();
    std::fs::rename(&aside, &fixture.runtime).unwrap();
    stays("no record");
    // Somebody else's discipline is in the way.
    tc(&format!("qdisc replace dev {tap} root handle 1: tbf rate 1mbit burst 10k limit 10k"));
    let failure = fails(api.set_nic_limits("lan", receives(2 * AVERAGE), AMPLE), ErrorKind::Conflict);
    assert!(failure.text.contains("discipline tbf of somebody else"), "{failure:?}");
    tc(&format!("qdisc del dev {tap} root"));
    assert_eq!(api.set_nic_limits("lan", receives(2 * AVERAGE), AMPLE), Ok(Changed::Done));
    // A tap that is not here is somebody else's to limit.
    programs::run(&["ip", "link", "set", &tap, "name", &format!("{}x", &tap[..tap.len() - 1])]);
    let failure = fails(api.set_nic_limits("lan", receives(AVERAGE), AMPLE), ErrorKind::NotFound);
    assert!(failure.text.contains("not in this network namespace"), "{failure:?}");
}

/// The agent died before or after the limits were set, and before they were recorded.
pub fn interrupted_limits_are_settled(agent: &dyn Agent) {
    for has_set in [false, true] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let nic = done(api.add_nic(&limited(fixture.nic_as("lan", "52:54:00:00:00:01"))));
        let tap = nic.ifname.unwrap();
        drop(api);
        let before = fixture.record_text();
        {
            let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
            let device = runtime.record().find("lan").unwrap().clone();
            runtime.write_journal(|journal| journal.log_intent(Operation::SetLimits, &device)).unwrap();
        }
        if has_set {
            tc(&format!(
                "qdisc change dev {tap} root handle 6b76: tbf rate 9mbit burst 100000b limit 200000b"
            ));
        }
        let _api = fixture.open(agent);
        assert_eq!((average_of(&tap), fixture.record_text()), (Some(AVERAGE), before), "{has_set}");
        assert!(!fixture.journal().exists());
    }
}

/// The caller's tap stays, and has no limits of the library's any more.
pub fn a_callers_tap_is_limited_as_long_as_the_nic_is_there(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let tap = fixture.nic(1).ifname.unwrap();
    let fds = host::tap(&tap, 1);
    let over = limited(NicArgs { fds, ..NicArgs::default() });
    let nic = done(api.add_nic(&over));
    assert_eq!(average_of(&tap), Some(AVERAGE));
    assert_eq!(api.set_nic_limits(&nic.id, receives(2 * AVERAGE), AMPLE), Ok(Changed::Done));
    assert_eq!(average_of(&tap), Some(2 * AVERAGE));
    done(api.unplug(&UnplugArgs::of(&nic.id)));
    assert_eq!(average_of(&tap), None);
    // Nor after an add that has failed, whatever it was that failed.
    fixture.qemu.fault("device_add", 0, crate::support::fake::Act::refuse("no such luck"));
    fails(api.add_nic(&over), ErrorKind::Qmp);
    assert_eq!((average_of(&tap), fixture.recorded()), (None, Vec::new()));
    tc(&format!("qdisc add dev {tap} root handle 1: tbf rate 1mbit burst 10k limit 10k"));
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let failure = fails(api.add_nic(&over), ErrorKind::Conflict);
    assert!(failure.left.is_empty() && failure.text.contains("of somebody else"), "{failure:?}");
    assert_eq!(fixture.snapshot(), before);
    assert!(!fixture.qemu.take_names().iter().any(|name| name == "netdev_add"));
    tc(&format!("qdisc del dev {tap} root"));
    // An agent that dies once the journal has the NIC leaves it to the next one.
    let device = {
        let nic = done(api.add_nic(&over));
        let device = fixture.record().devices[0].clone();
        done(api.unplug(&UnplugArgs::of(&nic.id)));
        device
    };
    drop(api);
    {
        let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
        runtime.write_journal(|journal| journal.log_add(std::slice::from_ref(&device))).unwrap();
    }
    let nic = Box::new(device.nic().unwrap().clone());
    let there = nic.limits();
    limits::LimitChange { nic, there, back: Limits::default() }.run().unwrap();
    assert_eq!(average_of(&tap), Some(AVERAGE));
    let api = fixture.open(agent);
    assert_eq!((average_of(&tap), fixture.recorded()), (None, Vec::new()));
    let added = done(api.add_nic(&over));
    assert_eq!(average_of(&tap), Some(AVERAGE));
    done(api.unplug(&UnplugArgs::of(&added.id)));
}

/// Nothing is left of the add, nor of the other one of a list.
pub fn a_limit_that_the_kernel_lacks_undoes_the_add(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let both = LimitArgs { outbound: (AVERAGE, BURST), ..receives(AVERAGE) };
    let ask = NicArgs { limits: both, ..fixture.nic(2) };
    let tap = ask.ifname.clone().unwrap();
    let before = fixture.snapshot();
    if let Ok(answer) = api.add_nic(&ask) {
        assert_eq!(answer.state, State::Done);
        assert_eq!(api.verify().unwrap(), Vec::<String>::new());
        return;
    }
    for list in [vec![ask.clone()], vec![limited(fixture.nic(1)), ask.clone()]] {
        let failure = fails(api.add_all(&list, &[], AMPLE), ErrorKind::Unavailable);
        assert!(failure.text.contains("outbound: this host's kernel cannot limit that"), "{failure:?}");
        assert_eq!((failure.errno, failure.left.len()), (libc::ENODEV, 0), "{failure:?}");
        assert_eq!(fixture.snapshot(), before);
        assert!(host::eventually(|| host::interfaces(&tap).is_empty()));
    }
}

pub fn a_wanted_list_changes_limits(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let tap = fixture.nic(1).ifname.unwrap();
    let list = |inbound: Value| {
        let nic = json!({"type": "nic", "id": "lan", "mac": "52:54:00:00:00:01", "ifname": tap});
        let mut nic = nic.as_object().unwrap().clone();
        if !inbound.is_null() {
            nic.insert("inbound".into(), inbound);
        }
        json!([nic]).to_string()
    };
    for (inbound, average) in [
        (json!({"average": AVERAGE}), Some(AVERAGE)),
        (json!({"average": AVERAGE, "burst": BURST}), Some(AVERAGE)),
        (json!({"average": 2 * AVERAGE, "burst": BURST}), Some(2 * AVERAGE)),
        (Value::Null, None),
    ] {
        let text = list(inbound);
        let applied = api.apply(&text, ApplyArgs::default());
        assert!(applied.result.is_ok() && average_of(&tap) == average, "{applied:?}");
        let again = api.apply(&text, ApplyArgs::default());
        assert_eq!(again.json.as_ref().unwrap()["changes"], json!(0), "{again:?}");
    }
    for (inbound, expected) in [
        (json!({"average": 5}), "inbound: average 5"),
        (json!({"averages": 5}), "averages"),
        (json!(5), "inbound"),
    ] {
        let failure = api.apply(&list(inbound), ApplyArgs::default()).result.unwrap_err();
        assert!(failure.text.contains(expected) || expected == "inbound", "{failure:?}");
        assert_eq!(failure.errno, libc::EINVAL);
    }
}
