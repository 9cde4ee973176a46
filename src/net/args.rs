//! QEMU's arguments for a NIC: the one place that writes them, for a running guest and for its next start.
//!
//! Nothing that is a default is written: QEMU reads its monitor one byte at a time.

use serde_json::{Map, Value};

use super::spec::NicSpec;
use crate::ids::{DeviceId, PciAddress};

/// What the names of tap fds begin with.
const TAP_FD: char = 'k';
/// The same of vhost fds.
const VHOST_FD: char = 'v';

/// The names under which the tap's fds of a NIC with `queues` queues are handed over: `k<generation>`, then
/// `k<generation>.1` and so on.
///
/// Short, because every byte costs; and used again only if it is known to be free, because QEMU closes what
/// it has under a name when the next fd comes under it, and after an accident that may be a number that is
/// somebody else's by then. Names cannot be listed and outlive their client, so a recovery has to know them.
pub fn fd_names(generation: u64, queues: u16) -> Vec<String> {
    names(TAP_FD, generation, queues)
}

/// The names for the vhost fds, in the same way: `v<generation>`, `v<generation>.1` and so on.
pub fn vhost_fd_names(generation: u64, queues: u16) -> Vec<String> {
    names(VHOST_FD, generation, queues)
}

fn names(kind: char, generation: u64, queues: u16) -> Vec<String> {
    let name = |queue| match queue {
        0 => format!("{kind}{generation}"),
        _ => format!("{kind}{generation}.{queue}"),
    };
    (0..queues).map(name).collect()
}

/// Whether the name is one of [`fd_names`] or [`vhost_fd_names`].
pub fn is_fd_name(name: &str) -> bool {
    name.strip_prefix([TAP_FD, VHOST_FD])
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// The arguments of `netdev_add`, over fds handed over by [`fd_names`] and [`vhost_fd_names`].
pub fn netdev_args(id: &DeviceId, generation: u64, spec: &NicSpec) -> Map<String, Value> {
    let (fds, vhost_fds) = (fd_names(generation, spec.tap_queues()), vhost_fd_names(generation, spec.queues));
    netdev_args_over(id, spec, &fds, &vhost_fds)
}

/// The same over other fds: names, or the numbers they have in a QEMU that inherits them. One per queue; the
/// vhost ones are used only by a NIC with vhost.
pub fn netdev_args_over(
    id: &DeviceId,
    spec: &NicSpec,
    fds: &[String],
    vhost_fds: &[String],
) -> Map<String, Value> {
    if let Some(netdev) = &spec.netdev {
        return netdev.arguments(id.as_str(), spec.queues);
    }
    let mut args = Map::new();
    args.insert("type".into(), "tap".into());
    args.insert("id".into(), id.as_str().into());
    insert_fds(&mut args, "fd", fds);
    if spec.vhost {
        // The fds imply vhost, but only "force" makes a failing one an error. Without it QEMU warns,
        // and 7.2 then dies of an assertion, the guest with it (net_client_init1; measured).
        args.insert("vhostforce".into(), true.into());
        insert_fds(&mut args, "vhostfd", vhost_fds);
    }
    args
}

/// QEMU has an argument for one fd and another, with an "s", for several (net/tap.c splits it on ":").
///
/// When a later one of several is missing, 7.2 keeps the queues before it as a netdev that cannot be deleted
/// ("is not a netdev", measured), so all fds must be in QEMU before the command is sent.
fn insert_fds(args: &mut Map<String, Value>, singular: &str, fds: &[String]) {
    let key = if fds.len() == 1 { singular.to_owned() } else { format!("{singular}s") };
    args.insert(key, fds.join(":").into());
}

/// The arguments of `device_add`; the netdev has the device's id.
pub fn device_args(id: &DeviceId, address: &PciAddress, spec: &NicSpec) -> Map<String, Value> {
    let mut args = unplaced_args(id, spec);
    args.insert("bus".into(), address.bus.as_str().into());
    args.insert("addr".into(), address.addr_text().into());
    args
}

/// The same for a NIC that QEMU is to find a place for.
pub fn unplaced_args(id: &DeviceId, spec: &NicSpec) -> Map<String, Value> {
    let mut args = Map::new();
    args.insert("driver".into(), spec.model.as_str().into());
    args.insert("id".into(), id.as_str().into());
    args.insert("netdev".into(), id.as_str().into());
    args.insert("mac".into(), spec.mac.to_string().into());
    match spec.boot_index {
        Some(index) => args.insert("bootindex".into(), index.into()),
        None if spec.rom => None,
        // The ROM is of use only to a NIC that is booted from; a QEMU in a chroot could not read it, and a
        // migration compares it.
        None => args.insert("romfile".into(), "".into()),
    };
    if spec.queues > 1 {
        args.insert("mq".into(), true.into());
        // One for each receive and transmit queue, one for control, one for configuration changes.
        args.insert("vectors".into(), (2 * u32::from(spec.queues) + 2).into());
    }
    if let Some(mtu) = spec.mtu {
        args.insert("host_mtu".into(), mtu.into());
    }
    args
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::{BusName, MacAddr, Slot};

    fn id() -> DeviceId {
        DeviceId::parse("nic-pci-14").unwrap()
    }

    fn address() -> PciAddress {
        PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::new(14).unwrap() }
    }

    fn plain() -> NicSpec {
        NicSpec::new(MacAddr::local([1, 2, 3]))
    }

    #[test]
    fn fd_names_are_short_and_never_meet() {
        assert_eq!((fd_names(7, 1), vhost_fd_names(7, 1)), (vec!["k7".into()], vec!["v7".into()]));
        assert_eq!(fd_names(12, 3), ["k12", "k12.1", "k12.2"]);
        assert_eq!(vhost_fd_names(12, 2), ["v12", "v12.1"]);
        let mut all =
            [1, 11, u64::MAX].map(|at| [fd_names(at, 256), vhost_fd_names(at, 256)].concat()).concat();
        assert!(all.iter().all(|name| is_fd_name(name) && !name.contains(':')));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 3 * 512);
        for other in ["", "k", "kh", "kx1", "7", "vnet0", "net0", "é1"] {
            assert!(!is_fd_name(other), "{other}");
        }
    }

    #[test]
    fn netdev_table() {
        let table = [
            (plain(), json!({"type": "tap", "id": "nic-pci-14", "fd": "k7"})),
            (
                NicSpec { queues: 3, ..plain() },
                json!({"type": "tap", "id": "nic-pci-14", "fds": "k7:k7.1:k7.2"}),
            ),
            (
                NicSpec { vhost: true, ..plain() },
                json!({"type": "tap", "id": "nic-pci-14", "fd": "k7",
                       "vhostforce": true, "vhostfd": "v7"}),
            ),
            (
                NicSpec { queues: 2, vhost: true, ..plain() },
                json!({"type": "tap", "id": "nic-pci-14", "fds": "k7:k7.1",
                       "vhostforce": true, "vhostfds": "v7:v7.1"}),
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(Value::Object(netdev_args(&id(), 7, &spec)), expected);
        }
    }

    #[test]
    fn netdev_over_inherited_fds() {
        let spec = NicSpec { queues: 2, vhost: true, ..plain() };
        let args = netdev_args_over(&id(), &spec, &["5".into(), "6".into()], &["7".into(), "8".into()]);
        assert_eq!((args["fds"].as_str(), args["vhostfds"].as_str()), (Some("5:6"), Some("7:8")));
        let without = netdev_args_over(&id(), &plain(), &["5".into()], &["7".into()]);
        assert_eq!(Value::Object(without), json!({"type": "tap", "id": "nic-pci-14", "fd": "5"}));
    }

    #[test]
    fn device_table() {
        let common = json!({"driver": "virtio-net-pci", "id": "nic-pci-14", "bus": "pci.0", "addr": "e",
                            "netdev": "nic-pci-14", "mac": "52:54:00:01:02:03"});
        let table = [
            (plain(), json!({"romfile": ""})),
            (NicSpec { boot_index: Some(0), ..plain() }, json!({"bootindex": 0})),
            (NicSpec { rom: true, ..plain() }, json!({})),
            (NicSpec { mtu: Some(9000), ..plain() }, json!({"romfile": "", "host_mtu": 9000})),
            (NicSpec { queues: 2, ..plain() }, json!({"romfile": "", "mq": true, "vectors": 6})),
            (NicSpec { queues: 256, ..plain() }, json!({"romfile": "", "mq": true, "vectors": 514})),
            (NicSpec { model: "e1000".into(), ..plain() }, json!({"romfile": "", "driver": "e1000"})),
            // What stays on the host is not the device's business.
            (
                NicSpec { vhost: true, bridge: Some(crate::ids::IfName::parse("br0").unwrap()), ..plain() },
                json!({"romfile": ""}),
            ),
        ];
        for (spec, more) in table {
            let mut expected = common.clone();
            expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(Value::Object(device_args(&id(), &address(), &spec)), expected);
        }
    }
}
