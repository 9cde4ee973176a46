//! `--help` and the manual page, from the same tables.

use super::options::OPTIONS;
use super::orders::ORDERS;

const INTRO: &str = "\
Listens on the socket QMP as a QEMU would, with an empty guest that lets go of devices at once. Says \"ready\" on stdout, and
then what happens, one line each: \"done device_add nic1\", \"refused ...\", \"silent ...\", \"client come\", \"client gone\". An order is
answered by \"ok\" or \"what?\" and counts from then on.";

const LIMITS: &str = "It is no QEMU: what a driver or an image makes of its settings it does not know, and it takes what a real one may refuse.";

/// Columns for a name and its arguments.
const WIDTH: usize = 24;

fn row((name, argument, what): &(&str, &str, &str)) -> String {
    let usage = format!("{name} {argument}");
    format!("  {:WIDTH$}{what}\n", usage.trim_end())
}

pub(crate) fn text() -> String {
    let rows = |table: &[(&str, &str, &str)]| table.iter().map(row).collect::<String>();
    format!(
        "{INTRO}\n\nusage: kvm-fake-qemu [OPTION...] QMP\n\noptions\n{}\norders on stdin\n{}\n{LIMITS}\n",
        rows(&OPTIONS),
        rows(&ORDERS)
    )
}

/// roff takes a hyphen for a dash.
fn roff(text: &str) -> String {
    text.replace('-', "\\-")
}

fn item((name, argument, what): &(&str, &str, &str)) -> String {
    format!(".TP\n.B {} \\fI{argument}\\fR\n{}\n", roff(name), roff(what))
}

pub(crate) fn manual() -> String {
    let items = |table: &[(&str, &str, &str)]| table.iter().map(item).collect::<String>();
    [
        ".TH KVM\\-FAKE\\-QEMU 1 \"\" \"kvm\\-hotplug\"\n.SH NAME\n",
        "kvm\\-fake\\-qemu \\- a QMP socket for the tests of node agents\n.SH SYNOPSIS\n.B kvm\\-fake\\-qemu\n",
        "[\\fIOPTION\\fR...] \\fIQMP\\fR\n.SH DESCRIPTION\n",
        &roff(INTRO),
        "\n.PP\n",
        &roff(LIMITS),
        "\n.SH OPTIONS\n",
        &items(&OPTIONS),
        ".SH ORDERS\n",
        &items(&ORDERS),
        ".SH SEE ALSO\n.BR kvm_hotplug (7),\n.BR kvmctl (1)\n",
    ]
    .concat()
}
