use std::path::Path;

use fake_qemu::{FakeQemu, Reaction, Setup};
use tempfile::TempDir;

/// Input that no socket holds at once would make the peer wait for a client that waits for the peer.
const MOST: usize = 128 << 10;

/// A listening socket with a thread behind it, which says whatever it is told to.
pub struct Peer {
    directory: TempDir,
    fake: FakeQemu,
}

impl Peer {
    /// Starts listening, in a directory below TMPDIR that whoever started the target removes: libFuzzer ends
    /// a process without ceremony.
    pub fn start() -> Self {
        let fake = FakeQemu::start(Setup::default());
        fake.react(Reaction::default());
        Self { directory: TempDir::new().unwrap(), fake }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.fake.path()
    }

    /// A directory for the files of the target.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the next client, and only that one, gets to hear. False if it is too much.
    pub fn prepare(&self, reaction: Reaction) -> bool {
        let size = reaction.size();
        self.fake.react(reaction);
        size <= MOST
    }
}
