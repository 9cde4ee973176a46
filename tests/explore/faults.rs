//! What may happen to an agent, and when.

use kvm_hotplug::engine::{HostResult, HostStep};
use kvm_hotplug::error::{Error, ErrorKind, Result};
use kvm_hotplug::qmp::Command;

use crate::agent::Died;
use crate::choices::Choices;
use crate::world::World;

/// What may happen when commands are sent.
#[derive(Clone, Debug)]
pub enum AtBatch {
    /// The agent dies after QEMU has carried out so many.
    Die(usize),
    /// The connection is cut after so many.
    Cut(usize),
    /// The same, and the descriptor of the last one has not arrived.
    CutWithoutFd(usize),
    /// QEMU refuses this one.
    Refuse(usize),
    /// Before that the guest does something by itself.
    Guest(ByItself),
    /// The caller cancels after so many replies. QEMU carries out all of them.
    Cancel(usize),
    /// QEMU ends before that.
    End,
    /// It ends, and another one is started before anybody connects again.
    EndAndStart,
    /// The agent dies after so many, and QEMU carries out the others when somebody connects to that monitor
    /// again.
    DieWithRest(usize),
}

/// What a guest does by itself.
#[derive(Clone, Debug)]
pub enum ByItself {
    Eject(String),
    /// Somebody else plugs a device in under this id.
    TakeId(&'static str),
    Pause,
    Reset,
    Sleep,
    WakeUp,
}

/// What may happen when a file is written.
#[derive(Clone, Copy, Debug)]
pub enum AtWrite {
    DieBefore,
    DieAfter,
    Fail,
    /// The power fails when it is done: the host starts again.
    PowerFails,
}

impl AtWrite {
    const ALL: [Self; 3] = [Self::DieBefore, Self::DieAfter, Self::Fail];

    /// What may happen to something that takes effect at once.
    pub fn all(world: &World) -> Vec<Self> {
        Self::ALL.into_iter().chain(world.also(Also::PowerFails).then_some(Self::PowerFails)).collect()
    }
}

/// What may happen when something is done on the host.
#[derive(Clone, Copy, Debug)]
pub enum AtHost {
    DieBefore,
    DieAfter,
    Fail,
}

/// What a guest that was asked for a device may do instead of letting go of it.
#[derive(Clone, Copy, Debug)]
pub enum WhenAsked {
    Refuse,
    KeepSilent,
    /// It lets go, and `DEVICE_DELETED` comes so many batches later.
    LeaveLate(usize),
    /// The caller cancels.
    Cancel,
    /// QEMU ends.
    End,
}

impl WhenAsked {
    /// All of them that may happen in this world.
    pub fn all(world: &World) -> Vec<Self> {
        let late = [0, 2, 4, 5, 6, 7, 8].map(Self::LeaveLate);
        let mut all: Vec<Self> = [Self::Refuse, Self::KeepSilent].into_iter().chain(late).collect();
        all.extend(world.also(Also::Cancel).then_some(Self::Cancel));
        all.extend(world.also(Also::QemuEnds).then_some(Self::End));
        all
    }
}

/// What may happen in some scenarios only: with all of it everywhere, a run of the tests would take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    /// QEMU ends, and another one is started.
    QemuEnds,
    /// The caller cancels a call.
    Cancel,
    /// The host starts again, with what was synced.
    PowerFails,
    /// The next agent comes by another monitor, while QEMU has not carried out all of what the one before
    /// sent.
    OtherMonitor,
    /// The guest goes to sleep, and wakes up.
    Sleep,
}

/// What may happen when these commands are sent.
pub fn faults_at(world: &World, commands: &[Command]) -> Vec<AtBatch> {
    let count = commands.len();
    if count == 0 {
        return Vec::new();
    }
    let own = world.own_devices();
    // Between the question who it is and `device_del` nobody can do anything about it.
    let may_take = !world.residue && commands.iter().all(|command| command.name != "device_del");
    let free = crate::call::IDS.into_iter().filter(|id| may_take && world.model.device(id).is_none());
    let takes = free.map(|id| AtBatch::Guest(ByItself::TakeId(id)));
    let ejects = own.iter().map(|id| AtBatch::Guest(ByItself::Eject(id.clone()))).chain(takes);
    let mut also = Vec::new();
    if world.also(Also::QemuEnds) {
        also.push(AtBatch::End);
        also.extend(world.can_start_at_once().then_some(AtBatch::EndAndStart));
    }
    if world.also(Also::Cancel) {
        also.extend((0..count).map(AtBatch::Cancel));
    }
    if commands.iter().all(Command::is_question) {
        also.truncate(3);
        return ejects.chain([AtBatch::Cut(0)]).chain(also).collect();
    }
    let mut all: Vec<AtBatch> =
        (0..=count).flat_map(|done| [AtBatch::Die(done), AtBatch::Cut(done)]).collect();
    if world.also(Also::OtherMonitor) {
        all.extend((0..count).map(AtBatch::DieWithRest));
    }
    all.extend(also);
    for (at, command) in commands.iter().enumerate() {
        if command.fd.is_some() {
            all.push(AtBatch::CutWithoutFd(at + 1));
        }
        let takes_down =
            ["netdev_del", "blockdev-del", "object-del", "remove-fd"].contains(&command.name.as_ref());
        let is_left_alone = world.taken && takes_down;
        if !command.is_question() && !is_left_alone {
            all.push(AtBatch::Refuse(at));
        }
    }
    all.extend(ejects);
    if world.model.is_running() {
        all.extend([AtBatch::Guest(ByItself::Pause), AtBatch::Guest(ByItself::Reset)]);
        all.extend(world.also(Also::Sleep).then_some(AtBatch::Guest(ByItself::Sleep)));
    } else if world.model.run_state == "suspended" {
        all.push(AtBatch::Guest(ByItself::WakeUp));
    }
    all
}

/// Does a step on the host, or what happens instead.
pub fn host(
    world: &mut World,
    choices: &mut Choices,
    step: HostStep,
) -> std::result::Result<Result<HostResult>, Died> {
    let changes = matches!(
        step,
        HostStep::OpenTap(_)
            | HostStep::DeleteTap(..)
            | HostStep::MoveTap { .. }
            | HostStep::JoinBridge(_)
            | HostStep::SetLimits(_)
    );
    let fault = match changes {
        true => {
            let text = format!("{step:?}");
            let name = text.split(['(', ' ']).next().unwrap_or_default().to_owned();
            choices.fault(&name, &[AtHost::DieBefore, AtHost::DieAfter, AtHost::Fail])
        }
        false => None,
    };
    match fault {
        Some(AtHost::DieBefore) => return Err(Died),
        Some(AtHost::Fail) => {
            world.change_refused |= choices.happened() > 1;
            return Ok(Err(Error::new(ErrorKind::Host, "the host refuses")));
        }
        _ => {}
    }
    let done = world.host.perform(step, &world.model);
    match fault {
        Some(AtHost::DieAfter) => Err(Died),
        _ => Ok(done),
    }
}
