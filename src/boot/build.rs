//! Puts the command together: the agent's own, what the devices are made of, and the descriptors that it
//! inherits.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use serde_json::Value;

use super::host::{Backend, Host};
use super::incoming::Incoming;
use super::monitor;
use super::options::Object;
use super::request::{BootCommand, BootRequest};
use super::started::is_unplaced_nic;
use crate::disk;
use crate::disk::objects::SECRET;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, BackendName, DeviceId};
use crate::model::{CommandLine, Device, DeviceKind, Presence, Record, Spec};
use crate::net;
use crate::net::netdev::Netdev;
use crate::net::spec::NicSpec;
use crate::qmp::Version;
use crate::sorted;
use crate::store::Dialect;
use crate::sys::inherit;

/// Where a device goes.
enum BootAddress {
    At(Address),
    /// Where QEMU finds a place for it.
    Found,
    /// Nobody knows.
    Unknown,
}

/// The command while it is put together.
pub(super) struct Builder<'a> {
    argv: Vec<String>,
    fds: Vec<OwnedFd>,
    /// The number that the next descriptor gets.
    next_fd: u32,
    command_line: &'a CommandLine,
    dialect: &'a Dialect,
    fd_base: u32,
    qemu: Option<Version>,
    paused: bool,
    listen_at: Option<PathBuf>,
    /// The guest is one that Ganeti started.
    is_list: bool,
    next_fdset: u32,
    /// Objects that are made already, for a device before.
    helpers: Vec<BackendName>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(request: &BootRequest, command_line: &'a CommandLine, dialect: &'a Dialect) -> Self {
        Self {
            argv: Vec::new(),
            fds: Vec::new(),
            next_fd: request.fd_base,
            command_line,
            dialect,
            fd_base: request.fd_base,
            qemu: request.qemu,
            paused: request.paused,
            listen_at: request.listen_at.clone(),
            is_list: false,
            next_fdset: 1,
            helpers: Vec::new(),
        }
    }

    /// The agent's own options come first: QEMU makes their devices first, and those without an address get
    /// the same one as ever.
    pub(super) fn build(
        mut self,
        record: &mut Record,
        incoming: Option<Incoming>,
        host: &Host<'_>,
    ) -> Result<BootCommand> {
        let migrates = incoming.is_some();
        self.argv = monitor::command(&record.command, self.listen_at.as_deref())?;
        self.is_list = self.dialect.was_started_by_ganeti(record);
        if self.paused {
            self.argv.push("-S".to_owned());
        }
        if let Some(incoming) = incoming {
            let argument = incoming.into_argument(|fd| self.pass(Some(fd)))?;
            self.argv.extend(["-incoming".to_owned(), argument]);
        }
        let there = |presence: Presence| !migrates || presence != Presence::AddAfterReboot;
        self.add_ports(record, there)?;
        for bridge in record.bridges.iter().filter(|bridge| there(bridge.presence)) {
            self.add_object(Object::Device, &bridge.device_args())?;
        }
        let unplaced = record.devices.iter().filter(|device| is_unplaced_nic(self.dialect, record, device));
        let unplaced = sorted::set(unplaced.map(|device| device.id.clone()));
        let devices = record.devices.iter_mut().filter(|device| there(device.presence));
        // First those that QEMU finds a place for, before others have one; then controllers, before their
        // disks.
        let devices = sorted::by_key(devices, |device| {
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
        let ports = record.ports.iter().filter(|port| there(port.presence));
        // Function 0 of a slot comes before the others.
        let ports = sorted::by_key(ports, |port| (port.slot, port.function));
        for port in &ports {
            let shared = ports.iter().filter(|other| other.slot == port.slot).count() > 1;
            self.add_object(Object::Device, &port.device_args(shared))?;
        }
        Ok(())
    }

    fn add_device(&mut self, device: &mut Device, place: BootAddress, host: &Host<'_>) -> Result<()> {
        let id = device.id.clone();
        let address = match place {
            BootAddress::At(address) => address,
            BootAddress::Found => return self.add_unplaced(device, host),
            BootAddress::Unknown => {
                let text = "has no address; open the guest at the source, so that its place is recorded";
                return Err(Error::new(ErrorKind::State, text));
            }
        };
        self.add_helpers(device, host)?;
        let arguments = match (host.open(&device.id, &mut device.spec)?, &device.spec) {
            (backend @ (Backend::Taps { .. } | Backend::Netdev), Spec::Nic(spec)) => {
                self.add_netdev(&id, spec, backend)?;
                address.pci().map(|address| net::args::device_args(&id, address, spec))
            }
            (Backend::Image(image), Spec::Disk(spec)) => {
                let layers =
                    image.layers.into_iter().map(|layer| self.add_fdset(&id, layer)).collect::<Vec<_>>();
                if spec.has_medium() {
                    self.add_object(Object::Blockdev, &disk::node::block_node(&id, spec, &layers)?)?;
                }
                Some(disk::node::device_args(&id, &address, spec))
            }
            (_, Spec::Controller(spec)) => {
                address.pci().map(|address| crate::slots::scsi::args::device_args(&id, address, spec))
            }
            _ => None,
        };
        let mut arguments =
            arguments.ok_or_else(|| Error::new(ErrorKind::State, format!("cannot sit at {address}")))?;
        arguments.extend(device.properties.clone());
        self.add_object(Object::Device, &arguments)
    }

    /// The objects that the device needs, and no device before it.
    fn add_helpers(&mut self, device: &Device, host: &Host<'_>) -> Result<()> {
        for mut helper in device.helpers() {
            if !self.helpers.contains(&helper.id) {
                if helper.kind() == SECRET {
                    // QEMU reads it once, when it makes the object: before it changes root or user.
                    let number = self.pass(host.open_secret(&helper.id)?);
                    helper.arguments.insert("file".into(), format!("/proc/self/fd/{number}").into());
                }
                self.add_object(Object::Helper, &helper.arguments)?;
                self.helpers.push(helper.id);
            }
        }
        Ok(())
    }

    fn add_netdev(&mut self, id: &DeviceId, spec: &NicSpec, backend: Backend) -> Result<()> {
        let (taps, vhost) = match backend {
            Backend::Taps { taps, vhost } => (taps, vhost),
            _ => (Vec::new(), Vec::new()),
        };
        let taps: Vec<String> = taps.into_iter().map(|fd| self.pass(fd).to_string()).collect();
        let vhost: Vec<String> = vhost.into_iter().map(|fd| self.pass(fd).to_string()).collect();
        if let Some(chardev) = spec.netdev.as_ref().and_then(Netdev::chardev) {
            self.add_object(Object::Chardev, &chardev.members(id.as_str()))?;
        }
        self.add_object(Object::Netdev, &net::args::netdev_args_over(id, spec, &taps, &vhost))
    }

    /// A NIC that QEMU finds the place for, as it did for the source.
    fn add_unplaced(&mut self, device: &mut Device, host: &Host<'_>) -> Result<()> {
        let backend = host.open(&device.id, &mut device.spec)?;
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

    /// QEMU makes all devices of key=value text first, then those of `-drive`, then those of JSON. A device
    /// has to come after the port or controller that it sits on; and Ganeti's come before its drives, which
    /// find what is left.
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

    /// Moves the descriptors out of the range that they will be put into, so that none is overwritten by
    /// another.
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
