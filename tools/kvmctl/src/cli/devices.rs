//! What is said of a device that is to be added or removed.

use clap::{ArgGroup, Args, ValueHint};
use kvm_hotplug::disk::{Aio, Cache, Description, DetectZeroes, Discard, FormatRequest};
use kvm_hotplug::net::netdev::Netdev;
use kvm_hotplug::net::vhost::VhostMode;
use serde_json::{Map, Value};

use super::values::{self, Backing, Port};
use super::{netdevs, sources};

#[derive(Debug, Args)]
pub(crate) struct PlaceArguments {
    /// The device's id (default: from its slot, as in nic-pci-5)
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The bus it sits on (default: the first with a free slot)
    #[arg(long, value_name = "NAME")]
    pub(crate) bus: Option<String>,
    /// The slot on that bus, 0 to 31 (default: any that is free there)
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true,
          value_parser = values::number::<u32>)]
    pub(crate) slot: u32,
    /// QEMU device model (default: virtio-net-pci, virtio-blk-pci)
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Further property of the device in QEMU, as in werror=stop or packed=on; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::property)]
    pub(crate) property: Vec<(String, Value)>,
    /// Fail rather than record it for the next boot
    #[arg(long)]
    pub(crate) live_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// Bytes per second that the guest receives, and how many at once, as in 10M,1M (default: no limit)
    #[arg(long, value_name = "AVERAGE[,BURST]", value_parser = values::bandwidth)]
    pub(crate) inbound: Option<(u64, u64)>,
    /// The same for what the guest sends
    #[arg(long, value_name = "AVERAGE[,BURST]", value_parser = values::bandwidth)]
    pub(crate) outbound: Option<(u64, u64)>,
}

/// What a NIC has in the place of a tap.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("backend"))]
pub(crate) struct NetdevArguments {
    /// QEMU's netdev in the place of a tap, as JSON without its id: user, stream, dgram or vhost-user
    #[arg(long, value_name = "JSON", group = "backend", value_parser = netdevs::netdev)]
    pub(crate) netdev: Option<Netdev>,
    /// QEMU's own network in the place of a tap: addresses by DHCP, and connections to the outside
    #[arg(long, group = "backend")]
    pub(crate) user: bool,
    /// With --user: a port of the host's that leads to the guest, as in tcp:127.0.0.1:2222-:22; may be
    /// repeated
    #[arg(long, value_name = "RULE", requires = "user")]
    pub(crate) hostfwd: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NicArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// Place in the firmware's boot order
    #[arg(long, value_name = "N", value_parser = values::number::<u32>)]
    pub(crate) boot_index: Option<u32>,
    /// Attach the tap to this bridge
    #[arg(long, value_name = "NAME")]
    pub(crate) bridge: Option<String>,
    /// MAC address (default: a random one)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mac: Option<String>,
    /// Queue pairs, 1 to 256
    #[arg(long, value_name = "N", value_parser = values::number::<u16>)]
    pub(crate) queues: Option<u16>,
    /// Record the NIC that the guest has under the id, if it is this one
    #[arg(long, requires = "id", requires = "mac")]
    pub(crate) adopt: bool,
    /// Announced to the guest and set on the tap
    #[arg(long, value_name = "BYTES", value_parser = values::number::<u16>)]
    pub(crate) mtu: Option<u16>,
    /// Name of the tap, or a pattern with %d (default: tap%d)
    #[arg(long, value_name = "NAME")]
    pub(crate) tap: Option<String>,
    /// User who may open the tap as well
    #[arg(long, value_name = "UID", value_parser = values::number::<u32>)]
    pub(crate) tap_owner: Option<u32>,
    /// Network namespace of tap and bridge, such as /run/netns/blue (default: that of kvmctl)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) netns: Option<String>,
    #[command(flatten)]
    pub(crate) netdev: NetdevArguments,
    /// Whether the host's kernel moves the packets
    #[arg(long, value_name = "MODE", value_parser = values::words(&values::VHOST))]
    pub(crate) vhost: Option<VhostMode>,
    /// How the tap is a port of the bridge, such as
    /// {"isolated": true, "learning": false, "hairpin": true, "vlan": 10, "trunk": [20, "30-40"]}
    #[arg(long, value_name = "JSON", value_parser = values::port)]
    pub(crate) port: Option<Port>,
    /// With its cable pulled
    #[arg(long)]
    pub(crate) link_down: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArguments,
}

#[derive(Debug, Args)]
pub(crate) struct IoThreadArguments {
    /// Id of an iothread that QEMU has, which does the I/O (default: QEMU's main thread); or the JSON of an
    /// iothread-vq-mapping, for several
    #[arg(long, value_name = "ID", conflicts_with_all = ["own_iothread", "shared_iothread"])]
    pub(crate) iothread: Option<String>,
    /// An iothread is made for the device, and deleted after it
    #[arg(long, conflicts_with = "shared_iothread")]
    pub(crate) own_iothread: bool,
    /// Id of an iothread that is made with the first device that names it, and deleted after the last; or
    /// JSON, as of --iothread
    #[arg(long, value_name = "ID")]
    pub(crate) shared_iothread: Option<String>,
}

/// What a disk is made of instead of a file.
#[derive(Debug, Args)]
pub(crate) struct SourceArguments {
    /// Block node as QEMU's blockdev-add takes it, with those below it
    #[arg(long, value_name = "JSON", group = "image", value_parser = sources::source)]
    source: Option<Description>,
    /// Network block device: unix:PATH or HOST:PORT, then export=, tls-creds=, tls-hostname=,
    /// reconnect-delay=SECONDS, open-timeout=SECONDS
    #[arg(long, value_name = "SERVER[,...]", group = "image", value_parser = sources::nbd)]
    nbd: Option<Description>,
    /// Image in Ceph: POOL/IMAGE or POOL/NAMESPACE/IMAGE, then snapshot=, user=, conf=, key-secret=
    #[arg(long, value_name = "IMAGE[,...]", group = "image", value_parser = sources::rbd)]
    rbd: Option<Description>,
    /// Encrypted image or block device: its absolute path, then key-secret=NAME of its --secret
    #[arg(long, value_name = "FILE,key-secret=NAME", group = "image", value_parser = sources::luks)]
    luks: Option<Description>,
    /// A secret that the source names: the content of a file, byte by byte; may be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = values::secret)]
    pub(crate) secret: Vec<values::SecretFile>,
    /// Credentials for TLS that the source names, by name, such as
    /// {"tls": {"qom-type": "tls-creds-x509", "dir": "/etc/pki/qemu"}}
    #[arg(long, value_name = "JSON", value_parser = sources::tls_creds)]
    pub(crate) tls_creds: Option<Map<String, Value>>,
}

impl SourceArguments {
    /// The one that is given, if any is.
    pub(crate) fn given(&self) -> Option<&Description> {
        self.source.as_ref().or(self.nbd.as_ref()).or(self.rbd.as_ref()).or(self.luks.as_ref())
    }
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("image").required(true)))]
pub(crate) struct DiskArguments {
    /// An image or block device
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, group = "image")]
    pub(crate) file: Option<String>,
    /// The same by its absolute path; '' for a CD drive without a medium
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "image")]
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) source: SourceArguments,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// Place in the firmware's boot order
    #[arg(long, value_name = "N", value_parser = values::number::<u32>)]
    pub(crate) boot_index: Option<u32>,
    /// Format of the image (default: raw)
    #[arg(long, value_name = "NAME", value_parser = values::words(&values::IMAGE_FORMATS))]
    pub(crate) format: Option<FormatRequest>,
    /// Where the image's backing files may be: beneath its own directory (own-directory, the default),
    /// nowhere (forbidden), this file (file:PATH), or beneath this directory (dir:PATH); file:PATH, from the
    /// image down, and dir:PATH may be repeated
    #[arg(long, value_name = "RULE", value_parser = values::backing)]
    pub(crate) backing: Vec<Backing>,
    /// Record the disk that the guest has under the id, if it is this one
    #[arg(long, requires = "id")]
    pub(crate) adopt: bool,
    /// The disk is there already: record the files that its image is made of now
    #[arg(long)]
    pub(crate) accept_chain: bool,
    /// Serial number the guest sees, up to 20 characters, 36 of a SCSI disk
    #[arg(long, value_name = "TEXT")]
    pub(crate) serial: Option<String>,
    /// The guest cannot write
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Others may write to the image at the same time
    #[arg(long)]
    pub(crate) share_rw: bool,
    /// Host page cache and flushes (default: writeback)
    #[arg(long, value_name = "MODE", value_parser = values::words(&values::CACHES))]
    pub(crate) cache: Option<Cache>,
    /// How QEMU submits I/O (default: threads)
    #[arg(long, value_name = "WAY", value_parser = values::words(&values::AIOS))]
    pub(crate) aio: Option<Aio>,
    /// What becomes of the guest's discards (default: ignore)
    #[arg(long, value_name = "MODE", value_parser = values::words(&values::DISCARDS))]
    pub(crate) discard: Option<Discard>,
    /// What becomes of writes of zeros (default: off)
    #[arg(long, value_name = "MODE", value_parser = values::words(&values::DETECT_ZEROES))]
    pub(crate) detect_zeroes: Option<DetectZeroes>,
    /// Smallest unit of I/O (default: 512)
    #[arg(long, value_name = "BYTES", value_parser = values::number::<u32>)]
    pub(crate) block_size: Option<u32>,
    /// Unit that the guest should align to (default: that of --block-size)
    #[arg(long, value_name = "BYTES", value_parser = values::number::<u32>)]
    pub(crate) physical_block_size: Option<u32>,
    /// Virtqueues
    #[arg(long, value_name = "N", value_parser = values::number::<u16>)]
    pub(crate) queues: Option<u16>,
    /// SCSI target on --bus, 0 to 255
    #[arg(long, value_name = "N", value_parser = values::number::<u32>)]
    pub(crate) target: Option<u32>,
    /// Unit of that target, 0 to 16383
    #[arg(long, value_name = "N", value_parser = values::number::<u32>)]
    pub(crate) lun: Option<u32>,
    #[command(flatten)]
    pub(crate) iothread: IoThreadArguments,
    /// How much I/O it may do, as in bps-total=10M, iops-read=200, iops-read-max=500 or group=NAME; may be
    /// repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = values::limit)]
    pub(crate) limit: Vec<(String, Value)>,
    /// World wide name of a SCSI disk, as in 0x5000c50015ea71aa
    #[arg(long, value_name = "NUMBER", value_parser = values::wwn)]
    pub(crate) wwn: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ScsiArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// Virtqueues
    #[arg(long, value_name = "N", value_parser = values::number::<u16>)]
    pub(crate) queues: Option<u16>,
    #[command(flatten)]
    pub(crate) iothread: IoThreadArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RemovalArguments {
    /// Fail rather than record it for the next boot
    #[arg(long)]
    pub(crate) live_only: bool,
    /// Also a disk whose data is in an image that the record does not have, which is left to you
    #[arg(long)]
    pub(crate) leave_overlay: bool,
}
