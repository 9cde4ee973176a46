//! `kvm_hotplug_source_json`.

use std::ffi::{c_char, c_int};

use super::args::{Plain, optional_str, read_struct};
use super::error::kvm_hotplug_error;
use super::give::{check_out, give_json};
use super::guard;
use super::nic::{check_reserved, narrow};
use crate::disk::Description;
use crate::disk::description::common::{Luks, Nbd, Rbd};
use crate::error::{Error, Result};

/// The parts of a common source of a disk: of an NBD export, or of an image in Ceph, or of an encrypted file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_source {
    /// NBD: absolute path of the server's Unix socket.
    pub nbd_socket: *const c_char,
    /// NBD: the server's host instead, over TCP.
    pub nbd_host: *const c_char,
    /// NBD: name of the export; NULL for the server's default.
    pub nbd_export: *const c_char,
    /// NBD: name in tls_creds of struct kvm_hotplug_disk that encrypts the connection; NULL for none.
    /// QEMU 5.2 has that with nbd_host alone.
    pub nbd_tls_creds: *const c_char,
    /// NBD: name that the server's certificate has to have; NULL for the host's. Not in QEMU 5.2.
    pub nbd_tls_hostname: *const c_char,
    /// RBD: the pool.
    pub rbd_pool: *const c_char,
    /// RBD: the image.
    pub rbd_image: *const c_char,
    /// RBD: namespace in the pool; NULL for none.
    pub rbd_namespace: *const c_char,
    /// RBD: snapshot of the image, which can only be read; NULL for none.
    pub rbd_snapshot: *const c_char,
    /// RBD: the user, as in "admin" for client.admin; NULL for Ceph's default.
    pub rbd_user: *const c_char,
    /// RBD: absolute path of the configuration, which QEMU reads; NULL for Ceph's default.
    pub rbd_conf: *const c_char,
    /// LUKS: absolute path of the image or block device.
    pub luks_path: *const c_char,
    /// LUKS: name in secrets of struct kvm_hotplug_disk with its passphrase.
    pub luks_key_secret: *const c_char,
    /// NBD: TCP port, 1 to 65535; 0 means 10809.
    pub nbd_port: u32,
    /// NBD: seconds that requests wait for a lost server to come back; 0 for not at all.
    pub nbd_reconnect_delay: u32,
    /// NBD: seconds that QEMU tries to connect at first; 0 for once. Not in QEMU 5.2.
    pub nbd_open_timeout: u32,
    /// Must be 0.
    pub reserved: u32,
    /// RBD: name in secrets of struct kvm_hotplug_disk with the user's key; NULL for Ceph's keyring. The
    /// secret is the key itself, of which a keyring has the base64.
    pub rbd_key_secret: *const c_char,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_source {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_source, reserved);
}

/// The source of a disk, as struct kvm_hotplug_disk takes it, of its parts. The text is freed with
/// kvm_hotplug_text_free().
///
/// Blocks: only for LUKS, on a look at what is at luks_path.
///
/// `source`: the parts, for one kind of storage.
///
/// Fails with -EINVAL (parts of none, or of more than one; a part that has to be given).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_source_json(
    source: *const kvm_hotplug_source,
    source_size: usize,
    ret_json: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the struct.
        let source = unsafe { read_struct(source, source_size, "source") }?;
        check_out(ret_json, "ret_json")?;
        check_reserved(source.reserved, "source")?;
        // SAFETY: the caller vouches for its strings.
        let description = unsafe { description(&source) }?;
        description.check()?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give_json(&description.to_value(), ret_json) }.map(|()| 0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// # Safety
/// The strings are NULL or NUL-terminated.
unsafe fn description(source: &kvm_hotplug_source) -> Result<Description> {
    // SAFETY: the caller vouches for the strings.
    let text = |pointer, what| unsafe { optional_str(pointer, what) };
    let nbd = Nbd {
        socket: text(source.nbd_socket, "nbd_socket")?,
        host: text(source.nbd_host, "nbd_host")?,
        port: narrow(source.nbd_port, "nbd_port")?,
        export: text(source.nbd_export, "nbd_export")?,
        tls_creds: text(source.nbd_tls_creds, "nbd_tls_creds")?,
        tls_hostname: text(source.nbd_tls_hostname, "nbd_tls_hostname")?,
        reconnect_delay: source.nbd_reconnect_delay,
        open_timeout: source.nbd_open_timeout,
    };
    let (pool, image) = (text(source.rbd_pool, "rbd_pool")?, text(source.rbd_image, "rbd_image")?);
    let rbd = Rbd {
        pool: pool.unwrap_or_default(),
        image: image.unwrap_or_default(),
        namespace: text(source.rbd_namespace, "rbd_namespace")?,
        snapshot: text(source.rbd_snapshot, "rbd_snapshot")?,
        user: text(source.rbd_user, "rbd_user")?,
        conf: text(source.rbd_conf, "rbd_conf")?,
        key_secret: text(source.rbd_key_secret, "rbd_key_secret")?,
    };
    let (path, key) =
        (text(source.luks_path, "luks_path")?, text(source.luks_key_secret, "luks_key_secret")?);
    let luks = Luks { path: path.unwrap_or_default(), key_secret: key.unwrap_or_default() };
    match (nbd.is_given(), rbd.is_given(), luks.is_given()) {
        (true, false, false) => nbd.description(),
        (false, true, false) => rbd.description(),
        (false, false, true) => luks.description(),
        _ => Err(Error::invalid("source: give the parts of one of nbd, rbd and luks")),
    }
}
