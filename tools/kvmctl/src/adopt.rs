//! adopt: a record of a guest that somebody else has started.

use std::path::Path;

use kvm_hotplug::adopt::{AdoptRequest, Adopted, Report, adopt};
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::sanitize::escaped;
use kvm_hotplug::store::RecordFile;

use crate::cli::AdoptArguments;
use crate::failure::{Failure, Result, Status};
use crate::record::path;
use crate::session::Session;

/// Adopts the guest of this socket.
pub(crate) fn run(session: &Session<'_>, socket: &str, request: &AdoptRequest) -> Result<Adopted> {
    let deadline = Deadline::after(session.timeout());
    adopt(Path::new(socket), request, &deadline).map_err(Failure::from)
}

pub(crate) fn command(session: &mut Session<'_>, arguments: AdoptArguments) -> Result<Status> {
    let AdoptArguments { monitor, output, dry_run: _, name, pid, directory, reserved_slots, command } =
        arguments;
    let request = AdoptRequest {
        pid,
        command: Some(command).filter(|command| !command.is_empty()),
        directory: directory.map(Into::into),
        name,
        reserved_slots,
    };
    let Adopted { record, report } = run(session, &monitor, &request)?;
    if let Some(file) = &output {
        RecordFile::new(record).with_trust(session.common.trust()).save_new(path(file)?)?;
    }
    if session.output.json {
        session.output.document(&report);
    } else {
        show(session, &report, output.as_deref());
    }
    Ok(Status::Done)
}

fn show(session: &mut Session<'_>, report: &Report, file: Option<&str>) {
    let mut line = |text: String| session.output.line(&text);
    for it in &report.recorded {
        line(format!("{} {} is recorded", it.kind, it.id));
        it.notes.iter().for_each(|note| line(format!("    {}", escaped(note))));
    }
    for it in &report.left {
        let what = it.id.as_ref().map_or_else(|| it.model.clone(), |id| format!("{id} ({})", it.model));
        line(format!("{} is not: {}", escaped(&what), escaped(&it.why)));
    }
    for it in &report.pinned {
        line(format!("{} stays at {} {}", escaped(&it.what), escaped(&it.bus), it.addr));
    }
    for it in &report.dropped {
        line(format!("{} is not recorded: {}", escaped(&it.option), escaped(&it.why)));
    }
    report.warnings.iter().for_each(|text| line(format!("warning: {}", escaped(text))));
    match file {
        Some(file) => line(format!("{file} is the record of this guest")),
        None => line("nothing was written; with -o FILE it is".to_owned()),
    }
}
