//! The taps that QEMU has: which of its descriptors they are, and one of them held open here as well, so that
//! QEMU is not the last to close it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::sorted;
use crate::sys::{pidfd, tun};

/// How many descriptors of a process are looked at, which is not ours to trust and may have any number. Some
/// 4 microseconds go to each. A limit in time would leave descriptors behind wherever the machine has much
/// else to do.
pub const MOST_DESCRIPTORS: usize = 20_000;

/// What the kernel calls a tap's descriptor ends in this, whatever directory the opener saw it in.
const TUN: &[u8] = b"/net/tun";

/// The same for a descriptor of vhost-net.
const VHOST: &[u8] = b"/vhost-net";

/// More than any name that a tap's descriptor has.
const LONGEST: usize = 256;

/// More than the kernel says of it, which is in one read.
const MOST_INFO: usize = 1024;

/// Which descriptors of a process are taps, as of when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taps {
    pid: i32,
    numbers: Vec<(RawFd, IfName)>,
    /// It has a descriptor of vhost-net.
    has_vhost: bool,
    /// Nothing was left out.
    whole: bool,
}

impl Taps {
    /// Taps of a process that is not looked at, because somebody says which it has.
    pub fn known(pid: i32, numbers: Vec<(RawFd, IfName)>) -> Self {
        Self { pid, numbers, has_vhost: false, whole: true }
    }

    /// Looks at the process, once for all of its taps, and at no more of its descriptors than `most`.
    ///
    /// Fails where this process may not look into the other one, or does not see it.
    pub fn of_process(pid: i32, most: usize) -> Result<Self> {
        let cannot = |errno: Errno| {
            // There is no directory for a process that is not there.
            let errno = if errno == Errno::ENOENT { Errno::ESRCH } else { errno };
            Error::host(errno, format!("list the descriptors of process {pid}"))
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(format!("/proc/{pid}/fd").as_str(), flags, Mode::empty()).map_err(cannot)?;
        let mut listing = Dir::openat(&directory, ".", flags, Mode::empty()).map_err(cannot)?;
        let mut taps = Self { pid, numbers: Vec::new(), has_vhost: false, whole: true };
        for (seen, entry) in listing.iter().flatten().enumerate() {
            if seen >= most {
                taps.whole = false;
                break;
            }
            let mut buffer = [0; LONGEST];
            let name = entry.file_name();
            let Ok(file) = pidfd::read_link(&directory, name, &mut buffer) else { continue };
            let is_tun = file.ends_with(TUN);
            taps.has_vhost |= file.ends_with(VHOST);
            let number: Option<RawFd> =
                name.to_str().ok().filter(|_| is_tun).and_then(|name| name.parse().ok());
            taps.numbers.extend(number.and_then(|number| Some((number, interface_of(pid, number)?))));
        }
        Ok(taps)
    }

    /// Another descriptor of this tap. Whichever of the process's taps has the name: holding a wrong one for
    /// a moment does no harm.
    ///
    /// Fails where this process may not trace the other one.
    pub fn share(&self, tap: &IfName) -> Result<OwnedFd> {
        let mut all = self.share_all(tap)?;
        all.next().unwrap_or_else(|| {
            let text = format!("process {} does not have tap {tap}", self.pid);
            Err(Error::new(ErrorKind::NotFound, text))
        })
    }

    /// One for each that the process has, in whatever network namespace they are.
    pub fn share_all<'a>(&'a self, tap: &'a IfName) -> Result<impl Iterator<Item = Result<OwnedFd>> + 'a> {
        let pid = self.pid;
        let cannot = move |doing: &str, errno: Errno| Error::host(errno, format!("{doing} process {pid}"));
        let process = pidfd::open(pid).map_err(|errno| cannot("find", errno))?;
        let numbers = self.numbers.iter().filter(move |(_, name)| name == tap).map(|(number, _)| *number);
        // The number may be another file's by now.
        let is_it = move |fd: &OwnedFd| tun::get_iff(fd.as_fd()).is_ok_and(|(name, _)| name == tap.as_str());
        Ok(numbers.filter_map(move |number| match pidfd::get(&process, number) {
            Ok(fd) => is_it(&fd).then_some(Ok(fd)),
            Err(Errno::EBADF) => None,
            Err(errno) => Some(Err(cannot("share a tap with", errno))),
        }))
    }

    /// Whether vhost-net certainly moves nothing for the process. One that has a descriptor may use it for
    /// whichever tap.
    pub fn lacks_vhost(&self) -> bool {
        self.whole && !self.has_vhost
    }

    /// The tap behind one of its descriptors.
    pub fn name_of(&self, number: RawFd) -> Option<&IfName> {
        self.numbers.iter().find(|(known, _)| *known == number).map(|(_, name)| name)
    }

    /// Its taps by name, each as often as it has queues.
    pub fn names(&self) -> Vec<IfName> {
        let names = self.numbers.iter().map(|(_, name)| name.clone());
        sorted::by_key(names, IfName::clone)
    }

    /// How many descriptors of this tap the process has. Fails if it has too many files to tell.
    pub fn count(&self, tap: &IfName) -> Result<usize> {
        if !self.whole {
            let text = format!("process {} has more descriptors than can be looked at", self.pid);
            return Err(Error::new(ErrorKind::Limit, text));
        }
        Ok(self.numbers.iter().filter(|(_, name)| name == tap).count())
    }
}

/// By what the kernel says of the descriptor, so that none of another tap is taken, whose end would then wait
/// for us.
fn interface_of(pid: i32, number: RawFd) -> Option<IfName> {
    let mut buffer = [0; MOST_INFO];
    let length = File::open(format!("/proc/{pid}/fdinfo/{number}"))
        .and_then(|mut file| file.read(&mut buffer))
        .ok()?;
    let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("iff:"))?;
    IfName::parse(name.trim()).ok()
}
