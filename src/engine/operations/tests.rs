//! Turns, news, time, expiry, cancel and answers, with a number for the state and no clock.

use std::path::PathBuf;
use std::time::Duration;

use super::super::turn::Turn;
use super::*;
use crate::clock::any_moment;
use crate::error::ErrorKind;

/// What has been done, in the order in which it was.
type State = Vec<&'static str>;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    operations: Operations<State>,
    start: Instant,
}

impl World {
    fn new() -> Self {
        let start = any_moment();
        Self { operations: Operations::new(State::new(), start), start }
    }

    fn at(&self, seconds: u32) -> Instant {
        self.start + seconds * SECOND
    }

    /// Notes a name when it has the state, and gives it back at once.
    fn notes(&mut self, name: &'static str) -> OpId {
        self.operations.start(move |port, cell| async move {
            let answer = match Turn::take(&port, &cell, Purpose::Talk, None, false).await {
                Ok(mut turn) => turn.get().map(|state| state.push(name)),
                Err(error) => Err(error),
            };
            port.answer(answer.map(|()| Answer::Done));
        })
    }

    /// Has the state while the shell does something for it.
    fn works(&mut self, name: &'static str) -> OpId {
        self.operations.start(move |port, cell| async move {
            let mut turn = Turn::take(&port, &cell, Purpose::Talk, None, false).await.unwrap();
            port.perform(Effect::ReadAll).await;
            turn.get().unwrap().push(name);
            port.answer(Ok(Answer::Done));
        })
    }

    /// Waits without the state, and answers why the wait ended.
    fn waits(&mut self, kind: fn() -> Need, until: Option<Instant>, cancelable: bool) -> OpId {
        self.operations.start(move |port, _cell| async move {
            let answer = match port.ask(Asked { need: kind(), until, cancelable }).await {
                Given::Failed(error) => Err(error),
                _ => Ok(Answer::Done),
            };
            port.answer(answer);
        })
    }

    /// Lets this operation go on in the thread of its call.
    fn poll(&mut self, seconds: u32, op: OpId) -> Option<Demand> {
        let now = self.at(seconds);
        self.operations.poll(now, Some(op))
    }

    fn done(&mut self) -> State {
        self.operations.with_state(|state| state.clone()).unwrap()
    }

    #[track_caller]
    fn ended(&mut self, op: OpId) -> Option<ErrorKind> {
        self.operations.answer(op).expect("an answer").err().map(|error| error.kind())
    }
}

#[track_caller]
fn effect_of(demand: Option<Demand>) -> OpId {
    match demand {
        Some(Demand::Perform(op, Effect::ReadAll)) => op,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_state_goes_round_in_the_order_in_which_it_was_asked_for() {
    let mut world = World::new();
    let first = world.works("first");
    assert_eq!(effect_of(world.poll(0, first)), first);
    let [second, third] = ["second", "third"].map(|name| world.notes(name));
    assert!(world.poll(0, second).is_none() && world.poll(0, third).is_none());
    assert!(world.operations.answer(second).is_none() && world.operations.with_state(|_| ()).is_none());
    world.operations.give(first, Given::Done);
    assert!(world.poll(0, first).is_none());
    assert_eq!(world.ended(first), None);
    // Nobody overtakes: neither the one that asked later nor one that has only just come.
    let last = world.notes("last");
    assert!(world.poll(0, last).is_none() && world.poll(0, third).is_none());
    assert!(world.operations.answer(last).is_none() && world.operations.answer(third).is_none());
    assert!(world.operations.others_are_ready(Some(last)), "the thread of the second is to be woken");
    for op in [second, third, last] {
        assert!(world.poll(0, op).is_none());
        assert_eq!(world.ended(op), None);
    }
    assert_eq!(world.done(), ["first", "second", "third", "last"]);
}

#[test]
fn one_that_gives_up_its_turn_stands_in_nobodys_way() {
    let mut world = World::new();
    let first = world.works("first");
    effect_of(world.poll(0, first));
    let until = Some(world.at(5));
    let second = world.operations.start(move |port, cell| async move {
        let turn = Turn::take(&port, &cell, Purpose::Talk, until, false).await;
        port.answer(turn.map(|_| Answer::Done));
    });
    assert!(world.poll(0, second).is_none());
    let third = world.notes("third");
    assert!(world.poll(0, third).is_none());
    assert_eq!(world.operations.next_timeout(), until);
    assert!(world.poll(5, second).is_none());
    assert_eq!(world.ended(second), Some(ErrorKind::Timeout));
    world.operations.give(first, Given::Done);
    assert!(world.poll(5, first).is_none() && world.poll(5, third).is_none());
    assert_eq!(world.done(), ["first", "third"]);
}

#[test]
fn while_one_connects_others_look_and_none_talks() {
    let mut world = World::new();
    let connecting = world.operations.start(|port, cell| async move {
        port.begin_connecting();
        port.perform(Effect::ReadAll).await;
        let mut turn = Turn::take(&port, &cell, Purpose::Talk, None, false).await.unwrap();
        turn.get().unwrap().push("connected");
        port.end_connecting();
        port.answer(Ok(Answer::Done));
    });
    effect_of(world.poll(0, connecting));
    let talks = world.notes("talks");
    assert!(world.poll(0, talks).is_none());
    let looks = world.operations.start(|port, cell| async move {
        let mut turn = Turn::take(&port, &cell, Purpose::Look, None, false).await.unwrap();
        turn.get().unwrap().push("looks");
        assert!(port.is_another_connecting() && port.is_closed(Link(1)));
        port.answer(Ok(Answer::Done));
    });
    assert!(world.poll(0, looks).is_none());
    assert_eq!(world.ended(looks), None);
    assert!(world.poll(0, talks).is_none());
    assert!(world.operations.answer(talks).is_none());
    world.operations.give(connecting, Given::Done);
    assert!(world.poll(0, connecting).is_none());
    assert!(world.operations.others_are_ready(Some(connecting)), "the thread of the other is to be woken");
    assert!(world.poll(0, talks).is_none());
    assert_eq!(world.done(), ["looks", "connected", "talks"]);
}

#[test]
fn what_another_call_waits_for_goes_on_in_the_thread_of_that_call() {
    let mut world = World::new();
    let [mine, others] = ["mine", "others"].map(|name| world.notes(name));
    assert!(world.poll(0, mine).is_none());
    assert_eq!(world.done(), ["mine"]);
    assert!(
        world.operations.others_are_ready(Some(mine)) && !world.operations.others_are_ready(Some(others))
    );
    assert!(world.operations.answer(others).is_none());
    world.poll(0, others);
    assert_eq!(world.done(), ["mine", "others"]);
}

#[test]
fn news_are_an_event_a_lost_connection_and_what_others_have_done() {
    let event = || Queued::Lost(1);
    type Happening = fn(&mut World);
    let news: [(&str, Happening); 4] = [
        ("an event", |world| world.operations.event(Queued::Lost(1))),
        ("a lost connection", |world| world.operations.disconnected(Link(1))),
        // Also when it takes the state and gives it back between two waits.
        ("a short operation", |world| {
            let other = world.notes("other");
            world.poll(0, other);
        }),
        ("a long operation", |world| {
            let other = world.works("other");
            effect_of(world.poll(0, other));
            world.operations.give(other, Given::Done);
            world.poll(0, other);
        }),
    ];
    for (what, happens) in news {
        let mut world = World::new();
        let waiting = world.waits(|| Need::News, None, true);
        assert!(world.poll(0, waiting).is_none() && world.operations.answer(waiting).is_none());
        happens(&mut world);
        assert!(world.poll(0, waiting).is_none());
        assert!(world.operations.answer(waiting).is_some(), "{what}");
    }
    // What has been said before is not waited for.
    let mut world = World::new();
    world.operations.event(event());
    assert!(world.operations.has_events());
    let waiting = world.waits(|| Need::News, None, true);
    world.poll(0, waiting);
    assert_eq!(world.ended(waiting), None);
}

#[test]

fn one_that_is_woken_in_vain_wakes_nobody() {
    let mut world = World::new();
    let [first, second] = ["first", "second"].map(|name| {
        world.operations.start(move |port, cell| async move {
            loop {
                let mut turn = Turn::take(&port, &cell, Purpose::Talk, None, false).await.unwrap();
                turn.get().unwrap().push(name);
                drop(turn);
                port.ask(Asked { need: Need::News, until: None, cancelable: false }).await;
            }
        })
    });
    let let_all_go_on = |world: &mut World| {
        for _ in 0..10 {
            assert!(world.poll(0, first).is_none() && world.poll(0, second).is_none());
        }
    };
    let_all_go_on(&mut world);
    let begun = world.done().len();
    let other = world.notes("other");
    world.poll(0, other);
    let_all_go_on(&mut world);
    assert_eq!(world.done()[begun..], ["other", "first", "second"]);
}

#[test]
fn a_connection_ends_once_until_it_is_closed() {
    let mut world = World::new();
    world.operations.disconnected(Link(1));
    let waiting = world.waits(|| Need::News, None, true);
    world.poll(0, waiting);
    // The shell says so at every turn.
    world.operations.disconnected(Link(1));
    world.poll(0, waiting);
    assert!(world.operations.answer(waiting).is_none());
    world.operations.disconnected(Link(2));
    world.poll(0, waiting);
    assert!(world.operations.answer(waiting).is_some());
    let port = Port::new(world.operations.board.clone(), waiting);
    assert!(port.is_closed(Link(1)) && port.is_closed(Link(2)));
    port.forget(Link(1));
    assert!(!port.is_closed(Link(1)) && port.is_closed(Link(2)));
}

#[test]
fn an_operation_that_begins_or_waits_is_no_news() {
    let mut world = World::new();
    let waiting = world.waits(|| Need::News, None, true);
    world.poll(0, waiting);
    let other = world.waits(|| Need::News, None, true);
    world.poll(0, other);
    let third = world.works("third");
    effect_of(world.poll(0, third));
    world.poll(0, waiting);
    assert!(world.operations.answer(waiting).is_none());
}

#[test]
fn time_passes_and_waits_expire() {
    let mut world = World::new();
    let (two, three) = (world.at(2), world.at(3));
    let sleeping = world.waits(|| Need::Time, Some(three), true);
    let listening = world.waits(|| Need::News, Some(two), true);
    let working = world.waits(|| Need::Effect(Effect::ReadAll), Some(three), true);
    assert!(world.poll(0, sleeping).is_none() && world.poll(0, listening).is_none());
    effect_of(world.poll(0, working));
    assert_eq!(world.operations.next_timeout(), Some(two));
    assert!(world.poll(2, listening).is_none());
    assert_eq!(world.ended(listening), Some(ErrorKind::Timeout));
    assert_eq!(world.operations.next_timeout(), Some(three));
    // What the shell does is given up by the shell, which says how far it has come, once.
    match world.poll(3, sleeping) {
        Some(Demand::GiveUp(op, error)) => assert_eq!((op, error.kind()), (working, ErrorKind::Timeout)),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.operations.next_timeout(), None);
    assert!(world.poll(4, sleeping).is_none());
    assert_eq!(world.ended(sleeping), None, "for one that sleeps that is no failure");
    assert!(world.operations.answer(working).is_none());
    world.operations.give(working, Given::Failed(Error::deadline_passed()));
    world.poll(4, working);
    assert_eq!(world.ended(working), Some(ErrorKind::Timeout));
}

#[test]
fn a_cancel_ends_what_may_be_ended() {
    let kinds: [fn() -> Need; 2] = [|| Need::News, || Need::Time];
    for kind in kinds {
        for (cancelable, before) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut world = World::new();
            let until = Some(world.at(9));
            let waiting = world.waits(kind, until, cancelable);
            if before {
                assert!(world.operations.cancel(waiting).is_none());
            }
            world.poll(0, waiting);
            if !before {
                assert!(world.operations.cancel(waiting).is_none());
            }
            world.poll(1, waiting);
            match cancelable {
                true => assert_eq!(world.ended(waiting), Some(ErrorKind::Canceled), "before {before}"),
                false => assert!(world.operations.answer(waiting).is_none(), "before {before}"),
            }
        }
    }
}

#[test]
fn a_cancel_of_what_the_shell_does_is_the_shells() {
    for before in [true, false] {
        let mut world = World::new();
        let path = || Need::Effect(Effect::Connect(PathBuf::from("qmp").into()));
        let working = world.waits(path, None, true);
        let other = world.waits(path, None, true);
        let cancelled = match before {
            true => {
                assert!(world.operations.cancel(working).is_none());
                world.poll(0, working)
            }
            false => {
                assert!(matches!(world.poll(0, working), Some(Demand::Perform(..))));
                world.operations.cancel(working)
            }
        };
        match cancelled {
            Some(Demand::GiveUp(op, error)) => {
                assert_eq!((op, error.kind()), (working, ErrorKind::Canceled), "before {before}");
            }
            other => panic!("before {before}: {other:?}"),
        }
        assert!(world.operations.cancel(working).is_none(), "once");
        assert!(matches!(world.poll(0, other), Some(Demand::Perform(..))), "no other one");
    }
}

#[test]
fn an_operation_that_has_answered_goes_on_with_anybody() {
    let mut world = World::new();
    let early = world.operations.start(|port, cell| async move {
        port.answer(Ok(Answer::Count(1)));
        port.perform(Effect::ReadAll).await;
        let mut turn = Turn::take(&port, &cell, Purpose::Talk, None, false).await.unwrap();
        turn.get().unwrap().push("early");
        port.answer(Ok(Answer::Count(2)));
    });
    assert_eq!(effect_of(world.poll(0, early)), early);
    assert!(matches!(world.operations.answer(early), Some(Ok(Answer::Count(1)))));
    world.operations.give(early, Given::Done);
    assert!(!world.operations.others_are_ready(None), "no call waits for it");
    let other = world.notes("other");
    assert!(world.poll(0, other).is_none());
    assert_eq!(world.done().len(), 2);
    assert!(world.operations.answer(early).is_none(), "nobody is answered twice");
    assert!(world.operations.board().slots.iter().all(|(op, _)| *op == other), "nothing is left of it");
}

#[test]
fn one_whose_call_has_left_goes_on_with_anybody() {
    let mut world = World::new();
    let left = world.works("left");
    effect_of(world.poll(0, left));
    world.operations.leave(left);
    world.operations.give(left, Given::Done);
    let other = world.notes("other");
    assert!(world.poll(0, other).is_none());
    assert_eq!(world.done(), ["left", "other"]);
    assert!(world.operations.answer(left).is_none());
}

#[test]
fn what_is_given_to_one_that_does_not_wait_for_it_is_lost() {
    let mut world = World::new();
    let waiting = world.waits(|| Need::News, None, true);
    world.poll(0, waiting);
    world.operations.give(waiting, Given::Done);
    world.operations.give(OpId(99), Given::Done);
    world.poll(0, waiting);
    assert!(world.operations.answer(waiting).is_none());
    assert!(world.operations.cancel(OpId(99)).is_none());
}
