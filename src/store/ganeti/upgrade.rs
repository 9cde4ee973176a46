//! What Ganeti changes in an old list when it loads it, done also where Ganeti's own code slips.
//!
//! Ganeti does it in memory and writes the result with the next change; so does this library. See
//! `_UpgradeSerializedRuntime` in Ganeti 3.0 and `kvm_runtime.py` in 3.1.

use super::json::{Json, Object};
use super::uuid;
use crate::model::Device;

/// The command line for today's QEMU.
///
/// `-chroot` is left out: since 3.1 it is added at execution, by what the instance's parameters are then.
/// (Ganeti leaves it out only if there is a `-vnc`, an indentation slip.)
pub(super) fn command(old: &[Json]) -> Vec<Json> {
    rewritten(old, false)
}

/// The command line as it goes into the file. `-chroot` stays: 3.0 would start the guest without one.
pub(super) fn written_command(old: &[Json]) -> Vec<Json> {
    rewritten(old, true)
}

fn rewritten(old: &[Json], chroot: bool) -> Vec<Json> {
    let mut new = Vec::with_capacity(old.len());
    let mut rest = old.iter().peekable();
    while let Some(argument) = rest.next() {
        let name = match argument {
            Json::Text(name) if !new.is_empty() => name.as_str(),
            _ => "",
        };
        let value = match rest.peek() {
            Some(Json::Text(value)) => Some(value.as_str()),
            _ => None,
        };
        match (name, value) {
            ("-localtime", _) => new.extend(["-rtc", "base=localtime"].map(Json::from)),
            ("-balloon", Some(value)) => {
                new.extend([Json::from("-device"), balloon(value).into()]);
                rest.next();
            }
            ("-chroot", Some(_)) if !chroot => drop(rest.next()),
            ("-vnc", Some(value)) => {
                new.extend(vnc(value));
                rest.next();
            }
            _ => new.push(argument.clone()),
        }
    }
    new
}

/// `virtio,addr=0x3` becomes `virtio-balloon,addr=0x3`.
fn balloon(value: &str) -> String {
    match value.split_once(',') {
        Some((_, options)) => format!("virtio-balloon,{options}"),
        None => "virtio-balloon".to_owned(),
    }
}

/// TLS became an object of its own.
fn vnc(value: &str) -> Vec<Json> {
    let (mut kind, mut options) = (None, "id=vnctls0,endpoint=server".to_owned());
    let mut kept = Vec::new();
    for part in value.split(',') {
        match part.split_once('=') {
            None if part == "tls" => {
                kind = Some(kind.unwrap_or("tls-creds-anon"));
                kept.push("tls-creds=vnctls0");
            }
            Some((name @ ("x509" | "x509verify"), dir)) => {
                kind = Some("tls-creds-x509");
                let verify = if name == "x509verify" { "yes" } else { "no" };
                options.push_str(&format!(",dir={dir},verify-peer={verify}"));
            }
            _ => kept.push(part),
        }
    }
    let display = [Json::from("-vnc"), kept.join(",").into()];
    match kind {
        Some(kind) => {
            [Json::from("-object"), format!("{kind},{options}").into()].into_iter().chain(display).collect()
        }
        None => display.to_vec(),
    }
}

/// `disk_discard` lost its word "default" with 3.1. Ganeti replaces it only in guests with `-vnc`, by the
/// same slip.
pub(super) fn hvparams(hvparams: &mut Object) {
    if let Some(Json::Text(word)) = hvparams.get_mut("disk_discard") {
        if !matches!(word.as_str(), "ignore" | "unmap") {
            *word = "ignore".to_owned();
        }
    }
}

/// A NIC's or disk's object in today's form: with `hvinfo` instead of `pci`, and with a uuid, which Ganeti
/// draws anew at every load. `device` is what was read from it.
pub(super) fn device(object: &mut Object, device: &Device, seed: &str) {
    legible(object);
    if object.get("uuid").is_none_or(|uuid| *uuid == Json::Null) {
        object.set("uuid", uuid::derived(seed));
    }
    if object.get("hvinfo").is_none_or(|hvinfo| *hvinfo == Json::Null) {
        object.remove("pci");
        object.set("hvinfo", super::entry::hvinfo(device));
    }
}

/// What no Ganeti of today can read: `bridge` (until 2.0), and nulls where it expects numbers.
pub(super) fn legible(object: &mut Object) -> bool {
    let before = object.clone();
    if object.get("pci") == Some(&Json::Null) {
        object.remove("pci");
    }
    if let Some(bridge) = object.remove("bridge") {
        let missing = object.get("nicparams").is_none_or(|nicparams| *nicparams == Json::Null);
        if missing && bridge != Json::Null {
            object.set("nicparams", Object::from([("link", bridge), ("mode", "bridged".into())]));
        }
    }
    *object != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgraded(arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<Json> = arguments.iter().map(|text| Json::from(*text)).collect();
        command(&arguments).iter().map(|json| json.to_string().trim_matches('"').to_owned()).collect()
    }

    #[test]
    fn commands() {
        let table: &[(&[&str], &[&str])] = &[
            (&["kvm", "-localtime", "-usb"], &["kvm", "-rtc", "base=localtime", "-usb"]),
            (&["kvm", "-balloon", "virtio"], &["kvm", "-device", "virtio-balloon"]),
            (
                &["kvm", "-balloon", "virtio,id=balloon,bus=pci.0,addr=0x3"],
                &["kvm", "-device", "virtio-balloon,id=balloon,bus=pci.0,addr=0x3"],
            ),
            (&["kvm", "-vnc", ":5101"], &["kvm", "-vnc", ":5101"]),
            (
                &["kvm", "-vnc", ":1,tls"],
                &[
                    "kvm",
                    "-object",
                    "tls-creds-anon,id=vnctls0,endpoint=server",
                    "-vnc",
                    ":1,tls-creds=vnctls0",
                ],
            ),
            (
                &["kvm", "-vnc", ":1,tls,x509verify=/etc/ssl/vnc,lossy"],
                &[
                    "kvm",
                    "-object",
                    "tls-creds-x509,id=vnctls0,endpoint=server,dir=/etc/ssl/vnc,verify-peer=yes",
                    "-vnc",
                    ":1,tls-creds=vnctls0,lossy",
                ],
            ),
            (
                &["kvm", "-vnc", ":1,tls,x509=/c"],
                &[
                    "kvm",
                    "-object",
                    "tls-creds-x509,id=vnctls0,endpoint=server,dir=/c,verify-peer=no",
                    "-vnc",
                    ":1,tls-creds=vnctls0",
                ],
            ),
            // With and without -vnc.
            (&["kvm", "-chroot", "/c", "-usb"], &["kvm", "-usb"]),
            (&["kvm", "-vnc", ":1", "-chroot", "/c"], &["kvm", "-vnc", ":1"]),
            // Nothing after it: not for us to invent.
            (&["kvm", "-balloon"], &["kvm", "-balloon"]),
            (&["-localtime"], &["-localtime"]),
        ];
        for (old, new) in table {
            assert_eq!(upgraded(old), *new, "{old:?}");
            assert_eq!(upgraded(new), *new, "a second time: {new:?}");
        }
        let old: Vec<Json> = ["kvm", "-localtime", "-chroot", "/c"].map(Json::from).to_vec();
        let kept = Json::from(written_command(&old)).to_string();
        assert_eq!(kept, r#"["kvm", "-rtc", "base=localtime", "-chroot", "/c"]"#);
    }
}
