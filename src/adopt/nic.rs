//! A NIC of a running guest. It is recorded if it is over a tap, which QEMU or another program has made.

use serde_json::{Map, Value};

use super::argument::{Argument, is_off, is_on};
use super::taken::{SeenTap, Sight, Taken, Why, backend_name, boot_index, flag, further};
use crate::engine::shown::{Netdev, OF_NIC, ShownDevice};
use crate::ids::{Address, IfName, MacAddr};
use crate::model::{BackendNames, Spec};
use crate::net::spec::NicSpec;

/// Members of `-netdev` that the record keeps, or that say how the tap was made.
const OF_NETDEV: &[&str] = &[
    "type",
    "id",
    "ifname",
    "script",
    "downscript",
    "br",
    "helper",
    "fd",
    "fds",
    "queues",
    "vhost",
    "vhostfd",
    "vhostfds",
    "vhostforce",
    "vnet_hdr",
    "sndbuf",
    "poll-us",
];

/// Those of them that only the running QEMU has.
const NOT_KEPT: &[&str] = &["sndbuf", "poll-us"];

/// Its settings, or why it stays in the command.
pub(super) fn take(sight: &Sight<'_>, device: &ShownDevice) -> Result<Taken, Why> {
    let address = device.pci_address(&sight.shown.devices)?;
    let name = device.text("netdev").ok_or("it has no netdev")?;
    let netdev =
        sight.shown.netdevs.get(name).ok_or_else(|| format!("QEMU does not show its netdev {name}"))?;
    let option = sight.arguments.iter().find(|argument| argument.is("netdev", name));
    check_netdev(name, netdev, option)?;
    let mut notes = Vec::new();
    let ifname = tap_name(sight, name, netdev)?;
    let tap = sight.host.tap(&ifname)?;
    if !tap.vnet_hdr && device.driver.starts_with("virtio-net") {
        return Err(format!("its tap {ifname} has no virtio-net header, which this library's taps have"));
    }
    note_script(netdev, option, &tap, &mut notes)?;
    let mut spec = settings(sight, device, netdev, option)?;
    let argument = sight.argument_of(device);
    let properties = properties(device, argument, &spec)?;
    spec.rom = spec.boot_index.is_none() && device.text("romfile").is_some();
    place_on(&mut spec, ifname, tap);
    spec.validate().map_err(|error| error.to_string())?;
    let kept = option.into_iter().flat_map(Argument::names).filter(|name| NOT_KEPT.contains(name));
    let names = match device.id.as_deref() {
        Some(id) if id == name => None,
        _ => Some(BackendNames::Netdev(backend_name(name)?)),
    };
    notes.extend(kept.map(|name| format!("the record does not keep {name} of its netdev")));
    Ok(Taken {
        spec: Spec::Nic(spec),
        address: Address::from(address),
        names,
        properties,
        goes: argument.into_iter().chain(option).map(|argument| argument.at).collect(),
        notes,
    })
}

fn check_netdev(name: &str, netdev: &Netdev, option: Option<&Argument>) -> Result<(), Why> {
    if netdev.kind != "tap" {
        return Err(format!("its netdev {name} is of type {}, and the record has taps only", netdev.kind));
    }
    let Some(option) = option else { return Ok(()) };
    if let Some(odd) = option.names().find(|name| !OF_NETDEV.contains(name)) {
        return Err(format!("its netdev {name} has {odd}, which the record has no place for"));
    }
    if option.member("vnet_hdr").is_some_and(is_off) {
        return Err(format!("its netdev {name} has vnet_hdr off, which the record has no place for"));
    }
    Ok(())
}

/// QEMU shows a name or a descriptor, and of a tap that its helper made neither: then it is the one that no
/// other netdev has.
fn tap_name(sight: &Sight<'_>, name: &str, netdev: &Netdev) -> Result<IfName, Why> {
    let shown = |netdev: &Netdev| {
        let named = netdev.ifname.as_deref().and_then(|name| IfName::parse(name).ok());
        named.or_else(|| netdev.fds.first().and_then(|number| sight.host.tap_of(*number)))
    };
    if let Some(found) = shown(netdev) {
        return Ok(found);
    }
    let others: Vec<IfName> = sight.shown.netdevs.values().filter_map(shown).collect();
    let mut left: Vec<IfName> = sight.host.taps().into_iter().filter(|tap| !others.contains(tap)).collect();
    left.dedup();
    match <[IfName; 1]>::try_from(left) {
        Ok([only]) => Ok(only),
        Err(_) => Err(format!("which tap its netdev {name} has cannot be seen")),
    }
}

/// The library puts a tap on a bridge by itself. What else a script does is not known.
fn note_script(
    netdev: &Netdev,
    option: Option<&Argument>,
    tap: &SeenTap,
    notes: &mut Vec<String>,
) -> Result<(), Why> {
    // Of a given descriptor and of the helper's taps QEMU runs none.
    let runs_none = |option: &Argument| {
        ["fd", "fds", "helper"].iter().any(|name| option.member(name).is_some())
            || option.member("type") == Some("bridge")
    };
    if option.is_some_and(runs_none) || !netdev.fds.is_empty() {
        return Ok(());
    }
    let script = option.and_then(|option| option.member("script")).or(netdev.script.as_deref());
    let Some(script) = script.filter(|script| !matches!(*script, "" | "no")) else { return Ok(()) };
    match &tap.bridge {
        Some(bridge) => {
            notes.push(format!("its script {script} is not run again: the record has bridge {bridge}"));
            Ok(())
        }
        None => Err(format!(
            "its script {script} sets its tap up in a way that cannot be seen: the tap is on no bridge"
        )),
    }
}

fn settings(
    sight: &Sight<'_>,
    device: &ShownDevice,
    netdev: &Netdev,
    option: Option<&Argument>,
) -> Result<NicSpec, Why> {
    let mac = device.text("mac").and_then(|text| MacAddr::parse(text).ok());
    let mac = mac.ok_or("QEMU does not say which MAC address it has")?;
    let mut spec = NicSpec::new(mac);
    spec.model.clone_from(&device.driver);
    spec.queues = u16::try_from(netdev.queues).map_err(|_| "it has too many queues")?;
    spec.vhost = match option {
        Some(option) => has_vhost(option),
        None if spec.model.starts_with("virtio-net") => unlisted_vhost(sight)?,
        None => false,
    };
    spec.mtu = device.number("host_mtu").and_then(|mtu| u16::try_from(mtu).ok()).filter(|mtu| *mtu > 0);
    spec.boot_index = boot_index(device);
    if spec.queues > 1 && !flag(device, "mq") {
        return Err("its netdev has several queues, of which it uses one".to_owned());
    }
    Ok(spec)
}

fn has_vhost(option: &Argument) -> bool {
    let given = ["vhostfd", "vhostfds"].iter().any(|name| option.member(name).is_some());
    given || ["vhost", "vhostforce"].iter().any(|name| option.member(name).is_some_and(is_on))
}

/// Of NICs that neither command nor record have: QEMU does not say which of them have vhost, only how many
/// descriptors of it there are is seen.
fn unlisted_vhost(sight: &Sight<'_>) -> Result<bool, Why> {
    let unknown = || "whether vhost-net moves its packets cannot be seen".to_owned();
    let (mut listed, mut unlisted) = (0, 0);
    for (name, netdev) in sight.shown.netdevs.iter().filter(|(_, netdev)| netdev.kind == "tap") {
        match sight.arguments.iter().find(|argument| argument.is("netdev", name)) {
            Some(option) if has_vhost(option) => listed += netdev.queues,
            Some(_) => {}
            None if sight.vhosts.get(name) == Some(&true) => listed += netdev.queues,
            None if sight.vhosts.contains_key(name) => {}
            None => unlisted += netdev.queues,
        }
    }
    match sight.host.vhosts().ok_or_else(unknown)?.checked_sub(listed) {
        Some(0) => Ok(false),
        Some(rest) if rest == unlisted => Ok(true),
        _ => Err(unknown()),
    }
}

/// What the record's own places do not say.
fn properties(
    device: &ShownDevice,
    argument: Option<&Argument>,
    spec: &NicSpec,
) -> Result<Map<String, Value>, Why> {
    let mut properties = further(device, argument, OF_NIC);
    let asked = |name: &str| argument.and_then(|argument| argument.member(name));
    if spec.queues == 1 && asked("mq").is_some_and(is_on) {
        properties.insert("mq".to_owned(), true.into());
    }
    // One for each queue in both directions, one for control, one for configuration changes.
    let usual = if spec.queues > 1 { 2 * u64::from(spec.queues) + 2 } else { 0 };
    let vectors = device.number("vectors").filter(|vectors| *vectors != usual);
    if let Some(vectors) = vectors.filter(|_| usual > 0 || asked("vectors").is_some()) {
        properties.insert("vectors".to_owned(), vectors.into());
    }
    match (asked("romfile"), spec.boot_index) {
        (Some(""), Some(_)) => drop(properties.insert("romfile".to_owned(), "".into())),
        (Some(rom), _) if !rom.is_empty() => drop(properties.insert("romfile".to_owned(), rom.into())),
        _ => {}
    }
    Ok(properties)
}

/// A tap that the kernel deletes with QEMU is made anew for the next start. One that stays belongs to another
/// program.
fn place_on(spec: &mut NicSpec, ifname: IfName, tap: SeenTap) {
    match tap.own {
        Some(own) => {
            spec.tap = Some(ifname.to_string());
            spec.tap_identity = Some(own);
        }
        None => spec.given_tap = Some(tap.given),
    }
    spec.bridge = tap.bridge;
    spec.ifname = Some(ifname);
}
