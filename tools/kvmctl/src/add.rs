//! add-nic, add-disk and add-scsi.

use kvm_hotplug::guest::{Outcome, coldplug};
use kvm_hotplug::model::Spec;

use crate::cli::{DiskArguments, NicArguments, ScsiArguments};
use crate::device::{Answer, Shown, answer_word, path};
use crate::failure::{Result, Status};
use crate::request;
use crate::session::Session;

pub(crate) fn nic(session: &mut Session<'_>, arguments: &NicArguments) -> Result<Status> {
    let outcome = session.guest()?.add_nic(request::nic(arguments)?, session.timeout())?;
    Ok(added(session, &outcome))
}

pub(crate) fn disk(session: &mut Session<'_>, arguments: &DiskArguments) -> Result<Status> {
    let outcome = session.guest()?.add_disk(&request::disk(arguments)?, session.timeout())?;
    Ok(added(session, &outcome))
}

pub(crate) fn scsi(session: &mut Session<'_>, arguments: &ScsiArguments) -> Result<Status> {
    let outcome = session.guest()?.add_controller(&request::controller(arguments)?, session.timeout())?;
    Ok(added(session, &outcome))
}

pub(crate) fn cold_nic(session: &mut Session<'_>, arguments: &NicArguments) -> Result<Status> {
    let device = coldplug::add_nic(&mut *session.record()?, &request::nic(arguments)?)?;
    Ok(recorded(session, &Shown::recorded(&device)))
}

pub(crate) fn cold_disk(session: &mut Session<'_>, arguments: &DiskArguments) -> Result<Status> {
    let device = coldplug::add_disk(&mut *session.record()?, &request::disk(arguments)?)?;
    Ok(recorded(session, &Shown::recorded(&device)))
}

/// The id comes first, so that a script has it with `read -r id rest`.
fn added(session: &mut Session<'_>, outcome: &Outcome) -> Status {
    let Some(shown) = Shown::answered(outcome) else { return Status::Failed };
    let is_later = matches!(outcome, Outcome::AfterReboot(..));
    let id = shown.id();
    if session.output.json {
        session.output.document(&Answer::with(answer_word(outcome), &shown));
    } else if is_later {
        session.output.line(&format!("{id} is recorded, and comes with the next boot: {}", shown.reason));
    } else {
        session.output.line(&format!("{id} is in the guest, at {}{}", shown.place(), behind(&shown)));
    }
    if is_later { Status::AfterReboot } else { Status::Done }
}

fn recorded(session: &mut Session<'_>, shown: &Shown) -> Status {
    if session.output.json {
        session.output.document(&Answer::with("done", shown));
    } else {
        let (id, place) = (shown.id(), shown.place());
        session.output.line(&format!("{id} is recorded, and comes with the next boot, at {place}"));
    }
    Status::Done
}

/// Its backend.
fn behind(shown: &Shown) -> String {
    match &shown.device.spec {
        Spec::Nic(nic) => {
            if let Some(netdev) = &nic.netdev {
                return format!(", MAC {}, netdev {}", nic.mac, netdev.kind());
            }
            let tap = nic.ifname.as_ref().map_or("", |tap| tap.as_str());
            let bridge = nic.bridge.as_ref().map(|bridge| format!(" on {bridge}")).unwrap_or_default();
            format!(", MAC {}, tap {tap}{bridge}", nic.mac)
        }
        Spec::Disk(disk) => format!(", {}", path(disk)),
        Spec::Controller(_) => String::new(),
    }
}
