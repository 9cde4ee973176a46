//! Everything that kvmctl prints. Text that somebody else chose, such as names of QEMU's, ids and paths of a
//! record, and messages that quote them, is written so that nothing of it is a command to the terminal.

use std::io::{Write, stderr, stdout};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use kvm_hotplug::Error;
use kvm_hotplug::ErrorKind;
use kvm_hotplug::error::Undo;
use kvm_hotplug::log::{Level, Sink};
use kvm_hotplug::sanitize::escaped;
use kvm_hotplug::sys::standard_files::was_closed;
use rustix::io::{Errno, write};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::{Failure, Status};
use crate::interrupt;
use crate::terminal::Terminal;

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) terminal: Arc<Terminal>,
    buffer: Vec<u8>,
    /// What was to be written is lost.
    lost: Option<Errno>,
}

/// A failure as JSON.
#[derive(Serialize)]
struct Failed<'a> {
    error: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    message: String,
    kind: ErrorKind,
    errno: i32,
    step: Option<&'a str>,
    qmp_class: Option<&'a str>,
    qmp_desc: Option<&'a str>,
    undo: Undo,
    residue: &'a [String],
}

/// A failure as members of a larger document.
pub(crate) fn failed_members(failure: &Failure) -> Map<String, Value> {
    match serde_json::to_value(failed(&failure.error, failure.message())) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, terminal: Arc::default(), buffer: Vec::new(), lost: None }
    }

    /// Looks what the terminal can show.
    pub(crate) fn look(&mut self, plain: bool) {
        self.terminal = Arc::new(Terminal::look(plain));
    }

    /// Text that is made here, as it is.
    pub(crate) fn raw(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    /// One line, with nothing in it but plain characters.
    pub(crate) fn line(&mut self, text: &str) {
        self.raw(&escaped(text));
        self.raw("\n");
    }

    /// One line that has colours, and is plain besides.
    pub(crate) fn painted(&mut self, text: &str) {
        self.raw(text);
        self.raw("\n");
    }

    /// A document in one line.
    pub(crate) fn document(&mut self, document: &impl Serialize) {
        match serde_json::to_string(document) {
            Ok(text) => self.line(&text),
            // Of maps whose keys are no strings, and there are none.
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// One line on stderr.
    pub(crate) fn complain(&mut self, text: &str) {
        self.note(&format!("kvmctl: {text}"));
    }

    /// The same about the guest, as it happens.
    pub(crate) fn note(&mut self, text: &str) {
        self.flush();
        note(&self.terminal, text);
    }

    pub(crate) fn failure(&mut self, failure: &Failure) -> Status {
        let error = &failure.error;
        if self.json {
            self.document(&failed(error, failure.message()));
            return failure.status;
        }
        self.complain(&failure.message());
        if error.undo() == Undo::Incomplete && !error.left().is_empty() {
            self.note("left behind, until the next command on this guest settles it:");
            error.left().iter().for_each(|thing| self.note(thing));
        }
        failure.status
    }

    /// Writes what has been said so far.
    pub(crate) fn flush(&mut self) {
        if !self.buffer.is_empty() && was_closed(stdout().as_raw_fd()) {
            self.lost = Some(Errno::BADF);
        }
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() && self.lost.is_none() {
            match write(stdout().as_fd(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => interrupt::end_by_broken_pipe(),
                Err(errno) => self.lost = Some(errno),
            }
        }
        self.buffer.clear();
    }

    /// Whoever reads results has to be told when they could not be written; not there, of course.
    pub(crate) fn finish(&mut self, status: Status) -> Status {
        self.flush();
        let Some(errno) = self.lost else { return status };
        let why = Error::host(std::io::Error::from(errno), "cannot write to stdout");
        note(&self.terminal, &format!("kvmctl: {why}"));
        if status == Status::Done { Status::Failed } else { status }
    }
}

fn failed(error: &Error, message: String) -> Failed<'_> {
    Failed {
        error: Told {
            message,
            kind: error.kind(),
            errno: error.errno(),
            step: error.step(),
            qmp_class: error.qmp_class(),
            qmp_desc: error.qmp_desc(),
            undo: error.undo(),
            residue: error.left(),
        },
    }
}

fn note(terminal: &Terminal, text: &str) {
    // Where nobody reads what is said there, nothing can be done about it.
    terminal.beside_line(|| drop(writeln!(stderr(), "{}", escaped(text))));
}

/// Writes the library's log to stderr.
pub(crate) struct Log(pub(crate) Arc<Terminal>);

impl Sink for Log {
    fn line(&self, level: Level, text: &str) {
        let level = match level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        note(&self.0, &format!("kvmctl: {level}: {text}"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ODD: &str = "\u{e9}\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}gpj\u{7f}\n";

    fn printed(print: impl FnOnce(&mut Output)) -> String {
        let mut output = Output::new(false);
        print(&mut output);
        String::from_utf8(output.buffer).unwrap()
    }

    #[test]
    fn nothing_is_a_command_to_the_terminal() {
        let line = printed(|output| output.line(ODD));
        assert_eq!(line, "\u{e9}\\u001b]0;owned\\u0007\\u009b31m\\u202egpj\\u007f\\u000a\n");
        let document = printed(|output| output.document(&[ODD]));
        assert!(document.trim_end().chars().all(kvm_hotplug::sanitize::is_plain), "{document}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&document).unwrap(), [ODD]);
    }

    #[test]
    fn a_failure_is_one_object() {
        let error =
            Error::qmp("GenericError", "no").with_step("device_add x").with_undo(vec!["netdev x".into()]);
        let failure = Failure::advised(error, "try again");
        let message = failure.message();
        let text = serde_json::to_string(&failed(&failure.error, message)).unwrap();
        assert_eq!(
            text,
            "{\"error\":{\"message\":\"device_add x: no (left behind: netdev x); try again\",\"kind\":\"qmp\",\
             \"errno\":121,\"step\":\"device_add x\",\"qmp_class\":\"GenericError\",\"qmp_desc\":\"no\",\
             \"undo\":\"incomplete\",\"residue\":[\"netdev x\"]}}"
        );
    }
}
