//! Cuts the byte stream into JSON objects without parsing them.
//!
//! Lines are no help: a monitor started with `pretty=on` spreads one message over many. The scan looks at
//! each byte once, whatever sizes the reads come in, so a peer that drips a huge message costs no more than
//! its length.

use crate::error::{Error, ErrorKind, Result};

/// Largest message accepted. `query-qmp-schema`, the largest reply known, is 207 KB on QEMU 7.2.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Deepest nesting accepted; serde_json itself gives up at 128.
pub const MAX_DEPTH: usize = 100;

/// Most memory that the parsed form of one message, or of all answers to one batch, may take as
/// [`Frame::memory`] estimates it. `query-named-block-nodes` of 800 qcow2 disks stays below (QEMU 7.2).
pub const MAX_PARSED_MEMORY: usize = 32 << 20;

/// What serde_json allocates beyond the text itself: a tree node for an object however small, a vector that
/// starts with four values, and per further member its share of a half-filled node or of a vector that has
/// just doubled.
const OBJECT_WEIGHT: usize = 640;
const ARRAY_WEIGHT: usize = 128;
const MEMBER_WEIGHT: usize = 160;

/// Capacity kept between messages: one large reply must not stay on the books of an idle guest.
const KEPT_CAPACITY: usize = 4 << 10;

/// A complete message.
#[derive(Debug)]
pub struct Frame<'a> {
    /// A JSON object, as far as can be told without parsing it.
    pub text: &'a [u8],
    /// Memory in bytes that it takes at most once it is parsed. `{"":0}` takes a hundred times the room it
    /// takes on the wire.
    pub memory: usize,
}

/// Collects bytes and hands out complete messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
    scanned: usize,
    place: Place,
    growing: usize,
    /// Something was not kept for lack of memory.
    starved: bool,
}

/// Where in a message the scan is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    depth: usize,
    in_string: bool,
    escaped: bool,
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
        self.place.depth > 0
    }

    /// The next complete message, `None` if more bytes are needed.
    pub fn next_message(&mut self) -> Result<Option<Frame<'_>>> {
        if self.scan()? {
            return Ok(Some(self.cut()));
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

    /// Goes on to the end of the message, or of what is there; true when the message is complete.
    fn scan(&mut self) -> Result<bool> {
        let unread = self.buffer.get(self.scanned..).unwrap_or_default();
        // In its own variables, which the compiler keeps in registers.
        let (mut place, mut bytes, mut weight) = (self.place, unread.iter(), 0);
        let complete = loop {
            if place.in_string {
                place.leave_string(&mut bytes);
            }
            let Some(&byte) = bytes.next() else { break false };
            weight += place.step(byte)?;
            if place.depth == 0 {
                match byte {
                    b'}' | b']' => break true,
                    // Blanks between messages belong to none of them, however the reads fall.
                    _ => self.start = self.buffer.len() - bytes.len(),
                }
            }
        };
        let scanned = self.buffer.len() - bytes.len();
        self.growing += weight + scanned - self.scanned;
        (self.scanned, self.place) = (scanned, place);
        if self.growing > MAX_PARSED_MEMORY {
            return Err(protocol(format!(
                "a message would take more than {MAX_PARSED_MEMORY} bytes of memory"
            )));
        }
        Ok(complete)
    }

    fn cut(&mut self) -> Frame<'_> {
        let begin = std::mem::replace(&mut self.start, self.scanned);
        let text = self.buffer.get(begin..self.scanned).unwrap_or_default();
        Frame { text, memory: std::mem::take(&mut self.growing) }
    }

    /// Forgets what has been handed out, once per read rather than once per message.
    fn compact(&mut self) {
        let done = if self.place.depth == 0 { self.scanned } else { self.start };
        self.buffer.drain(..done);
        self.scanned -= done;
        self.start = 0;
        self.buffer.shrink_to(KEPT_CAPACITY);
    }
}

impl Place {
    /// Takes the bytes of a string, up to its end or that of what is there.
    fn leave_string(&mut self, bytes: &mut std::slice::Iter<'_, u8>) {
        for byte in bytes {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    return;
                }
                _ => {}
            }
        }
    }

    /// Takes a byte outside of strings; what it adds to the memory of the message, itself not counted.
    fn step(&mut self, byte: u8) -> Result<usize> {
        match byte {
            b'{' | b'[' if self.depth >= MAX_DEPTH => {
                Err(protocol(format!("a message is nested more than {MAX_DEPTH} levels deep")))
            }
            b'{' => {
                self.depth += 1;
                Ok(OBJECT_WEIGHT)
            }
            _ if self.depth == 0 => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => Ok(0),
                other => Err(protocol(format!("byte {other:#04x} where a message should begin"))),
            },
            b'[' => {
                self.depth += 1;
                Ok(ARRAY_WEIGHT)
            }
            b',' => Ok(MEMBER_WEIGHT),
            b'}' | b']' => {
                self.depth -= 1;
                Ok(0)
            }
            b'"' => {
                self.in_string = true;
                Ok(0)
            }
            _ => Ok(0),
        }
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
                out.push(String::from_utf8_lossy(message.text).into_owned());
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
            framer.next_message().map(drop).err()
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
        framer.push(text.as_bytes());
        let memory = framer.next_message().unwrap().map(|message| message.memory);
        assert!(memory.is_some_and(|memory| memory < text.len() + 1000), "in a string it is only text");
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
