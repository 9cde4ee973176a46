//! The one error type: what went wrong, as a stable kind and an errno, where, and what was left behind.

use std::fmt;

use serde::Serialize;

/// Shorthand used by every fallible function of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Error numbers of Linux, for whoever decides which one is told and asks nobody.
pub mod errno {
    pub use libc::{E2BIG, EBUSY, ECONNREFUSED, ENOSPC, EPERM, EROFS, ESRCH, ESTALE};
}

c_enum! {
    /// What went wrong. Numbers keep their meaning. Newer versions may add some: treat those by the errno.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
    #[serde(rename_all = "kebab-case")]
    #[non_exhaustive]
    pub enum ErrorKind = kvm_hotplug_error_kind, KVM_HOTPLUG_ERROR {
        /// EINVAL, EFAULT, EBADF, ENAMETOOLONG, ELOOP, ESTALE: an argument is malformed, out of range or
        /// contradicts another.
        Invalid = 1,
        /// ENOENT: a file, interface or bus that was named does not exist.
        NotFound = 2,
        /// EEXIST, EBUSY: id, MAC, serial or image in use; other settings.
        Conflict = 3,
        /// ENOSPC: no free slot on any bus that takes hot-plugged devices.
        NoSlot = 4,
        /// EADDRINUSE: the address asked for is taken or quarantined.
        AddressTaken = 5,
        /// EOPNOTSUPP: bus, device or QEMU cannot do this live.
        NotHotpluggable = 6,
        /// EPERM: the guest refused an unplug request; the device stays. QEMU up to 11.1 reports refusals for
        /// processors and memory only: the removal of a NIC or disk that the guest refuses stays pending.
        GuestRefused = 7,
        /// EBUSY: busy with an earlier plug or unplug until the deadline.
        GuestBusy = 8,
        /// ETIMEDOUT: the deadline passed.
        Timeout = 9,
        /// ECANCELED: kvm_hotplug_cancel() ended the call.
        Canceled = 10,
        /// EBUSY: the monitor serves another client.
        MonitorBusy = 11,
        /// ECONNRESET, EPIPE: the monitor closed the connection.
        MonitorLost = 12,
        /// EPROTO: the monitor sent what is not QMP, or too much.
        Protocol = 13,
        /// EREMOTEIO: QEMU refused a command; see kvm_hotplug_error_qmp_class().
        Qmp = 14,
        /// The operating system refused a call; the errno is its own.
        Host = 15,
        /// EAGAIN: the runtime file is locked; the message says by whom.
        Locked = 16,
        /// EBADMSG: a runtime file, journal or image header is malformed.
        Format = 17,
        /// EPROTONOSUPPORT, E2BIG: a file or struct of a newer version.
        Version = 18,
        /// EMSGSIZE, EFBIG: something exceeds a stated limit.
        Limit = 19,
        /// EACCES: the device was not made by this library and is left alone.
        Foreign = 20,
        /// EBUSY: the image is in use by another QEMU.
        ImageLocked = 21,
        /// ENODEV: the host lacks what is required, such as vhost-net.
        Unavailable = 22,
        /// EBADFD, EBUSY, EROFS, EDEADLK: the handle's state forbids the call.
        State = 23,
        /// ENOTRECOVERABLE: a bug was caught; only closing still works.
        Panic = 24,
        /// EBUSY: the guest migrates, has migrated, or awaits migration.
        Migrating = 25,
        /// EPERM, ELOOP: an image, or a file that an image names, may not be opened: the caller did not
        /// choose it, it is not the recorded one, or it has no data of its own. See
        /// kvm_runtime_set_backing().
        ImageRefused = 26,
        /// EPERM: an untrusted user owns a file or listens at a socket.
        Untrusted = 27,
    }
}

impl ErrorKind {
    /// The errno reported for this kind unless the operating system gave a better one.
    pub fn default_errno(self) -> i32 {
        match self {
            Self::Invalid => libc::EINVAL,
            Self::NotFound => libc::ENOENT,
            Self::Conflict => libc::EEXIST,
            Self::NoSlot => libc::ENOSPC,
            Self::AddressTaken => libc::EADDRINUSE,
            Self::NotHotpluggable => libc::EOPNOTSUPP,
            Self::GuestRefused | Self::ImageRefused | Self::Untrusted => libc::EPERM,
            Self::GuestBusy | Self::MonitorBusy | Self::ImageLocked | Self::Migrating => libc::EBUSY,
            Self::Timeout => libc::ETIMEDOUT,
            Self::Canceled => libc::ECANCELED,
            Self::MonitorLost => libc::ECONNRESET,
            Self::Protocol => libc::EPROTO,
            Self::Qmp => libc::EREMOTEIO,
            Self::Host => libc::EIO,
            Self::Locked => libc::EAGAIN,
            Self::Format => libc::EBADMSG,
            Self::Version => libc::EPROTONOSUPPORT,
            Self::Limit => libc::EMSGSIZE,
            Self::Foreign => libc::EACCES,
            Self::Unavailable => libc::ENODEV,
            Self::State => libc::EBADFD,
            Self::Panic => libc::ENOTRECOVERABLE,
        }
    }

    /// Short words for logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid argument",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::NoSlot => "no free slot",
            Self::AddressTaken => "address taken",
            Self::NotHotpluggable => "not hot-pluggable",
            Self::GuestRefused => "refused by the guest",
            Self::GuestBusy => "guest busy",
            Self::Timeout => "timed out",
            Self::Canceled => "cancelled",
            Self::MonitorBusy => "monitor busy",
            Self::MonitorLost => "monitor lost",
            Self::Protocol => "protocol error",
            Self::Qmp => "QMP error",
            Self::Host => "host error",
            Self::Locked => "locked",
            Self::Format => "malformed",
            Self::Version => "newer version",
            Self::Limit => "limit exceeded",
            Self::Foreign => "foreign device",
            Self::ImageLocked => "image locked",
            Self::Unavailable => "unavailable",
            Self::State => "wrong state",
            Self::Panic => "internal error",
            Self::Migrating => "guest migrating",
            Self::ImageRefused => "image refused",
            Self::Untrusted => "not trusted",
        }
    }
}

c_enum! {
    /// What became of the steps that had been done when a call failed.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Undo = kvm_hotplug_undo, KVM_HOTPLUG_UNDO {
        /// Nothing had been changed.
        #[default]
        Nothing = 0,
        /// Everything that had been done was undone.
        Complete = 1,
        /// Something is left; kvm_hotplug_error_residue() names it. The next call on the guest settles it by
        /// the journal, also in another process.
        Incomplete = 2,
    }
}

/// An error with everything a caller may want to act on.
#[derive(Clone)]
pub struct Error(Box<Detail>);

#[derive(Clone)]
struct Detail {
    kind: ErrorKind,
    errno: i32,
    message: String,
    step: Option<String>,
    qmp: Option<(String, String)>,
    undo: Undo,
    left: Vec<String>,
}

impl Error {
    /// A new error of `kind`; `message` says what was wrong, where, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Detail {
            kind,
            errno: kind.default_errno(),
            message: message.into(),
            step: None,
            qmp: None,
            undo: Undo::Nothing,
            left: Vec::new(),
        }))
    }

    /// An [`ErrorKind::Invalid`] error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The connection to the monitor has ended.
    pub fn monitor_lost() -> Self {
        Self::new(ErrorKind::MonitorLost, "the connection to the monitor is gone")
    }

    /// QEMU has left out the answer to a command.
    pub fn no_reply() -> Self {
        Self::new(ErrorKind::Protocol, "no reply")
    }

    /// The time of a call is over.
    pub fn deadline_passed() -> Self {
        Self::new(ErrorKind::Timeout, "the deadline passed")
    }

    /// A call was cancelled.
    pub fn canceled() -> Self {
        Self::new(ErrorKind::Canceled, "cancelled by another thread")
    }

    /// A failed system call: the errno is kept, `doing` names the call and its object.
    pub fn host(source: impl Into<std::io::Error>, doing: impl fmt::Display) -> Self {
        let source = source.into();
        let errno = source.raw_os_error().unwrap_or(libc::EIO);
        let kind = if errno == libc::ENOENT { ErrorKind::NotFound } else { ErrorKind::Host };
        Self::new(kind, format!("{doing}: {}", nix::errno::Errno::from_raw(errno).desc())).with_errno(errno)
    }

    /// QEMU's own refusal of a command.
    pub fn qmp(class: impl Into<String>, desc: impl Into<String>) -> Self {
        let (class, desc) = (class.into(), desc.into());
        let mut error = Self::new(ErrorKind::Qmp, desc.clone());
        error.0.qmp = Some((class, desc));
        error
    }

    /// Replaces the kind and, with it, the errno.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self.0.errno = kind.default_errno();
        self
    }

    /// Replaces the errno.
    #[must_use]
    pub fn with_errno(mut self, errno: i32) -> Self {
        self.0.errno = errno;
        self
    }

    /// Names the step that failed; the innermost name wins.
    #[must_use]
    pub fn with_step(mut self, step: impl Into<String>) -> Self {
        self.0.step.get_or_insert_with(|| step.into());
        self
    }

    /// Puts `what` before the message, so that the text reads from the outside in.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Records that the steps done before the failure were taken back, all of them but `left`.
    #[must_use]
    pub fn with_undo(mut self, left: Vec<String>) -> Self {
        self.0.undo = if left.is_empty() { Undo::Complete } else { Undo::Incomplete };
        self.0.left = left;
        self
    }

    /// The stable kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// A positive errno.
    pub fn errno(&self) -> i32 {
        self.0.errno
    }

    /// The step that failed, such as `device_add nic-pci-5`.
    pub fn step(&self) -> Option<&str> {
        self.0.step.as_deref()
    }

    /// Whether QEMU answered, and refused: the command was not lost.
    pub fn is_refusal(&self) -> bool {
        self.0.qmp.is_some()
    }

    /// QEMU's error class, such as `GenericError` or `DeviceNotFound`.
    pub fn qmp_class(&self) -> Option<&str> {
        self.0.qmp.as_ref().map(|(class, _)| class.as_str())
    }

    /// QEMU's own words.
    pub fn qmp_desc(&self) -> Option<&str> {
        self.0.qmp.as_ref().map(|(_, desc)| desc.as_str())
    }

    /// What became of the steps done before the failure.
    pub fn undo(&self) -> Undo {
        self.0.undo
    }

    /// What could not be taken back, one readable entry each.
    pub fn left(&self) -> &[String] {
        &self.0.left
    }

    /// The message alone, without step and leftovers.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = self.step() {
            write!(f, "{step}: ")?;
        }
        f.write_str(self.message())?;
        if !self.left().is_empty() {
            write!(f, " (left behind: {})", self.left().join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[errno {}] {self}", self.kind(), self.errno())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_from_the_outside_in() {
        let error = Error::qmp("GenericError", "Duplicate ID")
            .with_step("netdev_add nic-pci-5")
            .with_step("outer")
            .context("add NIC")
            .with_undo(vec!["netdev nic-pci-5".into()]);
        assert_eq!(
            error.to_string(),
            "netdev_add nic-pci-5: add NIC: Duplicate ID (left behind: netdev nic-pci-5)"
        );
        assert_eq!(error.qmp_class(), Some("GenericError"));
        assert_eq!(error.undo(), Undo::Incomplete);
        assert_eq!(error.errno(), libc::EREMOTEIO);
    }

    #[test]
    fn host_errors_keep_their_errno() {
        let error = Error::host(std::io::Error::from_raw_os_error(libc::EACCES), "open disk.img");
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Host, libc::EACCES));
        assert_eq!(error.to_string(), "open disk.img: Permission denied");
    }
}
