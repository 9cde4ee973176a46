//! The options that every command has.

use std::time::Duration;

use clap::{Args, ValueHint};
use kvm_hotplug::guest::Listener;
use kvm_hotplug::store::Trust;

use super::values;

const HEADING: &str = "Common options";

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The guest's runtime file (default: $KVMCTL_RUNTIME)
    ///
    /// Without one the running guest is looked at, as adopt does, and nothing is written down.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = HEADING)]
    pub(crate) runtime: Option<String>,
    /// QMP socket of the running QEMU, which serves one client at a time (default: $KVMCTL_SOCKET)
    ///
    /// A path, @name for an abstract name, or, if no file has that name, host:port, [address]:port or
    /// vsock:CID:PORT. Over those neither NICs nor disks can be added.
    #[arg(long, global = true, value_name = "QMP", value_hint = ValueHint::FilePath, help_heading = HEADING)]
    pub(crate) socket: Option<String>,
    /// For all of it
    #[arg(long, global = true, value_name = "SECONDS", help_heading = HEADING,
          value_parser = clap::value_parser!(u64).range(0..=86400))]
    timeout: Option<u64>,
    /// Say it as JSON, errors too, for scripts
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) json: bool,
    /// No colours, box characters, or line while something is waited for; the default when stdout is no
    /// terminal
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) plain: bool,
    /// Say on stderr what the library does
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) verbose: bool,
    /// Use the record also if others can write it, who then decide what is done
    #[arg(long, global = true, help_heading = HEADING)]
    trust_record: bool,
    /// Only if this user listens at the socket; commands that change something remember it
    #[arg(long, global = true, value_name = "UID",
          value_parser = values::number::<u32>, help_heading = HEADING)]
    peer_uid: Option<u32>,
    /// Only if this process listens at the socket
    #[arg(long, global = true, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..),
          help_heading = HEADING)]
    peer_pid: Option<i32>,
    /// Whoever listens; commands that change something remember that user from now on
    #[arg(long, global = true, help_heading = HEADING)]
    accept_peer: bool,
    /// QEMU is being started: wait until it listens at the socket
    #[arg(long, global = true, help_heading = HEADING)]
    starting: bool,
}

impl Common {
    /// How long all of it may take; `None` for the library's default.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    pub(crate) fn trust(&self) -> Trust {
        if self.trust_record { Trust::Given } else { Trust::Checked }
    }

    pub(crate) fn listener(&self) -> Listener {
        Listener { pid: self.peer_pid, uid: self.peer_uid, accept: self.accept_peer, starts: self.starting }
    }
}
