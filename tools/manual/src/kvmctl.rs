//! The man page of kvmctl, made from what its `--help` prints.
//!
//! The text begins with a line "kvmctl - what it is", or with that in a paragraph. A line that begins at the margin and ends
//! in a colon begins a section ("Usage:" also has text behind it). In a section, a line that is indented and has a gap of two
//! blanks or more in it is an entry and what is said of it; a line that is indented further goes on with that; other indented
//! lines are entries by themselves or, at the margin, paragraphs.

use std::fmt::Write as _;

pub fn page(help: &str, version: &str) -> Result<String, String> {
    let (mut summary, mut out, mut entry_open) = (None, String::new(), false);
    let mut described = false;
    for line in help.lines() {
        let text = line.trim();
        let margin = line.starts_with(|first: char| !first.is_whitespace());
        if text.is_empty() {
            entry_open = false;
        } else if let Some(usage) = line.strip_prefix("Usage:").or_else(|| line.strip_prefix("usage:")) {
            _ = writeln!(out, ".SH SYNOPSIS\n.EX");
            if !usage.trim().is_empty() {
                _ = writeln!(out, "{}", escaped(usage.trim()));
            }
            entry_open = true;
            described = true;
        } else if margin && text.ends_with(':') {
            _ = writeln!(out, ".SH {}", text.trim_end_matches(':').to_uppercase());
            entry_open = false;
            described = false;
        } else if margin && summary.is_none() {
            summary = Some(text.trim_start_matches("kvmctl").trim_start_matches([' ', '-', ':']).to_owned());
            entry_open = false;
        } else if described && !margin {
            // Further lines of the usage.
            _ = writeln!(out, "{}", escaped(text));
        } else if margin {
            if std::mem::take(&mut described) {
                _ = writeln!(out, ".EE\n.SH DESCRIPTION");
            }
            if !std::mem::replace(&mut entry_open, true) {
                _ = writeln!(out, ".PP");
            }
            _ = writeln!(out, "{}", escaped(text));
        } else {
            let indent = line.len() - line.trim_start().len();
            match text.split_once("  ") {
                _ if indent > 8 && entry_open => _ = writeln!(out, "{}", escaped(text)),
                Some((entry, said)) => {
                    _ = writeln!(out, ".TP\n.B {}\n{}", escaped(entry), escaped(said.trim()));
                    entry_open = true;
                }
                None => {
                    _ = writeln!(out, ".TP\n.B {}", escaped(text));
                    entry_open = true;
                }
            }
        }
    }
    let summary = summary.ok_or("the help text does not begin with what kvmctl is")?;
    let head = format!(
        ".\\\" Made from kvmctl --help by tools/manual.\n.TH kvmctl 1 \"\" \"kvm_hotplug {version}\" \"User commands\"\n\
         .SH NAME\nkvmctl \\- {}\n",
        escaped(&summary)
    );
    Ok(format!("{head}{out}.SH SEE ALSO\n.BR kvm_hotplug (7)\n"))
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
