//! Does on the host what the engine decides: taps, bridges, images, and looks at what is there.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::fstat;

use crate::adopt;
use crate::disk::{self, BackingRule, DiskSpec, FormatRequest, Identity};
use crate::engine::{FoundTap, HostResult, HostStep, OpenedTap, PlanMove, SocketPair, TapState};
use crate::error::{Error, Result};
use crate::ids::{IfName, MacAddr};
use crate::net::bridge_move;
use crate::net::given::{self, Given};
use crate::net::limits;
use crate::net::link::{self, Interfaces};
use crate::net::mac;
use crate::net::namespace;
use crate::net::share::{MOST_DESCRIPTORS, Taps};
use crate::net::spec::NicSpec;
use crate::net::tap::{TapRequest, TunDevice};
use crate::net::vhost::{self, VhostMode};
use crate::store::peer;
use crate::sys::descriptor::Descriptor;

/// The host, as far as anything of it is kept.
#[derive(Debug, Default)]
pub(super) struct Host {
    tun: TunDevice,
}

impl Host {
    /// Does one step.
    pub(super) fn perform(&self, step: HostStep) -> Result<HostResult> {
        match step {
            HostStep::Within(path, step) => namespace::within(Some(&path), || self.perform(*step)),
            HostStep::ResolveNamespace(path) => namespace::resolve(&path).map(HostResult::Text),
            HostStep::MakeMac(taken) => make_mac(&taken),
            HostStep::OpenTap(request) => self.open_tap(&request),
            HostStep::CheckGivenTap(fds) => Given::check(&fds).map(HostResult::GivenTap),
            HostStep::AttachQueues(queues) => given::attach_queues(&queues).map(done),
            HostStep::OpenVhost(mode, queues) => open_vhost(mode, queues),
            HostStep::FindTap(spec) => find_tap(&spec),
            HostStep::DescribeTap(spec) => Ok(HostResult::TapState(describe_tap(&spec))),
            HostStep::IsTapRenamed(spec) => Ok(HostResult::Is(link::is_renamed(&spec))),
            HostStep::DeleteTap(name, identity) => link::destroy(&name, &identity).map(|_| HostResult::Done),
            HostStep::RealName(name) => Ok(HostResult::Name(link::real_name(&name))),
            HostStep::IsSameInterface(one, other) => Ok(HostResult::Is(link::is_same(&one, &other))),
            HostStep::CheckBridge(bridge, port) => link::check_bridge(&bridge, port.as_deref()).map(done),
            HostStep::PlanMove(wanted) => plan_move(wanted),
            HostStep::MoveTap { there, back } => there.run(&back).map(done),
            HostStep::JoinBridge(there) => there.join().map(done),
            HostStep::SetLimits(change) => change.run().map(done),
            HostStep::IsOwnProcess(pid) => Ok(HostResult::Is(u32::try_from(pid) == Ok(std::process::id()))),
            HostStep::ListTaps(pid) => {
                Taps::of_process(pid, MOST_DESCRIPTORS).map(|taps| HostResult::Taps(Arc::new(taps)))
            }
            HostStep::ShareTap(taps, name) => share_tap(&taps, &name),
            HostStep::HasTap(taps, given) => Ok(HostResult::Is(has_tap(&taps, &given))),
            HostStep::OpenImage(spec, rule) => open_image(&spec, &rule),
            HostStep::ResolveImage(spec, format, rule) => resolve_image(spec, format, &rule),
            HostStep::Recognize(foreign) => {
                adopt::recognize(&foreign).map(|found| HostResult::Recognized(Box::new(found)))
            }
            HostStep::IdentifyFiles(paths) => Ok(identify_files(&paths)),
            HostStep::IdentifyDescriptors(pid, numbers) => identify_descriptors(pid, &numbers),
            HostStep::NameDescriptor(pid, number) => Ok(name_descriptor(pid, number)),
            HostStep::FindSameFile(fd, pid, numbers) => Ok(find_same_file(&fd, pid, &numbers)),
            HostStep::MakeMark => make_mark(),
            HostStep::MakeSocketPair => make_socket_pair(),
            HostStep::SeeQemu(reached, pid) => Ok(HostResult::Qemu(peer::look(&reached, pid))),
            HostStep::IsSocketThere(socket) => Ok(HostResult::Is(peer::is_there(&socket))),
        }
    }

    fn open_tap(&self, request: &TapRequest) -> Result<HostResult> {
        let tap = self.tun.open(request)?;
        let fds = tap.fds.into_iter().map(Descriptor::from).collect();
        Ok(HostResult::Tap(OpenedTap { name: tap.name, identity: tap.identity, fds }))
    }
}

fn done((): ()) -> HostResult {
    HostResult::Done
}

fn make_mac(taken: &[MacAddr]) -> Result<HostResult> {
    mac::generate(|mac| taken.contains(mac)).map(HostResult::Mac)
}

fn open_vhost(mode: VhostMode, queues: u16) -> Result<HostResult> {
    let fds = vhost::open(mode, queues, Path::new(vhost::DEVICE))?;
    Ok(HostResult::Descriptors(fds.into_iter().map(Descriptor::from).collect()))
}

fn find_tap(spec: &NicSpec) -> Result<HostResult> {
    let name = link::check_tap_of(spec)?;
    let bridge = link::bridge_of(&name);
    Ok(HostResult::FoundTap(FoundTap { name, bridge }))
}

fn describe_tap(spec: &NicSpec) -> TapState {
    let Ok(name) = link::check_tap_of(spec) else { return TapState::default() };
    TapState {
        here: true,
        mtu: Interfaces::open().and_then(|host| host.mtu_of(&name)).ok(),
        bridge: link::bridge_of(&name).ok().flatten(),
        limits: limits::of_tap(&name).ok(),
        port: link::port_of(&name).ok().flatten(),
    }
}

fn plan_move(PlanMove { tap, mtu, from, to, port }: PlanMove) -> Result<HostResult> {
    bridge_move::plan(&tap, mtu, from, to, port).map(|(there, back)| HostResult::Moves(there, back))
}

fn share_tap(taps: &Taps, name: &IfName) -> Result<HostResult> {
    taps.share(name).map(|fd| HostResult::Descriptor(fd.into()))
}

/// Where the process may not be looked into, nobody knows, and it counts for no.
fn has_tap(taps: &Taps, given: &Given) -> bool {
    let Ok(mut all) = taps.share_all(&given.name) else { return false };
    all.any(|tap| tap.is_ok_and(|tap| given.is_behind(tap.as_fd())))
}

fn open_image(spec: &DiskSpec, rule: &BackingRule) -> Result<HostResult> {
    disk::image::open_under(spec, rule).map(|image| HostResult::Image(image.into()))
}

fn resolve_image(mut spec: Box<DiskSpec>, format: FormatRequest, rule: &BackingRule) -> Result<HostResult> {
    let image = disk::image::resolve(&mut spec, format, rule)?;
    Ok(HostResult::ResolvedImage(spec, image.into()))
}

fn identify_files(paths: &[PathBuf]) -> HostResult {
    HostResult::Files(paths.iter().map(|path| Identity::of_path(path).ok()).collect())
}

fn identify_descriptors(pid: i32, numbers: &[i32]) -> Result<HostResult> {
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    let identity = |number: &i32| Identity::of_path(&directory.join(number.to_string())).ok();
    let files: Vec<Option<Identity>> = numbers.iter().map(identity).collect();
    if files.iter().all(Option::is_none) {
        // They may be none, or not to be seen.
        std::fs::read_dir(&directory)
            .map_err(|source| Error::host(source, format!("list the descriptors of process {pid}")))?;
    }
    Ok(HostResult::Files(files))
}

fn name_descriptor(pid: i32, number: i32) -> HostResult {
    let path = format!("/proc/{pid}/fd/{number}");
    HostResult::Text(std::fs::read_link(&path).map_or(path, |name| name.to_string_lossy().into_owned()))
}

fn make_mark() -> Result<HostResult> {
    let mark = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)
        .map_err(|errno| Error::host(errno, "create a descriptor to mark an fdset with"))?;
    Ok(HostResult::Descriptor(OwnedFd::from(mark).into()))
}

fn make_socket_pair() -> Result<HostResult> {
    let host = |errno| Error::host(errno, "make the connection of a monitor");
    let flags = SockFlag::SOCK_CLOEXEC;
    let (own, qemu) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags).map_err(host)?;
    let number = fstat(&own).map_err(host)?.st_ino;
    Ok(HostResult::SocketPair(SocketPair { own: own.into(), qemu: qemu.into(), number }))
}

/// What is known of an open file: what it is, and how it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OpenFile {
    identity: Identity,
    flags: i32,
}

/// Of a descriptor that is a file in `/proc`, of whatever process.
fn open_file(process: &str, number: i32) -> Option<OpenFile> {
    let identity = Identity::of_path(format!("/proc/{process}/fd/{number}").as_ref()).ok()?;
    let info = std::fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
    let flags = i32::from_str_radix(flags, 8).ok()?;
    Some(OpenFile { identity, flags: flags & (libc::O_ACCMODE | libc::O_DIRECT) })
}

fn find_same_file(fd: &Descriptor, pid: i32, numbers: &[i32]) -> HostResult {
    let wanted = open_file("self", fd.as_fd().as_raw_fd());
    let pid = pid.to_string();
    let is_same = |number: &&i32| wanted.is_some() && open_file(&pid, **number) == wanted;
    HostResult::Number(numbers.iter().find(is_same).copied())
}
