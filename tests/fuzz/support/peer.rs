use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Input that no socket holds at once would make the peer wait for a client that waits for the peer.
const MOST: usize = 128 << 10;

/// A client that does not hang up is a finding of its own, by libFuzzer's timeout; this only ends the thread's wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the peer does once somebody has connected. It says nothing after the last piece, and hangs up.
#[derive(Clone, Debug, Default)]
pub struct Reaction {
    /// Said at once, each piece by a write of its own.
    pub opening: Vec<Vec<u8>>,
    /// Said one by one, each when another command has arrived.
    pub answers: Vec<Answer>,
}

/// What is said when a command has arrived.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These bytes.
    Raw(Vec<u8>),
    /// An object that lacks its end: the id of the command, if it has one, and the brace.
    Open(Vec<u8>),
}

impl Answer {
    fn len(&self) -> usize {
        let (Self::Raw(bytes) | Self::Open(bytes)) = self;
        bytes.len()
    }

    fn to(&self, command: &Value) -> Vec<u8> {
        match (self, command.get("id")) {
            (Self::Raw(bytes), _) => bytes.clone(),
            (Self::Open(bytes), None) => [bytes, &b"}\n"[..]].concat(),
            (Self::Open(bytes), Some(id)) => [bytes, format!(",\"id\":{id}}}\n").as_bytes()].concat(),
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
                let reaction =
                    std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
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
        let answers: usize = reaction.answers.iter().map(Answer::len).sum();
        let size = reaction.opening.iter().map(Vec::len).sum::<usize>() + answers;
        *self.next.lock().unwrap() = reaction;
        size <= MOST
    }
}

fn serve(mut client: UnixStream, reaction: &Reaction) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    for piece in &reaction.opening {
        client.write_all(piece)?;
    }
    let mut answers = reaction.answers.iter();
    let mut buffer = [0; 4096];
    let mut pending = Vec::new();
    while answers.len() > 0 {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        pending.extend_from_slice(&buffer[..count]);
        let mut commands = serde_json::Deserializer::from_slice(&pending).into_iter::<Value>();
        let whole: Vec<Value> = commands.by_ref().map_while(Result::ok).collect();
        let read = commands.byte_offset();
        pending.drain(..read);
        for (command, answer) in whole.iter().zip(answers.by_ref()) {
            client.write_all(&answer.to(command))?;
        }
    }
    client.shutdown(Shutdown::Write)?;
    while client.read(&mut buffer)? > 0 {}
    Ok(())
}
