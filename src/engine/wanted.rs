//! What is to be done so that a guest has the devices of a wanted list: a decision from what is recorded and
//! what is wanted. Nothing is done here, and QEMU is not asked.

use super::action::{Action, Change};
use super::add_item::AddRequest;
use crate::disk::DiskSpec;
use crate::ids::{Address, DeviceId, IfName, MacAddr};
use crate::model::{Device, DeviceKind, Presence, Spec};

/// How a wanted list is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apply {
    /// Say what would be done, and do nothing.
    pub plan_only: bool,
    /// What is not in the list stays.
    pub keep_others: bool,
    /// A device with another setting that cannot be changed is removed and added.
    pub replace: bool,
    /// Live or not at all: what would wait for a reboot is an error.
    pub live_only: bool,
    /// The guest is asked to let go of devices, and not waited for.
    pub no_wait: bool,
}

/// How a wanted device stands to what the guest has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing has its id.
    Unknown,
    /// It is there with these settings.
    Same,
    /// It is there, and only this is to be changed.
    Changes(Vec<Change>),
    /// A device of this id is there with another setting, which is named.
    Differs(&'static str),
    /// The removal of the device with this id is under way.
    Leaving,
    /// It is recorded, and the guest does not have it.
    Missing,
    /// The device with this id goes with the next boot.
    GoesAtBoot,
}

/// A wanted device.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) id: &'a DeviceId,
    pub(super) request: &'a AddRequest,
    pub(super) standing: Standing,
}

/// What is decided about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) id: DeviceId,
    pub(super) kind: DeviceKind,
    pub(super) action: Action,
    /// Why this is to be done, in words; empty for nothing.
    pub(super) why: String,
    /// Devices that have to be gone before it is added.
    pub(super) after: Vec<DeviceId>,
    /// Why it cannot be done, in words.
    pub(super) refused: Option<String>,
}

/// The wanted devices in the order of the list, then those that are to go, in the order of the record.
pub(super) fn decide(recorded: &[&Device], wanted: &[Wanted<'_>], how: Apply) -> Vec<Decided> {
    let is_wanted = |device: &&&Device| wanted.iter().any(|wanted| *wanted.id == device.id);
    let is_managed = |device: &&&Device| device.kind() != DeviceKind::Controller;
    let others = recorded.iter().filter(|_| !how.keep_others);
    let others: Vec<&Device> = others.filter(|one| is_managed(one) && !is_wanted(one)).copied().collect();
    let mut all: Vec<Decided> = wanted.iter().map(|one| about_wanted(one, how)).collect();
    let replaced = recorded.iter().filter(|device| {
        all.iter().any(|decided| decided.id == device.id && decided.action == Action::Replace)
    });
    let going: Vec<&Device> = others.iter().copied().chain(replaced.copied()).collect();
    for (decided, one) in all.iter_mut().zip(wanted) {
        if matches!(decided.action, Action::Add | Action::Replace) {
            let claims = Claims::of(one.request);
            let in_its_way = going.iter().filter(|device| device.id == *one.id || claims.meet(device));
            decided.after = in_its_way.map(|device| device.id.clone()).collect();
            // Also one that only the journal has.
            if decided.action == Action::Replace && !decided.after.contains(one.id) {
                decided.after.push(one.id.clone());
            }
        }
    }
    all.extend(others.into_iter().map(about_other));
    all
}

fn about_wanted(wanted: &Wanted<'_>, how: Apply) -> Decided {
    let Wanted { id, request, standing } = wanted;
    let replacing = "it can be replaced, if replacing is allowed";
    let (action, why, refused) = match standing {
        Standing::Unknown => (Action::Add, "the guest does not have it".to_owned(), None),
        Standing::Same => (Action::None, String::new(), None),
        Standing::Changes(changes) => (Action::Change(changes.clone()), words(changes), None),
        Standing::Leaving => (Action::Replace, "its removal is under way".to_owned(), None),
        Standing::Missing => {
            (Action::Replace, "it is recorded, and the guest does not have it".to_owned(), None)
        }
        Standing::Differs(setting) => {
            let why = format!("it is there with another {setting}");
            let refused = (!how.replace).then(|| {
                format!("{id} is there with another {setting}, which cannot be changed; {replacing}")
            });
            (Action::Replace, why, refused)
        }
        Standing::GoesAtBoot => {
            let why = "it is there, and goes with the next boot".to_owned();
            let refused =
                format!("{id} goes with the next boot, which cannot be called off; take another id");
            (Action::Replace, why, Some(refused))
        }
    };
    Decided { id: (*id).clone(), kind: request.kind(), action, why, after: Vec::new(), refused }
}

fn about_other(device: &Device) -> Decided {
    Decided {
        id: device.id.clone(),
        kind: device.kind(),
        action: Action::Del,
        why: "it is not in the list".to_owned(),
        after: Vec::new(),
        refused: None,
    }
}

fn words(changes: &[Change]) -> String {
    let bridge = |name: &Option<IfName>| name.as_ref().map_or("no bridge".to_owned(), ToString::to_string);
    let one = |change: &Change| match change {
        Change::Link { up: true } => "its link is down, and is to be up".to_owned(),
        Change::Link { up: false } => "its link is up, and is to be down".to_owned(),
        Change::Bridge { from, to } => format!("it is on {}, and is to be on {}", bridge(from), bridge(to)),
        Change::Limits { from, to } => from
            .first_other(to)
            .map_or_else(String::new, |(is, to_be)| format!("it has {is}, and is to have {to_be}")),
    };
    changes.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What only one device of a guest can have.
#[derive(Debug, Default)]
struct Claims<'a> {
    mac: Option<MacAddr>,
    tap: Option<&'a str>,
    place: Option<&'a Address>,
    disk: Option<&'a DiskSpec>,
}

impl<'a> Claims<'a> {
    fn of(request: &'a AddRequest) -> Self {
        let place = request.placement().address.as_ref().filter(|place| !is_any_of_bus(place));
        match request {
            AddRequest::Nic(nic) => Self { mac: nic.mac, tap: nic.exact_tap(), place, disk: None },
            AddRequest::Disk(disk) => Self { place, disk: Some(&disk.spec), ..Self::default() },
            AddRequest::Controller(_) => Self { place, ..Self::default() },
        }
    }

    /// Whether a device has something of it.
    fn meet(&self, device: &Device) -> bool {
        if self.place.is_some() && self.place == device.address.as_ref() {
            return true;
        }
        match &device.spec {
            Spec::Nic(nic) => {
                let names = [nic.tap.as_deref(), nic.ifname.as_ref().map(IfName::as_str)];
                self.mac == Some(nic.mac) || (self.tap.is_some() && names.contains(&self.tap))
            }
            Spec::Disk(other) => self.disk.is_some_and(|own| share_something(own, other)),
            Spec::Controller(_) => false,
        }
    }
}

/// Slot 0 stands for any of a bus.
fn is_any_of_bus(place: &Address) -> bool {
    place.pci().is_some_and(|place| place.slot.get() == 0)
}

fn share_something(own: &DiskSpec, other: &DiskSpec) -> bool {
    let images = [other.own_files(), other.files_below()].concat();
    own.own_files().iter().any(|path| images.contains(path))
        || (own.source.is_some() && own.source == other.source)
        || (own.serial.is_some() && own.serial == other.serial)
        || (own.wwn.is_some() && own.wwn == other.wwn)
}

/// Whether it is in the guest until the next boot only: nothing is to be done about it any more.
pub(super) fn goes_at_boot(device: &Device) -> bool {
    device.presence == Presence::RemoveAfterReboot
}

#[cfg(test)]
mod tests;
