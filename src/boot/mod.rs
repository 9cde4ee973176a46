//! The command that starts the guest of a record: its own, and the NICs and disks as the hot-plug calls would make them,
//! over taps and images that are opened here and inherited by QEMU.
//!
//! ```text
//! record ─placement─▶ next record, every device placed ─host─▶ taps, vhost, images ─options─▶ arguments, descriptors
//! ```
//!
//! A boot and a migration target differ in one thing: a boot is where what waited for a reboot comes true, so it changes
//! the record, while a target is to be what the source is at this moment, and takes the record as it stands.

mod clashes;
mod command_line;
mod files;
mod host;
mod incoming;
mod options;
mod placement;
mod preflight;
mod running;
mod scsi;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use serde_json::Value;

pub use command_line::Machine;
pub(crate) use command_line::{devices_without_id, names_device, names_netdev};
pub use incoming::Incoming;
pub use preflight::{IssueKind, PreflightIssue};

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, BusName, DeviceId};
use crate::model::unfinished;
use crate::model::{Device, DeviceKind, Presence, Record, Spec};
use crate::net;
use crate::net::spec::NicSpec;
use crate::ordered;
use crate::qmp::Version;
use crate::store::RecordFile;
use crate::sys::inherit;
use command_line::CommandLine;
use host::{Backend, Host, Purpose};
use options::Object;

/// The first number a descriptor can have in QEMU: behind standard input, output and error.
pub const FIRST_FD: u32 = 3;

/// What the caller decides about a start.
#[derive(Debug, Default)]
pub struct BootRequest {
    /// A migration that is to come in; none for a boot.
    pub incoming: Option<Incoming>,
    /// The QEMU it is for. One of unknown version gets options as every version reads them.
    pub qemu: Option<Version>,
    /// The number in QEMU of the first descriptor, [`FIRST_FD`] or more; the others follow without a gap.
    pub fd_base: u32,
    /// How many devices more the running guest shall have room for, on a machine where every one needs a port.
    pub spare_ports: usize,
    /// The processors wait for `cont`.
    pub paused: bool,
    /// The monitor's socket, where the guest would answer if it ran, besides those that the command names.
    pub monitor: Option<PathBuf>,
}

/// A command with what it inherits.
#[derive(Debug)]
pub struct BootCommand {
    /// The whole command line, the program first.
    pub argv: Vec<String>,
    /// The descriptors, which have the numbers `fd_base`, `fd_base + 1` and so on in it.
    pub fds: Vec<OwnedFd>,
    /// See [`BootRequest::fd_base`].
    pub fd_base: u32,
}

/// How full the next start will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// What kind of machine it is.
    pub machine: Machine,
    /// Devices that it starts with.
    pub devices: usize,
    /// Ports that the command makes.
    pub ports: usize,
    /// How many of those are new.
    pub new_ports: usize,
    /// How many devices the running guest then has room for.
    pub free: usize,
}

/// The place of a device that is to come with the next boot, as it is requested, or free; what it takes that is not there yet, a
/// port or a SCSI controller, is added to the record.
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
    /// A boot is recorded before this returns: devices that waited for it count as part of the guest from then on, those
    /// that were to go are forgotten, and unfinished removals are finished. If this process or QEMU fails after that, the
    /// guest simply is off, and the next command is the same again.
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
        if let Some(running) = running::find(&next.command, request.monitor.as_deref())? {
            return Err(running.refusal());
        }
        let purpose = if migrates { Purpose::Target } else { Purpose::Boot };
        let host = Host::new(&next, purpose);
        let command = Builder::new(&request, &command_line).build(&mut next, request.incoming, &host)?;
        if migrates {
            self.adopt_target(next)?;
        } else {
            self.adopt_boot(next)?;
        }
        Ok(command)
    }

    /// The same command to be looked at: nothing is written, no tap is made, and it has no descriptors, only their numbers. It
    /// does not matter whether the guest runs, or who has the record.
    pub fn plan_command(&self, request: BootRequest) -> Result<BootCommand> {
        let (command_line, mut next) = self.start(&request)?;
        let host = Host::new(&next, Purpose::Plan);
        let command = Builder::new(&request, &command_line).build(&mut next, request.incoming, &host)?;
        Ok(BootCommand { fds: Vec::new(), ..command })
    }

    /// What the next boot comes to, without opening or changing anything.
    pub fn boot_plan(&self, spare_ports: usize) -> Result<BootPlan> {
        let command_line = CommandLine::read(&self.record().command);
        let next = self.next_record(false, spare_ports, &command_line)?;
        refuse_overlays(&next, false)?;
        let old = self.record().ports.iter().filter(|port| port.presence == Presence::Live).count();
        Ok(BootPlan {
            machine: command_line.machine,
            devices: next.devices.len(),
            ports: next.ports.len(),
            new_ports: next.ports.len().saturating_sub(old),
            free: placement::slots(&next, &command_line)?.free(),
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
        refuse_without_tap(&next, migrates)?;
        refuse_overlays(&next, migrates)?;
        Ok((command_line, next))
    }

    /// The record that the started guest will have.
    fn next_record(&self, migrates: bool, spare_ports: usize, command_line: &CommandLine) -> Result<Record> {
        let mut next = self.record().clone();
        if migrates {
            self.refuse_open_for_target()?;
            placement::slots(&next, command_line)?;
            scsi::buses(&next, command_line)?;
            return Ok(next);
        }
        // The guest does not run any more, so it has let go of what it was asked for.
        unfinished::end_all(&mut next, &self.journal().intents);
        placement::reboot(&mut next);
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
            self.write_journal(|journal| journal.peer = None)?;
        }
        self.keep(next)
    }
}

/// Before anything is opened: a NIC over the caller's own tap does not get another one without a word.
fn refuse_without_tap(next: &Record, migrates: bool) -> Result<()> {
    for device in started(next, migrates) {
        if let Some(why) = host::lacks_its_tap(next, device, migrates) {
            return Err(Error::new(ErrorKind::State, format!("{} {why}", device.id)));
        }
    }
    Ok(())
}

/// A guest that was seen to write to another image than the recorded one must not find its old data.
fn refuse_overlays(next: &Record, migrates: bool) -> Result<()> {
    started(next, migrates).into_iter().try_for_each(|device| match overlay_problem(device) {
        None => Ok(()),
        Some(text) => {
            let error = Error::new(ErrorKind::Conflict, text).with_errno(libc::EBUSY);
            Err(error.context(&device.id))
        }
    })
}

/// What stands in the way of starting a disk from its recorded image.
fn overlay_problem(device: &Device) -> Option<String> {
    let Spec::Disk(spec) = &device.spec else { return None };
    let overlay = spec.overlay.as_ref()?;
    Some(format!(
        "the guest wrote to {overlay} when it was last seen, which is not in the record and has its data; started from {} it would \
         lose that. Take the disk out of the record and add the image that has the data, whose backing file can be named anew \
         with qemu-img rebase -u",
        spec.path.display()
    ))
}

/// The devices that a guest is started with: a migration target has none that waits for a boot.
fn started(record: &Record, migrates: bool) -> Vec<&Device> {
    let is_there = |device: &&Device| !migrates || device.presence != Presence::AddAfterReboot;
    record.devices.iter().filter(is_there).collect()
}

/// Where a device goes.
enum BootAddress {
    At(Address),
    /// Where QEMU finds a place for it.
    Found,
    /// Nobody knows.
    Unknown,
}

/// The command while it is put together.
struct Builder<'a> {
    argv: Vec<String>,
    fds: Vec<OwnedFd>,
    /// The number that the next descriptor gets.
    next_fd: u32,
    command_line: &'a CommandLine,
    fd_base: u32,
    qemu: Option<Version>,
    paused: bool,
    /// The guest is one that Ganeti started.
    is_list: bool,
    next_fdset: u32,
}

impl<'a> Builder<'a> {
    fn new(request: &BootRequest, command_line: &'a CommandLine) -> Self {
        Self {
            argv: Vec::new(),
            fds: Vec::new(),
            next_fd: request.fd_base,
            command_line,
            fd_base: request.fd_base,
            qemu: request.qemu,
            paused: request.paused,
            is_list: false,
            next_fdset: 1,
        }
    }

    /// The agent's own options come first: QEMU makes their devices first, and those without an address get the same one
    /// as ever.
    fn build(mut self, record: &mut Record, incoming: Option<Incoming>, host: &Host) -> Result<BootCommand> {
        let migrates = incoming.is_some();
        self.argv.clone_from(&record.command);
        self.is_list = record.was_started_by_ganeti();
        if self.paused {
            self.argv.push("-S".to_owned());
        }
        if let Some(incoming) = incoming {
            let argument = incoming.into_argument(|fd| self.pass(Some(fd)))?;
            self.argv.extend(["-incoming".to_owned(), argument]);
        }
        let there = |presence: Presence| !migrates || presence != Presence::AddAfterReboot;
        self.add_ports(record, there)?;
        let unplaced = record.devices.iter().filter(|device| record.was_started_unplaced(device));
        let unplaced = ordered::set(unplaced.map(|device| device.id.clone()));
        let mut devices: Vec<&mut Device> =
            record.devices.iter_mut().filter(|device| there(device.presence)).collect();
        // First those that QEMU finds a place for, before others have one; then controllers, before their disks.
        ordered::sort_by_key(&mut devices, |device| {
            (!unplaced.contains(&device.id), device.kind() != DeviceKind::Controller)
        });
        for device in devices {
            let place = match &device.address {
                None if unplaced.contains(&device.id) => BootAddress::Found,
                None => BootAddress::Unknown,
                Some(address) => BootAddress::At(address.clone()),
            };
            self.add_device(device, place, host).map_err(|error| error.context(&device.id))?;
        }
        self.move_aside()?;
        Ok(BootCommand { argv: self.argv, fds: self.fds, fd_base: self.fd_base })
    }

    fn add_ports(&mut self, record: &Record, there: impl Fn(Presence) -> bool) -> Result<()> {
        let mut ports: Vec<_> = record.ports.iter().filter(|port| there(port.presence)).collect();
        // Function 0 of a slot comes before the others.
        ordered::sort_by_key(&mut ports, |port| (port.slot, port.function));
        for port in &ports {
            let shared = ports.iter().filter(|other| other.slot == port.slot).count() > 1;
            self.add_object(Object::Device, &port.device_args(shared))?;
        }
        Ok(())
    }

    fn add_device(&mut self, device: &mut Device, place: BootAddress, host: &Host) -> Result<()> {
        let id = device.id.clone();
        let address = match place {
            BootAddress::At(address) => address,
            BootAddress::Found => return self.add_unplaced(device, host),
            BootAddress::Unknown => {
                let text = "has no address; open the guest at the source, so that its place is recorded";
                return Err(Error::new(ErrorKind::State, text));
            }
        };
        let arguments = match (host.open(&mut device.spec)?, &device.spec) {
            (backend @ Backend::Taps { .. }, Spec::Nic(spec)) => {
                self.add_netdev(&id, spec, backend)?;
                address.pci().map(|address| net::args::device_args(&id, address, spec))
            }
            (Backend::Image(image), Spec::Disk(spec)) => {
                let layers =
                    image.layers.into_iter().map(|layer| self.add_fdset(&id, layer)).collect::<Vec<_>>();
                self.add_object(Object::Blockdev, &disk::node::block_node(&id, spec, &layers)?)?;
                Some(disk::node::device_args(&id, &address, spec))
            }
            (_, Spec::Controller(spec)) => {
                address.pci().map(|address| crate::slots::scsi::args::device_args(&id, address, spec))
            }
            _ => None,
        };
        let arguments =
            arguments.ok_or_else(|| Error::new(ErrorKind::State, format!("cannot sit at {address}")))?;
        self.add_object(Object::Device, &arguments)
    }

    fn add_netdev(&mut self, id: &DeviceId, spec: &NicSpec, backend: Backend) -> Result<()> {
        let Backend::Taps { taps, vhost } = backend else { return Ok(()) };
        let taps: Vec<String> = taps.into_iter().map(|fd| self.pass(fd).to_string()).collect();
        let vhost: Vec<String> = vhost.into_iter().map(|fd| self.pass(fd).to_string()).collect();
        self.add_object(Object::Netdev, &net::args::netdev_args_over(id, spec, &taps, &vhost))
    }

    /// A NIC that QEMU finds the place for, as it did for the source.
    fn add_unplaced(&mut self, device: &mut Device, host: &Host) -> Result<()> {
        let backend = host.open(&mut device.spec)?;
        let Spec::Nic(spec) = &device.spec else { return Ok(()) };
        self.add_netdev(&device.id, spec, backend)?;
        self.add_object(Object::Device, &net::args::unplaced_args(&device.id, spec))
    }

    /// The layer under the very tag that a hot-plugged disk has, by which it is found again.
    fn add_fdset(&mut self, id: &DeviceId, layer: disk::Layer) -> disk::LayerRef {
        while self.command_line.fdsets.contains(&self.next_fdset) {
            self.next_fdset += 1;
        }
        let set = self.next_fdset;
        self.next_fdset += 1;
        let (format, kind) = (layer.format, layer.kind);
        let number = self.pass(Some(layer.fd));
        let tag = disk::node::fdset_tag(id);
        self.argv.extend(["-add-fd".to_owned(), format!("fd={number},set={set},opaque={tag}")]);
        disk::LayerRef { filename: format!("/dev/fdset/{set}"), format, kind }
    }

    /// QEMU makes all devices of key=value text first, then those of `-drive`, then those of JSON. A device has to come after the
    /// port or controller that it sits on; and Ganeti's come before its drives, which find what is left.
    fn add_object(&mut self, object: Object, arguments: &serde_json::Map<String, Value>) -> Result<()> {
        let argument = match object {
            Object::Device if self.command_line.has_json_device => Object::json(arguments),
            Object::Device if self.is_list => object.write(arguments, None)?,
            _ => object.write(arguments, self.qemu)?,
        };
        self.argv.extend([object.option().to_owned(), argument]);
        Ok(())
    }

    /// Has a descriptor inherited, or one that is left out of a plan; answers the number it has in QEMU.
    fn pass(&mut self, fd: Option<OwnedFd>) -> u32 {
        self.fds.extend(fd);
        let number = self.next_fd;
        self.next_fd = number.saturating_add(1);
        number
    }

    /// Moves the descriptors out of the range that they will be put into, so that none is overwritten by another.
    fn move_aside(&mut self) -> Result<()> {
        let end = self.next_fd;
        if i32::try_from(end).is_err() {
            return Err(Error::invalid(format!("fd_base {}: no descriptor has such numbers", self.fd_base)));
        }
        if let Some(taken) = self.command_line.fds.range(self.fd_base..end).next() {
            return Err(Error::invalid(format!(
                "the command uses fd {taken} itself, and this call numbers its own from {}; choose another fd_base",
                self.fd_base
            )));
        }
        let end = i32::try_from(end).unwrap_or(i32::MAX);
        for fd in self.fds.iter_mut().filter(|fd| fd.as_raw_fd() < end) {
            let doing = |errno| Error::host(errno, format!("duplicate a descriptor above {end}"));
            *fd = inherit::duplicate_above(fd.as_fd(), end).map_err(doing)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
