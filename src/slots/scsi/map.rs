//! The SCSI buses of a guest and who has which place on them: live view, own record and pending removals as
//! one map.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, Channel, DeviceId, Lun, ScsiAddress};
use crate::slots::occupancy::{Occupancy, SlotUser};
use crate::sorted;

use super::spec::{bus_of, is_live_model};

/// Targets on the bus of a virtio-scsi controller.
const TARGETS: usize = 256;

/// Who has which place on which SCSI bus.
#[derive(Clone, Debug, Default)]
pub struct ScsiMap {
    buses: BTreeMap<BusName, Bus>,
}

#[derive(Clone, Debug, Default)]
struct Bus {
    /// `None` if only a device on it, or the own record, names the bus.
    controller: Option<Controller>,
    occupancy: Occupancy<Unit>,
}

#[derive(Clone, Debug)]
struct Controller {
    id: String,
    model: String,
    /// Its turn when free targets are handed out: what is recorded comes first.
    turn: (bool, usize),
}

/// A place on a bus.
type Unit = (Channel, u8, Lun);

fn unit(address: &ScsiAddress) -> Unit {
    (address.channel, address.target, address.lun)
}

/// Which place is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Unit 0 of the first free target of the first controller that has one.
    Auto,
    /// Unit 0 of the first free target of this bus.
    OnBus(BusName),
    /// This one or none.
    Pinned(ScsiAddress),
}

/// What a place is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState<'a> {
    /// Can be handed out.
    Free,
    /// This device is there, or is recorded there.
    Taken(&'a str),
    /// The removal of this device is pending: it keeps its place until QEMU says that it is gone.
    Quarantined(&'a str),
}

impl ScsiMap {
    /// Adds the bus of a controller, `recorded` or only seen in the guest. Free targets are handed out on the
    /// recorded ones first, and of each kind in the order in which they are added; one that is there already
    /// keeps its turn.
    pub fn add_controller(&mut self, id: &str, model: &str, recorded: bool) {
        let Ok(name) = bus_of(id) else { return };
        let turn = (!recorded, self.buses.len());
        let bus = self.buses.entry(name).or_default();
        let turn = bus.controller.as_ref().map_or(turn, |known| known.turn);
        bus.controller = Some(Controller { id: id.to_owned(), model: model.to_owned(), turn });
    }

    /// The controller with this id is gone, and with it everything on its bus.
    pub fn remove_controller(&mut self, id: &str) {
        if let Ok(name) = bus_of(id) {
            self.buses.remove(&name);
        }
    }

    /// The live guest has a device there, with or without an id.
    pub fn see(&mut self, address: &ScsiAddress, id: Option<&str>, model: &str) {
        self.add_user(
            address,
            SlotUser { id: id.map(str::to_owned), description: model.to_owned(), pending: false },
        );
    }

    /// The own record has `id` at `address`, whether or not the guest shows it. Naming a bus of which the
    /// guest does not show the controller (yet) is fine. A place may be claimed by several; it is free when
    /// the last is released.
    pub fn occupy(&mut self, address: &ScsiAddress, id: &DeviceId) {
        self.add_user(address, SlotUser::of(id));
    }

    /// The removal of `id` at `address` has been asked for and not granted: the place stays taken, and says
    /// so, until [`release`](Self::release).
    pub fn quarantine(&mut self, address: &ScsiAddress, id: &DeviceId) {
        self.add_user(address, SlotUser::pending(id));
    }

    /// `id` is gone from `address`. Takes back only what `id` claims there, live view included; false if that
    /// is nothing.
    pub fn release(&mut self, address: &ScsiAddress, id: &DeviceId) -> bool {
        let bus = self.buses.get_mut(&address.bus);
        bus.is_some_and(|bus| bus.occupancy.release(&unit(address), id))
    }

    /// The place for a new device; [`occupy`](Self::occupy) it before choosing the next. `None` for
    /// [`Want::Auto`] where no controller takes devices, so that one has to be added. The same map always
    /// answers the same.
    ///
    /// `closed` says why the controller with an id is not to be given anything now.
    ///
    /// Errors: [`ErrorKind::NoSlot`] with the counts of every bus, [`ErrorKind::AddressTaken`] naming the
    /// occupant, [`ErrorKind::NotHotpluggable`] for a closed bus, [`ErrorKind::NotFound`] for one that the
    /// guest does not show.
    pub fn choose(
        &self,
        want: &Want,
        closed: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<ScsiAddress>> {
        match want {
            Want::Auto => {
                let mut usable = self.usable();
                usable.retain(|(_, bus)| bus.controller.as_ref().is_some_and(|it| closed(&it.id).is_none()));
                match usable.iter().find_map(|(name, bus)| bus.first_free(name)) {
                    None if !usable.is_empty() => Err(exhausted(&usable)),
                    found => Ok(found),
                }
            }
            Want::OnBus(name) => {
                let bus = self.open_bus(name, closed)?;
                bus.first_free(name).map(Some).ok_or_else(|| exhausted(&[(name, bus)]))
            }
            Want::Pinned(address) => {
                self.open_bus(&address.bus, closed)?.check_free(address)?;
                Ok(Some(address.clone()))
            }
        }
    }

    /// The same for a guest that is to boot with the device: whatever the controller is, and whether or not
    /// it is there now. `None` for [`Want::Auto`]: the boot decides.
    pub fn choose_cold(&self, want: &Want) -> Result<Option<ScsiAddress>> {
        let empty = Bus::default();
        let on = |name: &BusName| self.buses.get(name).unwrap_or(&empty);
        match want {
            Want::Auto => Ok(None),
            Want::OnBus(name) => {
                on(name).first_free(name).map(Some).ok_or_else(|| exhausted(&[(name, on(name))]))
            }
            Want::Pinned(address) => {
                on(&address.bus).check_free(address)?;
                Ok(Some(address.clone()))
            }
        }
    }

    /// The model of the controller of a bus, if there is one.
    pub fn model_on(&self, name: &BusName) -> Option<&str> {
        Some(self.buses.get(name)?.controller.as_ref()?.model.as_str())
    }

    /// Every claim on a place, bus by bus.
    pub fn occupancy(&self) -> impl Iterator<Item = (ScsiAddress, &SlotUser)> {
        self.buses
            .iter()
            .flat_map(|(name, bus)| bus.occupancy.iter().map(|(unit, user)| (address(name, unit), user)))
    }

    /// For showing to people: every place that somebody has, and the first free one on each usable bus.
    pub fn lines(&self) -> Vec<(ScsiAddress, UnitState<'_>)> {
        let mut lines = BTreeMap::new();
        for (name, bus) in &self.buses {
            for (unit, _) in bus.occupancy.iter() {
                lines.insert(address(name, unit), bus.state(unit));
            }
            let free = bus.is_usable().then(|| bus.first_free(name)).flatten();
            lines.extend(free.map(|address| (address, UnitState::Free)));
        }
        lines.into_iter().collect()
    }

    fn add_user(&mut self, address: &ScsiAddress, user: SlotUser) {
        self.buses.entry(address.bus.clone()).or_default().occupancy.add(unit(address), user);
    }

    /// The buses that free targets are handed out on, in that order.
    fn usable(&self) -> Vec<(&BusName, &Bus)> {
        let usable = self.buses.iter().filter(|(_, bus)| bus.is_usable());
        sorted::by_key(usable, |(_, bus)| bus.controller.as_ref().map(|controller| controller.turn))
    }

    fn open_bus(&self, name: &BusName, closed: impl Fn(&str) -> Option<String>) -> Result<&Bus> {
        let refuse = |kind, why: String| Err(Error::new(kind, format!("{name}: {why}")));
        let Some((bus, controller)) =
            self.buses.get(name).and_then(|bus| Some((bus, bus.controller.as_ref()?)))
        else {
            let known = self.buses.iter().filter(|(_, bus)| bus.controller.is_some());
            let names: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
            let have = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let text =
                format!("no such SCSI bus; the guest has {have} (that of a controller with the id c is c.0)");
            return refuse(ErrorKind::NotFound, text);
        };
        if !is_live_model(&controller.model) {
            let text =
                format!("its controller, a {}, does not tell a running guest of new disks", controller.model);
            return refuse(ErrorKind::NotHotpluggable, text);
        }
        match closed(&controller.id) {
            Some(why) => refuse(ErrorKind::NotHotpluggable, why),
            None => Ok(bus),
        }
    }
}

impl Bus {
    /// Whether its controller takes disks while the guest runs.
    fn is_usable(&self) -> bool {
        self.controller.as_ref().is_some_and(|controller| is_live_model(&controller.model))
    }

    /// A target is free when no unit of it is taken: a disk of its own target can leave and come as it likes.
    fn first_free(&self, name: &BusName) -> Option<ScsiAddress> {
        let taken = self.targets();
        let free = (0..=u8::MAX).find(|target| !taken.contains(target))?;
        Some(ScsiAddress::of_target(name.clone(), free))
    }

    fn targets(&self) -> BTreeSet<u8> {
        sorted::set(self.occupancy.iter().map(|((_, target, _), _)| *target))
    }

    fn state(&self, unit: &Unit) -> UnitState<'_> {
        match self.occupancy.holder(unit) {
            None => UnitState::Free,
            Some(user) if user.pending => UnitState::Quarantined(user.label()),
            Some(user) => UnitState::Taken(user.label()),
        }
    }

    fn check_free(&self, address: &ScsiAddress) -> Result<()> {
        let taken = |why: String| Err(Error::new(ErrorKind::AddressTaken, format!("{address} {why}")));
        match self.state(&unit(address)) {
            UnitState::Free => Ok(()),
            UnitState::Taken(by) => taken(format!("is taken by {by}; pin another or none")),
            UnitState::Quarantined(id) => {
                taken(format!("still belongs to {id}: its removal is pending; wait for it or pin another"))
            }
        }
    }

    /// Targets taken, and those of them with a pending removal.
    fn count(&self) -> (usize, usize) {
        let pending = self.occupancy.iter().filter(|(_, user)| user.pending);
        let pending = sorted::set(pending.map(|((_, target, _), _)| *target));
        (self.targets().len(), pending.len())
    }
}

fn address(bus: &BusName, (channel, target, lun): &Unit) -> ScsiAddress {
    ScsiAddress { bus: bus.clone(), channel: *channel, target: *target, lun: *lun }
}

/// What `NoSlot` says: every bus with its count, then what can be done.
fn exhausted(buses: &[(&BusName, &Bus)]) -> Error {
    let count = |(name, bus): &(&BusName, &Bus)| {
        let (taken, pending) = bus.count();
        format!("{name}: {taken} of {TARGETS} taken ({pending} quarantined)")
    };
    let counts: Vec<String> = buses.iter().map(count).collect();
    let text = format!(
        "no free SCSI target ({}); remove a disk, add a controller, or pin another unit of a target",
        counts.join("; ")
    );
    Error::new(ErrorKind::NoSlot, text)
}

#[cfg(test)]
mod tests;
