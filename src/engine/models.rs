//! Which device models the QEMU of the guest knows: it is asked, and not guessed from its version.

use std::sync::Arc;

use serde_json::Value;

use super::add_item::AddRequest;
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::store_step::Undurable;
use crate::disk::DiskSpec;
use crate::disk::models::{ASKED_DISK_MODELS, LIVE_DISK_MODELS};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IoThread, MAPPING};
use crate::model::DeviceKind;
use crate::net::models;
use crate::qmp::properties::{self, Properties};
use crate::qmp::{Version, drivers};
use crate::sanitize::readable;
use crate::store::Format;

/// From here on `device_add` takes lists (measured: 7.2 answers that it has done it, and has not).
const TAKES_LISTS: Version = Version { major: 9, minor: 2, micro: 0 };

impl GuestState {
    /// Refuses a model that this QEMU does not know, or that is no NIC or disk. Recorded for the next boot,
    /// it would keep the guest from starting. Each QEMU from 5.2 on has the models of virtio and SCSI.
    pub(super) async fn check_model(
        &mut self,
        kind: DeviceKind,
        model: &str,
        deadline: &Deadline,
    ) -> Result<()> {
        let always = [models::VIRTIO, LIVE_DISK_MODELS].iter().any(|all| all.contains(&model));
        if always && !ASKED_DISK_MODELS.contains(&model) {
            return Ok(());
        }
        let known = self.properties_of(model, deadline).await?;
        let needed = match kind {
            DeviceKind::Nic => "netdev",
            DeviceKind::Disk => "drive",
            DeviceKind::Controller => return Ok(()),
        };
        if !known.contains_key(needed) {
            let (model, kind) = (readable(model), kind.title());
            return Err(Error::invalid(format!("model {model} is no {kind}: QEMU gives it no {needed}")));
        }
        Ok(())
    }

    /// Refuses a setting that the model has in newer versions of QEMU only: `nvme` has no bootindex in 5.2.
    pub(super) async fn check_disk_settings(&mut self, spec: &DiskSpec, deadline: &Deadline) -> Result<()> {
        if spec.boot_index.is_none() || !ASKED_DISK_MODELS.contains(&spec.model.as_str()) {
            return Ok(());
        }
        if self.properties_of(&spec.model, deadline).await?.contains_key("bootindex") {
            return Ok(());
        }
        let text =
            format!("boot index with {}: QEMU {} has none for it; leave it out", spec.model, self.version);
        Err(Error::invalid(text))
    }

    /// Refuses to divide the queues of a device among iothreads where QEMU does not. Before 9.2 it passes
    /// over a list in `device_add` as if it had carried it out, also one that it has no property for.
    pub(super) async fn check_mapping(
        &mut self,
        model: &str,
        iothread: Option<&IoThread>,
        deadline: &Deadline,
    ) -> Result<()> {
        if !iothread.is_some_and(IoThread::is_mapping) {
            return Ok(());
        }
        let is_known = self.properties_of(model, deadline).await?.contains_key(MAPPING);
        if is_known && self.version >= TAKES_LISTS {
            return Ok(());
        }
        let what = match is_known {
            true => "passes over such a list when it adds a device",
            false => "has no property iothread-vq-mapping of it",
        };
        let text = format!("{}: QEMU {} {what}; name one iothread", readable(model), self.version);
        Err(Error::new(ErrorKind::NotHotpluggable, text).context("iothreads for queues"))
    }

    /// What QEMU says of a model, asked once on each connection.
    async fn properties_of(&mut self, model: &str, deadline: &Deadline) -> Result<Arc<Properties>> {
        if !self.known_models.contains_key(model) {
            let answer = self.ask_one(properties::question(model), deadline).await;
            self.learn_model(model, answer)?;
        }
        match self.known_models.get(model) {
            Some(Some(known)) => Ok(Arc::clone(known)),
            _ => Err(self.unknown_model(model)),
        }
    }

    /// Keeps what QEMU has said of a model.
    pub(super) fn learn_model(&mut self, model: &str, answer: Result<Value>) -> Result<()> {
        let known = properties::read(answer).map_err(|error| match error.kind() {
            ErrorKind::Qmp => {
                let text = format!("{} is no device model of QEMU {}", readable(model), self.version);
                Error::invalid(format!("{text}: {}", error.message()))
            }
            _ => error,
        })?;
        self.known_models.insert(model.to_owned(), known.map(Arc::new));
        Ok(())
    }

    /// Gives the further properties of a request the types that this QEMU has them in, and refuses those that
    /// it does not know: device_add would refuse them later, and in words that do not help.
    pub(super) async fn settle_properties(
        &mut self,
        request: &mut AddRequest,
        deadline: &Deadline,
    ) -> Result<()> {
        if request.placement().properties.is_empty() {
            return Ok(());
        }
        if self.contents().dialect().format() == Format::Ganeti {
            return Err(Error::invalid("properties have no place in a Ganeti list"));
        }
        self.ready(deadline).await?;
        let model = request.model().to_owned();
        let types = self.properties_of(&model, deadline).await?;
        for (name, value) in &mut request.placement_mut().properties {
            let refuse = |why: &str| Err(Error::invalid(format!("properties: {name}: {why}")));
            *value = match types.get(name).map(|of| properties::typed(value, of)) {
                Some(Ok(value)) => value,
                Some(Err(why)) => return refuse(&format!("{why} for that of {}", readable(&model))),
                None => {
                    let text =
                        format!("a {} of QEMU {} has no such property", readable(&model), self.version);
                    return refuse(&text);
                }
            };
        }
        Ok(())
    }

    /// Refuses a source with a driver that this QEMU does not have, as of a module in a package that is not
    /// installed, or with a member that it does not know. Recorded for the next boot, such a one would keep
    /// the guest from starting.
    pub(super) async fn check_drivers(&mut self, spec: &DiskSpec, deadline: &Deadline) -> Result<()> {
        let Some(source) = &spec.source else { return Ok(()) };
        let nodes = source.opened_by_qemu();
        if nodes.is_empty() {
            return Ok(());
        }
        let questions = nodes.iter().map(|node| drivers::question(node)).collect();
        let batch = self.send(Undurable::UnnamedNode.may(), questions, deadline).await;
        let replies =
            batch.all_replies().map_err(|error| error.with_step("ask QEMU for its block drivers"))?;
        let mut asked = nodes.into_iter().zip(replies);
        asked.try_for_each(|(node, reply)| drivers::read(node, reply, self.version))
    }

    fn unknown_model(&self, model: &str) -> Error {
        let text = format!("QEMU {} does not know the device model {}", self.version, readable(model));
        Error::new(ErrorKind::NotHotpluggable, format!("{text}; take another one, or another QEMU"))
    }
}
