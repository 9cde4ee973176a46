//! What QEMU adds to a guest by itself, as long as no option of its kind is there: a NIC and a CD drive. The
//! options of what is recorded come and go with the record, and neither may come or go with them.

use std::collections::BTreeSet;

use super::argument::Argument;
use super::command::Rest;
use super::report::Left;
use crate::engine::shown::Shown;

/// Options that keep QEMU from adding a NIC.
const NETS: &[&str] = &["net", "netdev", "nic"];

/// Models that keep it from adding a CD drive.
const DRIVES: &[&str] = &["ide-cd", "ide-hd", "scsi-cd", "scsi-hd"];

/// What QEMU calls the drive that it adds, on `pc` and on `q35`.
const CD_DRIVES: [&str; 2] = ["ide1-cd0", "ide2-cd0"];

/// Says in the command what the guest has by default, or has not. `recorded`: the options that are recorded
/// with a device, by where they stand. Answers the NIC that QEMU has added, if there is one.
pub(super) fn keep(
    arguments: &[Argument],
    recorded: &BTreeSet<usize>,
    shown: &Shown,
    rest: &mut Rest,
) -> Option<Left> {
    if arguments.iter().any(|argument| argument.option == "nodefaults") {
        return None;
    }
    let (gone, stay): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|argument| recorded.contains(&argument.at));
    keep_drive(&gone, &stay, shown, rest);
    let is_net = |argument: &&Argument| NETS.contains(&argument.option.as_str());
    match (gone.iter().any(is_net), stay.iter().any(is_net)) {
        (_, true) => None,
        (true, false) => {
            rest.command.extend(["-nic", "none"].map(str::to_owned));
            None
        }
        (false, false) => keep_nic(shown, rest),
    }
}

fn keep_nic(shown: &Shown, rest: &mut Rest) -> Option<Left> {
    if !shown.has_nic_of_its_own {
        return None;
    }
    rest.command.extend(["-net", "nic"].map(str::to_owned));
    // Not every QEMU is built with it.
    if shown.netdevs.values().any(|netdev| netdev.kind == "user") {
        rest.command.extend(["-net", "user"].map(str::to_owned));
    }
    Some(Left {
        id: None,
        model: "the NIC that QEMU adds by itself".to_owned(),
        path: None,
        hotpluggable: None,
        why: "the command says nothing of a NIC; -nodefaults or -nic none prevents it".to_owned(),
    })
}

fn keep_drive(gone: &[&Argument], stay: &[&Argument], shown: &Shown, rest: &mut Rest) {
    let keeps_away = |argument: &&&Argument| {
        argument.option == "device"
            && argument.member("driver").is_some_and(|driver| DRIVES.contains(&driver))
    };
    if stay.iter().any(|argument| keeps_away(&argument)) {
        return;
    }
    if gone.iter().any(|argument| keeps_away(&argument)) {
        rest.warnings.push(
            "without -nodefaults QEMU adds a CD drive to a start without any disk of scsi-hd".to_owned(),
        );
        return;
    }
    let says_so = |argument: &&Argument| match argument.option.as_str() {
        "cdrom" | "hdc" => true,
        "drive" => argument.member("media") == Some("cdrom") || argument.member("index") == Some("2"),
        _ => false,
    };
    if CD_DRIVES.iter().any(|name| shown.drive(name).is_some()) && !stay.iter().any(says_so) {
        rest.command.extend(["-drive", "media=cdrom,index=2"].map(str::to_owned));
    }
}
