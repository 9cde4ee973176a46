//! The start of a guest: the record that it will have, the command, and what of it is recorded.

use super::build::Builder;
use super::host::{Host, Purpose};
use super::request::{BootCommand, BootPlan, BootRequest, FIRST_FD};
use super::started::{refuse_overlays, refuse_without_given, started};
use super::{clashes, cold_slots, monitor, placement, room, running, scsi};
use crate::error::{Error, Result};
use crate::ids::{Address, BusName};
use crate::model::unfinished;
use crate::model::{CommandLine, PciBridge, Presence, Record, Spec};
use crate::store::RecordFile;

/// The place of a device that is to come with the next boot, as it is requested, or free; what it takes that
/// is not there yet, a port or a SCSI controller, is added to the record.
pub fn place(
    record: &mut Record,
    spec: &Spec,
    address: Option<&Address>,
    scsi_bus: Option<&BusName>,
) -> Result<Address> {
    placement::place(record, &CommandLine::read(&record.command), spec, address, scsi_bus)
}

impl RecordFile {
    /// The command of the next boot, or of a migration target.
    ///
    /// A boot is recorded before this returns: devices that waited for it count as part of the guest from
    /// then on, those that were to go are forgotten, and unfinished removals are finished. If this process or
    /// QEMU fails after that, the guest simply is off, and the next command is the same again.
    pub fn boot_command(&mut self, request: BootRequest) -> Result<BootCommand> {
        self.check_closed()?;
        let migrates = request.incoming.is_some();
        if !migrates {
            self.check_owned()?;
        }
        let (command_line, mut next) = self.start(&request)?;
        if !migrates {
            self.refuse_open_for_boot()?;
        }
        let command = monitor::command(&next.command, request.listen_at.as_deref())?;
        if let Some(running) = running::find(&command, request.monitor.as_deref())? {
            return Err(running.refusal());
        }
        let purpose = if migrates { Purpose::Target } else { Purpose::Boot };
        let host = Host::new(self.dialect(), &next, purpose, self.given());
        let command = Builder::new(&request, &command_line, self.dialect()).build(
            &mut next,
            request.incoming,
            &host,
        )?;
        if migrates {
            self.adopt_target(next)?;
        } else {
            self.adopt_boot(next)?;
        }
        self.forget_given();
        Ok(command)
    }

    /// The same command to be looked at: nothing is written, no tap is made, and it has no descriptors, only
    /// their numbers. It does not matter whether the guest runs, or who has the record.
    pub fn plan_command(&self, request: BootRequest) -> Result<BootCommand> {
        let (command_line, mut next) = self.start(&request)?;
        let host = Host::new(self.dialect(), &next, Purpose::Plan, self.given());
        let command = Builder::new(&request, &command_line, self.dialect()).build(
            &mut next,
            request.incoming,
            &host,
        )?;
        Ok(BootCommand { fds: Vec::new(), ..command })
    }

    /// What the next boot comes to, without opening or changing anything.
    pub fn boot_plan(&self, spare_ports: usize) -> Result<BootPlan> {
        let command_line = CommandLine::read(&self.record().command);
        let next = self.next_record(false, spare_ports, &command_line)?;
        refuse_overlays(&next, false)?;
        let old = self.record().ports.iter().filter(|port| port.presence == Presence::Live).count();
        let has = |bridge: &PciBridge| self.record().bridges.contains(bridge);
        Ok(BootPlan {
            machine: command_line.machine,
            devices: next.devices.len(),
            ports: next.ports.len(),
            new_ports: next.ports.len().saturating_sub(old),
            bridges: next.bridges.len(),
            new_bridges: next.bridges.iter().filter(|bridge| !has(bridge)).count(),
            free: cold_slots::of(&next, &command_line)?.free(),
        })
    }

    /// Judges the request before anything is opened; answers the record that the started guest will have.
    fn start(&self, request: &BootRequest) -> Result<(CommandLine, Record)> {
        if request.fd_base < FIRST_FD {
            return Err(Error::invalid(format!("fd_base {}: at least {FIRST_FD}", request.fd_base)));
        }
        let command_line = CommandLine::read(&self.record().command);
        match &request.incoming {
            None => {}
            Some(_) if command_line.incoming => {
                return Err(Error::invalid("the command has -incoming already; leave it to this call"));
            }
            Some(incoming) => incoming.check()?,
        }
        let migrates = request.incoming.is_some();
        let next = self.next_record(migrates, request.spare_ports, &command_line)?;
        if let Some(clash) = clashes::find(&next, &started(&next, migrates), &command_line).into_iter().next()
        {
            return Err(clash.error);
        }
        refuse_without_given(self, &next, migrates)?;
        refuse_overlays(&next, migrates)?;
        Ok((command_line, next))
    }

    /// The record that the started guest will have.
    pub(super) fn next_record(
        &self,
        migrates: bool,
        spare_ports: usize,
        command_line: &CommandLine,
    ) -> Result<Record> {
        let mut next = self.record().clone();
        placement::name_backends(&mut next);
        if migrates {
            self.refuse_open_for_target()?;
            cold_slots::of(&next, command_line)?;
            scsi::buses(&next, command_line)?;
            return Ok(next);
        }
        // The guest does not run any more, so it has let go of what it was asked for.
        unfinished::end_all(&mut next, &self.journal().intents);
        placement::reboot(&mut next);
        room::drop_empty_bridges(&mut next, command_line);
        placement::place_all(&mut next, command_line, spare_ports)?;
        placement::reboot(&mut next);
        scsi::buses(&next, command_line)?;
        Ok(next)
    }

    fn adopt_boot(&mut self, next: Record) -> Result<()> {
        if next != *self.record() {
            self.replace(next)?;
        }
        // Last: without it the next call does the same again; without the record, a removal would be lost.
        self.write_journal(|journal| journal.intents.clear())
    }

    /// The names of the new taps go into the record, where it has a file of its own.
    fn adopt_target(&mut self, next: Record) -> Result<()> {
        if self.is_owned() {
            // What is pending at the source goes on here, in another QEMU.
            self.write_journal(|journal| {
                journal.peer = None;
                journal.intents.iter_mut().for_each(|intent| intent.device.backend = None);
            })?;
        }
        self.keep(next)
    }
}
