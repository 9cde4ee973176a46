//! What all messages of the routing socket are made of: a header, what they are about, attributes.

// linux/netlink.h
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_ACK: u16 = 4;
/// Says of an attribute that it is made of others.
pub(super) const NLA_F_NESTED: u16 = 0x8000;
/// An `ifinfomsg`.
pub(super) const IFINFO: usize = 16;
/// The upper two bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;

pub(super) const HEADER: usize = 16;
pub(super) const SEQUENCE: u32 = 1;

/// Writes a part of some bytes, as far as there is room.
pub(super) fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes.iter_mut().skip(at).zip(part).for_each(|(to, from)| *to = *from);
}

/// A `nlmsghdr`, what it is about, and attributes. What it has no room for is left out, and its length says
/// so.
#[derive(Debug)]
pub(super) struct Message<const MOST: usize> {
    bytes: [u8; MOST],
    length: usize,
}

impl<const MOST: usize> Message<MOST> {
    /// `body` is what it is about, such as an `ifinfomsg`.
    pub(super) fn with_body(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut message = Self { bytes: [0; MOST], length: HEADER + body.len() };
        message.put(4, &kind.to_ne_bytes());
        message.put(6, &flags.to_ne_bytes());
        message.put(8, &SEQUENCE.to_ne_bytes());
        message.put(HEADER, body);
        message.close()
    }

    /// About an interface, of a family of addresses; `state` is the flags that are changed, and their values.
    pub(super) fn about_interface(kind: u16, flags: u16, family: u8, index: i32, state: (u32, u32)) -> Self {
        let mut body = [0; IFINFO];
        put(&mut body, 0, &[family]);
        put(&mut body, 4, &index.to_ne_bytes());
        put(&mut body, 8, &state.1.to_ne_bytes());
        put(&mut body, 12, &state.0.to_ne_bytes());
        Self::with_body(kind, flags, &body)
    }

    /// An attribute that is made of others.
    pub(super) fn nest(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let at = self.length;
        let mut filled = fill(self.attribute(kind, &[]));
        let length = u16::try_from(filled.length.saturating_sub(at)).unwrap_or(u16::MAX);
        filled.put(at, &length.to_ne_bytes());
        filled
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.bytes, at, bytes);
    }

    pub(super) fn attribute(self, kind: u16, value: &[u8]) -> Self {
        self.attribute_of(kind, value, value.len())
    }

    pub(super) fn attribute_with_zero(self, kind: u16, value: &[u8]) -> Self {
        self.attribute_of(kind, value, value.len() + 1)
    }

    /// Of so many bytes, the rest of them zero.
    fn attribute_of(mut self, kind: u16, value: &[u8], length: usize) -> Self {
        let at = self.length;
        let whole = u16::try_from(length + 4).unwrap_or(u16::MAX);
        self.put(at, &whole.to_ne_bytes());
        self.put(at + 2, &kind.to_ne_bytes());
        self.put(at + 4, value);
        self.length = at + (length + 4).next_multiple_of(4);
        self.close()
    }

    fn close(mut self) -> Self {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        self.put(0, &length.to_ne_bytes());
        self
    }

    /// As it is sent; `None` if something had no room.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

/// The kind of an answer, and what it is about; `None` if it is none to [`SEQUENCE`], or malformed.
pub(super) fn open(reply: &[u8]) -> Option<(u16, &[u8])> {
    let length = usize::try_from(u32_at(reply, 0)?).ok()?;
    if u32_at(reply, 8)? != SEQUENCE {
        return None;
    }
    Some((u16_at(reply, 4)?, reply.get(HEADER..length)?))
}

/// The messages of which a part of a list is made.
pub(super) fn messages(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok().filter(|length| *length >= HEADER)?;
        let message = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Zero for an acknowledgement, or else an errno.
pub(super) fn status(body: &[u8]) -> Option<i32> {
    i32_at(body, 0)?.checked_neg()
}

pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

pub(super) fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    chunk(bytes, at).map(u16::from_ne_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    chunk(bytes, at).map(u32::from_ne_bytes)
}

pub(super) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    chunk(bytes, at).map(i32::from_ne_bytes)
}
