//! Sources of disks that are no path.

use kvm_hotplug::Error;
use kvm_hotplug::disk::description::common::{Luks, Nbd, Rbd};
use kvm_hotplug::disk::{Description, SourceObjects};
use kvm_hotplug::model::option;
use serde_json::{Map, Value};

/// What is read, or what is wrong with it.
type Read = std::result::Result<Description, String>;

/// The members of `text`, of which the first has this name and the others are among `known`.
struct Members(Vec<(String, String)>);

impl Members {
    fn read(text: &str, first: &str, known: &[&str]) -> std::result::Result<Self, String> {
        let all = option::read(text, first);
        match all.iter().position(|(name, _)| name != first && !known.contains(&name.as_str())) {
            None => Ok(Self(all)),
            Some(_) => Err(format!("besides the first, there are: {}", known.join(", "))),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn seconds(&self, name: &str) -> std::result::Result<u32, String> {
        self.text(name).map_or(Ok(0), super::values::number)
    }
}

fn said(error: Error) -> String {
    error.to_string()
}

pub(crate) fn source(text: &str) -> Read {
    Description::parse(text).map_err(said)
}

pub(crate) fn tls_creds(text: &str) -> std::result::Result<Map<String, Value>, String> {
    SourceObjects::parse_tls(text).map_err(said)
}

pub(crate) fn nbd(text: &str) -> Read {
    let known = ["export", "tls-creds", "tls-hostname", "reconnect-delay", "open-timeout"];
    let members = Members::read(text, "server", &known)?;
    let server = members.text("server").unwrap_or_default();
    let (socket, host, port) = match server.strip_prefix("unix:") {
        Some(path) => (Some(path), None, 0),
        None => match server.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => {
                (None, Some(host.trim_start_matches('[').trim_end_matches(']')), super::values::number(port)?)
            }
            _ => return Err("it does not begin with unix:PATH or HOST:PORT".to_owned()),
        },
    };
    let nbd = Nbd {
        socket,
        host,
        port,
        export: members.text("export"),
        tls_creds: members.text("tls-creds"),
        tls_hostname: members.text("tls-hostname"),
        reconnect_delay: members.seconds("reconnect-delay")?,
        open_timeout: members.seconds("open-timeout")?,
    };
    nbd.description().map_err(said)
}

pub(crate) fn rbd(text: &str) -> Read {
    let members = Members::read(text, "image", &["snapshot", "user", "conf", "key-secret"])?;
    let path: Vec<&str> = members.text("image").unwrap_or_default().split('/').collect();
    let (pool, namespace, image) = match path.as_slice() {
        [pool, image] => (*pool, None, *image),
        [pool, namespace, image] => (*pool, Some(*namespace), *image),
        _ => return Err("it does not begin with POOL/IMAGE or POOL/NAMESPACE/IMAGE".to_owned()),
    };
    let (snapshot, user, conf) = (members.text("snapshot"), members.text("user"), members.text("conf"));
    let key_secret = members.text("key-secret");
    Rbd { pool, namespace, image, snapshot, user, conf, key_secret }.description().map_err(said)
}

pub(crate) fn luks(text: &str) -> Read {
    let members = Members::read(text, "path", &["key-secret"])?;
    let (path, key_secret) = (members.text("path"), members.text("key-secret"));
    let luks = Luks { path: path.unwrap_or_default(), key_secret: key_secret.unwrap_or_default() };
    luks.description().map_err(said)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_behind_a_network() {
        let unix = nbd("unix:/run/a,,b.sock,export=x,reconnect-delay=5").unwrap().to_value();
        let server = json!({"type": "unix", "path": "/run/a,b.sock"});
        assert_eq!(unix, json!({"driver": "nbd", "server": server, "export": "x", "reconnect-delay": 5}));
        for (text, host) in [("[::1]:1234", "::1"), ("storage:1234", "storage")] {
            let server = json!({"type": "inet", "host": host, "port": "1234"});
            assert_eq!(nbd(text).unwrap().to_value(), json!({"driver": "nbd", "server": server}));
        }
        let image = rbd("vms/blue/web,user=admin,conf=/etc/ceph/a.conf,key-secret=k").unwrap().to_value();
        let expected = json!({"driver": "rbd", "pool": "vms", "namespace": "blue", "image": "web", "user": "admin",
            "conf": "/etc/ceph/a.conf", "key-secret": "k"});
        assert_eq!(image, expected);
        for wrong in
            ["", "unix:a", "storage", ":1", "storage:x", "storage:1,size=3", "storage:1,open-timeout=x"]
        {
            assert!(nbd(wrong).is_err(), "{wrong}");
        }
        assert!(rbd("web").is_err() && rbd("vms/web,size=1").is_err());
    }

    #[test]
    fn encrypted_files() {
        let file = json!({"driver": "file", "filename": "/srv/a"});
        let expected = json!({"driver": "luks", "key-secret": "key", "file": file});
        assert_eq!(luks("/srv/a,key-secret=key").unwrap().to_value(), expected);
        assert!(luks("/srv/a").is_err());
        assert!(source("{}").unwrap_err().contains("no driver"));
    }
}
