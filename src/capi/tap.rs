//! Taps for callers that want to hold them themselves.

use std::ffi::{c_char, c_int};
use std::os::fd::IntoRawFd;

use super::args::{self, Plain, check_flags, optional_str, read_struct};
use super::error::kvm_hotplug_error;
use super::give::fill;
use super::guard;
use super::nic::{KVM_HOTPLUG_TAP_OWNER, narrow};
use crate::error::{Error, Result};
use crate::ids::IfName;
use crate::net::bandwidth::Limits;
use crate::net::tap::{TapRequest, TunDevice};

/// A tap to open. The default has one queue, a name chosen by the kernel, and no bridge.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_tap {
    /// Name, at most 15 characters, or a pattern with one "%d". NULL for "tap%d".
    pub ifname: *const c_char,
    /// Bridge to attach it to; NULL for none.
    pub bridge: *const c_char,
    /// Queues, 1 to 256; 0 means 1. Each takes a descriptor (RLIMIT_NOFILE).
    pub queues: u32,
    /// MTU in bytes, 68 to 65521; 0 for the bridge's, or the kernel's 1500.
    pub mtu: u32,
    /// User id that may reopen it, with KVM_HOTPLUG_TAP_OWNER.
    pub tap_owner: u32,
    /// KVM_HOTPLUG_TAP_OWNER or 0.
    pub flags: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_tap {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_tap, flags);
}

/// Opens a tap with one descriptor per queue and virtio-net headers, attaches it to a bridge, sets its MTU
/// and sets it up. Its MAC address begins with fe, so that a bridge with another port does not adopt it. It
/// disappears when the last descriptor is closed. For callers that hold taps themselves and pass them as
/// tap_fds; kvm_hotplug_add_nic() opens one by itself.
///
/// `ret_fds`, `capacity`: an array with room for one descriptor per queue. The caller closes the descriptors.
/// `ret_ifname`: room for 16 bytes for the name, or NULL.
///
/// Returns the number of descriptors, or fails with -EINVAL (capacity too small, a bridge that is none),
/// -EEXIST (the name is taken), -ENOENT (no /dev/net/tun, no such bridge), -EPERM (needs CAP_NET_ADMIN), or
/// another errno of the kernel. Nothing is left on failure.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_open_tap(
    tap: *const kvm_hotplug_tap,
    tap_size: usize,
    ret_fds: *mut i32,
    capacity: usize,
    ret_ifname: *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the struct.
        let tap = unsafe { read_struct(tap, tap_size, "tap") }?;
        if ret_fds.is_null() {
            return Err(args::null("ret_fds"));
        }
        // SAFETY: the caller vouches for the strings.
        let request = unsafe { request(&tap) }?;
        if capacity < usize::from(request.queues) {
            let text = format!("ret_fds has room for {capacity} descriptors, {} are needed", request.queues);
            return Err(Error::invalid(text));
        }
        let tap = TunDevice::default().open(&request)?;
        if !ret_ifname.is_null() {
            let name: [c_char; 16] = fill(tap.name.as_str());
            // SAFETY: the caller vouches for 16 bytes.
            unsafe { std::ptr::copy_nonoverlapping(name.as_ptr(), ret_ifname, name.len()) };
        }
        let count = c_int::try_from(tap.fds.len()).unwrap_or(c_int::MAX);
        for (index, fd) in tap.fds.into_iter().enumerate() {
            // SAFETY: index is below capacity.
            unsafe { ret_fds.add(index).write(fd.into_raw_fd()) };
        }
        Ok(count)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

unsafe fn request(tap: &kvm_hotplug_tap) -> Result<TapRequest> {
    check_flags(tap.flags, KVM_HOTPLUG_TAP_OWNER, "tap flags")?;
    // SAFETY: passed on.
    let (name, bridge) =
        unsafe { (optional_str(tap.ifname, "ifname")?, optional_str(tap.bridge, "bridge")?) };
    Ok(TapRequest {
        name: name.map(str::to_owned),
        queues: narrow(tap.queues.max(1), "queues")?,
        vnet_hdr: true,
        owner: (tap.flags & KVM_HOTPLUG_TAP_OWNER != 0).then_some(tap.tap_owner),
        bridge: bridge.map(IfName::parse).transpose()?,
        mtu: (tap.mtu != 0).then_some(tap.mtu),
        guest: None,
        limits: Limits::default(),
        port: None,
    })
}
