//! settle: what an agent that died has left.

use crate::device::{Json, Shown};
use crate::failure::{Result, Status};
use crate::session::Session;

/// Opening the guest has done the same; what is left waits for it.
pub(crate) fn settle(session: &mut Session<'_>) -> Result<Status> {
    let Some(guest) = session.guest_if_open() else { return settle_record(session) };
    let pending: Vec<Shown> = guest.settle(session.timeout())?.iter().map(Shown::in_guest).collect();
    if session.output.json {
        session.output.document(&pending.iter().map(Shown::json).collect::<Vec<_>>());
    } else if pending.is_empty() {
        session.output.line("nothing is unfinished");
    } else {
        pending.iter().for_each(|one| session.output.line(&format!("{}: {}", one.id(), one.reason)));
    }
    Ok(if pending.is_empty() { Status::Done } else { Status::Pending })
}

fn settle_record(session: &mut Session<'_>) -> Result<Status> {
    let settled = session.record()?.settle_ended()?;
    if session.output.json {
        session.output.document(&Vec::<Json<'_>>::new());
    } else if settled == 0 {
        session.output.line("nothing is unfinished");
    } else {
        session.output.line(&format!("settled by the record, as the guest is off: {settled}"));
    }
    Ok(Status::Done)
}
