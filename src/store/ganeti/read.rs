//! A Ganeti list as a record.

use super::element::{Element, arguments, malformed};
use super::json::Json;
use super::list::{List, Raw, guest_name};
use super::params::Params;
use super::{device, upgrade};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DeviceKind, MAX_DEVICES, Record};

const ENTRIES: &str = "a list of 4 (command, NICs, hypervisor parameters, disks), or of 3 without the disks";

/// Reads a list.
pub fn decode(bytes: &[u8]) -> Result<(Record, List)> {
    let json: Json =
        serde_json::from_slice(bytes).map_err(|error| malformed(format!("is not JSON: {error}")))?;
    let Json::List(entries) = &json else { return Err(malformed(format!("expected {ENTRIES}"))) };
    let (command, nics, hvparams, disks, more) = match entries.as_slice() {
        [_, _] => {
            return Err(Error::new(
                ErrorKind::Version,
                format!(
                    "is a list of 2, as only Ganeti 2.0.0beta1 wrote it, which no release can read; expected {ENTRIES}"
                ),
            ));
        }
        [command, nics, hvparams] => (command, nics, hvparams, None, Vec::new()),
        [command, nics, hvparams, disks, more @ ..] => (command, nics, hvparams, Some(disks), more.to_vec()),
        other => return Err(malformed(format!("expected {ENTRIES}, found {} entries", other.len()))),
    };
    let command = Element::new("entry 0, command", command).list("a list of arguments")?;
    let hvparams = Element::new("entry 2, hvparams", hvparams);
    let params = Params::read(&hvparams)?;
    let upgraded =
        upgrade::command(&command.iter().map(|argument| argument.json().clone()).collect::<Vec<_>>());
    let mut list = List {
        command: command.iter().map(|argument| argument.json().clone()).collect(),
        hvparams: hvparams.object()?.clone(),
        raws: Vec::new(),
        loaded: Vec::new(),
        more,
    };
    for argument in &command {
        argument.argument()?;
    }
    let arguments = arguments(&upgraded)?;
    let guest = guest_name(&arguments).to_owned();
    let mut record = Record::new(&guest, arguments, params.reservations)?;
    let nics = Element::new("entry 1, nics", nics).list("a list of NICs")?;
    let disks = match disks {
        Some(disks) => Element::new("entry 3, disks", disks).list("a list of disks")?,
        None => Vec::new(),
    };
    if nics.len() + disks.len() > MAX_DEVICES {
        let count = nics.len() + disks.len();
        return Err(malformed(format!("{count} NICs and disks, at most {MAX_DEVICES} are supported")));
    }
    let kinds = [(nics, DeviceKind::Nic), (disks, DeviceKind::Disk)];
    for (element, kind) in kinds.iter().flat_map(|(list, kind)| list.iter().map(|element| (element, *kind))) {
        let mut device = device::read(element, kind, &params, &guest)?;
        device.generation = record.next_generation;
        list.loaded.push(device.id.clone());
        list.raws.push(Raw { id: device.id.clone(), json: element.json().clone() });
        record.add(device);
    }
    record.check_sharing(|one, other| list.has_loaded(one, other))?;
    Ok((record, list))
}
