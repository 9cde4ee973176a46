//! What a device needs from the host, opened with the agent's rights.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use super::secret_file;
use crate::disk::{self, BackingRule, DiskSpec, Image};
use crate::error::Result;
use crate::ids::{BackendName, DeviceId, MacAddr};
use crate::model::{Device, Record, Spec};
use crate::net::bandwidth::Limits;
use crate::net::given::{self, Given};
use crate::net::limits::LimitChange;
use crate::net::namespace::within;
use crate::net::spec::NicSpec;
use crate::net::tap::{TapRequest, TunDevice};
use crate::net::vhost::{self, VhostMode};
use crate::store::{Dialect, Format, Given as GivenForStart, RecordFile};

/// How long the last run's tap may keep its name. QEMU since 11 polls by io_uring, whose reference to a tap
/// the kernel drops only after the process has ended: 4 to 9 ms later, as measured with 11.1 on an idle host.
const LINGERING: Duration = Duration::from_millis(500);

/// Why a NIC cannot be started: the caller opened its tap, the library does not know what was set on it, and
/// the caller has not given one for this start. A list of Ganeti's is the exception, where it says which
/// bridge: Ganeti itself starts such a NIC over a new tap there.
pub(super) fn lacks_its_tap(record_file: &RecordFile, device: &Device, migrates: bool) -> Option<String> {
    let spec = device.nic().filter(|spec| spec.is_over_given_tap())?;
    let is_ganeti = record_file.dialect().format() == Format::Ganeti;
    if record_file.given().taps.has(&device.id) || (is_ganeti && spec.bridge.is_some()) {
        return None;
    }
    let tap = spec.ifname.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let id = &device.id;
    let instead = if migrates {
        format!("remove {id} from the guest before it is migrated")
    } else {
        format!("remove {id} from the record, and add it again with its tap when the guest runs")
    };
    Some(format!(
        "was added over tap{tap}, which the caller opened: give its tap for this start, or {instead}"
    ))
}

/// Why a disk cannot be started: the caller has not given its secrets for this start.
pub(super) fn lacks_secrets(record_file: &RecordFile, device: &Device) -> Option<String> {
    let lacking = record_file.given().secrets.lacking(device);
    (!lacking.is_empty()).then(|| {
        let names = lacking.join(", ");
        format!("has secrets that have not been given for this start: {names}; give them first")
    })
}

/// The backend of a device.
pub(super) enum Backend {
    /// Of a NIC.
    Taps {
        /// One for each queue; none of them in a plan.
        taps: Vec<Option<OwnedFd>>,
        /// The same, or nothing for a NIC without vhost.
        vhost: Vec<Option<OwnedFd>>,
    },
    /// Of a NIC whose netdev has no tap: QEMU opens what is behind it.
    Netdev,
    /// Of a disk.
    Image(Image),
    /// Of a SCSI controller.
    None,
}

/// What the devices are opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be looked at: images are opened for reading, since they say what is below them, and no tap is made.
    Plan,
    /// A guest that runs nowhere yet.
    Boot,
    /// A guest that still runs elsewhere, with its images open there.
    Target,
}

/// The host's devices.
pub(super) struct Host<'a> {
    purpose: Purpose,
    tun: TunDevice,
    vnet_hdr: bool,
    backing: Option<BackingRule>,
    given: &'a GivenForStart,
}

impl<'a> Host<'a> {
    /// As the record has it for its NICs.
    pub(super) fn new(
        dialect: &Dialect,
        record: &Record,
        purpose: Purpose,
        given: &'a GivenForStart,
    ) -> Self {
        let own = dialect.settle_nic(&NicSpec::new(MacAddr::local([0, 0, 1])), VhostMode::Auto);
        let vnet_hdr = own.is_ok_and(|own| own.vnet_hdr);
        Self { purpose, tun: TunDevice::default(), vnet_hdr, backing: record.backing.clone(), given }
    }

    /// Opens it; the settings are told which the new tap of a NIC is, and which files an image is made of.
    pub(super) fn open(&self, id: &DeviceId, spec: &mut Spec) -> Result<Backend> {
        match spec {
            Spec::Nic(spec) if spec.netdev.is_some() => Ok(Backend::Netdev),
            Spec::Nic(spec) if self.purpose == Purpose::Plan => Ok(planned(spec)),
            Spec::Nic(spec) => self.open_nic(id, spec),
            Spec::Disk(spec) => self.open_disk(spec).map(Backend::Image),
            Spec::Controller(_) => Ok(Backend::None),
        }
    }

    /// What QEMU reads a secret from; none in a plan.
    pub(super) fn open_secret(&self, id: &BackendName) -> Result<Option<OwnedFd>> {
        let Some(secret) = self.given.secrets.get(id).filter(|_| self.purpose != Purpose::Plan) else {
            return Ok(None);
        };
        secret_file::make(secret).map(Some)
    }

    fn open_disk(&self, spec: &mut DiskSpec) -> Result<Image> {
        let rule = spec.backing.clone().or_else(|| self.backing.clone()).unwrap_or_default();
        if self.purpose == Purpose::Plan {
            return disk::image::open_under(&DiskSpec { read_only: true, ..spec.clone() }, &rule);
        }
        let image = disk::image::open_under(spec, &rule)?;
        if self.purpose == Purpose::Boot {
            disk::locks::check(&image, spec)?;
        }
        // As it is on this host and since it booted; what was not recorded is from here on.
        spec.chain = image.recorded_chain();
        Ok(image)
    }

    fn open_nic(&self, id: &DeviceId, spec: &mut NicSpec) -> Result<Backend> {
        let mode = if spec.vhost { VhostMode::Required } else { VhostMode::Off };
        let vhost = vhost::open(mode, spec.queues, Path::new(vhost::DEVICE))?;
        let fds = |list: Vec<OwnedFd>| list.into_iter().map(Some).collect();
        if let Some((tap, queues)) = self.given.taps.queues_of(id)? {
            given::attach_queues(&queues)?;
            limit_given(spec, &tap)?;
            (spec.ifname, spec.tap_identity, spec.given_tap) = (Some(tap.name), None, Some(tap.tap));
            return Ok(Backend::Taps { taps: fds(queues), vhost: fds(vhost) });
        }
        let wanted = TapRequest {
            name: spec.tap_name(),
            queues: spec.queues,
            vnet_hdr: self.vnet_hdr,
            owner: spec.tap_owner,
            bridge: spec.bridge.clone(),
            mtu: spec.mtu.map(u32::from),
            guest: Some(spec.mac),
            limits: spec.limits(),
            port: spec.port.clone(),
        };
        let tap = within(spec.netns.as_deref(), || self.tun.open_within(&wanted, LINGERING))?;
        (spec.ifname, spec.tap_identity, spec.given_tap) = (Some(tap.name), Some(tap.identity), None);
        Ok(Backend::Taps { taps: fds(tap.fds), vhost: fds(vhost) })
    }
}

/// The caller's tap has the limits of its NIC.
fn limit_given(spec: &NicSpec, given: &Given) -> Result<()> {
    if spec.limits().is_none() {
        return Ok(());
    }
    let mut nic = Box::new(spec.clone());
    (nic.ifname, nic.tap_identity, nic.given_tap) = (Some(given.name.clone()), None, Some(given.tap.clone()));
    LimitChange { nic, there: spec.limits(), back: Limits::default() }.run()
}

/// As many as there would be.
fn planned(spec: &NicSpec) -> Backend {
    let queues = || (0..spec.queues).map(|_| None);
    Backend::Taps { taps: queues().collect(), vhost: queues().filter(|_| spec.vhost).collect() }
}
