//! QEMU's command line, one option after the other, with where each stands.

use serde_json::{Map, Value};

use crate::model::option::read;

/// Options that have no argument. All others have one, what an unknown one is included: a newer QEMU has
/// fewer of these and not more.
const ALONE: &[&str] = &[
    "S",
    "alt-grab",
    "audio-help",
    "ctrl-grab",
    "curses",
    "daemonize",
    "enable-fips",
    "enable-kvm",
    "full-screen",
    "g3a",
    "h",
    "help",
    "jitdump",
    "mem-prealloc",
    "no-acpi",
    "no-fd-bootchk",
    "no-frame",
    "no-hpet",
    "no-kvm",
    "no-quit",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nodefconfig",
    "nographic",
    "old-param",
    "one-insn-per-tb",
    "only-migratable",
    "perfmap",
    "portrait",
    "preconfig",
    "s",
    "sdl",
    "semihosting",
    "singlestep",
    "snapshot",
    "usb",
    "version",
    "win2k-hack",
    "xen-attach",
];

/// One option with its argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Argument {
    /// Where it stands in the command.
    pub(super) at: usize,
    /// Without its dashes; empty for an image that is named without an option.
    pub(super) option: String,
    /// What follows it; empty for an option that stands alone.
    pub(super) text: Option<String>,
    /// The members of what follows, in their order.
    members: Vec<(String, String)>,
    /// The same where it is JSON.
    pub(super) json: Option<Map<String, Value>>,
}

impl Argument {
    /// Reads all of a command but the program.
    pub(super) fn list(command: &[String]) -> Vec<Self> {
        let mut list = Vec::new();
        let mut words = command.iter().enumerate().skip(1);
        while let Some((at, word)) = words.next() {
            // QEMU takes one dash or two.
            let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                list.push(Self::new(at, "", Some(word)));
                continue;
            };
            let text =
                if ALONE.contains(&option) { None } else { words.next().map(|(_, text)| text.as_str()) };
            list.push(Self::new(at, option, text));
        }
        list
    }

    fn new(at: usize, option: &str, text: Option<&str>) -> Self {
        let implied = match option {
            "machine" | "M" | "netdev" | "net" | "nic" => "type",
            "device" | "blockdev" | "watchdog" => "driver",
            "drive" => "file",
            "add-fd" => "fd",
            "chardev" => "backend",
            "object" => "qom-type",
            _ => "value",
        };
        let json = text.filter(|text| text.starts_with('{'));
        Self {
            at,
            option: option.to_owned(),
            text: text.map(str::to_owned),
            members: text.map(|text| read(text, implied)).unwrap_or_default(),
            json: json.and_then(|text| serde_json::from_str(text).ok()),
        }
    }

    /// A member as text; the last one counts, as it does for QEMU.
    pub(super) fn member(&self, name: &str) -> Option<&str> {
        self.members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The names of the members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(key, _)| key.as_str())
    }

    /// Whether it is this option with this id.
    pub(super) fn is(&self, option: &str, id: &str) -> bool {
        self.option == option && self.member("id") == Some(id)
    }

    /// How many words of the command it takes.
    pub(super) fn words(&self) -> usize {
        1 + usize::from(!self.option.is_empty() && self.text.is_some())
    }

    /// As it stands in the command.
    pub(super) fn shown(&self) -> String {
        match (&self.option, &self.text) {
            (option, Some(text)) if option.is_empty() => text.clone(),
            (option, Some(text)) => format!("-{option} {text}"),
            (option, None) => format!("-{option}"),
        }
    }
}

/// Whether a word switches something on.
pub(super) fn is_on(word: &str) -> bool {
    matches!(word, "on" | "yes" | "true" | "y")
}

/// Whether a word switches something off.
pub(super) fn is_off(word: &str) -> bool {
    matches!(word, "off" | "no" | "false" | "n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_their_arguments() {
        let words = [
            "qemu",
            "-S",
            "--device",
            "e1000,id=n,mac=52:54:00:00:00:01",
            "a.img",
            "-usb",
            "-m",
            "1G",
            "-vnc",
        ];
        let command: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let list = Argument::list(&command);
        let shown: Vec<(usize, String)> =
            list.iter().map(|argument| (argument.at, argument.shown())).collect();
        let expected = [
            (1, "-S"),
            (2, "-device e1000,id=n,mac=52:54:00:00:00:01"),
            (4, "a.img"),
            (5, "-usb"),
            (6, "-m 1G"),
            (8, "-vnc"),
        ];
        assert_eq!(shown, expected.map(|(at, text)| (at, text.to_owned())));
        assert!(list[1].is("device", "n"));
        assert_eq!(list[1].member("driver"), Some("e1000"));
        assert_eq!((list[1].words(), list[2].words(), list[0].words()), (2, 1, 1));
    }
}
