//! Changes to NICs that are in the guest: link and bridge.

use std::ffi::{c_char, c_int};
use std::ptr;

use super::args::{self, optional_str, required_str, timeout};
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, give_answer, kvm_hotplug};
use crate::ids::IfName;

/// Pulls the cable of a NIC, or puts it back: the guest sees its carrier go and come. Recorded, so that it outlives the
/// guest: QEMU has no device property for it (5.2 to 11.1), so whoever starts the guest again starts it paused (-S) and
/// opens it before it runs; kvm_hotplug_open() sets the recorded links down.
///
/// The call may be repeated; it is then sent again, since others may have set the link.
///
/// `up`: 1 for up, 0 for down.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the NIC itself comes with the
/// next boot), or fails like any change of a guest, and with -EINVAL (it is no NIC), -ENOENT (no such NIC; or
/// recorded, but the guest does not have it), -EACCES (kind FOREIGN: in the guest, not in the record), -EBUSY
/// (kind STATE: it is being removed).
///
/// After a failure that kvm_hotplug_error_undo() calls incomplete, the next call sets the link back.
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

/// Moves a NIC to another bridge of the host. Its tap changes places; the guest keeps its device, MTU included, and
/// notices nothing. Recorded.
///
/// The tap is looked for by its recorded name in the network namespace of the calling thread. One that the caller opened
/// (tap_fds) is moved as well if it is there. The tap is on no bridge for the moment between the two, and
/// gets the MTU of the new one, unless the NIC was added with an mtu: a bridge takes that of its smallest port.
///
/// The call may be repeated: a tap that is on that bridge already is left there.
///
/// `bridge`: name of the bridge to move to, or NULL to take it out of any.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the NIC itself comes with the
/// next boot), or fails like any change of a guest, and with -EINVAL (it is no NIC; bridge is no Linux
/// bridge; not a name of an interface), -ENOENT (no such NIC or bridge; the tap is not in this network
/// namespace; the guest does not have the device), -EACCES (kind FOREIGN: the device is not in the record, or
/// the interface of that name is no tap), -EBUSY (kind STATE: it is being removed; kind HOST: the tap belongs
/// to something that is no Linux bridge), or the errno of leaving or joining a bridge (-EPERM without
/// CAP_NET_ADMIN).
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
        let outcome = guest.move_nic(id, bridge.as_ref(), timeout)?;
        // SAFETY: NULL is no struct to write to.
        Ok(unsafe { give_answer(&outcome, ptr::null_mut(), 0) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
