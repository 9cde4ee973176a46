//! The name of a backing file as an image has it, and which local file that is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::format::Format;
use super::qcow2::Backing;
use crate::error::{Error, ErrorKind, Result};

/// QEMU's drivers for files and block devices of the host; each is the prefix of names, too.
const LOCAL: [&str; 2] = ["file", "host_device"];

/// What a backing name comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Where the file is.
    pub(super) path: PathBuf,
    /// Its format, when it is recorded.
    pub(super) format: Option<Format>,
}

/// Resolves the name as QEMU does: relative to the directory of the image that has it.
pub(super) fn resolve(referring: &Path, backing: &Backing) -> Result<Named> {
    let recorded = backing.format.as_deref().map(format).transpose()?;
    // Records are JSON.
    let Some(name) = backing.name.to_str() else {
        return Err(Error::invalid(
            "the name is not UTF-8; rename the file, and record it with qemu-img rebase -u",
        ));
    };
    if let Some(json) = name.strip_prefix("json:") {
        let named = in_json(json)?;
        return match (named.format, recorded) {
            (Some(one), Some(other)) if one != other => Err(Error::invalid(format!(
                "its format is {} in the name and {} in the header; record it with qemu-img rebase -u -b FILE -F FORMAT",
                one.as_str(),
                other.as_str()
            ))),
            (one, other) => Ok(Named { format: one.or(other), ..named }),
        };
    }
    let path = match name.split_once(':') {
        // QEMU takes "file:" off, and what is not absolute then is relative to its own working directory.
        Some((driver, path)) if LOCAL.contains(&driver) && path.starts_with('/') => PathBuf::from(path),
        Some((protocol, _)) if !protocol.contains('/') => {
            return Err(Error::new(
                ErrorKind::NotHotpluggable,
                "it goes through a QEMU protocol, only plain files and block devices are supported; \
                 for a file with a colon in its name write ./ before it",
            ));
        }
        _ => referring.parent().unwrap_or(Path::new("/")).join(OsStr::new(name)),
    };
    Ok(Named { path, format: recorded })
}

fn format(name: &str) -> Result<Format> {
    match name {
        "raw" => Ok(Format::Raw),
        "qcow2" => Ok(Format::Qcow2),
        other => Err(Error::new(
            ErrorKind::NotHotpluggable,
            format!("its format {other:?} is not supported, only raw and qcow2 are"),
        )),
    }
}

/// A name such as `json:{"driver":"qcow2","file":{"driver":"file","filename":"/srv/base.qcow2"}}`, in which
/// QEMU takes any option there is. One that names a plain file and its format is taken.
fn in_json(text: &str) -> Result<Named> {
    let malformed =
        |error| Error::new(ErrorKind::Format, format!("what follows \"json:\" is not JSON: {error}"));
    let object: Map<String, Value> = serde_json::from_str(text).map_err(malformed)?;
    let mut members = Members::default();
    members.read("", &object)?;
    let Members { driver, protocol, filename } = members;
    let (format_name, protocol) = match (driver, protocol) {
        // The driver of the file alone: the header has the format.
        (Some(driver), None) if LOCAL.contains(&driver.as_str()) => (None, Some(driver)),
        other => other,
    };
    if let Some(other) = protocol.filter(|protocol| !LOCAL.contains(&protocol.as_str())) {
        return Err(Error::new(
            ErrorKind::NotHotpluggable,
            format!(
                "it goes through QEMU's driver {other:?}, only plain files and block devices are supported"
            ),
        ));
    }
    let format = format_name.as_deref().map(format).transpose()?;
    match filename {
        Some(name) if name.starts_with('/') && !name.contains('\0') => {
            Ok(Named { path: name.into(), format })
        }
        Some(name) => Err(Error::invalid(format!(
            "its file name {name:?} is not absolute, and QEMU would take it relative to its own working directory"
        ))),
        None => {
            Err(Error::new(ErrorKind::NotHotpluggable, "it names no \"filename\", as a plain file has one"))
        }
    }
}

/// The members that a plain file needs.
#[derive(Default)]
struct Members {
    driver: Option<String>,
    protocol: Option<String>,
    filename: Option<String>,
}

impl Members {
    /// QEMU reads `{"file": {"driver": …}}` and `{"file.driver": …}` alike.
    fn read(&mut self, prefix: &str, object: &Map<String, Value>) -> Result<()> {
        for (key, value) in object {
            let key = format!("{prefix}{key}");
            let place = match (key.as_str(), value) {
                ("file", Value::Object(inner)) => {
                    self.read("file.", inner)?;
                    continue;
                }
                ("driver", Value::String(_)) => &mut self.driver,
                ("file.driver", Value::String(_)) => &mut self.protocol,
                ("filename" | "file.filename", Value::String(_)) => &mut self.filename,
                _ => {
                    return Err(Error::new(
                        ErrorKind::NotHotpluggable,
                        format!(
                            "it sets {key:?}, which is not supported; only \"driver\", and \"driver\" and \"filename\" of a \
                             plain file or block device, are"
                        ),
                    ));
                }
            };
            if place.replace(value.as_str().unwrap_or_default().to_owned()).is_some() {
                return Err(Error::invalid(format!("it sets {key:?} twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, format: Option<&str>) -> Result<Named> {
        let backing = Backing { name: name.into(), format: format.map(str::to_owned) };
        resolve(Path::new("/srv/a/top.qcow2"), &backing)
    }

    fn assert_path(name: &str, format: Option<&str>, path: &str, expected: Option<Format>) {
        assert_eq!(named(name, format).unwrap(), Named { path: path.into(), format: expected }, "{name}");
    }

    #[test]
    fn plain_names() {
        let raw = Some(Format::Raw);
        assert_path("base.img", Some("raw"), "/srv/a/base.img", raw);
        assert_path("../b/base.img", Some("raw"), "/srv/a/../b/base.img", raw);
        assert_path("./a:b", None, "/srv/a/./a:b", None);
        assert_path("/x/a:b", None, "/x/a:b", None);
        assert_path("file:/x/base.img", Some("raw"), "/x/base.img", raw);
        assert_path("host_device:/dev/vg/base", Some("raw"), "/dev/vg/base", raw);
    }

    #[test]
    fn names_that_are_no_local_files() {
        for name in
            ["nbd://host/x", "rbd:pool/x", "file:x", "host_device:sda", "fat:/etc", "nbd:unix:/a", "a:b"]
        {
            let error = named(name, Some("raw")).unwrap_err();
            assert!(error.message().contains("QEMU protocol"), "{name}: {error}");
        }
        assert!(named("x", Some("vmdk")).unwrap_err().message().contains("\"vmdk\""));
    }

    #[test]
    fn json_that_names_a_plain_file() {
        let (raw, qcow2) = (Some(Format::Raw), Some(Format::Qcow2));
        for (json, format, expected) in [
            (r#"{"driver":"qcow2","file":{"driver":"file","filename":"/x"}}"#, None, qcow2),
            (r#"{"driver":"qcow2","file":{"driver":"file","filename":"/x"}}"#, Some("qcow2"), qcow2),
            (r#"{"driver":"raw","file":{"driver":"host_device","filename":"/x"}}"#, None, raw),
            (r#"{ "file.filename": "/x", "driver": "qcow2", "file.driver": "file" }"#, None, qcow2),
            (r#"{"driver":"file","filename":"/x"}"#, Some("raw"), raw),
            (r#"{"driver":"file","filename":"/x"}"#, None, None),
            (r#"{"driver":"qcow2","file":{"filename":"/x"}}"#, None, qcow2),
        ] {
            assert_path(&format!("json:{json}"), format, "/x", expected);
        }
    }

    #[test]
    fn json_that_does_not() {
        for (json, format, says) in [
            (r#"{"driver":"qcow2","file":{"driver":"nbd","host":"h"}}"#, None, "\"file.host\""),
            (r#"{"driver":"qcow2","file":{"driver":"ssh","filename":"/x"}}"#, None, "driver \"ssh\""),
            (r#"{"driver":"qcow2","file":"node7"}"#, None, "\"file\""),
            (r#"{"driver":"nbd","filename":"/x"}"#, None, "format \"nbd\""),
            (r#"{"driver":"qcow2","data-file":{"driver":"file","filename":"/y"}}"#, None, "\"data-file\""),
            (
                r#"{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"/x"}}"#,
                None,
                "\"backing\"",
            ),
            (r#"{"driver":"raw","offset":512,"file":{"driver":"file","filename":"/x"}}"#, None, "\"offset\""),
            (r#"{"driver":"qcow2","file":{"driver":"file","filename":"x"}}"#, None, "not absolute"),
            (r#"{"driver":"qcow2","file":{"driver":"file","filename":7}}"#, None, "\"file.filename\""),
            (r#"{"driver":"qcow2","file":{"driver":"file","filename":"/x"},"filename":"/y"}"#, None, "twice"),
            (r#"{"driver":"qcow2","file":{"driver":"file","filename":"/x"}}"#, Some("raw"), "in the name"),
            (r#"{"driver":"qcow2"}"#, None, "no \"filename\""),
            ("{", None, "not JSON"),
            ("[]", None, "not JSON"),
        ] {
            let error = named(&format!("json:{json}"), format).unwrap_err();
            assert!(error.message().contains(says), "{json}: {error} lacks {says:?}");
        }
    }
}
