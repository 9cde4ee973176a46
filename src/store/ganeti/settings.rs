//! Settings that all devices of a Ganeti guest share: a new device gets them, since Ganeti would start it
//! with them.

use super::list::List;
use super::seed::Storage;
use crate::disk::{Aio, Cache, Discard, DiskSpec};
use crate::error::{Error, Result};
use crate::model::{GanetiEntry, NicSettings};
use crate::net::spec::NicSpec;
use crate::net::vhost::VhostMode;

impl List {
    /// The settings of a new NIC, for a request that leaves them open: one queue and "auto". Refuses one that
    /// the list has no room for.
    pub(crate) fn settle_nic(&self, wanted: &NicSpec, vhost: VhostMode) -> Result<NicSettings> {
        if wanted.netdev.is_some() {
            return Err(Error::invalid(
                "a netdev has no place in a Ganeti list, whose NICs have taps; leave it out, or convert the record",
            ));
        }
        let params = self.params()?;
        let virtio = wanted.model.starts_with("virtio-net");
        let (own_queues, own_vhost) = if virtio { (params.queues(), params.vhost()) } else { (1, false) };
        if wanted.queues != 1 && wanted.queues != own_queues {
            return Err(refused_setting("queues", wanted.queues, own_queues));
        }
        if !vhost.accepts(own_vhost) {
            let word = |vhost: bool| if vhost { "on" } else { "off" };
            return Err(refused_setting("vhost", word(!own_vhost), word(own_vhost)));
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
    pub(crate) fn settle_disk(&self, spec: &mut DiskSpec, entry: Option<&GanetiEntry>) -> Result<()> {
        if spec.source.is_some() {
            return Err(Error::invalid(
                "a source has no place in a Ganeti list; name a path, or convert the record",
            ));
        }
        let params = self.params()?;
        let cache = params.cache(self.dev_type(spec, entry)?);
        settle(&mut spec.cache, cache, Cache::default(), "cache", |cache| {
            format!("{cache:?}").to_lowercase()
        })?;
        settle(&mut spec.aio, params.aio(), Aio::default(), "aio", |aio| aio.as_str().to_owned())?;
        settle(&mut spec.discard, params.discard(), Discard::default(), "discard", |discard| {
            format!("{discard:?}").to_lowercase()
        })
    }

    /// Refuses a disk that the list has no room for.
    pub(crate) fn check_disk(&self, spec: &DiskSpec, entry: Option<&GanetiEntry>) -> Result<()> {
        let params = self.params()?;
        let mut plain = DiskSpec::new(&spec.path, crate::disk::Format::Raw);
        plain.cache = params.cache(self.dev_type(spec, entry)?);
        (plain.aio, plain.discard, plain.model) = (params.aio(), params.discard(), spec.model.clone());
        match plain.conflict_with(spec) {
            Some(setting) => Err(refused_setting(setting, "another one", "what the list implies")),
            None => Ok(()),
        }
    }
}

impl List {
    /// The storage of a disk in Ganeti's words, on which its cache mode depends: what Ganeti's entry says, or
    /// what the path looks like.
    fn dev_type<'a>(&self, spec: &DiskSpec, entry: Option<&'a GanetiEntry>) -> Result<&'a str> {
        let said = entry.map(|entry| entry.text("dev_type")).transpose()?.flatten();
        Ok(said.unwrap_or_else(|| self.dev_type_of(spec)))
    }

    /// What the path looks like. A path does not tell a file of this host from one that all nodes have; a
    /// caller that wants no cache says that it is one of those.
    pub(super) fn dev_type_of(&self, spec: &DiskSpec) -> &'static str {
        let guessed = Storage::of(&spec.path);
        let is_cached = self.params().is_ok_and(|params| params.cache(guessed.dev_type()) != Cache::None);
        match guessed {
            Storage::File if spec.cache == Cache::None && is_cached => "sharedfile",
            guessed => guessed.dev_type(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MacAddr;
    use crate::store::ganeti::decode;

    fn settle(hvparams: &str, change: impl FnOnce(&mut NicSpec), vhost: VhostMode) -> Result<NicSettings> {
        let (_, list) = decode(format!("[[\"kvm\"],[],{hvparams},[]]").as_bytes())?;
        let mut spec = NicSpec::new(MacAddr::local([1, 2, 3]));
        change(&mut spec);
        list.settle_nic(&spec, vhost)
    }

    fn settings(queues: u16, vhost: VhostMode, vnet_hdr: bool, rom: bool) -> NicSettings {
        NicSettings { queues, vhost, vnet_hdr, rom }
    }

    #[test]
    fn a_nic_gets_what_all_nics_have() {
        use VhostMode::{Auto, Off, Required};
        let auto = |hvparams: &str| settle(hvparams, |_| (), Auto).unwrap();
        assert_eq!(auto("{}"), settings(1, Off, true, true));
        assert_eq!(auto(r#"{"vhost_net":true,"virtio_net_queues":4}"#), settings(4, Required, true, true));
        // Ganeti starts several queues only with vhost.
        assert_eq!(auto(r#"{"vhost_net":false,"virtio_net_queues":4}"#), settings(1, Off, true, true));
        assert_eq!(auto(r#"{"use_chroot":true,"vnet_hdr":false}"#), settings(1, Off, false, false));
        let emulated = r#"{"nic_type":"e1000","vhost_net":true,"virtio_net_queues":4}"#;
        assert_eq!(auto(emulated), settings(1, Off, false, true));
        let other_model = settle(r#"{"vhost_net":true}"#, |spec| spec.model = "e1000".into(), Auto).unwrap();
        assert_eq!(other_model, settings(1, Off, true, true));
        let same = settle(r#"{"vhost_net":true,"virtio_net_queues":4}"#, |spec| spec.queues = 4, Required);
        assert_eq!(same.unwrap().queues, 4);
    }

    #[test]
    fn a_nic_that_differs_is_refused() {
        use VhostMode::{Auto, Off, Required};
        let with_vhost = r#"{"vhost_net":true,"virtio_net_queues":4}"#;
        for (answer, says) in [
            (settle(with_vhost, |_| (), Off), "vhost off: "),
            (settle("{}", |_| (), Required), "vhost on: "),
            (settle(with_vhost, |spec| spec.queues = 2, Auto), "queues 2: "),
            (settle("{}", |spec| spec.mtu = Some(9000), Auto), "mtu 9000: "),
            (settle("{}", |spec| spec.boot_index = Some(0), Auto), "boot_index 0: "),
        ] {
            let error = answer.unwrap_err();
            assert!(error.message().starts_with(says), "{error}");
        }
    }

    #[test]
    fn a_disk_gets_what_all_disks_have() {
        let settle = |hvparams: &str, spec: &mut DiskSpec| {
            decode(format!("[[\"kvm\"],[],{hvparams},[]]").as_bytes()).unwrap().1.settle_disk(spec, None)
        };
        let file = || DiskSpec::new("/srv/a.img", crate::disk::Format::Raw);
        for (hvparams, cache, aio, discard) in [
            ("{}", Cache::Writeback, Aio::Threads, Discard::Ignore),
            (
                r#"{"disk_cache":"writethrough","disk_aio":"io_uring","disk_discard":"unmap"}"#,
                Cache::Writethrough,
                Aio::IoUring,
                Discard::Unmap,
            ),
            (
                r#"{"disk_cache":"default","disk_aio":"","disk_discard":"default"}"#,
                Cache::Writeback,
                Aio::Threads,
                Discard::Ignore,
            ),
            // Until 3.0, native AIO came with cache=none whatever the cache was to be.
            (r#"{"disk_aio":"native"}"#, Cache::None, Aio::Native, Discard::Ignore),
        ] {
            let mut spec = file();
            settle(hvparams, &mut spec).unwrap();
            assert_eq!((spec.cache, spec.aio, spec.discard), (cache, aio, discard), "{hvparams}");
        }
        // A block device that is no logical volume is shared storage, as far as Ganeti knows.
        let mut spec = DiskSpec::new("/dev/nothing-there", crate::disk::Format::Raw);
        settle("{}", &mut spec).unwrap();
        assert_eq!(spec.cache, Cache::None);
        let mut spec = file();
        spec.cache = Cache::Unsafe;
        let error = settle("{}", &mut spec).unwrap_err();
        assert!(
            error.message().starts_with("cache unsafe: ") && error.message().contains("writeback"),
            "{error}"
        );
    }
}
