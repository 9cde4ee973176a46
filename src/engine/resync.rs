//! A new connection, and a new inventory of the guest with what is unfinished settled.

use std::collections::BTreeMap;

use super::access::Access;
use super::events::EventKind;
use super::guest_state::GuestState;
use super::inventory::{Inventory, PeripheralIds};
use super::io::Effect;
use super::limit::Deadline;
use super::overlay::is_live_disk;
use crate::error::{Error, Result};
use crate::ids::DeviceId;
use crate::log::Level;
use crate::model::{Device, Operation, Presence};
use crate::slots::Slots;
use crate::slots::pci::SlotMap;
use crate::slots::scsi::ScsiMap;

impl GuestState {
    /// Makes sure that there is a connection.
    pub(super) async fn connect(&mut self, deadline: &Deadline) -> Result<()> {
        self.await_connection(deadline).await?;
        if let Ok(monitor) = self.monitor() {
            let link = monitor.link;
            // The end of it may be what there is to read.
            if self.perform(Effect::Read(link)).await.is_ok() && self.monitor().is_ok() {
                return Ok(());
            }
        }
        Box::pin(self.reconnect(deadline)).await
    }

    async fn reconnect(&mut self, deadline: &Deadline) -> Result<()> {
        self.drop_connection().await;
        let monitor = self.connect_to(self.socket.clone(), deadline).await?;
        if let Err(error) = self.check_peer(&monitor).await {
            self.close(monitor.link).await?;
            return Err(error);
        }
        self.perform(Effect::Watch(monitor.link)).await?;
        self.version = monitor.version;
        self.log.write(Level::Info, || format!("connected to QEMU {} at {}", monitor.version, self.socket));
        let peer = self.look_at_qemu(&monitor, deadline).await?;
        self.meet(peer).await?;
        self.monitor = Some(monitor);
        self.needs_resync = true;
        self.is_new_connection = true;
        self.heard_from_generation = self.contents().record().next_generation;
        self.has_answered = false;
        self.mark_fds_uncertain();
        // It may be another QEMU by now, whose guest has only just been started.
        self.running_since = None;
        self.no_hotplug_buses.clear();
        self.known_models.clear();
        self.probed_buses.clear();
        self.links_to_reapply = true;
        if std::mem::take(&mut self.monitor_lost) {
            self.events.guest(EventKind::MonitorRestored, "connected to the monitor again");
        }
        Ok(())
    }

    /// Forgets a connection that broke, telling the caller once; events already read are used.
    async fn drop_connection(&mut self) {
        self.drain_events();
        self.tap_fds.clear();
        self.tap_cache = None;
        if let Some(monitor) = self.monitor.take() {
            // Nobody else is told of what is on the way.
            let _ = self.close(monitor.link).await;
            let lost = Error::monitor_lost();
            self.log.write(Level::Warning, || lost.to_string());
            self.events.guest(EventKind::MonitorLost, lost.message());
            self.monitor_lost = true;
        }
    }

    /// Asks the guest for everything, rebuilds the slot map and settles what is unfinished, unless it is to
    /// look only.
    pub(super) async fn resync(&mut self, deadline: &Deadline) -> Result<()> {
        // Until it is whole: a question on the way may be cancelled, and the slots are those of half an
        // inventory then.
        self.needs_resync = true;
        let disks = self.contents().record().devices.iter().filter(|device| is_live_disk(device)).count();
        let mut inventory = Inventory::take(self, disks, deadline).await?;
        // A bus that is gone meanwhile needs no forbidding.
        self.no_hotplug_buses.retain(|bus| inventory.topology.forbid_hotplug(bus).is_ok());
        self.log.write(Level::Debug, || {
            format!("the guest has {} devices with ids", inventory.peripheral_ids.len())
        });
        let rules = self.contents().record().rules()?;
        self.slots = Slots { pci: SlotMap::new(&inventory.topology, rules), scsi: ScsiMap::default() };
        self.topology = inventory.topology;
        self.devices_without_id = inventory.devices_without_id;
        let earlier = std::mem::replace(&mut self.fdsets, inventory.fdsets);
        self.update_run_state(inventory.state);
        let shown = match self.access {
            Access::Look => {
                self.show_unfinished()?;
                BTreeMap::new()
            }
            Access::Change => {
                self.reconcile_with_another_qemu(&inventory.peripheral_ids, deadline).await?;
                let shown = self.identify_journalled(&inventory.peripheral_ids, deadline).await?;
                self.clear_outdated_intents(&shown).await?;
                shown
            }
        };
        self.record_found_addresses(&inventory.peripheral_ids, &inventory.units, deadline).await?;
        self.occupy_recorded();
        for controller in &inventory.controllers {
            self.slots.scsi.add_controller(&controller.name, &controller.driver, false);
        }
        for unit in &inventory.units {
            self.slots.scsi.see(&unit.address, unit.id.as_deref(), &unit.driver);
        }
        let absent = self.recorded_but_not_in(&inventory.peripheral_ids);
        self.phases.take_inventory(&absent);
        self.note_overlays(&inventory.graph, deadline).await?;
        let mut fdsets = std::mem::take(&mut self.fdsets);
        fdsets.carry_over_retained(&earlier, |owner| self.is_of_known(owner.as_str()));
        self.fdsets = fdsets;
        if self.only_looks() {
            (self.needs_resync, self.events_lost) = (false, false);
            return Ok(());
        }
        self.close_retained_fds(deadline).await?;
        self.reconcile(&shown, deadline).await?;
        if self.links_to_reapply {
            self.set_recorded_links(deadline).await?;
            self.links_to_reapply = false;
        }
        self.take_over_journal().await?;
        self.look_at_trays(deadline).await?;
        self.needs_resync = false;
        self.events_lost = false;
        Ok(())
    }

    /// Recorded devices that should be in the guest and are not.
    fn recorded_but_not_in(&self, peripheral_ids: &PeripheralIds) -> Vec<DeviceId> {
        let contents = self.contents();
        let lacks = |device: &&Device| {
            device.presence == Presence::Live
                && device.address.is_some()
                && !peripheral_ids.has(device.id.as_str())
        };
        contents.record().devices.iter().filter(lacks).map(|device| device.id.clone()).collect()
    }

    /// Own record ∪ live view: what the record has stays taken, what is on its way out stays quarantined.
    fn occupy_recorded(&mut self) {
        let contents = self.contents();
        contents.record().devices.iter().for_each(|device| self.slots.occupy(device));
        for bridge in contents.record().bridges.iter().filter(|one| one.presence == Presence::AddAfterReboot)
        {
            self.slots.pci.occupy_by_bridge(bridge.slot, &bridge.id);
        }
        self.reserved.iter().for_each(|device| self.slots.occupy(device));
        for intent in &contents.journal().intents {
            match intent.operation {
                Operation::Add
                | Operation::RemoveNext
                | Operation::SetLink
                | Operation::Move
                | Operation::SetLimits
                | Operation::ChangeMedium => self.slots.occupy(&intent.device),
                Operation::RollbackAdd | Operation::Remove => self.slots.quarantine(&intent.device),
            }
        }
    }
}
