//! The buses of a live guest and what sits on them: `query-pci`, corrected by what QOM knows.

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, PciAddress, Slot};
use crate::sanitize;

use super::bus::{Bus, BusKind, Occupant};
use super::qom::{BusRef, QomAddress};
use super::read::{self, MAX_BUSES, MAX_DEPTH, MAX_DEVICES};

/// What the live guest shows.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    buses: Vec<Bus>,
    /// Placements behind a bridge that has not been placed itself (yet).
    homeless: Vec<QomAddress>,
}

/// A device found by its id.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    /// The bus it sits on.
    pub bus: &'a Bus,
    /// Its slot there.
    pub slot: Slot,
    /// Its function, 0 to 7.
    pub function: u8,
    /// What is known of it.
    pub occupant: &'a Occupant,
}

impl Topology {
    /// Reads the value that `query-pci` returned. Anything that is not what QEMU's schema promises, or too
    /// much of it (256 buses, 4096 devices, 32 bridges deep), is a [`ErrorKind::Protocol`] error.
    ///
    /// Behind a host bridge that is not known, bus 0 has no name and takes no devices; the ports on it still
    /// do.
    pub fn from_query_pci(reply: &Value) -> Result<Self> {
        let mut topology = Self::from_buses(Vec::new());
        read::query_pci(reply)?.into_iter().for_each(|bus| topology.insert(bus));
        Ok(topology)
    }

    pub(super) fn from_buses(buses: Vec<Bus>) -> Self {
        Self { buses, homeless: Vec::new() }
    }

    pub(super) fn bus_mut(&mut self, name: &str) -> Option<&mut Bus> {
        self.buses.iter_mut().find(|bus| bus.is_named(name))
    }

    /// Adds a bus where it belongs.
    pub(super) fn insert(&mut self, bus: Bus) {
        let at = self.buses.partition_point(|other| other.path < bus.path);
        self.buses.insert(at, bus);
    }

    /// All buses, each before the ones behind its bridges.
    pub fn buses(&self) -> impl Iterator<Item = &Bus> {
        self.buses.iter()
    }

    /// The bus with this name.
    pub fn bus(&self, name: &str) -> Option<&Bus> {
        self.buses.iter().find(|bus| bus.is_named(name))
    }

    /// A bridge has no bus number of its own yet, so `query-pci` does not show what sits behind it, and it
    /// may look empty when it is not. True before the firmware ran and while it runs, and for a bridge
    /// hot-added since.
    pub fn has_unnumbered(&self) -> bool {
        self.buses.iter().any(|bus| !bus.is_numbered())
    }

    /// Takes a bus out of the choice, for instance a port that was started with `hotplug=off`, which
    /// `query-pci` does not tell.
    pub fn forbid_hotplug(&mut self, name: &BusName) -> Result<()> {
        let bus = self.buses.iter_mut().find(|bus| bus.is_named(name.as_str()));
        let bus =
            bus.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the guest has no bus {name}")))?;
        bus.hotplug = false;
        Ok(())
    }

    /// Merges what QOM says of one device, in any order: a device behind a bridge that is not known yet waits
    /// for it. Devices on buses that are no PCI buses, and behind bridges without an id, change nothing.
    pub fn place(&mut self, placement: QomAddress) -> Result<()> {
        let mut waiting = vec![placement];
        while let Some(placement) = waiting.pop() {
            let Some(bus) = placement.bus() else { continue };
            match (self.home(bus), bus) {
                (Some(index), _) => {
                    if self.settle(index, &placement)? {
                        waiting.extend(self.take_waiting_for(placement.id.as_deref()));
                    }
                }
                (None, BusRef::Machine(_)) => self.confirm_on_other_root(&placement),
                (None, BusRef::Bridge(_)) if self.homeless.len() < MAX_DEVICES => {
                    self.homeless.push(placement)
                }
                (None, BusRef::Bridge(_)) => {
                    return Err(Error::new(
                        ErrorKind::Protocol,
                        format!("QOM: more than {MAX_DEVICES} devices on buses that query-pci does not show"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The device with this id has left the guest, whatever its last answer showed.
    pub fn remove(&mut self, id: &str) {
        for bus in &mut self.buses {
            bus.functions.retain(|_, occupant| occupant.id.as_deref() != Some(id));
        }
    }

    fn take_waiting_for(&mut self, bridge: Option<&str>) -> Vec<QomAddress> {
        let wanted = |placement: &QomAddress| placement.bus() == bridge.map(BusRef::Bridge);
        let (found, rest) = std::mem::take(&mut self.homeless).into_iter().partition(wanted);
        self.homeless = rest;
        found
    }

    /// The machine's own buses are all in `query-pci`, so one that is not found is not PCI (`ide.0`), or the
    /// root inside a `pxb-pcie`, which `query-pci` shows without a name. Ports there are told by their id and
    /// devfn.
    fn confirm_on_other_root(&mut self, placement: &QomAddress) {
        let Some(id) = &placement.id else { return };
        let port = self.buses.iter_mut().find(|bus| bus.is_named(id));
        if let Some(port) =
            port.filter(|bus| matches!(bus.path[..], [root, devfn] if root != 0 && devfn == placement.devfn))
        {
            port.confirmed = true;
        }
    }

    fn home(&self, wanted: BusRef<'_>) -> Option<usize> {
        self.buses.iter().position(|bus| match wanted {
            BusRef::Bridge(name) => !bus.kind.is_root() && bus.is_named(name),
            BusRef::Machine(name) => bus.is_named(name),
        })
    }

    /// Puts a device on its bus; true if it is a bridge whose bus was not known before.
    fn settle(&mut self, index: usize, placement: &QomAddress) -> Result<bool> {
        let (slot, function) = (Slot::new(placement.devfn >> 3), placement.devfn & 7);
        let (Some(bus), Some(slot)) = (self.buses.get_mut(index), slot) else { return Ok(false) };
        let occupant = bus.functions.entry((slot, function)).or_insert_with(|| Occupant {
            id: None,
            description: placement.driver.clone(),
            pci_id: None,
            configured: false,
            confirmed: false,
        });
        occupant.confirmed = true;
        if let Some(id) = placement.id.as_deref().and_then(sanitize::id).map(str::to_owned) {
            occupant.id = Some(id);
        }
        let Some(kind) = BusKind::of_driver(&placement.driver) else { return Ok(false) };
        let Some(name) = placement.id.as_deref().and_then(|id| BusName::parse(id).ok()) else {
            return Ok(false);
        };
        let child = bus.child(kind, Some(name.clone()), slot, function);
        if let Some(known) = self.buses.iter_mut().find(|bus| bus.name.as_ref() == Some(&name)) {
            known.confirmed |= known.path == child.path;
            return Ok(false);
        }
        self.add_bus(child)
    }

    fn add_bus(&mut self, mut bus: Bus) -> Result<bool> {
        if self.buses.len() >= MAX_BUSES || bus.path.len() > MAX_DEPTH + 1 {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("QOM: more than {MAX_BUSES} buses, or bridges nested more than {MAX_DEPTH} deep"),
            ));
        }
        bus.confirmed = true;
        self.insert(bus);
        Ok(true)
    }

    /// The device with this id. Bus numbers are the guest's to write, and wrong ones can show a device twice;
    /// then the place that QOM named counts.
    pub fn find(&self, id: &str) -> Option<Located<'_>> {
        let places = self.buses.iter().flat_map(|bus| {
            let located = move |(slot, function, occupant)| Located { bus, slot, function, occupant };
            bus.functions().map(located)
        });
        places
            .filter(|place| place.occupant.id.as_deref() == Some(id))
            .min_by_key(|place| (!place.occupant.confirmed, place.bus.name.is_none()))
    }
}

impl Bus {
    fn is_named(&self, name: &str) -> bool {
        self.name.as_ref().is_some_and(|own| own.as_str() == name)
    }
}

impl<'a> Located<'a> {
    /// Its address, or `None` if its bus has no name of its own.
    pub fn address(&self) -> Option<PciAddress> {
        self.bus.name.clone().map(|bus| PciAddress { bus, slot: self.slot })
    }

    /// The other functions in the same slot.
    pub fn neighbours(&self) -> impl Iterator<Item = (u8, &'a Occupant)> {
        let own = self.function;
        self.bus.in_slot(self.slot).filter(move |(function, _)| *function != own)
    }

    /// Whether the guest can be asked to give this device up. An unplug empties the whole slot, so a device
    /// that shares its slot, or is not function 0, is refused; so is one on a bus without hot-plug.
    pub fn check_removable(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::new(ErrorKind::NotHotpluggable, why));
        let what = self.occupant.id.as_deref().unwrap_or(&self.occupant.description);
        if let Some((function, other)) = self.neighbours().next() {
            let other = other.id.as_deref().unwrap_or(&other.description);
            return refuse(format!(
                "{what} shares slot {} of {} with {other} (function {function}), and an unplug would take both; \
                 remove it with the guest shut down",
                self.slot.get(),
                self.bus.label()
            ));
        }
        if self.function != 0 {
            return refuse(format!(
                "{what} is function {} of its slot; only function 0 can go",
                self.function
            ));
        }
        if !self.bus.hotplug {
            return refuse(format!(
                "{what} sits on {} ({}), which is not hot-pluggable; remove it with the guest shut down",
                self.bus.label(),
                self.bus.kind
            ));
        }
        Ok(())
    }
}

impl Bus {
    fn label(&self) -> &str {
        self.name.as_ref().map_or("a bus without a name", BusName::as_str)
    }
}
