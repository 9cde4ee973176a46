//! Named descriptors and netdevs.

use std::os::fd::RawFd;

use serde_json::{Value, json};

use super::model::{Answer, Model, Netdev};
use super::wire::{Held, QmpError};

nix::ioctl_write_ptr_bad!(tun_set_queue, libc::TUNSETQUEUE, libc::ifreq);

/// IFF_DETACH_QUEUE.
const DETACH_QUEUE: i16 = 0x0400;

#[allow(unsafe_code)]
fn detach_queue(fd: RawFd) -> nix::Result<()> {
    // SAFETY: plain data, of which the kernel reads the flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_flags = DETACH_QUEUE;
    // SAFETY: the request lives through the call.
    unsafe { tun_set_queue(fd, &request) }.map(drop)
}

impl Netdev {
    /// Its descriptors that are taps, and of which.
    fn taps(&self) -> impl Iterator<Item = (RawFd, String)> + '_ {
        self.fds.iter().filter_map(|held| {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", held.0)).ok()?;
            let name = info.lines().find_map(|line| line.strip_prefix("iff:"))?.trim();
            Some((held.0, name.to_owned()))
        })
    }
}

impl Model {
    pub(super) fn getfd(&mut self, name: &str, fd: Option<Held>) -> Answer {
        let Some(fd) = fd else {
            return Err(QmpError::generic("No file descriptor supplied via SCM_RIGHTS"));
        };
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(QmpError::generic("Parameter 'fdname' expects a name not starting with a digit"));
        }
        // A name that is taken lets go of its earlier descriptor.
        self.fds.insert(name.into(), fd);
        Ok(json!({}))
    }

    pub(super) fn closefd(&mut self, name: &str) -> Answer {
        match self.fds.remove(name) {
            Some(_) => Ok(json!({})),
            None => Err(QmpError::generic(format!("File descriptor named '{name}' not found"))),
        }
    }

    pub(super) fn netdev_add(&mut self, id: &str, arguments: &Value) -> Answer {
        if self.netdevs.contains_key(id) {
            return Err(QmpError::generic(format!("Duplicate ID '{id}'")));
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
        let mut netdev = Netdev { fds: Vec::new(), broken: false, link_down: false };
        for (queue, name) in taps.iter().enumerate() {
            for name in [Some(name), vhost.get(queue)].into_iter().flatten() {
                let Some(fd) = self.fds.remove(name) else {
                    if queue > 0 {
                        self.netdevs.insert(id.into(), Netdev { broken: true, ..netdev });
                    }
                    let text = format!("File descriptor named '{name}' has not been found");
                    return Err(QmpError::generic(text));
                };
                netdev.fds.push(fd);
            }
        }
        let shared =
            |tap: &String| self.netdevs.values().flat_map(Netdev::taps).any(|(_, other)| other == *tap);
        if let Some((_, tap)) = netdev.taps().find(|(_, tap)| shared(tap)) {
            self.violations.push(format!("netdev_add {id} over {tap}, which another one has"));
        }
        self.netdevs.insert(id.into(), netdev);
        Ok(json!({}))
    }

    /// What virtio-net does to a netdev of several queues until its driver asks for more of them: all but the first one are
    /// detached. QEMU ends if that fails.
    pub(super) fn detach_queues(&mut self, netdev: &str) {
        let Some(taps) = self.netdevs.get(netdev).map(|netdev| netdev.taps().skip(1).collect::<Vec<_>>())
        else {
            return;
        };
        for (fd, tap) in taps {
            if let Err(errno) = detach_queue(fd) {
                self.violations
                    .push(format!("a queue of {tap} cannot be detached ({errno}): QEMU has ended"));
            }
        }
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
        self.netdevs.remove(id);
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
}
