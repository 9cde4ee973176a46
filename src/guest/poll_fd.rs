//! One descriptor that says "call process": for the monitor's bytes and for events already read.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Result};

/// An epoll set over the monitor socket of the moment and a flag. It stays the same across reconnects, so
/// that a caller's event loop need not be told.
#[derive(Debug)]
pub(super) struct PollFd {
    epoll: Arc<Epoll>,
    flag: EventFd,
    raised: bool,
}

impl PollFd {
    pub(super) fn new() -> Result<Self> {
        let create = || -> nix::Result<Self> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let flag = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            epoll.add(&flag, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
            Ok(Self { epoll: Arc::new(epoll), flag, raised: false })
        };
        create().map_err(|errno| Error::host(errno, "create the descriptor to poll"))
    }

    /// What a caller polls, which the handle keeps open.
    pub(super) fn epoll(&self) -> Arc<Epoll> {
        self.epoll.clone()
    }

    /// Also watches `socket`. The kernel forgets it when it is closed.
    pub(super) fn watch(&self, socket: impl AsFd) -> Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, 1);
        self.epoll.add(socket, event).map_err(|errno| Error::host(errno, "watch the monitor socket"))
    }

    /// Shows or hides that something can be fetched without reading the socket.
    pub(super) fn show(&mut self, pending: bool) {
        if pending == std::mem::replace(&mut self.raised, pending) {
            return;
        }
        // Neither can fail on a counter that is only ever 0 or 1.
        let _ = if pending { self.flag.write(1).map(|_| 0) } else { self.flag.read() };
    }
}
