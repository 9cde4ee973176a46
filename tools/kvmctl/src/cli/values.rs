//! The values of options and commands.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvm_hotplug::disk::{Aio, BackingRule, Cache, DetectZeroes, Discard, FormatRequest};
use kvm_hotplug::net::port::PortSettings;
use kvm_hotplug::net::vhost::VhostMode;
use kvm_hotplug::slots::pci::{SlotKind, SlotPolicy, WhenFull};
use kvm_hotplug::store::Format;
use serde_json::Value;

use crate::failure::{Failure, Result};

/// A value and the word for it.
pub(crate) type Word<T> = (&'static str, T);

pub(crate) const FORMATS: [Word<Format>; 2] = [("native", Format::Native), ("ganeti", Format::Ganeti)];
pub(crate) const IMAGE_FORMATS: [Word<FormatRequest>; 3] =
    [("raw", FormatRequest::Raw), ("qcow2", FormatRequest::Qcow2), ("probe", FormatRequest::Probe)];
pub(crate) const VHOST: [Word<VhostMode>; 3] =
    [("auto", VhostMode::Auto), ("off", VhostMode::Off), ("required", VhostMode::Required)];
pub(crate) const CACHES: [Word<Cache>; 5] = [
    ("writeback", Cache::Writeback),
    ("none", Cache::None),
    ("writethrough", Cache::Writethrough),
    ("directsync", Cache::Directsync),
    ("unsafe", Cache::Unsafe),
];
pub(crate) const AIOS: [Word<Aio>; 3] =
    [("threads", Aio::Threads), ("native", Aio::Native), ("io_uring", Aio::IoUring)];
pub(crate) const DISCARDS: [Word<Discard>; 2] = [("ignore", Discard::Ignore), ("unmap", Discard::Unmap)];
pub(crate) const DETECT_ZEROES: [Word<DetectZeroes>; 3] =
    [("off", DetectZeroes::Off), ("on", DetectZeroes::On), ("unmap", DetectZeroes::Unmap)];
pub(crate) const SLOT_KINDS: [Word<SlotKind>; 3] =
    [("nic", SlotKind::Nic), ("disk", SlotKind::Disk), ("controller", SlotKind::Controller)];
pub(crate) const SLOT_POLICIES: [Word<SlotPolicy>; 2] =
    [("first-free", SlotPolicy::FirstFree), ("longest-free", SlotPolicy::LongestFree)];
pub(crate) const WHEN_FULL: [Word<WhenFull>; 2] =
    [("refuse", WhenFull::Refuse), ("next-boot", WhenFull::NextBoot)];
pub(crate) const LINKS: [Word<Link>; 2] = [("up", Link::Up), ("down", Link::Down)];
pub(crate) const SHELLS: [Word<Shell>; 3] =
    [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

/// The cable of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Down,
}

/// A shell that there is a completion for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The new size of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// What the image has now.
    Now,
    Bytes(u64),
}

/// A property of a device. Of texts, the library makes what QEMU has the property as.
pub(crate) fn property(text: &str) -> std::result::Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "not of the form NAME=VALUE".to_owned())?;
    let value = match value {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match value.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => value.into(),
        },
    };
    Ok((name.to_owned(), value))
}

/// A limit of a disk: a number, for bytes with K, M, G or T, or the name of a group.
pub(crate) fn limit(text: &str) -> std::result::Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "not of the form NAME=NUMBER".to_owned())?;
    let value = match (name, value) {
        ("group", group) => group.into(),
        (_, "0") => 0.into(),
        (_, number) => match size(number)? {
            Size::Bytes(number) => number.into(),
            Size::Now => return Err(format!("{number} is no number")),
        },
    };
    Ok((name.to_owned(), value))
}

/// Where a migration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Defer,
    Tcp(String),
    Unix(String),
}

/// One rule for backing files, or one path of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    Default,
    OwnDirectory,
    Forbidden,
    File(PathBuf),
    Directory(PathBuf),
}

/// Takes one of these words.
pub(crate) fn words<T: Copy + Send + Sync + 'static>(
    all: &'static [Word<T>],
) -> impl TypedValueParser<Value = T> {
    let value = |word: String| {
        all.iter().find(|(known, _)| *known == word).map(|(_, value)| *value).ok_or("there is no such word")
    };
    PossibleValuesParser::new(all.iter().map(|(word, _)| *word)).try_map(value)
}

/// A number, as far as its type goes. Ranges are the library's business: its errors say more than this could.
pub(crate) fn number<T: TryFrom<u64>>(text: &str) -> std::result::Result<T, String> {
    let number = text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
    // Of an unsigned type of so many bytes.
    let largest = u64::MAX >> (8 * (size_of::<u64>() - size_of::<T>()));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("not a number from 0 to {largest}"))
}

/// A range of slots, or one.
pub(crate) fn slots(text: &str) -> std::result::Result<(u8, u8), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok((number(first)?, number(last)?))
}

/// A number of bytes, one with K, M, G or T, or "now".
pub(crate) fn size(text: &str) -> std::result::Result<Size, String> {
    if text == "now" {
        return Ok(Size::Now);
    }
    bytes(text, "it is a number of bytes, one with K, M, G or T, or \"now\"").map(Size::Bytes)
}

/// A limit of one direction of a NIC: bytes per second, and how many at once.
pub(crate) fn bandwidth(text: &str) -> std::result::Result<(u64, u64), String> {
    let (average, burst) = text.split_once(',').unwrap_or((text, ""));
    let bytes = |text| bytes(text, "it is a number of bytes, or one with K, M, G or T");
    if text == "0" {
        return Ok((0, 0));
    }
    Ok((bytes(average)?, if burst.is_empty() { 0 } else { bytes(burst)? }))
}

fn bytes(text: &str, what: &str) -> std::result::Result<u64, String> {
    let no_size = || format!("{text} is no size; {what}");
    let (digits, steps) = match text.find(|c: char| !c.is_ascii_digit()) {
        None => (text, 0),
        Some(end) => {
            let (digits, unit) = text.split_at(end);
            let step = ["K", "M", "G", "T"].iter().position(|known| *known == unit).ok_or_else(no_size)?;
            (digits, step + 1)
        }
    };
    let number: u64 = digits.parse().ok().filter(|number| *number > 0).ok_or_else(no_size)?;
    let bytes = (0..steps).try_fold(number, |bytes, _| bytes.checked_mul(1024));
    bytes.ok_or_else(|| format!("{text} is too large"))
}

/// A world wide name, as QEMU reads it.
pub(crate) fn wwn(text: &str) -> std::result::Result<u64, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.ok().filter(|_| !text.contains('+')).ok_or_else(|| "not a number of 64 bits".to_owned())
}

/// Where a migration comes from.
pub(crate) fn incoming(text: &str) -> std::result::Result<From, String> {
    match text.split_once(':') {
        None if text == "defer" => Ok(From::Defer),
        Some(("tcp", address)) => Ok(From::Tcp(address.to_owned())),
        Some(("unix", path)) => Ok(From::Unix(path.to_owned())),
        _ => Err("neither \"defer\" nor tcp:HOST:PORT nor unix:PATH".to_owned()),
    }
}

/// Settings of a port; none for those that change nothing.
#[derive(Clone, Debug)]
pub(crate) struct Port(pub(crate) Option<Box<PortSettings>>);

/// A tap that the caller of kvmctl opened for a NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenTap {
    pub(crate) nic: String,
    /// The numbers of its queues.
    pub(crate) fds: Vec<i32>,
}

/// A NIC and the descriptors of its tap.
pub(crate) fn tap(text: &str) -> std::result::Result<GivenTap, String> {
    let fd = |digits: &str| digits.parse::<i32>().ok().filter(|fd| *fd >= 0);
    let parts = text.split_once('=').filter(|(nic, _)| !nic.is_empty());
    let fds = parts.and_then(|(_, fds)| fds.split(',').map(fd).collect::<Option<Vec<_>>>());
    match (parts, fds) {
        (Some((nic, _)), Some(fds)) => Ok(GivenTap { nic: nic.to_owned(), fds }),
        _ => Err("not of the form ID=FD[,FD...]".to_owned()),
    }
}

/// A file with a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretFile {
    /// The name that the source has for it.
    pub(crate) name: String,
    pub(crate) path: String,
}

/// A secret of the disk that is added.
pub(crate) fn secret(text: &str) -> std::result::Result<SecretFile, String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok(SecretFile { name: name.to_owned(), path: path.to_owned() })
        }
        _ => Err("not of the form NAME=FILE".to_owned()),
    }
}

/// A disk, and a secret of it.
pub(crate) fn secret_of(text: &str) -> std::result::Result<(String, SecretFile), String> {
    match text.split_once(':').map(|(disk, rest)| (disk, secret(rest))) {
        Some((disk, Ok(secret))) if !disk.is_empty() => Ok((disk.to_owned(), secret)),
        _ => Err("not of the form ID:NAME=FILE".to_owned()),
    }
}

/// How a tap is a port of its bridge.
pub(crate) fn port(text: &str) -> std::result::Result<Port, String> {
    PortSettings::parse(text).map(Port).map_err(|error| error.to_string())
}

/// A rule for backing files.
pub(crate) fn backing(text: &str) -> std::result::Result<Backing, String> {
    match (text, text.split_once(':')) {
        ("default", _) => Ok(Backing::Default),
        ("own-directory", _) => Ok(Backing::OwnDirectory),
        ("forbidden", _) => Ok(Backing::Forbidden),
        (_, Some(("file", path))) => Ok(Backing::File(path.into())),
        (_, Some(("dir", path))) => Ok(Backing::Directory(path.into())),
        _ => Err("not one of: own-directory forbidden file:PATH dir:PATH".to_owned()),
    }
}

/// The rule that was said in one or more words.
pub(crate) fn rule(words: Vec<Backing>) -> Result<Option<BackingRule>> {
    let mut rule = None;
    for word in words {
        rule = match (rule, word) {
            (None | Some(None), Backing::Default) => Some(None),
            (None, Backing::OwnDirectory) => Some(Some(BackingRule::OwnDirectory)),
            (None, Backing::Forbidden) => Some(Some(BackingRule::Forbidden)),
            (None, Backing::File(path)) => Some(Some(BackingRule::Files(vec![path]))),
            (None, Backing::Directory(path)) => Some(Some(BackingRule::Directories(vec![path]))),
            (Some(Some(BackingRule::Files(mut paths))), Backing::File(path)) => {
                paths.push(path);
                Some(Some(BackingRule::Files(paths)))
            }
            (Some(Some(BackingRule::Directories(mut paths))), Backing::Directory(path)) => {
                paths.push(path);
                Some(Some(BackingRule::Directories(paths)))
            }
            (Some(_), _) => {
                let text = "backing: another rule is given before; only file:PATH, or only dir:PATH, can be repeated";
                return Err(Failure::usage(text.to_owned()));
            }
        };
    }
    let rule = rule.flatten();
    rule.iter().try_for_each(BackingRule::validate)?;
    Ok(rule)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!((number::<u16>("65535"), number::<u32>("4294967295")), (Ok(65535), Ok(4294967295)));
        assert_eq!(number::<u16>("65536"), Err("not a number from 0 to 65535".to_owned()));
        for text in ["", "-1", "+1", "many", "4294967296", "1 "] {
            assert_eq!(number::<u32>(text), Err("not a number from 0 to 4294967295".to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("now"), Ok(Size::Now));
        for (text, bytes) in [("1", 1), ("512", 512), ("1K", 1024), ("8M", 8 << 20), ("3T", 3 << 40)] {
            assert_eq!(size(text), Ok(Size::Bytes(bytes)), "{text}");
        }
        for text in ["", "0", "3X", "K", "-1", "+1", "1 K", "1KK", "1k", "99999999999999999999"] {
            assert!(size(text).unwrap_err().contains("is no size"), "{text}");
        }
        assert!(size("16777216T").unwrap_err().contains("too large"));
        assert_eq!(size("16777215T"), Ok(Size::Bytes(16777215 << 40)));
    }

    #[test]
    fn limits() {
        for (text, limit) in [("0", (0, 0)), ("4096", (4096, 0)), ("1M,128K", (1 << 20, 1 << 17))] {
            assert_eq!(bandwidth(text), Ok(limit), "{text}");
        }
        for text in ["", "now", "1M,", "0,1", "1M,0", "1M,1M,1M", "-1"] {
            assert_eq!(bandwidth(text).is_ok(), text == "1M,", "{text}");
        }
        let of = |name: &str, value: Value| Ok((name.to_owned(), value));
        assert_eq!(limit("bps-total=2M"), of("bps-total", (2 << 20).into()));
        assert_eq!(limit("iops-read=0"), of("iops-read", 0.into()));
        assert_eq!(limit("group=7"), of("group", "7".into()));
        for text in ["bps-total", "bps-total=now", "bps-total=fast", "bps-total=-1"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn taps() {
        let given = |nic: &str, fds: &[i32]| GivenTap { nic: nic.to_owned(), fds: fds.to_vec() };
        assert_eq!(tap("lan=5"), Ok(given("lan", &[5])));
        assert_eq!(tap("lan=5,7"), Ok(given("lan", &[5, 7])));
        for text in ["", "lan", "lan=", "=5", "lan=5,", "lan=-1", "lan=x"] {
            assert!(tap(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets() {
        let file = SecretFile { name: "key".to_owned(), path: "/run/a=b".to_owned() };
        assert_eq!(secret("key=/run/a=b"), Ok(file.clone()));
        assert_eq!(secret_of("data:key=/run/a=b"), Ok(("data".to_owned(), file)));
        for text in ["", "key", "key=", "=/run/a", "data:", "data:key", ":key=a"] {
            assert!(secret(text).is_err() || secret_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn world_wide_names() {
        assert_eq!(wwn("0x5000c50015ea71aa"), Ok(0x5000_c500_15ea_71aa));
        assert_eq!(wwn("17"), Ok(17));
        for text in ["none", "", "0x", "-1", "+1", "0x+1", "0x10000000000000000"] {
            assert!(wwn(text).is_err(), "{text}");
        }
    }

    #[test]
    fn where_a_migration_comes_from() {
        assert_eq!(incoming("defer"), Ok(From::Defer));
        assert_eq!(incoming("tcp:[::1]:4444"), Ok(From::Tcp("[::1]:4444".into())));
        assert_eq!(incoming("unix:/a:b"), Ok(From::Unix("/a:b".into())));
        assert!(incoming("somewhere").is_err() && incoming("fd:3").is_err());
    }

    #[test]
    fn rules_for_backing_files() {
        let read = |texts: &[&str]| rule(texts.iter().map(|text| backing(text).unwrap()).collect());
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["default"]).unwrap(), None);
        assert_eq!(read(&["forbidden"]).unwrap(), Some(BackingRule::Forbidden));
        let files = BackingRule::Files(vec!["/a".into(), "/b:c".into()]);
        assert_eq!(read(&["file:/a", "file:/b:c"]).unwrap(), Some(files));
        for two in [["file:/a", "dir:/b"], ["forbidden", "own-directory"], ["default", "forbidden"]] {
            assert!(read(&two).unwrap_err().message().contains("another rule"), "{two:?}");
        }
        assert!(read(&["dir:relative"]).is_err());
        assert!(backing("somewhere").is_err() && backing("files:/a").is_err());
    }
}
