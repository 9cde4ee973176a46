//! A client that plays a conversation and writes down what it hears.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde_json::{Value, json};

use super::conversation::{Conversation, Step};
use super::files::Files;
use super::normal::Normal;

/// For what is to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// For what is not to come.
const QUIET: Duration = Duration::from_millis(100);

/// Who is talked to.
pub(crate) trait Side {
    fn socket(&self) -> &Path;

    /// Has the guest's firmware run until it has numbered the buses.
    fn firmware_is_done(&self, client: &mut Client);
}

/// Something that was heard.
pub(crate) struct Line {
    /// What it is the answer to, or "event".
    about: String,
    said: Value,
}

impl Line {
    fn is_event(&self) -> bool {
        self.about == "event"
    }

    /// Comes when QEMU's RCU thread gets to it.
    fn is_deletion(&self) -> bool {
        self.is_event() && self.said["event"] == "DEVICE_DELETED"
    }

    /// Where QEMU says something else, and what: a line each.
    pub(crate) fn differences(&self, real: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.about == real.about {
            compare("", &self.said, &real.said, &mut found);
        } else {
            found.push(format!("the model says {self}, QEMU says {real}"));
        }
        found.iter().map(|difference| format!("{}: {difference}", self.about)).collect()
    }
}

fn compare(place: &str, model: &Value, real: &Value, found: &mut Vec<String>) {
    match (model, real) {
        (Value::Object(model), Value::Object(real)) => {
            let names = model.keys().chain(real.keys().filter(|name| !model.contains_key(*name)));
            for name in names {
                let of = |members: &serde_json::Map<String, Value>| {
                    members.get(name).cloned().unwrap_or("no such member".into())
                };
                compare(&format!("{place}/{name}"), &of(model), &of(real), found);
            }
        }
        (Value::Array(model), Value::Array(real)) if model.len() == real.len() => {
            for (number, (model, real)) in model.iter().zip(real).enumerate() {
                compare(&format!("{place}/{number}"), model, real, found);
            }
        }
        _ if model == real => {}
        _ => found.push(format!("{place}\n    model: {model}\n    QEMU:  {real}")),
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.said)
    }
}

/// A connection to a monitor.
pub(crate) struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    half: String,
    pub(crate) version: (u32, u32, u32),
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Self {
        let end = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < end, "{}: {error}", socket.display()),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let reader = BufReader::new(stream.try_clone().unwrap());
        let mut client = Self { stream, reader, half: String::new(), version: (0, 0, 0) };
        let greeting = client.next(PATIENCE).expect("a greeting");
        let number =
            |name: &str| u32::try_from(greeting["QMP"]["version"]["qemu"][name].as_u64().unwrap()).unwrap();
        client.version = (number("major"), number("minor"), number("micro"));
        client
    }

    /// The next message, if one comes within this time.
    fn next(&mut self, patience: Duration) -> Option<Value> {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        match self.reader.read_line(&mut self.half) {
            Ok(0) => panic!("the connection is closed"),
            Ok(_) => Some(serde_json::from_str(&std::mem::take(&mut self.half)).unwrap()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn say(&self, command: &Value, fd: Option<&OwnedFd>) {
        let bytes = command.to_string().into_bytes();
        let raw: Vec<i32> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(&bytes)];
        let sent =
            sendmsg::<UnixAddr>(self.stream.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None);
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// What a command returns; events are left out.
    pub(crate) fn ask(&mut self, name: &str) -> Value {
        self.say(&json!({ "execute": name }), None);
        loop {
            let answer = self.next(PATIENCE).expect("an answer");
            if answer.get("event").is_none() {
                return answer;
            }
        }
    }
}

/// Plays a conversation. `expected` is what another one said to it: so many events are waited for.
pub(crate) fn play(conversation: &Conversation, side: &dyn Side, expected: Option<&[Line]>) -> Vec<Line> {
    let files = Files::new();
    let mut normal = Normal::new(side.socket());
    let mut client = Client::connect(side.socket());
    let mut lines: Vec<Line> = Vec::new();
    // Where the lines begin that came since the last wait.
    let mut since = 0;
    for step in &conversation.steps {
        match step {
            Step::Make(name, size) => files.make(name, *size),
            Step::Layer(name, size, over) => files.make_layer(name, *size, over),
            Step::Say(command, passed) => {
                let fd = passed.as_ref().map(|passed| files.open(passed));
                client.say(command, fd.as_ref());
                hear_answer(&mut client, command, &mut normal, &mut lines);
            }
            Step::Wait => {
                let wanted = expected.map_or(0, |expected| events_until_wait(expected, since));
                hear_events(&mut client, wanted, since, &mut normal, &mut lines);
                lines[since..].sort_by_key(Line::is_deletion);
                lines.push(Line { about: "wait".into(), said: Value::Null });
                since = lines.len();
            }
            Step::Reconnect => {
                drop(client);
                client = Client::connect(side.socket());
            }
            Step::Firmware => side.firmware_is_done(&mut client),
        }
    }
    lines[since..].sort_by_key(Line::is_deletion);
    lines
}

/// How many events the other side said before it came to the wait behind this place.
fn events_until_wait(expected: &[Line], since: usize) -> usize {
    let rest = expected.get(since..).unwrap_or_default();
    rest.iter().take_while(|line| line.about != "wait").filter(|line| line.is_event()).count()
}

fn hear_answer(client: &mut Client, command: &Value, normal: &mut Normal, lines: &mut Vec<Line>) {
    loop {
        let said = client.next(PATIENCE).unwrap_or_else(|| panic!("no answer to {command}"));
        if said.get("event").is_some() {
            lines.push(Line { about: "event".into(), said: normal.event(said) });
            continue;
        }
        lines.push(Line { about: command.to_string(), said: normal.answer(command, said) });
        return;
    }
}

fn hear_events(client: &mut Client, wanted: usize, since: usize, normal: &mut Normal, lines: &mut Vec<Line>) {
    let end = Instant::now() + PATIENCE;
    loop {
        let heard = lines[since..].iter().filter(|line| line.is_event()).count();
        let patience = if heard < wanted { end.saturating_duration_since(Instant::now()) } else { QUIET };
        match client.next(patience.max(QUIET)) {
            Some(said) => lines.push(Line { about: "event".into(), said: normal.event(said) }),
            None => return,
        }
    }
}
