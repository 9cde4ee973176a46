//! Whatever a peer says, however it is cut: the same messages come out, no call crashes, and none waits for a
//! peer that has hung up.

use std::sync::LazyLock;
use std::time::Duration;

use super::{Answer, Peer, Reaction};
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::qmp::{Client, Command, Framer, Message};
use kvm_hotplug::{ErrorKind, Result};

static PEER: LazyLock<Peer> = LazyLock::new(Peer::start);

/// Long enough that only a call that waits for nothing reaches it.
const LONG: Duration = Duration::from_secs(20);

const GREETING: &[u8] =
    br#"{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":["oob"]}}
"#;

/// The first byte says whether the peer is well-mannered at first, the second how its bytes are cut.
/// What the target does with an input.
pub fn run(data: &[u8]) {
    let [manners, cut, bytes @ ..] = data else { return };
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(messages(&pieces), messages(&[bytes]), "another cut, other messages");
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    let reaction = if manners % 2 == 0 {
        Reaction { opening: vec![GREETING.to_vec()], negotiates: true, answers: vec![Answer::Bytes(pieces)] }
    } else {
        Reaction { opening: pieces, ..Reaction::default() }
    };
    if PEER.prepare(reaction) {
        converse();
    }
}

/// What a framer makes of the pieces, up to its first error.
fn messages(pieces: &[&[u8]]) -> Vec<String> {
    let mut framer = Framer::default();
    let mut seen = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_message() {
                Ok(Some(message)) => seen.push(format!("{:?}", Message::parse(message.text, message.memory))),
                Ok(None) => break,
                Err(error) => {
                    seen.push(error.to_string());
                    return seen;
                }
            }
        }
    }
    seen
}

fn converse() {
    let deadline = Deadline::after(LONG);
    let Some(mut monitor) = heard_out(Client::connect(PEER.path(), &deadline)) else { return };
    let commands = ["query-pci", "query-status", "query-fdsets"].map(|name| Command::with(name, &[]));
    let batch = monitor.run(&commands, &deadline);
    assert_eq!(batch.replies.len(), commands.len());
    let missing = batch.replies.iter().filter(|reply| reply.is_none()).count();
    // What comes after the last reply may be a failure as well.
    assert!(missing == 0 || batch.failure.is_some(), "{missing} replies are missing, and nothing says why");
    heard_out(batch.failure.map_or(Ok(()), Err));
    heard_out(monitor.read_all());
    while monitor.next_event().is_some() {}
    heard_out(monitor.wait_event(&deadline));
}

/// The value, if any. The peer hangs up, and nobody may have overheard that.
fn heard_out<T>(result: Result<T>) -> Option<T> {
    result
        .map_err(|error| {
            assert!(!matches!(error.kind(), ErrorKind::Timeout | ErrorKind::MonitorBusy), "{error}")
        })
        .ok()
}
