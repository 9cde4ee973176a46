//! Cuts the byte stream into JSON objects without parsing them.
//!
//! Lines are no help: a monitor started with `pretty=on` spreads one message over many. The scan looks at each
//! byte once, whatever sizes the reads come in, so a peer that drips a huge message costs no more than its length.

use crate::error::{Error, ErrorKind, Result};

/// Largest message accepted. `query-qmp-schema`, the largest reply known, is 207 KB on QEMU 7.2.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Deepest nesting accepted; serde_json itself gives up at 128.
pub const MAX_DEPTH: usize = 100;

/// Most memory that the parsed form of one message, or of all answers to one batch, may take as [`Framer::memory_estimate`]
/// estimates it. `query-named-block-nodes` of 800 qcow2 disks stays below (QEMU 7.2).
pub const MAX_PARSED_MEMORY: usize = 32 << 20;

/// What serde_json allocates beyond the text itself: a tree node for an object however small, a vector that starts with
/// four values, and per further member its share of a half-filled node or of a vector that has just doubled.
const OBJECT_WEIGHT: usize = 640;
const ARRAY_WEIGHT: usize = 128;
const MEMBER_WEIGHT: usize = 160;

/// Capacity kept between messages: one large reply must not stay on the books of an idle guest.
const KEPT_CAPACITY: usize = 4 << 10;

/// Collects bytes and hands out complete messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    growing: usize,
    memory_estimate: usize,
    /// Something was not kept for lack of memory.
    starved: bool,
}

impl Framer {
    /// Appends what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        // Asked for first, so that a peer that says a lot does not end an agent that is short of memory.
        self.starved |= self.buffer.try_reserve(bytes.len()).is_err();
        if !self.starved {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Whether part of a message is waiting for its rest.
    pub fn is_partial(&self) -> bool {
        self.depth > 0
    }

    /// Memory in bytes that the message handed out last takes at most once it is parsed. `{"":0}` takes a hundred times
    /// the room it takes on the wire.
    pub fn memory_estimate(&self) -> usize {
        self.memory_estimate
    }

    /// The next complete message, `None` if more bytes are needed.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>> {
        while let Some(&byte) = self.buffer.get(self.scanned) {
            self.scanned += 1;
            let complete = self.step(byte)?;
            if self.growing > MAX_PARSED_MEMORY {
                return Err(protocol(format!(
                    "a message would take more than {MAX_PARSED_MEMORY} bytes of memory"
                )));
            }
            if complete {
                return Ok(Some(self.cut()));
            }
            // Blanks between messages belong to none of them, however the reads fall.
            if self.depth == 0 {
                self.start = self.scanned;
            }
        }
        if self.starved {
            let text = "there is no memory for what the monitor says";
            return Err(Error::new(ErrorKind::Limit, text).with_errno(libc::ENOMEM));
        }
        self.compact();
        if self.buffer.len() > MAX_MESSAGE {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("the monitor sent a message of more than {MAX_MESSAGE} bytes"),
            ));
        }
        Ok(None)
    }

    /// Takes one byte into account; true when it closes a message.
    fn step(&mut self, byte: u8) -> Result<bool> {
        self.growing += 1;
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(false);
        }
        match byte {
            b'{' | b'[' if self.depth >= MAX_DEPTH => {
                Err(protocol(format!("a message is nested more than {MAX_DEPTH} levels deep")))
            }
            b'{' => {
                self.depth += 1;
                self.growing += OBJECT_WEIGHT;
                Ok(false)
            }
            _ if self.depth == 0 => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => Ok(false),
                other => Err(protocol(format!("byte {other:#04x} where a message should begin"))),
            },
            b'[' => {
                self.depth += 1;
                self.growing += ARRAY_WEIGHT;
                Ok(false)
            }
            b',' => {
                self.growing += MEMBER_WEIGHT;
                Ok(false)
            }
            b'}' | b']' => {
                self.depth -= 1;
                Ok(self.depth == 0)
            }
            b'"' => {
                self.in_string = true;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn cut(&mut self) -> Vec<u8> {
        let message = self.buffer.get(self.start..self.scanned).unwrap_or_default().to_vec();
        self.start = self.scanned;
        self.memory_estimate = std::mem::take(&mut self.growing);
        message
    }

    /// Forgets what has been handed out, once per read rather than once per message.
    fn compact(&mut self) {
        let done = if self.depth == 0 { self.scanned } else { self.start };
        self.buffer.drain(..done);
        self.scanned -= done;
        self.start = 0;
        self.buffer.shrink_to(KEPT_CAPACITY);
    }
}

fn protocol(what: String) -> Error {
    Error::new(ErrorKind::Protocol, format!("the monitor does not speak QMP: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(framer: &mut Framer, chunks: &[&[u8]]) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for chunk in chunks {
            framer.push(chunk);
            while let Some(message) = framer.next_message()? {
                out.push(String::from_utf8_lossy(&message).into_owned());
            }
        }
        Ok(out)
    }

    #[test]
    fn braces_in_strings_and_pretty_output() {
        let text = b"{\"a\": \"}\\\"{\"}\r\n{\r\n  \"b\": [1, {}]\r\n}\r\n";
        let out = all(&mut Framer::default(), &[text]).unwrap();
        assert_eq!(out, ["{\"a\": \"}\\\"{\"}", "{\r\n  \"b\": [1, {}]\r\n}"]);
    }

    #[test]
    fn limits() {
        let deep = "{\"a\":".to_owned() + &"[".repeat(MAX_DEPTH);
        assert!(all(&mut Framer::default(), &[deep.as_bytes()]).is_err());
        assert!(all(&mut Framer::default(), &[b"HTTP/1.1 400"]).is_err());
        assert!(all(&mut Framer::default(), &[b"[1]"]).is_err());
        let mut framer = Framer::default();
        framer.push(b"{\"a\":\"");
        let chunk = vec![b'x'; 1 << 16];
        let error = (0..).find_map(|_| {
            framer.push(&chunk);
            framer.next_message().err()
        });
        assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::Protocol));
    }

    #[test]
    fn what_would_swell_is_refused() {
        for (small, count) in [("{\"\":0},", 60_000), ("[],", 400_000), ("0,", 400_000), ("{},", 60_000)] {
            let text = format!("{{\"return\":[{}0]}}", small.repeat(count));
            assert!(text.len() < MAX_MESSAGE);
            let error = all(&mut Framer::default(), &[text.as_bytes()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{small}");
        }
        let mut framer = Framer::default();
        let text = format!("{{\"return\":\"{}\"}}", ",{[".repeat(1 << 20));
        assert_eq!(all(&mut framer, &[text.as_bytes()]).unwrap().len(), 1, "in a string it is only text");
        assert!(framer.memory_estimate() < text.len() + 1000);
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(values in proptest::collection::vec(any::<(String, i64)>(), 0..6), cuts in proptest::collection::vec(0usize..200, 0..12)) {
            let messages: Vec<String> =
                values.iter().map(|(key, n)| serde_json::json!({ key: [n, {"x": key}] }).to_string()).collect();
            let stream = messages.join("\r\n").into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            prop_assert_eq!(all(&mut Framer::default(), &chunks).unwrap(), messages);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = all(&mut Framer::default(), &[&bytes]);
        }
    }
}
