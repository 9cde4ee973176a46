//! Descriptions of the sources that most callers have, made of their parts.

use std::path::Path;

use serde_json::{Value, json};

use super::Description;
use crate::disk::identity::Kind;
use crate::disk::path;
use crate::error::{Error, Result};

/// The port of an NBD server that is not told.
const NBD_PORT: u16 = 10809;

/// An export of a server of network block devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nbd<'a> {
    /// Unix socket of the server.
    pub socket: Option<&'a str>,
    /// The same over TCP; one of both is given.
    pub host: Option<&'a str>,
    /// TCP port; 10809 if it is 0.
    pub port: u16,
    /// Name of the export; the server's default if there is none.
    pub export: Option<&'a str>,
    /// Name of the credentials by which the connection is encrypted.
    pub tls_creds: Option<&'a str>,
    /// Name that the server's certificate has to have, if it is not the host's.
    pub tls_hostname: Option<&'a str>,
    /// For how many seconds requests wait for a lost server to come back; 0 for not at all.
    pub reconnect_delay: u32,
    /// For how many seconds QEMU tries to connect at first; 0 for once.
    pub open_timeout: u32,
}

/// An image in Ceph.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rbd<'a> {
    /// The pool.
    pub pool: &'a str,
    /// Its namespace.
    pub namespace: Option<&'a str>,
    /// The image.
    pub image: &'a str,
    /// One of its snapshots, which can only be read.
    pub snapshot: Option<&'a str>,
    /// Who asks, as in "admin" for client.admin.
    pub user: Option<&'a str>,
    /// Absolute path of the configuration, which QEMU reads by itself.
    pub conf: Option<&'a str>,
    /// Name of the secret with the user's key.
    pub key_secret: Option<&'a str>,
}

/// An encrypted image or block device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Luks<'a> {
    /// Absolute path of it.
    pub path: &'a str,
    /// Name of the secret with its passphrase.
    pub key_secret: &'a str,
}

impl Nbd<'_> {
    /// Whether anything of it is.
    pub fn is_given(&self) -> bool {
        let Self { socket, host, port, export, tls_creds, tls_hostname, reconnect_delay, open_timeout } =
            *self;
        let texts = [socket, host, export, tls_creds, tls_hostname];
        texts.iter().any(Option::is_some) || port != 0 || reconnect_delay != 0 || open_timeout != 0
    }

    /// The node.
    pub fn description(&self) -> Result<Description> {
        let server = match (self.socket, self.host) {
            (Some(socket), None) => {
                path::check(Path::new(socket)).map_err(|error| error.context("nbd"))?;
                json!({"type": "unix", "path": socket})
            }
            (None, Some(host)) => {
                let port = if self.port == 0 { NBD_PORT } else { self.port };
                json!({"type": "inet", "host": host, "port": port.to_string()})
            }
            _ => return Err(Error::invalid("nbd: give the server's socket or its host, one of both")),
        };
        let seconds = |number: u32| if number == 0 { Value::Null } else { number.into() };
        Ok(Description::of([
            ("driver", "nbd".into()),
            ("server", server),
            ("export", self.export.into()),
            ("tls-creds", self.tls_creds.into()),
            ("tls-hostname", self.tls_hostname.into()),
            ("reconnect-delay", seconds(self.reconnect_delay)),
            ("open-timeout", seconds(self.open_timeout)),
        ]))
    }
}

impl Rbd<'_> {
    /// Whether anything of it is.
    pub fn is_given(&self) -> bool {
        let Self { pool, namespace, image, snapshot, user, conf, key_secret } = *self;
        let further = [namespace, snapshot, user, conf, key_secret];
        !pool.is_empty() || !image.is_empty() || further.iter().any(Option::is_some)
    }

    /// The node.
    pub fn description(&self) -> Result<Description> {
        if self.pool.is_empty() || self.image.is_empty() {
            return Err(Error::invalid("rbd: give the pool and the image"));
        }
        Ok(Description::of([
            ("driver", "rbd".into()),
            ("pool", self.pool.into()),
            ("namespace", self.namespace.into()),
            ("image", self.image.into()),
            ("snapshot", self.snapshot.into()),
            ("user", self.user.into()),
            ("conf", self.conf.into()),
            ("key-secret", self.key_secret.into()),
        ]))
    }
}

impl Luks<'_> {
    /// Whether anything of it is.
    pub fn is_given(&self) -> bool {
        !self.path.is_empty() || !self.key_secret.is_empty()
    }

    /// The node, over one for what is at the path now.
    pub fn description(&self) -> Result<Description> {
        if self.path.is_empty() || self.key_secret.is_empty() {
            return Err(Error::invalid("luks: give the path and the key_secret"));
        }
        let kind =
            std::fs::metadata(self.path).map_err(drop).and_then(|found| Kind::of(&found).map_err(drop));
        let driver = kind.unwrap_or(Kind::File).driver();
        Ok(Description::of([
            ("driver", "luks".into()),
            ("key-secret", self.key_secret.into()),
            ("file", json!({"driver": driver, "filename": self.path})),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(description: Result<Description>) -> String {
        let description = description.unwrap();
        description.check().unwrap();
        description.to_value().to_string()
    }

    #[test]
    fn nbd() {
        let unix =
            Nbd { socket: Some("/run/a.sock"), export: Some("x"), reconnect_delay: 9, ..Nbd::default() };
        assert_eq!(
            text(unix.description()),
            r#"{"driver":"nbd","export":"x","reconnect-delay":9,"server":{"path":"/run/a.sock","type":"unix"}}"#
        );
        let tcp = Nbd { host: Some("::1"), open_timeout: 3, tls_creds: Some("tls"), ..Nbd::default() };
        assert_eq!(
            text(tcp.description()),
            r#"{"driver":"nbd","open-timeout":3,"server":{"host":"::1","port":"10809","type":"inet"},"tls-creds":"tls"}"#
        );
        let both = Nbd { socket: Some("/run/a.sock"), host: Some("::1"), ..Nbd::default() };
        for wrong in [Nbd::default(), both, Nbd { socket: Some("a.sock"), ..Nbd::default() }] {
            assert!(wrong.description().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn rbd() {
        let rbd = Rbd {
            pool: "vms",
            image: "web",
            user: Some("admin"),
            conf: Some("/etc/ceph/a"),
            ..Rbd::default()
        };
        assert_eq!(
            text(rbd.description()),
            r#"{"conf":"/etc/ceph/a","driver":"rbd","image":"web","pool":"vms","user":"admin"}"#
        );
        assert!(Rbd { pool: "vms", ..Rbd::default() }.description().is_err());
    }

    #[test]
    fn luks() {
        let luks = Luks { path: "/srv/a.luks", key_secret: "key" };
        assert_eq!(
            text(luks.description()),
            r#"{"driver":"luks","file":{"driver":"file","filename":"/srv/a.luks"},"key-secret":"key"}"#
        );
        assert!(Luks { path: "/srv/a.luks", key_secret: "" }.description().is_err());
    }
}
