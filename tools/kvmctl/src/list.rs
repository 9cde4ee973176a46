//! list: the devices of a guest, or of its record.

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use kvm_hotplug::model::Presence;
use kvm_hotplug::sanitize::escaped;
use serde::Serialize;

use crate::device::{self, Answer, Json, Shown, State};
use crate::failure::{Result, Status};
use crate::session::Session;

const HEADER: [&str; 5] = ["ID", "TYPE", "AT", "STATE", "WHAT"];

/// A device of a record. Whether the guest has it is not known there.
#[derive(Serialize)]
struct Recorded<'a> {
    #[serde(flatten)]
    device: Json<'a>,
    in_guest: Option<bool>,
}

pub(crate) fn list(session: &mut Session<'_>, id: Option<&str>) -> Result<Status> {
    if session.output.json && session.guest_if_open().is_some() {
        return describe(session, id);
    }
    let mut devices = device::all(session)?;
    if let Some(id) = id {
        devices.retain(|device| device.id() == id);
        if devices.is_empty() {
            return Ok(no_such(session, id));
        }
    }
    let with_guest = session.guest_if_open().is_some();
    let output = &mut session.output;
    match (output.json, id.and(devices.first())) {
        (true, Some(device)) => output.document(&recorded(device)),
        (true, None) => output.document(&devices.iter().map(recorded).collect::<Vec<_>>()),
        (false, _) if devices.is_empty() => output.line("no NICs and no disks"),
        (false, _) => {
            let rows: Vec<_> = devices.iter().map(|device| row(device, with_guest)).collect();
            table(HEADER, rows, output.terminal.columns).lines().for_each(|line| output.line(line));
        }
    }
    Ok(Status::Done)
}

/// The library knows most of a guest's devices.
fn describe(session: &mut Session<'_>, id: Option<&str>) -> Result<Status> {
    match (session.guest()?.describe(id, session.timeout())?, id) {
        (Some(described), _) => session.output.document(&described),
        (None, id) => return Ok(no_such(session, id.unwrap_or_default())),
    }
    Ok(Status::Done)
}

fn no_such(session: &mut Session<'_>, id: &str) -> Status {
    if session.output.json {
        session.output.document(&Answer::new("absent", id));
    } else {
        session.output.complain(&format!("there is no device {id}"));
    }
    Status::Failed
}

fn recorded(device: &Shown) -> Recorded<'_> {
    Recorded { device: device.json(), in_guest: None }
}

fn state(shown: &Shown, with_guest: bool) -> &'static str {
    match shown.state {
        State::Live if with_guest => "in the guest",
        State::Live => "recorded",
        State::Pending if shown.is_coming => "coming",
        State::Pending => "leaving",
        State::AfterReboot if shown.device.presence == Presence::RemoveAfterReboot => "until reboot",
        State::AfterReboot => "after reboot",
        State::Missing => "not in the guest",
    }
}

fn row(shown: &Shown, with_guest: bool) -> [String; 5] {
    let mut what = device::words(&shown.device.spec);
    // A disk's is a path.
    if let Some(name) = shown.view.name.rsplit('/').next().filter(|name| !name.is_empty()) {
        what.push_str(&format!(", {name} in the guest"));
    }
    if !shown.reason.is_empty() {
        what.push_str(&format!(" ({})", shown.reason));
    }
    let cells = [shown.id(), shown.device.kind().name(), &shown.place(), state(shown, with_guest), &what];
    cells.map(|cell| escaped(cell).into_owned())
}

/// Two blanks between columns. Of a terminal, the last column takes what the others leave, in several lines
/// if need be.
pub(crate) fn table(header: [&str; 5], rows: Vec<[String; 5]>, columns: Option<u16>) -> String {
    const GAP: u16 = 2;
    const STATE: u16 = 12;
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(header).add_rows(rows);
    match columns {
        None => table.set_content_arrangement(ContentArrangement::Disabled),
        Some(columns) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns),
    };
    for (index, column) in table.column_iter_mut().enumerate() {
        match index {
            4 => {
                column.set_padding((0, 0));
                continue;
            }
            3 => column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(STATE + GAP))),
            _ => column.set_constraint(ColumnConstraint::ContentWidth),
        };
        column.set_padding((0, GAP));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<[String; 5]> {
        let path = "/srv/images/web1/data-of-the-shop.qcow2, qcow2, serial 0123456789, read-only";
        vec![
            ["nic-pci-4", "nic", "pci.0:04", "in the guest", "52:54:00:00:00:01, tap tap0 on br0"],
            ["disk-pci-5", "disk", "pci.0:05", "leaving", path],
        ]
        .into_iter()
        .map(|row| row.map(str::to_owned))
        .collect()
    }

    #[test]
    fn one_line_for_each_where_there_is_no_terminal() {
        assert_eq!(
            table(HEADER, rows(), None),
            "ID          TYPE  AT        STATE         WHAT\n\
             nic-pci-4   nic   pci.0:04  in the guest  52:54:00:00:00:01, tap tap0 on br0\n\
             disk-pci-5  disk  pci.0:05  leaving       \
             /srv/images/web1/data-of-the-shop.qcow2, qcow2, serial 0123456789, read-only"
        );
    }

    #[test]
    fn it_fits_the_terminal() {
        for columns in [60, 80, 120, 200] {
            let table = table(HEADER, rows(), Some(columns));
            let longest = table.lines().map(str::len).max();
            assert!(longest.is_some_and(|length| length <= usize::from(columns)), "{columns}:\n{table}");
            assert!(table.contains("\ndisk-pci-5  disk  pci.0:05  leaving       /srv"), "{table}");
        }
        let wide = table(HEADER, rows(), Some(200));
        assert_eq!(wide, table(HEADER, rows(), None));
    }
}
