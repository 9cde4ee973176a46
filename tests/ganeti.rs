//! Ganeti's runtime files: read as Ganeti meant them, written so that Ganeti reads them.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::result_large_err)]

#[path = "ganeti/boot.rs"]
mod boot;
#[path = "ganeti/convert.rs"]
mod convert;
#[path = "ganeti/entry.rs"]
mod entry;
#[path = "ganeti/identity.rs"]
mod identity;
#[path = "ganeti/live.rs"]
mod live;
#[path = "ganeti/malformed.rs"]
mod malformed;
#[path = "ganeti/odd.rs"]
mod odd;
#[path = "ganeti/samples.rs"]
mod samples;
mod support;

use std::path::PathBuf;

use kvm_hotplug::ids::Address;
use kvm_hotplug::model::Device;
use kvm_hotplug::store::RecordFile;
use serde_json::Value;
use support::ganeti::sample;

use entry::*;
use live::*;

/// A directory with one runtime file in it.
struct Dir(tempfile::TempDir);

impl Dir {
    fn with(bytes: impl AsRef<[u8]>) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        std::fs::write(dir.file(), bytes).unwrap();
        dir
    }

    fn sample(name: &str) -> Self {
        Self::with(sample(name))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("web1.runtime")
    }

    fn load(&self) -> RecordFile {
        RecordFile::load(&self.file()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// `id bus address`, or `id -` for a device without a place.
fn places<'a>(devices: impl IntoIterator<Item = &'a Device>) -> Vec<String> {
    let place = |device: &Device| match &device.address {
        Some(Address::Pci(at)) => format!("{} {} {}", device.id, at.bus, at.slot),
        Some(Address::Scsi(at)) => {
            format!("{} {} {}:{}:{}", device.id, at.bus, at.channel, at.target, at.lun)
        }
        None => format!("{} -", device.id),
    };
    devices.into_iter().map(place).collect()
}

through_every_api! {
    devices_leave_by_the_id_of_their_era,
    new_devices_are_what_ganeti_looks_for,
    new_devices_have_what_ganeti_would_start_them_with,
    what_the_list_cannot_hold_is_refused_by_name,
    a_guest_of_three_entries_takes_new_devices,
    a_change_for_the_next_boot_stands_beside_the_list,
    an_interrupted_add_is_completed,
    ganeti_may_change_the_list_meanwhile,
    a_callers_tap_is_started_again_by_its_bridge,
    ganetis_entry_stands_in_the_list,
    the_cache_mode_is_that_of_ganetis_storage,
    a_tap_made_here_is_on_the_bridge_of_the_entry,
    an_add_that_is_completed_has_ganetis_entry,
    an_interrupted_add_keeps_ganetis_entry,
}
