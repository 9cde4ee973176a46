//! What a caller does, and what is to be seen of it afterwards.

use kvm_hotplug::disk::{
    Description, DiskSpec, Format, FormatRequest, Limits as DiskLimits, Secret, Secrets, SourceObjects,
};
use kvm_hotplug::engine::{
    AddRequest, Apply, DiskRequest, Lock, MediumImage, NewMedium, NewSize, NicRequest, Placement, Removal,
    Request, TapSource,
};
use kvm_hotplug::ids::{DeviceId, IfName, IoThread, MacAddr};
use kvm_hotplug::model::DeviceKind;
use kvm_hotplug::net::bandwidth::{Bandwidth, Limits};
use kvm_hotplug::net::netdev::Netdev;
use kvm_hotplug::net::vhost::VhostMode;
use kvm_hotplug::store::RecordFile;

use crate::world::{self, World};

/// The ids of all devices that have one of the caller's.
pub const IDS: [&str; 2] = ["lan", "data"];

/// What a caller does.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// A NIC with this id, the last byte of its address, and its bridge.
    AddNic(&'static str, u8, &'static str),
    /// A NIC with this id and the last byte of its address, whose netdev has no tap.
    AddVhostUser(&'static str, u8),
    /// A disk with this id over this image.
    AddDisk(&'static str, &'static str),
    /// A SCSI disk, whose controller comes with it.
    AddScsi(&'static str, &'static str),
    /// A disk with an iothread, its own or one of this name that it has together with others.
    AddThreaded(&'static str, &'static str, Option<&'static str>),
    /// A disk with limits of its own.
    AddLimited(&'static str, &'static str),
    /// A disk over a network with this id, with credentials for TLS and their password.
    AddSecret(&'static str),
    /// As many operations each second.
    SetLimits(&'static str, u64),
    /// A NIC and a disk as one operation.
    AddBoth(&'static str, &'static str),
    /// The guest is to have these and no others; what differs is replaced.
    Apply(&'static [Want]),
    Remove(&'static str),
    RemoveBoth(&'static str, &'static str),
    SetLink(&'static str, bool),
    Move(&'static str, &'static str),
    /// The bytes that the guest may receive in a second.
    Limit(&'static str, u64),
    Resize(&'static str, u64),
    /// A CD drive with this id, and this image in it.
    AddCd(&'static str, &'static str),
    /// Another image in it, or none.
    ChangeMedium(&'static str, Option<&'static str>),
    /// Everything of the guest that is ours, by the record.
    RemoveControllers,
    Process,
    /// The same without waiting.
    AddNicUnwaited(&'static str, u8, &'static str),
    RemoveUnwaited(&'static str),
    /// The agent ends, QEMU is ended, and the guest is started anew with what the record has.
    Restart,
}

/// A device of a wanted list.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// As of [`Call::AddNic`], and whether its link is up.
    Nic(&'static str, u8, &'static str, bool),
    /// As of [`Call::AddDisk`].
    Disk(&'static str, &'static str),
}

impl Want {
    fn request(self, world: &World) -> AddRequest {
        match self {
            Self::Disk(id, image) => disk(world, id, image, "virtio-blk-pci"),
            Self::Nic(id, mac, bridge, up) => {
                let mut request = nic(id, mac, bridge);
                if let AddRequest::Nic(request) = &mut request {
                    request.link_down = !up;
                }
                request
            }
        }
    }
}

/// What a guest is to have, as it is asked for.
pub fn wanted(world: &World, list: &[Want]) -> Request {
    let all = list.iter().map(|want| want.request(world)).collect();
    Request::Apply(all, Apply { replace: true, ..Apply::default() })
}

fn placement(id: &str) -> Placement {
    Placement { id: Some(DeviceId::parse(id).unwrap()), ..Placement::default() }
}

fn nic(id: &str, mac: u8, bridge: &str) -> AddRequest {
    AddRequest::Nic(NicRequest {
        placement: placement(id),
        mac: Some(MacAddr::parse(&format!("52:54:00:00:00:{mac:02x}")).unwrap()),
        queues: 1,
        vhost: VhostMode::Off,
        mtu: None,
        bridge: Some(IfName::parse(bridge).unwrap()),
        link_down: false,
        limits: Limits::default(),
        port: None,
        tap: TapSource::Open { name: Some(format!("tap-{id}")), owner: None, netns: None },
        boot_index: None,
        model: "virtio-net-pci".into(),
    })
}

fn disk(world: &World, id: &str, image: &str, model: &str) -> AddRequest {
    let mut spec = DiskSpec::new(world.image(image), Format::Raw);
    spec.model = model.into();
    AddRequest::Disk(Box::new(DiskRequest {
        placement: placement(id),
        spec,
        format: FormatRequest::Raw,
        secrets: Secrets::default(),
    }))
}

fn over_tls(id: &str) -> AddRequest {
    let server = r#"{"type": "inet", "host": "storage", "port": "1"}"#;
    let node = format!(r#"{{"driver": "nbd", "server": {server}, "tls-creds": "tls"}}"#);
    let tls = r#"{"tls": {"qom-type": "tls-creds-x509", "dir": "/keys", "passwordid": "password"}}"#;
    let mut spec = DiskSpec::new("", Format::Raw);
    spec.source = Some(Description::parse(&node).unwrap());
    let mut secrets = Secrets::default();
    secrets.add("password".into(), Secret::new(b"sesame").unwrap()).unwrap();
    spec.objects = SourceObjects::new(&secrets, SourceObjects::parse_tls(tls).unwrap());
    let request = DiskRequest { placement: placement(id), spec, format: FormatRequest::Raw, secrets };
    AddRequest::Disk(Box::new(request))
}

fn cd(world: &World, id: &str, image: &str) -> AddRequest {
    let mut request = disk(world, id, image, "scsi-cd");
    if let AddRequest::Disk(request) = &mut request {
        request.spec.read_only = true;
    }
    request
}

fn limits(operations: u64) -> DiskLimits {
    DiskLimits::parse(&format!(r#"{{"iops-total": {operations}}}"#)).unwrap()
}

fn removal(id: &str) -> Removal {
    Removal { id: id.into(), kind: None, live_only: false, wait: true, leave_overlay: false }
}

/// What stands in record, guest and host under an id.
pub fn traces(world: &World, id: &str) -> Vec<String> {
    let record = RecordFile::peek(&world.path());
    let mut all = Vec::new();
    match &record {
        Ok(record) => {
            all.extend(record.record().find(id).map(|device| format!("record {}", device.generation)));
            let intent = record.journal().find(id);
            all.extend(
                intent.map(|intent| format!("journal {:?} {}", intent.operation, intent.device.generation)),
            );
        }
        Err(error) => all.push(format!("the files do not parse: {error}")),
    }
    let model = &world.model;
    let own = model.device(id).filter(|device| !world::is_theirs(device));
    all.extend(own.map(|device| format!("device {:?} {:?}", device.mac, device.drive)));
    all.extend(model.netdevs.contains_key(id).then(|| format!("netdev {id}")));
    all.extend(model.added_chardevs.contains_key(id).then(|| format!("chardev {id}")));
    all.extend(model.nodes.contains_key(id).then(|| format!("node {id}")));
    for object in ["iothread", "limits", "password", "tls"].map(|word| format!("{id}-{word}")) {
        all.extend(model.objects.contains_key(&object).then(|| format!("object {object}")));
    }
    let tap = format!("tap-{id}");
    all.extend(world.host.taps().contains_key(&tap).then_some(tap));
    all
}

impl Call {
    pub fn request(self, world: &World) -> Option<Request> {
        Some(match self {
            Self::AddNic(id, mac, bridge) => Request::Add(vec![nic(id, mac, bridge)]),
            Self::AddVhostUser(id, mac) => {
                let mut request = nic(id, mac, "br0");
                if let AddRequest::Nic(request) = &mut request {
                    let netdev = r#"{"type": "vhost-user", "addr": {"type": "unix", "path": "/run/switch"}}"#;
                    request.tap = TapSource::Netdev(Netdev::parse(netdev).unwrap());
                    request.bridge = None;
                }
                Request::Add(vec![request])
            }
            Self::AddDisk(id, image) => Request::Add(vec![disk(world, id, image, "virtio-blk-pci")]),
            Self::AddScsi(id, image) => Request::Add(vec![disk(world, id, image, "scsi-hd")]),
            Self::AddThreaded(id, image, name) => {
                let mut request = disk(world, id, image, "virtio-blk-pci");
                if let AddRequest::Disk(request) = &mut request {
                    request.spec.iothread = Some(IoThread::made(name).unwrap());
                }
                Request::Add(vec![request])
            }
            Self::AddLimited(id, image) => {
                let mut request = disk(world, id, image, "virtio-blk-pci");
                if let AddRequest::Disk(request) = &mut request {
                    request.spec.limits = Some(limits(7));
                }
                Request::Add(vec![request])
            }
            Self::AddSecret(id) => Request::Add(vec![over_tls(id)]),
            Self::SetLimits(id, operations) => Request::SetDiskLimits(id.into(), limits(operations)),
            Self::AddBoth(one, other) => {
                Request::Add(vec![nic(one, 7, "br0"), disk(world, other, "two.img", "virtio-blk-pci")])
            }
            Self::Apply(list) => wanted(world, list),
            Self::Remove(id) => Request::Remove(removal(id)),
            Self::RemoveBoth(one, other) => {
                let how = kvm_hotplug::engine::RemovalOfMany { wait: true, ..Default::default() };
                Request::RemoveMany(vec![one.into(), other.into()], how)
            }
            Self::SetLink(id, up) => Request::SetLink(id.into(), up),
            Self::Move(id, bridge) => Request::MoveNic(id.into(), Some(IfName::parse(bridge).unwrap())),
            Self::Limit(id, average) => {
                let inbound = Bandwidth::new("inbound", average, 0).unwrap();
                Request::SetNicLimits(id.into(), Limits { inbound, outbound: None })
            }
            Self::Resize(id, bytes) => {
                Request::Resize(id.into(), NewSize { bytes: Some(bytes), may_shrink: false })
            }
            Self::AddCd(id, image) => Request::Add(vec![cd(world, id, image)]),
            Self::ChangeMedium(id, image) => {
                let image = image.map(|image| MediumImage {
                    path: world.image(image),
                    format: FormatRequest::Raw,
                    backing: None,
                });
                Request::ChangeMedium(id.into(), Box::new(NewMedium { image, lock: Lock::Respected }))
            }
            Self::RemoveControllers => {
                let record = RecordFile::peek(&world.path()).ok()?;
                let controller =
                    record.record().devices.iter().find(|device| device.kind() == DeviceKind::Controller)?;
                Request::Remove(removal(controller.id.as_str()))
            }
            Self::Process => Request::Process,
            Self::AddNicUnwaited(id, mac, bridge) => {
                let mut request = nic(id, mac, bridge);
                if let AddRequest::Nic(request) = &mut request {
                    request.placement.no_wait = true;
                }
                Request::Add(vec![request])
            }
            Self::RemoveUnwaited(id) => Request::Remove(Removal { wait: false, ..removal(id) }),
            Self::Restart => return None,
        })
    }

    pub fn ids(self) -> Vec<&'static str> {
        match self {
            Self::AddNic(id, ..) | Self::AddDisk(id, _) | Self::AddScsi(id, _) | Self::Remove(id) => vec![id],
            Self::SetLink(id, _) | Self::Move(id, _) | Self::Limit(id, _) | Self::Resize(id, _) => vec![id],
            Self::AddThreaded(id, ..)
            | Self::AddSecret(id)
            | Self::AddLimited(id, _)
            | Self::SetLimits(id, _) => vec![id],
            Self::AddNicUnwaited(id, ..) | Self::RemoveUnwaited(id) => vec![id],
            Self::AddVhostUser(id, _) => vec![id],
            Self::AddCd(id, _) | Self::ChangeMedium(id, _) => vec![id],
            Self::AddBoth(one, other) | Self::RemoveBoth(one, other) => vec![one, other],
            // What is not in the list goes.
            Self::Apply(_) => IDS.to_vec(),
            Self::RemoveControllers | Self::Process | Self::Restart => Vec::new(),
        }
    }
}
