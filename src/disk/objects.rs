//! QOM objects that the nodes of a described source name, and that are made for its disk: secrets, and
//! credentials for TLS. The record has their names, and nothing of what a secret is.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::description::Description;
use super::path;
use super::secrets::Secrets;
use crate::error::{Error, Result, errno};
use crate::ids::{BackendName, DeviceId, MAX_ID};
use crate::sanitize::readable;
use crate::sorted::object;

/// QEMU's type of a secret.
pub const SECRET: &str = "secret";

/// How QEMU's types of credentials for TLS begin.
pub const TLS_CREDS: &str = "tls-creds-";

/// How members of nodes that name a secret end, as `key-secret` and `password-secret` do.
const SECRET_MEMBER: &str = "-secret";

/// The member of nodes that names credentials.
const TLS_MEMBER: &str = "tls-creds";

/// The member of credentials that names a secret.
const PASSWORD: &str = "passwordid";

/// What the library itself calls other objects of a disk.
const TAKEN: &[&str] = &["iothread", "limits"];

/// The most secrets, and the most credentials, of one disk.
pub const MOST_OBJECTS: usize = 16;

/// The longest text of credentials, in bytes.
const MOST_BYTES: usize = 8192;

/// What credentials may say besides their type.
const TLS_MEMBERS: &[&str] = &["dir", PASSWORD, "priority", "username", "verify-peer"];

/// Those that one type has.
const OF_ONE_TYPE: &[(&str, &str)] = &[(PASSWORD, "tls-creds-x509"), ("username", "tls-creds-psk")];

/// Their types.
const TLS_TYPES: &[&str] = &["tls-creds-anon", "tls-creds-psk", "tls-creds-x509"];

/// The objects of one source, by the names that its nodes have for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceObjects {
    /// The secrets, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    /// Credentials for TLS, as QEMU's `object-add` takes them, without id and endpoint.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    tls_creds: Map<String, Value>,
}

impl SourceObjects {
    /// Those of a request; none if it has none.
    pub fn new(secrets: &Secrets, tls_creds: Map<String, Value>) -> Option<Box<Self>> {
        let objects = Self { secrets: secrets.names().map(str::to_owned).collect(), tls_creds };
        (objects != Self::default()).then(|| Box::new(objects))
    }

    /// The credentials in a JSON text.
    pub fn parse_tls(text: &str) -> Result<Map<String, Value>> {
        if text.len() > MOST_BYTES {
            let text = format!("tls_creds has {} bytes, at most {MOST_BYTES} are read", text.len());
            return Err(Error::invalid(text).with_errno(errno::E2BIG));
        }
        serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("tls_creds is no JSON object: {error}")))
    }

    /// The id in QEMU of an object of this disk.
    pub fn id_of(disk: &DeviceId, name: &str) -> BackendName {
        BackendName::of_helper(disk, name)
    }

    /// The names of the secrets.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// The credentials by their names.
    pub fn tls_creds(&self) -> &Map<String, Value> {
        &self.tls_creds
    }

    fn has(&self, name: &str) -> bool {
        self.secrets.iter().any(|own| own == name) || self.tls_creds.contains_key(name)
    }

    /// Refuses names that QEMU does not take, credentials that say what they may not, and objects that
    /// nothing names: their names are misspelled.
    pub(super) fn check(&self, source: Option<&Description>) -> Result<()> {
        let Some(source) = source else {
            return Err(Error::invalid(
                "secrets and tls_creds are for the nodes of a source, and the disk has a path; describe a source",
            ));
        };
        if self.secrets.len().max(self.tls_creds.len()) > MOST_OBJECTS {
            return Err(Error::invalid(format!("at most {MOST_OBJECTS} secrets and tls_creds are allowed")));
        }
        for name in self.secrets.iter().chain(self.tls_creds.keys()) {
            check_name(name).map_err(|error| error.context("the name of a secret or of tls_creds"))?;
        }
        if let Some(twice) = self.secrets.iter().find(|name| self.tls_creds.contains_key(*name)) {
            return Err(Error::invalid(format!("{twice} is the name of a secret and of tls_creds")));
        }
        for (name, value) in &self.tls_creds {
            check_tls(value).map_err(|error| error.context(format!("tls_creds {name}")))?;
        }
        let mut named = names_in(&source.to_value());
        named.extend(self.tls_creds.values().filter_map(|one| Some(one.get(PASSWORD)?.as_str()?.to_owned())));
        let unused = self.secrets.iter().chain(self.tls_creds.keys()).find(|name| !named.contains(*name));
        match unused {
            Some(name) => Err(Error::invalid(format!(
                "{name} is given, and no node of the source names it; name it in a member such as key-secret or tls-creds"
            ))),
            None => Ok(()),
        }
    }

    /// What each is called in QEMU, with its type and properties, in the order in which they are made.
    pub fn made(&self, disk: &DeviceId) -> Vec<(BackendName, Map<String, Value>)> {
        let secret = |name: &String| (Self::id_of(disk, name), object([("qom-type", SECRET.into())]));
        let tls = |(name, value): (&String, &Value)| {
            let mut arguments = value.as_object().cloned().unwrap_or_default();
            arguments.insert("endpoint".into(), "client".into());
            if let Some(Value::String(password)) = arguments.get_mut(PASSWORD) {
                self.rename(disk, password);
            }
            (Self::id_of(disk, name), arguments)
        };
        self.secrets.iter().map(secret).chain(self.tls_creds.iter().map(tls)).collect()
    }

    /// Puts the ids in QEMU in place of the names that nodes have for these objects. What has another name is
    /// an object that QEMU has already.
    pub(super) fn rename_in(&self, disk: &DeviceId, value: &mut Value) {
        each_name(value, &mut |name| self.rename(disk, name));
    }

    fn rename(&self, disk: &DeviceId, name: &mut String) {
        if self.has(name) {
            *name = Self::id_of(disk, name).to_string();
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    DeviceId::parse(name).map_err(|_| {
        Error::invalid(format!(
            "{}: it has 1 to {MAX_ID} characters: a letter, then letters, digits, '-', '.' and '_'",
            readable(name)
        ))
    })?;
    match TAKEN.contains(&name) {
        true => Err(Error::invalid(format!("{name}: the library calls another object so; take another one"))),
        false => Ok(()),
    }
}

fn check_tls(value: &Value) -> Result<()> {
    let refuse = |why: String| Err(Error::invalid(why));
    let Value::Object(members) = value else { return refuse("they are no JSON object".to_owned()) };
    let kind = members.get("qom-type").and_then(Value::as_str).unwrap_or_default();
    if !TLS_TYPES.contains(&kind) {
        return refuse(format!("qom-type is one of {}", TLS_TYPES.join(", ")));
    }
    for (name, value) in members.iter().filter(|(name, _)| *name != "qom-type") {
        let fits = match value {
            Value::Bool(_) => name == "verify-peer",
            Value::String(text) => name != "verify-peer" && !text.chars().any(char::is_control),
            _ => false,
        };
        if !TLS_MEMBERS.contains(&name.as_str()) {
            return refuse(format!("{} is none of {}", readable(name), TLS_MEMBERS.join(", ")));
        }
        if let Some((_, only)) = OF_ONE_TYPE.iter().find(|(one, only)| name == one && kind != *only) {
            return refuse(format!("{name} is for {only}"));
        }
        if !fits {
            return refuse(format!(
                "{name} has to be {}",
                if name == "verify-peer" { "true or false" } else { "a text" }
            ));
        }
    }
    match members.get("dir").and_then(Value::as_str) {
        Some(dir) => path::check(Path::new(dir)),
        None if kind == "tls-creds-anon" => Ok(()),
        None => refuse("dir is missing: the directory with the keys and certificates".to_owned()),
    }
}

fn names_in(value: &Value) -> Vec<String> {
    let mut names = Vec::new();
    each_name(&mut value.clone(), &mut |name| names.push(name.clone()));
    names
}

/// Every text in a node, or below it, that names an object.
fn each_name(value: &mut Value, use_name: &mut impl FnMut(&mut String)) {
    let Value::Object(members) = value else { return };
    for (member, value) in members.iter_mut() {
        match value {
            Value::String(name) if member == TLS_MEMBER || member.ends_with(SECRET_MEMBER) => use_name(name),
            value => each_name(value, use_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::secrets::Secret;
    use super::*;

    fn source() -> Description {
        let nbd = json!({"driver": "nbd", "server": {"type": "unix", "path": "/a"}, "tls-creds": "tls"});
        let encrypt = json!({"format": "luks", "key-secret": "key"});
        Description::parse(&json!({"driver": "qcow2", "encrypt": encrypt, "file": nbd}).to_string()).unwrap()
    }

    fn objects(secrets: &[&str], tls: Value) -> SourceObjects {
        let mut given = Secrets::default();
        secrets.iter().for_each(|name| given.add((*name).to_owned(), Secret::new(b"x").unwrap()).unwrap());
        *SourceObjects::new(&given, tls.as_object().unwrap().clone()).unwrap()
    }

    fn x509() -> Value {
        json!({"tls": {"qom-type": "tls-creds-x509", "dir": "/etc/keys", "passwordid": "password"}})
    }

    #[test]
    fn nodes_get_the_ids_of_the_disk() {
        let objects = objects(&["password", "key"], x509());
        objects.check(Some(&source())).unwrap();
        let disk = DeviceId::parse("data").unwrap();
        let mut node = source().to_value();
        objects.rename_in(&disk, &mut node);
        assert_eq!(node["encrypt"]["key-secret"], "data-key");
        assert_eq!(node["file"]["tls-creds"], "data-tls");
        assert_eq!(node["encrypt"]["format"], "luks");
        let made: Vec<_> =
            objects.made(&disk).into_iter().map(|(id, made)| (id.to_string(), Value::from(made))).collect();
        let tls = json!({
            "qom-type": "tls-creds-x509", "dir": "/etc/keys", "passwordid": "data-password", "endpoint": "client",
        });
        let secret = || json!({"qom-type": "secret"});
        let expected = [("data-key", secret()), ("data-password", secret()), ("data-tls", tls)];
        assert_eq!(made, expected.map(|(id, made)| (id.to_owned(), made)));
        let text = serde_json::to_string(&objects).unwrap();
        assert!(text.starts_with(r#"{"secrets":["key","password"],"tls-creds":{"tls":{"#), "{text}");
        assert_eq!(serde_json::from_str::<SourceObjects>(&text).unwrap(), objects);
    }

    #[test]
    fn what_qemu_has_already_keeps_its_name() {
        let objects = objects(&["key"], json!({}));
        objects.check(Some(&source())).unwrap();
        let mut node = source().to_value();
        objects.rename_in(&DeviceId::parse("data").unwrap(), &mut node);
        assert_eq!(node["file"]["tls-creds"], "tls");
    }

    #[test]
    fn what_is_refused_is_named() {
        let tls = |value: Value| json!({"tls": value});
        let psk_with = |name: &str, value: Value| {
            let mut members = object([("qom-type", "tls-creds-psk".into()), ("dir", "/a".into())]);
            members.insert(name.to_owned(), value);
            tls(members.into())
        };
        for (secrets, tls, says) in [
            (&["other"][..], json!({}), "other is given, and no node of the source names it"),
            (&["password"], json!({}), "password is given, and no node"),
            (&["key", "password"], json!({"more": x509()["tls"]}), "more is given"),
            (&["7"], json!({}), "the name of a secret or of tls_creds: 7: it has 1 to 31"),
            (&["limits"], json!({}), "limits: the library calls another object so"),
            (&["tls"], x509(), "tls is the name of a secret and of tls_creds"),
            (&["key"], tls(json!("x")), "tls_creds tls: they are no JSON object"),
            (&["key"], tls(json!({"qom-type": "secret"})), "qom-type is one of tls-creds-anon"),
            (&["key"], tls(json!({"qom-type": "tls-creds-x509"})), "dir is missing"),
            (&["key"], psk_with("dir", "a".into()), "must be absolute"),
            (&["key"], psk_with("endpoint", "server".into()), "endpoint is none of dir, passwordid"),
            (&["key"], psk_with("id", "x".into()), "id is none of"),
            (&["key"], psk_with("verify-peer", "on".into()), "verify-peer has to be true or false"),
            (&["key"], psk_with("username", "a\n".into()), "username has to be a text"),
            (&["key"], psk_with("passwordid", "key".into()), "passwordid is for tls-creds-x509"),
        ] {
            let error = objects(secrets, tls).check(Some(&source())).unwrap_err();
            assert!(error.message().contains(says), "{error} lacks {says:?}");
        }
        assert!(
            objects(&["key"], json!({})).check(None).unwrap_err().message().contains("describe a source")
        );
    }
}
