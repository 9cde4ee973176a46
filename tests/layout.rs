//! The structs of the C ABI lie in memory as `tests/c/layout.h` says, which the C compiler is held to as
//! well.

use std::mem::offset_of;

use kvm_hotplug::capi::adopt::kvm_runtime_adopt_options;
use kvm_hotplug::capi::batch::{kvm_hotplug_add_batch, kvm_hotplug_del_batch};
use kvm_hotplug::capi::boot::kvm_boot_options;
use kvm_hotplug::capi::boot_plan::kvm_boot_plan;
use kvm_hotplug::capi::check::kvm_runtime_problem;
use kvm_hotplug::capi::controller::kvm_hotplug_controller;
use kvm_hotplug::capi::device::kvm_hotplug_device;
use kvm_hotplug::capi::disk::kvm_hotplug_disk;
use kvm_hotplug::capi::event::kvm_hotplug_event;
use kvm_hotplug::capi::guest::kvm_hotplug_open_options;
use kvm_hotplug::capi::link::kvm_hotplug_nic_limits;
use kvm_hotplug::capi::media::kvm_hotplug_medium;
use kvm_hotplug::capi::nic::kvm_hotplug_nic;
use kvm_hotplug::capi::qmp::kvm_hotplug_command;
use kvm_hotplug::capi::removal::kvm_hotplug_del_options;
use kvm_hotplug::capi::runtime::kvm_runtime_config;
use kvm_hotplug::capi::secret::kvm_hotplug_secret;
use kvm_hotplug::capi::slots::kvm_hotplug_slot;
use kvm_hotplug::capi::source::kvm_hotplug_source;
use kvm_hotplug::capi::tap::kvm_hotplug_tap;
use kvm_hotplug::capi::verify::kvm_hotplug_difference;

fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// The lines that the table should have; the pattern makes a forgotten field an error.
macro_rules! lines {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {{
        let mut lines = Vec::new();
        $(
            let _complete = |value: $name| {
                let $name { $($field: _),+ } = value;
            };
            lines.push(format!("STRUCT({}, {})", stringify!($name), size_of::<$name>()));
            $(
                let size = size_of_field(|value: &$name| &value.$field);
                let (name, field, offset) = (stringify!($name), stringify!($field), offset_of!($name, $field));
                lines.push(format!("FIELD({name}, {field}, {offset}, {size})"));
            )+
        )+
        lines
    }};
}

#[test]
#[cfg(target_pointer_width = "64")]
fn rust_and_c_agree_on_the_structs() {
    let mut rust = lines! {
        kvm_boot_options {
            incoming_address, incoming, incoming_fd, qemu_major, qemu_minor, fd_base, spare_ports, flags, reserved, qmp_path,
        }
        kvm_boot_plan { machine, devices, free, ports, new_ports, reserved, bridges, new_bridges }
        kvm_hotplug_open_options { peer_uid, peer_pid, flags, timeout_ms }
        kvm_hotplug_add_batch { nics, nic_size, nic_count, disks, disk_size, disk_count, timeout_ms, flags }
        kvm_hotplug_del_batch { ids, id_count, timeout_ms, flags }
        kvm_hotplug_disk {
            path, id, serial, model, bus, format, cache, aio, discard, detect_zeroes, logical_block_size,
            physical_block_size, queues, slot, boot_index, timeout_ms, flags, wwn, target, lun,
            backing_paths, backing, backing_count, ganeti_entry, properties, iothread, source, limits,
            secrets, secret_count, tls_creds,
        }
        kvm_hotplug_secret { name, data, length }
        kvm_hotplug_device {
            id, bus, mac, ifname, bridge, model, serial, path, reason_text, generation, device_type, state,
            reason, slot, queues, vhost, mtu, read_only, removed_after_reboot, reserved, address_type,
            channel, target, lun, link_down, boot_index, format, cache, aio, discard, detect_zeroes, share_rw,
            logical_block_size, physical_block_size, wwn, pci_path, guest_address, guest_name,
            guest_slot_name,
        }
        kvm_hotplug_event {
            id, text, generation, lost, event_type, device_type, times, action, write, no_space, by_guest,
            error_kind, error_number, ifname,
        }
        kvm_hotplug_medium {
            path, backing_paths, format, backing, backing_count, timeout_ms, force, reserved,
        }
        kvm_hotplug_command { execute, arguments, fd, timeout_ms, flags, reserved }
        kvm_hotplug_nic {
            id, mac, bridge, ifname, model, bus, tap_fds, tap_fd_count, queues, vhost, mtu, slot,
            boot_index, tap_owner, timeout_ms, flags, reserved, netns, ganeti_entry, properties, inbound_average,
            inbound_burst, outbound_average, outbound_burst, netdev, port,
        }
        kvm_hotplug_nic_limits { inbound_average, inbound_burst, outbound_average, outbound_burst }
        kvm_hotplug_del_options { id, timeout_ms, flags }
        kvm_runtime_problem { id, text, kind, reserved }
        kvm_runtime_adopt_options {
            qmp_path, name, command, command_count, directory, pid, reserved_slots, flags, timeout_ms,
        }
        kvm_runtime_config { name, command, command_count, reserved_slots, flags }
        kvm_hotplug_slot { bus, occupant, slot, state, address_type, channel, target, lun }
        kvm_hotplug_controller { id, model, bus, queues, slot, timeout_ms, flags, properties, iothread }
        kvm_hotplug_source {
            nbd_socket, nbd_host, nbd_export, nbd_tls_creds, nbd_tls_hostname, rbd_pool, rbd_image, rbd_namespace,
            rbd_snapshot, rbd_user, rbd_conf, luks_path, luks_key_secret, nbd_port, nbd_reconnect_delay,
            nbd_open_timeout, reserved, rbd_key_secret,
        }
        kvm_hotplug_difference { id, recorded, found, text, kind, repairable }
        kvm_hotplug_tap { ifname, bridge, queues, mtu, tap_owner, flags }
    };
    let table = include_str!("c/layout.h").lines().map(str::trim);
    let mut c: Vec<&str> =
        table.filter(|line| line.starts_with("STRUCT(") || line.starts_with("FIELD(")).collect();
    rust.sort();
    c.sort_unstable();
    assert_eq!(rust, c);
}

#[test]
fn every_struct_of_the_header_is_in_the_table() {
    let table = include_str!("c/layout.h");
    let header = include_str!("../include/kvm_hotplug.h").lines();
    let structs = header.filter_map(|line| line.strip_prefix("struct ")?.strip_suffix(" {"));
    let missing: Vec<&str> = structs.filter(|name| !table.contains(&format!("STRUCT({name}, "))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
