//! Coming after another agent: whether its journal is about this QEMU at all, and whether its last commands
//! have been carried out by now.
//!
//! On the same monitor QEMU sees to that: the next client is accepted after the one that died has been taken
//! leave of, and its commands with it. On another monitor of the same QEMU they may still be carried out
//! after a successor has asked (8.2 to 11.1). And names from `getfd` belong to the monitor that they came by.

use std::sync::Arc;
use std::time::Duration;

use super::events::EventKind;
use super::guest_state::GuestState;
use super::inventory::PeripheralIds;
use super::io::Connected;
use super::limit::Deadline;
use super::phase::At;
use super::phase_change::Cause;
use super::plan::UndoStep;
use super::reconcile::{Decision, Qemu};
use super::store_step::May;
use super::transaction::{self, RollbackReport};
use super::which_qemu::is_connected;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::log::Level;
use crate::model::peer::{Socket, SocketKind};
use crate::model::{Device, PeerMatch};
use crate::planted::{self, Fault};
use crate::qmp::{Command, MonitorName};
use crate::sorted;

/// How long another monitor is tried before QEMU is asked who is connected to it, and the pause before the
/// next try.
const TRY: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(20);

impl GuestState {
    /// On a new connection, before the guest is asked anything: makes sure that nothing is carried out any
    /// more of what went over other monitors, and notes that this one is used as well.
    pub(super) async fn await_former_agents(&mut self, deadline: &Deadline) -> Result<()> {
        self.close_former_monitors().await?;
        let (noted, met, peer_match) = {
            let contents = self.contents();
            (contents.journal().peer.clone(), contents.met().cloned(), contents.peer_match())
        };
        let (Some(noted), Some(met)) = (noted, met) else { return Ok(()) };
        if peer_match == PeerMatch::Another {
            return Ok(());
        }
        for socket in noted.sockets.iter().filter(|noted| !met.sockets.iter().any(|own| own.is(noted))) {
            self.await_monitor(socket, deadline).await?;
        }
        let both = Arc::new(noted.and(&met));
        self.journal_peer(Some(both)).await
    }

    /// Everything is settled that can be: what is still pending is over this monitor alone.
    pub(super) async fn take_over_journal(&mut self) -> Result<()> {
        self.close_former_monitors().await?;
        let met = self.contents().met().cloned();
        self.journal_peer(met).await
    }

    async fn close_former_monitors(&mut self) -> Result<()> {
        for monitor in std::mem::take(&mut self.former_monitors) {
            self.close(monitor.link).await?;
        }
        Ok(())
    }

    async fn await_monitor(&mut self, socket: &Socket, deadline: &Deadline) -> Result<()> {
        self.log.write(Level::Info, || {
            format!("an earlier agent's commands went over the monitor at {}", socket.place())
        });
        loop {
            let mut is_gone = !self.is_socket_there(socket).await?;
            if !is_gone {
                match self.connect_former(socket, &deadline.at_most(self.now(), TRY)).await {
                    Ok(monitor) => {
                        self.former_monitors.push(monitor);
                        return Ok(());
                    }
                    Err(error) => {
                        self.log.write(Level::Debug, || error.to_string());
                        // A name may lead nowhere from here, or somewhere else: QEMU knows better.
                        let is_name = socket.kind() == SocketKind::Name;
                        is_gone = is_name || error.errno() == errno::ECONNREFUSED;
                    }
                }
            }
            // Where nobody is accepted any more, nobody new can be connected.
            if is_gone {
                match self.has_client(socket, deadline).await {
                    Ok(false) => return Ok(()),
                    Ok(true) => {}
                    Err(error) if error.kind() == ErrorKind::Timeout => return Err(still_in_use(socket)),
                    Err(error) => return Err(error),
                }
            }
            if self.pause(PAUSE, deadline).await.is_err() {
                return Err(still_in_use(socket));
            }
        }
    }

    /// The next client of a monitor is greeted after the last command of the one before.
    async fn connect_former(&mut self, socket: &Socket, deadline: &Deadline) -> Result<Connected> {
        let monitor = self.connect_to(MonitorName::from_text(&socket.path), deadline).await?;
        let question = Command::with("query-status", &[]);
        let name = question.name.clone();
        let answer = self.ask_first(monitor.link, vec![question], deadline).await.only_reply(&name);
        if let Err(error) = answer {
            self.close(monitor.link).await?;
            return Err(error);
        }
        Ok(monitor)
    }

    /// Whether QEMU says that somebody is connected to a socket of this name, or does not say that nobody is.
    async fn has_client(&mut self, socket: &Socket, deadline: &Deadline) -> Result<bool> {
        let question = Command::with("query-chardev", &[]);
        let name = question.name.clone();
        let devices = match self.ask_or_first(vec![question], deadline).await.only_reply(&name) {
            Ok(devices) => devices,
            Err(error) if error.is_refusal() => return Ok(true),
            Err(error) => return Err(error),
        };
        let own = self.monitor().ok().map(|monitor| &monitor.reached);
        Ok(is_connected(&devices, socket, own))
    }

    /// Takes descriptors back by their names, which belong to the monitors they came by; everything else over
    /// this one.
    pub(super) async fn roll_back(
        &mut self,
        may: May<'_>,
        backend_objects: &[UndoStep],
        deadline: &Deadline,
    ) -> Result<RollbackReport> {
        let mut report =
            transaction::roll_back(self, may, self.monitor()?.link, backend_objects, deadline).await?;
        let names: Vec<UndoStep> =
            backend_objects.iter().filter(|trace| matches!(trace, UndoStep::CloseFd(_))).cloned().collect();
        if names.is_empty() {
            return Ok(report);
        }
        for monitor in &self.former_monitors {
            let there = transaction::roll_back(self, may, monitor.link, &names, deadline).await?;
            report.absent.retain(|absent| !names.contains(absent) || there.absent.contains(absent));
            report.left.extend(there.left);
        }
        Ok(report)
    }

    /// Which QEMU the journal is about. A target that waits for its guest goes on with what was pending at
    /// the source.
    pub(super) fn qemu_of_journal(&self) -> Qemu {
        match self.contents().peer_match() {
            PeerMatch::Another if !self.migrating && !planted::has(Fault::JournalOfAnother) => Qemu::Another,
            PeerMatch::Another | PeerMatch::Same | PeerMatch::Unknown => Qemu::Same,
        }
    }

    /// Settles a journal that is about another QEMU: nothing of it is carried out on this one.
    pub(super) async fn reconcile_with_another_qemu(
        &mut self,
        peripheral_ids: &PeripheralIds,
        deadline: &Deadline,
    ) -> Result<()> {
        let intents = self.contents().journal().intents.clone();
        if self.qemu_of_journal() == Qemu::Same || intents.is_empty() {
            return Ok(());
        }
        // The question is whether the recorded device is there: an earlier agent may have changed it since.
        let recorded: Vec<Device> =
            intents.iter().filter_map(|intent| self.recorded(intent.device.id.as_str())).collect();
        let shown = self.identify(&recorded.iter().collect::<Vec<_>>(), peripheral_ids, deadline).await?;
        let shown = sorted::map(recorded.into_iter().map(|device| device.id).zip(shown));
        let mut next = self.contents().record().clone();
        let mut news = Vec::new();
        for unfinished in self.unfinished(&shown) {
            let device = &unfinished.intent.device;
            match self.decide(&unfinished, &[]) {
                Decision::GoneWithQemu(told) => {
                    let from = self.at(device);
                    let cause = Cause::of_end(told);
                    self.check_change(device, (from, At::Absent), cause)?;
                    next.remove(&device.id);
                    let text = match told {
                        EventKind::Removed => "the device is gone with the QEMU that had it",
                        _ => "an interrupted add is gone with the QEMU that it was begun in",
                    };
                    news.push((from, None, cause, device.clone(), text));
                }
                Decision::StaysInNewQemu => {
                    let (from, rest) = (self.at(device), self.rest_of(device));
                    self.check_change(device, (from, At::Plugged), Cause::StaysInNewQemu)?;
                    news.push((from, rest, Cause::StaysInNewQemu, device.clone(), STAYS));
                }
                _ => {}
            }
        }
        let latest = intents.iter().map(|intent| intent.device.generation).max().unwrap_or_default();
        next.next_generation = next.next_generation.max(latest.saturating_add(1));
        let devices: Vec<&Device> = intents.iter().map(|intent| &intent.device).collect();
        let committed = self.record(self.journaled(&devices)?, next).await?;
        self.strike(committed, devices).await?;
        for (from, to, cause, device, text) in news {
            self.enter_from(from, &device, to, cause, || text.to_owned())?;
        }
        self.phases.forget_removals();
        self.phases.reconnect(&[]);
        Ok(())
    }
}

/// What is told of a removal that an earlier QEMU took with it.
const STAYS: &str = "the removal was asked of an earlier QEMU; the one that runs now was started with the device, which stays";

fn still_in_use(socket: &Socket) -> Error {
    let text = format!(
        "an earlier agent's commands went over the monitor at {}, which serves another client or does not answer; what is unfinished \
         cannot be settled over this one before that is over: close that client, or open the guest over that monitor",
        socket.place()
    );
    Error::new(ErrorKind::MonitorBusy, text)
}
