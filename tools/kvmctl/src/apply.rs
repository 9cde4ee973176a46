//! apply: makes a guest have the devices of a list.

use std::io::Read;
use std::time::Duration;

use kvm_hotplug::Error;
use kvm_hotplug::capi::removal::KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS;
use kvm_hotplug::guest::{Action, Applied, Apply, DeviceAnswer, DeviceStep, read_wanted};
use kvm_hotplug::sanitize::escaped;

use crate::cli::ApplyArguments;
use crate::failure::{Failure, Result, Status};
use crate::list::table;
use crate::output;
use crate::session::Session;

/// One more byte than the library reads of a list: it says that this is too much.
const MOST_BYTES: u64 = (1 << 20) + 1;

pub(crate) fn command(session: &mut Session<'_>, arguments: &ApplyArguments) -> Result<Status> {
    if session.runtime.is_empty() && !arguments.keep_others && !arguments.plan {
        return Err(Failure::usage(
            "apply without --runtime would remove what the guest was started with; give --keep-others, or its record".to_owned(),
        ));
    }
    let wanted = read_wanted(&read(&arguments.file)?)?;
    let how = Apply {
        plan_only: arguments.plan,
        keep_others: arguments.keep_others,
        replace: arguments.replace,
        live_only: arguments.live_only,
        no_wait: arguments.no_wait,
    };
    let count = wanted.len();
    let default = Duration::from_millis(KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS.into());
    let patience = session.common.timeout().unwrap_or(default);
    let mut applied = session.guest()?.apply(wanted, how, patience)?;
    let failure = applied.error.take().map(Failure::from);
    if session.output.json {
        let mut document = applied.to_json();
        if let (Some(failure), Some(members)) = (&failure, document.as_object_mut()) {
            members.extend(output::failed_members(failure));
        }
        session.output.document(&document);
        return Ok(failure.map_or_else(|| status(&applied), |failure| failure.status));
    }
    show(session, &applied, count);
    if arguments.plan && failure.is_none() {
        session.output.line("nothing was done: this is a plan");
    }
    failure.map_or_else(|| Ok(status(&applied)), Err)
}

fn read(file: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let read = match file {
        "-" => std::io::stdin().lock().take(MOST_BYTES).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)),
    };
    read.map_err(|error| Error::host(error, format!("read {file}")))?;
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{file} is not UTF-8")).into())
}

fn status(applied: &Applied) -> Status {
    match (applied.is_pending(), applied.waits_for_boot()) {
        (true, _) => Status::Pending,
        (false, true) => Status::AfterReboot,
        (false, false) => Status::Done,
    }
}

fn show(session: &mut Session<'_>, applied: &Applied, count: usize) {
    let output = &mut session.output;
    let is_told =
        |step: &&DeviceStep| step.action != Action::None || !matches!(step.answer, DeviceAnswer::Done(_));
    let rows: Vec<[String; 5]> = applied.steps.iter().filter(is_told).map(row).collect();
    if rows.is_empty() {
        output.line(&match count {
            1 => "nothing is to be done: the guest has the device of the list".to_owned(),
            _ => format!("nothing is to be done: the guest has the {count} devices of the list"),
        });
        return;
    }
    const HEADER: [&str; 5] = ["ID", "TYPE", "ACTION", "STATE", "WHY"];
    table(HEADER, rows, output.terminal.columns).lines().for_each(|line| output.line(line));
}

fn row(step: &DeviceStep) -> [String; 5] {
    let state = match &step.answer {
        DeviceAnswer::Done(_) => "done",
        DeviceAnswer::AfterReboot(..) => "after reboot",
        DeviceAnswer::Pending(..) => "pending",
        DeviceAnswer::Refused(_) => "refused",
        DeviceAnswer::Failed(_) => "failed",
        DeviceAnswer::Left(_) => "not done",
    };
    let texts = [step.why.clone(), step.answer.reason()];
    let texts: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    let id = step.id.as_deref().unwrap_or_default();
    [id, step.kind.name(), step.action.word(), state, &texts.join("; ")]
        .map(|cell| escaped(cell).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_hotplug::model::DeviceKind;

    #[test]
    fn a_row_says_what_and_why() {
        let step = DeviceStep {
            id: Some("lan".to_owned()),
            kind: DeviceKind::Nic,
            action: Action::Del,
            why: "it is not in the list".to_owned(),
            answer: DeviceAnswer::Pending(None, "the guest has not answered yet".to_owned()),
        };
        let why = "it is not in the list; the guest has not answered yet";
        assert_eq!(row(&step), ["lan", "nic", "del", "pending", why]);
        let rows = vec![row(&step)];
        let table = table(["ID", "TYPE", "ACTION", "STATE", "WHY"], rows, Some(80));
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
    }
}
