//! What a QEMU has from its command line: backends that no client of a monitor has made, under any name.

use serde_json::{Value, json};

use super::device::properties;
use super::{Dev, Model, Netdev, Node};

impl Model {
    /// A netdev of `-netdev`, whose descriptors QEMU has opened by itself.
    pub fn start_netdev(&mut self, id: &str) {
        self.netdevs.insert(id.into(), Netdev::default());
    }

    /// A node of `-blockdev`. Its `file` may be the name of another one.
    pub fn start_node(&mut self, name: &str, options: Value, size: u64) {
        self.nodes.insert(name.into(), Node { size, options, ..Node::default() });
    }

    /// A drive of `-drive if=none`, over a raw image. QEMU makes up the name of its node.
    pub fn start_drive(&mut self, name: &str, size: u64) {
        let node = self.node_name(&Value::Null);
        self.start_node(&node, json!({ "driver": "raw" }), size);
        self.drives.insert(name.into(), node);
    }

    /// A device of `-device`, on a PCI bus.
    pub fn start_device(&mut self, id: &str, driver: &str, (bus, slot): (&str, u8), more: Value) {
        let text = |key: &str| more.get(key).and_then(Value::as_str).map(str::to_owned);
        let (netdev, drive, mac) = (text("netdev"), text("drive"), text("mac"));
        let properties = properties(&more);
        let device = Dev::new(Some(id), driver, bus, slot, 0);
        self.devices.push(Dev { netdev, drive, mac, properties, ..device });
    }

    /// The node that a disk stands on.
    pub(super) fn node_of<'a>(&'a self, device: &'a Dev) -> Option<&'a str> {
        let drive = device.drive.as_deref()?;
        Some(self.drives.get(drive).map_or(drive, String::as_str))
    }

    /// QEMU has taken a device apart: its drive goes with it, if it has one.
    pub(super) fn delete_drive_of(&mut self, device: &Dev) {
        let node = device.drive.as_ref().and_then(|drive| self.drives.remove(drive));
        node.and_then(|node| self.nodes.remove(&node));
    }
}
