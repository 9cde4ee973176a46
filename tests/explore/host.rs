//! A host as the engine sees it: taps and bridges as names, images as files.

use std::collections::{BTreeMap, HashMap};
use std::fs::File as OpenFile;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fake_qemu::model::Model;
use fake_qemu::{Descriptor as Passed, File};
use kvm_hotplug::disk::{self, Identity};
use kvm_hotplug::engine::{FoundTap, HostResult, HostStep, OpenedTap, TapState};
use kvm_hotplug::error::{Error, ErrorKind, Result};
use kvm_hotplug::ids::{IfName, MacAddr};
use kvm_hotplug::model::Peer;
use kvm_hotplug::model::peer::{Process, Socket};
use kvm_hotplug::net::bandwidth::Limits;
use kvm_hotplug::net::bridge_move::BridgeMove;
use kvm_hotplug::net::identity::TapIdentity;
use kvm_hotplug::net::share::Taps;
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::qmp::Reached;
use kvm_hotplug::sys::descriptor::Descriptor;

/// A tap.
struct Tap {
    identity: TapIdentity,
    bridge: Option<IfName>,
    limits: Limits,
    /// The other end of each descriptor that the agent was given: it is at its end once the agent has none
    /// any more.
    ends: Vec<UnixStream>,
}

/// Taps, and what descriptors lead to.
#[derive(Default)]
pub struct Host {
    taps: BTreeMap<IfName, Tap>,
    /// QEMU's process, which nobody looks at.
    pub qemu: i32,
    last_index: i32,
    last_mac: u8,
    /// What the descriptors lead to that are no files.
    files: HashMap<RawFd, File>,
    /// Of images, by the names that the model has for them.
    paths: BTreeMap<String, PathBuf>,
    /// What nobody may do.
    pub violations: Vec<String>,
}

fn failed(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Host, text)
}

/// The name that the model has for a file.
fn name_of(file: &std::fs::Metadata) -> String {
    format!("{}:{}", file.dev(), file.ino())
}

impl Host {
    /// An image of this host.
    pub fn know_image(&mut self, path: &Path) {
        self.paths.insert(name_of(&path.metadata().unwrap()), path.to_owned());
    }

    /// Of an image, by the name that the model has for it.
    pub fn path_of(&self, name: &str) -> Option<&Path> {
        self.paths.get(name).map(PathBuf::as_path)
    }

    /// A tap of somebody else's, which QEMU has as well.
    pub fn add_foreign_tap(&mut self, name: &str) {
        let identity = TapIdentity::try_from("900@02:00:00:00:09:00".to_owned()).unwrap();
        let tap = Tap { identity, bridge: None, limits: Limits::default(), ends: Vec::new() };
        self.taps.insert(IfName::parse(name).unwrap(), tap);
    }

    /// Those that nobody has open any more are gone.
    pub fn close_unused(&mut self, model: &Model) {
        self.taps.retain(|name, tap| {
            tap.ends.retain_mut(|end| !matches!(end.read(&mut [0]), Ok(0)));
            let is_it = |fd: &Passed| matches!(&fd.file, File::Tap(tap) if tap == name.as_str());
            !tap.ends.is_empty() || model.descriptors().any(is_it)
        });
    }

    /// One line a tap.
    pub fn snapshot(&self) -> Vec<String> {
        let line = |(name, tap): (&IfName, &Tap)| {
            let Tap { identity, bridge, limits, .. } = tap;
            let identity = String::from(identity.clone());
            format!("tap {name} {identity} on {bridge:?}, {:?}, {:?}", limits.inbound, limits.outbound)
        };
        self.taps.iter().map(line).collect()
    }

    /// The limits of a tap.
    pub fn limits(&self, name: &IfName) -> Option<Limits> {
        self.taps.get(name).map(|tap| tap.limits)
    }

    /// Names of taps with their bridges.
    pub fn taps(&self) -> BTreeMap<String, Option<String>> {
        let text = |name: &IfName| name.as_str().to_owned();
        self.taps.iter().map(|(name, tap)| (text(name), tap.bridge.as_ref().map(text))).collect()
    }

    /// What the model is told of a descriptor.
    pub fn describe(&self, fd: &Descriptor, number: i32) -> Passed {
        let raw = fd.as_fd().as_raw_fd();
        let mut file = OpenFile::from(fd.as_fd().try_clone_to_owned().unwrap());
        let metadata = file.metadata().unwrap();
        if metadata.is_file() {
            // The kernel refuses to write even nothing to a file that is open for reading.
            let writable = file.write(&[]).is_ok();
            return Passed::image(number, &name_of(&metadata), metadata.len(), writable);
        }
        Passed {
            number,
            writable: true,
            file: self.files.get(&raw).cloned().unwrap_or(File::Other("mark".into())),
        }
    }

    fn new_end(&mut self, file: File) -> (Descriptor, UnixStream) {
        let (own, end) = UnixStream::pair().unwrap();
        end.set_nonblocking(true).unwrap();
        self.files.insert(own.as_raw_fd(), file);
        (Descriptor::from(OwnedFd::from(own)), end)
    }

    fn find(&self, spec: &NicSpec) -> Result<(&IfName, &Tap)> {
        let name = spec.ifname.as_ref().ok_or_else(|| failed("no tap is recorded"))?;
        let found = self.taps.get_key_value(name).ok_or_else(|| failed(format!("there is no tap {name}")))?;
        match spec.tap_identity.as_ref().is_none_or(|identity| *identity == found.1.identity) {
            true => Ok(found),
            false => Err(failed(format!("{name} is another tap"))),
        }
    }

    /// Does what a step says, or says what is there.
    pub fn perform(&mut self, step: HostStep, model: &Model) -> Result<HostResult> {
        self.close_unused(model);
        match step {
            HostStep::MakeMac(_) => {
                self.last_mac += 1;
                Ok(HostResult::Mac(MacAddr::parse(&format!("52:54:00:00:01:{:02x}", self.last_mac))?))
            }
            HostStep::OpenTap(request) => {
                let name = IfName::parse(request.name.as_deref().unwrap_or("tap0"))?;
                if self.taps.contains_key(&name) {
                    return Err(failed(format!("tap {name} exists")).with_kind(ErrorKind::Conflict));
                }
                let identity = self.next_identity()?;
                let (fds, ends) = (0..request.queues)
                    .map(|_| self.new_end(File::Tap(name.as_str().into())))
                    .unzip::<_, _, Vec<_>, Vec<_>>();
                let limits = request.limits;
                let tap = Tap { identity: identity.clone(), bridge: request.bridge, limits, ends };
                self.taps.insert(name.clone(), tap);
                Ok(HostResult::Tap(OpenedTap { name, identity, fds }))
            }
            HostStep::AttachQueues(_) => Ok(HostResult::Done),
            HostStep::OpenVhost(..) => Ok(HostResult::Descriptors(Vec::new())),
            HostStep::FindTap(spec) => self.find(&spec).map(|(name, tap)| {
                HostResult::FoundTap(FoundTap { name: name.clone(), bridge: Ok(tap.bridge.clone()) })
            }),
            HostStep::DescribeTap(spec) => Ok(HostResult::TapState(match self.find(&spec) {
                Ok((_, tap)) => {
                    let (bridge, limits) = (tap.bridge.clone(), Some(tap.limits));
                    TapState { here: true, mtu: Some(1500), bridge, limits, port: None }
                }
                Err(_) => TapState::default(),
            })),
            HostStep::IsTapRenamed(_) => Ok(HostResult::Is(false)),
            HostStep::DeleteTap(name, identity) => self.delete_tap(&name, &identity, model),
            HostStep::RealName(name) => Ok(HostResult::Name(name)),
            HostStep::IsSameInterface(one, other) => Ok(HostResult::Is(one == other)),
            HostStep::CheckBridge(..) => Ok(HostResult::Done),
            HostStep::PlanMove(wanted) => {
                let there = BridgeMove::new(wanted.tap.clone(), wanted.to, 1500);
                Ok(HostResult::Moves(there, BridgeMove::new(wanted.tap, wanted.from, 1500)))
            }
            HostStep::MoveTap { there, .. } | HostStep::JoinBridge(there) => {
                let tap = self.taps.get_mut(there.tap()).ok_or_else(|| failed("there is no such tap"))?;
                tap.bridge = there.to().cloned();
                Ok(HostResult::Done)
            }
            HostStep::SetLimits(change) => {
                let name = self.find(&change.nic)?.0.clone();
                let tap = self.taps.get_mut(&name).ok_or_else(|| failed("there is no such tap"))?;
                tap.limits = change.there;
                Ok(HostResult::Done)
            }
            HostStep::IsOwnProcess(_) => Ok(HostResult::Is(false)),
            HostStep::ListTaps(_) => Ok(HostResult::Taps(Arc::new(Taps::known(self.qemu, taps_of(model))))),
            HostStep::ShareTap(_, name) => {
                if !taps_of(model).iter().any(|(_, tap)| *tap == name) {
                    return Err(
                        failed(format!("QEMU does not have tap {name}")).with_kind(ErrorKind::NotFound)
                    );
                }
                let (fd, end) = self.new_end(File::Tap(name.as_str().into()));
                self.taps.get_mut(&name).ok_or_else(|| failed("there is no such tap"))?.ends.push(end);
                Ok(HostResult::Descriptor(fd))
            }
            HostStep::OpenImage(spec, rule) => {
                disk::image::open_under(&spec, &rule).map(|image| HostResult::Image(image.into()))
            }
            HostStep::ResolveImage(mut spec, format, rule) => {
                let image = disk::image::resolve(&mut spec, format, &rule)?;
                Ok(HostResult::ResolvedImage(spec, image.into()))
            }
            HostStep::IdentifyFiles(paths) => {
                Ok(HostResult::Files(paths.iter().map(|path| Identity::of_path(path).ok()).collect()))
            }
            HostStep::IdentifyDescriptors(_, numbers) => {
                let identity = |number: &i32| Identity::of_path(self.image(model, *number)?).ok();
                Ok(HostResult::Files(numbers.iter().map(identity).collect()))
            }
            HostStep::NameDescriptor(_, number) => Ok(HostResult::Text(format!("descriptor {number}"))),
            HostStep::FindSameFile(fd, _, numbers) => {
                let wanted = self.describe(&fd, 0).file;
                let is_it = |number: &&i32| {
                    model.descriptors().any(|fd| fd.number == **number && same_file(&fd.file, &wanted))
                };
                Ok(HostResult::Number(numbers.iter().find(is_it).copied()))
            }
            HostStep::MakeMark => Ok(HostResult::Descriptor(self.new_end(File::Other("mark".into())).0)),
            HostStep::SeeQemu(reached, pid) => Ok(HostResult::Qemu(self.see_qemu(&reached, pid))),
            HostStep::IsSocketThere(_) => Ok(HostResult::Is(true)),
            HostStep::CheckGivenTap(_) | HostStep::HasTap(..) => Err(failed("nobody gives taps here")),
            HostStep::Recognize(_) => Err(failed("nothing is adopted in the exploration")),
            HostStep::MakeSocketPair => Err(failed("no monitor is lent in the exploration")),
            HostStep::Within(..) | HostStep::ResolveNamespace(_) => {
                Err(failed("there is one namespace here"))
            }
        }
    }

    fn delete_tap(&mut self, name: &IfName, identity: &TapIdentity, model: &Model) -> Result<HostResult> {
        match self.taps.get(name) {
            Some(tap) if tap.identity == *identity => {
                let has = |netdev: &fake_qemu::Netdev| {
                    netdev.fds.iter().any(|fd| matches!(&fd.file, File::Tap(tap) if tap == name.as_str()))
                };
                let of_guest = |device: &&fake_qemu::Dev| {
                    device.netdev.as_ref().and_then(|id| model.netdevs.get(id)).is_some_and(has)
                };
                if let Some(device) = model.devices.iter().find(of_guest) {
                    self.violations
                        .push(format!("tap {name} is deleted while {:?} is in the guest", device.id));
                }
                self.taps.remove(name);
                Ok(HostResult::Done)
            }
            Some(_) => Err(failed(format!("{name} is another tap"))),
            None => Ok(HostResult::Done),
        }
    }

    /// Opens a tap that a QEMU is started with; what it is known by from now on.
    pub fn start_tap(&mut self, spec: &NicSpec) -> Option<TapIdentity> {
        let identity = self.next_identity().unwrap();
        let (bridge, limits) = (spec.bridge.clone(), spec.limits());
        let tap = Tap { identity: identity.clone(), bridge, limits, ends: Vec::new() };
        self.taps.insert(spec.ifname.clone()?, tap);
        Some(identity)
    }

    fn next_identity(&mut self) -> Result<TapIdentity> {
        self.last_index += 1;
        TapIdentity::try_from(format!("{}@fe:00:00:00:00:{:02x}", self.last_index, self.last_index))
    }

    /// Who listens at this path: each QEMU makes sockets of its own.
    fn see_qemu(&self, reached: &Reached, pid: i32) -> Peer {
        let path = PathBuf::from(reached.name.to_string());
        let process = Process { pid, start: 1, namespace: 1, boot: "this".into() };
        let inode = u64::try_from(path.as_os_str().len()).unwrap();
        let sockets = vec![Socket { path, device: 1, inode, made: pid.into() }];
        Peer { process: Some(process), sockets, first_thread: None }
    }

    fn image(&self, model: &Model, number: i32) -> Option<&Path> {
        match &model.descriptors().find(|fd| fd.number == number)?.file {
            File::Image { name, .. } => self.path_of(name),
            _ => None,
        }
    }
}

/// Without the lengths, which change.
fn same_file(one: &File, other: &File) -> bool {
    match (one, other) {
        (File::Image { name, .. }, File::Image { name: other, .. }) => name == other,
        _ => one == other,
    }
}

fn taps_of(model: &Model) -> Vec<(RawFd, IfName)> {
    let tap = |fd: &Passed| match &fd.file {
        File::Tap(name) => Some((fd.number, IfName::parse(name).ok()?)),
        _ => None,
    };
    model.descriptors().filter_map(tap).collect()
}
