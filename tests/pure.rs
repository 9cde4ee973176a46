//! The engine has nothing done on the host but by steps that the shell performs. It uses settings, identities
//! and arguments of rooms that have hands as well (`net`, `disk`, `store`, `sys`), and none of their
//! functions that look at the host or change it. `tests/layers.rs` holds that it names no file, socket, clock
//! or thread itself.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Functions of other rooms that look at the host or change it, and a clock that does not look like one.
const FORBIDDEN: &[&str] = &[
    ".elapsed()",
    "disk::image",
    "Identity::of_path",
    "Interfaces",
    "Taps::of_process",
    "TunDevice",
    "attach_queues(",
    "check_queues(",
    "given::inspect",
    "Given::check",
    "mac::generate",
    "random_bytes",
    "images::open",
    "images::resolve",
    "peer::look",
    "peer::is_there",
    "peer::state",
    "runtime().accept_chain",
    ".share_all(",
    "taps.share(",
];

/// What may be named of rooms that have hands as well: settings, identities and arguments, and descriptors
/// that nobody looks at.
const ALLOWED: &[&str] = &[
    "crate::net::args",
    "crate::net::bandwidth::Bandwidth",
    "crate::net::bandwidth::Limits",
    "crate::net::bridge_move::BridgeMove",
    "crate::net::given",
    "crate::net::given::Given",
    "crate::net::identity::TapIdentity",
    "crate::net::limits::LimitChange",
    "crate::net::models",
    "crate::net::netdev::Netdev",
    "crate::net::port::PortFlags",
    "crate::net::port::PortSettings",
    "crate::net::share::Taps",
    "crate::net::spec::NicSpec",
    "crate::net::tap::TapRequest",
    "crate::net::vhost",
    "crate::net::vhost::VhostMode",
    "crate::sys::descriptor::Descriptor",
];

/// Of a module that is named whole, this only.
const ALLOWED_OF_MODULES: &[&str] = &["given::Given", "vhost::DEVICE"];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(sources(&path)),
            // Tests that are a file of their own.
            false if path.file_name().is_some_and(|name| name == "tests.rs") => {}
            false => all.push(path),
        }
    }
    all.sort();
    all
}

/// The code without comments and without its tests, which stand at the end of a file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines()).take_while(|(_, line)| *line != "#[cfg(test)]");
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_allowed(path: &str) -> bool {
    let watched = ["crate::net", "crate::sys"].iter().any(|room| path.starts_with(room));
    !watched || ALLOWED.contains(&path)
}

/// The paths of a line that begin with `crate`, with the braces of an import unfolded.
fn paths(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = line.get(at..).unwrap();
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        let path = path.trim_end_matches("::");
        match after.strip_prefix('{').and_then(|list| list.split_once('}')) {
            Some((list, _)) => all.extend(list.split(',').map(|name| match name.trim() {
                "self" => path.to_owned(),
                name => format!("{path}::{name}"),
            })),
            None => all.push(path.to_owned()),
        }
    }
    all
}

/// What a line names that is not for whoever only decides.
fn faults(line: &str) -> Vec<String> {
    let mut all: Vec<String> =
        FORBIDDEN.iter().filter(|word| line.contains(**word)).map(|word| (*word).to_owned()).collect();
    all.extend(paths(line).into_iter().filter(|path| !is_allowed(path)));
    let of_modules = ["given::", "vhost::"].iter().filter(|module| {
        let is_import = line.contains(&format!("crate::net::{module}"));
        line.contains(**module)
            && !is_import
            && !ALLOWED_OF_MODULES.iter().any(|allowed| line.contains(allowed))
    });
    all.extend(of_modules.map(|module| format!("a function of {module}")));
    all
}

#[test]
fn the_engine_calls_nothing_that_has_hands() {
    let mut found = String::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let files = sources(&directory);
    assert!(files.len() > 20, "{} has {} files", directory.display(), files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let tests = text.split_once("\n#[cfg(test)]\n").map_or("mod tests", |(_, tests)| tests);
        assert!(tests.starts_with("mod tests"), "{}: its tests are to be its end", path.display());
        for (number, line) in code(&text) {
            for fault in faults(line) {
                writeln!(found, "{}:{number}: {fault}", path.display()).unwrap();
            }
        }
    }
    assert!(found.is_empty(), "what touches the host is a step of src/engine/host_step.rs:\n{found}");
}

#[test]
fn what_is_found() {
    for bad in [
        "let late = asked_at.elapsed() > PAUSE;",
        "use crate::net::link::{self, TapIdentity};",
        "use crate::net::tap::{TapRequest, TunDevice};",
        "let fds = crate::sys::tun::features(fd);",
        "let fds = vhost::open(mode, queues)?;",
        "given::attach_queues(&fds)?;",
        "let image = images::open(self.runtime().record(), spec)?;",
        "use crate::store::peer::is_there;",
    ] {
        assert!(!faults(bad).is_empty(), "{bad}");
    }
    for good in [
        "use std::time::{Duration, Instant};",
        "use crate::net::identity::TapIdentity;",
        "use crate::net::vhost;",
        "let tap: given::Given = self.check_given_tap(fds).await?;",
        "format!(\"open {} {} time(s)\", vhost::DEVICE, count)",
        "let image = self.open_image(spec).await?;",
    ] {
        assert_eq!(faults(good), Vec::<String>::new(), "{good}");
    }
    let text = "//! std::fs\nlet a = 1;\n#[cfg(test)]\nmod tests { std::fs }\n";
    assert_eq!(code(text).collect::<Vec<_>>(), [(2, "let a = 1;")]);
}
