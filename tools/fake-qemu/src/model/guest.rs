//! What a guest does, by itself or when it is asked to let go of a device; and what happens to the whole of
//! it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Dev, Due, Leaving, Model, UnplugBehaviour};
use crate::command::{Answer, Event, QmpError, deleted};

impl Model {
    pub(super) fn device_del(&mut self, id: &str) -> Answer {
        let Some(device) = self.device(id).cloned() else { return Err(QmpError::absent(id)) };
        if device.unit.is_some() {
            // QEMU takes it from its controller at once, whatever the guest is doing.
            self.grant(id);
            return Ok(json!({}));
        }
        if device.asked.is_some_and(|asked| !self.takes_another_request(&device, asked)) {
            return Err(QmpError::generic(format!("Device {id} is already in the process of unplug")));
        }
        self.check_hotplug(&device.bus)?;
        let behaviour = self.behaviour_of(id);
        if let UnplugBehaviour::Busy(times @ 1..) = behaviour {
            self.unplug_behaviours.insert(id.into(), UnplugBehaviour::Busy(times - 1));
            let text = "Hot-unplug failed: guest is busy (power indicator blinking)";
            return Err(QmpError::generic(text));
        }
        self.ask(id);
        // A guest that does not run hears nothing.
        if self.is_running() {
            self.hear(id);
        }
        Ok(json!({}))
    }

    /// Whether QEMU passes on a request for a device that the guest was asked for at this time.
    fn takes_another_request(&self, device: &Dev, asked: Duration) -> bool {
        let expired = self.expiry.is_some_and(|after| self.now.saturating_sub(asked) >= after);
        let is_on_port = device.bus != self.root();
        expired || (self.version.takes_second_requests() && !is_on_port)
    }

    fn behaviour_of(&self, id: &str) -> UnplugBehaviour {
        self.unplug_behaviours
            .get(id)
            .or_else(|| self.unplug_behaviours.get("*"))
            .copied()
            .unwrap_or(self.unplug_behaviour)
    }

    /// The guest is asked to let go of a device, by whoever; it has not heard of it yet.
    pub fn ask(&mut self, id: &str) {
        let now = self.now;
        if let Some(device) = self.device_mut(id) {
            device.asked = Some(now);
        }
    }

    /// The guest hears that it is to let go of the device, and does as its behaviour says.
    fn hear(&mut self, id: &str) {
        match self.behaviour_of(id) {
            UnplugBehaviour::AtOnce | UnplugBehaviour::Busy(_) => _ = self.grant(id),
            UnplugBehaviour::BeforeReply => {
                self.grant(id);
                let mut events = std::mem::take(&mut self.after);
                self.before.append(&mut events);
            }
            UnplugBehaviour::After(time) => self.due.push((self.now + time, Due::Grant(id.into()))),
            UnplugBehaviour::Refuses => self.due.push((self.now, Due::Refuse(id.into()))),
            UnplugBehaviour::RefusesOnce => {
                let general = if self.unplug_behaviours.contains_key(id) { id } else { "*" };
                if self.unplug_behaviours.remove(general).is_none() {
                    self.unplug_behaviour = UnplugBehaviour::AtOnce;
                }
                self.guest_refuses(id);
            }
            UnplugBehaviour::Never => {}
        }
    }

    /// The guest lets go of a device, asked or not: QOM shows it no more, and its backend stays. With a
    /// controller go its disks. False if there is no such device.
    pub fn grant(&mut self, id: &str) -> bool {
        let Some(device) = self.device(id).cloned() else { return false };
        let bus = format!("{id}.0");
        let on_it = self.devices.iter().filter(|other| device.unit.is_none() && other.bus == bus);
        let disks: Vec<String> = on_it.filter_map(|disk| disk.id.clone()).collect();
        disks.iter().for_each(|disk| _ = self.grant(disk));
        self.devices.retain(|other| !other.has_id(id));
        self.leaving.push(Leaving { device });
        if !self.leaves_late {
            self.finish_leaving(id);
        }
        true
    }

    /// QEMU takes apart a device that is gone from QOM: its node can be deleted, and `DEVICE_DELETED` is
    /// said. Of several with the same id, the one that left first. False if there is none.
    pub fn finish_leaving(&mut self, id: &str) -> bool {
        let found = self.leaving.iter().position(|leaving| leaving.device.has_id(id));
        let Some(index) = found else { return false };
        let Leaving { device } = self.leaving.remove(index);
        self.delete_drive_of(&device);
        self.forget_medium_of(&device);
        if device.unit.is_none() {
            self.say(Event::backend_deleted(id));
        }
        self.say(Event::deleted(id));
        true
    }

    /// The guest will not let go of the device; QEMU takes a new request. False if there is no such device.
    pub fn guest_refuses(&mut self, id: &str) -> bool {
        let Some(device) = self.device_mut(id) else { return false };
        device.asked = None;
        self.say(Event::new("DEVICE_UNPLUG_GUEST_ERROR", deleted(id)));
        true
    }

    /// Ids of the devices that the guest was asked to let go of.
    pub fn asked(&self) -> Vec<String> {
        self.devices.iter().filter(|d| d.asked.is_some()).filter_map(|d| d.id.clone()).collect()
    }

    /// A reset, by the guest or from outside, completes every removal that was asked for, but those at ports
    /// that plug natively.
    pub fn reset(&mut self, by_guest: bool) {
        let reason = if by_guest { "guest-reset" } else { "host-qmp-system-reset" };
        self.say(Event::new("RESET", json!({ "guest": by_guest, "reason": reason })));
        self.close_all_trays();
        for id in self.asked() {
            let is_on_port = self.device(&id).is_some_and(|device| device.bus != self.root());
            if !(is_on_port && self.version.has_native_ports()) {
                self.grant(&id);
            }
        }
        if !["running", "inmigrate", "finish-migrate"].contains(&self.run_state.as_str()) {
            self.run_state = "prelaunch".into();
        }
    }

    /// Devices are taken out afterwards.
    pub(super) fn system_reset(&mut self) -> Answer {
        self.reset(false);
        let rest = self.after.split_off(1);
        if let Some(event) = self.after.pop() {
            self.say_late_in_old(event);
        }
        self.after.extend(rest);
        Ok(json!({}))
    }

    /// An event about the whole guest: newer versions say it before they answer.
    pub(super) fn say_late_in_old(&mut self, event: Event) {
        let when = if self.version.says_requests_late() { &mut self.after } else { &mut self.before };
        when.push(event);
    }

    /// Another run state, in QEMU's words. A guest that runs hears what it was asked meanwhile.
    pub fn set_run_state(&mut self, state: &str) {
        let event = self.change_run_state(state);
        self.after.extend(event);
        self.hear_all();
    }

    /// The event that comes of it, if the guest runs now and did not, or the other way round.
    fn change_run_state(&mut self, state: &str) -> Option<Event> {
        let ran = self.is_running();
        self.run_state = state.into();
        match (ran, self.is_running()) {
            (true, false) => Some(Event::new("STOP", Value::Null)),
            (false, true) => Some(Event::new("RESUME", Value::Null)),
            _ => None,
        }
    }

    fn hear_all(&mut self) {
        if self.is_running() {
            self.asked().iter().for_each(|id| self.hear(id));
        }
    }

    /// Only a guest that runs becomes one that is paused.
    pub(super) fn stop(&mut self) -> Answer {
        if self.is_running() {
            let event = self.change_run_state("paused");
            self.before.extend(event);
        }
        Ok(json!({}))
    }

    pub(super) fn cont(&mut self) -> Answer {
        let event = self.change_run_state("running");
        self.before.extend(event);
        self.hear_all();
        Ok(json!({}))
    }

    /// The guest goes to sleep.
    pub fn suspend(&mut self) {
        self.run_state = "suspended".into();
        self.say(Event::new("SUSPEND", Value::Null));
    }

    /// It wakes up, which is a reset to its devices.
    pub fn wake_up(&mut self) {
        self.run_state = "running".into();
        self.asked().iter().for_each(|id| _ = self.grant(id));
        self.say(Event::new("WAKEUP", Value::Null));
    }

    /// The firmware has numbered the buses, and the guest has set up what it found.
    pub fn boot(&mut self) {
        self.numbered = true;
        self.devices.iter_mut().for_each(|device| device.configured = true);
    }
}
