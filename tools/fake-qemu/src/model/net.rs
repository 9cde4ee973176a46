//! Netdevs.

use serde_json::{Value, json};

use super::{Dev, Model, Netdev};
use crate::command::{Answer, Effect, File, QmpError};

/// The types without a tap: whether they are new, and what the library may say of them.
const OTHERS: [(&str, bool, &[&str]); 4] = [
    ("dgram", true, &["type", "id", "local", "remote"]),
    ("stream", true, &["type", "id", "addr", "server"]),
    ("user", false, &["type", "id", "hostfwd", "net", "restrict"]),
    ("vhost-user", false, &["type", "id", "chardev", "queues"]),
];

impl Netdev {
    /// Its descriptors that are taps, and of which.
    fn taps(&self) -> impl Iterator<Item = (i32, &str)> {
        self.fds.iter().filter_map(|fd| match &fd.file {
            File::Tap(name) => Some((fd.number, name.as_str())),
            _ => None,
        })
    }
}

impl Netdev {
    /// A line for each queue; one that a test has made without descriptors has a queue as well.
    fn show_taps(&self, id: &str) -> Vec<String> {
        if let Some(kind) = &self.kind {
            return vec![format!("{id}: index=0,type={kind},\r\n")];
        }
        let fds: Vec<i32> = self.taps().map(|(fd, _)| fd).collect();
        let fds = if fds.is_empty() { vec![-1] } else { fds };
        let line = |(index, fd)| format!("{id}: index={index},type=tap,fd={fd}\r\n");
        fds.iter().enumerate().map(line).collect()
    }
}

impl Model {
    pub(super) fn netdev_add(&mut self, monitor: usize, id: &str, arguments: &Value) -> Answer {
        let kind = arguments.get("type").and_then(Value::as_str).unwrap_or_default();
        let members = self.members_of(kind)?;
        let named = arguments.as_object().into_iter().flat_map(|members| members.keys());
        if let Some(other) = named.into_iter().find(|name| !members.contains(&name.as_str())) {
            if kind != "tap" || other == "no-such-member" {
                return Err(QmpError::generic(format!("Parameter '{other}' is unexpected")));
            }
        }
        if self.netdevs.contains_key(id) && !self.version.takes_duplicate_netdevs() {
            return Err(QmpError::generic(format!("Duplicate ID '{id}'")));
        }
        if OTHERS.iter().any(|(other, ..)| *other == kind) {
            return self.netdev_without_tap(id, kind, arguments);
        }
        let names = |one: &str, many: &str| -> Vec<String> {
            let text = arguments.get(one).or_else(|| arguments.get(many)).and_then(Value::as_str);
            text.map_or_else(Vec::new, |text| text.split(':').map(str::to_owned).collect())
        };
        let taps = names("fd", "fds");
        let vhost = names("vhostfd", "vhostfds");
        if taps.is_empty() || (!vhost.is_empty() && vhost.len() != taps.len()) {
            return Err(QmpError::generic("The number of fds passed does not match"));
        }
        let mut netdev = Netdev::default();
        for (queue, name) in taps.iter().enumerate() {
            for name in [Some(name), vhost.get(queue)].into_iter().flatten() {
                let Some(fd) = self.monitors[monitor].fds.remove(name) else {
                    if queue > 0 && self.version.leaves_half_netdevs() {
                        self.netdevs.insert(id.into(), Netdev { broken: true, ..netdev });
                    }
                    let text = format!("File descriptor named '{name}' has not been found");
                    return Err(QmpError::generic(text));
                };
                netdev.fds.push(fd);
            }
        }
        self.forbid_sharing(id, &netdev);
        self.netdevs.entry(id.into()).or_default().fds.append(&mut netdev.fds);
        Ok(json!({}))
    }

    /// The members of a type that this version has.
    fn members_of(&self, kind: &str) -> Result<&'static [&'static str], QmpError> {
        match OTHERS.iter().find(|(other, ..)| *other == kind) {
            Some((_, is_new, members)) if !is_new || self.version.has_sockets() => Ok(members),
            None if ["tap", "hubport"].contains(&kind) => Ok(&["type", "id", "hubid"]),
            _ if self.version.has_old_texts() => {
                Err(QmpError::generic(format!("Invalid parameter '{kind}'")))
            }
            _ => Err(QmpError::generic(format!("Parameter 'type' does not accept value '{kind}'"))),
        }
    }

    fn netdev_without_tap(&mut self, id: &str, kind: &str, arguments: &Value) -> Answer {
        let chardev = arguments.get("chardev").and_then(Value::as_str).map(str::to_owned);
        if let Some(missing) = chardev.as_ref().filter(|id| !self.added_chardevs.contains_key(*id)) {
            return Err(QmpError::generic(format!("chardev \"{missing}\" not found")));
        }
        let netdev = Netdev { kind: Some(kind.to_owned()), chardev, ..Netdev::default() };
        self.netdevs.insert(id.to_owned(), netdev);
        Ok(json!({}))
    }

    fn forbid_sharing(&mut self, id: &str, netdev: &Netdev) {
        let taken = |tap: &str| self.netdevs.values().flat_map(Netdev::taps).any(|(_, other)| other == tap);
        if let Some((_, tap)) = netdev.taps().find(|(_, tap)| taken(tap)) {
            self.violations.push(format!("netdev_add {id} over {tap}, which another one has"));
        }
    }

    /// What virtio-net does to a netdev of several queues until its driver asks for more of them: all but the
    /// first one are detached. QEMU ends if that fails.
    pub(super) fn detach_queues(&mut self, netdev: &str) {
        let Some(netdev) = self.netdevs.get(netdev) else { return };
        let others = netdev.taps().skip(1);
        self.effects.extend(others.map(|(number, tap)| Effect::DetachQueue { number, tap: tap.into() }));
    }

    pub(super) fn netdev_del(&mut self, id: &str) -> Answer {
        match self.netdevs.get(id) {
            None => return Err(QmpError::absent(id)),
            Some(netdev) if netdev.broken => {
                return Err(QmpError::generic(format!("Device '{id}' is not a netdev")));
            }
            Some(_) => {}
        }
        // QEMU allows it, and leaves a NIC that is connected to nothing.
        if let Some(user) = self.devices.iter().find(|device| device.netdev.as_deref() == Some(id)) {
            self.violations.push(format!("netdev_del {id} while {:?} is in the guest", user.id));
        }
        // A chardev goes with its netdev.
        if let Some(chardev) = self.netdevs.remove(id).and_then(|netdev| netdev.chardev) {
            self.added_chardevs.remove(&chardev);
        }
        Ok(json!({}))
    }

    pub(super) fn set_link(&mut self, name: &str, up: bool) -> Answer {
        match self.netdevs.get_mut(name) {
            Some(netdev) => {
                netdev.link_down = !up;
                Ok(json!({}))
            }
            None => Err(QmpError::absent(name)),
        }
    }

    /// `info network`: queues of NICs, each with its tap below it, then the taps that have no NIC.
    pub(super) fn info_network(&self) -> String {
        let nics = self.devices.iter().filter_map(|nic| Some((nic, nic.netdev.as_deref()?)));
        let with_nic = nics.clone().flat_map(|(nic, id)| {
            let taps = self.netdevs.get(id).map(|netdev| netdev.show_taps(id)).unwrap_or_default();
            taps.into_iter().enumerate().map(move |(queue, tap)| nic_line(nic, queue) + " \\ " + &tap)
        });
        let has_nic = |id: &str| nics.clone().any(|(_, netdev)| netdev == id);
        let without =
            self.netdevs.iter().filter(|(id, _)| !has_nic(id)).flat_map(|(id, netdev)| netdev.show_taps(id));
        with_nic.chain(without).collect()
    }
}

fn nic_line(nic: &Dev, queue: usize) -> String {
    let id = nic.id.as_deref().unwrap_or_default();
    if queue > 0 {
        return format!("{id}: index={queue},type=nic,\r\n");
    }
    let mac = nic.mac.as_deref().unwrap_or("52:54:00:12:34:56");
    format!("{id}: index={queue},type=nic,model={},macaddr={mac}\r\n", nic.driver)
}
