//! A tap that QEMU has, held open here as well, so that QEMU is not the last to close it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::sys::{pidfd, tun};

/// Descriptors that are looked at: a QEMU that is not ours to trust may have any number.
const MOST: usize = 4096;

/// What the kernel calls a tap's descriptor ends in this, whatever directory the opener saw it in.
const TUN: &[u8] = b"/net/tun";

/// More than any name that a tap's descriptor has.
const LONGEST: usize = 256;

/// More than the kernel says of it, which is in one read.
const MOST_INFO: usize = 1024;

/// Another descriptor of this tap, taken from the process that has it. Whichever of the process's taps has the name: holding
/// a wrong one for a moment does no harm.
///
/// Fails where this process may not trace the other one, or does not see it.
pub fn from_process(pid: i32, tap: &IfName) -> Result<OwnedFd> {
    let cannot = |doing: &str, errno: Errno| Error::host(errno, format!("{doing} process {pid}"));
    let process = pidfd::open(pid).map_err(|errno| cannot("find", errno))?;
    let candidates = numbers_of_tuns(pid).map_err(|errno| cannot("list the descriptors of", errno))?;
    for number in candidates.into_iter().filter(|number| has_tap(pid, *number, tap)) {
        let fd = pidfd::get(&process, number).map_err(|errno| cannot("share a tap with", errno))?;
        if tun::get_iff(fd.as_fd()).is_ok_and(|(name, _)| name == tap.as_str()) {
            return Ok(fd);
        }
    }
    Err(Error::new(ErrorKind::NotFound, format!("process {pid} does not have tap {tap}")))
}

/// How many descriptors of this tap the process has.
///
/// Fails where this process may not look into the other one, or does not see it.
pub fn count_in_process(pid: i32, tap: &IfName) -> Result<usize> {
    let numbers = numbers_of_tuns(pid)
        .map_err(|errno| Error::host(errno, format!("list the descriptors of process {pid}")))?;
    Ok(numbers.into_iter().filter(|number| has_tap(pid, *number, tap)).count())
}

fn numbers_of_tuns(pid: i32) -> nix::Result<Vec<RawFd>> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(format!("/proc/{pid}/fd").as_str(), flags, Mode::empty())?;
    let mut listing = Dir::openat(&directory, ".", flags, Mode::empty())?;
    let mut numbers = Vec::new();
    for entry in listing.iter().take(MOST).flatten() {
        let mut buffer = [0; LONGEST];
        let name = entry.file_name();
        let is_tun = pidfd::read_link(&directory, name, &mut buffer).is_ok_and(|file| file.ends_with(TUN));
        let number: Option<RawFd> = name.to_str().ok().filter(|_| is_tun).and_then(|name| name.parse().ok());
        numbers.extend(number);
    }
    Ok(numbers)
}

/// By what the kernel says of the descriptor, so that none of another tap is taken, whose end would then wait for us.
fn has_tap(pid: i32, number: RawFd, tap: &IfName) -> bool {
    let mut buffer = [0; MOST_INFO];
    let file = File::open(format!("/proc/{pid}/fdinfo/{number}"));
    let Ok(length) = file.and_then(|mut file| file.read(&mut buffer)) else { return false };
    let text = buffer.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    text.lines().any(|line| line.strip_prefix("iff:").is_some_and(|name| name.trim() == tap.as_str()))
}
