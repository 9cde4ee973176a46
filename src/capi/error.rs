//! `struct kvm_hotplug_error`.

use std::ffi::CString;

use super::give::c_text;
use crate::error::Error;
use crate::sanitize::escaped;

/// What went wrong. Numbers keep their meaning. Newer versions may add some: treat those by the errno.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_error_kind {
    /// EINVAL, EFAULT, EBADF, ENAMETOOLONG, ELOOP: an argument is malformed, out of range or contradicts
    /// another.
    KVM_HOTPLUG_ERROR_INVALID = 1,
    /// ENOENT: a file, interface or bus that was named does not exist.
    KVM_HOTPLUG_ERROR_NOT_FOUND = 2,
    /// EEXIST, EBUSY: id, MAC, serial or image in use; other settings.
    KVM_HOTPLUG_ERROR_CONFLICT = 3,
    /// ENOSPC: no free slot on any bus that takes hot-plugged devices.
    KVM_HOTPLUG_ERROR_NO_SLOT = 4,
    /// EADDRINUSE: the address asked for is taken or quarantined.
    KVM_HOTPLUG_ERROR_ADDRESS_TAKEN = 5,
    /// EOPNOTSUPP: bus, device or QEMU cannot do this live.
    KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE = 6,
    /// EPERM: the guest refused an unplug request; the device stays. QEMU up to 11.1 reports refusals for
    /// processors and memory only: the removal of a NIC or disk that the guest refuses stays pending.
    KVM_HOTPLUG_ERROR_GUEST_REFUSED = 7,
    /// EBUSY: busy with an earlier plug or unplug until the deadline.
    KVM_HOTPLUG_ERROR_GUEST_BUSY = 8,
    /// ETIMEDOUT: the deadline passed.
    KVM_HOTPLUG_ERROR_TIMEOUT = 9,
    /// ECANCELED: kvm_hotplug_cancel() ended the call.
    KVM_HOTPLUG_ERROR_CANCELED = 10,
    /// EBUSY: the monitor serves another client.
    KVM_HOTPLUG_ERROR_MONITOR_BUSY = 11,
    /// ECONNRESET, EPIPE: the monitor closed the connection.
    KVM_HOTPLUG_ERROR_MONITOR_LOST = 12,
    /// EPROTO: the monitor sent what is not QMP, or too much.
    KVM_HOTPLUG_ERROR_PROTOCOL = 13,
    /// EREMOTEIO: QEMU refused a command; see kvm_hotplug_error_qmp_class().
    KVM_HOTPLUG_ERROR_QMP = 14,
    /// The operating system refused a call; the errno is its own.
    KVM_HOTPLUG_ERROR_HOST = 15,
    /// EAGAIN: the runtime file is locked; the message says by whom.
    KVM_HOTPLUG_ERROR_LOCKED = 16,
    /// EBADMSG: a runtime file, journal or image header is malformed.
    KVM_HOTPLUG_ERROR_FORMAT = 17,
    /// EPROTONOSUPPORT, E2BIG: a file or struct of a newer version.
    KVM_HOTPLUG_ERROR_VERSION = 18,
    /// EMSGSIZE, EFBIG: something exceeds a stated limit.
    KVM_HOTPLUG_ERROR_LIMIT = 19,
    /// EACCES: the device was not made by this library and is left alone.
    KVM_HOTPLUG_ERROR_FOREIGN = 20,
    /// EBUSY: the image is in use by another QEMU.
    KVM_HOTPLUG_ERROR_IMAGE_LOCKED = 21,
    /// ENODEV: the host lacks what is required, such as vhost-net.
    KVM_HOTPLUG_ERROR_UNAVAILABLE = 22,
    /// EBADFD, EBUSY, EROFS, EDEADLK: the handle's state forbids the call.
    KVM_HOTPLUG_ERROR_STATE = 23,
    /// ENOTRECOVERABLE: a bug was caught; only closing still works.
    KVM_HOTPLUG_ERROR_PANIC = 24,
    /// EBUSY: the guest migrates, has migrated, or awaits migration.
    KVM_HOTPLUG_ERROR_MIGRATING = 25,
    /// EPERM, ELOOP: an image, or a file that an image names, may not be opened: the caller did not choose
    /// it, it is not the recorded one, or it has no data of its own. See kvm_runtime_set_backing().
    KVM_HOTPLUG_ERROR_IMAGE_REFUSED = 26,
    /// EPERM: an untrusted user owns a file or listens at a socket.
    KVM_HOTPLUG_ERROR_UNTRUSTED = 27,
}

/// What became of the steps that had been done when a call failed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_undo {
    /// Nothing had been changed.
    KVM_HOTPLUG_UNDO_NOTHING = 0,
    /// Everything that had been done was undone.
    KVM_HOTPLUG_UNDO_COMPLETE = 1,
    /// Something is left; kvm_hotplug_error_residue() names it. The next call on the guest settles it by the
    /// journal, also in another process.
    KVM_HOTPLUG_UNDO_INCOMPLETE = 2,
}

/// Why a call failed. The caller frees it with kvm_hotplug_error_free(). It refers to nothing else, may
/// outlive every handle, and any number of threads may read it at once.
#[derive(Debug)]
pub struct kvm_hotplug_error {
    pub(super) error: Error,
    pub(super) message: CString,
    pub(super) step: Option<CString>,
    pub(super) qmp_class: Option<CString>,
    pub(super) qmp_desc: Option<CString>,
    pub(super) left: Option<CString>,
}

impl kvm_hotplug_error {
    fn new(error: Error) -> Self {
        let left = (!error.left().is_empty())
            .then(|| error.left().iter().map(|thing| escaped(thing)).collect::<Vec<_>>().join("\n"));
        Self {
            message: shown(&error.to_string()),
            step: error.step().map(shown),
            qmp_class: error.qmp_class().map(shown),
            qmp_desc: error.qmp_desc().map(shown),
            left: left.as_deref().map(c_text),
            error,
        }
    }

    /// Puts a new error where the caller wants it.
    ///
    /// # Safety
    /// `reterr` is NULL or points to a writable pointer.
    pub(super) unsafe fn give(error: Error, reterr: *mut *mut Self) {
        if !reterr.is_null() {
            // SAFETY: the caller vouches for it.
            unsafe { reterr.write(Box::into_raw(Box::new(Self::new(error)))) };
        }
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.error.to_string()
    }
}

/// As people see it: a message may quote a path.
fn shown(text: &str) -> CString {
    c_text(&escaped(text))
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_in_the_header_are_the_numbers_inside() {
        let header = include_str!("error.rs");
        let inside = include_str!("../error.rs");
        let number = |line: &str| line.split('=').nth(1).map(|n| n.trim().trim_end_matches(',').to_owned());
        let pairs = |text: &str, prefix: &str| -> Vec<(String, String)> {
            text.lines()
                .filter(|line| line.starts_with(prefix) && line.ends_with(',') && line.contains(" = "))
                .filter_map(|line| {
                    Some((line.trim().split(' ').next()?.replace('_', "").to_lowercase(), number(line)?))
                })
                .collect()
        };
        let outside: Vec<_> = pairs(header, "    KVM_HOTPLUG_ERROR_")
            .into_iter()
            .map(|(name, number)| (name.replace("kvmhotplugerror", ""), number))
            .collect();
        let inside: Vec<_> = pairs(inside, "    ")
            .into_iter()
            .filter(|(name, _)| !["nothing", "complete", "incomplete"].contains(&name.as_str()))
            .collect();
        assert_eq!(outside.len(), 27);
        assert_eq!(outside, inside);
    }
}
