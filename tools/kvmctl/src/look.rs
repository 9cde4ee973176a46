//! plan, verify and qmp.

use std::time::Duration;

use kvm_hotplug::guest::{Difference, DryRun, Guest, Mismatch, Outcome, RawCommand};
use kvm_hotplug::sanitize::escaped;
use kvm_hotplug::sys::descriptor;
use serde::Serialize;
use serde_json::{Value, json};

use crate::boot;
use crate::cli::Plan;
use crate::device::Shown;
use crate::failure::{Result, Status};
use crate::request;
use crate::session::Session;

pub(crate) fn plan(session: &mut Session<'_>, of: Plan) -> Result<Status> {
    let timeout = session.timeout();
    match of {
        Plan::Boot { spare_ports } => boot::plan(session, spare_ports),
        Plan::AddNic { nic } => {
            let plan = session.guest()?.plan_nic(request::nic(&nic)?, timeout)?;
            Ok(show(session, &plan, ADD))
        }
        Plan::AddDisk { disk } => {
            let plan = session.guest()?.plan_disk(&request::disk(&disk)?, timeout)?;
            Ok(show(session, &plan, ADD))
        }
        Plan::AddScsi { scsi } => {
            let plan = session.guest()?.plan_controller(&request::controller(&scsi)?, timeout)?;
            Ok(show(session, &plan, ADD))
        }
        Plan::Del { id, removal } => {
            let plan = session.guest()?.plan_removal(&request::removal(&id, &removal), timeout)?;
            match &plan.outcome {
                Outcome::DoneByPath if !session.output.json => {
                    session
                        .output
                        .line(&format!("{id} would leave the guest, and come back with the next boot"));
                    show_steps(session, &plan);
                    Ok(Status::Done)
                }
                Outcome::Absent if !session.output.json => {
                    session.output.line(&format!("{id} is not there: nothing would be done"));
                    Ok(Status::Done)
                }
                _ => Ok(show(session, &plan, REMOVE)),
            }
        }
    }
}

/// What is said of a device: where it would be, and what becomes of it with the next boot.
type Verbs = (&'static str, &'static str);

const ADD: Verbs = ("be at", "come");
const REMOVE: Verbs = ("leave", "go");

fn show(session: &mut Session<'_>, plan: &DryRun, (now, later): Verbs) -> Status {
    let output = &mut session.output;
    let status = match plan.outcome {
        Outcome::AfterReboot(..) => Status::AfterReboot,
        _ => Status::Done,
    };
    if output.json {
        output.document(&plan.to_json());
        return status;
    }
    let Some(shown) = Shown::answered(&plan.outcome) else { return status };
    let (id, reason) = (shown.id(), &shown.reason);
    match &plan.outcome {
        Outcome::AfterReboot(..) => {
            output.line(&format!("{id} would be recorded, and {later} with the next boot: {reason}"));
        }
        Outcome::Pending(..) => output.line(&format!("{id} is asked to leave already: {reason}")),
        _ => {
            output.line(&format!("{id} would {now} {}", shown.place()));
            show_steps(session, plan);
        }
    }
    status
}

fn show_steps(session: &mut Session<'_>, plan: &DryRun) {
    let commands = plan.commands.iter();
    let commands = commands.map(|(name, arguments)| json!({ "execute": name, "arguments": arguments }));
    let commands: Vec<String> = commands.map(|command| command.to_string()).collect();
    for (title, steps) in [("on the host:", &plan.host), ("QEMU would be told:", &commands)] {
        if !steps.is_empty() {
            session.output.line(title);
            steps.iter().for_each(|step| session.output.line(&format!("    {step}")));
        }
    }
    if let Some(left) = plan.slots_left {
        session.output.line(&format!("free slots afterwards: {left}"));
    }
}

#[derive(Serialize)]
struct Found<'a> {
    kind: Mismatch,
    id: &'a str,
    recorded: &'a str,
    found: &'a str,
    text: String,
    repairable: bool,
}

impl<'a> From<&'a Difference> for Found<'a> {
    fn from(difference: &'a Difference) -> Self {
        let Difference { what, id, recorded, found } = difference;
        Self {
            kind: *what,
            id,
            recorded,
            found,
            text: difference.to_string(),
            repairable: what.is_repairable(),
        }
    }
}

pub(crate) fn verify(session: &mut Session<'_>, mend: bool) -> Result<Status> {
    let compare: fn(&Guest, Duration) -> kvm_hotplug::Result<Vec<Difference>> =
        if mend { Guest::repair } else { Guest::verify };
    let found = compare(session.guest()?, session.timeout())?;
    if session.output.json {
        session.output.document(&found.iter().map(Found::from).collect::<Vec<_>>());
    } else if found.is_empty() {
        session.output.line("record and guest agree");
    } else {
        found.iter().for_each(|difference| session.output.line(&difference.to_string()));
    }
    Ok(if found.is_empty() { Status::Done } else { Status::Different })
}

pub(crate) fn qmp(
    session: &mut Session<'_>,
    name: String,
    arguments: Option<&str>,
    force: bool,
    fd: Option<i32>,
) -> Result<Status> {
    let arguments = arguments.map(RawCommand::read_arguments).transpose()?.unwrap_or_default();
    let fd = fd.map(|number| descriptor::duplicate(number, "fd")).transpose()?.map(Into::into);
    let reply = session.guest()?.qmp(RawCommand { name, arguments, fd, force }, session.timeout())?;
    match &reply {
        // As what it says: the answer to "info" of the human monitor has lines.
        Value::String(text) if !session.output.json => print_lines(session, text),
        _ => session.output.document(&reply),
    }
    Ok(Status::Done)
}

fn print_lines(session: &mut Session<'_>, text: &str) {
    for line in text.split_terminator('\n') {
        let columns: Vec<_> = line.trim_end_matches('\r').split('\t').map(escaped).collect();
        session.output.painted(&columns.join("\t"));
    }
}
