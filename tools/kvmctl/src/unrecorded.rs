//! list --unrecorded: what the guest has and the record has not.

use kvm_hotplug::sanitize::escaped;
use serde_json::Value;

use crate::failure::{Result, Status};
use crate::session::Session;

pub(crate) fn list(session: &mut Session<'_>) -> Result<Status> {
    let found = session.guest()?.describe_unrecorded(session.timeout())?;
    if session.output.json {
        session.output.document(&found);
        return Ok(Status::Done);
    }
    let all = found.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        session.output.line("the record has all NICs, disks and SCSI controllers");
    }
    for device in all {
        session.output.line(&escaped(&words(device)));
    }
    Ok(Status::Done)
}

/// One device, in a line.
fn words(device: &Value) -> String {
    let text = |name: &str| device.get(name).and_then(Value::as_str);
    let name = text("id").or(text("path")).unwrap_or_default();
    let mut words = format!("{name}: {}", text("model").unwrap_or_default());
    for part in [text("mac"), text("drive")].into_iter().flatten() {
        words.push_str(&format!(", {part}"));
    }
    words.push_str(&place(device));
    for part in [text("why"), text("stays")].into_iter().flatten() {
        words.push_str(&format!("; {part}"));
    }
    words
}

fn place(device: &Value) -> String {
    let number = |name: &str| device.get(name).and_then(Value::as_u64);
    let Some(bus) = device.get("bus").and_then(Value::as_str) else { return String::new() };
    match (number("slot"), number("target"), number("lun")) {
        (Some(slot), ..) => format!(", at {bus}:{slot:02x}.{}", number("function").unwrap_or(0)),
        (None, Some(target), Some(lun)) => format!(", at {bus}:{target}:{lun}"),
        _ => format!(", on {bus}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_for_each() {
        let nic = json!({
            "id": null, "path": "/machine/unattached/device[21]", "model": "virtio-net-pci", "bus": "pci.0", "slot": 16,
            "function": 1, "mac": "52:54:00:12:34:56", "why": "it has no id, which the record needs", "stays": null,
        });
        assert_eq!(
            words(&nic),
            "/machine/unattached/device[21]: virtio-net-pci, 52:54:00:12:34:56, at pci.0:10.1; it has no id, which \
             the record needs"
        );
        let disk = json!({
            "id": "d", "path": "/machine/peripheral/d", "model": "scsi-hd", "bus": "s.0", "target": 3, "lun": 0,
            "drive": "x", "why": "a", "stays": "b",
        });
        assert_eq!(words(&disk), "d: scsi-hd, x, at s.0:3:0; a; b");
    }
}
