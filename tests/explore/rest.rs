//! What holds when nothing goes on any more.

use std::collections::BTreeSet;

use kvm_hotplug::model::{Device, DeviceKind, Presence, Spec};
use kvm_hotplug::net::netdev::Netdev;
use kvm_hotplug::store::RecordFile;
use serde_json::{Map, Value};

use crate::restart::MEMORY;
use crate::run::Run;
use crate::world::THEIRS;

/// A disk, unless it is a CD drive without a medium.
fn has_node(device: &Device) -> bool {
    matches!(&device.spec, Spec::Disk(disk) if disk.has_medium())
}

impl Run<'_> {
    /// Record, guest and host say the same, and nothing is left of anything else.
    pub fn check_rest(&mut self) {
        let mut wrong = Vec::new();
        match RecordFile::peek(&self.world.path()) {
            Err(error) => wrong.push(format!("the files do not parse: {error}")),
            Ok(record) => {
                if !record.journal().intents.is_empty() {
                    wrong.push(format!("unfinished: {:?}", record.journal().intents));
                }
                let devices = &record.record().devices;
                let model = &self.world.model;
                let live: BTreeSet<&str> = devices
                    .iter()
                    .filter(|device| device.presence == Presence::Live)
                    .map(|device| device.id.as_str())
                    .collect();
                let own = |ids: Vec<&str>| {
                    ids.into_iter().filter(|id| *id != THEIRS).map(str::to_owned).collect::<BTreeSet<_>>()
                };
                let of = |kind: DeviceKind| {
                    devices
                        .iter()
                        .filter(|device| device.kind() == kind)
                        .map(|device| device.id.to_string())
                        .collect::<BTreeSet<_>>()
                };
                let live: BTreeSet<String> = live.into_iter().map(str::to_owned).collect();
                let mut same = |what: &str, found: BTreeSet<String>, recorded: BTreeSet<String>| {
                    if found != recorded {
                        wrong.push(format!("{what}: {found:?}, recorded are {recorded:?}"));
                    }
                };
                same("devices", self.world.own_devices().into_iter().collect(), live);
                same("netdevs", own(model.netdevs.keys().map(String::as_str).collect()), of(DeviceKind::Nic));
                let nodes = devices.iter().filter(|device| has_node(device));
                let nodes = nodes.map(|device| device.backend_name().to_string()).collect();
                same("nodes", own(model.nodes.keys().map(String::as_str).collect()), nodes);
                let helpers = devices.iter().filter(|device| device.presence == Presence::Live);
                // That of a disk which its device limits comes with the next boot.
                let is_made = |device: &Device, kind: &str| {
                    let own = model.device(device.id.as_str());
                    kind != "throttle-group" || own.is_none_or(|own| own.throttle.is_null())
                };
                let helpers = helpers.flat_map(|device| {
                    let made =
                        device.helpers().into_iter().filter(move |helper| is_made(device, helper.kind()));
                    made.map(|helper| helper.id.to_string())
                });
                let objects = model.objects.keys().map(String::as_str).filter(|object| *object != MEMORY);
                same("objects", own(objects.collect()), helpers.collect());
                let is_vhost_user = |device: &&Device| {
                    device.nic().and_then(|nic| nic.netdev.as_ref()).is_some_and(Netdev::is_vhost_user)
                };
                let chardevs = devices.iter().filter(is_vhost_user).map(|device| device.id.to_string());
                same("chardevs", model.added_chardevs.keys().cloned().collect(), chardevs.collect());
                if !self.world.uncertain {
                    let names = model.monitors.iter().flat_map(|monitor| monitor.fds.keys());
                    let names = names.map(String::as_str).collect();
                    same("descriptors", own(names), BTreeSet::new());
                    let sets: Vec<&String> = model
                        .fdsets
                        .values()
                        .filter(|set| set.users.is_empty())
                        .flat_map(|set| &set.fds)
                        .filter_map(|fd| fd.opaque.as_ref())
                        .collect();
                    same(
                        "fdsets without node",
                        own(sets.into_iter().map(String::as_str).collect()),
                        BTreeSet::new(),
                    );
                    let taps = self.world.host.taps();
                    let recorded =
                        devices.iter().filter_map(|device| Some(device.nic()?.ifname.as_ref()?.to_string()));
                    same("taps", own(taps.keys().map(String::as_str).collect()), recorded.collect());
                }
                for cd in devices.iter().filter(|device| device.model() == "scsi-cd") {
                    let Some(drive) = model.device(cd.id.as_str()) else { continue };
                    let recorded = has_node(cd).then(|| cd.backend_name().to_string());
                    let is_open = matches!(&cd.spec, Spec::Disk(disk) if disk.tray_open);
                    let is_so = drive.drive == recorded && drive.tray.open == is_open;
                    if !is_so && !self.world.change_refused {
                        wrong.push(format!("drive {}: {:?}, recorded {recorded:?}", cd.id, drive));
                    }
                }
                for device in devices {
                    let Spec::Disk(disk) = &device.spec else { continue };
                    let recorded = disk.limits.clone().unwrap_or_default();
                    let group = model.objects.get(recorded.group_id(&device.id).as_str());
                    let limited = model.device(device.id.as_str()).map_or(&Value::Null, |own| &own.throttle);
                    let (found, expected) = match group {
                        Some(group) => (group["limits"].clone(), recorded.all_values()),
                        None if recorded.is_default() => (limited.clone(), Map::new()),
                        None => (limited.clone(), recorded.throttle_arguments()),
                    };
                    let found = found.as_object().cloned().unwrap_or_default();
                    if found != expected && !self.world.change_refused {
                        wrong.push(format!("limits of {}: {found:?}, recorded {recorded:?}", device.id));
                    }
                }
                for device in devices {
                    let Some(nic) = device.nic().filter(|_| !self.world.change_refused) else { continue };
                    let link_down = model.netdevs.get(device.id.as_str()).map(|netdev| netdev.link_down);
                    if link_down.is_some_and(|down| down != nic.link_down) {
                        wrong.push(format!(
                            "link of {}: down is {link_down:?}, recorded {}",
                            device.id, nic.link_down
                        ));
                    }
                    let taps = self.world.host.taps();
                    let bridge = nic.ifname.as_ref().and_then(|name| taps.get(name.as_str()));
                    let recorded = nic.bridge.as_ref().map(ToString::to_string);
                    if bridge.is_some_and(|bridge| *bridge != recorded) {
                        wrong.push(format!("bridge of {}: {bridge:?}, recorded {recorded:?}", device.id));
                    }
                    let limits = nic.ifname.as_ref().and_then(|name| self.world.host.limits(name));
                    if limits.is_some_and(|limits| limits != nic.limits()) {
                        let recorded = nic.limits();
                        wrong.push(format!("limits of {}: {limits:?}, recorded {recorded:?}", device.id));
                    }
                }
            }
        }
        self.world.violations.append(&mut wrong);
    }
}
