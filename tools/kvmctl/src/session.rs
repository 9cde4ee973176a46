//! One guest for the time of one command: its record, and the guest itself where the command is about that.

use std::env;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kvm_hotplug::adopt::AdoptRequest;
use kvm_hotplug::capi::guest::KVM_HOTPLUG_DEFAULT_TIMEOUT_MS;
use kvm_hotplug::error::errno;
use kvm_hotplug::guest::{Access, Guest};
use kvm_hotplug::log::{Level, Log};
use kvm_hotplug::mutex::lock;
use kvm_hotplug::store::RecordFile;
use kvm_hotplug::{Error, ErrorKind};
use rustix::io::Errno;

use crate::adopt;
use crate::cli::{Command, Common, Plan};
use crate::events;
use crate::failure::{Failure, Result};
use crate::output::{self, Output};

/// What a command has to do with the guest's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    /// It takes none.
    None,
    /// It takes one, and opens no guest with it.
    Named,
    /// It opens the guest, if there is a socket.
    Optional,
    /// It opens the guest.
    Required,
}

#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) common: Common,
    pub(crate) output: &'a mut Output,
    /// The runtime file.
    pub(crate) runtime: String,
    record: Option<Arc<Mutex<RecordFile>>>,
    guest: Option<Guest>,
    access: Access,
}

impl Command {
    fn socket(&self) -> Socket {
        match self {
            Self::Adopt(_)
            | Self::Init { .. }
            | Self::Convert { .. }
            | Self::Copy { .. }
            | Self::Backing { .. }
            | Self::Reserve { .. }
            | Self::SlotPolicy { .. }
            | Self::WhenFull { .. }
            | Self::Accept { .. } => Socket::None,
            Self::AddNic { cold: true, .. }
            | Self::AddDisk { cold: true, .. }
            | Self::Del { cold: true, .. } => Socket::None,
            Self::Boot(_) | Self::Check { .. } | Self::Plan { of: Plan::Boot { .. } } => Socket::Named,
            Self::List { unrecorded: false, .. } | Self::Settle => Socket::Optional,
            _ => Socket::Required,
        }
    }

    /// Whether it leaves guest and record as they are; another program may own the record then.
    fn access(&self) -> Access {
        match self {
            Self::Plan { .. } | Self::List { .. } | Self::Map | Self::Verify { mend: false } => Access::Look,
            Self::Check { .. } | Self::Convert { .. } | Self::Copy { .. } => Access::Look,
            Self::Boot(arguments) if arguments.print => Access::Look,
            Self::Apply(arguments) if arguments.plan => Access::Look,
            _ => Access::Change,
        }
    }

    fn is_cold(&self) -> bool {
        matches!(
            self,
            Self::AddNic { cold: true, .. } | Self::AddDisk { cold: true, .. } | Self::Del { cold: true, .. }
        )
    }
}

/// An empty variable is as good as none.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

impl<'a> Session<'a> {
    pub(crate) fn open(
        mut common: Common,
        command: &Command,
        name: &str,
        output: &'a mut Output,
    ) -> Result<Self> {
        let needs = |what: &str| Failure::usage(format!("{name} needs {what}; see kvmctl {name} --help"));
        let socket = command.socket();
        if common.socket.is_some() && command.is_cold() {
            return Err(Failure::usage("--cold does not go with --socket".to_owned()));
        }
        if common.socket.is_some() && socket == Socket::None {
            return Err(Failure::usage(format!("{name} takes no --socket; see kvmctl {name} --help")));
        }
        if matches!(command, Command::Adopt(_)) {
            if common.runtime.is_some() {
                return Err(Failure::usage(
                    "adopt takes no --runtime: its record goes to -o FILE".to_owned(),
                ));
            }
            let (runtime, access) = (String::new(), Access::Look);
            return Ok(Self { common, output, runtime, record: None, guest: None, access });
        }
        let runtime = common.runtime.take().or_else(|| variable("KVMCTL_RUNTIME"));
        // check asks any QEMU, so that of the environment would be the wrong one.
        if !matches!(command, Command::Check { .. }) && socket != Socket::None {
            common.socket = common.socket.or_else(|| variable("KVMCTL_SOCKET"));
        }
        let with_guest = common.socket.is_some() && matches!(socket, Socket::Optional | Socket::Required);
        let Some(runtime) = runtime.or_else(|| with_guest.then(String::new)) else {
            return Err(needs("--runtime or $KVMCTL_RUNTIME"));
        };
        if socket == Socket::Required && common.socket.is_none() {
            return Err(needs("--socket or $KVMCTL_SOCKET"));
        }
        let access = command.access();
        let mut session = Self { common, output, runtime, record: None, guest: None, access };
        if matches!(command, Command::Init { .. }) {
            return Ok(session);
        }
        session.open_record(command)?;
        if with_guest {
            session.open_guest(command)?;
        }
        Ok(session)
    }

    fn open_record(&mut self, command: &Command) -> Result<()> {
        if self.runtime.is_empty() {
            return self.adopt();
        }
        let path = Path::new(&self.runtime);
        let opened = match self.access {
            Access::Change => RecordFile::load_trusting(path, self.common.trust()),
            Access::Look => RecordFile::peek_trusting(path, self.common.trust()),
        };
        let record = opened.map_err(|error| self.without_record(command, error))?;
        self.record = Some(Arc::new(Mutex::new(record)));
        Ok(())
    }

    /// Without a record there is the guest: one is made of it for the time of this command.
    fn adopt(&mut self) -> Result<()> {
        let socket = self.common.socket.clone().unwrap_or_default();
        let adopted = adopt::run(self, &socket, &AdoptRequest::default()).map_err(|failure| {
            if is_off(&socket, &failure.error) { Failure::advised(failure.error, OFF) } else { failure }
        })?;
        let mut record = RecordFile::new(adopted.record);
        record.keep_in_memory()?;
        self.record = Some(Arc::new(Mutex::new(record)));
        Ok(())
    }

    /// The record cannot be had.
    fn without_record(&self, command: &Command, error: Error) -> Failure {
        let path = Path::new(&self.runtime);
        let has_directory =
            path.parent().is_none_or(|parent| parent.as_os_str().is_empty() || parent.exists());
        let is_list = matches!(command, Command::List { .. });
        match error.errno() {
            number if number == Errno::NOENT.raw_os_error() && !path.exists() && has_directory => {
                Failure::advised(error, "kvmctl init makes one")
            }
            number if number == Errno::ACCESS.raw_os_error() => {
                Failure::advised(error, "run kvmctl as the user whose record it is")
            }
            _ if error.kind() == ErrorKind::Locked && is_list => Failure::advised(
                error,
                "list without --socket and $KVMCTL_SOCKET shows the record all the same",
            ),
            _ => error.into(),
        }
    }

    /// Opening settles what an agent that died had begun, unless it is to look, and the events say what;
    /// watching shows them itself. A list of the record is shown also when the guest is off.
    fn open_guest(&mut self, command: &Command) -> Result<()> {
        let socket = self.common.socket.clone().unwrap_or_default();
        let log = match self.common.verbose {
            true => Log::new(Level::Debug, Arc::new(output::Log(self.output.terminal.clone()))),
            false => Log::default(),
        };
        let (record, listener) = (self.shared()?, self.common.listener());
        let opened = Guest::open_of(record, Path::new(&socket), listener, self.access, log, self.timeout());
        match opened {
            Ok(guest) => self.guest = Some(guest),
            Err(error) if error.errno() == Errno::ACCESS.raw_os_error() => {
                return Err(Failure::advised(error, "run kvmctl as the user whose QEMU it is"));
            }
            Err(error) if !is_off(&socket, &error) => return Err(error.into()),
            Err(error) if !matches!(command, Command::List { unrecorded: false, .. }) => {
                return Err(Failure::advised(error, OFF));
            }
            Err(error) => {
                if !self.output.json {
                    self.output.complain(&format!("{error}; this is the record of a guest that is off"));
                }
                return Ok(());
            }
        }
        match command {
            Command::Watch { .. } => Ok(()),
            Command::List { .. } => events::note_all_but_pending(self),
            _ => events::note_all(self),
        }
    }

    fn shared(&self) -> Result<Arc<Mutex<RecordFile>>> {
        self.record.clone().ok_or_else(|| Error::new(ErrorKind::State, "there is no record").into())
    }

    /// The record.
    pub(crate) fn record(&self) -> Result<MutexGuard<'_, RecordFile>> {
        let record = self.record.as_ref().map(|record| lock(record));
        record.ok_or_else(|| Error::new(ErrorKind::State, "there is no record").into())
    }

    /// Closes the record, so that another program can open the guest.
    pub(crate) fn close_record(&mut self) {
        self.record = None;
    }

    /// The guest, of a command that has one.
    pub(crate) fn guest(&self) -> Result<&Guest> {
        self.guest.as_ref().ok_or_else(|| Error::new(ErrorKind::State, "there is no guest").into())
    }

    /// The guest, if the command is about more than the record.
    pub(crate) fn guest_if_open(&self) -> Option<&Guest> {
        self.guest.as_ref()
    }

    pub(crate) fn only_looks(&self) -> bool {
        self.access == Access::Look
    }

    /// For calls that wait for nobody but QEMU.
    pub(crate) fn timeout(&self) -> Duration {
        self.common.timeout().unwrap_or_else(|| self.default_timeout())
    }

    /// The same for one of many, whatever was said about all of them.
    pub(crate) fn default_timeout(&self) -> Duration {
        Duration::from_millis(KVM_HOTPLUG_DEFAULT_TIMEOUT_MS.into())
    }
}

const OFF: &str = "the guest is off, which kvmctl boot changes, or its QEMU has another -qmp socket";

/// Whether nobody listens at the guest's socket.
fn is_off(socket: &str, error: &Error) -> bool {
    let number = error.errno();
    let is_missing = number == Errno::NOENT.raw_os_error() && !Path::new(socket).exists();
    number == errno::ECONNREFUSED || is_missing
}
