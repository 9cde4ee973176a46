//! Resizing a disk while the guest uses it.

use serde_json::Value;

use super::drives;
use super::guest_state::GuestState;
use super::inventory;
use super::limit::Deadline;
use super::overlay::refuse_overlay;
use super::store_step::Undurable;
use crate::disk::{DiskSpec, Format, Kind, Layer};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{BackendNames, Device, DeviceKind, Presence, Spec};
use crate::qmp::{Command, Version};
use crate::sorted::object;
use crate::sys::descriptor::Descriptor;

/// QEMU counts whole sectors, in bytes.
const SECTOR: u64 = 512;

/// Seen in 5.2, and not in 7.2: `block_resize` of a disk with an iothread never comes back.
const RESIZES_IN_IOTHREADS: Version = Version { major: 6, minor: 0, micro: 0 };

/// A new size as the caller asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSize {
    /// In bytes; `None` is what the image has now, for one that was grown from outside.
    pub bytes: Option<u64>,
    /// Smaller than now is fine: what lies behind the new end is lost.
    pub may_shrink: bool,
}

/// The sizes of a disk in bytes.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// What the guest sees.
    seen: u64,
    /// What the image or block device has.
    real: u64,
    /// The image is a block device used as it is: its size is not QEMU's to change.
    fixed: bool,
}

impl GuestState {
    /// Gives the disk a new size, and answers it in bytes.
    pub(super) async fn resize_disk(
        &mut self,
        id: &str,
        wanted: NewSize,
        deadline: &Deadline,
    ) -> Result<(Device, u64)> {
        self.ready(deadline).await?;
        self.await_add(id, deadline).await?;
        let device = self.changeable(id, DeviceKind::Disk)?;
        let describe = |error: Error| error.context(format!("resize {}", device.id));
        let Spec::Disk(spec) = &device.spec else {
            return Err(Error::invalid(format!("{id} is not a disk")));
        };
        check_resizable(&device, spec).map_err(describe)?;
        self.refuse_in_iothread(&device).map_err(describe)?;
        self.refuse_while_migrating(deadline).await?;
        self.look_for_overlays(deadline).await?;
        let device = self.changeable(id, DeviceKind::Disk)?;
        refuse_overlay(&device, "merge it into the disk's image with block-commit first")
            .map_err(describe)?;
        let sizes = self.sizes(&device, spec, wanted, deadline).await.map_err(describe)?;
        let bytes = sizes.settle(wanted).map_err(describe)?;
        if is_same(bytes, sizes.seen) && is_same(bytes, sizes.real) {
            return Ok((device, sizes.seen));
        }
        let name = Value::from(device.backend_name().as_str());
        let arguments = [(name_member(&device), name), ("size", Value::from(bytes))];
        let command = Command::new("block_resize", object(arguments));
        match self.send_one(Undurable::Resize.may(), command, deadline).await {
            Ok(_) => Ok((device, bytes)),
            Err(error) => match self.look_up_size(&device, bytes, sizes.seen, &error, deadline).await {
                Ok(seen) => Ok((device, seen)),
                Err(left) => {
                    let error = describe(error);
                    Err(if left.is_empty() { error } else { error.with_undo(left) })
                }
            },
        }
    }

    /// The disk's own iothread, or that of its controller.
    fn refuse_in_iothread(&self, device: &Device) -> Result<()> {
        let controller = device.controller().and_then(|id| self.known_device(id));
        let has_one = device.has_iothread() || controller.is_some_and(|controller| controller.has_iothread());
        if !has_one || self.version >= RESIZES_IN_IOTHREADS {
            return Ok(());
        }
        let text = format!(
            "QEMU {} stands still for good when it resizes a disk that has an iothread; resize its image when the guest is off",
            self.version
        );
        Err(Error::new(ErrorKind::NotHotpluggable, text))
    }

    async fn sizes(
        &mut self,
        device: &Device,
        spec: &DiskSpec,
        wanted: NewSize,
        deadline: &Deadline,
    ) -> Result<Sizes> {
        let image = self.open_image(spec).await?;
        let seen = self.size_seen(device, deadline).await?;
        let is_device =
            |layer: &Layer<Descriptor>| layer.format == Format::Raw && layer.kind == Kind::HostDevice;
        match image.size {
            Some(real) => Ok(Sizes { seen, real, fixed: image.layers.first().is_some_and(is_device) }),
            // QEMU refuses what it cannot do.
            None if wanted.bytes.is_some() => Ok(Sizes { seen, real: seen, fixed: false }),
            None => Err(Error::invalid(
                "QEMU opens the disk's source by itself, so that its size is not known here; say it",
            )),
        }
    }

    /// What the guest sees of a disk, in bytes.
    async fn size_seen(&mut self, device: &Device, deadline: &Deadline) -> Result<u64> {
        let name = device.backend_name();
        let is_drive = name_member(device) == DRIVE;
        let question = if is_drive { drives::question() } else { inventory::block_nodes() };
        let [answer] = self.questions([question], deadline).await?;
        let named = if is_drive { drives::by_name(&answer) } else { inventory::by_name(&answer) };
        let size = named.get(name.as_str()).and_then(|node| inventory::virtual_size(node));
        size.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("QEMU has no block node {name} with a size"))
        })
    }

    /// The command failed, or nobody knows: the disk is looked at. An error says what is left, if that is not
    /// what was there before.
    async fn look_up_size(
        &mut self,
        device: &Device,
        wanted: u64,
        before: u64,
        error: &Error,
        deadline: &Deadline,
    ) -> std::result::Result<u64, Vec<String>> {
        let refused = error.is_refusal();
        let can_ask = !matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
        let seen = match can_ask && self.ready(deadline).await.is_ok() {
            true => self.size_seen(device, deadline).await.ok(),
            false => None,
        };
        match seen {
            Some(seen) if !refused && is_same(seen, wanted) => Ok(seen),
            Some(seen) if is_same(seen, before) => Err(Vec::new()),
            Some(seen) => Err(vec![format!("disk {}, which has {seen} bytes now", device.id)]),
            None => Err(vec![format!(
                "disk {}: {before} or {wanted} bytes, unknown; repeat the call to be sure",
                device.id
            )]),
        }
    }
}

impl Sizes {
    /// The size to ask for, if it is one that can be had.
    fn settle(self, wanted: NewSize) -> Result<u64> {
        let bytes = wanted.bytes.unwrap_or(self.real);
        if wanted.bytes.is_some() && bytes % SECTOR != 0 {
            return Err(Error::invalid(format!("{bytes} bytes are no multiple of {SECTOR}")));
        }
        if bytes == 0 || i64::try_from(bytes).is_err() {
            return Err(Error::invalid(format!("{bytes} bytes are no size of a disk")));
        }
        if self.fixed && !is_same(bytes, self.real) {
            return Err(Error::invalid(format!(
                "the block device has {} bytes, not {bytes}; resize the device first",
                self.real
            )));
        }
        // Also one that was grown on the host and not told to the guest yet: QEMU would cut it.
        let now = self.seen.max(self.real);
        if bytes < now && !is_same(bytes, now) && !wanted.may_shrink {
            return Err(Error::invalid(format!(
                "the disk has {now} bytes; making it {bytes} loses what lies behind, which has to be asked for"
            )));
        }
        Ok(bytes)
    }
}

/// The member of `block_resize` that names a drive.
const DRIVE: &str = "device";

/// The member of `block_resize` that names the image of this disk.
fn name_member(device: &Device) -> &'static str {
    if matches!(device.backend, Some(BackendNames::Drive(_))) { DRIVE } else { "node-name" }
}

fn check_resizable(device: &Device, spec: &DiskSpec) -> Result<()> {
    if device.presence == Presence::AddAfterReboot {
        let text =
            "the disk is not in the guest yet; resize its image itself, for instance with qemu-img resize";
        return Err(Error::new(ErrorKind::NotHotpluggable, text));
    }
    if spec.read_only {
        let text = "the disk is read-only, and QEMU resizes no such disk; remove it and add it again";
        return Err(Error::new(ErrorKind::NotHotpluggable, text));
    }
    Ok(())
}

fn is_same(one: u64, other: u64) -> bool {
    one.div_ceil(SECTOR) == other.div_ceil(SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn settle(sizes: (u64, u64, bool), bytes: Option<u64>, may_shrink: bool) -> Result<u64> {
        let (seen, real, fixed) = sizes;
        Sizes { seen, real, fixed }.settle(NewSize { bytes, may_shrink })
    }

    #[test]
    fn sizes_that_can_be_had() {
        let file = (MIB, MIB, false);
        assert_eq!(settle(file, Some(2 * MIB), false).unwrap(), 2 * MIB);
        assert_eq!(settle(file, None, false).unwrap(), MIB);
        assert_eq!(settle(file, Some(MIB), false).unwrap(), MIB);
        assert_eq!(settle(file, Some(512), true).unwrap(), 512);
        assert_eq!(settle((MIB, 3 * MIB, false), None, false).unwrap(), 3 * MIB);
        // QEMU rounds a file of an odd length up.
        assert_eq!(settle((MIB + 512, MIB + 1, false), None, false).unwrap(), MIB + 1);
        assert_eq!(settle((MIB, 2 * MIB, true), None, false).unwrap(), 2 * MIB);
        assert_eq!(settle((MIB, 2 * MIB, true), Some(2 * MIB), false).unwrap(), 2 * MIB);
    }

    #[test]
    fn sizes_that_cannot() {
        let says = |sizes, bytes, may_shrink, what: &str| {
            let error = settle(sizes, bytes, may_shrink).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains(what), "{error} should say {what:?}");
        };
        says((MIB, MIB, false), Some(MIB + 1), false, "multiple of 512");
        says((MIB, MIB, false), Some(MIB - 512), false, "loses what lies behind");
        says((MIB, 3 * MIB, false), Some(2 * MIB), false, "has 3145728 bytes");
        says((2 * MIB, MIB, false), None, false, "has 2097152 bytes");
        says((MIB, MIB, false), Some(u64::MAX - 511), true, "no size of a disk");
        says((MIB, 0, false), None, true, "no size of a disk");
        says((MIB, 2 * MIB, true), Some(4 * MIB), true, "resize the device first");
        says((MIB, 2 * MIB, true), Some(MIB), true, "resize the device first");
    }
}
