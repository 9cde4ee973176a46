//! map: the slots of every bus as a picture. Buses with many slots become two rows of sixteen cells; root
//! ports, which have one slot each, stand side by side; SCSI buses are a line for each target in use.

use std::fmt::Write;

use kvm_hotplug::guest::{SlotInfo, SlotStatus};
use kvm_hotplug::ids::Address;
use kvm_hotplug::model::DeviceKind;
use kvm_hotplug::sanitize::escaped;
use serde::Serialize;

use crate::device::{self, Shown};
use crate::failure::{Result, Status};
use crate::session::Session;
use crate::terminal::{Colour, Terminal};

const ROW: usize = 16;
const WIDTH: usize = 76;

#[derive(Serialize)]
#[serde(untagged)]
enum Json<'a> {
    Pci { bus: &'a str, slot: u8, state: SlotStatus, occupant: Option<&'a str> },
    Scsi { bus: &'a str, target: u8, lun: u16, state: SlotStatus, occupant: Option<&'a str> },
}

impl<'a> From<&'a SlotInfo> for Json<'a> {
    fn from(slot: &'a SlotInfo) -> Self {
        let (state, occupant) = (slot.state, Some(slot.occupant.as_str()).filter(|name| !name.is_empty()));
        match &slot.address {
            Address::Pci(address) => {
                Self::Pci { bus: address.bus.as_str(), slot: address.slot.get(), state, occupant }
            }
            Address::Scsi(address) => {
                let (bus, target, lun) = (address.bus.as_str(), address.target, address.lun.get());
                Self::Scsi { bus, target, lun, state, occupant }
            }
        }
    }
}

/// What there is to see, in the order of the legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nic,
    Disk,
    Scsi,
    Port,
    Leaving,
    Taken,
    Reserved,
    Free,
    Cold,
    Missing,
    Unknown,
}

const KINDS: [Kind; 11] = [
    Kind::Nic,
    Kind::Disk,
    Kind::Scsi,
    Kind::Port,
    Kind::Leaving,
    Kind::Taken,
    Kind::Reserved,
    Kind::Free,
    Kind::Cold,
    Kind::Missing,
    Kind::Unknown,
];

/// What a cell looks like, three columns wide.
struct Look {
    boxes: &'static str,
    plain: &'static str,
    colour: Colour,
    meaning: &'static str,
}

const fn look(boxes: &'static str, plain: &'static str, colour: Colour, meaning: &'static str) -> Look {
    Look { boxes, plain, colour, meaning }
}

impl Kind {
    const fn look(self) -> Look {
        match self {
            Self::Nic => look("NIC", "NIC", Colour::Nic, "a NIC of the record"),
            Self::Disk => look("DSK", "DSK", Colour::Disk, "a disk of the record"),
            Self::Scsi => look("SCS", "SCS", Colour::Disk, "a SCSI controller of the record"),
            Self::Port => {
                look("PRT", "PRT", Colour::Dim, "a root port or bridge: its bus is drawn by itself")
            }
            Self::Leaving => look("▷▷▷", ">>>", Colour::Pending, "leaving: the guest has not let go yet"),
            Self::Taken => look("███", "###", Colour::Dim, "taken, and not in the record"),
            Self::Reserved => look("░░░", ":::", Colour::Dim, "reserved for QEMU"),
            Self::Free => look("   ", "   ", Colour::None, "free"),
            Self::Cold => look(" ∙ ", " . ", Colour::Dim, "empty, but takes no devices while the guest runs"),
            Self::Missing => {
                look(" ! ", " ! ", Colour::Pending, "a device of the record that the guest does not have")
            }
            Self::Unknown => look(" ? ", " ? ", Colour::Dim, "the guest has not said yet"),
        }
    }
}

/// The lines around cells: side, line, and the corners left, between and right of a top, a middle and a
/// bottom edge.
struct Frame {
    side: &'static str,
    line: &'static str,
    top: Edge,
    middle: Edge,
    bottom: Edge,
}

type Edge = [&'static str; 3];

const PLAIN: Frame =
    Frame { side: "|", line: "---", top: ["+", "+", "+"], middle: ["+", "+", "+"], bottom: ["+", "+", "+"] };
const BOXES: Frame =
    Frame {
        side: "│", line: "───", top: ["┌", "┬", "┐"], middle: ["├", "┼", "┤"], bottom: ["└", "┴", "┘"]
    };

struct Map<'a> {
    terminal: &'a Terminal,
    slots: &'a [SlotInfo],
    devices: &'a [Shown],
    frame: Frame,
    drawn: String,
}

pub(crate) fn map(session: &mut Session<'_>) -> Result<Status> {
    let slots = session.guest()?.slot_map(session.timeout())?;
    let devices = device::all(session)?;
    if session.output.json {
        session.output.document(&slots.iter().map(Json::from).collect::<Vec<_>>());
    } else {
        let terminal = session.output.terminal.clone();
        draw(&terminal, &slots, &devices).lines().for_each(|line| session.output.painted(line));
    }
    Ok(Status::Done)
}

fn draw(terminal: &Terminal, slots: &[SlotInfo], devices: &[Shown]) -> String {
    let frame = if terminal.boxes { BOXES } else { PLAIN };
    let mut map = Map { terminal, slots, devices, frame, drawn: String::new() };
    map.draw_buses();
    map.draw_legend();
    map.drawn
}

impl Map<'_> {
    fn kind(&self, slot: &SlotInfo) -> Kind {
        match slot.state {
            SlotStatus::Free => Kind::Free,
            SlotStatus::Reserved => Kind::Reserved,
            SlotStatus::Quarantined => Kind::Leaving,
            SlotStatus::NotHotpluggable => Kind::Cold,
            SlotStatus::Unknown => Kind::Unknown,
            SlotStatus::Missing => Kind::Missing,
            SlotStatus::Taken => {
                let is_there = |shown: &&Shown| shown.device.address.as_ref() == Some(&slot.address);
                match self.devices.iter().find(is_there).map(|shown| shown.device.kind()) {
                    Some(DeviceKind::Nic) => Kind::Nic,
                    Some(DeviceKind::Disk) => Kind::Disk,
                    Some(DeviceKind::Controller) => Kind::Scsi,
                    None if self.is_port(slot) => Kind::Port,
                    None => Kind::Taken,
                }
            }
        }
    }

    /// The bus behind a port or bridge has its name.
    fn is_port(&self, slot: &SlotInfo) -> bool {
        let has_its_name = |other: &SlotInfo| {
            other.address.pci().is_some_and(|address| address.bus.as_str() == slot.occupant)
        };
        self.slots.iter().any(has_its_name)
    }

    fn put(&mut self, text: &str) {
        self.drawn.push_str(text);
    }

    fn cell(&self, kind: Kind) -> String {
        let look = kind.look();
        self.terminal.paint(look.colour, if self.terminal.boxes { look.boxes } else { look.plain })
    }

    fn draw_buses(&mut self) {
        let mut column = 0;
        for slots in self.slots.chunk_by(|one, next| one.address.bus() == next.address.bus()) {
            if let [port @ SlotInfo { address: Address::Pci(_), .. }] = slots {
                self.draw_port(port, &mut column);
                continue;
            }
            self.end_ports(&mut column);
            match slots.first().map(|slot| &slot.address) {
                Some(Address::Scsi(_)) => self.draw_targets(slots),
                _ => self.draw_grid(slots),
            }
        }
        self.end_ports(&mut column);
    }

    fn end_ports(&mut self, column: &mut usize) {
        if std::mem::take(column) > 0 {
            self.put("\n");
        }
    }

    fn draw_port(&mut self, slot: &SlotInfo, column: &mut usize) {
        let (bus, occupant) = (escaped(slot.address.bus().as_str()), escaped(&slot.occupant));
        let length = bus.chars().count() + occupant.chars().count() + 10;
        if *column > 0 && *column + length > WIDTH {
            self.end_ports(column);
        }
        let (side, cell) = (self.frame.side, self.cell(self.kind(slot)));
        self.put(&format!("  {bus} {side}{cell}{side} {occupant}"));
        *column += length;
    }

    /// A SCSI bus has too many places for a picture: those in use, and the one that is handed out next.
    fn draw_targets(&mut self, slots: &[SlotInfo]) {
        self.draw_name(slots);
        for slot in slots {
            let Some(address) = slot.address.scsi() else { continue };
            let (side, cell, occupant) =
                (self.frame.side, self.cell(self.kind(slot)), escaped(&slot.occupant));
            let (target, lun) = (address.target, address.lun.get());
            self.put(&format!("  {target:3}:{lun:<5} {side}{cell}{side} {occupant}\n"));
        }
    }

    fn draw_name(&mut self, slots: &[SlotInfo]) {
        let name = slots.first().map(|slot| slot.address.bus().as_str()).unwrap_or_default();
        self.put(&escaped(name));
        self.put("\n");
    }

    fn draw_grid(&mut self, slots: &[SlotInfo]) {
        let cells = slots.len().min(ROW);
        self.draw_name(slots);
        self.put("     ");
        (0..cells).for_each(|cell| self.put(&format!("  {cell:x} ")));
        self.put("\n");
        for (row, slots) in slots.chunks(ROW).enumerate() {
            let edge = if row == 0 { self.frame.top } else { self.frame.middle };
            self.draw_edge(edge, cells);
            let first = slots.first().map_or(0, number);
            self.put(&format!("  {first:02x} {}", self.frame.side));
            for slot in slots {
                let cell = self.cell(self.kind(slot));
                self.put(&cell);
                self.put(self.frame.side);
            }
            self.put("\n");
        }
        self.draw_edge(self.frame.bottom, cells);
        self.name_occupants(slots);
    }

    fn draw_edge(&mut self, [left, between, right]: Edge, cells: usize) {
        let line = vec![self.frame.line; cells].join(between);
        self.put(&format!("     {left}{line}{right}\n"));
    }

    fn name_occupants(&mut self, slots: &[SlotInfo]) {
        let named = slots.iter().filter(|slot| !slot.occupant.is_empty());
        let names = named.map(|slot| format!("{:02x} {}", number(slot), escaped(&slot.occupant)));
        let lines = joined(names);
        self.put(&format!("     {}\n", if lines.is_empty() { "all empty" } else { &lines }));
    }

    fn draw_legend(&mut self) {
        for kind in KINDS {
            if self.slots.iter().any(|slot| self.kind(slot) == kind) {
                self.put(&format!("     {}  {}\n", self.cell(kind), kind.look().meaning));
            }
        }
    }
}

fn number(slot: &SlotInfo) -> u8 {
    slot.address.pci().map_or(0, |address| address.slot.get())
}

/// With commas between, in lines that are not longer than [`WIDTH`].
fn joined(words: impl Iterator<Item = String>) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in words {
        let length = word.chars().count();
        let gap = match column {
            0 => "",
            _ if column + length + 2 > WIDTH => {
                column = 0;
                ",\n     "
            }
            _ => ", ",
        };
        column += length + if gap == ", " { 2 } else { 0 };
        // To write into a string does not fail.
        let _ = write!(lines, "{gap}{word}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occupants_are_named_in_lines_that_fit() {
        assert_eq!(joined(std::iter::empty()), "");
        assert_eq!(joined(["00 a".to_owned(), "01 b".to_owned()].into_iter()), "00 a, 01 b");
        let many = joined((0..32).map(|slot| format!("{slot:02x} disk-pci-{slot}")));
        assert!(many.lines().all(|line| line.len() <= WIDTH + 6), "{many}");
        assert!(many.lines().count() > 4 && many.starts_with("00 disk-pci-0, 01 "), "{many}");
    }

    #[test]
    fn cells_are_three_wide() {
        for kind in KINDS {
            let look = kind.look();
            assert_eq!((look.boxes.chars().count(), look.plain.len()), (3, 3), "{}", look.meaning);
        }
    }
}
