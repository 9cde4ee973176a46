//! Orders on stdin: faults to come, and what the guest does.

use fake_qemu::{Act, FakeQemu, UnplugBehaviour};
use serde_json::Value;

/// An order: its name, its arguments, and what comes of it.
pub(crate) const ORDERS: [(&str, &str, &str); 11] = [
    ("error", "COMMAND [TEXT]", "the next such command is refused, in these words"),
    (
        "silence",
        "COMMAND",
        "with the next such command QEMU hangs: it reads and says nothing until \"speak\"",
    ),
    ("speak", "", "a QEMU that hangs goes on where it was"),
    ("hang-up", "[COMMAND]", "the connection ends: now, or with the next such command, which is not done"),
    ("lose", "COMMAND", "the next such command is done, and the connection ends without a word about it"),
    ("hold", "ID|*", "the guest does not let go of that device until \"grant\""),
    ("refuse", "ID|*", "the guest refuses the next request to let go of that device"),
    ("grant", "ID", "the guest lets go of the device now, asked or not"),
    ("state", "STATE", "QEMU's run state: running, paused, prelaunch, suspended, ..."),
    ("event", "NAME [JSON]", "QEMU says this event"),
    ("quit", "", "QEMU ends; so it does with the end of stdin"),
];

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// It is none of those, or there is no such device.
    No,
    Quit,
}

impl From<bool> for Taken {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Takes a line.
pub(crate) fn take(fake: &FakeQemu, line: &str) -> Taken {
    let (order, rest) = split(line);
    let (first, rest) = split(rest);
    let plan = |act: Act| {
        fake.next_fault(first, act);
        Taken::Yes
    };
    match (order, first) {
        ("", _) => Taken::Yes,
        ("quit", _) => Taken::Quit,
        ("speak", _) => {
            fake.resume();
            Taken::Yes
        }
        ("hang-up", "") => {
            fake.hang_up();
            Taken::Yes
        }
        (_, "") => Taken::No,
        ("error", _) => {
            plan(Act::refuse(if rest.is_empty() { "the fake was told to refuse it" } else { rest }))
        }
        ("silence", _) => plan(Act::Silence),
        ("hang-up", _) => plan(Act::CloseBefore),
        ("lose", _) => plan(Act::CloseAfter),
        ("hold", _) => answer(fake, first, UnplugBehaviour::Never),
        ("refuse", _) => answer(fake, first, UnplugBehaviour::RefusesOnce),
        ("grant", _) => fake.model(|model| model.grant(first)).into(),
        ("state", _) => {
            fake.model(|model| model.set_run_state(first));
            Taken::Yes
        }
        ("event", _) => event(fake, first, rest),
        _ => Taken::No,
    }
}

/// The first word, and what is behind the space after it.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim_start_matches(' ');
    line.split_once(' ').unwrap_or((line, ""))
}

fn answer(fake: &FakeQemu, id: &str, behaviour: UnplugBehaviour) -> Taken {
    fake.model(|model| match (id, behaviour) {
        ("*", UnplugBehaviour::Never) => model.unplug_behaviour = behaviour,
        _ => drop(model.unplug_behaviours.insert(id.into(), behaviour)),
    });
    Taken::Yes
}

fn event(fake: &FakeQemu, name: &str, data: &str) -> Taken {
    let data =
        if data.is_empty() { Ok(Value::Object(Default::default())) } else { serde_json::from_str(data) };
    match data {
        Ok(data) => {
            fake.emit(name, data);
            Taken::Yes
        }
        Err(_) => Taken::No,
    }
}
