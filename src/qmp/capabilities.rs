//! What a build of QEMU knows of device models, as a text that an agent keeps for all guests of that build.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Command;
use super::properties::Properties;
use super::wire::{Version, version};
use crate::error::{Error, Result};
use crate::ids::is_model_name;
use crate::sanitize::readable;
use crate::sorted;

/// What is known of each model that was asked about; none if QEMU does not have the model.
pub type Models = BTreeMap<String, Option<Arc<Properties>>>;

/// Which QEMU it is: builds of one version differ in what their packagers have left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    version: Version,
    /// As the packager named it; empty if nobody did.
    package: String,
}

/// What a build knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The build.
    pub build: Build,
    /// What it has said of device models.
    pub models: Models,
}

impl Build {
    /// The question which build it is.
    pub fn question() -> Command {
        Command::with("query-version", &[])
    }

    /// The answer to it.
    pub fn read(answer: &Value) -> Self {
        let package = answer.get("package").and_then(Value::as_str).unwrap_or_default();
        Self { version: version(answer.get("qemu")), package: readable(package) }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QEMU {}", self.version)?;
        match self.package.as_str() {
            "" => Ok(()),
            package => write!(f, " ({package})"),
        }
    }
}

impl Capabilities {
    /// As callers keep it.
    pub fn to_json(&self) -> Value {
        let Version { major, minor, micro } = self.build.version;
        let models = self.models.iter().map(|(name, known)| {
            let properties = known.as_ref().map(|known| {
                let texts = known.iter().map(|(name, kind)| (name.clone(), kind.as_str().into()));
                texts.collect::<Map<String, Value>>()
            });
            (name.clone(), properties.into())
        });
        json!({
            "qemu": {"major": major, "minor": minor, "micro": micro},
            "package": self.build.package,
            "models": models.collect::<Map<String, Value>>(),
        })
    }

    /// What such a text says.
    pub fn parse(text: &str) -> Result<Self> {
        let read: Value = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
        if read.get("qemu").is_none() {
            return Err(invalid("member qemu is missing"));
        }
        let models = read.get("models").and_then(Value::as_object);
        let models = models.ok_or_else(|| invalid("member models is no object"))?;
        let models = models.iter().map(|(name, known)| model(name, known)).collect::<Result<Vec<_>>>()?;
        Ok(Self { build: Build::read(&read), models: sorted::map(models) })
    }
}

fn model(name: &str, known: &Value) -> Result<(String, Option<Arc<Properties>>)> {
    let refuse = |why: &str| invalid(&format!("model {}: {why}", readable(name)));
    if !is_model_name(name) {
        return Err(refuse("this is no name of a model"));
    }
    let properties = match known {
        Value::Null => None,
        Value::Object(members) => {
            let texts = members.iter().map(|(name, kind)| Some((name.clone(), kind.as_str()?.to_owned())));
            let texts = texts.collect::<Option<Vec<_>>>().ok_or_else(|| refuse("a type is no text"))?;
            Some(Arc::new(sorted::map(texts)))
        }
        _ => return Err(refuse("its properties are no object")),
    };
    Ok((name.to_owned(), properties))
}

fn invalid(why: &str) -> Error {
    Error::invalid(format!("capabilities: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(build: &Value) -> Capabilities {
        let mac = sorted::map([("mac".to_owned(), "str".to_owned())]);
        let models = [("e1000".to_owned(), Some(Arc::new(mac))), ("igb".to_owned(), None)];
        Capabilities { build: Build::read(build), models: sorted::map(models) }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let qemu = json!({"major": 7, "minor": 2, "micro": 22});
        for build in [json!({"qemu": qemu, "package": "Debian 1:7.2"}), json!({"qemu": qemu, "package": ""})]
        {
            let kept = of(&build);
            let text = kept.to_json();
            assert_eq!(text["models"], json!({"e1000": {"mac": "str"}, "igb": null}));
            assert_eq!(Capabilities::parse(&text.to_string()).unwrap(), kept);
        }
    }

    #[test]
    fn builds_are_told_apart_by_version_and_package() {
        let build = |micro: u32, package: &str| {
            Build::read(&json!({"qemu": {"major": 7, "minor": 2, "micro": micro}, "package": package}))
        };
        assert_eq!(build(1, "Debian"), build(1, "Debian"));
        assert_ne!(build(1, "Debian"), build(2, "Debian"));
        assert_ne!(build(1, "Debian"), build(1, ""));
        assert_eq!(build(1, "Debian").to_string(), "QEMU 7.2.1 (Debian)");
        assert_eq!(build(1, "").to_string(), "QEMU 7.2.1");
    }

    #[test]
    fn what_is_no_such_text_is_refused_by_name() {
        for (text, why) in [
            ("", "capabilities: EOF"),
            ("[]", "member qemu is missing"),
            (r#"{"qemu": {}}"#, "member models is no object"),
            (r#"{"qemu": {}, "models": []}"#, "member models is no object"),
            (r#"{"qemu": {}, "models": {"a b": null}}"#, "model a b: this is no name of a model"),
            (r#"{"qemu": {}, "models": {"igb": 1}}"#, "model igb: its properties are no object"),
            (r#"{"qemu": {}, "models": {"igb": {"mac": 1}}}"#, "model igb: a type is no text"),
        ] {
            let error = Capabilities::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
