//! A NIC's settings, as they stand in the record.

use serde::{Deserialize, Serialize};

use super::MAX_QUEUES;
use super::bandwidth::{Bandwidth, Limits};
use super::identity::{GivenTap, TapIdentity};
use super::netdev::Netdev;
use super::port::PortSettings;
use crate::error::{Error, Result};
use crate::ids::{IfName, MacAddr, is_model_name};

const DEFAULT_MODEL: &str = "virtio-net-pci";
/// virtio 1.2, 5.1.4.1: a device must not offer less than this.
const MIN_MTU: u16 = 68;

/// Everything about a NIC that must be the same when the guest is started again elsewhere.
///
/// Defaults are left out of the JSON, unknown fields are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicSpec {
    /// The guest's address.
    pub mac: MacAddr,
    /// Queue pairs, 1 to 256.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub queues: u16,
    /// Whether vhost-net moves the packets: what was decided, not what was asked for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub vhost: bool,
    /// MTU in bytes announced to the guest, 68 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The bridge on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<IfName>,
    /// The cable is pulled. QEMU has no device property for it (5.2 to 11.1), so it is set in the running
    /// guest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub link_down: bool,
    /// How much the guest may receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Bandwidth>,
    /// How much the guest may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Bandwidth>,
    /// How its tap is a port of the bridge; as the kernel makes it if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Box<PortSettings>>,
    /// The tap's name on the host; says where to look and is no setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<IfName>,
    /// Which tap of that name it is, if the library made it: it takes the tap away when the NIC is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap_identity: Option<TapIdentity>,
    /// Which tap of that name it is, if the caller opened it. Its settings are the caller's, so no other one
    /// can stand in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_tap: Option<GivenTap>,
    /// The tap's name, or a pattern for it, that was asked for: what the next one is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// A user who may attach to the tap without CAP_NET_ADMIN, also to the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap_owner: Option<u32>,
    /// The network namespace that tap and bridge are in; that of the agent if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// What it has in the place of a tap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netdev: Option<Netdev>,
    /// Place in the boot order, 0 first, up to 2^31 - 1. A NIC without one gets no boot ROM, unless `rom`
    /// says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_index: Option<u32>,
    /// It has QEMU's boot ROM without being booted from, as somebody else started it: a migration compares
    /// the ROM.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rom: bool,
    /// QEMU's device model.
    #[serde(default = "default_model", skip_serializing_if = "is_default_model")]
    pub model: String,
}

impl NicSpec {
    /// A NIC with one queue and nothing special.
    pub fn new(mac: MacAddr) -> Self {
        Self {
            mac,
            queues: one(),
            vhost: false,
            mtu: None,
            bridge: None,
            link_down: false,
            inbound: None,
            outbound: None,
            port: None,
            ifname: None,
            tap_identity: None,
            given_tap: None,
            tap: None,
            tap_owner: None,
            netns: None,
            netdev: None,
            boot_index: None,
            rom: false,
            model: default_model(),
        }
    }

    /// The name, or a pattern for it, that its next tap is made with; `None` for the kernel's own. Each
    /// network namespace counts its taps for itself, and those of a QEMU are told apart by name: so one in
    /// another namespace has the end of the NIC's address in its name.
    pub fn tap_name(&self) -> Option<String> {
        let [.., a, b, c] = self.mac.bytes();
        let of_namespace = || self.netns.as_ref().map(|_| format!("tap{a:02x}{b:02x}{c:02x}-%d"));
        self.tap.clone().or_else(of_namespace)
    }

    /// How many descriptors of taps it has.
    pub fn tap_queues(&self) -> u16 {
        if self.netdev.is_none() { self.queues } else { 0 }
    }

    /// How much the guest may receive and send.
    pub fn limits(&self) -> Limits {
        Limits { inbound: self.inbound, outbound: self.outbound }
    }

    /// Whether it is over a tap that the caller opened. Those made here have always been recorded with their
    /// identity.
    pub fn is_over_given_tap(&self) -> bool {
        self.given_tap.is_some() || (self.ifname.is_some() && self.tap_identity.is_none())
    }

    /// Checks the ranges, and that the model can do what is asked of it.
    pub fn validate(&self) -> Result<()> {
        self.validate_as(&format!("NIC {}", self.mac))
    }

    /// The same for a NIC that errors call `title`: one that is only asked for may have no address yet.
    pub fn validate_as(&self, title: &str) -> Result<()> {
        let bad = |why: String| Err(Error::invalid(format!("{title}: {why}")));
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return bad(format!("{} queues; 1 to {MAX_QUEUES} are allowed", self.queues));
        }
        if let Some(mtu) = self.mtu.filter(|mtu| *mtu < MIN_MTU) {
            return bad(format!("MTU {mtu}; the least is {MIN_MTU}"));
        }
        if let Some(index) = self.boot_index.filter(|index| i32::try_from(*index).is_err()) {
            return bad(format!("boot index {index}; the highest is {}", i32::MAX));
        }
        self.limits().check().map_err(|error| error.context(title))?;
        self.port.as_ref().map_or(Ok(()), |port| port.check()).map_err(|error| error.context(title))?;
        self.tap.as_deref().map_or(Ok(()), check_tap_name)?;
        self.validate_netdev().map_err(|error| error.context(title))?;
        self.validate_model().or_else(|why| bad(format!("model {:?} {why}", self.model)))
    }

    /// What belongs to a tap is refused where there is none.
    fn validate_netdev(&self) -> Result<()> {
        let Some(netdev) = &self.netdev else { return Ok(()) };
        netdev.check()?;
        let of_tap = [
            ("vhost", self.vhost),
            ("bridge", self.bridge.is_some()),
            ("inbound", self.inbound.is_some()),
            ("outbound", self.outbound.is_some()),
            ("ifname", self.tap.is_some() || self.ifname.is_some()),
            ("tap_owner", self.tap_owner.is_some()),
            ("netns", self.netns.is_some()),
            ("queues", self.queues > 1 && !netdev.is_vhost_user()),
        ];
        match of_tap.into_iter().find(|(_, is_given)| *is_given) {
            Some((setting, _)) => {
                let kind = netdev.kind();
                let text =
                    format!("{setting} was given together with a netdev of type {kind}, which has no tap");
                Err(Error::invalid(format!("{text}; leave out one of them")))
            }
            None => Ok(()),
        }
    }

    fn validate_model(&self) -> std::result::Result<(), &'static str> {
        if !is_model_name(&self.model) {
            return Err("is not the name of a QEMU device");
        }
        if self.model.starts_with("virtio-net") {
            return Ok(());
        }
        match (self.queues, self.vhost, self.mtu) {
            (2.., _, _) => Err("has one queue only; several need virtio-net-pci"),
            (_, true, _) => Err("cannot use vhost; that needs virtio-net-pci"),
            (_, _, Some(_)) => Err("cannot announce an MTU; that needs virtio-net-pci"),
            _ => Ok(()),
        }
    }

    /// The first setting in which two NICs differ; `None` means that a repeated request is the same request.
    pub fn conflict_with(&self, other: &Self) -> Option<&'static str> {
        let Self {
            mac,
            queues,
            vhost,
            mtu,
            bridge,
            link_down,
            inbound,
            outbound,
            port,
            ifname: _,
            tap_identity: _,
            given_tap: _,
            tap: _,
            tap_owner,
            netns,
            netdev,
            boot_index,
            rom,
            model,
        } = self;
        let settings = [
            ("mac", *mac == other.mac),
            ("queues", *queues == other.queues),
            ("vhost", *vhost == other.vhost),
            ("mtu", *mtu == other.mtu),
            ("bridge", *bridge == other.bridge),
            ("link", *link_down == other.link_down),
            ("inbound", *inbound == other.inbound),
            ("outbound", *outbound == other.outbound),
            ("port", *port == other.port),
            ("tap_owner", *tap_owner == other.tap_owner),
            ("netns", *netns == other.netns),
            ("netdev", *netdev == other.netdev),
            ("boot_index", *boot_index == other.boot_index),
            ("rom", *rom == other.rom),
            ("model", *model == other.model),
        ];
        settings.into_iter().find_map(|(name, same)| (!same).then_some(name))
    }
}

fn one() -> u16 {
    1
}

fn is_one(queues: &u16) -> bool {
    *queues == 1
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn default_model() -> String {
    DEFAULT_MODEL.to_owned()
}

fn is_default_model(model: &str) -> bool {
    model == DEFAULT_MODEL
}

/// Characters in an interface name.
const MAX_NAME: usize = 15;

/// Refuses what is neither a name nor a pattern for one.
pub fn check_tap_name(name: &str) -> Result<()> {
    // A pattern is good when its first outcome is; the rest is the kernel's choice.
    IfName::parse(&name.replacen("%d", "0", 1))
        .map_err(|error| error.context(format!("tap name {name:?}")))?;
    if name.len() > MAX_NAME {
        return Err(Error::invalid(format!("tap name {name:?}: has more than {MAX_NAME} characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> NicSpec {
        NicSpec::new(MacAddr::local([1, 2, 3]))
    }

    fn full() -> NicSpec {
        NicSpec {
            queues: 256,
            vhost: true,
            mtu: Some(9000),
            bridge: Some(IfName::parse("br0").unwrap()),
            link_down: true,
            inbound: Some(Bandwidth { average: 1 << 33, burst: 1 << 30 }),
            outbound: Some(Bandwidth { average: 125_000, burst: 69632 }),
            port: PortSettings::parse(r#"{"isolated": true, "vlan": 7}"#).unwrap(),
            ifname: Some(IfName::parse("tap7").unwrap()),
            tap_identity: Some(TapIdentity::try_from("7@52:54:00:00:00:07".to_owned()).unwrap()),
            given_tap: Some(GivenTap {
                index: Some(7),
                address: Some(MacAddr::local([0, 0, 7])),
                netns: Some(4_026_531_840),
            }),
            tap: Some("tap%d".into()),
            tap_owner: Some(0),
            boot_index: Some(1),
            rom: true,
            model: "virtio-net-pci-non-transitional".into(),
            ..plain()
        }
    }

    #[test]
    fn defaults_are_not_written_and_are_read_back() {
        let text = serde_json::to_string(&plain()).unwrap();
        assert_eq!(text, r#"{"mac":"52:54:00:01:02:03"}"#);
        assert_eq!(serde_json::from_str::<NicSpec>(&text).unwrap(), plain());
    }

    #[test]
    fn everything_else_is() {
        let text = serde_json::to_string(&full()).unwrap();
        assert_eq!(serde_json::from_str::<NicSpec>(&text).unwrap(), full());
    }

    #[test]
    fn unknown_fields_are_passed_over_and_bad_ones_refused() {
        let newer = r#"{"mac":"52:54:00:01:02:03","colour":"red"}"#;
        assert_eq!(serde_json::from_str::<NicSpec>(newer).unwrap(), plain());
        for bad in [
            r#"{}"#,
            r#"{"mac":"x"}"#,
            r#"{"mac":"52:54:00:01:02:03","bridge":"a/b"}"#,
            r#"{"mac":"52:54:00:01:02:03","tap_identity":"7"}"#,
            r#"{"mac":"52:54:00:01:02:03","tap_identity":"x@52:54:00:00:00:07"}"#,
        ] {
            assert!(serde_json::from_str::<NicSpec>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let base = full();
        assert_eq!(base.conflict_with(&base), None);
        assert_eq!(
            base.conflict_with(&NicSpec {
                ifname: None,
                tap_identity: None,
                given_tap: None,
                tap: None,
                ..full()
            }),
            None
        );
        let table = [
            ("mac", NicSpec { mac: MacAddr::local([9; 3]), queues: 2, ..full() }),
            ("queues", NicSpec { queues: 2, model: "e1000".into(), ..full() }),
            ("vhost", NicSpec { vhost: false, ..full() }),
            ("mtu", NicSpec { mtu: None, ..full() }),
            ("bridge", NicSpec { bridge: None, ..full() }),
            ("link", NicSpec { link_down: false, ..full() }),
            ("inbound", NicSpec { inbound: None, ..full() }),
            ("outbound", NicSpec { outbound: full().inbound, ..full() }),
            ("port", NicSpec { port: None, ..full() }),
            ("tap_owner", NicSpec { tap_owner: Some(1), ..full() }),
            ("boot_index", NicSpec { boot_index: Some(2), ..full() }),
            ("rom", NicSpec { rom: false, ..full() }),
            ("model", NicSpec { model: "virtio-net-pci".into(), ..full() }),
        ];
        for (field, other) in table {
            assert_eq!(base.conflict_with(&other), Some(field));
        }
    }

    #[test]
    fn what_a_tap_is_called() {
        let mut spec = NicSpec::new(MacAddr::local([1, 2, 0xff]));
        assert_eq!(spec.tap_name(), None);
        spec.netns = Some("/run/netns/blue".into());
        assert_eq!(spec.tap_name().as_deref(), Some("tap0102ff-%d"));
        spec.tap = Some("lan%d".into());
        assert_eq!(spec.tap_name().as_deref(), Some("lan%d"));
    }

    #[test]
    fn ranges() {
        let good = [
            plain(),
            full(),
            NicSpec { mtu: Some(68), boot_index: Some(0), ..plain() },
            NicSpec { mtu: Some(65535), boot_index: Some(0x7fff_ffff), ..plain() },
            NicSpec { model: "e1000".into(), ..plain() },
        ];
        for spec in good {
            spec.validate().unwrap();
        }
        let bad = [
            (NicSpec { queues: 0, ..plain() }, "0 queues"),
            (NicSpec { queues: 257, ..plain() }, "257 queues"),
            (NicSpec { mtu: Some(67), ..plain() }, "MTU 67"),
            (NicSpec { boot_index: Some(0x8000_0000), ..plain() }, "boot index 2147483648"),
            (
                NicSpec { inbound: Some(Bandwidth { average: 9, burst: 69632 }), ..plain() },
                "inbound: average 9",
            ),
            (
                NicSpec { outbound: Some(Bandwidth { average: 9999, burst: 1500 }), ..plain() },
                "outbound: burst 1500",
            ),
            (NicSpec { model: String::new(), ..plain() }, "not the name"),
            (NicSpec { model: "a,b=c".into(), ..plain() }, "not the name"),
            (NicSpec { model: "x".repeat(64), ..plain() }, "not the name"),
            (NicSpec { model: "e1000".into(), queues: 2, ..plain() }, "one queue"),
            (NicSpec { model: "e1000".into(), vhost: true, ..plain() }, "vhost"),
            (NicSpec { model: "e1000".into(), mtu: Some(1400), ..plain() }, "announce an MTU"),
        ];
        for (spec, what) in bad {
            let error = spec.validate().unwrap_err();
            assert!(error.message().contains(what), "{error} should say {what}");
        }
    }
}
