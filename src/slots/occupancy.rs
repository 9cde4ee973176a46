//! Who claims which place: the part of a slot map that is the same for every kind of bus.

use std::collections::BTreeMap;

use crate::ids::DeviceId;

/// Who uses the places of one bus. A place may have several users; it is free when the last has gone.
#[derive(Clone, Debug)]
pub struct Occupancy<P>(BTreeMap<P, Vec<SlotUser>>);

/// One claim on a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotUser {
    /// Of the device with this id, or of one without.
    pub id: Option<String>,
    /// What a device without an id is.
    pub description: String,
    /// The device's removal has been asked for and not granted.
    pub pending: bool,
}

impl SlotUser {
    /// The own record has the device there.
    pub fn of(id: &DeviceId) -> Self {
        Self { id: Some(id.to_string()), description: String::new(), pending: false }
    }

    /// The removal of the device is pending.
    pub fn pending(id: &DeviceId) -> Self {
        Self { pending: true, ..Self::of(id) }
    }

    /// The id, or a description of a device without one.
    pub fn label(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.description)
    }
}

impl<P> Default for Occupancy<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P: Ord> Occupancy<P> {
    /// Adds a claim. One of the same device is made pending if either is.
    pub fn add(&mut self, place: P, new: SlotUser) {
        let occupancy = self.0.entry(place).or_default();
        match occupancy.iter_mut().find(|user| user.id.is_some() && user.id == new.id) {
            Some(user) => user.pending |= new.pending,
            None => occupancy.push(new),
        }
    }

    /// Takes back what a device claims of a place; false if that is nothing, and then nothing changes.
    pub fn release(&mut self, place: &P, id: &DeviceId) -> bool {
        let Some(occupancy) = self.0.get_mut(place) else { return false };
        let before = occupancy.len();
        occupancy.retain(|user| user.id.as_deref() != Some(id.as_str()));
        let released = occupancy.len() < before;
        if occupancy.is_empty() {
            self.0.remove(place);
        }
        released
    }

    /// Who has a place: a device whose removal is pending before any other.
    pub fn holder(&self, place: &P) -> Option<&SlotUser> {
        let occupancy = self.0.get(place)?;
        occupancy.iter().find(|user| user.pending).or_else(|| occupancy.first())
    }

    /// Whether anybody has a place.
    pub fn contains(&self, place: &P) -> bool {
        self.0.contains_key(place)
    }

    /// Every claim with its place, upward.
    pub fn iter(&self) -> impl Iterator<Item = (&P, &SlotUser)> {
        self.0.iter().flat_map(|(place, occupancy)| occupancy.iter().map(move |user| (place, user)))
    }
}
