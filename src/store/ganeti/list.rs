//! What is kept of a list beside its record.

use super::element::Element;
use super::json::{Json, Object};
use super::params::Params;
use crate::error::Result;
use crate::ids::DeviceId;
use crate::model::Record;

/// Everything in a list that a record has no place for.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    pub(super) command: Vec<Json>,
    pub(super) hvparams: Object,
    /// The NICs and disks as they stand in the list; those that were added since, as they will.
    pub(super) raws: Vec<Raw>,
    /// The devices of the list as it was read, in their order.
    pub(super) loaded: Vec<DeviceId>,
    /// What a later Ganeti has behind the disks; kept as it is.
    pub(super) more: Vec<Json>,
}

/// A NIC or disk as it stands in the list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raw {
    pub(super) id: DeviceId,
    pub(super) json: Json,
}

/// What follows `-name`, without the options behind it.
pub(super) fn guest_name(arguments: &[String]) -> &str {
    let value = arguments.iter().skip_while(|argument| *argument != "-name").nth(1);
    let name = value.map_or("", |value| value.split(',').next().unwrap_or(value));
    name.strip_prefix("guest=").unwrap_or(name)
}

impl List {
    pub(super) fn params(&self) -> Result<Params> {
        let hvparams = Json::Object(self.hvparams.clone());
        Params::read(&Element::new("hvparams", &hvparams))
    }

    pub(super) fn raw(&self, id: &DeviceId) -> Option<&Json> {
        self.raws.iter().rev().find_map(|raw| (raw.id == *id).then_some(&raw.json))
    }

    /// Whether both stood in the list as it was read.
    pub(crate) fn has_loaded(&self, one: &DeviceId, other: &DeviceId) -> bool {
        [one, other].into_iter().all(|id| self.loaded.contains(id))
    }

    /// Forgets the devices of the one record that the next one does not have: what has the id of one there is
    /// another device.
    pub(super) fn forget_gone(&mut self, old: &Record, next: &Record) {
        let is_there = |id: &DeviceId| {
            let stays = next.find(id.as_str())?;
            Some(old.find(id.as_str()).is_none_or(|known| known.generation == stays.generation))
        };
        self.raws.retain(|raw| is_there(&raw.id) == Some(true));
    }
}
