//! Sets of descriptors.

use serde_json::{Value, json};

use super::{Model, SetFd};
use crate::command::{Answer, Descriptor, QmpError};

impl Model {
    pub(super) fn add_fd(&mut self, arguments: &Value, fd: Option<Descriptor>) -> Answer {
        let Some(fd) = fd else {
            return Err(QmpError::generic("No file descriptor supplied via SCM_RIGHTS"));
        };
        let first_free = (0..=u32::MAX).find(|id| !self.fdsets.contains_key(id)).unwrap_or_default();
        let id = fdset_id(arguments).unwrap_or(first_free);
        let opaque = arguments.get("opaque").and_then(Value::as_str).map(str::to_owned);
        let number = fd.number;
        self.fdsets.entry(id).or_default().fds.push(SetFd { fd, opaque, removed: false });
        Ok(json!({ "fdset-id": id, "fd": number }))
    }

    pub(super) fn remove_fd(&mut self, arguments: &Value) -> Answer {
        let id = fdset_id(arguments).unwrap_or(u32::MAX);
        let one = arguments.get("fd").and_then(Value::as_i64);
        let named = |fd: &SetFd| one.is_none_or(|number| i64::from(fd.fd.number) == number);
        let found = self.fdsets.get_mut(&id).filter(|set| one.is_none() || set.fds.iter().any(named));
        let Some(set) = found else {
            let which = one.map_or(String::new(), |fd| format!(", fd:{fd}"));
            return Err(QmpError::generic(format!("File descriptor named 'fdset-id:{id}{which}' not found")));
        };
        set.fds.iter_mut().filter(|fd| named(fd)).for_each(|fd| fd.removed = true);
        self.sweep_fdsets(false);
        Ok(json!({}))
    }

    /// Closes what `remove-fd` has named, and `unused_too` what nothing has duplicated.
    pub(super) fn sweep_fdsets(&mut self, unused_too: bool) {
        if self.version.keeps_fds_of_stopped_guests() && !self.is_running() {
            return;
        }
        for set in self.fdsets.values_mut() {
            let unused = unused_too && set.users.is_empty();
            set.fds.retain(|fd| !(fd.removed || unused));
        }
        self.fdsets.retain(|_, set| !(set.fds.is_empty() && set.users.is_empty()));
    }

    /// In the order of their numbers.
    pub(super) fn query_fdsets(&self) -> Value {
        let describe = |fd: &SetFd| match &fd.opaque {
            Some(opaque) => json!({ "fd": fd.fd.number, "opaque": opaque }),
            None => json!({ "fd": fd.fd.number }),
        };
        let sets = self.fdsets.iter().map(
            |(id, set)| json!({ "fdset-id": id, "fds": set.fds.iter().map(describe).collect::<Vec<_>>() }),
        );
        sets.collect()
    }
}

fn fdset_id(arguments: &Value) -> Option<u32> {
    arguments.get("fdset-id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok())
}
