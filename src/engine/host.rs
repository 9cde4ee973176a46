//! How operations have the shell do something on the host: one function for each step, which gives what
//! belongs to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::foreign_device::{ForeignDevice, Recognized};
use super::guest_state::GuestState;
use super::host_step::{FoundTap, HostResult, HostStep, Image, OpenedTap, PlanMove, SocketPair, TapState};
use super::io::unexpected;
use super::io::{Effect, Given};
use crate::disk::{DiskSpec, FormatRequest, Identity};
use crate::error::Result;
use crate::ids::{IfName, MacAddr};
use crate::model::Peer;
use crate::model::peer::Socket;
use crate::net::bridge_move::BridgeMove;
use crate::net::given;
use crate::net::identity::TapIdentity;
use crate::net::limits::LimitChange;
use crate::net::port::PortSettings;
use crate::net::share::Taps;
use crate::net::spec::NicSpec;
use crate::net::tap::TapRequest;
use crate::net::vhost::VhostMode;
use crate::qmp::Reached;
use crate::sorted;
use crate::sys::descriptor::Descriptor;

/// What a step comes to, if it is what belongs to it.
macro_rules! result_of {
    ($state:expr, $step:expr, $pattern:pat => $value:expr) => {
        match $state.host($step).await? {
            $pattern => Ok($value),
            _ => Err(unexpected()),
        }
    };
}

/// The network namespace of a tap, by its path; `None` for that of the caller.
pub(super) type Netns<'a> = Option<&'a str>;

fn within(netns: Netns<'_>, step: HostStep) -> HostStep {
    match netns {
        Some(path) => HostStep::Within(path.to_owned(), Box::new(step)),
        None => step,
    }
}

/// A tap that was made here.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnTap<'a> {
    /// Its name.
    pub(super) name: &'a IfName,
    /// Which of that name.
    pub(super) identity: &'a TapIdentity,
    /// Where it is.
    pub(super) netns: Netns<'a>,
}

/// The network namespace of a NIC's tap.
pub(super) fn netns_of(spec: &NicSpec) -> Netns<'_> {
    spec.netns.as_deref()
}

impl GuestState {
    async fn host(&self, step: HostStep) -> Result<HostResult> {
        match self.port()?.perform(Effect::Host(step)).await {
            Given::Host(result) => Ok(result),
            Given::Failed(error) => Err(error),
            _ => Err(unexpected()),
        }
    }

    /// A new MAC address that is none of `taken`.
    pub(super) async fn make_mac(&self, taken: Vec<MacAddr>) -> Result<MacAddr> {
        result_of!(self, HostStep::MakeMac(taken), HostResult::Mac(mac) => mac)
    }

    /// The path by which a network namespace is recorded.
    pub(super) async fn resolve_namespace(&self, path: String) -> Result<String> {
        result_of!(self, HostStep::ResolveNamespace(path), HostResult::Text(path) => path)
    }

    pub(super) async fn open_tap(&self, netns: Netns<'_>, request: TapRequest) -> Result<OpenedTap> {
        result_of!(self, within(netns, HostStep::OpenTap(request)), HostResult::Tap(tap) => tap)
    }

    /// Which tap a caller's descriptors are the queues of.
    pub(super) async fn check_given_tap(&self, fds: &[Descriptor]) -> Result<given::Given> {
        result_of!(self, HostStep::CheckGivenTap(fds.to_vec()), HostResult::GivenTap(given) => given)
    }

    /// Has packets go to each of these queues.
    pub(super) async fn attach(&self, queues: Vec<Descriptor>) -> Result<()> {
        if queues.is_empty() {
            return Ok(());
        }
        result_of!(self, HostStep::AttachQueues(queues), HostResult::Done => ())
    }

    pub(super) async fn open_vhost(&self, mode: VhostMode, queues: u16) -> Result<Vec<Descriptor>> {
        result_of!(self, HostStep::OpenVhost(mode, queues), HostResult::Descriptors(fds) => fds)
    }

    /// The tap of a NIC, which has to be in the network namespace of the NIC, and the very one.
    pub(super) async fn find_tap(&self, spec: &NicSpec) -> Result<FoundTap> {
        let step = HostStep::FindTap(Box::new(spec.clone()));
        result_of!(self, within(netns_of(spec), step), HostResult::FoundTap(found) => found)
    }

    pub(super) async fn tap_state(&self, spec: &NicSpec) -> Result<TapState> {
        let step = HostStep::DescribeTap(Box::new(spec.clone()));
        result_of!(self, within(netns_of(spec), step), HostResult::TapState(state) => state)
    }

    pub(super) async fn is_tap_renamed(&self, spec: &NicSpec) -> Result<bool> {
        let step = HostStep::IsTapRenamed(Box::new(spec.clone()));
        result_of!(self, within(netns_of(spec), step), HostResult::Is(renamed) => renamed)
    }

    /// Deletes a tap, whoever has it open. An interface that has only its name is left alone.
    pub(super) async fn destroy_tap(&self, tap: OwnTap<'_>) -> Result<()> {
        let step = HostStep::DeleteTap(tap.name.clone(), tap.identity.clone());
        result_of!(self, within(tap.netns, step), HostResult::Done => ())
    }

    /// The name that the kernel has for an interface.
    pub(super) async fn real_name(&self, netns: Netns<'_>, name: IfName) -> Result<IfName> {
        result_of!(self, within(netns, HostStep::RealName(name)), HostResult::Name(name) => name)
    }

    /// Whether both names are of one interface.
    pub(super) async fn is_same_interface(
        &self,
        netns: Netns<'_>,
        one: &IfName,
        other: &IfName,
    ) -> Result<bool> {
        if one == other {
            return Ok(true);
        }
        let step = HostStep::IsSameInterface(one.clone(), other.clone());
        result_of!(self, within(netns, step), HostResult::Is(same) => same)
    }

    pub(super) async fn check_bridge(
        &self,
        netns: Netns<'_>,
        bridge: &IfName,
        port: Option<Box<PortSettings>>,
    ) -> Result<()> {
        let step = HostStep::CheckBridge(bridge.clone(), port);
        result_of!(self, within(netns, step), HostResult::Done => ())
    }

    /// The move of a tap, and the one that takes it back.
    pub(super) async fn plan_move(
        &self,
        netns: Netns<'_>,
        wanted: PlanMove,
    ) -> Result<(BridgeMove, BridgeMove)> {
        result_of!(self, within(netns, HostStep::PlanMove(wanted)), HostResult::Moves(there, back) => (there, back))
    }

    /// A failure leaves the tap where it was, or says that it does not.
    pub(super) async fn move_tap(
        &self,
        netns: Netns<'_>,
        there: &BridgeMove,
        back: &BridgeMove,
    ) -> Result<()> {
        self.step_on_tap(netns, HostStep::MoveTap { there: there.clone(), back: back.clone() }).await
    }

    /// A step on a tap that only has to be done.
    pub(super) async fn step_on_tap(&self, netns: Netns<'_>, step: HostStep) -> Result<()> {
        result_of!(self, within(netns, step), HostResult::Done => ())
    }

    pub(super) async fn join_bridge(&self, netns: Netns<'_>, there: BridgeMove) -> Result<()> {
        self.step_on_tap(netns, HostStep::JoinBridge(there)).await
    }

    /// Sets the limits of the tap of a NIC. A failure leaves those it had, or says that it does not.
    pub(super) async fn set_tap_limits(&self, change: LimitChange) -> Result<()> {
        let netns = change.nic.netns.clone();
        self.step_on_tap(netns.as_deref(), HostStep::SetLimits(change)).await
    }

    pub(super) async fn is_own_process(&self, pid: i32) -> Result<bool> {
        result_of!(self, HostStep::IsOwnProcess(pid), HostResult::Is(own) => own)
    }

    pub(super) async fn list_taps(&self, pid: i32) -> Result<Arc<Taps>> {
        result_of!(self, HostStep::ListTaps(pid), HostResult::Taps(taps) => taps)
    }

    pub(super) async fn share_tap(&self, taps: Arc<Taps>, name: &IfName) -> Result<Descriptor> {
        result_of!(self, HostStep::ShareTap(taps, name.clone()), HostResult::Descriptor(fd) => fd)
    }

    pub(super) async fn has_tap(&self, taps: Arc<Taps>, given: &given::Given) -> Result<bool> {
        result_of!(self, HostStep::HasTap(taps, given.clone()), HostResult::Is(has) => has)
    }

    /// The image of a disk that is recorded.
    pub(super) async fn open_image(&self, spec: &DiskSpec) -> Result<Image> {
        let rule = self.contents().record().backing_rule(spec);
        result_of!(self, HostStep::OpenImage(Box::new(spec.clone()), rule), HostResult::Image(image) => image)
    }

    /// The image of a disk that is asked for, and its settings with what was found out on the way.
    pub(super) async fn resolve_image(
        &self,
        spec: DiskSpec,
        format: FormatRequest,
    ) -> Result<(DiskSpec, Image)> {
        let rule = self.contents().record().backing_rule(&spec);
        let step = HostStep::ResolveImage(Box::new(spec), format, rule);
        result_of!(self, step, HostResult::ResolvedImage(spec, image) => (*spec, image))
    }

    /// What a device of QEMU is.
    pub(super) async fn find_behind(&self, foreign: ForeignDevice) -> Result<Recognized> {
        let step = HostStep::Recognize(Box::new(foreign));
        result_of!(self, step, HostResult::Recognized(recognized) => *recognized)
    }

    /// The images that these paths lead to.
    pub(super) async fn identify_files(&self, paths: Vec<PathBuf>) -> Result<BTreeMap<PathBuf, Identity>> {
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        let step = HostStep::IdentifyFiles(paths.clone());
        let files = result_of!(self, step, HostResult::Files(files) => files)?;
        Ok(sorted::map(paths.into_iter().zip(files).filter_map(|(path, file)| Some((path, file?)))))
    }

    /// The images behind these descriptors of a process, where that can be seen.
    pub(super) async fn identify_descriptors(
        &self,
        pid: i32,
        numbers: Vec<i32>,
    ) -> Result<BTreeMap<i32, Identity>> {
        let step = HostStep::IdentifyDescriptors(pid, numbers.clone());
        let files = result_of!(self, step, HostResult::Files(files) => files)?;
        Ok(sorted::map(numbers.into_iter().zip(files).filter_map(|(number, file)| Some((number, file?)))))
    }

    pub(super) async fn name_of_descriptor(&self, pid: i32, number: i32) -> Result<String> {
        result_of!(self, HostStep::NameDescriptor(pid, number), HostResult::Text(name) => name)
    }

    /// Which of these descriptors of a process is the same file as `fd`, opened in the same way.
    pub(super) async fn find_same_file(
        &self,
        fd: &Descriptor,
        pid: i32,
        numbers: Vec<i32>,
    ) -> Result<Option<i32>> {
        let step = HostStep::FindSameFile(fd.clone(), pid, numbers);
        result_of!(self, step, HostResult::Number(number) => number)
    }

    /// A descriptor that takes no file.
    pub(super) async fn make_mark(&self) -> Result<Descriptor> {
        result_of!(self, HostStep::MakeMark, HostResult::Descriptor(fd) => fd)
    }

    pub(super) async fn make_socket_pair(&self) -> Result<SocketPair> {
        result_of!(self, HostStep::MakeSocketPair, HostResult::SocketPair(pair) => pair)
    }

    pub(super) async fn see_qemu(&self, reached: &Reached, pid: i32) -> Result<Peer> {
        result_of!(self, HostStep::SeeQemu(reached.clone(), pid), HostResult::Qemu(peer) => peer)
    }

    pub(super) async fn is_socket_there(&self, socket: &Socket) -> Result<bool> {
        result_of!(self, HostStep::IsSocketThere(socket.clone()), HostResult::Is(there) => there)
    }
}
