//! Images that somebody else put under a disk of ours: noticed in QEMU's block graph, and remembered in the
//! record, where a guest that is off would hide them.

use serde_json::Value;

use super::graph::{self, BlockGraph, Top};
use super::guest_state::GuestState;
use super::inventory;
use super::limit::Deadline;
use crate::disk::{DiskSpec, Overlay};
use crate::error::{Error, ErrorKind, Result, errno};
use crate::log::Level;
use crate::model::{Device, Presence, Spec};

impl GuestState {
    /// Asks QEMU which image each disk uses.
    pub(super) async fn look_for_overlays(&mut self, deadline: &Deadline) -> Result<()> {
        match self.ask_one(graph::question(), deadline).await {
            Ok(reply) => self.note_overlays(&BlockGraph::read(&reply), deadline).await,
            // A QEMU without the question has no answer, which is no reason to refuse.
            Err(error) if error.is_refusal() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Records what the graph shows of overlays: those that are new, and that others are gone.
    pub(super) async fn note_overlays(&mut self, graph: &BlockGraph, deadline: &Deadline) -> Result<()> {
        let contents = self.contents();
        let disks = contents.record().devices.iter().filter(|device| is_live_disk(device));
        let is_news = |device: &&Device| match graph.top_of(device) {
            Top::Unknown => false,
            Top::Own => overlay_of(device).is_some(),
            Top::Other(name) => overlay_of(device).is_none_or(|known| known.node != name),
        };
        let news: Vec<&Device> = disks.filter(is_news).collect();
        if news.is_empty() {
            return Ok(());
        }
        let [nodes] = self.questions([inventory::block_nodes()], deadline).await?;
        let nodes = inventory::by_name(&nodes);
        let text = |node: &str, path: &str| {
            nodes.get(node).and_then(|node| node.pointer(path)).and_then(Value::as_str).unwrap_or_default()
        };
        let driver_of = |node: &str| Some(text(node, "/drv")).filter(|driver| !driver.is_empty());
        let mut next = self.contents().record().clone();
        for device in next.devices.iter_mut().filter(|device| news.iter().any(|other| other.id == device.id))
        {
            let seen = match graph.top_of(device) {
                Top::Other(name) if !graph.passes_on_to(name, device, driver_of) => {
                    Some(Overlay::new(name, text(name, "/drv"), text(name, "/image/filename")))
                }
                _ => None,
            };
            if let Spec::Disk(spec) = &mut device.spec {
                spec.overlay = seen;
                self.log.write(Level::Warning, || match &spec.overlay {
                    Some(overlay) => format!("{}: the guest writes to {overlay}", device.id),
                    None => format!("{}: the guest writes to its own image again", device.id),
                });
            }
        }
        if next != *self.contents().record() {
            self.replace(next).await?;
        }
        Ok(())
    }
}

/// Whether it is a disk that the guest should have, and may write to: of a CD nothing is ever elsewhere.
pub(super) fn is_live_disk(device: &Device) -> bool {
    let is_disk = matches!(&device.spec, Spec::Disk(spec) if !spec.is_cd());
    device.presence != Presence::AddAfterReboot && is_disk
}

/// What the guest was seen to write to instead of the image of this device.
pub(super) fn overlay_of(device: &Device) -> Option<&Overlay> {
    match &device.spec {
        Spec::Disk(DiskSpec { overlay, .. }) => overlay.as_ref(),
        Spec::Nic(_) | Spec::Controller(_) => None,
    }
}

/// Refuses to do something about a disk whose data is elsewhere; `advice` says what to do.
pub(super) fn refuse_overlay(device: &Device, advice: &str) -> Result<()> {
    let Some(overlay) = overlay_of(device) else { return Ok(()) };
    let text = format!(
        "{}: the guest writes to {overlay}, which is not in the record and has its data; {advice}",
        device.id
    );
    Err(Error::new(ErrorKind::Conflict, text).with_errno(errno::EBUSY))
}
