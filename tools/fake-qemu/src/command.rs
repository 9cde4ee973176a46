//! What goes into the model and what comes out of it: commands with descriptors, replies, events, and effects
//! on files.

use serde_json::{Value, json};

/// A command as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// Such as `device_add`.
    pub name: String,
    /// An object.
    pub arguments: Value,
    /// What came with its first byte.
    pub fds: Vec<Descriptor>,
}

impl Command {
    /// A command without descriptors.
    pub fn new(name: &str, arguments: Value) -> Self {
        Self { name: name.into(), arguments, fds: Vec::new() }
    }

    /// The same with one more descriptor.
    pub fn with(mut self, fd: Descriptor) -> Self {
        self.fds.push(fd);
        self
    }

    /// Takes a command apart that is in QMP's form. `Err` is what QEMU says to what is none.
    pub fn from_json(command: &Value) -> Result<Self, QmpError> {
        let Some(members) = command.as_object() else {
            return Err(QmpError::generic("QMP input must be a JSON object"));
        };
        let known = ["execute", "exec-oob", "arguments", "id"];
        if let Some(other) = members.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(QmpError::generic(format!("QMP input member '{other}' is unexpected")));
        }
        let name = match members.get("execute") {
            Some(Value::String(name)) => name.clone(),
            Some(_) => return Err(QmpError::generic("QMP input member 'execute' must be a string")),
            None => return Err(QmpError::generic("QMP input lacks member 'execute'")),
        };
        match members.get("arguments") {
            None => Ok(Self::new(&name, json!({}))),
            Some(arguments @ Value::Object(_)) => Ok(Self::new(&name, arguments.clone())),
            Some(_) => Err(QmpError::generic("QMP input member 'arguments' must be an object")),
        }
    }

    /// An argument that is a string; empty if there is none.
    pub fn text(&self, key: &str) -> &str {
        self.arguments.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A file descriptor that a client passed. The model has what it needs to know of it, and not the descriptor
/// itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// No two that the model has at a time have the same number. The socket server takes the one that the
    /// kernel gave.
    pub number: i32,
    /// It can be written to.
    pub writable: bool,
    /// What it leads to.
    pub file: File,
}

/// What a descriptor leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// A file with the image of a disk.
    Image {
        /// The same for every descriptor of the same file.
        name: String,
        /// Bytes in the file.
        length: u64,
        /// What the guest sees, if the file has a header that says so.
        virtual_size: Option<u64>,
    },
    /// A queue of a tap with this name.
    Tap(String),
    /// Anything else.
    Other(String),
}

impl Descriptor {
    /// Of a raw image.
    pub fn image(number: i32, name: &str, length: u64, writable: bool) -> Self {
        Self { number, writable, file: File::Image { name: name.into(), length, virtual_size: None } }
    }

    /// A queue of a tap.
    pub fn tap(number: i32, name: &str) -> Self {
        Self { number, writable: true, file: File::Tap(name.into()) }
    }

    /// Anything else, such as `/dev/vhost-net`.
    pub fn other(number: i32, name: &str) -> Self {
        Self { number, writable: true, file: File::Other(name.into()) }
    }

    /// What the guest sees of an image with a header.
    pub(crate) fn disk_size(&self) -> u64 {
        match &self.file {
            File::Image { virtual_size: Some(size), .. } => *size,
            _ => self.file_size(),
        }
    }

    /// The size of a file: whole sectors, as QEMU rounds up.
    pub(crate) fn file_size(&self) -> u64 {
        match &self.file {
            File::Image { length, .. } => length.next_multiple_of(512),
            _ => 0,
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Such as `DEVICE_DELETED`.
    pub name: String,
    /// Null if it has none.
    pub data: Value,
}

impl Event {
    /// An event with data.
    pub fn new(name: &str, data: Value) -> Self {
        Self { name: name.into(), data }
    }

    /// `DEVICE_DELETED` of a device with an id.
    pub fn deleted(id: &str) -> Self {
        Self::new("DEVICE_DELETED", deleted(id))
    }

    /// `DEVICE_DELETED` of the virtio device inside of a PCI device.
    pub fn backend_deleted(id: &str) -> Self {
        Self::new("DEVICE_DELETED", json!({ "path": format!("{}/virtio-backend", path_of(id)) }))
    }
}

/// The data of `DEVICE_DELETED`. Only of a device with an id it has that.
pub fn deleted(id: &str) -> Value {
    match is_path(id) {
        true => json!({ "path": id }),
        false => json!({ "device": id, "path": path_of(id) }),
    }
}

/// Whether this stands for a device without an id, which `device_del` knows by its path in QOM.
pub(crate) fn is_path(id: &str) -> bool {
    id.starts_with('/')
}

/// Where QOM has the device.
pub(crate) fn path_of(id: &str) -> String {
    if is_path(id) { id.to_owned() } else { format!("/machine/peripheral/{id}") }
}

/// QEMU's refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QmpError {
    /// `GenericError`, `DeviceNotFound`, `CommandNotFound`.
    pub class: String,
    /// The text.
    pub desc: String,
}

impl QmpError {
    /// A refusal of no particular class.
    pub fn generic(desc: impl Into<String>) -> Self {
        Self { class: "GenericError".into(), desc: desc.into() }
    }

    /// A refusal in these words, of the class that QEMU has for them.
    pub fn in_words(desc: impl Into<String>) -> Self {
        let desc = desc.into();
        let is_absence = desc.starts_with("Device '") && desc.ends_with("' not found");
        let class = if is_absence { "DeviceNotFound" } else { "GenericError" };
        Self { class: class.into(), desc }
    }

    /// There is no such device.
    pub fn absent(what: &str) -> Self {
        Self { class: "DeviceNotFound".into(), desc: format!("Device '{what}' not found") }
    }

    /// There is no such command.
    pub fn no_command(name: &str) -> Self {
        Self { class: "CommandNotFound".into(), desc: format!("The command {name} has not been found") }
    }
}

/// What a command returns.
pub type Answer = Result<Value, QmpError>;

/// What is to be done to a file that a descriptor leads to, by whoever has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The file is to have this length.
    Truncate {
        /// Of the descriptor.
        number: i32,
        /// In bytes.
        length: u64,
    },
    /// This queue of a tap is to be detached, until a driver asks for more than one.
    DetachQueue {
        /// Of the descriptor.
        number: i32,
        /// The tap's name.
        tap: String,
    },
}

/// Everything that comes of a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// Events that are said before the reply.
    pub before: Vec<Event>,
    /// The reply.
    pub reply: Answer,
    /// Events that are said after the reply.
    pub after: Vec<Event>,
    /// What happens to files.
    pub effects: Vec<Effect>,
}

impl Outcome {
    /// All events, in the order in which they are said.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.before.iter().chain(&self.after)
    }
}
