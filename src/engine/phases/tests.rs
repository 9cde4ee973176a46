//! Every transition from every phase, with the phase that it leads to.

use super::*;
use crate::model::Presence;

/// The phases by name. `rest` is a device that is in no map: where the record has it. One that has `left` is
/// taken down by the next call.
const PHASES: [&str; 6] = ["rest", "plugging", "absent", "unplugging", "detached", "left"];

/// What each of these makes of a device in each of these phases.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 6]); 7] = [
    // from                rest          plugging      absent        unplugging    detached      left
    ("end_add",          ["rest",       "rest",       "absent",     "unplugging", "detached",   "left"]),
    ("inventory_has",    ["rest",       "plugging",   "rest",       "unplugging", "detached",   "rest"]),
    ("inventory_lacks",  ["absent",     "plugging",   "absent",     "detached",   "detached",   "absent"]),
    ("ask",              ["unplugging", "unplugging", "unplugging", "unplugging", "detached",   "detached"]),
    ("set_reason",       ["rest",       "plugging",   "absent",     "unplugging", "detached",   "left"]),
    ("forget",           ["rest",       "rest",       "rest",       "rest",       "rest",       "rest"]),
    ("forget_removals",  ["rest",       "plugging",   "absent",     "rest",       "rest",       "left"]),
];

fn id() -> DeviceId {
    DeviceId::parse("nic0").unwrap()
}

fn request(why: PendingReason) -> UnplugRequest {
    UnplugRequest { at: None, why }
}

fn name(phases: &Phases) -> &'static str {
    match phases.get("nic0") {
        None => "rest",
        Some(Phase::Plugging) => "plugging",
        Some(Phase::AbsentInGuest) => "absent",
        Some(Phase::Unplugging(_)) => "unplugging",
        Some(Phase::Detached(Some(_))) => "detached",
        Some(Phase::Detached(None)) => "left",
        Some(Phase::Deferred | Phase::Plugged { .. }) => "that is not kept",
    }
}

fn at(phase: &str) -> Phases {
    let mut phases = Phases::default();
    let phase = match phase {
        "plugging" => Phase::Plugging,
        "absent" => Phase::AbsentInGuest,
        "unplugging" => Phase::Unplugging(request(PendingReason::Deadline)),
        "detached" => Phase::Detached(Some(request(PendingReason::Deadline))),
        "left" => Phase::Detached(None),
        _ => return phases,
    };
    phases.set(&id(), Some(phase));
    phases
}

fn ask(phases: &mut Phases, why: PendingReason) {
    let asked = phases.once_asked(&id(), request(why));
    phases.put(&id(), Some(asked));
}

fn go(phases: &mut Phases, transition: &str) {
    let id = id();
    match transition {
        "end_add" => phases.end_add(&id),
        "inventory_has" => phases.take_inventory(&[]),
        "inventory_lacks" => phases.take_inventory(&[id]),
        "ask" => ask(phases, PendingReason::Deadline),
        "set_reason" => phases.set_reason(&id, PendingReason::Paused),
        "forget" => phases.put(&id, None),
        "forget_removals" => phases.forget_removals(),
        _ => panic!("no transition {transition}"),
    }
}

#[test]
fn every_transition_leads_where_the_table_says() {
    for (transition, to) in TABLE {
        for (from, to) in PHASES.into_iter().zip(to) {
            let mut phases = at(from);
            go(&mut phases, transition);
            assert_eq!(name(&phases), to.trim_end_matches('!'), "{transition} from {from}");
        }
    }
}

/// One of two calls may have the guest asked again before the other has heard of the refusal.
#[test]
fn a_refusal_reaches_each_call_that_waited_for_the_device() {
    let mut phases = at("unplugging");
    phases.begin_waiting(&id(), Waits::ForAll);
    let before = phases.refusals(&id());
    phases.put(&id(), Some(Phase::Plugged { drop_at_boot: false }));
    phases.count_refusal(&id());
    assert!(!phases.is_unplugging(&id()));
    phases.take_inventory(&[]);
    let later = phases.refusals(&id());
    ask(&mut phases, PendingReason::Asleep);
    assert!(phases.is_unplugging(&id()));
    assert_ne!(phases.refusals(&id()), before, "the first call is told");
    assert_eq!(phases.refusals(&id()), later, "the one that came after it waits");
}

#[test]
fn nothing_is_kept_of_a_device_at_rest() {
    for phase in PHASES {
        let mut phases = at(phase);
        phases.forget(&id());
        assert!(phases.0.is_empty(), "{phase}");
        let mut phases = at(phase);
        phases.end_add(&id());
        phases.forget_removals();
        phases.take_inventory(&[]);
        assert!(phases.0.is_empty(), "{phase}");
        let mut phases = at(phase);
        phases.put(&id(), Some(Phase::at_rest(Presence::Live)));
        assert!(phases.0.is_empty(), "{phase}");
    }
}

#[test]
fn calls_that_wait_for_a_device_are_counted_until_they_are_answered() {
    let mut phases = at("unplugging");
    for waits in [Waits::ForAll, Waits::ForAll, Waits::ForAdd] {
        phases.begin_waiting(&id(), waits);
    }
    phases.forget(&id());
    assert_eq!(name(&phases), "rest");
    phases.end_waiting(&id(), Waits::ForAll);
    assert_eq!(phases.waits(&id()), Waits::ForAll, "the other one is still to be answered");
    phases.end_waiting(&id(), Waits::ForAll);
    assert_eq!(phases.waits(&id()), Waits::ForAdd);
    phases.end_waiting(&id(), Waits::ForAdd);
    phases.end_waiting(&id(), Waits::ForAdd);
    assert_eq!(phases.waits(&id()), Waits::Nobody);
    assert!(phases.0.is_empty());
}

#[test]
fn a_new_connection_says_anew_which_descriptors_are_uncertain() {
    let mut phases = at("absent");
    phases.reconnect(&[id()]);
    assert!(phases.has_uncertain_fds(&id()) && phases.is_absent("nic0"));
    phases.reconnect(&[]);
    assert!(!phases.has_uncertain_fds(&id()) && phases.is_absent("nic0"));
    phases.reconnect(&[id()]);
    phases.forget(&id());
    assert!(phases.0.is_empty());
}
