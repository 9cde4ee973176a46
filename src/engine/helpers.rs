//! The QOM objects of devices in the guest: which are to be made for a device, and which stay because another
//! device needs them.

use serde_json::Value;

use super::difference::{Difference, Mismatch};
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::plan::UndoStep;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BackendName, DeviceId};
use crate::model::helper::{self, THROTTLE_GROUP, existing_iothreads};
use crate::model::{Device, Helper, Spec};
use crate::planted::{self, Fault};
use crate::qmp::Command;
use crate::sanitize::readable;
use crate::slots::pci::QomChild;

/// Where QEMU has what `object-add` makes.
const OBJECTS: &str = "/objects";

impl GuestState {
    /// The objects of a new device that are to be made with it. QEMU is asked first: one that somebody else
    /// has made would be taken down with the device.
    pub(super) async fn helpers_to_make(
        &mut self,
        id: &DeviceId,
        spec: &Spec,
        deadline: &Deadline,
    ) -> Result<Vec<Helper>> {
        let mut helpers = helper::helpers(id, spec);
        helpers.retain(|helper| !self.is_needed(&helper.id, &|device| device.id == *id));
        if helpers.is_empty() {
            return Ok(helpers);
        }
        let objects = self.objects(deadline).await?;
        match helpers.iter().find(|helper| kind_in(&objects, helper.id.as_str()).is_some()) {
            None => Ok(helpers),
            Some(Helper { id: taken, .. }) => {
                let text = format!(
                    "QEMU has an object {taken} already, which was not made for a device of the record; take another name"
                );
                Err(Error::new(ErrorKind::Conflict, text))
            }
        }
    }

    /// Whether it is the name of an object that a device was made with.
    pub(super) fn is_helper(&self, name: &str) -> bool {
        BackendName::parse(name).is_ok_and(|name| self.is_needed(&name, &|_| false))
    }

    /// Whether a device in the guest needs the object, besides those that do not count. One that is being
    /// removed, or is about to come, needs it as well.
    fn is_needed(&self, helper: &BackendName, counts_not: &dyn Fn(&Device) -> bool) -> bool {
        let contents = self.contents();
        let unfinished = contents.journal().intents.iter().map(|intent| &intent.device);
        let devices = contents.record().devices.iter().chain(unfinished).chain(&self.reserved);
        devices.filter(|device| !counts_not(device)).any(|device| device.shares(helper))
    }

    /// Takes out of what is to be taken down for these devices the objects that others need.
    pub(super) fn keep_needed_helpers(&self, undo_steps: &mut Vec<UndoStep>, of: &[&Device]) {
        let is_one = |device: &Device| of.iter().any(|one| one.id == device.id);
        undo_steps.retain(|step| match step {
            UndoStep::ObjectDel(_) if planted::has(Fault::ObjectGoesEarly) => true,
            UndoStep::ObjectDel(_) if planted::has(Fault::ObjectIsForgotten) => false,
            UndoStep::ObjectDel(helper) => !self.is_needed(helper, &is_one),
            _ => true,
        });
    }

    /// Refuses a device whose objects cannot be had. QEMU is asked about those that it has to have already.
    pub(super) async fn check_helpers(&mut self, spec: &Spec, deadline: &Deadline) -> Result<()> {
        let names = existing_iothreads(spec);
        if names.is_empty() {
            return Ok(());
        }
        let objects = self.objects(deadline).await?;
        names.iter().try_for_each(|name| match kind_in(&objects, name.as_str()).as_deref() {
            Some("iothread") => Ok(()),
            Some(_) => Err(Error::invalid(format!("{name} is an object of QEMU, but no iothread"))),
            None => {
                let text = format!(
                    "QEMU has no iothread {name}; start it with -object iothread,id={name}, or have the library make one"
                );
                Err(Error::new(ErrorKind::NotFound, text))
            }
        })
    }

    /// Whether QEMU has the objects that these devices were made with, and those that it had to have already.
    pub(super) async fn compare_objects(
        &mut self,
        devices: &[Device],
        differences: &mut Vec<Difference>,
        deadline: &Deadline,
    ) -> Result<()> {
        let wanted: Vec<(&Device, BackendName, String)> = devices.iter().flat_map(wanted_objects).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let objects = self.objects(deadline).await?;
        for (device, id, kind) in wanted {
            let found = match kind_in(&objects, id.as_str()) {
                Some(found) if found == kind => continue,
                Some(found) => format!("object {id} is {}", readable(&found)),
                None => format!("no object {id}"),
            };
            let recorded = format!("object {id} is {kind}");
            differences.push(Difference::new(Mismatch::Setting, &device.id, recorded, found));
        }
        Ok(())
    }

    /// What QEMU has of objects.
    pub(super) async fn objects(&mut self, deadline: &Deadline) -> Result<Value> {
        let [objects] = self.questions([Command::with("qom-list", &[("path", OBJECTS)])], deadline).await?;
        Ok(objects)
    }
}

/// The objects that QEMU has for a device, each with its type.
fn wanted_objects(device: &Device) -> Vec<(&Device, BackendName, String)> {
    let existing = device.existing_iothreads().into_iter().map(|id| (id, "iothread".to_owned()));
    // Limits are compared by themselves: those of a disk that got them in the guest have no group yet.
    let helpers = device.helpers().into_iter().filter(|helper| helper.kind() != THROTTLE_GROUP);
    let made = helpers.map(|helper| {
        let kind = helper.kind().to_owned();
        (helper.id, kind)
    });
    made.chain(existing).map(|(id, kind)| (device, id, kind)).collect()
}

/// The type of an object among those that QEMU has.
pub(super) fn kind_in(objects: &Value, id: &str) -> Option<String> {
    let children = QomChild::list(objects).ok()?;
    children.into_iter().find(|child| child.name == id).map(|child| child.driver)
}

/// Of what is taken down for several devices at once, an object goes with the last of those that have it.
pub(super) fn with_the_last(all: &mut [Vec<UndoStep>]) {
    let mut seen: Vec<UndoStep> = Vec::new();
    for undo_steps in all.iter_mut().rev() {
        undo_steps.retain(|step| !seen.contains(step));
        seen.extend(undo_steps.iter().filter(|step| matches!(step, UndoStep::ObjectDel(_))).cloned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_of_several_goes_with_the_last() {
        let name = |text: &str| BackendName::parse(text).unwrap();
        let steps = |node: &str, object: &str| {
            vec![UndoStep::BlockdevDel(name(node)), UndoStep::ObjectDel(name(object))]
        };
        let mut all = [steps("a", "x"), steps("b", "y"), steps("c", "x")];
        with_the_last(&mut all);
        assert_eq!(all, [vec![UndoStep::BlockdevDel(name("a"))], steps("b", "y"), steps("c", "x")]);
    }

    #[test]
    fn objects_have_a_type() {
        let objects = json!([
            { "name": "type", "type": "string" },
            { "name": "io", "type": "child<iothread>" },
        ]);
        assert_eq!(kind_in(&objects, "io").as_deref(), Some("iothread"));
        assert_eq!((kind_in(&objects, "type"), kind_in(&json!({}), "io")), (None, None));
    }
}
