//! What operations have the shell do on the host and look at there, and what comes of it. Nothing is done
//! here: see `guest/host.rs`.

use std::path::PathBuf;
use std::sync::Arc;

use super::foreign_device::{ForeignDevice, Recognized};
use crate::disk::{self, BackingRule, DiskSpec, FormatRequest, Identity};
use crate::error::Result;
use crate::ids::{IfName, MacAddr};
use crate::model::Peer;
use crate::model::peer::Socket;
use crate::net::bandwidth::Limits;
use crate::net::bridge_move::BridgeMove;
use crate::net::given;
use crate::net::identity::TapIdentity;
use crate::net::limits::LimitChange;
use crate::net::port::{PortFlags, PortSettings};
use crate::net::share::Taps;
use crate::net::spec::NicSpec;
use crate::net::tap::TapRequest;
use crate::net::vhost::VhostMode;
use crate::qmp::Reached;
use crate::sys::descriptor::Descriptor;

/// An image whose files are open.
pub(super) type Image = disk::Image<Descriptor>;

/// One thing to do or to look at.
#[derive(Debug)]
pub enum HostStep {
    /// Do this in the network namespace at this path.
    Within(String, Box<HostStep>),
    /// Say by which path a network namespace is recorded.
    ResolveNamespace(String),
    /// Make a MAC address that is none of these.
    MakeMac(Vec<MacAddr>),
    /// Open a tap, configure it and set it up.
    OpenTap(TapRequest),
    /// Check that these are the queues of one tap, and say of which.
    CheckGivenTap(Vec<Descriptor>),
    /// Have packets go to each of these queues.
    AttachQueues(Vec<Descriptor>),
    /// Open vhost-net once for each of so many queues.
    OpenVhost(VhostMode, u16),
    /// Find the tap of a NIC, which has to be the very one.
    FindTap(Box<NicSpec>),
    /// Say what can be seen of the tap of a NIC.
    DescribeTap(Box<NicSpec>),
    /// Whether the tap of a NIC has another name by now.
    IsTapRenamed(Box<NicSpec>),
    /// Delete a tap, whoever has it open.
    DeleteTap(IfName, TapIdentity),
    /// Say what the kernel calls an interface.
    RealName(IfName),
    /// Whether both names are of one interface.
    IsSameInterface(IfName, IfName),
    /// Refuse what is no bridge, or cannot have such a port.
    CheckBridge(IfName, Option<Box<PortSettings>>),
    /// Look what moving a tap to a bridge takes, and what taking it back takes.
    PlanMove(PlanMove),
    /// Move a tap; after a failure move it back.
    MoveTap {
        /// Where it is to go.
        there: BridgeMove,
        /// Where it was.
        back: BridgeMove,
    },
    /// Put a tap that is on no bridge where it is to be.
    JoinBridge(BridgeMove),
    /// Set the limits of the tap of a NIC; after a failure those it had.
    SetLimits(LimitChange),
    /// Whether it is this very process.
    IsOwnProcess(i32),
    /// List the taps that a process has open.
    ListTaps(i32),
    /// Open a tap of a process here as well.
    ShareTap(Arc<Taps>, IfName),
    /// Whether a process has this tap open.
    HasTap(Arc<Taps>, given::Given),
    /// Open the image of a disk that is recorded, under this rule.
    OpenImage(Box<DiskSpec>, BackingRule),
    /// Open the image of a disk that is asked for, and complete its settings.
    ResolveImage(Box<DiskSpec>, FormatRequest, BackingRule),
    /// Say what a device of QEMU is, by what is behind it on the host.
    Recognize(Box<ForeignDevice>),
    /// Say which files these paths lead to.
    IdentifyFiles(Vec<PathBuf>),
    /// Say which files these descriptors of a process are; an error where they cannot be seen.
    IdentifyDescriptors(i32, Vec<i32>),
    /// Say how the kernel names the file behind a descriptor of a process.
    NameDescriptor(i32, i32),
    /// Find the first among these descriptors of a process that is the same file, opened in the same way.
    FindSameFile(Descriptor, i32, Vec<i32>),
    /// Make a descriptor that takes no file and means nothing.
    MakeMark,
    /// Make two sockets that are connected with each other.
    MakeSocketPair,
    /// Say what can be seen of the QEMU behind this connection, which had this process.
    SeeQemu(Reached, i32),
    /// Whether the path of a socket still leads to it.
    IsSocketThere(Socket),
}

/// A connection of which QEMU has one end.
#[derive(Debug)]
pub struct SocketPair {
    /// The caller's end.
    pub own: Descriptor,
    /// QEMU's end.
    pub qemu: Descriptor,
    /// No other that is open has this number.
    pub number: u64,
}

/// A tap that is to go from one bridge to another, or out of any.
#[derive(Debug)]
pub struct PlanMove {
    /// The tap.
    pub tap: IfName,
    /// The MTU that was asked for with the NIC.
    pub mtu: Option<u32>,
    /// Where it is.
    pub from: Option<IfName>,
    /// Where it is to be.
    pub to: Option<IfName>,
    /// What the bridge is to do with its frames.
    pub port: Option<Box<PortSettings>>,
}

/// What has come of a step.
#[derive(Debug)]
pub enum HostResult {
    /// It is done.
    Done,
    /// Whether it is so.
    Is(bool),
    /// A MAC address.
    Mac(MacAddr),
    /// A tap that was opened.
    Tap(OpenedTap),
    /// The tap of the caller's descriptors.
    GivenTap(given::Given),
    /// One descriptor.
    Descriptor(Descriptor),
    /// Both ends of a connection.
    SocketPair(SocketPair),
    /// Descriptors; none where the host has none and none are needed.
    Descriptors(Vec<Descriptor>),
    /// The tap that was looked for.
    FoundTap(FoundTap),
    /// What is seen of a tap.
    TapState(TapState),
    /// The name of an interface.
    Name(IfName),
    /// A move, and the one that takes it back.
    Moves(BridgeMove, BridgeMove),
    /// The taps of a process.
    Taps(Arc<Taps>),
    /// An opened image.
    Image(Image),
    /// An opened image, and the settings of its disk.
    ResolvedImage(Box<DiskSpec>, Image),
    /// What a device is.
    Recognized(Box<Recognized>),
    /// For each whether there is an image, and which.
    Files(Vec<Option<Identity>>),
    /// A name, for people.
    Text(String),
    /// Which descriptor it is, if it is any.
    Number(Option<i32>),
    /// A QEMU.
    Qemu(Peer),
}

/// A tap that was made for a NIC.
#[derive(Debug)]
pub struct OpenedTap {
    /// Its name.
    pub name: IfName,
    /// Which of that name.
    pub identity: TapIdentity,
    /// One for each queue.
    pub fds: Vec<Descriptor>,
}

/// A tap that is in this network namespace.
#[derive(Debug)]
pub struct FoundTap {
    /// Its name.
    pub name: IfName,
    /// The bridge that it is a port of.
    pub bridge: Result<Option<IfName>>,
}

/// What can be seen of a tap.
#[derive(Debug, Default)]
pub struct TapState {
    /// It is in this network namespace.
    pub here: bool,
    /// Its MTU.
    pub mtu: Option<u32>,
    /// The bridge that it is a port of.
    pub bridge: Option<IfName>,
    /// The limits that it has by the library, if that can be seen.
    pub limits: Option<Limits>,
    /// How its bridge treats its frames.
    pub port: Option<PortFlags>,
}
