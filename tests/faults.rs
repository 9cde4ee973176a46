//! The fault table: every command of every operation goes wrong in every way, and what is left is what was there
//! before, or what the answer says; and the next call, or the next agent, settles the rest.

// The lints' exception for tests stops at the functions marked as such.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::result_large_err
)]

mod support;

use std::collections::BTreeMap;

use kvm_hotplug::ErrorKind;
use support::api::*;
use support::fake::{Act, Manner, Setup};
use support::host;
use support::world::{Picture, World};

/// An operation of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    AddNic(u8),
    AddRaw,
    AddLayered,
    DelNic(u8),
    DelRaw,
    DelLayered,
}

use Operation::*;

const ID: &str = "victim";

/// Time for an operation whose monitor falls silent.
const SHORT: u64 = 150;

impl Operation {
    fn is_add(self) -> bool {
        matches!(self, AddNic(_) | AddRaw | AddLayered)
    }

    /// What has to be there before.
    fn prepare(self, world: &World, api: &dyn Api) {
        let before = match self {
            DelNic(queues) => AddNic(queues),
            DelRaw => AddRaw,
            DelLayered => AddLayered,
            _ => return,
        };
        done(before.run(world, api, AMPLE));
    }

    fn run(self, world: &World, api: &dyn Api, timeout_ms: u64) -> Result<Answer, Failure> {
        let place = Place { id: Some(ID.into()), timeout_ms, ..Place::default() };
        match self {
            AddNic(queues) => {
                let mac = Some("52:54:00:00:00:01".into());
                api.add_nic(&NicAsk { place, mac, ..world.nic(queues) })
            }
            AddRaw => api.add_disk(&DiskAsk { place, ..world.disk("disk.img") }),
            AddLayered => api.add_disk(&DiskAsk { place, ..world.layered_disk() }),
            DelNic(_) | DelRaw | DelLayered => api.unplug(&UnplugAsk::within(ID, timeout_ms)),
        }
    }
}

/// A world in which only the operation itself is still to be done.
struct Scene {
    world: World,
    api: Option<Box<dyn Api>>,
    start: Picture,
    fds: usize,
}

impl Scene {
    fn new(agent: &dyn Agent, operation: Operation) -> Self {
        let world = World::pc();
        world.disk("disk.img");
        if matches!(operation, AddLayered | DelLayered) {
            world.layered_disk();
        }
        let api = world.open(agent);
        operation.prepare(&world, api.as_ref());
        world.qemu.take_seen();
        world.qemu.settle();
        let start = world.picture();
        let fds = own_fds(&world);
        Self { world, api: Some(api), start, fds }
    }

    /// What the world looks like when the operation has been done.
    fn goal(agent: &dyn Agent, operation: Operation) -> Goal {
        let scene = Self::new(agent, operation);
        done(operation.run(&scene.world, scene.api(), AMPLE));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut commands = Vec::new();
        for name in scene.world.qemu.take_names() {
            let count = counts.entry(name.clone()).or_default();
            commands.push((name, *count));
            *count += 1;
        }
        Goal { qemu: scene.world.qemu.snapshot(), recorded: scene.world.recorded(), commands }
    }

    fn is_start(&self) -> bool {
        self.world.picture() == self.start
    }

    fn is_goal(&self, goal: &Goal) -> bool {
        self.world.qemu.snapshot() == goal.0
            && self.world.recorded() == goal.1
            && !self.world.journal().exists()
    }
}

/// What the world looks like when an operation has been done, and the commands that took.
struct Goal {
    qemu: Vec<String>,
    recorded: Vec<String>,
    /// Name, and how many of the same name came before.
    commands: Vec<(String, usize)>,
}

/// What the library has open, the fake left aside.
fn own_fds(world: &World) -> usize {
    host::open_fds().len() - world.qemu.fds_held()
}

/// How whoever calls next comes by.
#[derive(Clone, Copy, Debug)]
enum Next {
    Call,
    Agent,
}

fn faults() -> Vec<(Act, u64)> {
    vec![
        (Act::refuse("no such luck"), AMPLE),
        (Act::CloseBefore, AMPLE),
        (Act::CloseAfter, AMPLE),
        (Act::HangBefore, SHORT),
        (Act::HangAfter, SHORT),
        (Act::LoseAnswer, SHORT),
    ]
}

fn table(agent: &dyn Agent, test: &str, operation: Operation) {
    host::in_own_process(test, || {
        let goal = Scene::goal(agent, operation);
        assert!(goal.commands.len() >= 3, "{:?}", goal.commands);
        for (command, nth) in &goal.commands {
            for (act, timeout) in faults() {
                for next in [Next::Call, Next::Agent] {
                    println!("== {operation:?}: {command} {nth}, {act:?}, {next:?}");
                    one_fault(agent, operation, &goal, (command, *nth), (act.clone(), timeout), next);
                }
            }
        }
    });
}

fn one_fault(
    agent: &dyn Agent,
    operation: Operation,
    goal: &Goal,
    (command, nth): (&str, usize),
    (act, timeout): (Act, u64),
    next: Next,
) {
    let mut scene = Scene::new(agent, operation);
    scene.world.qemu.fault(command, nth, act);
    let result = operation.run(&scene.world, scene.api(), timeout);
    println!("   {result:?}");
    assert_eq!(scene.world.qemu.faults_left(), 0, "the fault did not come to pass");
    let settled = match &result {
        Ok(answer) => {
            assert_eq!(answer.state, State::Done);
            assert!(scene.is_goal(goal), "{:#?}", scene.world.picture());
            true
        }
        Err(failure) if failure.left.is_empty() => {
            assert_eq!(scene.world.picture(), scene.start, "an error that says that nothing is left");
            true
        }
        Err(failure) => {
            assert_eq!(failure.undo, 2);
            assert!(
                failure.left.iter().all(|left| left.contains(ID) || left.contains("fdset")),
                "{failure:?}"
            );
            false
        }
    };
    if matches!(next, Next::Agent) {
        scene.api = None;
    }
    scene.world.qemu.resume();
    if scene.api.is_none() {
        scene.api = Some(scene.world.open(agent));
    }
    // A failed add is undone; a removal that may have been asked for is carried through.
    if result.is_err() && (settled || operation.is_add()) {
        scene.settles(|| scene.is_start());
        done(operation.run(&scene.world, scene.api(), AMPLE));
    }
    scene.settles(|| scene.is_goal(goal));
    assert!(host::eventually(|| own_fds(&scene.world) == scene.fds), "{} descriptors", own_fds(&scene.world));
}

macro_rules! tables {
    ($($case:ident: $operation:expr),* $(,)?) => {
        $(fn $case(agent: &dyn Agent) {
            table(agent, concat!("rust::", stringify!($case)), $operation);
        })*
    };
}

tables! {
    add_nic: AddNic(1),
    add_nic_with_queues: AddNic(4),
    add_raw_disk: AddRaw,
    add_layered_disk: AddLayered,
    del_nic: DelNic(1),
    del_nic_with_queues: DelNic(4),
    del_raw_disk: DelRaw,
    del_layered_disk: DelLayered,
}

through_every_api! {
    add_nic,
    add_nic_with_queues,
    add_raw_disk,
    add_layered_disk,
    del_nic,
    del_nic_with_queues,
    del_raw_disk,
    del_layered_disk,
}
