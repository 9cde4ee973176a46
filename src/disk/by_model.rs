//! Settings that a disk's device model has no property for, or needs: QEMU 7.2 says "Property
//! 'scsi-hd.num-queues' not found" of the former, or takes them and does something else.

use super::format::Format;
use super::spec::{DiskSpec, NVME, SCSI_PASSTHROUGH};
use crate::error::{Error, Result};

impl DiskSpec {
    /// Refuses what the model of this disk does not take.
    pub(super) fn check_model(&self) -> Result<()> {
        check_identity(self)?;
        if !self.has_medium() && !self.is_cd() {
            return Err(Error::invalid(format!("disk path: a {} has an image; say which", self.model)));
        }
        match self.model.as_str() {
            SCSI_PASSTHROUGH => check_passthrough(self),
            NVME => check_nvme(self),
            _ if self.is_cd() => check_cd(self),
            _ => Ok(()),
        }
    }
}

fn check_identity(spec: &DiskSpec) -> Result<()> {
    let model = spec.model.as_str();
    let has_no_wwn = model == SCSI_PASSTHROUGH || model == NVME || model.starts_with("virtio-blk-");
    if spec.wwn.is_some() && has_no_wwn {
        return refuse(spec, "wwn", "it has none to set; scsi-hd does");
    }
    if spec.queues.is_some() && spec.is_scsi() {
        return refuse(spec, "queues", "they belong to the controller, not to the disk; leave them out");
    }
    if spec.iothread.is_some() && spec.is_scsi() {
        return refuse(spec, "iothread", "it belongs to the controller, not to the disk; leave it out");
    }
    if spec.iothread.is_some() && !model.starts_with("virtio-blk-") {
        return refuse(spec, "iothread", "it has none to set; the models of virtio-blk-pci's family do");
    }
    Ok(())
}

fn check_passthrough(spec: &DiskSpec) -> Result<()> {
    let shown = "the guest sees that of the host's device; leave it out, or use scsi-hd";
    if spec.limits.is_some() {
        let why = "the guest's commands go past QEMU to the host's device; leave them out, or use scsi-hd";
        return refuse(spec, "limits", why);
    }
    if spec.format != Format::Raw {
        let why = "it hands a device of the host through as it is, which is format raw";
        return refuse(spec, "format qcow2", why);
    }
    if spec.serial.is_some() {
        return refuse(spec, "serial", shown);
    }
    if spec.logical_block_size.is_some() || spec.physical_block_size.is_some() {
        return refuse(spec, "block size", shown);
    }
    if !spec.cache.write_cache() {
        let why = "the write cache is that of the host's device";
        return refuse(spec, "cache writethrough or directsync", why);
    }
    Ok(())
}

/// QEMU makes none without a serial ("serial property not set"; 5.2 to 11.1).
fn check_nvme(spec: &DiskSpec) -> Result<()> {
    if spec.serial.is_none() {
        return refuse(spec, "no serial", "QEMU makes none without; give it one of 1 to 20 characters");
    }
    if spec.queues.is_some() {
        let why = "its queues are set by its property max_ioqpairs; leave them out";
        return refuse(spec, "queues", why);
    }
    Ok(())
}

/// QEMU takes a node that can be written to, and the guest cannot write to it all the same (5.2 to 11.1).
fn check_cd(spec: &DiskSpec) -> Result<()> {
    if spec.limits.is_some() {
        return refuse(spec, "limits", "media come and go, and have none; leave them out");
    }
    if spec.objects.is_some() {
        return refuse(spec, "secrets and tls_creds", "media come and go, and have none; leave them out");
    }
    if !spec.read_only {
        return refuse(spec, "a writable image", "a CD is read-only; set read_only");
    }
    if spec.logical_block_size.is_some() || spec.physical_block_size.is_some() {
        return refuse(spec, "block size", "a CD has sectors of 2048 bytes; leave it out");
    }
    if !spec.has_medium() && (spec.format != Format::Raw || spec.chain.is_some()) {
        return refuse(spec, "a format", "it has no image; leave format and path out");
    }
    Ok(())
}

fn refuse(spec: &DiskSpec, what: &str, why: &str) -> Result<()> {
    Err(Error::invalid(format!("{what} with {}: {why}", spec.model)))
}
