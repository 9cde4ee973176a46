//! The whole state as text, and as a number that is the same for states that go on alike.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::Model;

impl Model {
    /// The whole state, one line a thing.
    pub fn snapshot(&self) -> Vec<String> {
        let named = self.monitors.iter().flat_map(|monitor| monitor.fds.keys());
        let mut lines: Vec<String> = named.map(|name| format!("fd {name}")).collect();
        lines.extend(self.netdevs.iter().map(|(id, netdev)| {
            let broken = if netdev.broken { ", half made" } else { "" };
            let down = if netdev.link_down { ", link down" } else { "" };
            match &netdev.kind {
                None => format!("netdev {id}: {} fds{broken}{down}", netdev.fds.len()),
                Some(kind) => format!("netdev {id}: {kind}{down}"),
            }
        }));
        lines.extend(self.added_chardevs.keys().map(|id| format!("chardev {id}")));
        lines.extend(self.fdsets.iter().map(|(id, set)| {
            let tags: Vec<&str> = set.fds.iter().map(|fd| fd.opaque.as_deref().unwrap_or("-")).collect();
            format!("fdset {id}: {tags:?}, used by {:?}", set.users)
        }));
        let nodes = self.nodes.iter();
        lines.extend(nodes.map(|(name, node)| format!("node {name}: {:?}, {} bytes", node.sets, node.size)));
        lines.extend(self.objects.iter().map(|(id, arguments)| format!("object {id}: {arguments}")));
        lines.extend(self.drives.keys().map(|name| format!("drive {name}")));
        lines.extend(self.devices.iter().map(|device| {
            let asked = if device.asked.is_some() { ", asked to leave" } else { "" };
            let id = device.id.as_deref().unwrap_or("-");
            let place = match device.unit {
                Some((channel, target, lun)) => format!("{channel}:{target}:{lun}"),
                None => format!("{}.{}", device.slot, device.function),
            };
            let throttle = match &device.throttle {
                serde_json::Value::Null => String::new(),
                limits => format!(", limited to {limits}"),
            };
            format!("device {id}: {} at {} {place}{asked}{throttle}", device.driver, device.bus)
        }));
        let leaving = self.leaving.iter().filter_map(|leaving| leaving.device.id.as_deref());
        lines.extend(leaving.map(|id| format!("leaving {id}")));
        lines.push(format!("state {}", self.run_state));
        lines.sort();
        lines
    }

    /// The same for two models that answer every command alike from now on, but for numbers of descriptors
    /// and names of nodes that QEMU makes up. Times count by what follows from them, and what a client did
    /// wrong before does not count.
    pub fn fingerprint(&self) -> u64 {
        let mut state = self.clone();
        let (now, expiry) = (self.now, self.expiry);
        let expired = |asked: Duration| expiry.is_some_and(|after| now.saturating_sub(asked) >= after);
        for device in &mut state.devices {
            device.asked = device.asked.map(|asked| Duration::from_secs(u64::from(expired(asked))));
        }
        state.leaving.iter_mut().for_each(|leaving| leaving.device.asked = None);
        state.due.iter_mut().for_each(|(at, _)| *at = at.saturating_sub(now));
        state.now = Duration::ZERO;
        state.nodes_made = 0;
        state.violations.clear();
        state.descriptors_mut().for_each(|fd| fd.number = 0);
        for below in state.nodes.values_mut().flat_map(|node| &mut node.below) {
            for name in [&mut below.name, &mut below.parent] {
                if name.starts_with('#') {
                    name.truncate(1);
                }
            }
        }
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    }
}
