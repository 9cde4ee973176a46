//! The chain of an image as it was when the disk was added: which files, in which formats. Whoever may write
//! to an image can write another name into its header later on, a guest that has taken QEMU over included, so
//! nothing else is opened for it.
//!
//! Inode and device numbers say which file it is, but only to the host that gave them, and until that host
//! boots again: on another host, or after a boot, the numbers are others, also of a copy or of storage that
//! is shared. So the chain remembers under which boot it was recorded. Elsewhere it goes by path and format,
//! and a file whose path is another one there has to lie where the disk's rule allows it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::format::Format;
use super::identity::Identity;
use super::look::Look;
use crate::error::{Error, ErrorKind, Result};

/// Most layers one image may have, itself included.
pub const MAX_LAYERS: usize = 16;

/// What the device mapper allows for a UUID, in bytes.
const MAX_VOLUME: usize = 128;

/// The files of one image, as they were recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Which boot of which host gave the numbers; `None` where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The image itself first.
    pub layers: Vec<ChainLayer>,
}

/// One file of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLayer {
    /// The path by which it was found: the caller's for the image itself, else what follows from the image
    /// above.
    pub path: PathBuf,
    /// The same without links, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    real: Option<PathBuf>,
    /// Its format.
    pub format: Format,
    /// Which file it is.
    pub identity: Identity,
    /// UUID of a device mapper's volume, which it keeps when it gets another device number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume: Option<String>,
}

/// Who says that a file found is one to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// It is the one that was recorded.
    ByRecord,
    /// Nobody yet.
    ByNobody,
}

impl ChainLayer {
    /// What was found.
    pub fn of(look: &Look, path: &Path, format: Format) -> Self {
        let real = (look.real != path).then(|| look.real.clone());
        Self { path: path.to_owned(), real, format, identity: look.identity, volume: look.volume() }
    }

    /// Its path without links.
    pub fn real(&self) -> &Path {
        self.real.as_deref().unwrap_or(&self.path)
    }

    /// Whether both are one file of one host.
    fn is(&self, other: &Self) -> bool {
        let same_name = self.real() == other.real();
        match ((&self.volume, &other.volume), (self.identity, other.identity)) {
            ((Some(one), Some(other)), _) => one == other,
            // A file system that was mounted anew may have another device number; nobody but root does that.
            (_, (Identity::File { inode: one, .. }, Identity::File { inode: two, .. })) if same_name => {
                one == two
            }
            (_, (one, two)) => one == two,
        }
    }
}

impl std::fmt::Display for ChainLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.path)?;
        if let Some(real) = &self.real {
            write!(f, " (which is {real:?})")?;
        }
        write!(f, ", {}, {}", self.format.as_str(), self.identity)?;
        self.volume.as_ref().map_or(Ok(()), |volume| write!(f, ", volume {volume:?}"))
    }
}

impl Chain {
    /// Refuses what no chain could be.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::new(ErrorKind::Format, format!("chain: {what}")));
        if self.layers.is_empty() || self.layers.len() > MAX_LAYERS {
            return bad("1 to 16 layers");
        }
        let paths = || self.layers.iter().flat_map(|layer| [layer.path.as_path(), layer.real()]);
        if !paths().all(|path| path.is_absolute()) {
            return bad("a path that is not absolute");
        }
        let long = |volume: &String| volume.len() > MAX_VOLUME;
        if self.layers.iter().any(|layer| layer.volume.as_ref().is_some_and(long)) {
            return bad("a volume that is none");
        }
        Ok(())
    }

    /// The path of the image itself.
    pub fn top(&self) -> Option<&Path> {
        self.layers.first().map(|layer| layer.path.as_path())
    }

    /// Before anything is looked at: whether this is where the layer was.
    pub fn check_name(&self, index: usize, path: &Path) -> Result<()> {
        match self.layers.get(index) {
            Some(recorded) if recorded.path == path => Ok(()),
            Some(recorded) => Err(differs(index, recorded, format!("{path:?}"))),
            None => Err(refused(format!(
                "its header names {path:?} as a backing file, and {} layers were recorded, the last of them {:?}",
                self.layers.len(),
                self.layers.last().map_or(Path::new(""), |layer| &layer.path)
            ))),
        }
    }

    /// Before it is opened: whether what was found is what was recorded, under the boot `boot`.
    pub fn check_layer(&self, index: usize, found: &ChainLayer, boot: Option<&str>) -> Result<Vouched> {
        self.check_name(index, &found.path)?;
        let Some(recorded) = self.layers.get(index) else { return Ok(Vouched::ByNobody) };
        let differs = || Err(differs(index, recorded, found.to_string()));
        if recorded.format != found.format {
            return differs();
        }
        if self.boot.as_deref() == boot {
            return if recorded.is(found) { Ok(Vouched::ByRecord) } else { differs() };
        }
        match (recorded.identity, found.identity) {
            // A device node gets its number, and often the end of its path, anew with each boot.
            (Identity::Device(_), Identity::Device(_)) => Ok(Vouched::ByRecord),
            (Identity::File { .. }, Identity::File { .. }) if recorded.real() == found.real() => {
                Ok(Vouched::ByRecord)
            }
            // What the caller names may lead elsewhere only when the caller says so.
            (Identity::File { .. }, Identity::File { .. }) if index > 0 => Ok(Vouched::ByNobody),
            _ => differs(),
        }
    }

    /// After the last layer that the headers name: whether there were more.
    pub fn check_end(&self, found: usize) -> Result<()> {
        match self.layers.get(found) {
            None => Ok(()),
            Some(missing) => Err(refused(format!(
                "its headers name no backing file beneath layer {}, and {:?} was recorded there",
                found.saturating_sub(1),
                missing.path
            ))),
        }
    }
}

fn differs(index: usize, recorded: &ChainLayer, found: String) -> Error {
    let what =
        if index == 0 { "the image itself".to_owned() } else { format!("layer {index}, a backing file,") };
    refused(format!("{what} is {found} now, and {recorded} was recorded"))
}

fn refused(what: String) -> Error {
    let text = format!(
        "its chain is not the one that was recorded: {what}; nothing of it is opened. If the change was meant, have the chain of \
         this disk accepted anew"
    );
    Error::new(ErrorKind::ImageRefused, text)
}

/// Which boot of which host this is.
pub fn this_boot() -> Option<String> {
    let mut buffer = [0; 64];
    let count =
        File::open("/proc/sys/kernel/random/boot_id").and_then(|mut file| file.read(&mut buffer)).ok()?;
    let text = std::str::from_utf8(buffer.get(..count)?).ok()?;
    Some(text.trim_end().to_owned()).filter(|boot| !boot.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, inode: u64) -> ChainLayer {
        let identity = Identity::File { device: 1, inode };
        ChainLayer { path: path.into(), real: None, format: Format::Qcow2, identity, volume: None }
    }

    fn device(path: &str, number: u64, volume: Option<&str>) -> ChainLayer {
        ChainLayer { identity: Identity::Device(number), volume: volume.map(str::to_owned), ..file(path, 0) }
    }

    fn chain(layers: &[ChainLayer]) -> Chain {
        Chain { boot: Some("here".to_owned()), layers: layers.to_vec() }
    }

    fn judge(chain: &Chain, index: usize, found: &ChainLayer, boot: &str) -> Option<Vouched> {
        let judged = chain.check_layer(index, found, Some(boot));
        if let Err(error) = &judged {
            assert_eq!(error.kind(), ErrorKind::ImageRefused);
            assert!(
                error.message().contains("was recorded") || error.message().contains("were recorded"),
                "{error}"
            );
        }
        judged.ok()
    }

    #[test]
    fn in_one_boot_it_goes_by_the_file() {
        let recorded = chain(&[file("/a", 1), file("/b", 2)]);
        let same = Some(Vouched::ByRecord);
        assert_eq!(judge(&recorded, 1, &file("/b", 2), "here"), same);
        assert_eq!(judge(&recorded, 1, &file("/b", 3), "here"), None);
        assert_eq!(judge(&recorded, 1, &file("/c", 2), "here"), None);
        assert_eq!(judge(&recorded, 2, &file("/c", 3), "here"), None);
        let raw = ChainLayer { format: Format::Raw, ..file("/b", 2) };
        assert_eq!(judge(&recorded, 1, &raw, "here"), None);
        let elsewhere = ChainLayer { real: Some("/etc/shadow".into()), ..file("/b", 9) };
        assert_eq!(judge(&recorded, 1, &elsewhere, "here"), None);
        assert_eq!(judge(&recorded, 1, &device("/b", 2, None), "here"), None);
        let mounted_anew = ChainLayer { identity: Identity::File { device: 7, inode: 2 }, ..file("/b", 2) };
        assert_eq!(judge(&recorded, 1, &mounted_anew, "here"), same);
    }

    #[test]
    fn in_another_boot_it_goes_by_path_and_format() {
        let recorded = chain(&[file("/a", 1), file("/b", 2)]);
        assert_eq!(judge(&recorded, 1, &file("/b", 3), "there"), Some(Vouched::ByRecord));
        assert_eq!(judge(&recorded, 1, &file("/c", 2), "there"), None);
        let elsewhere = |path| ChainLayer { real: Some("/etc/shadow".into()), ..file(path, 9) };
        assert_eq!(judge(&recorded, 0, &elsewhere("/a"), "there"), None);
        assert_eq!(judge(&recorded, 1, &elsewhere("/b"), "there"), Some(Vouched::ByNobody));
        assert_eq!(judge(&recorded, 1, &device("/b", 2, None), "there"), None);
    }

    #[test]
    fn a_volume_may_get_another_number() {
        let recorded = chain(&[device("/dev/vg/a", 1, Some("LVM-a")), device("/dev/b", 2, None)]);
        assert_eq!(
            judge(&recorded, 0, &device("/dev/vg/a", 9, Some("LVM-a")), "here"),
            Some(Vouched::ByRecord)
        );
        assert_eq!(judge(&recorded, 0, &device("/dev/vg/a", 1, Some("LVM-b")), "here"), None);
        assert_eq!(judge(&recorded, 1, &device("/dev/b", 9, None), "here"), None);
        assert_eq!(judge(&recorded, 1, &device("/dev/b", 9, None), "there"), Some(Vouched::ByRecord));
    }

    #[test]
    fn the_end() {
        let recorded = chain(&[file("/a", 1), file("/b", 2)]);
        assert!(recorded.check_end(2).is_ok());
        assert!(recorded.check_end(1).unwrap_err().message().contains("\"/b\" was recorded there"));
    }

    #[test]
    fn written_and_read() {
        let layer = ChainLayer {
            real: Some("/dev/dm-3".into()),
            ..device("/dev/vg/a", libc::makedev(253, 3), Some("LVM-a"))
        };
        let chain = chain(&[layer, ChainLayer { format: Format::Raw, ..file("/b", 77) }]);
        let text = serde_json::to_string(&chain).unwrap();
        assert!(
            text.contains(r#""identity":"device 253:3""#) && text.contains(r#""identity":"file 0:1 77""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Chain>(&text).unwrap(), chain);
        for bad in
            ["", "device", "device 1", "device 1:2 3", "file 1:2", "file 1:x 3", "socket 1:2", "file 1:2 3 4"]
        {
            assert!(serde_json::from_value::<Identity>(bad.into()).is_err(), "{bad}");
        }
        assert!(Chain { boot: None, layers: Vec::new() }.check().is_err());
    }
}
