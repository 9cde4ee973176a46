//! Two monitors of one fake, each with its own clients.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fake_qemu::{Act, FakeQemu, Setup, UnplugBehaviour};
use serde_json::Value;

struct Client(BufReader<UnixStream>);

impl Client {
    /// Greeted, and out of negotiation mode.
    fn of(fake: &FakeQemu, monitor: usize) -> Self {
        let mut client = Self::silent(fake, monitor);
        assert!(client.next()["QMP"].is_object());
        client.say("qmp_capabilities", "{}");
        assert!(client.next()["return"].is_object());
        client
    }

    fn silent(fake: &FakeQemu, monitor: usize) -> Self {
        Self(BufReader::new(UnixStream::connect(fake.path_of(monitor)).unwrap()))
    }

    fn say(&mut self, command: &str, arguments: &str) {
        let said = format!("{{\"execute\":\"{command}\",\"arguments\":{arguments}}}");
        self.0.get_mut().write_all(said.as_bytes()).unwrap();
    }

    fn next(&mut self) -> Value {
        self.0.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

const NIC: &str = r#"{"driver":"virtio-net-pci","id":"lan","bus":"pci.0","addr":"4"}"#;
const LAN: &str = r#"{"id":"lan"}"#;

#[test]
fn events_reach_the_clients_of_all_monitors() {
    let fake = FakeQemu::start(Setup { monitors: 2, ..Setup::default() });
    let (mut first, mut second) = (Client::of(&fake, 0), Client::of(&fake, 1));
    first.say("device_add", NIC);
    assert!(first.next()["return"].is_object());
    second.say("device_del", LAN);
    assert!(second.next()["return"].is_object());
    for client in [&mut first, &mut second] {
        assert_eq!(client.next()["event"], "DEVICE_DELETED");
        assert_eq!(client.next()["data"]["device"], "lan");
    }
    first.say("query-chardev", "{}");
    assert!(first.next()["return"][1]["filename"].as_str().unwrap().starts_with("unix:"));
}

/// A monitor serves one client at a time, and others wait for it.
#[test]
fn the_next_client_is_greeted_when_the_one_before_has_gone() {
    let fake = FakeQemu::start(Setup { monitors: 2, ..Setup::default() });
    let first = Client::of(&fake, 0);
    let mut next = Client::silent(&fake, 0);
    fake.settle();
    assert_eq!(fake.connections(), 1);
    drop(first);
    assert!(next.next()["QMP"].is_object());
    assert_eq!(fake.connections(), 2);
}

/// What hangs hangs for all of them, and goes on where it was.
#[test]
fn a_silent_qemu_goes_on_with_the_same_command() {
    let fake = FakeQemu::start(Setup { monitors: 2, ..Setup::default() });
    let (mut first, mut second) = (Client::of(&fake, 0), Client::of(&fake, 1));
    fake.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    fake.fault("device_add", 0, Act::Silence);
    first.say("device_add", NIC);
    fake.settle();
    second.say("query-status", "{}");
    fake.settle();
    assert!(fake.model(|model| model.device("lan").is_none()));
    fake.resume();
    assert!(first.next()["return"].is_object());
    assert_eq!(second.next()["return"]["status"], "running");
    assert!(fake.model(|model| model.device("lan").is_some()));
}
