//! Settings that all devices of a Ganeti guest share: a new device gets them, since Ganeti would start it with them.

use super::seed::Storage;
use crate::disk::{Aio, Cache, Discard, DiskSpec};
use crate::error::{Error, Result};
use crate::net::spec::NicSpec;
use crate::net::vhost::VhostMode;

/// What a NIC is to be in a Ganeti guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicSettings {
    /// Queue pairs.
    pub queues: u8,
    /// Off or required.
    pub vhost: VhostMode,
    /// Whether its tap has `IFF_VNET_HDR`: a guest that negotiated offloads cannot migrate to a tap without.
    pub vnet_hdr: bool,
    /// Whether it has QEMU's boot ROM.
    pub rom: bool,
}

impl super::List {
    /// The settings of a new NIC, for a request that leaves them open: one queue and "auto". Refuses one that the list has
    /// no room for.
    pub(in crate::runtime) fn settle_nic(&self, wanted: &NicSpec, vhost: VhostMode) -> Result<NicSettings> {
        let params = self.params()?;
        let virtio = wanted.model.starts_with("virtio-net");
        let (own_queues, own_vhost) = if virtio { (params.queues(), params.vhost()) } else { (1, false) };
        if wanted.queues != 1 && wanted.queues != own_queues {
            return Err(refused_setting("queues", wanted.queues, own_queues));
        }
        if !vhost.accepts(own_vhost) {
            return Err(refused_setting("vhost", !own_vhost, own_vhost));
        }
        if let Some(mtu) = wanted.mtu {
            return Err(refused_setting("mtu", mtu, "none"));
        }
        if let Some(index) = wanted.boot_index {
            return Err(refused_setting("boot_index", index, "none"));
        }
        let vhost = if own_vhost { VhostMode::Required } else { VhostMode::Off };
        Ok(NicSettings { queues: own_queues, vhost, vnet_hdr: params.vnet_hdr(), rom: !params.chroot })
    }

    /// Fills in what a request for a disk leaves at its default.
    pub(in crate::runtime) fn settle_disk(&self, spec: &mut DiskSpec) -> Result<()> {
        let params = self.params()?;
        let cache = params.cache(Storage::of(&spec.path).dev_type());
        settle(&mut spec.cache, cache, Cache::default(), "cache", |cache| {
            format!("{cache:?}").to_lowercase()
        })?;
        settle(&mut spec.aio, params.aio(), Aio::default(), "aio", |aio| aio.as_str().to_owned())?;
        settle(&mut spec.discard, params.discard(), Discard::default(), "discard", |discard| {
            format!("{discard:?}").to_lowercase()
        })
    }

    /// Refuses a disk that the list has no room for.
    pub(in crate::runtime) fn check_disk(&self, spec: &DiskSpec) -> Result<()> {
        let params = self.params()?;
        let mut plain = DiskSpec::new(&spec.path, crate::disk::Format::Raw);
        plain.cache = params.cache(Storage::of(&spec.path).dev_type());
        (plain.aio, plain.discard, plain.model) = (params.aio(), params.discard(), spec.model.clone());
        match plain.conflict_with(spec) {
            Some(setting) => Err(refused_setting(setting, "another one", "what the list implies")),
            None => Ok(()),
        }
    }
}

fn settle<T: Copy + PartialEq>(
    wanted: &mut T,
    own: T,
    default: T,
    name: &str,
    text: impl Fn(T) -> String,
) -> Result<()> {
    if *wanted != default && *wanted != own {
        return Err(refused_setting(name, text(*wanted), text(own)));
    }
    *wanted = own;
    Ok(())
}

fn refused_setting(name: &str, wanted: impl std::fmt::Display, own: impl std::fmt::Display) -> Error {
    Error::invalid(format!(
        "{name} {wanted}: the record is a Ganeti list, from which this guest's devices are started with {own}; leave {name} \
         at its default, or convert the record"
    ))
}
