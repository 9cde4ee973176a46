//! PCI Express's own hotplug, without a guest: the slot is switched off as a guest would do it, by the root
//! port's registers. With it a reset takes nothing out.

use serde_json::json;

use super::qemu::{Qemu, version};

const ADDRESS_PORT: u32 = 0xcf8;
const DATA_PORT: u32 = 0xcfc;
const COMMAND: u32 = 0x04;
const MEMORY_SPACE: u32 = 0x02;
const CAPABILITIES: u32 = 0x34;
const PCI_EXPRESS: u32 = 0x10;
const SLOT_CONTROL: u32 = 0x18;
/// And the indicator too.
const POWER_ON: u32 = 0x0100;
const POWER_OFF: u32 = 0x0700;

/// Whether the ports of this QEMU plug by themselves.
pub(crate) fn is_native() -> bool {
    version().major == 5
}

/// Where the root port sits whose bus has this name, if it is one.
pub(crate) fn devfn_of(qemu: &mut Qemu, bus: &str) -> Option<u32> {
    model_of(qemu, bus).filter(|model| model.contains("root-port"))?;
    let path = format!("/machine/peripheral/{bus}");
    let devfn = qemu.ask("qom-get", json!({ "path": path, "property": "addr" }));
    Some(devfn.as_u64()?.try_into().unwrap())
}

/// Whether the bus of this name is that of a PCI bridge whose own hot-plug controller (SHPC) plugs, as all do
/// but those of pc with ACPI.
pub(crate) fn is_behind_shpc(qemu: &mut Qemu, bus: &str) -> bool {
    let machine = qemu.ask("qom-get", json!({ "path": "/machine", "property": "type" }));
    let is_pc = machine.as_str().is_some_and(|name| name.starts_with("pc-i440fx"));
    !is_pc && model_of(qemu, bus).is_some_and(|model| model.contains("pci-bridge"))
}

/// The model of a device with an id, as QOM calls it.
fn model_of(qemu: &mut Qemu, id: &str) -> Option<String> {
    let all = qemu.ask("qom-list", json!({ "path": "/machine/peripheral" }));
    let found = all.as_array()?.iter().find(|entry| entry["name"] == id)?;
    found["type"].as_str().map(str::to_owned)
}

/// On first: QEMU acts on the change only, and a slot that was empty when it started is off.
pub(crate) fn switch_off(qemu: &mut Qemu, devfn: u32) {
    let capability = express_capability(qemu, devfn);
    for value in [POWER_ON, POWER_OFF] {
        write(qemu, devfn, capability + SLOT_CONTROL, value);
    }
    // QEMU's memory map is changed for nothing: it may keep the last reference to a device until then.
    let command = read(qemu, devfn, COMMAND) & 0xffff;
    for value in [command ^ MEMORY_SPACE, command] {
        write(qemu, devfn, COMMAND, value);
    }
}

fn express_capability(qemu: &mut Qemu, devfn: u32) -> u32 {
    let mut offset = read(qemu, devfn, CAPABILITIES) & 0xfc;
    while offset != 0 {
        let head = read(qemu, devfn, offset);
        if head & 0xff == PCI_EXPRESS {
            return offset;
        }
        offset = (head >> 8) & 0xfc;
    }
    panic!("the port at {devfn:#x} is not PCI Express");
}

fn line(qemu: &mut Qemu, line: &str) -> String {
    let said = qemu.ask("human-monitor-command", json!({ "command-line": line }));
    said.as_str().unwrap().to_owned()
}

fn select(qemu: &mut Qemu, devfn: u32, offset: u32) {
    let address = 0x8000_0000 | (devfn << 8) | offset;
    line(qemu, &format!("o /w {ADDRESS_PORT:#x} {address:#x}"));
}

fn read(qemu: &mut Qemu, devfn: u32, offset: u32) -> u32 {
    select(qemu, devfn, offset);
    let said = line(qemu, &format!("i /w {DATA_PORT:#x}"));
    let number = said.split("= 0x").nth(1).unwrap().trim();
    u32::from_str_radix(number, 16).unwrap()
}

fn write(qemu: &mut Qemu, devfn: u32, offset: u32, value: u32) {
    select(qemu, devfn, offset);
    line(qemu, &format!("o /h {DATA_PORT:#x} {value:#x}"));
}
