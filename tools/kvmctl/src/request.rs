//! The requests that the library takes, of what the command line says.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::path::PathBuf;

use kvm_hotplug::Error;
use kvm_hotplug::disk::secrets::MOST_BYTES;
use kvm_hotplug::disk::{
    DiskSpec, Format, FormatRequest, Limits as DiskLimits, SCSI_CD, Secret, Secrets, SourceObjects,
};
use kvm_hotplug::guest::{
    ControllerRequest, DiskRequest, NicRequest, PlaceRequest, Placement, Removal, TapSource,
};
use kvm_hotplug::ids::{IfName, IoThread, MacAddr};
use kvm_hotplug::model::properties;
use kvm_hotplug::net::bandwidth::{Bandwidth, Limits};
use kvm_hotplug::slots::scsi::ControllerSpec;
use kvm_hotplug::sorted;
use serde_json::Value;

use crate::cli::values::{SecretFile, rule};
use crate::cli::{
    DiskArguments, IoThreadArguments, LimitArguments, NicArguments, PlaceArguments, RemovalArguments,
    ScsiArguments,
};
use crate::failure::Result;

fn place(arguments: &PlaceArguments, unit: Option<(u32, u32)>) -> PlaceRequest<'_> {
    PlaceRequest { id: arguments.id.as_deref(), bus: arguments.bus.as_deref(), slot: arguments.slot, unit }
}

/// With what is said of all kinds of devices besides their places.
fn further(arguments: &PlaceArguments, placement: Placement) -> Result<Placement> {
    let properties = sorted::object(arguments.property.iter().cloned());
    properties::check(&properties)?;
    Ok(Placement { live_only: arguments.live_only, properties, ..placement })
}

pub(crate) fn nic(arguments: &NicArguments) -> Result<NicRequest> {
    let placement = further(&arguments.place, place(&arguments.place, None).on_pci()?)?;
    Ok(NicRequest {
        placement: Placement { adopt: arguments.adopt, ..placement },
        mac: arguments.mac.as_deref().map(MacAddr::parse).transpose()?,
        queues: given(arguments.queues).unwrap_or(1),
        vhost: arguments.vhost.unwrap_or_default(),
        mtu: given(arguments.mtu),
        bridge: arguments.bridge.as_deref().map(IfName::parse).transpose()?,
        link_down: arguments.link_down,
        limits: limits(&arguments.limits)?,
        port: arguments.port.clone().and_then(|port| port.0),
        tap: TapSource::new(
            arguments.netdev.given()?,
            Vec::new(),
            arguments.tap.clone(),
            arguments.tap_owner,
            arguments.netns.clone(),
        )?,
        boot_index: arguments.boot_index,
        model: arguments.place.model.clone().unwrap_or_else(|| "virtio-net-pci".to_owned()),
    })
}

pub(crate) fn limits(arguments: &LimitArguments) -> Result<Limits> {
    let limit = |direction, wanted: Option<(u64, u64)>| {
        wanted.map_or(Ok(None), |(average, burst)| Bandwidth::new(direction, average, burst))
    };
    let inbound = limit("inbound", arguments.inbound)?;
    Ok(Limits { inbound, outbound: limit("outbound", arguments.outbound)? })
}

/// The image: the shell's folder counts, unless --path names it.
fn image(arguments: &DiskArguments) -> Result<PathBuf> {
    if arguments.source.given().is_some() {
        return Ok(PathBuf::new());
    }
    let given = arguments.path.as_deref().or(arguments.file.as_deref()).unwrap_or_default();
    let may_be_empty = arguments.place.model.as_deref() == Some(SCSI_CD);
    if given.is_empty() && !may_be_empty {
        return Err(Error::invalid("path is empty").into());
    }
    if arguments.path.is_some() || given.is_empty() {
        return Ok(PathBuf::from(given));
    }
    std::path::absolute(given).map_err(|error| Error::host(error, format!("find {given}")).into())
}

/// The whole content of a file. One that is too long is not read to its end.
pub(crate) fn secret(file: &SecretFile) -> Result<Secret> {
    let about = format!("--secret {}={}", file.name, file.path);
    let mut content = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or_default() + 1;
    let read = File::open(&file.path).and_then(|opened| opened.take(most).read_to_end(&mut content));
    read.map_err(|error| Error::host(error, about.clone()))?;
    Ok(Secret::new(&content).map_err(|error| error.context(about))?)
}

pub(crate) fn disk(arguments: &DiskArguments) -> Result<DiskRequest> {
    let mut spec = DiskSpec::new(image(arguments)?, Format::Raw);
    spec.source = arguments.source.given().cloned();
    let mut secrets = Secrets::default();
    for file in &arguments.source.secret {
        secrets.add(file.name.clone(), secret(file)?)?;
    }
    spec.objects = SourceObjects::new(&secrets, arguments.source.tls_creds.clone().unwrap_or_default());
    spec.read_only = arguments.read_only;
    spec.share_rw = arguments.share_rw;
    spec.serial.clone_from(&arguments.serial);
    spec.cache = arguments.cache.unwrap_or_default();
    spec.aio = arguments.aio.unwrap_or_default();
    spec.discard = arguments.discard.unwrap_or_default();
    spec.detect_zeroes = arguments.detect_zeroes.unwrap_or_default();
    spec.boot_index = arguments.boot_index;
    spec.logical_block_size = given(arguments.block_size);
    spec.physical_block_size = given(arguments.physical_block_size);
    spec.queues = given(arguments.queues);
    spec.iothread = iothread(&arguments.iothread)?;
    spec.limits = Some(disk_limits(&arguments.limit)?).filter(|limits| !limits.is_default());
    spec.wwn = arguments.wwn.and_then(NonZeroU64::new);
    spec.backing = rule(arguments.backing.clone())?;
    if let Some(model) = &arguments.place.model {
        spec.model.clone_from(model);
    }
    let has_unit = arguments.target.is_some() || arguments.lun.is_some();
    let unit = has_unit.then(|| (arguments.target.unwrap_or(0), arguments.lun.unwrap_or(0)));
    let place = place(&arguments.place, unit);
    let placement = if spec.is_scsi() { place.on_scsi()? } else { place.on_pci()? };
    let (accept_chain, adopt) = (arguments.accept_chain, arguments.adopt);
    let placement = Placement { accept_chain, adopt, ..further(&arguments.place, placement)? };
    Ok(DiskRequest { placement, spec, secrets, format: arguments.format.unwrap_or(FormatRequest::Raw) })
}

pub(crate) fn controller(arguments: &ScsiArguments) -> Result<ControllerRequest> {
    let placement = further(&arguments.place, place(&arguments.place, None).on_pci()?)?;
    let mut spec = ControllerSpec::default();
    if let Some(model) = &arguments.place.model {
        spec.model.clone_from(model);
    }
    spec.queues = given(arguments.queues);
    spec.iothread = iothread(&arguments.iothread)?;
    Ok(ControllerRequest { placement, spec })
}

/// The limits that were said one by one.
pub(crate) fn disk_limits(said: &[(String, Value)]) -> Result<DiskLimits> {
    Ok(DiskLimits::try_from(sorted::object(said.iter().cloned()))?)
}

fn iothread(arguments: &IoThreadArguments) -> Result<Option<IoThread>> {
    let IoThreadArguments { iothread, own_iothread, shared_iothread } = arguments;
    Ok(match (iothread, shared_iothread) {
        (Some(name), _) => Some(IoThread::existing(name)?),
        (None, Some(name)) => Some(IoThread::made(Some(name))?),
        (None, None) => own_iothread.then_some(IoThread::Own),
    })
}

/// A removal that is only asked for.
pub(crate) fn removal(id: &str, arguments: &RemovalArguments) -> Removal {
    let RemovalArguments { live_only, leave_overlay } = *arguments;
    Removal { id: id.to_owned(), kind: None, live_only, wait: false, leave_overlay }
}

/// 0 is as good as nothing.
fn given<T: Default + PartialEq>(number: Option<T>) -> Option<T> {
    number.filter(|number| *number != T::default())
}
