//! Which QEMU is at the other end of a new connection: by its process and its sockets, which the host shows,
//! and where it shows no process, by what QEMU says of itself.

use serde_json::Value;

use super::guest_state::GuestState;
use super::io::Connected;
use super::limit::Deadline;
use crate::error::Result;
use crate::model::Peer;
use crate::model::peer::{Socket, SocketKind};
use crate::qmp::{Command, MonitorName, Reached};

impl GuestState {
    /// What tells this QEMU from another one.
    pub(super) async fn look_at_qemu(&mut self, monitor: &Connected, deadline: &Deadline) -> Result<Peer> {
        let mut peer = self.see_qemu(&monitor.reached, monitor.pid.unwrap_or_default()).await?;
        let contents = self.contents();
        let noted = contents.journal().peer.as_ref();
        // An agent that did not see the process has noted the thread alone in the journal.
        if peer.process.is_none() || noted.is_some_and(|noted| noted.first_thread.is_some()) {
            peer.first_thread = self.ask_first_thread(monitor, deadline).await?;
        }
        Ok(peer)
    }

    /// The thread of QEMU's first processor, which stays the same as long as QEMU runs.
    async fn ask_first_thread(&mut self, monitor: &Connected, deadline: &Deadline) -> Result<Option<i64>> {
        let question = Command::with("query-cpus-fast", &[]);
        let name = question.name.clone();
        match self.ask_first(monitor.link, vec![question], deadline).await.only_reply(&name) {
            Ok(processors) => Ok(first_thread(&processors)),
            Err(error) if error.is_refusal() => Ok(None),
            Err(error) => {
                self.close(monitor.link).await?;
                Err(error)
            }
        }
    }
}

fn first_thread(processors: &Value) -> Option<i64> {
    let index = |processor: &&Value| processor.get("cpu-index").and_then(Value::as_i64);
    let first = processors.as_array()?.iter().min_by_key(index)?;
    first.get("thread-id")?.as_i64()
}

/// Whether QEMU says in its answer to `query-chardev` that another client than the library itself, which is
/// connected over `own`, is connected to such a socket. Also if QEMU does not say that none is.
pub(super) fn is_connected(devices: &Value, socket: &Socket, own: Option<&Reached>) -> bool {
    let Some(devices) = devices.as_array() else { return false };
    let names = devices.iter().filter_map(|device| device.get("filename")?.as_str());
    match (socket.kind(), MonitorName::from_text(&socket.path)) {
        (SocketKind::File, _) => {
            // By the name that it has in its directory: the path may be another one for QEMU.
            let Some(name) = socket.path.file_name().and_then(std::ffi::OsStr::to_str) else { return true };
            names.filter_map(unix_path).any(|path| path.rsplit('/').next() == Some(name))
        }
        // QEMU shows neither abstract names nor ends of a pair.
        (SocketKind::Connection, _) | (SocketKind::Name, MonitorName::Path(_) | MonitorName::Given) => {
            let is_own = own.is_some_and(|own| own.passes_descriptors && !own.name.is_file());
            names.filter_map(unix_path).filter(|path| path.is_empty()).count() > usize::from(is_own)
        }
        (SocketKind::Name, MonitorName::Tcp { port, .. }) => {
            let is_own = own.is_some_and(|own| tcp_port_of(own) == Some(port));
            names.filter(|text| tcp_port(text) == Some(port)).count() > usize::from(is_own)
        }
        (SocketKind::Name, MonitorName::Vsock { .. }) => {
            let is_own = own.is_some_and(|own| matches!(own.name, MonitorName::Vsock { .. }));
            names.filter(|text| *text == "unknown").count() > usize::from(is_own)
        }
    }
}

/// `unix:/run/qmp,server=on`
fn unix_path(text: &str) -> Option<&str> {
    Some(text.strip_prefix("unix:")?.split(",server").next().unwrap_or_default())
}

/// `tcp:127.0.0.1:4444,server=on <-> 127.0.0.1:50000`
fn tcp_port(text: &str) -> Option<u16> {
    let local = text.strip_prefix("tcp:")?.split(" <->").next()?.split(",server").next()?;
    local.rsplit_once(':')?.1.parse().ok()
}

fn tcp_port_of(reached: &Reached) -> Option<u16> {
    match reached.name {
        MonitorName::Tcp { port, .. } => Some(port),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn socket(path: &str, inode: u64) -> Socket {
        serde_json::from_value(json!({ "path": path, "device": 1, "inode": inode, "made": 3 })).unwrap()
    }

    fn says(filenames: &[&str]) -> Value {
        filenames.iter().map(|filename| json!({ "label": "a", "filename": filename })).collect()
    }

    #[test]
    fn what_qemu_says_of_its_sockets() {
        let path = Path::new("/run/guest/qmp-1");
        let connected =
            |filename: &str| is_connected(&says(&[filename]), &socket("/run/guest/qmp-1", 2), None);
        assert!(connected(&format!("unix:{},server=on", path.display())));
        assert!(connected("unix:qmp-1,server=on"));
        assert!(connected("unix:/elsewhere/qmp-1,server"));
        assert!(!connected(&format!("disconnected:unix:{},server=on", path.display())));
        assert!(!connected("unix:/elsewhere/qmp-10,server=on"));
        assert!(!connected("pty:/dev/pts/0"));
        assert!(!is_connected(&json!([{ "label": "a" }]), &socket("/run/guest/qmp-1", 2), None));
    }

    #[test]
    fn what_it_says_of_ports_and_of_what_has_no_name() {
        let over = |name: &str| Reached {
            name: if name.is_empty() { MonitorName::Given } else { MonitorName::from_text(Path::new(name)) },
            socket: (1, 1),
            passes_descriptors: name.is_empty() || name.starts_with(['@', '/']),
            names_listener: false,
        };
        let tcp = "tcp:127.0.0.1:4444,server=on <-> 127.0.0.1:50000";
        for (journalled, filenames, own, expected) in [
            (socket("localhost:4444", 0), &[tcp][..], "/run/qmp", true),
            (socket("localhost:4444", 0), &[tcp], "127.0.0.1:4444", false),
            (socket("localhost:4445", 0), &[tcp], "/run/qmp", false),
            (socket("[::1]:4444", 0), &["tcp:[::1]:4444,server=on <-> [::1]:50000"], "/run/qmp", true),
            (socket("localhost:4444", 0), &["disconnected:tcp:127.0.0.1:4444,server=on"], "/run/qmp", false),
            (socket("@name", 0), &["unix:,server=on"], "/run/qmp", true),
            (socket("@name", 0), &["disconnected:unix:name,abstract=on,server=on"], "/run/qmp", false),
            (socket("@name", 0), &["unix:,server=on"], "@other", false),
            (socket("", 5), &["unix:"], "", false),
            (socket("", 5), &["unix:", "unix:"], "", true),
            (socket("", 5), &["unix:", "unix:/run/qmp,server=on"], "/run/qmp", true),
            (socket("vsock:2:9", 0), &["unknown"], "/run/qmp", true),
            (socket("vsock:2:9", 0), &["pty:/dev/pts/0"], "/run/qmp", false),
        ] {
            let found = is_connected(&says(filenames), &journalled, Some(&over(own)));
            assert_eq!(found, expected, "{journalled:?} {filenames:?} {own}");
        }
    }

    #[test]
    fn the_first_processor() {
        let processors = json!([{ "cpu-index": 1, "thread-id": 12 }, { "cpu-index": 0, "thread-id": 11 }]);
        assert_eq!(first_thread(&processors), Some(11));
        assert_eq!(first_thread(&json!([])), None);
        assert_eq!(first_thread(&json!([{ "cpu-index": 0 }])), None);
    }
}
