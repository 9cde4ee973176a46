//! Conversations: text files, a step a line.

use fake_qemu::Machine;
use serde_json::Value;

/// What is said in which order.
pub(crate) struct Conversation {
    pub(crate) name: String,
    pub(crate) machine: Machine,
    since: (u32, u32),
    before: (u32, u32),
    pub(crate) steps: Vec<Step>,
}

/// One line.
pub(crate) enum Step {
    /// A file of this many bytes.
    Make(String, u64),
    /// A qcow2 image of this size, over another one.
    Layer(String, u64, String),
    /// A command, and the descriptor that goes with it.
    Say(Value, Option<Passed>),
    /// All events that are to come have come.
    Wait,
    /// The client goes, and another one comes.
    Reconnect,
    /// The guest's firmware has run and has numbered the buses.
    Firmware,
}

/// What a descriptor is opened on.
#[derive(Clone, Debug)]
pub(crate) enum Passed {
    Image {
        name: String,
        writable: bool,
    },
    /// A queue of a tap.
    Tap(String),
}

impl Conversation {
    fn parse(name: &str, text: &str) -> Self {
        let mut conversation = Self {
            name: name.into(),
            machine: Machine::Pc,
            since: (0, 0),
            before: (u32::MAX, 0),
            steps: Vec::new(),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            conversation.take(line);
        }
        conversation
    }

    fn take(&mut self, line: &str) {
        if line.starts_with('{') {
            return self.steps.push(Step::Say(command(line), None));
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "q35" => self.machine = Machine::Q35(rest.parse().unwrap()),
            "since" => self.since = version(rest),
            "before" => self.before = version(rest),
            "wait" => self.steps.push(Step::Wait),
            "reconnect" => self.steps.push(Step::Reconnect),
            "firmware" => self.steps.push(Step::Firmware),
            "file" => {
                let (name, size) = rest.split_once(' ').unwrap();
                self.steps.push(Step::Make(name.into(), size.parse().unwrap()));
            }
            "qcow2" => {
                let [name, size, over] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
                self.steps.push(Step::Layer(name.into(), size.parse().unwrap(), over.into()));
            }
            "read" | "write" | "tap" => {
                let (name, said) = rest.split_once(' ').unwrap();
                let passed = match word {
                    "tap" => Passed::Tap(name.into()),
                    _ => Passed::Image { name: name.into(), writable: word == "write" },
                };
                self.steps.push(Step::Say(command(said), Some(passed)));
            }
            _ => panic!("{}: what is {line:?}?", self.name),
        }
    }

    /// Whether it is one for a QEMU of this version.
    pub(crate) fn is_for(&self, (major, minor, _): (u32, u32, u32)) -> bool {
        self.since <= (major, minor) && (major, minor) < self.before
    }
}

fn command(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn version(text: &str) -> (u32, u32) {
    let (major, minor) = text.split_once('.').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

/// All of them.
pub(crate) fn all() -> Vec<Conversation> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conversations");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let parse = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Conversation::parse(&name, &std::fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(parse).collect()
}
