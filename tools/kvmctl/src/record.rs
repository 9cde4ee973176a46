//! init, backing and accept: the record of a guest, and which files are opened for an image besides itself.

use std::collections::BTreeMap;
use std::path::Path;

use kvm_hotplug::Error;
use kvm_hotplug::adopt::CommandOfProcess;
use kvm_hotplug::ids::{BusName, SLOTS, Slot};
use kvm_hotplug::model::{DEFAULT_RESERVED, Record};
use kvm_hotplug::sanitize::escaped;
use kvm_hotplug::slots::pci::{SlotKind, SlotPolicy, SlotRange, WhenFull};
use kvm_hotplug::store::RecordFile;

use crate::cli::values::{Backing, rule};
use crate::failure::{Result, Status};
use crate::session::Session;

/// Says one thing, as text or as an object of one member.
pub(crate) fn say(session: &mut Session<'_>, name: &str, value: &str, text: &str) {
    if session.output.json {
        session.output.document(&BTreeMap::from([(name, value)]));
    } else {
        session.output.line(text);
    }
}

/// A path that names something.
pub(crate) fn path(text: &str) -> Result<&Path> {
    if text.is_empty() { Err(Error::invalid("path is empty").into()) } else { Ok(Path::new(text)) }
}

/// The record of the guest of a process, whose devices all stay in the command.
pub(crate) fn init_from(session: &mut Session<'_>, name: Option<&str>, pid: i32) -> Result<Status> {
    let found = CommandOfProcess::read(pid)?;
    let name = name.map(str::to_owned).or_else(|| found.name());
    let notes = found.notes();
    let status = init(session, name.as_deref(), found.next_start())?;
    notes.iter().for_each(|note| session.output.complain(&escaped(note)));
    Ok(status)
}

pub(crate) fn init(session: &mut Session<'_>, name: Option<&str>, command: Vec<String>) -> Result<Status> {
    let record = Record::new(name.unwrap_or_default(), command, DEFAULT_RESERVED)?;
    let mut file = RecordFile::new(record).with_trust(session.common.trust());
    let runtime = session.runtime.clone();
    file.save_new(path(&runtime)?)?;
    say(session, "runtime", &runtime, &format!("{runtime} is a new record, without NICs and disks"));
    Ok(Status::Done)
}

pub(crate) fn backing(session: &mut Session<'_>, words: Vec<Backing>) -> Result<Status> {
    let rule = rule(words)?;
    session.record()?.set_backing(rule)?;
    let runtime = session.runtime.clone();
    let text = format!("{runtime} says where backing files may be, from the next opening of an image on");
    say(session, "runtime", &runtime, &text);
    Ok(Status::Done)
}

pub(crate) fn reserve(
    session: &mut Session<'_>,
    bus: &str,
    slots: Option<(u8, u8)>,
    kinds: Vec<SlotKind>,
) -> Result<Status> {
    let name = BusName::parse(bus)?;
    let text = match slots {
        None => {
            session.record()?.release_slots(Some(&name))?;
            format!("nothing is reserved on {bus} by range any more")
        }
        Some((first, last)) => {
            let range = SlotRange { bus: name, first: slot(first)?, last: slot(last)?, kinds };
            session.record()?.reserve_slots(range)?;
            format!("slots {first} to {last} of {bus} are reserved")
        }
    };
    say(session, "bus", bus, &text);
    Ok(Status::Done)
}

fn slot(number: u8) -> Result<Slot> {
    let text = || format!("slot {number} does not exist; 0 to {} do", SLOTS - 1);
    Ok(Slot::new(number).ok_or_else(|| Error::invalid(text()))?)
}

pub(crate) fn slot_policy(session: &mut Session<'_>, policy: SlotPolicy) -> Result<Status> {
    session.record()?.set_slot_policy(policy)?;
    let text = match policy {
        SlotPolicy::FirstFree => "a new device gets the first free slot",
        SlotPolicy::LongestFree => "a new device gets the slot that has been free for longest",
    };
    let runtime = session.runtime.clone();
    say(session, "runtime", &runtime, text);
    Ok(Status::Done)
}

pub(crate) fn when_full(session: &mut Session<'_>, what: WhenFull) -> Result<Status> {
    session.record()?.set_when_full(what)?;
    let text = match what {
        WhenFull::Refuse => "an add that finds no free slot fails",
        WhenFull::NextBoot => "a device that finds no free slot comes with the next boot",
    };
    let runtime = session.runtime.clone();
    say(session, "runtime", &runtime, text);
    Ok(Status::Done)
}

pub(crate) fn accept(session: &mut Session<'_>, id: &str, words: Vec<Backing>) -> Result<Status> {
    let rule = rule(words)?;
    session.record()?.accept_chain(id, rule)?;
    say(session, "id", id, &format!("{id} is recorded with the files that its image is made of now"));
    Ok(Status::Done)
}
