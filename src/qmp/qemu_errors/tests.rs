use super::*;

/// What QEMU says, word for word, one for each row and in the order of the rows.
const SAID: &[(&str, &str, &str, Refusal)] = &[
    ("device_add", "GenericError", "Duplicate ID 'lan' for device", Refusal::DuplicateDevice),
    ("device_add", "GenericError", "Duplicate device ID 'lan'", Refusal::DuplicateDevice),
    ("netdev_add", "GenericError", "Duplicate ID 'lan'", Refusal::DuplicateBackend),
    ("blockdev-add", "GenericError", "Duplicate node name", Refusal::DuplicateBackend),
    ("blockdev-add", "GenericError", "Duplicate nodes with node-name='data'", Refusal::DuplicateBackend),
    ("device_del", "DeviceNotFound", "Device 'lan' not found", Refusal::Absent),
    ("qom-get", "GenericError", "Property 'virtio-net-pci.netdev' not found", Refusal::Absent),
    ("remove-fd", "GenericError", "File descriptor named 'fdset-id:7' not found", Refusal::Absent),
    ("blockdev-add", "GenericError", "Invalid node name", Refusal::NodeName),
    ("blockdev-add", "GenericError", "Invalid node-name: '#'", Refusal::NodeName),
    ("blockdev-add", "GenericError", "Unknown driver 'rbd'", Refusal::NoDriver),
    ("netdev_add", "GenericError", "Parameter 'type' does not accept value 'nosuch'", Refusal::NoDriver),
    ("netdev_add", "GenericError", "Invalid parameter 'nosuch'", Refusal::NoDriver),
    ("blockdev-add", "GenericError", "Parameter 'driver' does not accept value 'nosuch'", Refusal::NoDriver),
    ("blockdev-add", "GenericError", "Invalid parameter 'nosuch'", Refusal::NoDriver),
    ("blockdev-del", "GenericError", "Cannot find node data", Refusal::Absent),
    ("blockdev-del", "GenericError", "Failed to find node with node-name='data'", Refusal::Absent),
    ("blockdev-remove-medium", "GenericError", "Tray of device 'cd' is not open", Refusal::TrayShut),
    ("blockdev-del", "GenericError", "Node data is in use", Refusal::InUse),
    ("blockdev-del", "GenericError", "Block device data is in use", Refusal::InUse),
    (
        "blockdev-del",
        "GenericError",
        "Node 'data' is busy: node is used as backing hd of 'top'",
        Refusal::InUse,
    ),
    (
        "object-add",
        "GenericError",
        "attempt to add duplicate property 'io' to object (type 'container')",
        Refusal::DuplicateBackend,
    ),
    (
        "chardev-add",
        "GenericError",
        "attempt to add duplicate property 'lan' to object (type 'container')",
        Refusal::DuplicateBackend,
    ),
    ("chardev-add", "GenericError", "Chardev with id 'lan' already exists", Refusal::DuplicateBackend),
    ("chardev-remove", "GenericError", "Chardev 'lan' not found", Refusal::Absent),
    ("chardev-remove", "GenericError", "Chardev 'lan' is busy", Refusal::InUse),
    ("object-del", "GenericError", "object 'io' not found", Refusal::Absent),
    ("object-del", "GenericError", "object 'g' is in use, can not be deleted", Refusal::InUse),
    ("object-del", "GenericError", "Cannot delete throttle group 'g' with active references", Refusal::InUse),
    (
        "device_del",
        "GenericError",
        "Device lan is already in the process of unplug",
        Refusal::AlreadyUnplugging,
    ),
    (
        "device_del",
        "GenericError",
        "Hot-unplug failed: guest is busy (power indicator blinking)",
        Refusal::GuestBusy,
    ),
    ("device_del", "GenericError", "Bus 'pcie.0' does not support hotplugging", Refusal::NotHotpluggable),
    ("device_del", "GenericError", "Device 'VGA' does not support hotplugging", Refusal::NotHotpluggable),
    ("device_add", "GenericError", "Device 'VGA' does not support hotplugging", Refusal::NotHotpluggable),
    (
        "device_add",
        "GenericError",
        "Hot-plug failed: unsupported by the port device 'rp0'",
        Refusal::NotHotpluggable,
    ),
    (
        "device_del",
        "GenericError",
        "Hot-unplug failed: unsupported by the port device 'rp0'",
        Refusal::NotHotpluggable,
    ),
    (
        "device_add",
        "GenericError",
        "Unsupported PCI slot 0 for standard hotplug controller. Valid slots are between 1 and 31.",
        Refusal::NotHotpluggable,
    ),
    (
        "device_add",
        "GenericError",
        "PCI: slot 8 function 0 not available for virtio-rng-pci, in use by virtio-rng-pci,id=x",
        Refusal::PlaceTaken,
    ),
    ("device_add", "GenericError", "lun already used by 'data'", Refusal::PlaceTaken),
    ("device_add", "GenericError", "Failed to get \"write\" lock", Refusal::ImageLocked),
    ("blockdev-add", "GenericError", "Failed to get shared \"write\" lock", Refusal::ImageLocked),
    (
        "device_add",
        "GenericError",
        "Cannot get 'write' permission without 'resize': Image size is not a multiple of request alignment",
        Refusal::UnalignedSize,
    ),
    (
        "blockdev-add",
        "GenericError",
        "The device is not writable: Permission denied",
        Refusal::ReadOnlyDevice,
    ),
    ("device_del", "GenericError", "device_del not allowed while migrating", Refusal::Migrating),
    (
        "qmp_capabilities",
        "CommandNotFound",
        "Capabilities negotiation is already complete, command ignored",
        Refusal::AlreadyNegotiated,
    ),
];

#[test]
fn each_row_is_found_by_its_words_and_by_its_command() {
    assert_eq!(SAID.len(), ROWS.len());
    for ((command, class, text, meant), row) in SAID.iter().zip(ROWS) {
        let error = Error::qmp(*class, *text);
        let found = find(command, &error).unwrap_or_else(|| panic!("{command}: {text}"));
        assert!(std::ptr::eq(found, row), "{text} is found as {found:?}");
        assert_eq!(found.refusal, *meant, "{text}");
        assert_eq!(find("query-status", &error).map(|row| row.says), None, "{text}");
    }
}

#[test]
fn other_words_are_not_in_the_table() {
    for (command, text) in [
        ("device_add", "Duplicate ID 'lan' for netdev"),
        ("device_add", "Device 'lan' not found"),
        ("device_add", "in use by lan: slot 3 not available for virtio-net-pci"),
        ("blockdev-del", "Failed to get \"write\" lock"),
        ("device_del", "no"),
    ] {
        assert_eq!(refusal(command, &Error::qmp("GenericError", text)), None, "{command}: {text}");
    }
    let ours = Error::new(ErrorKind::NotFound, "Device 'lan' not found");
    assert_eq!(refusal("device_del", &ours), None, "it is not QEMU's");
}

#[test]
fn an_error_gets_a_kind_and_advice_and_keeps_what_qemu_said() {
    for (command, class, text, meant) in SAID {
        let error = explain(command, Error::qmp(*class, *text));
        assert_eq!(error.kind(), meant.kind().unwrap_or(ErrorKind::Qmp), "{text}");
        let message = meant.advice().map_or_else(|| (*text).to_owned(), |advice| format!("{advice}: {text}"));
        assert_eq!(error.message(), message);
        assert_eq!((error.qmp_class(), error.qmp_desc()), (Some(*class), Some(*text)));
    }
    let unknown = explain("device_add", Error::qmp("GenericError", "no"));
    assert_eq!((unknown.kind(), unknown.message()), (ErrorKind::Qmp, "no"));
}

#[test]
fn versions_in_which_it_was_seen() {
    let version = |major, minor| Version { major, minor, micro: 9 };
    for (seen, in_5_2, in_7_2, in_11_1) in [
        (ALL, true, true, true),
        (ONLY_5_2, true, false, false),
        (UNTIL_7_2, true, true, false),
        (SINCE_7_2, false, true, true),
        (SINCE_10_0, false, false, true),
    ] {
        let has = [(5, 2), (7, 2), (11, 1)].map(|(major, minor)| seen.has(version(major, minor)));
        assert_eq!(has, [in_5_2, in_7_2, in_11_1], "{seen:?}");
    }
}
