//! Which command does what.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Model, schema};
use crate::command::{Answer, Command, Event, Outcome, QmpError};

impl Model {
    /// Runs one command that came by the monitor with this index. `now` is the time since any moment that
    /// stays the same.
    pub fn execute(&mut self, now: Duration, monitor: usize, command: &Command) -> Outcome {
        self.advance(now);
        let mut earlier = self.take_events();
        let reply = self.answer(monitor, command);
        earlier.append(&mut self.before);
        Outcome {
            before: earlier,
            reply,
            after: std::mem::take(&mut self.after),
            effects: self.take_effects(),
        }
    }

    fn answer(&mut self, monitor: usize, command: &Command) -> Answer {
        if command.name == "qmp_capabilities" {
            return self.negotiate(monitor);
        }
        if !self.monitors[monitor].negotiated {
            return Err(QmpError {
                class: "CommandNotFound".into(),
                desc: "Expecting capabilities negotiation with 'qmp_capabilities'".into(),
            });
        }
        schema::check(command)?;
        let fd = command.fds.first().cloned();
        match command.name.as_str() {
            "getfd" => self.getfd(monitor, command.text("fdname"), fd),
            "closefd" => self.closefd(monitor, command.text("fdname")),
            "add-fd" => self.add_fd(&command.arguments, fd),
            "netdev_add" => self.netdev_add(monitor, command.text("id"), &command.arguments),
            name if name.starts_with("query-") || name.starts_with("x-") => self.query(command),
            _ => self.change(command),
        }
    }

    fn negotiate(&mut self, monitor: usize) -> Answer {
        let monitor = &mut self.monitors[monitor];
        if std::mem::replace(&mut monitor.negotiated, true) {
            return Err(QmpError {
                class: "CommandNotFound".into(),
                desc: "Capabilities negotiation is already complete, command ignored".into(),
            });
        }
        Ok(json!({}))
    }

    fn query(&self, command: &Command) -> Answer {
        let answer = match command.name.as_str() {
            "query-fdsets" => self.query_fdsets(),
            "query-named-block-nodes" => self.query_nodes(),
            "query-block" => self.query_block(),
            "query-block-exports" => self.query_exports(),
            "query-block-jobs" => self.query_jobs(),
            "x-debug-query-block-graph" => self.query_graph(),
            "query-chardev" => self.query_chardev(),
            "query-memdev" => self.query_memdev(),
            "query-machines" => self.query_machines(),
            "query-pci" => self.query_pci(),
            "query-status" => self.query_status(),
            "query-version" => self.query_version(),
            "x-query-virtio-status" if !self.virtio_status.is_null() => self.virtio_status.clone(),
            name => return Err(QmpError::no_command(name)),
        };
        Ok(answer)
    }

    fn change(&mut self, command: &Command) -> Answer {
        let arguments = &command.arguments;
        match command.name.as_str() {
            "chardev-add" => self.chardev_add(command.text("id"), arguments),
            "chardev-remove" => self.chardev_remove(command.text("id")),
            "netdev_del" => self.netdev_del(command.text("id")),
            "set_link" => {
                self.set_link(command.text("name"), arguments.get("up") == Some(&Value::Bool(true)))
            }
            "remove-fd" => self.remove_fd(arguments),
            "blockdev-add" => self.blockdev_add(command.text("node-name"), arguments),
            "blockdev-del" => self.blockdev_del(command.text("node-name")),
            "block_resize" => self.block_resize(command.text("node-name"), arguments),
            "object-add" => self.object_add(command.text("id"), arguments),
            "qom-set" => self.qom_set(command.text("path"), command.text("property"), arguments.get("value")),
            "block_set_io_throttle" => self.block_set_io_throttle(command.text("id"), arguments),
            "object-del" => self.object_del(command.text("id")),
            "blockdev-open-tray" => self.open_tray(arguments),
            "blockdev-close-tray" => self.close_tray(command.text("id")),
            "blockdev-remove-medium" => self.remove_medium(command.text("id")),
            "blockdev-insert-medium" => self.insert_medium(command.text("id"), command.text("node-name")),
            "device_add" => self.device_add(arguments),
            "device_del" => self.device_del(command.text("id")),
            // It knows every model that it takes, and nothing about them: each may be a NIC or a disk.
            "device-list-properties" => Ok(self.list_properties()),
            "qom-list" => self.qom_list(command.text("path")),
            "qom-get" => self.qom_get(command.text("path"), command.text("property")),
            "human-monitor-command" if command.text("command-line") == "info network" => {
                Ok(self.info_network().into())
            }
            "stop" => self.stop(),
            "cont" => self.cont(),
            "system_reset" => self.system_reset(),
            "system_powerdown" => self.system_powerdown(),
            "quit" => self.quit(),
            name => Err(QmpError::no_command(name)),
        }
    }

    fn list_properties(&self) -> Value {
        let mapping = ("iothread-vq-mapping", "IOThreadVirtQueueMappingList");
        let always = [
            ("addr", "int32"),
            ("netdev", "str"),
            ("drive", "str"),
            ("packed", "bool"),
            ("queue-size", "uint16"),
            ("werror", "BlockdevOnError"),
        ];
        let all = always.into_iter().chain(self.version.maps_queues().then_some(mapping));
        all.map(|(name, of)| json!({ "name": name, "type": of })).collect()
    }

    fn query_status(&self) -> Value {
        let mut status = json!({ "status": self.run_state, "running": self.is_running() });
        if self.version.tells_singlestep() {
            status["singlestep"] = false.into();
        }
        status
    }

    fn query_version(&self) -> Value {
        let version = self.version;
        json!({ "qemu": { "major": version.0, "minor": version.1, "micro": version.2 }, "package": "" })
    }

    /// The newest of each kind, under its two names, and the one without anything.
    fn query_machines(&self) -> Value {
        let kind = |name: &str, alias: &str| {
            let name = format!("{name}-{}.{}", self.version.0, self.version.1);
            json!({ "name": name, "alias": alias, "cpu-max": 255, "hotpluggable-cpus": true })
        };
        json!([
            kind("pc-i440fx", "pc"),
            kind("pc-q35", "q35"),
            { "name": "none", "cpu-max": 1, "hotpluggable-cpus": false },
        ])
    }

    /// What the guest makes of it is its own affair.
    fn system_powerdown(&mut self) -> Answer {
        self.say_late_in_old(Event::new("POWERDOWN", Value::Null));
        Ok(json!({}))
    }

    fn quit(&mut self) -> Answer {
        self.ended = true;
        self.say(Event::new("SHUTDOWN", json!({ "guest": false, "reason": "host-qmp-quit" })));
        Ok(json!({}))
    }
}
