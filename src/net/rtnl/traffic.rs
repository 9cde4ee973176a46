//! The messages about queueing disciplines and filters, as `tc` writes them: `tests/net_host/limits.rs`
//! compares each.

use super::wire::{
    Message, NLA_F_NESTED, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, attributes, chunk, open, put, status, text,
    u32_at,
};
use crate::net::bandwidth::{Bandwidth, LONGEST_PACKET};

// linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h
const NLMSG_DONE: u16 = 3;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const NLM_F_ECHO: u16 = 0x8;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_H_INGRESS: u32 = 0xffff_fff1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
const INGRESS_FILTERS: u32 = 0xffff_fff2;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RTAB: u16 = 2;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_POLICE_TBF: u16 = 1;
const TCA_POLICE_RATE: u16 = 2;
const TCA_POLICE_RATE64: u16 = 8;
const TC_ACT_SHOT: u32 = 2;
const ETH_P_ALL: u16 = 3;
const LINKLAYER_ETHERNET: u8 = 1;

/// By this handle and this preference the library knows what it has made: "kv".
const OWN: u16 = 0x6b76;
const OWN_HANDLE: u32 = (OWN as u32) << 16;
/// A `struct tcmsg`.
const TCMSG: usize = 20;
/// Room for the longest request, which has a table of rates.
pub(super) const MOST: usize = 1280;
/// Entries of a table of rates.
const CELLS: u32 = 256;
/// The kernel counts in units of 64 ns: so many are a second.
const TICKS: u64 = 15_625_000;
/// Milliseconds that what a guest receives may wait before it is dropped.
const LATENCY: u64 = 50;
/// What `tc` takes for the longest packet of a `tbf`.
const TBF_PACKET: u32 = 2047;

pub(super) type Request = Message<MOST>;

/// What an interface has where a limit goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) enum Found {
    /// Nothing but the kernel's default.
    Nothing,
    /// What the library has made.
    Own(Bandwidth),
    /// Something of somebody else, of this kind.
    OfAnother(String),
}

fn message(kind: u16, flags: u16, index: i32, [handle, parent, info]: [u32; 3]) -> Request {
    let mut body = [0; TCMSG];
    for (at, word) in [
        (4, index.to_ne_bytes()),
        (8, handle.to_ne_bytes()),
        (12, parent.to_ne_bytes()),
        (16, info.to_ne_bytes()),
    ] {
        body.iter_mut().skip(at).zip(word).for_each(|(to, from)| *to = from);
    }
    Message::with_body(kind, NLM_F_REQUEST | flags, &body)
}

/// Asks for the root discipline, and for an end of the answer.
pub(super) fn get_root(index: i32) -> Request {
    message(RTM_GETQDISC, NLM_F_ACK | NLM_F_ECHO, index, [0, TC_H_ROOT, 0])
}

/// Limits what leaves the interface; instead of the library's own limit if it has one.
pub(super) fn limit_egress(index: i32, limit: Bandwidth, has_own: bool) -> Request {
    let how = if has_own { NLM_F_REPLACE } else { NLM_F_EXCL };
    let request = message(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | how, index, [OWN_HANDLE, TC_H_ROOT, 0]);
    request.attribute_with_zero(TCA_KIND, b"tbf").nest(TCA_OPTIONS, |options| {
        let rates = Rates::new(limit, TBF_PACKET);
        let queue = limit.average.saturating_mul(LATENCY) / 1000 + u64::from(limit.burst);
        let queue = u32::try_from(queue).unwrap_or(u32::MAX);
        let mut parameters = [0; 36];
        let words = [(24, queue), (28, rates.ticks(limit.burst))];
        put(&mut parameters, 0, &rates.spec());
        words.iter().for_each(|(at, word)| put(&mut parameters, *at, &word.to_ne_bytes()));
        let options = options
            .attribute(TCA_TBF_PARMS, &parameters)
            .attribute(TCA_TBF_BURST, &limit.burst.to_ne_bytes());
        rates.large(TCA_TBF_RATE64, options).attribute(TCA_TBF_RTAB, &rates.table())
    })
}

/// Takes the library's limit of what leaves the interface away.
pub(super) fn free_egress(index: i32) -> Request {
    message(RTM_DELQDISC, NLM_F_ACK, index, [OWN_HANDLE, TC_H_ROOT, 0])
}

/// Makes the place where filters see what enters the interface.
pub(super) fn add_ingress(index: i32) -> Request {
    ingress(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index)
}

/// Takes it away, with the filters in it.
pub(super) fn delete_ingress(index: i32) -> Request {
    ingress(RTM_DELQDISC, 0, index)
}

fn ingress(kind: u16, flags: u16, index: i32) -> Request {
    message(kind, NLM_F_ACK | flags, index, [INGRESS_HANDLE, TC_H_INGRESS, 0])
        .attribute_with_zero(TCA_KIND, b"ingress")
}

fn own_filter(protocol: u16) -> u32 {
    (u32::from(OWN) << 16) | u32::from(protocol.to_be())
}

/// Limits what enters the interface: by a new filter, or by that with this handle, whose limit it replaces.
/// What is too much is dropped.
pub(super) fn limit_ingress(index: i32, limit: Bandwidth, handle: u32) -> Request {
    let about = [handle, INGRESS_FILTERS, own_filter(ETH_P_ALL)];
    let request = message(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE, index, about);
    request.attribute_with_zero(TCA_KIND, b"u32").nest(TCA_OPTIONS, |options| {
        let action = |action: Request| {
            action
                .attribute_with_zero(TCA_ACT_KIND, b"police")
                .nest(TCA_ACT_OPTIONS | NLA_F_NESTED, |police| police_options(police, limit))
        };
        // TC_U32_TERMINAL, and one key, which every packet has.
        let mut selector = [0; 32];
        put(&mut selector, 0, &[1, 0, 1]);
        options.nest(TCA_U32_ACT, |list| list.nest(1, action)).attribute(TCA_U32_SEL, &selector)
    })
}

fn police_options(police: Request, limit: Bandwidth) -> Request {
    let rates = Rates::new(limit, LONGEST_PACKET);
    let mut parameters = [0; 56];
    put(&mut parameters, 4, &TC_ACT_SHOT.to_ne_bytes());
    put(&mut parameters, 12, &rates.ticks(limit.burst).to_ne_bytes());
    put(&mut parameters, 16, &LONGEST_PACKET.to_ne_bytes());
    put(&mut parameters, 20, &rates.spec());
    let police = police.attribute(TCA_POLICE_TBF, &parameters).attribute(TCA_POLICE_RATE, &rates.table());
    rates.large(TCA_POLICE_RATE64, police)
}

/// Asks for the library's filters of what enters the interface. Those of one kind have their handles in
/// common, also with other programs': the library's is known by its preference, which others do not take.
pub(super) fn get_own_filters(index: i32) -> Request {
    message(RTM_GETTFILTER, NLM_F_DUMP, index, [0, INGRESS_FILTERS, own_filter(ETH_P_ALL)])
}

/// Asks for all filters of what enters the interface.
pub(super) fn get_filters(index: i32) -> Request {
    message(RTM_GETTFILTER, NLM_F_DUMP, index, [0, INGRESS_FILTERS, 0])
}

/// Takes the library's limit of what enters the interface away.
pub(super) fn delete_filter(index: i32) -> Request {
    message(RTM_DELTFILTER, NLM_F_ACK, index, [0, INGRESS_FILTERS, own_filter(0)])
}

/// A rate with the time that packets of each length take.
struct Rates {
    average: u64,
    /// By so many bits the length is shifted to find it in the table.
    cell: u8,
}

impl Rates {
    fn new(limit: Bandwidth, longest: u32) -> Self {
        let cell = (0..32).find(|cell| longest >> cell < CELLS).unwrap_or_default();
        Self { average: limit.average, cell }
    }

    /// A `struct tc_ratespec`. A rate of more than 32 bits has an attribute of its own.
    fn spec(&self) -> [u8; 12] {
        let [a, b, c, d] = u32::try_from(self.average).unwrap_or(u32::MAX).to_ne_bytes();
        [self.cell, LINKLAYER_ETHERNET, 0, 0, 0xff, 0xff, 0, 0, a, b, c, d]
    }

    fn large(&self, kind: u16, request: Request) -> Request {
        match u32::try_from(self.average) {
            Ok(_) => request,
            Err(_) => request.attribute(kind, &self.average.to_ne_bytes()),
        }
    }

    fn ticks(&self, bytes: u32) -> u32 {
        let time = u64::from(bytes).saturating_mul(1_000_000).checked_div(self.average).unwrap_or(u64::MAX);
        // `tc` counts in whole microseconds as well, of which each has 15.625 ticks.
        let ticks = time.saturating_mul(TICKS / 125_000) / 8;
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    fn table(&self) -> [u8; 1024] {
        let mut table = [0; 1024];
        let cells = (1..=CELLS).flat_map(|number| self.ticks(number << self.cell).to_ne_bytes());
        table.iter_mut().zip(cells).for_each(|(to, from)| *to = from);
        table
    }
}

/// An answer of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A discipline or filter, with its handle.
    Found(u32, Found),
    /// Zero is success, else a positive errno.
    Status(i32),
    /// Nothing follows in a list.
    End,
}

/// Reads an answer; `None` if it is malformed.
pub(super) fn decode(reply: &[u8]) -> Option<Reply> {
    match open(reply)? {
        (NLMSG_ERROR, body) => status(body).map(Reply::Status),
        (NLMSG_DONE, _) => Some(Reply::End),
        (kind @ (RTM_NEWQDISC | RTM_NEWTFILTER), body) => found(kind, body),
        _ => None,
    }
}

fn found(kind: u16, body: &[u8]) -> Option<Reply> {
    let handle = u32_at(body, 8)?;
    let attributes = body.get(TCMSG..)?;
    let name = text(find(attributes, TCA_KIND)?);
    let options = || find(attributes, TCA_OPTIONS);
    let own = match (kind, name.as_str()) {
        (RTM_NEWQDISC, "tbf") if handle == OWN_HANDLE => options().and_then(of_tbf),
        (RTM_NEWTFILTER, "u32") => options().and_then(of_filter),
        _ => None,
    };
    let found = match own {
        Some(limit) => Found::Own(limit),
        // The kernel's default has no handle.
        None if kind == RTM_NEWQDISC && handle == 0 => Found::Nothing,
        None => Found::OfAnother(name),
    };
    Some(Reply::Found(handle, found))
}

fn find(list: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(list).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn of_tbf(options: &[u8]) -> Option<Bandwidth> {
    let parameters = find(options, TCA_TBF_PARMS)?;
    limit(u32_at(parameters, 8)?, find(options, TCA_TBF_RATE64), u32_at(parameters, 28)?)
}

fn of_filter(options: &[u8]) -> Option<Bandwidth> {
    let action = find(find(options, TCA_U32_ACT)?, 1)?;
    let police = find(action, TCA_ACT_OPTIONS)
        .filter(|_| find(action, TCA_ACT_KIND).map(text).as_deref() == Some("police"))?;
    let parameters = find(police, TCA_POLICE_TBF)?;
    limit(u32_at(parameters, 28)?, find(police, TCA_POLICE_RATE64), u32_at(parameters, 12)?)
}

fn limit(rate: u32, large: Option<&[u8]>, ticks: u32) -> Option<Bandwidth> {
    let average = match large {
        Some(bytes) => u64::from_ne_bytes(chunk(bytes, 0)?),
        None => rate.into(),
    };
    let bytes = u128::from(ticks) * u128::from(average) / u128::from(TICKS);
    Some(Bandwidth { average, burst: u32::try_from(bytes).unwrap_or(u32::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Bandwidth = Bandwidth { average: 1_000_000, burst: 100_000 };
    const LARGE: Bandwidth = Bandwidth { average: 1 << 33, burst: 1 << 30 };

    /// The kernel answers in the form of the requests.
    fn answers() -> Vec<(Bandwidth, Request)> {
        let each = |limit| [(limit, limit_egress(7, limit, false)), (limit, limit_ingress(7, limit, 0x800))];
        [LIMIT, LARGE].into_iter().flat_map(each).collect()
    }

    #[test]
    fn limits_are_read() {
        for (limit, answer) in answers() {
            let Some(Reply::Found(_, Found::Own(found))) = decode(answer.bytes().unwrap()) else {
                panic!("{answer:?}");
            };
            assert_eq!(found.average, limit.average);
            assert!(found.burst.abs_diff(limit.burst) < 10_000, "{found:?}");
        }
        let default = message(RTM_NEWQDISC, 0, 7, [0, TC_H_ROOT, 0]).attribute_with_zero(TCA_KIND, b"mq");
        assert_eq!(decode(default.bytes().unwrap()), Some(Reply::Found(0, Found::Nothing)));
        let theirs = message(RTM_NEWQDISC, 0, 7, [1 << 16, TC_H_ROOT, 0]);
        let theirs = theirs.attribute_with_zero(TCA_KIND, b"htb");
        let expected = Reply::Found(1 << 16, Found::OfAnother("htb".into()));
        assert_eq!(decode(theirs.bytes().unwrap()), Some(expected));
    }

    #[test]
    fn no_cut_or_broken_length_gets_out_of_bounds() {
        for (_, answer) in answers() {
            let whole = answer.bytes().unwrap();
            for end in 0..whole.len() {
                assert_eq!(decode(&whole[..end]), None, "cut at {end}");
            }
            for at in 0..160 {
                for value in [0, 1, 3, 0x7f, 0xff] {
                    let mut broken = whole.to_vec();
                    broken[at] = value;
                    let _ = decode(&broken);
                }
            }
        }
    }
}
