//! Who listens at the monitor's socket: whom the caller names, whom the record remembers.

use super::guest_state::GuestState;
use super::io::{Connected, Effect, Given};
use super::talk::unexpected;
use crate::error::{Error, ErrorKind, Result};
use crate::qmp::peer::{Expected, Peer};

/// Who is expected to listen, as the caller says it. Nobody in particular by default: then the user that the record remembers,
/// if it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// This process, for as long as the guest is open.
    pub pid: Option<i32>,
    /// This user, which the record remembers.
    pub uid: Option<u32>,
    /// Another user than the remembered one is fine, and is remembered instead.
    pub accept: bool,
}

impl Listener {
    /// Whom to expect, by what the record remembers.
    fn expected(&self, remembered: Option<u32>) -> Result<Expected> {
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
    fn remembered_from_now(&self, peer: &Peer, remembered: Option<u32>) -> Option<u32> {
        let named = self.uid.is_some() || self.accept;
        peer.uid.filter(|uid| named && remembered != Some(*uid))
    }
}

impl GuestState {
    /// Refuses a monitor of somebody else before anything is said to it.
    pub(super) async fn check_peer(&self, monitor: &Connected) -> Result<()> {
        let remembered = self.contents().record().monitor_user;
        let expected = self.listener.expected(remembered)?;
        if expected == Expected::default() {
            return Ok(());
        }
        let peer = self.who_listens(monitor).await?;
        expected.objection(&peer).map_or(Ok(()), |objection| {
            let advice = "if QEMU runs as another user from now on, accept it when the guest is opened";
            let text = format!("monitor {}: {objection}; {advice}", self.socket.display());
            Err(Error::new(ErrorKind::Untrusted, text))
        })
    }

    async fn who_listens(&self, monitor: &Connected) -> Result<Peer> {
        match self.port()?.perform(Effect::Identify(monitor.link)).await {
            Given::Peer(peer) => Ok(peer),
            Given::Failed(error) => Err(error),
            _ => Err(unexpected()),
        }
    }

    /// Writes down who listens, if the caller named or accepted it.
    pub(super) async fn record_peer(&mut self) -> Result<()> {
        if self.listener == Listener::default() {
            return Ok(());
        }
        let peer = self.who_listens(self.monitor()?).await?;
        let remembered = self.contents().record().monitor_user;
        let Some(uid) = self.listener.remembered_from_now(&peer, remembered) else { return Ok(()) };
        let mut next = self.contents().record().clone();
        next.monitor_user = Some(uid);
        self.replace(next).await?;
        // Said once: later connections are to be that user's.
        self.listener.accept = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_and_the_record() {
        let named = |uid, accept| Listener { pid: None, uid, accept };
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
