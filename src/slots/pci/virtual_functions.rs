//! Models that take more slots than one: QEMU puts the virtual functions of an `igb` NIC behind it.

/// How many slots behind its own the virtual functions of an `igb` are.
///
/// It has eight of them. Their device numbers begin 128 behind its own and are two apart: of a NIC in slot 5
/// of `pci.0`, QEMU 10.0 and 11.1 refuse slots 21 and 22 to other devices. Of one in slot 15 there is no room
/// for the last ("VF addr overflows").
const IGB: &[u8] = &[16, 17];

/// Vendor and device of an `igb`, as `query-pci` shows it.
const IGB_ID: (u16, u16) = (0x8086, 0x10c9);

/// Which model's slots a device of the guest takes, if they are more than its own.
pub(super) fn model_with_more(pci_id: Option<(u16, u16)>, description: &str) -> &'static str {
    if pci_id == Some(IGB_ID) || description == "igb" { "igb" } else { "" }
}

/// How many slots behind its own a device of this model takes further ones.
pub(super) fn offsets(model: &str) -> &'static [u8] {
    if model == "igb" { IGB } else { &[] }
}

/// The same for messages.
pub(super) fn words(model: &str) -> String {
    let numbers: Vec<String> = offsets(model).iter().map(u8::to_string).collect();
    format!("the slots {} behind its own", numbers.join(" and "))
}
