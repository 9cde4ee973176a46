//! What the QEMU of the guest knows of device models, for the caller to keep, and what a caller has kept.

use super::guest_state::GuestState;
use super::limit::Deadline;
use crate::disk::models::LIVE_DISK_MODELS;
use crate::error::{Error, Result, errno};
use crate::net::models;
use crate::qmp::capabilities::{Build, Capabilities};
use crate::qmp::properties;
use crate::slots::scsi::spec;

impl GuestState {
    /// What QEMU knows of every model that can be plugged, and of those that it was asked about. It is asked
    /// about the others with one write.
    pub(super) async fn capabilities(&mut self, deadline: &Deadline) -> Result<Capabilities> {
        self.ready(deadline).await?;
        let all = [models::VIRTIO, models::EMULATED, LIVE_DISK_MODELS, spec::LIVE_MODELS].concat();
        let asked: Vec<&str> =
            all.into_iter().filter(|model| !self.known_models.contains_key(*model)).collect();
        let mut questions = vec![Build::question()];
        questions.extend(asked.iter().map(|model| properties::question(model)));
        let mut answers = self.ask(questions, deadline).await.all_replies()?.into_iter();
        let build = Build::read(&answers.next().unwrap_or_else(|| Err(Error::no_reply()))?);
        for (model, answer) in asked.into_iter().zip(answers) {
            self.learn_model(model, answer)?;
        }
        Ok(Capabilities { build, models: self.known_models.clone() })
    }

    /// Takes what the caller has kept of another guest, if that has the same build of QEMU.
    pub(super) async fn give_capabilities(&mut self, given: Capabilities, deadline: &Deadline) -> Result<()> {
        self.ready(deadline).await?;
        let [answer] = self.questions([Build::question()], deadline).await?;
        let own = Build::read(&answer);
        if own != given.build {
            let text = format!("the capabilities are those of {}, and the guest has {own}", given.build);
            let text = format!("{text}; ask this guest for its own");
            return Err(Error::invalid(text).with_errno(errno::ESTALE));
        }
        self.known_models.extend(given.models);
        Ok(())
    }
}
