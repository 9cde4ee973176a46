//! Which buses take devices while the guest runs. `query-pci` does not tell, and QEMU's refusal comes late:
//! QOM tells before. A bus is asked about once on each connection, when it is to be shown or when a device
//! might be put there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::add_plan::Placement;
use super::guest_state::GuestState;
use super::limit::Deadline;
use crate::error::Result;
use crate::ids::BusName;
use crate::qmp::{Command, Version};
use crate::slots::pci::BusKind;

/// Buses that are asked about beyond those that are needed now, as each may turn out to take nothing, and
/// each answer takes a millisecond when it is waited for by itself.
const AHEAD: usize = 3;

/// Since this version a bus may have a handler that refuses all the same ("is_hotpluggable_bus" in QEMU's
/// hw/core/hotplug.h).
const ASKS_HANDLER: Version = Version { major: 8, minor: 0, micro: 0 };

/// What is to be asked of one bus.
struct Bus {
    name: BusName,
    kind: BusKind,
    /// QOM path of what plugs devices in there; empty if nothing does, none if QEMU does not say.
    handler: Option<String>,
}

impl Bus {
    fn path(&self) -> String {
        match self.kind {
            BusKind::ConventionalRoot => format!("/machine/i440fx/{}", self.name),
            _ => format!("{}/{}", self.bridge(), self.name),
        }
    }

    /// The bus has the name of its bridge.
    fn bridge(&self) -> String {
        format!("/machine/peripheral/{}", self.name)
    }

    /// Properties that have to be true, by path and name.
    fn conditions(&self, qemu: Version) -> Vec<(String, &'static str)> {
        let Some(handler) = self.handler.as_ref().filter(|handler| !handler.is_empty()) else {
            return Vec::new();
        };
        let is_new = qemu >= ASKS_HANDLER;
        match (self.kind.is_port(), *handler == self.bridge()) {
            (true, true) => vec![(self.bridge(), "hotplug"), (self.bridge(), "x-native-hotplug")],
            (true, false) if is_new => vec![(self.bridge(), "hotplug")],
            (false, _) if is_new && self.kind == BusKind::ConventionalRoot => {
                vec![(handler.clone(), "acpi-root-pci-hotplug")]
            }
            _ => Vec::new(),
        }
    }
}

impl GuestState {
    /// Learns it of every bus.
    pub(super) async fn learn_buses(&mut self, deadline: &Deadline) -> Result<()> {
        let names: Vec<BusName> = self.slots.pci.open_buses().map(|(name, _)| name.clone()).collect();
        self.learn(&names, deadline).await
    }

    /// Learns it of the buses that so many devices might be put on. The root bus of a `pc` is not asked
    /// about: it is where devices go as a rule, and takes them in every guest that is not forbidden to.
    pub(super) async fn learn_buses_for(
        &mut self,
        placements: &[&Placement],
        deadline: &Deadline,
    ) -> Result<()> {
        let (mut requested, mut count) = (Vec::new(), 0);
        for placement in placements {
            count += 1;
            requested.extend(placement.bus().cloned());
        }
        let is_root = |name: &BusName| {
            self.slots.pci.open_buses().any(|(bus, kind)| bus == name && kind == BusKind::ConventionalRoot)
        };
        requested.retain(|name| !is_root(name));
        self.learn(&requested, deadline).await?;
        loop {
            let with_room = self.slots.pci.open_buses_with_room();
            let nearest: Vec<BusName> = with_room
                .map(|(name, kind)| (name.clone(), kind))
                .take_while(|(_, kind)| *kind != BusKind::ConventionalRoot)
                .map(|(name, _)| name)
                .take(count + AHEAD)
                .collect();
            let needed = nearest.get(..count.min(nearest.len())).unwrap_or_default();
            if needed.iter().all(|name| self.probed_buses.contains(name)) {
                return Ok(());
            }
            self.learn(&nearest, deadline).await?;
        }
    }

    async fn learn(&mut self, names: &[BusName], deadline: &Deadline) -> Result<()> {
        let is_new =
            |(name, _): &(&BusName, BusKind)| names.contains(name) && !self.probed_buses.contains(*name);
        let mut buses: Vec<Bus> = self
            .slots
            .pci
            .open_buses()
            .filter(is_new)
            .map(|(name, kind)| Bus { name: name.clone(), kind, handler: None })
            .collect();
        if buses.is_empty() {
            self.probed_buses.extend(names.iter().cloned());
            return Ok(());
        }
        let questions = buses.iter().map(|bus| (bus.path(), "hotplug-handler")).collect();
        for (bus, answer) in buses.iter_mut().zip(self.get_properties(questions, deadline).await?) {
            bus.handler = answer.as_str().map(str::to_owned);
        }
        let qemu = self.version;
        let conditions: Vec<Vec<(String, &str)>> = buses.iter().map(|bus| bus.conditions(qemu)).collect();
        let questions: Vec<(String, &str)> = conditions.iter().flatten().cloned().collect();
        let mut answers = match questions.is_empty() {
            true => Vec::new(),
            false => self.get_properties(questions, deadline).await?,
        }
        .into_iter();
        self.probed_buses.extend(names.iter().cloned());
        let mut closed = BTreeSet::new();
        for (bus, conditions) in buses.iter().zip(&conditions) {
            let refuses =
                answers.by_ref().take(conditions.len()).filter(|answer| *answer == Value::Bool(false));
            if refuses.count() > 0 || bus.handler.as_deref() == Some("") {
                closed.insert(bus.name.clone());
            }
        }
        for name in closed {
            self.slots.pci.close(&name);
            self.no_hotplug_buses.insert(name);
        }
        Ok(())
    }

    /// Values by path and property; null for each that there is not.
    async fn get_properties(
        &mut self,
        wanted: Vec<(String, &'static str)>,
        deadline: &Deadline,
    ) -> Result<Vec<Value>> {
        let question = |(path, name): &(String, &'static str)| {
            Command::with("qom-get", &[("path", path), ("property", name)])
        };
        let questions: Vec<Command> = wanted.iter().map(question).collect();
        let batch = self.ask(questions, deadline).await;
        if let Some(error) = batch.failure {
            return Err(error.with_step("qom-get"));
        }
        Ok(batch.replies.into_iter().map(|reply| reply.and_then(Result::ok).unwrap_or_default()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_in_which_version() {
        let (old, new) = (Version { major: 7, minor: 2, micro: 0 }, ASKS_HANDLER);
        let bus = |kind, handler: &str| Bus {
            name: BusName::parse("rp1").unwrap(),
            kind,
            handler: Some(handler.to_owned()),
        };
        let names =
            |bus: Bus, qemu| bus.conditions(qemu).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        let (own, acpi) = ("/machine/peripheral/rp1", "/machine/unattached/device[2]");
        let native = ["hotplug", "x-native-hotplug"];
        assert_eq!(names(bus(BusKind::RootPort, own), old), native);
        assert_eq!(names(bus(BusKind::DownstreamPort, own), new), native);
        assert!(names(bus(BusKind::RootPort, acpi), old).is_empty());
        assert_eq!(names(bus(BusKind::RootPort, acpi), new), ["hotplug"]);
        assert!(names(bus(BusKind::ConventionalRoot, acpi), old).is_empty());
        assert_eq!(names(bus(BusKind::ConventionalRoot, acpi), new), ["acpi-root-pci-hotplug"]);
        assert!(names(bus(BusKind::PciBridge, own), new).is_empty());
        assert!(names(bus(BusKind::RootPort, ""), new).is_empty(), "it is closed already");
        assert_eq!(bus(BusKind::RootPort, "").path(), "/machine/peripheral/rp1/rp1");
    }
}
