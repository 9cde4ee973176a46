//! Who listens at a monitor's socket: the process and the user that the kernel noted when it began to listen.

/// The overflow uid: what the kernel says of users that this process's user namespace does not have, and a
/// user's own number ("nobody") where there is no such namespace.
const OVERFLOW: u32 = 65534;

/// What `/proc/self/uid_map` says where all users are themselves.
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process; `None` if it cannot be seen from here.
    pub pid: Option<i32>,
    /// The user it had then; `None` if this user namespace does not tell.
    pub uid: Option<u32>,
}

/// Who is expected to. Nobody in particular by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// This process.
    pub pid: Option<i32>,
    /// This user.
    pub uid: Option<u32>,
}

impl Peer {
    /// From what the kernel says: zero for a process that is not seen.
    pub(super) fn new(pid: i32, uid: u32, uid_map: &str) -> Self {
        let uid = (uid != OVERFLOW || uid_map.split_whitespace().eq(ALL_USERS)).then_some(uid);
        Self { pid: (pid > 0).then_some(pid), uid }
    }
}

impl Expected {
    /// Why it is not who was expected.
    pub fn objection(&self, peer: &Peer) -> Option<String> {
        let found = |what: &str, number: Option<i64>| match number {
            Some(number) => format!("{what} {number}"),
            None => format!("a {what} that cannot be told from here"),
        };
        if let Some(uid) = self.uid.filter(|uid| peer.uid != Some(*uid)) {
            return Some(format!("{} listens there, not user {uid}", found("user", peer.uid.map(i64::from))));
        }
        let pid = self.pid.filter(|pid| peer.pid != Some(*pid))?;
        Some(format!("{} listens there, not process {pid}", found("process", peer.pid.map(i64::from))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "         0          0 4294967295\n";
    const CONTAINER: &str = "         0     100000      65536\n";

    #[test]
    fn what_the_kernel_says() {
        for (pid, uid, map, peer) in [
            (12, 107, HOST, Peer { pid: Some(12), uid: Some(107) }),
            (0, 0, HOST, Peer { pid: None, uid: Some(0) }),
            (12, 65534, HOST, Peer { pid: Some(12), uid: Some(65534) }),
            (12, 65534, CONTAINER, Peer { pid: Some(12), uid: None }),
            (12, 65534, "", Peer { pid: Some(12), uid: None }),
            (12, 107, CONTAINER, Peer { pid: Some(12), uid: Some(107) }),
        ] {
            assert_eq!(Peer::new(pid, uid, map), peer);
        }
    }

    #[test]
    fn who_is_not_expected_is_named() {
        let peer = Peer { pid: Some(12), uid: Some(107) };
        let hidden = Peer { pid: None, uid: None };
        for (pid, uid, peer, words) in [
            (None, None, hidden, None),
            (Some(12), Some(107), peer, None),
            (None, Some(0), peer, Some("user 107 listens there, not user 0")),
            (Some(13), None, peer, Some("process 12 listens there, not process 13")),
            (
                None,
                Some(65534),
                hidden,
                Some("a user that cannot be told from here listens there, not user 65534"),
            ),
            (
                Some(13),
                None,
                hidden,
                Some("a process that cannot be told from here listens there, not process 13"),
            ),
        ] {
            assert_eq!(Expected { pid, uid }.objection(&peer).as_deref(), words);
        }
    }
}
