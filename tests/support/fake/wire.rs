//! Bytes and descriptors in, commands out; replies and events as text.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

/// A descriptor that is closed when dropped.
#[derive(Debug)]
pub struct Held(pub RawFd);

impl Held {
    /// The flags it was opened with.
    pub fn flags(&self) -> OFlag {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0)).unwrap_or_default();
        let octal = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = octal.and_then(|text| i32::from_str_radix(text.trim(), 8).ok());
        OFlag::from_bits_retain(flags.unwrap_or_default())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = nix::unistd::close(self.0);
    }
}

/// One byte and what came along with it.
pub struct Arrived {
    pub byte: u8,
    pub fds: Vec<Held>,
}

/// Reads one byte, like QEMU without out-of-band commands: only so does one see which byte a descriptor belongs to.
pub fn read_byte(socket: BorrowedFd<'_>) -> nix::Result<Option<Arrived>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 16]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let count = message.bytes;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            fds.extend(raw.into_iter().map(Held));
        }
    }
    Ok((count > 0).then(|| Arrived { byte: byte[0], fds }))
}

/// Whether an error of the socket only means "not now".
pub fn is_not_now(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::EINTR)
}

/// A complete command.
pub struct Complete {
    pub value: Value,
    pub bytes: usize,
    /// What came with its first byte.
    pub fds: Vec<Held>,
}

/// Puts bytes together to commands.
#[derive(Default)]
pub struct CommandReader {
    bytes: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    fds: Vec<Held>,
}

impl CommandReader {
    /// Takes one byte; `Err` is what the client did wrong.
    pub fn push(&mut self, arrived: Arrived) -> Result<Option<Complete>, String> {
        let byte = arrived.byte;
        if !arrived.fds.is_empty() {
            let at = self.bytes.len();
            self.fds = arrived.fds;
            if at > 0 || byte != b'{' {
                self.step(byte);
                return Err(format!(
                    "a descriptor came with byte {at} ({:?}) of a command",
                    char::from(byte)
                ));
            }
        }
        Ok(self.step(byte))
    }

    fn step(&mut self, byte: u8) -> Option<Complete> {
        if self.depth == 0 && byte.is_ascii_whitespace() {
            return None;
        }
        self.bytes.push(byte);
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return None;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > 0 {
            return None;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Some(Complete { value, bytes: bytes.len(), fds: std::mem::take(&mut self.fds) })
    }
}

/// A line as QEMU ends it.
pub fn line(value: &Value) -> Vec<u8> {
    format!("{value}\r\n").into_bytes()
}

/// An event as text.
pub fn event(name: &str, data: Value) -> Vec<u8> {
    line(
        &json!({ "event": name, "data": data, "timestamp": { "seconds": 1_700_000_000, "microseconds": 1 } }),
    )
}

/// The answer to a command as text.
pub fn reply(id: Option<&Value>, answer: &Result<Value, QmpError>) -> Vec<u8> {
    let mut object = match answer {
        Ok(value) => json!({ "return": value }),
        Err(error) => json!({ "error": { "class": error.class, "desc": error.desc } }),
    };
    if let Some(id) = id {
        object["id"] = id.clone();
    }
    line(&object)
}

/// QEMU's refusal.
#[derive(Clone, Debug)]
pub struct QmpError {
    pub class: String,
    pub desc: String,
}

impl QmpError {
    pub fn generic(desc: impl Into<String>) -> Self {
        Self { class: "GenericError".into(), desc: desc.into() }
    }

    pub fn absent(what: &str) -> Self {
        Self { class: "DeviceNotFound".into(), desc: format!("Device '{what}' not found") }
    }
}
