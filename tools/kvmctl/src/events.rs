//! News from the guest, waited for without a thread: the library's descriptor in poll(), as in any event
//! loop.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use kvm_hotplug::guest::{Event, EventKind};
use kvm_hotplug::{Error, ErrorKind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::failure::{Result, Status};
use crate::session::Session;

/// Also without news: a guest that did not hear a request while it booted is asked again.
const TICK: Duration = Duration::from_secs(1);

fn words(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Added => "is in the guest",
        EventKind::Removed => "is gone",
        EventKind::RemovedByGuest => "was given up by the guest itself, and is gone",
        EventKind::Refused => "stays: the guest refused to let it go",
        EventKind::TrayOpened => "has its tray open: the guest has ejected",
        EventKind::TrayClosed => "has its tray closed again",
        EventKind::Pending => "is on its way out: an earlier agent asked for it",
        EventKind::Undone => "is not in the guest: an interrupted add was taken back",
        EventKind::MonitorLost => "the connection to QEMU was lost",
        EventKind::Lost(_) => "events were lost",
        EventKind::MonitorRestored => "there is a connection to QEMU again",
        EventKind::IoError(_) => "had an I/O error",
        EventKind::Shutdown { .. } => "the guest shuts down",
        EventKind::Reset { .. } => "the guest was reset",
        EventKind::Panicked => "the guest's system has crashed",
        EventKind::Qmp => "QMP:",
        EventKind::AddFailed(_) => "could not be added",
    }
}

/// One line.
pub(crate) fn text(event: &Event) -> String {
    let mut text = words(event.kind).to_owned();
    if let Some(device) = &event.device {
        text = format!("{} {text}", device.id);
    }
    match (event.kind, event.text.is_empty()) {
        (EventKind::Qmp, _) => text.push_str(&format!(" {}", event.text)),
        (_, true) => {}
        (_, false) => text.push_str(&format!(" ({})", event.text)),
    }
    if event.count > 1 {
        text.push_str(&format!(", {} times", event.count));
    }
    text
}

/// Waits until there may be news, at most this long, and takes them in. A signal ends it as well.
pub(crate) fn wait(session: &Session<'_>, most: Duration) -> Result<()> {
    let guest = session.guest()?;
    let most = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(guest.as_fd(), PollFlags::POLLIN)], most) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::host(errno, "wait for the guest").with_kind(ErrorKind::Host).into()),
    }
    guest.process(session.default_timeout())?;
    Ok(())
}

/// Tells what there is on stderr.
pub(crate) fn note_all(session: &mut Session<'_>) -> Result<()> {
    while let Some(event) = session.guest()?.next_event()? {
        session.output.note(&text(&event));
    }
    Ok(())
}

/// The same for a list, which says by itself which devices are on their way out.
pub(crate) fn note_all_but_pending(session: &mut Session<'_>) -> Result<()> {
    while let Some(event) = session.guest()?.next_event()? {
        if event.kind != EventKind::Pending {
            session.output.note(&text(&event));
        }
    }
    Ok(())
}

/// Shows the events there are, as many as are left. False when enough were shown.
fn show(session: &mut Session<'_>, left: &mut Option<u32>) -> Result<bool> {
    while *left != Some(0) {
        let Some(event) = session.guest()?.next_event()? else { break };
        match session.output.json {
            true => session.output.document(&event.to_json()),
            false => session.output.line(&text(&event)),
        }
        *left = left.map(|left| left - 1);
    }
    session.output.flush();
    Ok(*left != Some(0))
}

pub(crate) fn watch(session: &mut Session<'_>, qmp: bool, count: Option<u32>) -> Result<Status> {
    let end = session.common.timeout().map(|timeout| Instant::now() + timeout);
    let mut left = count.filter(|count| *count > 0);
    if qmp {
        session.guest()?.forward_qmp_events(true)?;
    }
    while show(session, &mut left)? {
        let rest = end.map_or(TICK, |end| end.saturating_duration_since(Instant::now()));
        if rest.is_zero() {
            break;
        }
        if let Err(failure) = wait(session, rest.min(TICK)) {
            // The last words of a QEMU that ends are shown all the same.
            show(session, &mut left)?;
            return Err(failure);
        }
    }
    Ok(Status::Done)
}
