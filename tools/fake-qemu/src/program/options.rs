//! The command line.

use std::path::PathBuf;

use fake_qemu::{Machine, Setup};

/// The most ports that fit on the root bus of a q35 beside what it has itself.
const MOST_PORTS: u8 = 28;

/// Clients that may wait while one is served.
const BACKLOG: i32 = 4;

/// An option: its name, its argument, and what it is for.
pub(crate) const OPTIONS: [(&str, &str, &str); 5] = [
    ("--version", "X.Y.Z", "the QEMU that it makes itself out to be (default: 7.2.0)"),
    ("--ports", "N", "a q35 with so many root ports, rp0 and on, instead of a pc"),
    ("--state", "STATE", "the run state to begin with (default: running)"),
    ("--help", "", "this text"),
    ("--man", "", "the manual page"),
];

/// What is to be done.
pub(crate) enum Start {
    Help,
    Manual,
    Serve { setup: Setup, path: PathBuf },
}

/// Reads the words behind the program's name. `Err` says what is wrong with them.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Start, &'static str> {
    let mut setup = Setup { version: (7, 2, 0), backlog: BACKLOG, event_time: None, ..Setup::default() };
    let wrong = "wrong usage";
    loop {
        let word = words.next().ok_or(wrong)?;
        match word.as_str() {
            "--help" => return Ok(Start::Help),
            "--man" => return Ok(Start::Manual),
            "--version" => setup.version = words.next().and_then(|text| version(&text)).ok_or(wrong)?,
            "--ports" => setup.machine = words.next().and_then(|text| ports(&text)).ok_or(wrong)?,
            "--state" => setup.run_state = words.next().ok_or(wrong)?,
            path if !path.starts_with('-') && words.next().is_none() => {
                return Ok(Start::Serve { setup, path: path.into() });
            }
            _ => return Err(wrong),
        }
    }
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    let version = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(version)
}

fn ports(text: &str) -> Option<Machine> {
    match text.parse().ok()? {
        0 => Some(Machine::Pc),
        number if number <= MOST_PORTS => Some(Machine::Q35(number)),
        _ => None,
    }
}
