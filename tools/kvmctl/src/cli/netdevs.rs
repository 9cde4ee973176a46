//! Netdevs of NICs that have no tap.

use kvm_hotplug::Error;
use kvm_hotplug::net::netdev::Netdev;
use kvm_hotplug::sorted;
use serde_json::{Value, json};

use super::devices::NetdevArguments;

pub(crate) fn netdev(text: &str) -> Result<Netdev, String> {
    Netdev::parse(text).map_err(|error| error.to_string())
}

impl NetdevArguments {
    /// The one that is asked for.
    pub(crate) fn given(&self) -> Result<Option<Netdev>, Error> {
        if !self.user {
            return Ok(self.netdev.clone());
        }
        let rules: Vec<Value> = self.hostfwd.iter().map(|rule| json!({ "str": rule })).collect();
        let hostfwd = (!rules.is_empty()).then(|| ("hostfwd", Value::from(rules)));
        let members = sorted::object([("type", Value::from("user"))].into_iter().chain(hostfwd));
        Netdev::parse(&Value::from(members).to_string()).map(Some)
    }
}
