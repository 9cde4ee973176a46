//! Changes to NICs that are in the guest: link, bridge and limits.

use std::ffi::{c_char, c_int};
use std::ptr;

use super::args::{self, Plain, optional_str, read_struct, required_str, timeout};
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, give_answer, kvm_hotplug};
use crate::ids::IfName;
use crate::net::bandwidth::{Bandwidth, Limits};

/// Sets the link of a NIC up or down: the guest sees its carrier change. Recorded. QEMU has no device
/// property for it (5.2 to 11.1), so start such a guest paused (-S) and open it before it runs:
/// kvm_hotplug_open() sets the recorded links down. A repeated call sends the command again, since another
/// program may have set the link.
///
/// `up`: 1 for up, 0 for down.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the NIC itself comes with the next
/// boot), or fails like any change of a device. After a failure that kvm_hotplug_error_undo() calls
/// incomplete, the next call sets the link back.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_set_link(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    up: c_int,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, id) = unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?) };
        let up = args::boolean(up, "up")?;
        let outcome = guest.set_link(id, up, timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: NULL is no struct to write to.
        Ok(unsafe { give_answer(&outcome, ptr::null_mut(), 0) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Moves the tap of a NIC to another bridge of the host. Recorded. The guest keeps its device, MTU included,
/// and notices nothing. The tap is on no bridge for a moment, and gets the MTU of the new one, unless the NIC
/// was added with an mtu: a bridge takes that of its smallest port. A tap that is on that bridge already
/// stays there.
///
/// The library looks for the tap by its recorded name in the network namespace of the calling thread. One
/// that the caller opened (tap_fds) is moved as well if it is there.
///
/// `bridge`: name of the bridge to move to, or NULL to take it out of any.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the NIC itself comes with the next
/// boot), or fails like any change of a device, and with -EINVAL (bridge is no Linux bridge, or no name of an
/// interface), -ENOENT (no such bridge; the tap is not in this network namespace), -EACCES (kind FOREIGN: the
/// interface of that name is no tap), -EBUSY (kind HOST: the tap belongs to something that is no Linux
/// bridge), or the errno of leaving or joining a bridge (-EPERM without CAP_NET_ADMIN).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_set_bridge(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    bridge: *const c_char,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and strings.
        let (guest, id, bridge) =
            unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?, optional_str(bridge, "bridge")?) };
        let bridge = bridge.map(IfName::parse).transpose()?;
        let timeout = timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
        let outcome = guest.set_bridge(id, bridge.as_ref(), timeout)?;
        // SAFETY: NULL is no struct to write to.
        Ok(unsafe { give_answer(&outcome, ptr::null_mut(), 0) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// How much a guest may receive and send over a NIC: the fields of the same names in struct kvm_hotplug_nic.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)]
pub struct kvm_hotplug_nic_limits {
    /// Bytes per second that the guest receives; 0 for no limit.
    pub inbound_average: u64,
    /// Bytes that it may receive at once; 0 for a tenth of a second.
    pub inbound_burst: u64,
    /// Bytes per second that the guest sends; 0 for no limit.
    pub outbound_average: u64,
    /// Bytes that it may send at once; 0 for a tenth of a second.
    pub outbound_burst: u64,
}

// SAFETY: repr(C), integers only.
unsafe impl Plain for kvm_hotplug_nic_limits {
    const FIRST: usize = args::end_of!(kvm_hotplug_nic_limits, outbound_burst);
}

/// Sets how much the guest may receive and send over a NIC, in both directions at once. Recorded. The guest
/// and QEMU notice nothing. A repeated call sets the limits again, since another program may have removed
/// them. A failure leaves the limits that it had.
///
/// The library looks for the tap as kvm_hotplug_set_bridge() does. The disciplines of somebody else on it are
/// left alone: one that is in the way fails the call, with -EEXIST.
///
/// `limits`: all of them; a direction that is 0 has no limit from then on.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the NIC itself comes with the next
/// boot), or fails like any change of a device, and with -EINVAL (out of range; a record in Ganeti's format),
/// -ENOENT (the tap is not in this network namespace), -EACCES (kind FOREIGN: the interface of that name is
/// not the tap), -EEXIST (a queueing discipline of somebody else), -ENODEV (the kernel lacks what a limit
/// takes), or the errno of the kernel (-EPERM without CAP_NET_ADMIN).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_set_nic_limits(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    limits: *const kvm_hotplug_nic_limits,
    limits_size: usize,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle, string and struct.
        let (guest, id, limits) = unsafe {
            let limits = read_struct(limits, limits_size, "limits");
            (kvm_hotplug::get(guest)?, required_str(id, "id")?, limits?)
        };
        let limits = Limits {
            inbound: Bandwidth::new("inbound", limits.inbound_average, limits.inbound_burst)?,
            outbound: Bandwidth::new("outbound", limits.outbound_average, limits.outbound_burst)?,
        };
        let outcome =
            guest.set_nic_limits(id, limits, timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: NULL is no struct to write to.
        Ok(unsafe { give_answer(&outcome, ptr::null_mut(), 0) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
