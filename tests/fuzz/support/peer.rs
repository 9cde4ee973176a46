use std::io::Read;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kvm_hotplug::qmp::Framer;
use nix::sys::socket::{MsgFlags, send};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Input that no socket holds at once would make the peer wait for a client that waits for the peer.
const MOST: usize = 128 << 10;

/// A client that does not hang up is a finding of its own, by libFuzzer's timeout; this only ends the thread's wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the peer does once somebody has connected. It says nothing after the last answer, and hangs up.
#[derive(Clone, Debug, Default)]
pub struct Reaction {
    /// Said at once, each piece by a write of its own.
    pub opening: Vec<Vec<u8>>,
    /// Lets the client leave negotiation mode; that command is no other's.
    pub negotiates: bool,
    /// Given one by one, each when another command has arrived.
    pub answers: Vec<Answer>,
}

/// An answer to a command.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Bytes as they are, each piece by a write of its own.
    Bytes(Vec<Vec<u8>>),
    /// A reply, to which the command's own id is added.
    Reply(Value),
}

impl Answer {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(pieces) => pieces.iter().map(Vec::len).sum(),
            Self::Reply(reply) => reply.to_string().len(),
        }
    }
}

/// A listening socket with a thread behind it.
pub struct Peer {
    directory: TempDir,
    path: PathBuf,
    next: Arc<Mutex<Reaction>>,
}

impl Peer {
    /// Starts listening, in a directory below TMPDIR that whoever started the target removes: libFuzzer ends a process
    /// without ceremony.
    pub fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let next = Arc::new(Mutex::new(Reaction::default()));
        let shared = next.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let reaction = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
                // The client may leave at any time; the next one gets nothing but a closed connection.
                let _ = serve(client.unwrap(), &reaction);
            }
        });
        Self { directory, path, next }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory for the files of the target.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the next client, and only that one, gets to hear. False if it is too much.
    pub fn prepare(&self, reaction: Reaction) -> bool {
        let opening: usize = reaction.opening.iter().map(Vec::len).sum();
        let size = opening + reaction.answers.iter().map(Answer::len).sum::<usize>();
        *self.next.lock().unwrap() = reaction;
        size <= MOST
    }
}

fn serve(mut client: UnixStream, reaction: &Reaction) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    for piece in &reaction.opening {
        say(&client, piece)?;
    }
    let mut answers = reaction.answers.iter();
    let mut framer = Framer::default();
    let mut buffer = [0; 4096];
    let mut negotiating = reaction.negotiates;
    while negotiating || answers.len() > 0 {
        let Some(command) = framer.next_message().map_err(std::io::Error::other)? else {
            match client.read(&mut buffer)? {
                0 => return Ok(()),
                count => framer.push(&buffer[..count]),
            }
            continue;
        };
        let command: Value = serde_json::from_slice(&command)?;
        if negotiating && command["execute"] == "qmp_capabilities" {
            negotiating = false;
            reply(&client, json!({"return": {}}), &command)?;
            continue;
        }
        match answers.next() {
            Some(Answer::Bytes(pieces)) => pieces.iter().try_for_each(|piece| say(&client, piece))?,
            Some(Answer::Reply(answer)) => reply(&client, answer.clone(), &command)?,
            None => {}
        }
    }
    client.shutdown(Shutdown::Write)?;
    while client.read(&mut buffer)? > 0 {}
    Ok(())
}

fn reply(client: &UnixStream, mut reply: Value, command: &Value) -> std::io::Result<()> {
    if let Some(id) = command.get("id") {
        reply["id"] = id.clone();
    }
    say(client, format!("{reply}\r\n").as_bytes())
}

/// A target has no main function of Rust's, which would have SIGPIPE ignored: a client that has left must not end the process.
fn say(client: &UnixStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let sent = send(client.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}
