//! The command of a process, for a record that leaves all devices to it. QEMU is not asked.

use super::argument::Argument;
use super::command::{names_descriptor, why_once};
use super::decide::name_of;
use super::process::read_command;
use crate::error::Result;

/// Options that make NICs and disks, or what is behind them.
const OF_DEVICES: &[&str] = &[
    "netdev", "nic", "net", "drive", "blockdev", "hda", "hdb", "hdc", "hdd", "cdrom", "fda", "fdb", "sd", "",
];

/// What a process was started with.
#[derive(Debug)]
pub struct CommandOfProcess {
    words: Vec<String>,
    arguments: Vec<Argument>,
}

impl CommandOfProcess {
    /// As the kernel has it.
    pub fn read(pid: i32) -> Result<Self> {
        read_command(pid).map(Self::of)
    }

    fn of(words: Vec<String>) -> Self {
        let arguments = Argument::list(&words);
        Self { words, arguments }
    }

    /// What `-name` says.
    pub fn name(&self) -> Option<String> {
        name_of(&self.arguments)
    }

    /// The command without what was for this start only.
    pub fn next_start(&self) -> Vec<String> {
        let kept = self.arguments.iter().filter(|argument| why_once(argument).is_none());
        let words = kept.flat_map(|argument| {
            self.words.get(argument.at..argument.at + argument.words()).unwrap_or_default()
        });
        self.words.iter().take(1).chain(words).cloned().collect()
    }

    /// What the user has to know of it, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for argument in &self.arguments {
            if let Some(why) = why_once(argument) {
                notes.push(format!("{} is not recorded: {why}", argument.shown()));
            } else if names_descriptor(argument) {
                notes.push(format!(
                    "{} names a descriptor of the process that runs, which the next start has to be given anew",
                    argument.shown()
                ));
            }
        }
        if self.arguments.iter().any(|argument| OF_DEVICES.contains(&argument.option.as_str())) {
            notes.push(
                "the command makes NICs or disks, which the record leaves to it; kvmctl adopt records them as devices"
                    .to_owned(),
            );
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> CommandOfProcess {
        CommandOfProcess::of(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn what_was_for_one_start_is_left_out() {
        let found = of(&[
            "qemu",
            "-S",
            "-name",
            "guest=web,process=w",
            "-incoming",
            "defer",
            "-add-fd",
            "fd=3,set=1",
            "-m",
            "64",
        ]);
        let kept = ["qemu", "-name", "guest=web,process=w", "-add-fd", "fd=3,set=1", "-m", "64"];
        assert_eq!(found.next_start(), kept);
        assert_eq!(found.name().as_deref(), Some("web"));
        let notes = found.notes();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].starts_with("-S is not recorded") && notes[2].contains("names a descriptor"));
    }

    #[test]
    fn devices_are_told_of() {
        assert_eq!(of(&["qemu", "-m", "64", "-device", "virtio-rng-pci"]).notes(), Vec::<String>::new());
        for word in [&["-drive", "file=a"][..], &["-nic", "user"], &["disk.img"], &["-netdev", "user,id=n"]] {
            let words: Vec<&str> = std::iter::once("qemu").chain(word.iter().copied()).collect();
            assert!(of(&words).notes()[0].contains("kvmctl adopt"), "{word:?}");
        }
    }

    #[test]
    fn a_process_has_its_command() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own: Vec<String> = std::env::args().collect();
        assert_eq!(CommandOfProcess::read(pid).unwrap().words, own);
        assert!(CommandOfProcess::read(i32::MAX).is_err());
    }
}
