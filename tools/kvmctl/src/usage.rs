//! What is wrong with a command line, in one line; and the answers to --help and --version.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{Error, ErrorKind};
use kvm_hotplug::sanitize::escaped;

use crate::cli::Cli;
use crate::failure::{Failure, Result, Status};
use crate::output::Output;

/// How errors are to be told, those of the command line too. Behind "--" it is QEMU's.
pub(crate) fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

/// The answer to what was asked about kvmctl itself, or what is wrong.
pub(crate) fn answer(error: &Error, arguments: &[OsString], output: &mut Output) -> Result<Status> {
    match error.kind() {
        ErrorKind::DisplayHelp => output.raw(&error.render().to_string()),
        ErrorKind::DisplayVersion => output.line(&format!("kvmctl, kvm-hotplug {}", kvm_hotplug::VERSION)),
        _ => return Err(failure(error, arguments)),
    }
    Ok(Status::Done)
}

/// What is wrong, in one line whatever the arguments have in them.
pub(crate) fn failure(error: &Error, arguments: &[OsString]) -> Failure {
    let plain = arguments.iter().map(|argument| escaped(&argument.to_string_lossy()).into_owned());
    let told = Cli::command().try_get_matches_from(plain).err();
    let error = told.as_ref().unwrap_or(error);
    let command = command_of(arguments);
    let qemus = match (&*command, error.kind()) {
        ("init", ErrorKind::UnknownArgument) => " (QEMU's own command line stands behind \"--\")",
        _ => "",
    };
    let gap = if command.is_empty() { "" } else { " " };
    Failure::usage(format!(
        "{}{qemus}; see kvmctl{gap}{command} --help",
        one_line(&error.render().to_string())
    ))
}

/// The word that stands where the command does.
fn command_of(arguments: &[OsString]) -> String {
    let known = Cli::command();
    let is_command = |word: &&str| known.find_subcommand(word).is_some();
    arguments.iter().skip(1).filter_map(|word| word.to_str()).find(is_command).unwrap_or_default().to_owned()
}

/// Without what `--help` says as well. Tips are sentences of their own.
fn one_line(text: &str) -> String {
    let complaint = text.split("\nUsage:").next().unwrap_or_default();
    let complaint = complaint.split("\nFor more information").next().unwrap_or_default();
    let complaint = complaint.strip_prefix("error: ").unwrap_or(complaint);
    let mut line = String::new();
    for part in complaint.lines().map(str::trim).filter(|part| !part.is_empty()) {
        line.push_str(match (line.is_empty(), part.starts_with("tip: ")) {
            (true, _) => "",
            (false, true) => "; ",
            (false, false) => " ",
        });
        line.push_str(part);
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn complaint(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = Cli::command().try_get_matches_from(&arguments).unwrap_err();
        failure(&error, &arguments).message()
    }

    #[test]
    fn the_table_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn complaints_are_one_line() {
        for line in [
            "kvmctl",
            "kvmctl frobnicate",
            "kvmctl add-nic --brige br0",
            "kvmctl link x sideways",
            "kvmctl del",
        ] {
            let complaint = complaint(line);
            assert!(!complaint.contains('\n') && !complaint.contains("Usage"), "{complaint}");
            assert!(complaint.ends_with(" --help"), "{complaint}");
        }
        assert!(complaint("kvmctl add-nic --brige br0").ends_with("see kvmctl add-nic --help"));
        assert!(complaint("kvmctl init qemu -m 32").contains("stands behind \"--\""));
    }

    #[test]
    fn json_may_come_last() {
        let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("kvmctl list --json") && asks("kvmctl --json list"));
        assert!(!asks("kvmctl init -- qemu --json") && !asks("kvmctl list"));
    }
}
