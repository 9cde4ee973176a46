//! Which operation has the state of the guest.

use std::time::Instant;

use super::board::{Asked, Cell, Need, Port, Purpose};
use super::io::Given;
use crate::error::{Error, ErrorKind, Result};
use crate::mutex::lock;

/// The state of the guest in the hands of one operation, until it is dropped.
pub(super) struct Turn<S> {
    state: Option<Box<S>>,
    cell: Cell<S>,
}

impl<S> Turn<S> {
    /// Waits for the state.
    pub(super) async fn take(
        port: &Port,
        cell: &Cell<S>,
        purpose: Purpose,
        until: Option<Instant>,
        cancelable: bool,
    ) -> Result<Self> {
        loop {
            if let Some(state) = port.take_state(cell, purpose) {
                return Ok(Self { state: Some(state), cell: cell.clone() });
            }
            let need = Need::Turn(purpose);
            if let Given::Failed(error) = port.ask(Asked { need, until, cancelable }).await {
                return Err(error);
            }
        }
    }

    /// The state.
    pub(super) fn get(&mut self) -> Result<&mut S> {
        self.state.as_deref_mut().ok_or_else(|| Error::new(ErrorKind::State, "the operation has ended"))
    }
}

impl<S> Drop for Turn<S> {
    fn drop(&mut self) {
        let mut cell = lock(&self.cell);
        // An operation that is dropped while another one has the state has only a placeholder.
        if cell.is_none() {
            *cell = self.state.take();
        }
    }
}
