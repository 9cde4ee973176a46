//! What descriptors are opened on: images in a temporary directory, and taps.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use super::conversation::Passed;

nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);

/// Goes with what is in it.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new() -> Self {
        Self(nix::unistd::mkdtemp(&std::env::temp_dir().join("against-qemu-XXXXXX")).unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn make(&self, name: &str, size: u64) {
        File::create(self.path(name)).unwrap().set_len(size).unwrap();
    }

    /// By the installed qemu-img, whatever QEMU is tested.
    pub(crate) fn make_layer(&self, name: &str, size: u64, over: &str) {
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", over, name, &size.to_string()]);
        assert!(command.current_dir(&self.0).status().expect("qemu-img").success());
    }

    pub(crate) fn open(&self, passed: &Passed) -> OwnedFd {
        match passed {
            Passed::Image { name, writable } => {
                OpenOptions::new().read(true).write(*writable).open(self.path(name)).unwrap().into()
            }
            Passed::Tap(name) => tap(name),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A queue of a tap, which is gone when the last one is closed. Its name has the process in it, for tests
/// that run side by side.
#[allow(unsafe_code)]
fn tap(name: &str) -> OwnedFd {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .expect("taps need root and /dev/net/tun");
    // SAFETY: plain data, which is filled in below.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = format!("{name}{}", std::process::id());
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::try_from(from).unwrap();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap();
    // SAFETY: the request lives through the call.
    unsafe { tun_set_iff(file.as_raw_fd(), &request) }.expect("a tap");
    file.into()
}
