//! The program: options, orders on stdin, and what it says on stdout.

pub(crate) mod help;
pub(crate) mod options;
pub(crate) mod orders;

use std::io::{BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fake_qemu::{FakeQemu, Happened, Setup};

use orders::Taken;

/// The longest order that is taken.
const MOST_BYTES: usize = 64 << 10;

/// For what an order brings about.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves until it is told to end, or until there is nobody who could.
pub(crate) fn serve(setup: Setup, path: &Path, input: &mut dyn BufRead) -> std::io::Result<()> {
    let end = {
        let path = path.to_owned();
        move |what: Happened<'_>| say(what, &path)
    };
    let fake = FakeQemu::listen(setup, vec![PathBuf::from(path)], Some(Box::new(end)))?;
    print("ready");
    let mut line = Vec::new();
    while read_line(input, &mut line)? {
        let taken = orders::take(&fake, &String::from_utf8_lossy(&line));
        if taken == Taken::Quit {
            break;
        }
        // What it answers it has done, unless a client keeps it from coming to rest.
        fake.settles_within(PATIENCE);
        print(if taken == Taken::Yes { "ok" } else { "what?" });
    }
    let _ = std::fs::remove_file(path);
    // It is the agent's author who is to know; nothing fails here for it.
    fake.take_violations().iter().for_each(|text| drop(writeln!(std::io::stderr(), "kvm-fake-qemu: {text}")));
    drop(fake);
    Ok(())
}

/// The next line without its end; false if there is none, or only a part of one.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    loop {
        let (used, ended) = match input.fill_buf() {
            Ok([]) => return Ok(false),
            Ok(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                (end.map_or(bytes.len(), |end| end + 1), end.is_some())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        input.consume(used);
        if ended || line.len() > MOST_BYTES {
            return Ok(ended);
        }
    }
}

/// What is done is told on stdout, for a test to wait for.
fn say(what: Happened<'_>, path: &Path) {
    let command = |what: &str, seen: &fake_qemu::Seen, about: &str| {
        let space = if about.is_empty() { "" } else { " " };
        print(&format!("{what} {}{space}{about}", plain(&seen.name)));
    };
    let id = |seen: &fake_qemu::Seen| {
        plain(seen.arguments.get("id").and_then(|id| id.as_str()).unwrap_or_default())
    };
    match what {
        Happened::Came => print("client come"),
        Happened::Gone => print("client gone"),
        Happened::Done(seen) => command("done", seen, &id(seen)),
        Happened::Refused(seen) => command("refused", seen, &id(seen)),
        Happened::Silent(seen) => command("silent", seen, ""),
        Happened::Ended => {
            let _ = std::fs::remove_file(path);
            std::process::exit(0);
        }
    }
}

/// Without what a terminal would obey, and what would end a line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Whoever reads it may be gone already.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
