//! A QEMU ends, another one is started from the record; or the whole host starts again, with the files that
//! were synced.

use fake_qemu::model::{Machine, Model, Monitor, UnplugBehaviour};
use fake_qemu::{Dev, FdSet, File, Netdev, Node, Version};
use kvm_hotplug::model::{Presence, Spec};
use kvm_hotplug::store::RecordFile;
use serde_json::Value;

use crate::choices::Choices;
use crate::world::{Files, MONITORS, World};

/// The process of the first QEMU; the others follow.
pub const FIRST_QEMU: i32 = 4242;

/// The object that the guest has its memory of.
pub const MEMORY: &str = "ram";

/// What a QEMU has of a device.
#[derive(Clone, Debug)]
pub struct Parts {
    device: Dev,
    netdev: Option<Netdev>,
    node: Option<Node>,
    sets: Vec<(u32, FdSet)>,
    /// The object that it has been made with.
    object: Option<(String, Value)>,
    /// The group that limits it.
    group: Option<(String, Value)>,
}

/// A QEMU without devices of ours, with two monitors.
pub fn new_qemu() -> Model {
    let mut model = Model::new(Machine::Pc, Version(7, 2, 22));
    (model.unplug_behaviour, model.leaves_late) = (UnplugBehaviour::Never, true);
    // What the backend of a vhost-user needs.
    let memory = serde_json::json!({ "qom-type": "memory-backend-memfd", "id": MEMORY, "share": true });
    model.objects.insert(MEMORY.into(), memory);
    model.monitors = MONITORS.map(|path| Monitor::new(path, path)).to_vec();
    model
}

impl World {
    /// Keeps what QEMU has of a device that has just come, so that the next one can be started with it.
    pub fn keep_parts(&mut self, id: &str) {
        let model = &self.model;
        let Some(device) = model.device(id).cloned() else { return };
        let node = model.nodes.get(id).cloned();
        let sets = node.iter().flat_map(|node| &node.sets);
        let object = device.properties.get("iothread").and_then(Value::as_str).map(str::to_owned);
        let object = object.as_deref();
        let group = node.as_ref().and_then(|node| node.options.get("throttle-group")).and_then(Value::as_str);
        let group = group.and_then(|name| Some((name.to_owned(), model.objects.get(name)?.clone())));
        let parts = Parts {
            group,
            device,
            netdev: model.netdevs.get(id).cloned(),
            object: object.and_then(|name| Some((name.to_owned(), model.objects.get(name)?.clone()))),
            sets: sets.filter_map(|set| Some((*set, model.fdsets.get(set)?.clone()))).collect(),
            node,
        };
        self.parts.insert(id.to_owned(), parts);
    }

    /// QEMU ends: its devices are gone, and nobody listens.
    pub fn end_qemu(&mut self) {
        self.links.clear();
        let violations = std::mem::take(&mut self.model.violations);
        self.violations.extend(violations);
        self.forget_rest();
        self.model = new_qemu();
        self.is_down = true;
        (self.held, self.silent, self.uncertain) = (None, false, false);
        self.host.close_unused(&self.model);
    }

    /// Another QEMU is started with the devices that the record has, each in its place. Its taps are other
    /// ones, which the record is told; nobody can do that while an agent has it, so then there are none.
    pub fn start_qemu(&mut self) {
        self.is_down = false;
        self.host.qemu += 1;
        self.add_theirs();
        let loaded = RecordFile::load(&self.path());
        let is_free = loaded.is_ok();
        let Ok(mut file) = loaded.or_else(|_| RecordFile::peek(&self.path())) else { return };
        let mut next = file.record().clone();
        let named = |id: &String| self.named.iter().any(|named| named == id);
        let ids = next.devices.iter().map(|device| device.id.to_string());
        self.inherited = ids.filter(|id| !named(id)).collect();
        for device in next.devices.iter_mut().filter(|device| device.presence != Presence::AddAfterReboot) {
            if let Spec::Nic(spec) = &mut device.spec {
                spec.tap_identity = self.host.start_tap(spec);
            }
            if let Some(parts) = self.parts.get(device.id.as_str()).cloned() {
                self.start_with(device.id.as_str(), parts);
            }
        }
        if is_free && next != *file.record() {
            file.replace(next).unwrap();
        }
    }

    /// Whether another QEMU can be started while an agent has the record.
    pub fn can_start_at_once(&self) -> bool {
        self.host.taps().len() == 1
    }

    fn start_with(&mut self, id: &str, parts: Parts) {
        let Parts { mut device, netdev, node, sets, object, group } = parts;
        self.model.objects.extend(object.into_iter().chain(group));
        device.asked = None;
        if let Some(netdev) = netdev {
            let chardev = netdev.chardev.clone().map(|chardev| (chardev, Value::Null));
            self.model.added_chardevs.extend(chardev);
            self.model.netdevs.insert(id.to_owned(), Netdev { link_down: false, ..netdev });
        }
        for (number, mut set) in sets {
            let files = set.fds.iter_mut().map(|fd| &mut fd.fd.file);
            for file in files {
                if let File::Image { name, length, .. } = file {
                    let path = self.host.path_of(name).unwrap();
                    *length = path.metadata().unwrap().len();
                }
            }
            self.model.fdsets.insert(number, set);
        }
        if let Some(mut node) = node {
            let image =
                self.model.fdsets.values().filter(|set| set.users.contains(id)).flat_map(|set| &set.fds);
            let mut length = image.filter_map(|fd| match &fd.fd.file {
                File::Image { length, .. } => Some(*length),
                _ => None,
            });
            node.size = length.next_back().unwrap_or(node.size);
            self.model.nodes.insert(id.to_owned(), node);
        }
        self.model.devices.push(device);
    }

    /// Notes what was done to files since, and whether that is there to stay.
    pub fn note_dir_steps(&mut self, before: &Files) {
        #[cfg(feature = "planted-faults")]
        for step in kvm_hotplug::planted::take_dir_steps() {
            match step {
                kvm_hotplug::planted::DirStep::Synced => self.unsynced.clear(),
                kvm_hotplug::planted::DirStep::Changed(name) => {
                    let name = name.into_string().unwrap();
                    let is_part = !name.ends_with(".new") && !name.ends_with(".lock");
                    if is_part && self.unsynced.iter().all(|(known, _)| *known != name) {
                        let old = before.get(&name).cloned();
                        self.unsynced.push((name, old));
                    }
                }
            }
        }
        #[cfg(not(feature = "planted-faults"))]
        let _ = before;
    }

    /// The host starts again: each change that was not synced is there or not.
    pub fn fail_power(&mut self, choices: &mut Choices) {
        self.has_no_power = false;
        let mut files = self.files();
        for (name, old) in std::mem::take(&mut self.unsynced) {
            if choices.choose(2) == 0 {
                continue;
            }
            choices.story.push(format!("{name} is the old one again"));
            match old {
                Some(bytes) => files.insert(name, bytes),
                None => files.remove(&name),
            };
        }
        self.write_files(&files);
        self.end_qemu();
        self.check_promises();
    }

    /// What a call has answered is in the record.
    fn check_promises(&mut self) {
        match RecordFile::peek(&self.path()) {
            Err(error) => {
                self.violations.push(format!("after a power failure the files do not parse: {error}"))
            }
            Ok(file) => {
                for (id, promised) in &self.promised {
                    let found = file.record().find(id).map(|device| device.generation);
                    if found != *promised {
                        let text =
                            format!("a call has answered {id} {promised:?}, and after a power failure it is");
                        self.violations.push(format!("{text} {found:?}"));
                    }
                }
            }
        }
    }
}
