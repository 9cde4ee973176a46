//! What is asked of QEMU before a NIC gets a netdev that has no tap.

use serde_json::Value;

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::store_step::Undurable;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::model::{Device, Spec};
use crate::net::netdev::Netdev;
use crate::net::spec::NicSpec;
use crate::qmp::{Command, netdevs};
use crate::sanitize::readable;

/// The id in the question, which makes none.
const ASKED: &str = "asked";

impl GuestState {
    /// Refuses a netdev of a type that this QEMU does not have, or with a member that it does not know.
    /// Recorded for the next boot, it would keep the guest from starting. Also one that needs memory that the
    /// guest does not have.
    pub(super) async fn check_netdev(&mut self, spec: &NicSpec, deadline: &Deadline) -> Result<()> {
        let Some(netdev) = &spec.netdev else { return Ok(()) };
        let question = netdevs::question(&netdev.arguments(ASKED, spec.queues));
        let reply = self.send_one(Undurable::UnmadeNetdev.may(), question, deadline).await;
        netdevs::read(netdev.kind(), reply, self.version)?;
        if netdev.is_vhost_user() { self.check_shared_memory(deadline).await } else { Ok(()) }
    }

    /// The backend of a vhost-user reads and writes packets in the guest's memory. QEMU plugs such a NIC into
    /// a guest with other memory as well, and it moves nothing (5.2 to 11.1).
    async fn check_shared_memory(&mut self, deadline: &Deadline) -> Result<()> {
        let refuse = |what: &str| {
            let text = format!(
                "netdev: the backend of a vhost-user needs guest memory that it can share, and {what}; start the guest with \
                 -object memory-backend-memfd,id=ram,size=SIZE,share=on -machine memory-backend=ram"
            );
            Err(Error::new(ErrorKind::NotHotpluggable, text))
        };
        let answer = self.ask_one(Command::with("query-memdev", &[]), deadline).await?;
        let memory = answer.as_array().map_or(&[][..], Vec::as_slice);
        if memory.is_empty() {
            return refuse("this guest has none of a memory backend");
        }
        for backend in memory {
            let id = backend.get("id").and_then(Value::as_str).unwrap_or_default();
            if !self.is_memory_shared(backend, id, deadline).await? {
                return refuse(&format!("memory backend {} of this guest is not shared", readable(id)));
            }
        }
        Ok(())
    }

    /// QEMU 5.2 does not say it in `query-memdev`.
    async fn is_memory_shared(&self, backend: &Value, id: &str, deadline: &Deadline) -> Result<bool> {
        if let Some(is_shared) = backend.get("share").and_then(Value::as_bool) {
            return Ok(is_shared);
        }
        let path = format!("/objects/{id}");
        let question = Command::with("qom-get", &[("path", &path), ("property", "share")]);
        self.ask_one(question, deadline).await.map(|answer| answer == true)
    }

    /// A chardev of somebody else's under the id would be taken down with the NIC.
    pub(super) async fn check_chardev(&self, id: &DeviceId, spec: &Spec, deadline: &Deadline) -> Result<()> {
        let Spec::Nic(NicSpec { netdev: Some(netdev), .. }) = spec else { return Ok(()) };
        if !netdev.is_vhost_user() {
            return Ok(());
        }
        let answer = self.ask_one(Command::with("query-chardev", &[]), deadline).await?;
        let labels = answer.as_array().into_iter().flatten().filter_map(|one| one.get("label"));
        match labels.into_iter().any(|label| label == id.as_str()) {
            false => Ok(()),
            true => {
                let text = format!("QEMU has a chardev {id} already; give the NIC another id");
                Err(Error::new(ErrorKind::Conflict, text))
            }
        }
    }
}

/// Refuses a change of the tap of a NIC that has none.
pub(super) fn check_has_tap(device: &Device, what: &str) -> Result<()> {
    match device.nic().and_then(|spec| spec.netdev.as_ref()).map(Netdev::kind) {
        None => Ok(()),
        Some(kind) => {
            let id = &device.id;
            let text = format!("{id} has a netdev of type {kind} and no tap, so it has no {what}");
            Err(Error::invalid(text))
        }
    }
}
