//! What in the recorded command and the devices of the record does not go together, so that QEMU would not
//! start. Pure.

use crate::error::{Error, ErrorKind};
use crate::model::CommandLine;
use crate::model::{Device, Record, Spec};

/// One such thing.
#[derive(Debug)]
pub(super) struct Clash {
    /// The device that it is about; empty for the command.
    pub(super) id: String,
    pub(super) error: Error,
}

impl Clash {
    fn of(id: &str, kind: ErrorKind, text: String) -> Self {
        Self { id: id.to_owned(), error: Error::new(kind, text) }
    }
}

/// All of them: `devices` are those that the guest is started with, `record` the one that it will have.
pub(super) fn find(record: &Record, devices: &[&Device], command_line: &CommandLine) -> Vec<Clash> {
    let mut clashes = Vec::new();
    if record.command.is_empty() {
        let text = "the record has no command: make it with QEMU's command line without NICs and disks";
        clashes.push(Clash::of("", ErrorKind::State, text.to_owned()));
    }
    let ids = devices.iter().map(|device| device.id.as_str());
    let ids = ids.chain(record.ports.iter().map(|port| port.id.as_str()));
    for id in ids.chain(record.bridges.iter().map(|bridge| bridge.id.as_str())) {
        if let Some(option) = command_line.ids.get(id) {
            let text =
                format!("the command has {id} already, in {option}; NICs and disks are left out of it");
            clashes.push(Clash::of(id, ErrorKind::Conflict, text));
        }
    }
    clashes.extend(boot_indices(devices, command_line));
    let has_file = record.command.iter().any(|argument| argument.trim_start_matches('-') == "readconfig");
    clashes.extend(devices.iter().flat_map(|device| objects(device, command_line, has_file)));
    clashes
}

/// Objects that the command has and the device brings, or that it lacks and the device needs. What a
/// configuration file has is not known.
fn objects(device: &Device, command_line: &CommandLine, has_file: bool) -> Vec<Clash> {
    let id = device.id.as_str();
    let made =
        device.helpers().into_iter().filter(|helper| command_line.objects.contains_key(helper.id.as_str()));
    let twice = made.map(|helper| {
        let text = format!("the command has the object {} already, which is made for {id}", helper.id);
        Clash::of(id, ErrorKind::Conflict, text)
    });
    let needed = device.existing_iothreads().into_iter().filter(|_| !has_file);
    let lacks =
        needed.filter(|name| command_line.objects.get(name.as_str()).is_none_or(|kind| kind != "iothread"));
    let missing = lacks.map(|name| {
        let text = format!(
            "{id} needs the iothread {name}, which the command does not have; add -object iothread,id={name}"
        );
        Clash::of(id, ErrorKind::State, text)
    });
    twice.chain(missing).collect()
}

/// QEMU takes each boot index once ("The bootindex 1 has already been used").
fn boot_indices(devices: &[&Device], command_line: &CommandLine) -> Vec<Clash> {
    let own: Vec<(u32, &Device)> =
        devices.iter().filter_map(|device| Some((boot_index(device)?, *device))).collect();
    let mut clashes = Vec::new();
    for (position, (index, device)) in own.iter().enumerate() {
        let in_command = command_line.boot_indices.get(index).map(String::as_str);
        let mut before = own.iter().take(position);
        let other = in_command.or_else(|| Some(before.find(|(other, _)| other == index)?.1.id.as_str()));
        if let Some(other) = other {
            let text = format!(
                "{} has the boot index {index}, which is that of {other}; each is for one device",
                device.id
            );
            clashes.push(Clash::of(device.id.as_str(), ErrorKind::Conflict, text));
        }
    }
    clashes
}

fn boot_index(device: &Device) -> Option<u32> {
    match &device.spec {
        Spec::Nic(spec) => spec.boot_index,
        Spec::Disk(spec) => spec.boot_index,
        Spec::Controller(_) => None,
    }
}
