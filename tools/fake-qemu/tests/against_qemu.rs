//! The model and a real QEMU say the same: conversations are played to both, and replies and events compared.
//!
//! `KVM_HOTPLUG_TEST_QEMU` names another QEMU than the installed one, `KVM_HOTPLUG_TEST_CONVERSATION` one
//! conversation. Nothing is booted, so that it needs no KVM.

// The lints' exceptions for tests stop at the functions marked as such.
#![allow(missing_docs)]

#[path = "against_qemu/client.rs"]
mod client;
#[path = "against_qemu/conversation.rs"]
mod conversation;
#[path = "against_qemu/files.rs"]
mod files;
#[path = "against_qemu/normal.rs"]
mod normal;
#[path = "against_qemu/real.rs"]
mod real;

use std::path::Path;

use fake_qemu::{FakeQemu, Machine, Setup, UnplugBehaviour};

use client::{Line, Side};
use conversation::Conversation;
use real::RealQemu;

/// The model on its socket, with a guest that does nothing, as one has before it is booted.
struct Modelled(FakeQemu);

impl Modelled {
    fn start(machine: Machine, version: (u32, u32, u32)) -> Self {
        let setup =
            Setup { machine, version, run_state: "prelaunch".into(), numbered: false, ..Setup::default() };
        let fake = FakeQemu::start(setup);
        fake.model(|model| {
            model.unplug_behaviour = UnplugBehaviour::Never;
            model.sets_up = false;
            model.devices.iter_mut().for_each(|device| device.configured = false);
        });
        Self(fake)
    }
}

impl Side for Modelled {
    fn socket(&self) -> &Path {
        self.0.path()
    }

    fn firmware_is_done(&self, _: &mut client::Client) {
        self.0.model(fake_qemu::Model::boot);
    }
}

/// What differs, a line each.
fn differences(conversation: &Conversation) -> Vec<String> {
    let qemu = RealQemu::start(conversation.machine);
    let version = qemu.version();
    if !conversation.is_for(version) {
        println!("{}: not for QEMU {version:?}", conversation.name);
        return Vec::new();
    }
    let model = Modelled::start(conversation.machine, version);
    let expected = client::play(conversation, &model, None);
    let found = client::play(conversation, &qemu, Some(&expected));
    // What a conversation does wrong on purpose is not the library's doing.
    model.0.take_violations();
    let mut differences = Vec::new();
    for number in 0..expected.len().max(found.len()) {
        match (expected.get(number), found.get(number)) {
            (Some(model), Some(real)) => differences.extend(model.differences(real)),
            (model, real) => {
                let shown = |line: Option<&Line>| line.map_or("nothing".into(), Line::to_string);
                differences.push(format!("the model says {}, QEMU says {}", shown(model), shown(real)));
            }
        }
    }
    println!("{}: {} lines, {} differences", conversation.name, found.len(), differences.len());
    differences.iter().map(|difference| format!("{}: {difference}", conversation.name)).collect()
}

#[test]
fn the_model_answers_as_qemu_does() {
    let wanted = std::env::var("KVM_HOTPLUG_TEST_CONVERSATION").ok();
    let all = conversation::all().into_iter();
    let chosen = all.filter(|one| wanted.as_ref().is_none_or(|wanted| *wanted == one.name));
    let differences: Vec<String> = chosen.flat_map(|conversation| differences(&conversation)).collect();
    assert!(differences.is_empty(), "QEMU {}:\n{}", real::program(), differences.join("\n"));
}
