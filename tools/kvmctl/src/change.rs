//! link, move, limits, change-media, eject and resize.

use kvm_hotplug::Error;
use kvm_hotplug::disk::FormatRequest;
use kvm_hotplug::guest::{Lock, MediumImage, NewMedium, NewSize, Outcome};
use kvm_hotplug::ids::IfName;
use kvm_hotplug::net::bandwidth::Bandwidth;
use serde::Serialize;
use serde_json::Value;

use crate::cli::LimitArguments;
use crate::cli::values::{Backing, Link, Size, rule};
use crate::device::{Answer, answer_word};
use crate::failure::{Result, Status};
use crate::request;
use crate::session::Session;

#[derive(Serialize)]
struct Resized<'a> {
    answer: &'static str,
    id: &'a str,
    size: u64,
}

pub(crate) fn link(session: &mut Session<'_>, id: &str, state: Link) -> Result<Status> {
    let outcome = session.guest()?.set_link(id, state == Link::Up, session.timeout())?;
    let what = match state {
        Link::Up => "has its link up",
        Link::Down => "has its link down",
    };
    Ok(changed(session, &outcome, id, what))
}

pub(crate) fn bridge(session: &mut Session<'_>, id: &str, bridge: Option<&str>) -> Result<Status> {
    let name = bridge.map(IfName::parse).transpose()?;
    let outcome = session.guest()?.set_bridge(id, name.as_ref(), session.timeout())?;
    let what = bridge.map_or("is on no bridge".to_owned(), |bridge| format!("is on bridge {bridge}"));
    Ok(changed(session, &outcome, id, &what))
}

pub(crate) fn limits(session: &mut Session<'_>, id: &str, arguments: &LimitArguments) -> Result<Status> {
    let limits = request::limits(arguments)?;
    let outcome = session.guest()?.set_nic_limits(id, limits, session.timeout())?;
    let word = |what: &str, limit: Option<Bandwidth>| match limit {
        Some(limit) => format!("{what} {limit}"),
        None => format!("{what} without limit"),
    };
    let what = format!("{}, {}", word("receives", limits.inbound), word("sends", limits.outbound));
    Ok(changed(session, &outcome, id, &what))
}

pub(crate) fn disk_limits(session: &mut Session<'_>, id: &str, said: &[(String, Value)]) -> Result<Status> {
    let limits = request::disk_limits(said)?;
    let what = if limits.is_default() { "is not limited" } else { "is limited" };
    let outcome = session.guest()?.set_disk_limits(id, limits, session.timeout())?;
    Ok(changed(session, &outcome, id, what))
}

fn changed(session: &mut Session<'_>, outcome: &Outcome, id: &str, what: &str) -> Status {
    let is_later = matches!(outcome, Outcome::AfterReboot(..));
    if session.output.json {
        session.output.document(&Answer::new(answer_word(outcome), id));
    } else if is_later {
        session.output.line(&format!("{id} comes with the next boot, and then {what}"));
    } else {
        session.output.line(&format!("{id} {what}"));
    }
    if is_later { Status::AfterReboot } else { Status::Done }
}

/// The image of a medium, by a path that may begin in the shell's folder.
pub(crate) fn image(file: &str, format: Option<FormatRequest>, backing: Vec<Backing>) -> Result<MediumImage> {
    let find = |error| Error::host(error, format!("find {file}"));
    let path = std::path::absolute(file).map_err(find)?;
    Ok(MediumImage { path, format: format.unwrap_or(FormatRequest::Raw), backing: rule(backing)? })
}

pub(crate) fn media(
    session: &mut Session<'_>,
    id: &str,
    image: Option<MediumImage>,
    Force(lock): Force,
) -> Result<Status> {
    let what = match &image {
        Some(image) => format!("has {} in it", image.path.display()),
        None => "has no medium in it".to_owned(),
    };
    let outcome = session.guest()?.change_media(id, NewMedium { image, lock }, session.timeout())?;
    let Outcome::Pending(_, why) = &outcome else { return Ok(changed(session, &outcome, id, &what)) };
    if session.output.json {
        session.output.document(&Answer::new(answer_word(&outcome), id));
    } else {
        session.output.line(&format!("{id} is as it was: {why}"));
    }
    Ok(Status::Pending)
}

/// Whether a locked tray is opened all the same.
pub(crate) struct Force(Lock);

impl From<bool> for Force {
    fn from(force: bool) -> Self {
        Self(if force { Lock::Broken } else { Lock::Respected })
    }
}

pub(crate) fn resize(session: &mut Session<'_>, id: &str, size: Size, may_shrink: bool) -> Result<Status> {
    let bytes = match size {
        Size::Now => None,
        Size::Bytes(bytes) => Some(bytes),
    };
    let (_, size) = session.guest()?.resize_disk(id, NewSize { bytes, may_shrink }, session.timeout())?;
    if session.output.json {
        session.output.document(&Resized { answer: "done", id, size });
    } else {
        session.output.line(&format!("{id} has {size} bytes"));
    }
    Ok(Status::Done)
}
