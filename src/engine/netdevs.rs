//! What verifying compares of NICs beyond their devices' properties: their taps, vhost, and netdevs that
//! nobody has.

use std::ops::Range;

use serde_json::Value;

use super::difference::{Difference, Mismatch};
use super::guest_state::GuestState;
use super::host::netns_of;
use super::host_step::{FoundTap, TapState};
use super::limit::Deadline;
use crate::error::{Error, Result};
use crate::ids::IfName;
use crate::model::{Device, DeviceKind};
use crate::net::port::PortFlags;
use crate::net::spec::NicSpec;
use crate::qmp::{Command, Version};
use crate::sorted;

/// The versions that may be asked whether a device of virtio has vhost at work: 11.1 ends itself on an
/// assertion when it is asked about a NIC without vhost ("visit_start_struct", seen with 11.1.3), and a
/// question must not end a guest. Of other versions nothing tells it of one NIC: QOM has no property of a
/// netdev, `info network` shows descriptors and not vhost, and the kernel does not say which tap a descriptor
/// of vhost-net belongs to. That QEMU has none at all is certain, though.
const VIRTIO_STATUS: Range<Version> =
    Version { major: 7, minor: 2, micro: 0 }..Version { major: 8, minor: 0, micro: 0 };

/// Netdevs that are told of: QEMU is not ours to trust.
const MOST_STRAYS: usize = 64;

impl GuestState {
    /// The tap behind a NIC, and who moves its packets. Whether a link is up, QEMU does not tell (5.2 to
    /// 11.1).
    pub(super) async fn compare_nic(
        &mut self,
        device: &Device,
        spec: &NicSpec,
        differences: &mut Vec<Difference>,
        deadline: &Deadline,
    ) -> Result<()> {
        differences.extend(self.compare_bridge(device, spec).await?);
        self.compare_tap(device, spec, differences).await?;
        if let Some(tap) = &spec.ifname {
            if self.has_lost(tap, spec).await? {
                let recorded = format!("tap {tap}");
                differences.push(Difference::new(
                    Mismatch::Backend,
                    &device.id,
                    recorded,
                    "none: the tap is gone",
                ));
            }
        }
        if let Some(netdev) = &spec.netdev {
            differences.extend(self.compare_netdev(device, netdev.kind(), deadline).await?);
            return Ok(());
        }
        let found = self.has_vhost(device, deadline).await?.filter(|found| *found != spec.vhost);
        if let Some(found) = found {
            let word = |vhost| if vhost { "vhost on" } else { "vhost off" };
            differences.push(Difference::new(Mismatch::Setting, &device.id, word(spec.vhost), word(found)));
        }
        Ok(())
    }

    /// Of a netdev QEMU shows the type, and of a stream that it is not connected: what is behind it was never
    /// there, or has gone. `netdev_add` is a success all the same (7.2 to 11.1).
    async fn compare_netdev(
        &mut self,
        device: &Device,
        kind: &str,
        deadline: &Deadline,
    ) -> Result<Option<Difference>> {
        let answer = self.info_network(deadline).await?;
        let recorded = format!("netdev of type {kind}");
        let differs = |found: String| Some(Difference::new(Mismatch::Backend, &device.id, recorded, found));
        let Some(found) = shown_of(answer.as_str().unwrap_or_default(), device.id.as_str()) else {
            return Ok(differs("none".to_owned()));
        };
        let (found_kind, state) = found.split_once(',').unwrap_or((found, ""));
        let is_lost =
            kind == "stream" && (state.starts_with("error") || state.starts_with("connection error"));
        Ok(if found_kind != kind || is_lost {
            differs(crate::sanitize::readable(found).to_string())
        } else {
            None
        })
    }

    async fn info_network(&self, deadline: &Deadline) -> Result<Value> {
        let command = Command::with("human-monitor-command", &[("command-line", "info network")]);
        self.ask_if_known(&command, deadline).await
    }

    /// Whether QEMU's descriptors lead to this tap no more. Where they cannot be seen, nobody knows: the tap
    /// may be in another network namespace.
    async fn has_lost(&mut self, tap: &IfName, spec: &NicSpec) -> Result<bool> {
        let seen = self.taps_of_qemu().await.and_then(|taps| taps.count(tap));
        // One that was given another name is there under that.
        Ok(matches!(seen, Ok(0)) && !self.is_tap_renamed(spec).await?)
    }

    /// Only a bridge that is recorded counts: taps of the caller are where the caller wants them, and one in
    /// another network namespace cannot be looked at.
    async fn compare_bridge(&self, device: &Device, spec: &NicSpec) -> Result<Option<Difference>> {
        let Some(recorded) = &spec.bridge else { return Ok(None) };
        let Ok(FoundTap { name: tap, bridge: Ok(found) }) = self.find_tap(spec).await else {
            return Ok(None);
        };
        if let Some(found) = &found {
            if self.is_same_interface(netns_of(spec), found, recorded).await? {
                return Ok(None);
            }
        }
        let found = found.map_or_else(|| "no bridge".to_owned(), |bridge| format!("bridge {bridge}"));
        let (recorded, found) = (format!("bridge {recorded}"), format!("tap {tap} on {found}"));
        Ok(Some(Difference::new(Mismatch::Bridge, &device.id, recorded, found)))
    }

    /// Limits, and what the bridge does with its frames. One in another network namespace cannot be looked
    /// at.
    async fn compare_tap(
        &self,
        device: &Device,
        spec: &NicSpec,
        differences: &mut Vec<Difference>,
    ) -> Result<()> {
        if spec.ifname.is_none() {
            return Ok(());
        }
        let TapState { limits, port, .. } = self.tap_state(spec).await?;
        let other = limits.and_then(|found| spec.limits().first_other(&found));
        // Of one that is on no bridge, that is told already.
        let wanted = spec.port.as_deref().map(|wanted| PortFlags::wanted(Some(wanted)));
        let port = wanted.zip(port).filter(|(wanted, found)| wanted != found);
        let port = port.map(|(wanted, found)| (wanted.text(), found.text()));
        let all = other.into_iter().chain(port);
        differences.extend(
            all.map(|(recorded, found)| Difference::new(Mismatch::Setting, &device.id, recorded, found)),
        );
        Ok(())
    }

    /// Whether vhost-net moves the packets, as far as that is certain.
    async fn has_vhost(&mut self, device: &Device, deadline: &Deadline) -> Result<Option<bool>> {
        if !device.model().starts_with("virtio-net") {
            return Ok(None);
        }
        let told = self.vhost_by_status(device, deadline).await?;
        if told.is_some() {
            return Ok(told);
        }
        Ok(self.taps_of_qemu().await.is_ok_and(|taps| taps.lacks_vhost()).then_some(false))
    }

    /// What QEMU says of it, if the guest's driver is at work, without which nobody moves anything.
    async fn vhost_by_status(&mut self, device: &Device, deadline: &Deadline) -> Result<Option<bool>> {
        if !VIRTIO_STATUS.contains(&self.version) {
            return Ok(None);
        }
        let path = format!("/machine/peripheral/{}/virtio-backend", device.id);
        let status =
            self.ask_if_known(&Command::with("x-query-virtio-status", &[("path", &path)]), deadline).await?;
        let flag = |name: &str| status.get(name).and_then(Value::as_bool);
        Ok(flag("vhost-started").filter(|vhost| *vhost || flag("started") == Some(true)))
    }

    /// Netdevs without a device that neither the record nor its command knows.
    pub(super) async fn find_stray_netdevs(
        &mut self,
        differences: &mut Vec<Difference>,
        deadline: &Deadline,
    ) -> Result<()> {
        let answer = self.info_network(deadline).await?;
        let strays = sorted::set(strays(answer.as_str().unwrap_or_default()));
        let unknown = |id: &&String| {
            let is_in_command = self.contents().record().command_has_netdev(id);
            let owner = self.owner_of_backend(DeviceKind::Nic, id);
            self.is_foreign(id) && !is_in_command && owner.is_none()
        };
        for id in strays.iter().filter(unknown).take(MOST_STRAYS) {
            differences.push(Difference::new(Mismatch::OrphanNetdev, id, "", id));
        }
        Ok(())
    }

    /// The answer; null if this QEMU has no such command or says no.
    async fn ask_if_known(&self, command: &Command, deadline: &Deadline) -> Result<Value> {
        match self.ask_one(command.clone(), deadline).await {
            Err(error) if error.is_refusal() => Ok(Value::Null),
            answer => answer.map_err(|error: Error| error.with_step(command.name.to_string())),
        }
    }
}

/// The netdevs of `info network` that no NIC and no hub has: what has a peer is behind " \ ".
fn strays(text: &str) -> Vec<String> {
    let stray = |line: &str| {
        let (name, rest) = line.split_once(": index=")?;
        let kind = rest.split(',').find_map(|member| member.strip_prefix("type="))?;
        (!name.starts_with(' ') && kind != "nic").then(|| crate::sanitize::readable(name).to_string())
    };
    text.lines().filter_map(stray).collect()
}

/// What `info network` says of a netdev, from its type on.
fn shown_of<'a>(text: &'a str, id: &str) -> Option<&'a str> {
    let of_netdev = |line: &'a str| {
        let (name, rest) = line.trim_start_matches([' ', '\\']).split_once(": index=")?;
        let (_, shown) = rest.split_once(",type=")?;
        (name == id && shown != "nic" && !shown.starts_with("nic,")).then_some(shown)
    };
    text.lines().find_map(of_netdev)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_nic() {
        let text = "hub 0\r\n \\ hub0port0: h: index=0,type=hubport,\r\n\
                    lan: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n \
                    \\ lan: index=0,type=tap,fd=24\r\n\
                    lan: index=1,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n \
                    \\ lan: index=1,type=tap,fd=25\r\n\
                    left: index=0,type=tap,fd=26\r\nleft: index=1,type=tap,fd=27\r\nu: index=0,type=user,net=10.0.2.0\r\n";
        assert_eq!(strays(text), ["left", "left", "u"]);
        assert_eq!(shown_of(text, "lan"), Some("tap,fd=24"));
        assert_eq!(shown_of(text, "u"), Some("user,net=10.0.2.0"));
        assert_eq!(shown_of(text, "hub0port0"), None);
        for odd in ["", ": index=", "a: index=0", "x\ny: type=tap", "a: index=0,type=nic"] {
            assert_eq!(strays(odd), Vec::<String>::new(), "{odd:?}");
        }
    }
}
