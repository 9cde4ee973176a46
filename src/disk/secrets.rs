//! Secrets that callers give with a request: a passphrase, a key or a password. They are in memory alone, and
//! no error, log or record has them.

use std::fmt;
use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result, errno};
use crate::sanitize::readable;

/// The longest secret, in bytes.
pub const MOST_BYTES: usize = 16384;

/// The bytes of a secret, written over when they are not needed any more.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Refuses an empty one, which nobody means, and one that is too long.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        match bytes.len() {
            0 => Err(Error::invalid("the secret is empty")),
            1..=MOST_BYTES => Ok(Self(bytes.to_vec())),
            length => {
                let text = format!("the secret has {length} bytes, at most {MOST_BYTES} are allowed");
                Err(Error::invalid(text).with_errno(errno::E2BIG))
            }
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds them to the arguments of `object-add`. QEMU takes text of JSON alone, so bytes are encoded.
    pub fn add_to(&self, arguments: &mut Map<String, Value>) {
        arguments.insert("format".into(), "base64".into());
        arguments.insert("data".into(), STANDARD.encode(&self.0).into());
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // So that the compiler does not leave the writing out.
        black_box(&self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The secrets of one request, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(Vec<(String, Secret)>);

impl Secrets {
    /// Refuses a name that is there already.
    pub fn add(&mut self, name: String, secret: Secret) -> Result<()> {
        let at = self.0.partition_point(|(other, _)| *other < name);
        if self.get(&name).is_some() {
            return Err(Error::invalid(format!("secret {} is given twice", readable(&name))));
        }
        self.0.insert(at, (name, secret));
        Ok(())
    }

    /// The secret of this name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, secret)| secret)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// A secret as JSON has it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SecretText {
    /// The text itself.
    Text(String),
    /// Its bytes.
    Base64(String),
}

impl Secrets {
    /// Those of a JSON object: by name, each an object with `text` or `base64`. Errors say nothing of what is
    /// in it.
    pub fn of_json(members: Map<String, Value>) -> Result<Self> {
        let mut secrets = Self::default();
        for (name, value) in members {
            let refuse = |why: &str| Error::invalid(format!("secret {}: {why}", readable(&name)));
            let form = r#"it is an object {"text": TEXT} or {"base64": TEXT}"#;
            let secret = match serde_json::from_value(value).map_err(|_| refuse(form))? {
                SecretText::Text(text) => Secret::new(text.as_bytes()),
                SecretText::Base64(text) => {
                    Secret::new(&STANDARD.decode(text).map_err(|_| refuse("this is no base64"))?)
                }
            };
            let secret = secret.map_err(|error| error.context(format!("secret {}", readable(&name))))?;
            secrets.add(name, secret)?;
        }
        Ok(secrets)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_shows_itself_to_qemu_alone() {
        let secret = Secret::new(b"pass\xff").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret");
        let mut arguments = Map::new();
        secret.add_to(&mut arguments);
        assert_eq!(Value::from(arguments), json!({"format": "base64", "data": "cGFzc/8="}));
        assert!(Secret::new(b"").is_err());
        assert_eq!(Secret::new(&[7; MOST_BYTES + 1]).unwrap_err().errno(), errno::E2BIG);
    }

    #[test]
    fn json_has_texts_or_bytes() {
        let of = |value: Value| Secrets::of_json(value.as_object().unwrap().clone());
        let both = of(json!({"key": {"text": "pass"}, "a": {"base64": "/w=="}})).unwrap();
        assert_eq!(both.names().collect::<Vec<_>>(), ["a", "key"]);
        assert_eq!(both.get("key").unwrap().bytes(), b"pass");
        assert_eq!(both.get("a").unwrap().bytes(), [255]);
        for (value, says) in [
            (json!("hidden"), "secret key: it is an object"),
            (json!({"file": "hidden"}), "secret key: it is an object"),
            (json!({"base64": "hidden!"}), "secret key: this is no base64"),
            (json!({"text": ""}), "secret key: the secret is empty"),
        ] {
            let error = of(json!({ "key": value })).unwrap_err();
            assert!(error.message().contains(says) && !error.message().contains("hidden"), "{error}");
        }
        let mut twice = both;
        assert!(twice.add("key".into(), Secret::new(b"x").unwrap()).is_err());
    }
}
