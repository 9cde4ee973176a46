//! QEMU's sets of descriptors: whose they are, and which are to be used again.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::disk::node;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::model::Device;
use crate::planted::{self, Fault};

/// Most fdsets looked at. 500 disks with the longest chain of images make as many.
const MAX_SETS: usize = 8192;

/// Most fdsets that one device is taken to have: what an add leaves if it is interrupted a few times.
const MAX_SETS_OF_ONE: usize = 64;

/// The fdsets of the guest.
#[derive(Clone, Debug, Default)]
pub(super) struct FdSets(BTreeMap<u32, FdSet>);

/// One of them.
#[derive(Clone, Debug, Default)]
struct FdSet {
    /// The device that owns it, if it is one of ours.
    owner: Option<DeviceId>,
    /// The numbers that its descriptors have in QEMU, as far as it has been asked.
    numbers: Vec<i32>,
    /// The owner is not there: it is what an add has left.
    spare: bool,
    /// It was left by this state, which gives it back.
    kept: bool,
}

impl FdSets {
    pub(super) fn read(reply: &Value) -> Result<Self> {
        let malformed =
            || Error::new(ErrorKind::Protocol, "query-fdsets: not a list of sets with an fdset-id");
        let mut sets = BTreeMap::new();
        let list = reply.as_array().ok_or_else(malformed)?;
        if list.len() > MAX_SETS {
            return Err(Error::new(ErrorKind::Protocol, format!("query-fdsets: more than {MAX_SETS} sets")));
        }
        for set in list {
            let id = set.get("fdset-id").and_then(Value::as_u64).ok_or_else(malformed)?;
            // A set number beyond ours can be in nobody's way.
            if let Ok(id) = u32::try_from(id) {
                sets.insert(id, FdSet::read(set));
            }
        }
        Ok(Self(sets))
    }

    /// Takes `count` numbers that are not in use for `owner`. Chosen here, so that no command has to wait for
    /// an answer; low, because every digit is a byte on the wire.
    pub(super) fn take(&mut self, count: usize, owner: &DeviceId) -> Vec<u32> {
        let free: Vec<u32> = (1..=u32::MAX).filter(|id| !self.0.contains_key(id)).take(count).collect();
        let own = || FdSet { owner: Some(owner.clone()), ..FdSet::default() };
        self.0.extend(free.iter().map(|id| (*id, own())));
        free
    }

    /// The sets of a device, the first few if QEMU claims that there are many.
    pub(super) fn of(&self, owner: &DeviceId) -> Vec<u32> {
        let every = planted::has(Fault::FdsetsOfOthers);
        let own = self.0.iter().filter(|(_, set)| every || set.owner.as_ref() == Some(owner));
        own.map(|(id, _)| *id).take(MAX_SETS_OF_ONE).collect()
    }

    /// The sets behind a device: under its id, or under the names of its nodes, if those are others.
    pub(super) fn behind(&self, device: &Device) -> Vec<u32> {
        if device.backend.is_none() {
            return self.of(&device.id);
        }
        let is_its = |owner: &DeviceId| device.has_backend_named(owner.as_str());
        let own = self.owned().filter(|(_, owner)| is_its(owner));
        own.map(|(id, _)| id).take(MAX_SETS_OF_ONE).collect()
    }

    /// The sets that carry our tag, with the device each belongs to.
    pub(super) fn owned(&self) -> impl Iterator<Item = (u32, &DeviceId)> {
        self.0.iter().filter_map(|(id, set)| Some((*id, set.owner.as_ref()?)))
    }

    /// The numbers that the descriptors of a set have in QEMU.
    pub(super) fn numbers(&self, set: u32) -> &[i32] {
        self.0.get(&set).map_or(&[], |set| &set.numbers)
    }

    /// The set is nobody's from now on, and its number stays taken.
    pub(super) fn disown(&mut self, set: u32) {
        if let Some(set) = self.0.get_mut(&set) {
            set.owner = None;
        }
    }

    /// The sets of a device are gone, but for those that an add has left.
    pub(super) fn release(&mut self, owner: &DeviceId) {
        self.0.retain(|_, set| set.owner.as_ref() != Some(owner) || set.spare);
    }

    /// The sets behind a device are gone, but for those that an add has left.
    pub(super) fn release_behind(&mut self, device: &Device) {
        let own = self.behind(device);
        self.0.retain(|id, set| !own.contains(id) || set.spare);
    }

    /// The set is gone.
    pub(super) fn remove(&mut self, set: u32) {
        self.0.remove(&set);
    }

    /// Those whose owner is not known were left by adds; `earlier` are the sets as they were known before.
    pub(super) fn carry_over_retained(&mut self, earlier: &Self, is_known: impl Fn(&DeviceId) -> bool) {
        for (id, set) in &mut self.0 {
            set.spare = set.owner.as_ref().is_some_and(|owner| !is_known(owner));
            set.kept = set.spare && earlier.0.get(id).is_some_and(|old| old.kept && old.owner == set.owner);
        }
    }

    /// The set stays, with its descriptor, for the next try.
    pub(super) fn retain(&mut self, set: u32) {
        if let Some(set) = self.0.get_mut(&set) {
            (set.spare, set.kept) = (true, true);
        }
    }

    /// All that are kept.
    pub(super) fn retained(&self) -> Vec<u32> {
        self.0.iter().filter(|(_, set)| set.kept).map(|(id, _)| *id).collect()
    }

    /// What adds of this device have left.
    pub(super) fn retained_for(&self, owner: &DeviceId) -> impl Iterator<Item = u32> {
        let spare = self.0.iter().filter(move |(_, set)| set.spare && set.owner.as_ref() == Some(owner));
        spare.map(|(id, _)| *id)
    }

    /// The device is there, and its sets are its backend.
    pub(super) fn adopt(&mut self, owner: &DeviceId) {
        for set in self.0.values_mut().filter(|set| set.owner.as_ref() == Some(owner)) {
            (set.spare, set.kept) = (false, false);
        }
    }
}

impl FdSet {
    /// A set that has the mark of a lost one is nobody's.
    fn read(set: &Value) -> Self {
        let fds = || set.get("fds").and_then(Value::as_array).into_iter().flatten();
        let tags = || fds().filter_map(|fd| fd.get("opaque").and_then(Value::as_str));
        let is_lost = tags().any(|tag| tag == node::UNCERTAIN_TAG);
        let owner = tags().filter(|_| !is_lost).find_map(node::fdset_tag_owner);
        let number = |fd: &Value| fd.get("fd").and_then(Value::as_i64).and_then(|fd| i32::try_from(fd).ok());
        Self {
            owner,
            spare: false,
            kept: false,
            numbers: fds().filter_map(number).take(MAX_SETS_OF_ONE).collect(),
        }
    }
}
