//! Network namespaces other than the caller's: what is done there is done by a thread of its own, because a
//! namespace belongs to a thread. That thread ends before the call does.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// Does this in the network namespace at a path, or where the caller is. Descriptors that are opened there
/// stay of that namespace.
pub fn within<T: Send>(namespace: Option<&str>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let Some(path) = namespace else { return work() };
    let file = open(path)?;
    thread::scope(|scope| {
        let there = || {
            let refuse = |errno| Error::host(errno, format!("enter network namespace {path}"));
            sys::namespace::enter_network(file.as_fd()).map_err(refuse)?;
            work()
        };
        let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, there);
        let thread = thread
            .map_err(|error| Error::host(error, format!("start a thread for network namespace {path}")))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// The path by which a network namespace is recorded. That of a descriptor, such as /proc/self/fd/7, is the
/// path that the namespace is mounted at: in another process the number means something else.
pub fn resolve(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!("network namespace {path:?}: the path does not begin with /")));
    }
    let file = open(path)?;
    let refuse = |errno| Error::host(errno, format!("network namespace {path}"));
    // Also finds out whether it is one, and whether this process may go there.
    within(Some(path), || Ok(()))?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(refuse)?;
    let own = file.metadata().map_err(refuse)?;
    let is_it =
        |name: &Path| name.metadata().is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()));
    match name.to_str().filter(|_| name.is_absolute() && is_it(&name)) {
        Some(name) => Ok(name.to_owned()),
        None if is_of_own_process(path) => Err(Error::invalid(format!(
            "network namespace {path} is mounted nowhere, so that it cannot be recorded; mount it (ip netns attach), or open the \
             tap there and give its descriptors"
        ))),
        None => Ok(path.to_owned()),
    }
}

fn is_of_own_process(path: &str) -> bool {
    let own = format!("/proc/{}/", std::process::id());
    ["/proc/self/", "/proc/thread-self/", "/dev/fd/", own.as_str()]
        .iter()
        .any(|start| path.starts_with(start))
}

fn open(path: &str) -> Result<File> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("there is no network namespace {path}"))
        }
        _ => Error::host(error, format!("open network namespace {path}")),
    };
    File::open(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let missing = folder.path().join("missing");
        for (path, kind) in [
            ("netns/blue", ErrorKind::Invalid),
            (missing.to_str().unwrap(), ErrorKind::NotFound),
            (file.to_str().unwrap(), ErrorKind::Host),
        ] {
            assert_eq!(resolve(path).unwrap_err().kind(), kind, "{path}");
        }
    }
}
