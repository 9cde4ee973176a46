//! Whoever listens at the monitor is looked at before anything is said to it.

use super::guest_state::GuestState;
use super::io::unexpected;
use super::io::{Connected, Effect, Given};
use super::listener::Listener;
use crate::error::{Error, ErrorKind, Result};
use crate::qmp::peer::{Expected, Peer};

impl GuestState {
    /// Refuses a monitor of somebody else before anything is said to it.
    pub(super) async fn check_peer(&self, monitor: &Connected) -> Result<()> {
        // Of a port, and of the end of a pair, the kernel does not tell who has it; the caller chose it.
        let remembered = self.contents().record().monitor_user.filter(|_| monitor.reached.names_listener);
        let expected = self.listener.expected(remembered)?;
        if expected == Expected::default() {
            return Ok(());
        }
        let peer = self.who_listens(monitor).await?;
        expected.objection(&peer).map_or(Ok(()), |objection| {
            let advice = "if QEMU runs as another user from now on, accept it when the guest is opened";
            let text = format!("monitor {}: {objection}; {advice}", self.socket);
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
