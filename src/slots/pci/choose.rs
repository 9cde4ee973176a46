//! Choosing a slot, and saying what to do when there is none.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, PciAddress};

use super::beside;
use super::bus::BusKind;
use super::rules::NewDevice;
use super::slots::{Access, BusSlots, Count, SlotMap, SlotState};

/// How many buses a message lists one by one.
const LISTED: usize = 8;

/// Which slot is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The first free one: `pci.0` upward from the reserved slots; then root and downstream ports in the
    /// order in which they sit in the machine; then the slots of `pci-bridge`s, then of `pcie-pci-bridge`s.
    Auto,
    /// This one or none. Reserved slots may be pinned.
    Pinned(PciAddress),
    /// The same; but slot 0 stands for any that is free on the bus, where it has others.
    Place(PciAddress),
}

impl SlotMap {
    /// The slot for a new device that takes no other slot; [`occupy`](Self::occupy) it before choosing the
    /// next. The same map always answers the same.
    ///
    /// Errors: [`ErrorKind::NoSlot`] with the counts of every bus, [`ErrorKind::AddressTaken`] naming the
    /// occupant, [`ErrorKind::NotHotpluggable`], [`ErrorKind::NotFound`] for a bus the guest does not show,
    /// [`ErrorKind::Invalid`] for a slot such a bus does not have, and [`ErrorKind::State`] for a bus whose
    /// devices are not known yet.
    pub fn choose(&self, want: &Want) -> Result<PciAddress> {
        self.choose_for(want, &NewDevice { kind: None, model: "" })
    }

    /// The same for this device, whose model may take [slots beside its own](Self::places).
    pub fn choose_for(&self, want: &Want, device: &NewDevice<'_>) -> Result<PciAddress> {
        match want {
            Want::Pinned(address) => self.check(address, device.model).map(|()| address.clone()),
            Want::Place(address) => match self.any_on(address, device) {
                Some(free) => free,
                None => self.check(address, device.model).map(|()| address.clone()),
            },
            Want::Auto => self
                .rules
                .best(self.free_unasked(device))
                .ok_or_else(|| beside::explain(self.exhausted(), device.model)),
        }
    }

    /// Slot 0 is nobody's to have where there are others: it stands for any that is free there. `None` for
    /// any other address.
    pub fn any_on(&self, address: &PciAddress, device: &NewDevice<'_>) -> Option<Result<PciAddress>> {
        let named = |bus: &&BusSlots| bus.name == address.bus && bus.has_any();
        let bus = self.buses.iter().find(named).filter(|_| address.slot.get() == 0)?;
        let words = || format!("no free slot on {} ({})", bus.name, bus.count().words());
        let free = self.rules.best(bus.free_for(device));
        Some(free.ok_or_else(|| Error::new(ErrorKind::NoSlot, words())))
    }

    fn check(&self, address: &PciAddress, model: &str) -> Result<()> {
        let refuse = |kind, why: String| Err(Error::new(kind, why));
        let Some(bus) = self.buses.iter().find(|bus| bus.name == address.bus) else {
            let names = listed(self.buses.iter().map(|bus| bus.name.to_string()), ", ");
            let advice =
                "a bus carries the id of its bridge or port, and one whose bridge has no id cannot be used";
            let have = if names.is_empty() { "none with a name".to_owned() } else { names };
            return refuse(
                ErrorKind::NotFound,
                format!("{address}: no such bus; the guest has {have} ({advice})"),
            );
        };
        let slots = bus.kind.slots();
        if !slots.contains(&address.slot.get()) {
            let (first, last) = slots.into_inner();
            let has =
                if first == last { format!("only slot {first}") } else { format!("slots {first} to {last}") };
            return Err(Error::invalid(format!("{address}: a {} has {has}", bus.kind)));
        }
        match bus.state(address.slot) {
            _ if bus.access == Access::NotHotpluggable => refuse(
                ErrorKind::NotHotpluggable,
                format!(
                    "{address}: this bus ({}) takes no devices while the guest runs; {}",
                    bus.kind,
                    self.name_open_buses()
                ),
            ),
            SlotState::Free | SlotState::Reserved | SlotState::NotHotpluggable => {
                match bus.in_the_way(address.slot, model) {
                    Some(why) => {
                        refuse(ErrorKind::AddressTaken, format!("{address}: {why}; pin another or none"))
                    }
                    None => Ok(()),
                }
            }
            SlotState::Unknown => refuse(
                ErrorKind::State,
                format!("{address}: the guest has not numbered this bus and QOM was not asked what is on it"),
            ),
            SlotState::Taken { by } => {
                refuse(ErrorKind::AddressTaken, format!("{address} is taken by {by}; pin another or none"))
            }
            SlotState::Quarantined { id } => refuse(
                ErrorKind::AddressTaken,
                format!(
                    "{address} still belongs to {id}: its removal is pending; wait for it or pin another"
                ),
            ),
        }
    }

    fn name_open_buses(&self) -> String {
        let open = self.buses.iter().filter(|bus| bus.access == Access::Open);
        match listed(open.map(|bus| bus.name.to_string()), ", ") {
            names if names.is_empty() => "no other bus of this guest does either".to_owned(),
            names => format!("these do: {names}"),
        }
    }

    /// What `NoSlot` says: every bus with its count, then what can be done.
    fn exhausted(&self) -> Error {
        let mut parts = Vec::new();
        let open = || self.buses.iter().filter(|bus| bus.access == Access::Open);
        let slotted: Vec<_> = open().filter(|bus| !bus.kind.is_port()).collect();
        let (root, bridges): (Vec<_>, Vec<_>) =
            slotted.into_iter().partition(|bus| bus.kind == BusKind::ConventionalRoot);
        parts.extend(root.iter().map(|bus| format!("{}: {}", bus.name, bus.count().words())));
        let ports = total(open().filter(|bus| bus.kind.is_port()));
        if ports.total > 0 {
            parts.push(format!("root and downstream ports: {}", ports.words()));
        }
        let bridges =
            listed(bridges.iter().map(|bus| format!("{}: {}", bus.name, bus.count().words())), "; ");
        parts.extend((!bridges.is_empty()).then_some(bridges));
        for (access, words) in [
            (Access::NotHotpluggable, "not hot-pluggable"),
            (Access::Unknown, "not numbered by the guest, and QOM was not asked"),
        ] {
            let names = listed(self.names_with(access), ", ");
            parts.extend((!names.is_empty()).then(|| format!("{names}: {words}")));
        }
        if self.nameless > 0 {
            parts.push(format!("buses without a name of their own, not usable: {}", self.nameless));
        }
        if parts.is_empty() {
            let text = "no free slot (the guest shows no PCI bus); start the guest with a machine that has one: pc, q35, virt, \
                        or microvm with pcie=on, the last three with pcie-root-ports that have ids";
            return Error::new(ErrorKind::NoSlot, text);
        }
        Error::new(ErrorKind::NoSlot, format!("no free slot ({}); {}", parts.join("; "), self.advice()))
    }

    fn advice(&self) -> String {
        let mut advice = Vec::new();
        let all = total(self.buses.iter());
        if all.quarantined > 0 {
            advice.push("wait for the pending removals");
        }
        if self.holds_back() {
            advice.push("reserve fewer slots or pin a reserved one");
        }
        let conventional = self.buses.iter().any(|bus| bus.kind == BusKind::ConventionalRoot);
        advice.push(match conventional {
            true => "remove a device, or start the guest with a pci-bridge that has an id",
            false => "remove a device, or start the guest with more pcie-root-ports that have ids",
        });
        advice.join(", or ")
    }

    fn holds_back(&self) -> bool {
        let empty = |view: super::BusView<'_>| view.slots().any(|(_, state)| state == SlotState::Reserved);
        self.buses().any(empty)
    }

    fn names_with(&self, access: Access) -> impl Iterator<Item = BusName> {
        self.buses.iter().filter(move |bus| bus.access == access).map(|bus| bus.name.clone())
    }
}

impl Count {
    fn words(&self) -> String {
        let mut words = format!("{} of {} taken ({} quarantined)", self.taken, self.total, self.quarantined);
        if self.reserved > 0 {
            words.push_str(&format!(", {} reserved", self.reserved));
        }
        words
    }
}

fn total<'a>(buses: impl Iterator<Item = &'a BusSlots>) -> Count {
    buses.map(BusSlots::count).fold(Count::default(), |sum, count| Count {
        total: sum.total + count.total,
        taken: sum.taken + count.taken,
        quarantined: sum.quarantined + count.quarantined,
        reserved: sum.reserved + count.reserved,
    })
}

/// The first few, and how many more.
fn listed(items: impl Iterator<Item = impl ToString>, separator: &str) -> String {
    let items: Vec<_> = items.map(|item| item.to_string()).collect();
    let (shown, rest) = items.split_at(items.len().min(LISTED));
    let mut text = shown.join(separator);
    if !rest.is_empty() {
        text.push_str(&format!("{separator}and {} more", rest.len()));
    }
    text
}
