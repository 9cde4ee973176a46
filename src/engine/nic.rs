//! Adding a NIC: tap and vhost on the host, netdev and device in the guest.

use super::add_plan::{OpenedBackend, Placement, want};
use super::dry_run::Preparation;
use super::guest_state::GuestState;
use super::host::netns_of;
use super::limit::Deadline;
use super::outcome::DeferReason;
use super::tap_source::TapSource;
use crate::disk::Secrets;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IfName, MacAddr};
use crate::model::ganeti_entry::Connection;
use crate::model::{Device, DeviceKind, GanetiEntry, NicSettings, Presence, Spec};
use crate::net::bandwidth::Limits;
use crate::net::given::Given;
use crate::net::port::PortSettings;
use crate::net::spec::NicSpec;
use crate::net::tap::TapRequest;
use crate::net::vhost::VhostMode;
use crate::store::{Contents, Dialect, Format};
use crate::sys::descriptor::Descriptor;

/// A NIC as the caller asks for it.
#[derive(Clone, Debug)]
pub struct NicRequest {
    /// Id, address, live or not at all.
    pub placement: Placement,
    /// Generated if not given.
    pub mac: Option<MacAddr>,
    /// 1 to 256.
    pub queues: u16,
    /// Whether the kernel moves the packets.
    pub vhost: VhostMode,
    /// Told to the guest, and set on the tap if it is opened here.
    pub mtu: Option<u16>,
    /// Attached to this bridge if the tap is opened here.
    pub bridge: Option<IfName>,
    /// With its cable pulled.
    pub link_down: bool,
    /// How much the guest may receive and send.
    pub limits: Limits,
    /// How its tap is a port of the bridge.
    pub port: Option<Box<PortSettings>>,
    /// The taps.
    pub tap: TapSource,
    /// Place in the firmware's boot order; also makes the guest load the option ROM.
    pub boot_index: Option<u32>,
    /// The QEMU driver.
    pub model: String,
}

impl NicRequest {
    /// With what Ganeti has of the NIC: what the request leaves open is taken from that.
    pub fn with_ganeti(mut self, entry: GanetiEntry) -> Result<Self> {
        if let Some(text) = entry.text("mac")? {
            let mac = MacAddr::parse(text).map_err(|error| error.context("ganeti_entry, mac"))?;
            check_same("mac", *self.mac.get_or_insert(mac), mac)?;
        }
        if matches!(self.tap, TapSource::Netdev(_)) {
            return Err(Error::invalid(
                "ganeti_entry was given together with netdev, and Ganeti's NICs have taps",
            ));
        }
        // A tap that the caller has opened is connected by the caller.
        if matches!(self.tap, TapSource::Open { .. }) {
            match entry.connection()? {
                Connection::Unsaid => {}
                Connection::Bridge(bridge) => {
                    check_same("bridge", &*self.bridge.get_or_insert_with(|| bridge.clone()), &bridge)?;
                }
                Connection::ByScripts(mode) => {
                    return Err(Error::invalid(format!(
                        "ganeti_entry: nicparams has the mode {mode}, in which Ganeti's scripts connect the tap; open it, and \
                         pass it as tap_fds"
                    )));
                }
            }
        }
        self.placement.take_entry(DeviceKind::Nic, entry)?;
        Ok(self)
    }

    /// The settings asked for, with what the request leaves open taken from `mac` and `own`.
    pub(crate) fn spec(&self, mac: MacAddr, own: &NicSettings) -> NicSpec {
        let mut spec = NicSpec::new(mac);
        spec.queues = own.queues;
        spec.vhost = own.vhost == VhostMode::Required;
        spec.mtu = self.mtu;
        spec.bridge = self.bridge.clone();
        spec.link_down = self.link_down;
        (spec.inbound, spec.outbound) = (self.limits.inbound, self.limits.outbound);
        spec.port.clone_from(&self.port);
        spec.boot_index = self.boot_index;
        spec.rom = own.rom;
        match &self.tap {
            TapSource::Open { name, owner, netns } => {
                spec.tap.clone_from(name);
                spec.tap_owner = *owner;
                spec.netns.clone_from(netns);
            }
            TapSource::Given(_) => {}
            TapSource::Netdev(netdev) => {
                spec.netdev = Some(netdev.clone());
                spec.vhost = false;
            }
        }
        spec.model = self.model.clone();
        spec
    }

    /// The name that its tap is to have, if it is not left to the kernel.
    pub(super) fn exact_tap(&self) -> Option<&str> {
        match &self.tap {
            TapSource::Open { name: Some(name), .. } if !name.contains('%') => Some(name),
            TapSource::Open { .. } | TapSource::Given(_) | TapSource::Netdev(_) => None,
        }
    }

    /// The network namespace that its tap is made in; `None` for that of the caller.
    pub(crate) fn netns(&self) -> Option<&str> {
        match &self.tap {
            TapSource::Open { netns, .. } => netns.as_deref(),
            TapSource::Given(_) | TapSource::Netdev(_) => None,
        }
    }

    /// What the record leaves of the choices of the request.
    pub(crate) fn settle(&self, dialect: &Dialect) -> Result<NicSettings> {
        // The address does not matter for that.
        let mac = self.mac.unwrap_or(MacAddr::local([0, 0, 1]));
        let open = NicSettings { queues: self.queues, vhost: VhostMode::Off, vnet_hdr: true, rom: false };
        let wanted = self.spec(mac, &open);
        wanted.validate_as(&self.title())?;
        if self.port.is_some() && self.bridge.is_none() {
            let text = "port settings without a bridge; name the bridge, or leave port out: of a tap that you have opened the port is \
                        yours";
            return Err(Error::invalid(text).context(self.title()));
        }
        let own = dialect.settle_nic(&wanted, self.vhost)?;
        match (wanted.netdev, self.vhost) {
            (None, _) => Ok(own),
            (Some(_), VhostMode::Required) => {
                let text = "vhost is required, and a NIC with netdev has no tap that it could serve; leave out one of them";
                Err(Error::invalid(text).context(self.title()))
            }
            (Some(_), _) => Ok(NicSettings { vhost: VhostMode::Off, ..own }),
        }
    }

    /// What errors call it: by what the caller has named.
    fn title(&self) -> String {
        match (&self.placement.id, self.mac) {
            (Some(id), _) => format!("NIC {id}"),
            (None, Some(mac)) => format!("NIC {mac}"),
            (None, None) => "the NIC".into(),
        }
    }

    /// The bridge that is asked for and the one that a device has, if those have two names: they may be of
    /// one bridge.
    pub(crate) fn bridges<'a>(&'a self, spec: &'a Spec) -> Option<(&'a IfName, &'a IfName)> {
        let Spec::Nic(existing) = spec else { return None };
        let both = self.bridge.as_ref().zip(existing.bridge.as_ref());
        both.filter(|(wanted, recorded)| wanted != recorded)
    }

    /// The first setting in which a device differs from what is asked for; `same_bridge` says what has become
    /// of its [two names](Self::bridges).
    pub(crate) fn differs(&self, spec: &Spec, own: &NicSettings, same_bridge: bool) -> Option<&'static str> {
        let Spec::Nic(existing) = spec else { return Some("type") };
        let mut wanted = self.spec(self.mac.unwrap_or(existing.mac), own);
        wanted.vhost = if own.vhost.accepts(existing.vhost) { existing.vhost } else { !existing.vhost };
        if matches!(self.tap, TapSource::Given(_)) {
            // Which bridge a caller's own tap is on is the caller's business.
            wanted.bridge.clone_from(&existing.bridge);
            // A NIC with a tap that was made for it is told apart by that.
            wanted.tap_owner = existing.tap_owner;
            wanted.netns.clone_from(&existing.netns);
        }
        if same_bridge {
            wanted.bridge.clone_from(&existing.bridge);
        }
        wanted.conflict_with(existing)
    }
}

fn check_same<T: PartialEq + std::fmt::Display>(what: &str, asked: T, said: T) -> Result<()> {
    if asked == said {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} is {asked}, and ganeti_entry has {said}; they have to be the same")))
}

impl GuestState {
    /// Opens the backend of a NIC.
    pub(super) async fn open_nic(
        &mut self,
        request: NicRequest,
        deadline: &Deadline,
    ) -> Result<Preparation<OpenedBackend>> {
        let (mut spec, vhost) = match self.prepare_nic(&request, deadline).await? {
            Preparation::Answer(outcome) => return Ok(Preparation::Answer(outcome)),
            Preparation::Adopt(device) => return Ok(Preparation::Adopt(device)),
            Preparation::Later(spec, why) => return Ok(Preparation::Later(spec, why)),
            Preparation::Now(now) => now,
        };
        let own = request.settle(self.contents().dialect())?;
        let said = request.placement.ganeti.as_ref().map(|entry| entry.connection()).transpose()?;
        let mut fds = self.open_taps(request, &own, &mut spec).await?;
        if let Some(Connection::Bridge(bridge)) = &said {
            spec.bridge = Some(bridge.clone());
        }
        let is_said = matches!(said, Some(Connection::Bridge(_) | Connection::ByScripts(_)));
        if spec.bridge.is_none() && !is_said && self.contents().dialect().format() == Format::Ganeti {
            // Whoever starts the guest from the list has to find the bridge there, also that of a tap the
            // caller opened; of one in another network namespace it cannot be told.
            spec.bridge = match self.find_tap(&spec).await {
                Ok(found) => found.bridge?,
                Err(_) => None,
            };
        }
        fds.extend(vhost);
        Ok(Preparation::Now(OpenedBackend {
            spec: Spec::Nic(spec),
            fds,
            layers: Vec::new(),
            secrets: Secrets::default(),
        }))
    }

    /// Everything that can be said before the tap is opened.
    pub(super) async fn prepare_nic(
        &mut self,
        request: &NicRequest,
        deadline: &Deadline,
    ) -> Result<Preparation<(NicSpec, Vec<Descriptor>)>> {
        // Judged before the guest is bothered.
        let own = request.settle(self.contents().dialect())?;
        request.placement.check(DeviceKind::Nic, &request.model)?;
        let given = self.given_tap(request, &own).await?;
        self.ready(deadline).await?;
        if let Some(device) = self.existing(&request.placement)? {
            let differs = self.difference_of_nic(request, &device.spec, &own, given.as_ref()).await?;
            request.placement.check_existing(&device, differs)?;
            if device.presence == Presence::AddAfterReboot {
                given
                    .as_ref()
                    .map_or(Ok(()), |given| Err(cannot_wait(given, &self.recorded_defer_reason(&device))))?;
            }
            return self.answer_existing(device, request.placement.live_only).map(Preparation::Answer);
        }
        if let Some(device) = self.recognize_nic(request, &own, given.as_ref(), deadline).await? {
            return Ok(Preparation::Adopt(device));
        }
        let mut spec = request.spec(self.free_mac(request.mac).await?, &own);
        check_unused(&self.contents(), &self.reserved, request, given.as_ref())?;
        if let Some(given) = &given {
            self.check_not_in_qemu(given).await?;
        }
        self.check_model(DeviceKind::Nic, &spec.model, deadline).await?;
        self.check_netdev(&spec, deadline).await?;
        if let Some(why) = self.defer_reason(DeviceKind::Nic, &spec.model, request.placement.bus()) {
            given.as_ref().map_or(Ok(()), |given| Err(cannot_wait(given, &why)))?;
            return Ok(Preparation::Later(Spec::Nic(spec), why));
        }
        if spec.netdev.is_none() {
            self.check_passes_descriptors("the tap of a NIC")?;
        }
        self.check_lasting_monitor(deadline).await?;
        self.refuse_while_migrating(deadline).await?;
        self.slots.pci.choose_for(&want(&request.placement), &DeviceKind::Nic.new_device(&spec.model))?;
        if let Some(Given { name, tap }) = given {
            (spec.ifname, spec.given_tap) = (Some(name), Some(tap));
        }
        let vhost = self.open_vhost(own.vhost, own.queues).await?;
        spec.vhost = !vhost.is_empty();
        Ok(Preparation::Now((spec, vhost)))
    }

    /// The first setting in which a NIC differs from what is asked for.
    pub(super) async fn difference_of_nic(
        &self,
        request: &NicRequest,
        found: &Spec,
        own: &NicSettings,
        given: Option<&Given>,
    ) -> Result<Option<&'static str>> {
        let same_bridge = match request.bridges(found) {
            Some((wanted, other)) => self.is_same_interface(request.netns(), wanted, other).await?,
            None => false,
        };
        let differs = request.differs(found, own, same_bridge);
        Ok(differs.or_else(|| differs_in_tap(given, found)))
    }

    /// The wanted address, or a new one.
    async fn free_mac(&self, wanted: Option<MacAddr>) -> Result<MacAddr> {
        let taken = match wanted {
            Some(mac) => return check_mac(&self.contents(), &self.reserved, mac, |_| true).map(|()| mac),
            None => used_macs(&self.contents(), &self.reserved).map(|(mac, _)| mac).collect(),
        };
        self.make_mac(taken).await
    }

    /// Taps that the caller opened have to be what the request says before anything else is looked at.
    /// Answers which they are.
    pub(super) async fn given_tap(&self, request: &NicRequest, own: &NicSettings) -> Result<Option<Given>> {
        let TapSource::Given(fds) = &request.tap else { return Ok(None) };
        if fds.len() != usize::from(own.queues) {
            return Err(Error::invalid(format!(
                "{} tap fds were given for {} queues; one per queue is needed",
                fds.len(),
                own.queues
            )));
        }
        if request.bridge.is_some() {
            return Err(Error::invalid(
                "a bridge was named together with tap fds; attach your own taps yourself",
            ));
        }
        let given = self.check_given_tap(fds).await?;
        if !request.limits.is_none() && !given.tap.is_here() {
            return Err(Error::invalid(format!(
                "limits were asked for, and tap {} is in another network namespace than this process; limit it there yourself",
                given.name
            )));
        }
        Ok(Some(given))
    }

    /// Descriptors, one for each queue; the settings are told which tap it is, if it is made here.
    async fn open_taps(
        &self,
        request: NicRequest,
        own: &NicSettings,
        spec: &mut NicSpec,
    ) -> Result<Vec<Descriptor>> {
        let owner = match request.tap {
            TapSource::Given(fds) => return Ok(fds),
            TapSource::Open { owner, .. } => owner,
            TapSource::Netdev(_) => return Ok(Vec::new()),
        };
        let wanted = TapRequest {
            name: spec.tap_name(),
            queues: own.queues,
            vnet_hdr: own.vnet_hdr,
            owner,
            bridge: request.bridge,
            mtu: request.mtu.map(u32::from),
            guest: Some(spec.mac),
            limits: spec.limits(),
            port: spec.port.clone(),
        };
        let tap = self.open_tap(netns_of(spec), wanted).await?;
        (spec.ifname, spec.tap_identity) = (Some(tap.name), Some(tap.identity));
        Ok(tap.fds)
    }
}

/// The addresses that devices of the guest have, or will have.
pub(crate) fn used_macs<'a>(
    contents: &'a Contents,
    reserved: &'a [Device],
) -> impl Iterator<Item = (MacAddr, &'a Device)> {
    let journal = contents.journal().intents.iter().map(|intent| &intent.device);
    let all = contents.record().devices.iter().chain(journal).chain(reserved);
    all.filter_map(|device| Some((device.mac()?, device)))
}

/// Refuses an address that a device of the guest has which `counts`, or one that is about to be added.
pub(crate) fn check_mac(
    contents: &Contents,
    reserved: &[Device],
    wanted: MacAddr,
    counts: impl Fn(&Device) -> bool,
) -> Result<()> {
    match used_macs(contents, reserved).find(|(mac, device)| *mac == wanted && counts(device)) {
        None => Ok(()),
        Some((_, device)) => Err(Error::new(
            ErrorKind::Conflict,
            format!("MAC address {wanted} is used by {} of this guest; take another one", device.id),
        )),
    }
}

/// Whether a NIC that is there already is over another tap than the one that is given for it.
pub(super) fn differs_in_tap(given: Option<&Given>, existing: &Spec) -> Option<&'static str> {
    let (Some(given), Spec::Nic(existing)) = (given, existing) else { return None };
    // Of a NIC that somebody else started, nobody knows the tap.
    let known = existing.ifname.is_some();
    (known && !given.is_of(existing)).then_some("tap")
}

/// The next boot would have another tap, with nothing of what the caller has set on this one.
fn cannot_wait(given: &Given, why: &DeferReason) -> Error {
    let text = format!(
        "a NIC over tap {}, which the caller opened, cannot wait for the next boot: {why}; leave tap_fds out to have a tap \
         made with that boot",
        given.name
    );
    Error::new(ErrorKind::NotHotpluggable, text)
}

/// Refuses a tap that a device of the guest has, or one that is about to be added: two NICs would take each
/// other's packets, and QEMU ends when they disagree about a queue. Also a name that the taps of two of them
/// are to have.
pub(crate) fn check_unused(
    contents: &Contents,
    reserved: &[Device],
    request: &NicRequest,
    given: Option<&Given>,
) -> Result<()> {
    let journal = contents.journal().intents.iter().map(|intent| &intent.device);
    let all = contents.record().devices.iter().chain(journal).chain(reserved);
    for (device, spec) in all.filter_map(|device| Some((device, device.nic()?))) {
        if let Some(given) = given.filter(|given| given.is_of(spec)) {
            let text = format!(
                "tap {} is used by {} of this guest; give each NIC a tap of its own, or remove {} first",
                given.name, device.id, device.id
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        // What goes with the next boot is not there together with what comes then.
        let stays = device.presence != Presence::RemoveAfterReboot;
        if let Some(name) = request.exact_tap().filter(|name| stays && spec.tap.as_deref() == Some(*name)) {
            let text =
                format!("a tap named {name} belongs to {} of this guest; choose another name", device.id);
            return Err(Error::new(ErrorKind::Conflict, text));
        }
    }
    Ok(())
}
