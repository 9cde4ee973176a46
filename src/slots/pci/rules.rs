//! What a slot map leaves alone, and which of the free slots a new device gets.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, PciAddress, SLOTS, Slot};

/// Most ranges that a record may reserve.
pub const MAX_RANGES: usize = 64;
/// Most given up slots that a record remembers: far above what a machine has.
const MAX_FREED: usize = 1024;

/// What is put into a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotKind {
    /// A NIC.
    Nic,
    /// A disk.
    Disk,
    /// A SCSI controller.
    Controller,
}

/// A device that a slot is chosen for.
#[derive(Clone, Copy, Debug)]
pub struct NewDevice<'a> {
    /// What it is; `None` gets no slot of a range that is for some kinds.
    pub kind: Option<SlotKind>,
    /// Its QEMU driver, which may take more slots than one.
    pub model: &'a str,
}

c_enum! {
    /// Which of the free slots a new device gets.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum SlotPolicy = kvm_runtime_slot_policy, KVM_RUNTIME_SLOT_POLICY {
        /// The first.
        #[default]
        FirstFree = 0,
        /// The first that no device has had since the policy was set, then the one that was given up longest
        /// ago. Linux names a NIC after its slot: a new NIC then does not get the name of one that has just
        /// left, with the settings that the guest has for it.
        LongestFree = 1,
    }
}

c_enum! {
    /// What an add does that finds no free slot.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum WhenFull = kvm_runtime_when_full, KVM_RUNTIME_WHEN_FULL {
        /// It fails.
        #[default]
        Refuse = 0,
        /// The device comes with the next boot, whose command makes room: on q35 a root port, on pc a PCI
        /// bridge, which is recorded.
        NextBoot = 1,
    }
}

impl WhenFull {
    /// For serde: the usual case is not written.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Slots that are not handed out unasked, or to devices of some kinds only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRange {
    /// The bus.
    pub bus: BusName,
    /// The first slot.
    pub first: Slot,
    /// The last one.
    pub last: Slot,
    /// What may be put there unasked; empty for nothing.
    #[serde(default, rename = "for", skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<SlotKind>,
}

/// The rules of one guest, as its record has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotRules {
    /// Which free slot is chosen.
    #[serde(default)]
    pub policy: SlotPolicy,
    /// What an add does that finds none.
    #[serde(default, skip_serializing_if = "WhenFull::is_default")]
    pub when_full: WhenFull,
    /// Ranges that are reserved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<SlotRange>,
    /// Slots that devices have given up, the last one last, if the policy asks for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freed: Vec<PciAddress>,
    /// Fields that a newer version wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl SlotRules {
    /// Refuses ranges that end before they begin, and lists that no guest has.
    pub fn check(&self) -> Result<()> {
        let bad = |text: String| Err(Error::new(ErrorKind::Format, text));
        if self.reserved.len() > MAX_RANGES || self.freed.len() > MAX_FREED {
            return bad(format!("more than {MAX_RANGES} reserved ranges, or {MAX_FREED} freed slots"));
        }
        match self.reserved.iter().find(|range| range.first > range.last) {
            Some(SlotRange { bus, first, last, .. }) => {
                bad(format!("reserved slots {} to {} of {bus}: first is above last", first.get(), last.get()))
            }
            None => Ok(()),
        }
    }

    /// Takes another policy. What it remembers begins anew.
    pub fn set_policy(&mut self, policy: SlotPolicy) {
        self.policy = policy;
        self.freed.clear();
    }

    /// Adds a range, in place of one of the same slots.
    pub fn reserve(&mut self, range: SlotRange) -> Result<()> {
        let mut next = self.clone();
        next.reserved
            .retain(|other| (&other.bus, other.first, other.last) != (&range.bus, range.first, range.last));
        next.reserved.push(range);
        next.check()?;
        *self = next;
        Ok(())
    }

    /// A device has left this slot.
    pub fn note_freed(&mut self, address: &PciAddress) {
        if self.policy == SlotPolicy::LongestFree {
            self.freed.retain(|other| other != address);
            self.freed.push(address.clone());
            let excess = self.freed.len().saturating_sub(MAX_FREED);
            self.freed.drain(..excess);
        }
    }
}

/// What a slot map goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    reserved: u8,
    pub(super) own: SlotRules,
}

impl Rules {
    /// Never hands out the first `reserved` slots (0 to 32) of `pci.0` unasked; a pinned address may still
    /// use them.
    pub fn new(reserved: u8) -> Result<Self> {
        Self::of(reserved, &SlotRules::default())
    }

    /// The same, with the rules of a record.
    pub fn of(reserved: u8, own: &SlotRules) -> Result<Self> {
        if reserved > SLOTS {
            return Err(Error::invalid(format!("{reserved} reserved slots: pci.0 has {SLOTS}")));
        }
        Ok(Self { reserved, own: own.clone() })
    }

    /// How many slots of `pci.0` are reserved.
    pub fn reserved(&self) -> u8 {
        self.reserved
    }

    pub(super) fn when_full(&self) -> WhenFull {
        self.own.when_full
    }

    pub(super) fn ranges_of(&self, bus: &BusName) -> Vec<SlotRange> {
        self.own.reserved.iter().filter(|range| range.bus == *bus).cloned().collect()
    }

    /// The one of these free slots, in the order of the machine, that the policy hands out.
    pub(super) fn best(&self, mut free: impl Iterator<Item = PciAddress>) -> Option<PciAddress> {
        let freed = &self.own.freed;
        // One that no device has given up comes before all that one has.
        let since = |address: &PciAddress| freed.iter().position(|other| other == address);
        match self.own.policy {
            SlotPolicy::FirstFree => free.next(),
            SlotPolicy::LongestFree => free.min_by_key(since),
        }
    }
}

impl Default for Rules {
    /// Four: host bridge, ISA bridge with its functions, and room for what an agent starts guests with.
    fn default() -> Self {
        Self { reserved: 4, own: SlotRules::default() }
    }
}

impl SlotRange {
    pub(super) fn contains(&self, slot: Slot) -> bool {
        (self.first..=self.last).contains(&slot)
    }
}
