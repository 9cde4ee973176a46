//! Bytes and descriptors in, commands out; replies and events as text.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg};
use serde_json::{Value, json};

use crate::command::{Answer, Event};

/// What can be read next.
pub(crate) enum Next {
    /// So many bytes, which are in the block now and on the socket still. No descriptor came with any of
    /// them.
    Plain(usize),
    /// Bytes of which one has a descriptor.
    WithFds,
    /// The client has gone.
    End,
}

/// Looks at what has come, without taking it.
pub(crate) fn look(socket: BorrowedFd<'_>, block: &mut [u8]) -> nix::Result<Next> {
    let mut parts = [IoSliceMut::new(block)];
    // Without room for descriptors the kernel makes none, and says that there were some.
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, None, flags)?;
    Ok(match message.bytes {
        0 => Next::End,
        _ if message.flags.contains(MsgFlags::MSG_CTRUNC) => Next::WithFds,
        count => Next::Plain(count),
    })
}

/// Takes bytes that have been looked at.
pub(crate) fn drop_bytes(socket: BorrowedFd<'_>, block: &mut [u8]) -> nix::Result<()> {
    let mut done = 0;
    while let Some(rest) = block.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match recv(socket.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT) {
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// One byte and what came along with it.
pub(crate) struct Arrived {
    pub(crate) byte: u8,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Reads one byte, as QEMU without out-of-band commands always does: only so does one see which byte a
/// descriptor belongs to.
#[allow(unsafe_code)]
pub(crate) fn read_byte(socket: BorrowedFd<'_>) -> nix::Result<Option<Arrived>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 16]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let count = message.bytes;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made them for this process, and nobody else knows of them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((count > 0).then(|| Arrived { byte: byte[0], fds }))
}

/// Whether an error of the socket only means "not now".
pub(crate) fn is_not_now(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::EINTR)
}

/// A complete command.
pub(crate) struct Complete {
    pub(crate) value: Value,
    pub(crate) bytes: usize,
    /// What came with its first byte.
    pub(crate) fds: Vec<OwnedFd>,
}

/// Puts bytes together to commands.
#[derive(Default)]
pub(crate) struct CommandReader {
    bytes: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    fds: Vec<OwnedFd>,
}

impl CommandReader {
    /// Takes one byte; `Err` is what the client did wrong.
    pub(crate) fn push(&mut self, arrived: Arrived) -> Result<Option<Complete>, String> {
        let byte = arrived.byte;
        if !arrived.fds.is_empty() {
            let at = self.bytes.len();
            self.fds = arrived.fds;
            if at > 0 || byte != b'{' {
                self.step(byte);
                let shown = char::from(byte);
                return Err(format!("a descriptor came with byte {at} ({shown:?}) of a command"));
            }
        }
        Ok(self.step(byte))
    }

    /// Takes bytes up to the end of a command; how many those are, and the command if it is complete.
    pub(crate) fn push_plain(&mut self, bytes: &[u8]) -> (usize, Option<Complete>) {
        for (number, byte) in bytes.iter().enumerate() {
            if let Some(complete) = self.step(*byte) {
                return (number + 1, Some(complete));
            }
        }
        (bytes.len(), None)
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
pub(crate) fn line(value: &Value) -> Vec<u8> {
    format!("{value}\r\n").into_bytes()
}

/// An event as text, of this time since 1970, or of now.
pub(crate) fn event(event: &Event, time: Option<Duration>) -> Vec<u8> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = time.unwrap_or_else(now);
    let mut object = json!({
        "timestamp": { "seconds": time.as_secs(), "microseconds": time.subsec_micros() },
        "event": event.name,
    });
    if !event.data.is_null() {
        object["data"] = event.data.clone();
    }
    line(&object)
}

/// The answer to a command as text.
pub(crate) fn reply(id: Option<&Value>, answer: &Answer) -> Vec<u8> {
    let object = match answer {
        Ok(value) => json!({ "return": value }),
        Err(error) => json!({ "error": { "class": error.class, "desc": error.desc } }),
    };
    with_id(object, id)
}

/// An object as text, with the id of the command that it answers.
pub(crate) fn with_id(mut object: Value, id: Option<&Value>) -> Vec<u8> {
    if let Some(id) = id {
        object["id"] = id.clone();
    }
    line(&object)
}
