//! check, convert and copy: a record is looked at, and nothing of it is changed.

use std::path::Path;

use kvm_hotplug::boot::{IssueKind, PreflightIssue};
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::store::{Format, RecordFile};
use serde::Serialize;

use crate::failure::{Result, Status};
use crate::record;
use crate::session::Session;

#[derive(Serialize)]
struct Problem<'a> {
    kind: IssueKind,
    id: &'a str,
    text: &'a str,
}

impl<'a> From<&'a PreflightIssue> for Problem<'a> {
    fn from(issue: &'a PreflightIssue) -> Self {
        Self { kind: issue.kind, id: &issue.id, text: &issue.text }
    }
}

pub(crate) fn check(session: &mut Session<'_>, migration: bool) -> Result<Status> {
    let deadline = Deadline::after(session.timeout());
    let monitor = session.common.socket.as_ref().map(Path::new);
    let issues = session.record()?.check_host(migration, monitor, &deadline)?;
    if session.output.json {
        session.output.document(&issues.iter().map(Problem::from).collect::<Vec<_>>());
    } else if issues.is_empty() {
        session.output.line("nothing stands in the way");
    } else {
        issues.iter().for_each(|issue| session.output.line(&issue.text));
    }
    Ok(if issues.is_empty() { Status::Done } else { Status::Different })
}

pub(crate) fn convert(session: &mut Session<'_>, format: Format, file: &str) -> Result<Status> {
    let copy = session.record()?.convert(format)?;
    save(session, copy, file)
}

pub(crate) fn copy(session: &mut Session<'_>, file: &str) -> Result<Status> {
    let copy = session.record()?.copy()?;
    save(session, copy, file)
}

fn save(session: &mut Session<'_>, mut copy: RecordFile, file: &str) -> Result<Status> {
    copy.save_new(record::path(file)?)?;
    let text = format!("{file} is a copy of {}", session.runtime);
    record::say(session, "runtime", file, &text);
    Ok(Status::Done)
}
