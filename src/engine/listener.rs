//! Who listens at the monitor's socket: whom the caller names, whom the record remembers.

use crate::error::{Error, ErrorKind, Result};
use crate::qmp::peer::{Expected, Peer};

/// Who is expected to listen, as the caller says it. Nobody in particular by default: then the user that the
/// record remembers, if it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// This process, for as long as the guest is open.
    pub pid: Option<i32>,
    /// This user, which the record remembers.
    pub uid: Option<u32>,
    /// Another user than the remembered one is fine, and is remembered instead.
    pub accept: bool,
    /// It may begin to listen after the call has begun: QEMU is being started.
    pub starts: bool,
}

impl Listener {
    /// Whom to expect, by what the record remembers.
    pub(super) fn expected(&self, remembered: Option<u32>) -> Result<Expected> {
        let remembered = remembered.filter(|_| !self.accept);
        match (self.uid, remembered) {
            (Some(uid), Some(other)) if uid != other => Err(Error::new(
                ErrorKind::Untrusted,
                format!(
                    "the record remembers that user {other} listens at the monitor, and user {uid} is expected now; \
                     accept it as another one if QEMU runs as another user from now on"
                ),
            )),
            (uid, remembered) => Ok(Expected { pid: self.pid, uid: uid.or(remembered) }),
        }
    }

    /// Whom to remember from now on; `None` if nothing is to be changed.
    pub(super) fn remembered_from_now(&self, peer: &Peer, remembered: Option<u32>) -> Option<u32> {
        let named = self.uid.is_some() || self.accept;
        peer.uid.filter(|uid| named && remembered != Some(*uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_and_the_record() {
        let named = |uid, accept| Listener { uid, accept, ..Listener::default() };
        for (listener, remembered, expected, noted) in [
            (named(None, false), None, Ok(None), None),
            (named(None, false), Some(7), Ok(Some(7)), None),
            (named(Some(7), false), None, Ok(Some(7)), Some(7)),
            (named(Some(7), false), Some(7), Ok(Some(7)), None),
            (named(Some(7), false), Some(8), Err(()), Some(7)),
            (named(Some(7), true), Some(8), Ok(Some(7)), Some(7)),
            (named(None, true), Some(8), Ok(None), Some(7)),
        ] {
            let found = listener.expected(remembered).map(|expected| expected.uid).map_err(drop);
            assert_eq!(found, expected, "{listener:?} {remembered:?}");
            let peer = Peer { pid: Some(1), uid: Some(7) };
            assert_eq!(listener.remembered_from_now(&peer, remembered), noted, "{listener:?} {remembered:?}");
        }
    }
}
