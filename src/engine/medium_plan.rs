//! What changing the medium of a CD drive takes, and what putting the old one back takes: the same. Pure.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::trays::Tray;
use crate::ids::{BackendName, DeviceId};
use crate::model::{BackendNames, Device, Journal, Spec};
use crate::qmp::Command;
use crate::sorted::object;

/// What becomes of a tray that the guest has locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// The guest is asked to open it.
    #[default]
    Respected,
    /// It is opened all the same.
    Broken,
}

/// The arguments of `blockdev-open-tray`.
pub(super) fn open_arguments(drive: &DeviceId, lock: Lock) -> Map<String, Value> {
    let force = (lock == Lock::Broken).then(|| ("force", true.into()));
    object([("id", drive.as_str().into())].into_iter().chain(force))
}

/// The names of the nodes that the library has made for a drive, or that were there when it was adopted; none
/// without a medium.
pub(super) fn nodes_of(device: &Device) -> Vec<BackendName> {
    match (&device.spec, &device.backend) {
        (_, Some(names @ BackendNames::Nodes(_))) => names.all().to_vec(),
        (Spec::Disk(spec), _) if !spec.has_medium() => Vec::new(),
        _ => vec![device.backend_name()],
    }
}

/// The drive with other nodes, as it is recorded or written into the journal.
pub(super) fn with_nodes(device: &Device, nodes: Vec<BackendName>) -> Device {
    let backend = (!nodes.is_empty()).then_some(BackendNames::Nodes(nodes));
    Device { backend, ..device.clone() }
}

/// The drive with all nodes that the journal has for it: an unfinished change of its medium has made one that
/// the record does not know, and that has to go with the drive.
pub(super) fn with_noted_nodes<'a>(device: &'a Device, journal: &Journal) -> Cow<'a, Device> {
    let noted = journal.find(device.id.as_str()).map(|intent| &intent.device);
    let is_drive = matches!(&device.spec, Spec::Disk(spec) if spec.is_cd());
    match noted.and_then(|noted| Some((noted.generation, noted.backend.as_ref()?))) {
        Some((generation, BackendNames::Nodes(nodes))) if is_drive && generation == device.generation => {
            Cow::Owned(with_nodes(device, nodes.clone()))
        }
        _ => Cow::Borrowed(device),
    }
}

/// Makes the drive have this node, or nothing, and closes it.
pub(super) fn fill(drive: &DeviceId, tray: &Tray, node: Option<&BackendName>, lock: Lock) -> Vec<Command> {
    let id = drive.as_str();
    let mut commands = Vec::new();
    if tray.node.as_deref() != node.map(BackendName::as_str) {
        // What is put back may meet a guest that is reset meanwhile, which closes the tray.
        if !tray.open || lock == Lock::Broken {
            commands.push(Command::new("blockdev-open-tray", open_arguments(drive, lock)));
        }
        if tray.node.is_some() {
            commands.push(Command::with("blockdev-remove-medium", &[("id", id)]));
        }
        if let Some(node) = node {
            let names = [("id", id), ("node-name", node.as_str())];
            commands.push(Command::with("blockdev-insert-medium", &names));
        }
    }
    if tray.open || !commands.is_empty() {
        commands.push(Command::with("blockdev-close-tray", &[("id", id)]));
    }
    commands
}

/// What takes the medium out of a drive that is to leave the guest. QEMU forgets to let go of it with the
/// drive, if the drive was empty when it was made (5.2 to 11.1): its node would be in use for ever.
pub(super) fn emptying(device: &Device) -> Vec<Command> {
    let is_cd = matches!(&device.spec, Spec::Disk(spec) if spec.is_cd());
    let is_drive = matches!(device.backend, Some(BackendNames::Drive(_)));
    if !is_cd || is_drive || nodes_of(device).is_empty() {
        return Vec::new();
    }
    let open = Command::new("blockdev-open-tray", open_arguments(&device.id, Lock::Broken));
    vec![open, Command::with("blockdev-remove-medium", &[("id", device.id.as_str())])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_is_opened_only_where_it_differs() {
        let cd = DeviceId::parse("cd").unwrap();
        let commands = |open, has: Option<&str>, wanted: Option<&str>| {
            let tray = Tray { open, locked: false, node: has.map(str::to_owned) };
            let wanted = wanted.map(|name| BackendName::parse(name).unwrap());
            let commands = fill(&cd, &tray, wanted.as_ref(), Lock::Respected);
            let verbs = commands.iter().map(|command| command.name.split('-').nth(1).unwrap().to_owned());
            verbs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(commands(false, Some("cd"), Some("cd")), "");
        assert_eq!(commands(true, Some("cd"), Some("cd")), "close");
        assert_eq!(commands(false, Some("cd"), Some("medium-7")), "open remove insert close");
        assert_eq!(commands(true, Some("cd"), Some("medium-7")), "remove insert close");
        assert_eq!(commands(false, Some("cd"), None), "open remove close");
        assert_eq!(commands(false, None, Some("cd")), "open insert close");
        assert_eq!(commands(true, None, None), "close");
        let open = Tray { open: true, locked: false, node: None };
        let again = fill(&cd, &open, Some(&BackendName::from(&cd)), Lock::Broken);
        assert_eq!(again.first().map(|command| command.name.as_ref()), Some("blockdev-open-tray"));
    }

    #[test]
    fn a_lock_is_broken_only_where_that_is_said() {
        let cd = DeviceId::parse("cd").unwrap();
        assert_eq!(open_arguments(&cd, Lock::Respected).len(), 1);
        assert_eq!(open_arguments(&cd, Lock::Broken).get("force"), Some(&true.into()));
    }
}
