//! kvm-fake-qemu: a QMP socket with a guest behind it that is none, for the tests of node agents. It answers
//! what the library asks and does, as QEMU does, keeps the descriptors that it is handed, and does what it is
//! told on stdin: refuse, hang, hang up, hold a device. So an agent meets on purpose what it otherwise meets
//! once a year.

mod program;

use std::io::Write;
use std::process::ExitCode;

use program::help;
use program::options::{self, Start};

fn main() -> ExitCode {
    let start = match options::parse(std::env::args().skip(1)) {
        Ok(start) => start,
        Err(text) => return end_with(2, &format!("{text}; see kvm-fake-qemu --help")),
    };
    match start {
        Start::Help => print(&help::text()),
        Start::Manual => print(&help::manual()),
        Start::Serve { setup, path } => {
            if let Err(error) = program::serve(setup, &path, &mut std::io::stdin().lock()) {
                return end_with(1, &format!("{}: {error}", path.display()));
            }
        }
    }
    ExitCode::SUCCESS
}

/// Whoever reads it may be gone already.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn end_with(status: u8, text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "kvm-fake-qemu: {text}");
    ExitCode::from(status)
}
