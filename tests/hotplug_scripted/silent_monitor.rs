//! A monitor that takes a new connection and says nothing: the call that connects holds up no other one.
#![allow(unreachable_pub)]

use std::sync::mpsc;

use kvm_hotplug::ErrorKind;

use crate::concurrency::{LONG, asked_for, removes, with_devices};
use crate::removing::SHORT;
use crate::support::api::*;
use crate::support::clock;
use crate::support::fake::Act;
use crate::support::fixture::Fixture;
use crate::support::host;

/// What does not come.
#[derive(Clone, Copy, Debug)]
enum Missing {
    Greeting,
    /// The answer to `qmp_capabilities`, and all behind it.
    Answer,
}

const ALL: [Missing; 2] = [Missing::Greeting, Missing::Answer];

impl Missing {
    /// The connection is lost, and the next one is the silent one.
    fn begin(self, fixture: &Fixture) {
        match self {
            Self::Greeting => fixture.qemu.accept(false),
            Self::Answer => fixture.qemu.fault("qmp_capabilities", 0, Act::Silence),
        }
        fixture.qemu.take_seen();
        fixture.qemu.hang_up();
    }

    /// The monitor speaks to whoever is connected, and to whoever comes.
    fn end(self, fixture: &Fixture) {
        match self {
            Self::Greeting => fixture.qemu.accept(true),
            Self::Answer => fixture.qemu.resume(),
        }
    }

    /// Waits until a call waits for what does not come.
    fn met(self, fixture: &Fixture, api: &dyn Api) {
        match self {
            // It is told of before the next connection is made.
            Self::Greeting => {
                let is_lost = |news: Notification| news.what == EventKind::MonitorLost;
                assert!(host::eventually(|| api.next_event().is_some_and(is_lost)));
            }
            Self::Answer => {
                let seen = || fixture.qemu.take_names().iter().any(|name| name == "qmp_capabilities");
                assert!(host::eventually(seen));
            }
        }
    }
}

type Processing<'scope> = clock::Waiting<'scope, Result<usize, Failure>>;

/// A thread that is in a call, and its number.
fn processes<'scope>(
    scope: &clock::Scope<'scope, '_>,
    api: &'scope dyn Api,
    timeout_ms: u64,
) -> (Processing<'scope>, usize) {
    let (tell, told) = mpsc::channel();
    let processing = scope.spawn(move || {
        tell.send(api.thread()).unwrap();
        api.process(timeout_ms)
    });
    (processing, told.recv().unwrap())
}

pub fn who_connects_to_a_silent_monitor_holds_up_nobody(agent: &dyn Agent) {
    for missing in ALL {
        let (fixture, api) = with_devices(agent);
        let api = api.as_ref();
        missing.begin(&fixture);
        clock::scope(|scope| {
            let (first, _) = processes(scope, api, LONG);
            missing.met(&fixture, api);
            // What needs no monitor is answered at once.
            let ids: Vec<String> = api.list().into_iter().map(|item| item.id).collect();
            assert_eq!(ids, ["lan", "data", "more"], "{missing:?}");
            api.forward_qmp_events(false);
            api.next_event();
            // What needs it is answered at its own deadline.
            fails(api.process(SHORT), ErrorKind::Timeout);
            let removal = api.unplug(&UnplugArgs::within("data", SHORT));
            assert_eq!(fails(removal, ErrorKind::Timeout).left, Vec::<String>::new());
            let link = fails(api.set_link("lan", false, SHORT), ErrorKind::Timeout);
            assert_eq!(link.left, Vec::<String>::new());
            assert!(!first.is_finished(), "{missing:?}");
            missing.end(&fixture);
            first.join().unwrap().unwrap();
        });
        assert_eq!(api.repair().unwrap(), Vec::<String>::new(), "{missing:?}");
        assert_eq!(fixture.recorded(), ["lan", "data", "more"]);
    }
}

/// The one that waits behind it connects anew when its turn has come, and is answered when the monitor
/// speaks.
pub fn who_waits_for_a_silent_monitor_goes_on_after_the_first_has_given_up(agent: &dyn Agent) {
    for missing in ALL {
        for is_cancelled in [false, true] {
            let (fixture, api) = with_devices(agent);
            let api = api.as_ref();
            missing.begin(&fixture);
            clock::scope(|scope| {
                let timeout = if is_cancelled { LONG } else { 2 * SHORT };
                let (first, number) = processes(scope, api, timeout);
                missing.met(&fixture, api);
                let (second, _) = processes(scope, api, LONG);
                let (third, its_number) = processes(scope, api, LONG);
                if is_cancelled {
                    assert!(host::eventually(|| api.cancel_thread(number)));
                    fails(first.join().unwrap(), ErrorKind::Canceled);
                } else {
                    let kind = match missing {
                        Missing::Greeting => ErrorKind::MonitorBusy,
                        Missing::Answer => ErrorKind::Timeout,
                    };
                    fails(first.join().unwrap(), kind);
                }
                assert_eq!(api.list().len(), 3);
                assert!(host::eventually(|| api.cancel_thread(its_number)));
                fails(third.join().unwrap(), ErrorKind::Canceled);
                assert!(!second.is_finished(), "{missing:?}, cancelled {is_cancelled}");
                missing.end(&fixture);
                second.join().unwrap().unwrap();
            });
            assert_eq!(api.repair().unwrap(), Vec::<String>::new());
            assert!(api.process(AMPLE).is_ok());
        }
    }
}

/// Whoever of them connects: the one with less time is answered when that is over, and the other one goes on.
pub fn a_removal_that_waits_is_answered_while_another_call_connects(agent: &dyn Agent) {
    for missing in ALL {
        let (fixture, api) = with_devices(agent);
        let api = api.as_ref();
        clock::scope(|scope| {
            // It polls, and so is the first to hear that the connection is lost.
            let data = removes(scope, &fixture, api, "data");
            let lan = scope.spawn(|| api.unplug(&UnplugArgs::within("lan", 10 * SHORT)));
            asked_for(&fixture, "lan");
            let (tell, told) = mpsc::channel();
            let more = scope.spawn(move || {
                tell.send(api.thread()).unwrap();
                api.unplug(&UnplugArgs::within("more", LONG))
            });
            asked_for(&fixture, "more");
            missing.begin(&fixture);
            match lan.join().unwrap() {
                Ok(answer) => assert_eq!(answer.state, State::Pending(Why::Deadline), "{missing:?}"),
                Err(failure) => {
                    assert!(failure.left[0].starts_with("device lan: its removal is pending"), "{failure:?}");
                }
            }
            assert!(!data.is_finished() && !more.is_finished(), "{missing:?}");
            assert_eq!(api.list().len(), 3);
            assert!(api.cancel_thread(told.recv().unwrap()));
            let cancelled = fails(more.join().unwrap(), ErrorKind::Canceled);
            assert!(cancelled.left[0].starts_with("device more: its removal is pending"), "{cancelled:?}");
            assert!(!data.is_finished(), "{missing:?}");
            missing.end(&fixture);
            assert!(host::eventually(|| api.process(AMPLE).is_ok()));
            fixture.qemu.grant("data");
            done(data.join().unwrap());
            fixture.qemu.grant("lan");
            fixture.qemu.grant("more");
        });
        let left = || {
            api.process(AMPLE).unwrap();
            fixture.recorded().is_empty()
        };
        assert!(host::eventually(left), "{missing:?}");
    }
}
