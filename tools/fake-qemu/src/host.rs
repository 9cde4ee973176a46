//! What the model does not have: the descriptors themselves, and the files that they lead to.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::fcntl::OFlag;

use crate::command::{self, Descriptor, Effect};
use crate::model::Model;

nix::ioctl_write_ptr_bad!(tun_set_queue, libc::TUNSETQUEUE, libc::ifreq);

/// IFF_DETACH_QUEUE.
const DETACH_QUEUE: i16 = 0x0400;

/// Descriptors by their numbers, which are the model's names for them.
#[derive(Default)]
pub(crate) struct Held(HashMap<RawFd, OwnedFd>);

impl Held {
    /// Keeps a descriptor for as long as a model has it.
    pub(crate) fn keep(&mut self, fd: OwnedFd) {
        self.0.insert(fd.as_raw_fd(), fd);
    }

    /// Closes what the model has let go of.
    pub(crate) fn close_all_but_of(&mut self, model: &Model) {
        if !self.0.is_empty() {
            let numbers: BTreeSet<i32> = model.descriptors().map(|fd| fd.number).collect();
            self.0.retain(|number, _| numbers.contains(number));
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Does to a file what the model says; `Err` is what QEMU would not have survived.
    pub(crate) fn apply(&self, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::Truncate { number, length } => {
                let file = self.file(*number).ok_or("there is no such descriptor")?;
                file.set_len(*length).map_err(|error| format!("an image cannot be resized: {error}"))
            }
            Effect::DetachQueue { number, tap } => detach_queue(*number)
                .map_err(|errno| format!("a queue of {tap} cannot be detached ({errno}): QEMU has ended")),
        }
    }

    fn file(&self, number: RawFd) -> Option<File> {
        self.0.get(&number).and_then(|fd| fd.try_clone().ok()).map(File::from)
    }
}

#[allow(unsafe_code)]
fn detach_queue(fd: RawFd) -> nix::Result<()> {
    // SAFETY: plain data, of which the kernel reads the flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_flags = DETACH_QUEUE;
    // SAFETY: the request lives through the call.
    unsafe { tun_set_queue(fd, &request) }.map(drop)
}

/// What the model has to know of a descriptor.
pub(crate) fn describe(fd: &OwnedFd) -> Descriptor {
    let number = fd.as_raw_fd();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let entry = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let flags = entry("flags:").and_then(|text| i32::from_str_radix(text, 8).ok()).unwrap_or_default();
    let writable = OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE == OFlag::O_RDWR;
    let file = match entry("iff:") {
        Some(tap) => command::File::Tap(tap.to_owned()),
        None => image(fd).unwrap_or_else(|| command::File::Other(String::new())),
    };
    Descriptor { number, writable, file }
}

fn image(fd: &OwnedFd) -> Option<command::File> {
    let file = File::from(fd.try_clone().ok()?);
    let data = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let name = format!("{}:{}", data.dev(), data.ino());
    Some(command::File::Image { name, length: data.len(), virtual_size: qcow2_size(&file) })
}

/// The size of the disk in the header of a qcow2 image.
fn qcow2_size(file: &File) -> Option<u64> {
    let mut header = [0; 32];
    file.read_exact_at(&mut header, 0).ok()?;
    let size = header.last_chunk::<8>()?;
    header.starts_with(b"QFI\xfb").then(|| u64::from_be_bytes(*size))
}
