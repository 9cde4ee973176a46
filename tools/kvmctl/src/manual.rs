//! The manual page: one for all commands.

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::cli::{Cli, STATUSES};

const ENVIRONMENT: [(&str, &str); 5] = [
    ("KVMCTL_RUNTIME", "The runtime file, where --runtime is not given."),
    ("KVMCTL_SOCKET", "The QMP socket, where --socket is not given."),
    ("NO_COLOR", "If set, no colours."),
    ("TERM", "If it is not set, or \"dumb\": no colours, and no line while something is waited for."),
    ("COLUMNS", "How wide tables may be on a terminal, where that is not as wide as it says."),
];

pub(crate) fn page() -> String {
    let mut root = Cli::command().after_long_help(None::<&str>).disable_help_subcommand(true);
    root.build();
    let man = Man::new(root.clone())
        .title("KVMCTL")
        .section("1")
        .date("")
        .source(format!("kvm-hotplug {}", kvm_hotplug::VERSION))
        .manual("");
    let mut page = Page(Vec::new());
    page.part(|to| man.render_title(to));
    page.part(|to| man.render_name_section(to));
    page.roff(|roff| {
        let synopsis =
            [bold("kvmctl"), roman(" --runtime "), italic("FILE"), roman(" --socket "), italic("QMP")];
        roff.control("SH", ["SYNOPSIS"])
            .text(synopsis)
            .text([italic("COMMAND"), roman(" [OPTION...] [ARGUMENT...]")])
    });
    page.part(|to| man.render_description_section(to));
    page.roff(|roff| roff.control("SH", ["COMMANDS"]));
    // Before they are built, when they do not have the common options yet.
    for command in Cli::command().get_subcommands() {
        page.command(&root, command);
    }
    page.part(|to| man.render_options_section(to));
    page.exit_status();
    page.environment();
    page.roff(|roff| {
        roff.control("SH", ["SEE ALSO"]).control("BR", ["kvm_hotplug", "(7),"]).control("BR", ["qemu", "(1)"])
    });
    page.text()
}

struct Page(Vec<u8>);

impl Page {
    /// Each part says anew how apostrophes are written; once is enough.
    fn text(&self) -> String {
        let page = String::from_utf8_lossy(&self.0);
        let (how, lines): (Vec<_>, Vec<_>) = page
            .lines()
            .partition(|line| [".ie \\n(.g ", ".el .ds Aq"].iter().any(|start| line.starts_with(start)));
        let how = how.into_iter().take(2);
        how.chain(lines).flat_map(|line| [line, "\n"]).collect()
    }

    fn part(&mut self, render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) {
        // To write into memory does not fail.
        let _ = render(&mut self.0);
    }

    fn roff(&mut self, write: impl FnOnce(&mut Roff) -> &mut Roff) {
        let mut roff = Roff::new();
        write(&mut roff);
        self.0.extend_from_slice(roff.to_roff().as_bytes());
    }

    /// A section of its own, whose options have no title.
    fn command(&mut self, root: &Command, command: &Command) {
        let name = command.get_name();
        let built = root.find_subcommand(name).cloned();
        let usage = built.map(|mut built| built.render_usage().to_string()).unwrap_or_default();
        let usage = usage.trim_start_matches("Usage: kvmctl ").to_owned();
        let about =
            command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        self.roff(|roff| {
            roff.control("SS", [&*name.replace('-', "\\-")])
                .text([bold(usage)])
                .control("PP", [])
                .text([roman(about)])
        });
        let mut options = Vec::new();
        let _ = Man::new(command.clone().disable_help_flag(true)).render_options_section(&mut options);
        let options = String::from_utf8_lossy(&options).into_owned();
        self.0.extend_from_slice(options.replacen(".SH OPTIONS\n", "", 1).as_bytes());
        command.get_subcommands().for_each(|below| self.command_below(name, below));
    }

    fn command_below(&mut self, above: &str, command: &Command) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let name = format!("{above} {}", command.get_name());
        self.roff(|roff| roff.control("TP", []).text([bold(name)]).text([roman(about)]));
    }

    fn exit_status(&mut self) {
        self.roff(|roff| roff.control("SH", ["EXIT STATUS"]));
        for (status, what) in STATUSES {
            self.roff(|roff| roff.control("TP", []).text([bold(status.to_string())]).text([roman(what)]));
        }
    }

    fn environment(&mut self) {
        self.roff(|roff| roff.control("SH", ["ENVIRONMENT"]));
        for (name, what) in ENVIRONMENT {
            self.roff(|roff| roff.control("TP", []).text([bold(name)]).text([roman(what)]));
        }
    }
}
