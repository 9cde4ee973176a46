//! Which library this is.

use std::ffi::c_char;

use super::guard;

/// Version of the C ABI this header belongs to, in which the SONAME ends. It increases when a program built
/// against an older header would break. Compare it with kvm_hotplug_abi_version() after dlopen().
pub const KVM_HOTPLUG_ABI_VERSION: u32 = 0;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The version of the library, such as "0.1.0". The string is static.
#[unsafe(no_mangle)]
pub extern "C" fn kvm_hotplug_version() -> *const c_char {
    guard::quiet(std::ptr::null(), || VERSION.as_ptr().cast())
}

/// The ABI version of the library: KVM_HOTPLUG_ABI_VERSION when it was built.
#[unsafe(no_mangle)]
pub extern "C" fn kvm_hotplug_abi_version() -> u32 {
    guard::quiet(u32::MAX, || KVM_HOTPLUG_ABI_VERSION)
}
