//! kvmctl: what an operator does to one guest by hand. Every command is one short session: load the record,
//! connect to the guest, do one thing, close. A long-running agent keeps both open.

mod add;
mod adopt;
mod apply;
mod boot;
mod change;
mod check;
mod cli;
mod completion;
mod device;
mod events;
mod failure;
mod interrupt;
mod list;
mod look;
mod manual;
mod map;
mod output;
mod record;
mod remove;
mod request;
mod session;
mod settle;
mod terminal;
mod unrecorded;
mod usage;
#[cfg(test)]
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use cli::{Cli, Command};
use failure::{Result, Status};
use output::Output;
use session::Session;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut output = Output::new(usage::asks_for_json(&arguments));
    let status = match run(&arguments, &mut output) {
        Ok(status) => status,
        Err(failure) => output.failure(&failure),
    };
    let status = output.finish(status);
    interrupt::obey();
    ExitCode::from(status as u8)
}

fn run(arguments: &[OsString], output: &mut Output) -> Result<Status> {
    // For make and packagers.
    if matches!(arguments, [_, help, man] if help == "help" && man == "--man") {
        output.raw(&manual::page());
        return Ok(Status::Done);
    }
    let matches = match Cli::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return usage::answer(&error, arguments, output),
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| usage::failure(&error, arguments))?;
    let name = matches.subcommand_name().unwrap_or_default();
    output.look(cli.common.plain);
    if let Command::Completion { shell } = &cli.command {
        output.raw(&completion::script(*shell));
        return Ok(Status::Done);
    }
    let mut session = Session::open(cli.common, &cli.command, name, output)?;
    carry_out(&mut session, cli.command)
}

fn carry_out(session: &mut Session<'_>, command: Command) -> Result<Status> {
    match command {
        Command::Init { name, from_pid: None, command } => record::init(session, name.as_deref(), command),
        Command::Init { name, from_pid: Some(pid), .. } => record::init_from(session, name.as_deref(), pid),
        Command::Adopt(arguments) => adopt::command(session, arguments),
        Command::Boot(options) => boot::boot(session, options),
        Command::Check { migration } => check::check(session, migration),
        Command::Convert { format, file } => check::convert(session, format, &file),
        Command::Copy { file } => check::copy(session, &file),
        Command::Backing { rule } => record::backing(session, rule),
        Command::Accept { id, backing } => record::accept(session, &id, backing),
        Command::Reserve { bus, slots, kinds } => record::reserve(session, &bus, slots, kinds),
        Command::SlotPolicy { policy } => record::slot_policy(session, policy),
        Command::WhenFull { what } => record::when_full(session, what),
        Command::Map => map::map(session),
        Command::List { unrecorded: true, .. } => unrecorded::list(session),
        Command::List { id, unrecorded: false } => list::list(session, id.as_deref()),
        Command::AddNic { nic, cold: false } => add::nic(session, &nic),
        Command::AddNic { nic, cold: true } => add::cold_nic(session, &nic),
        Command::AddDisk { disk, cold: false } => add::disk(session, &disk),
        Command::AddDisk { disk, cold: true } => add::cold_disk(session, &disk),
        Command::Apply(arguments) => apply::command(session, &arguments),
        Command::AddScsi { scsi } => add::scsi(session, &scsi),
        Command::Del { ids, removal, no_wait: _, cold: true } => remove::from_record(session, ids, &removal),
        Command::Del { ids, removal, no_wait: true, cold: false } => remove::ask(session, ids, &removal),
        Command::Del { ids, removal, .. } => remove::wait(session, ids, &removal),
        Command::Link { id, state } => change::link(session, &id, state),
        Command::Move { id, bridge, .. } => change::bridge(session, &id, bridge.as_deref()),
        Command::NicLimits { id, limits } => change::limits(session, &id, &limits),
        Command::DiskLimits { id, limits } => change::disk_limits(session, &id, &limits),
        Command::Resize { id, size, shrink } => change::resize(session, &id, size, shrink),
        Command::ChangeMedia { id, file, format, backing, force } => {
            let image = change::image(&file, format, backing)?;
            change::media(session, &id, Some(image), force.into())
        }
        Command::Eject { id, force } => change::media(session, &id, None, force.into()),
        Command::Plan { of } => look::plan(session, of),
        Command::Verify { mend } => look::verify(session, mend),
        Command::Settle => settle::settle(session),
        Command::Watch { qmp, count } => events::watch(session, qmp, count),
        Command::Qmp { command, arguments, force, fd } => {
            look::qmp(session, command, arguments.as_deref(), force, fd)
        }
        Command::Completion { .. } => Ok(Status::Done),
    }
}
