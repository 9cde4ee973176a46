//! Chardevs that a client adds, and the guest memory that another process can map.

use serde_json::{Value, json};

use super::Model;
use crate::command::{Answer, QmpError};

impl Model {
    /// The socket is taken to be there, with somebody who answers.
    pub(super) fn chardev_add(&mut self, id: &str, arguments: &Value) -> Answer {
        if self.added_chardevs.contains_key(id) {
            return Err(QmpError::generic(if self.version.has_old_texts() {
                format!("attempt to add duplicate property '{id}' to object (type 'container')")
            } else {
                format!("Chardev with id '{id}' already exists")
            }));
        }
        let backend = arguments.get("backend").cloned().unwrap_or_default();
        self.added_chardevs.insert(id.to_owned(), backend);
        Ok(json!({}))
    }

    pub(super) fn chardev_remove(&mut self, id: &str) -> Answer {
        let is_used = self.netdevs.values().any(|netdev| netdev.chardev.as_deref() == Some(id));
        match self.added_chardevs.contains_key(id) {
            false => Err(QmpError::generic(format!("Chardev '{id}' not found"))),
            true if is_used => Err(QmpError::generic(format!("Chardev '{id}' is busy"))),
            true => {
                self.added_chardevs.remove(id);
                Ok(json!({}))
            }
        }
    }

    pub(super) fn show_added_chardevs(&self) -> impl Iterator<Item = Value> {
        let path = |backend: &Value| {
            let path = backend.pointer("/data/addr/data/path").and_then(Value::as_str);
            path.map_or_else(|| "null".to_owned(), |path| format!("unix:{path}"))
        };
        let shown =
            move |(id, backend)| json!({ "frontend-open": false, "filename": path(backend), "label": id });
        self.added_chardevs.iter().map(shown)
    }

    /// The memory backends among the objects. Old versions do not say whether they are shared.
    pub(super) fn query_memdev(&self) -> Value {
        let is_memory = |object: &&Value| {
            let kind = object.get("qom-type").and_then(Value::as_str);
            kind.is_some_and(|kind| kind.starts_with("memory-backend-"))
        };
        let shown = |object: &Value| {
            let mut shown = json!({ "id": object["id"] });
            if !self.version.has_old_texts() {
                shown["share"] = object["share"].clone();
            }
            shown
        };
        self.objects.values().filter(is_memory).map(shown).collect()
    }
}
