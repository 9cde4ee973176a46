//! The QMP monitor of one start: it listens at another path than the recorded command says.

use std::path::Path;

use super::incoming::MAX_SOCKET_PATH;
use crate::error::{Error, Result};
use crate::model::option::read;

/// What `-qmp` has in front of the path of a Unix socket.
const UNIX: &str = "unix:";

type Members = Vec<(String, String)>;

/// The command of a start whose monitor listens at this path, or where the recorded command says.
pub(super) fn command(recorded: &[String], listen_at: Option<&Path>) -> Result<Vec<String>> {
    match listen_at {
        Some(path) => set(recorded, path),
        None => Ok(recorded.to_vec()),
    }
}

/// The command with a QMP monitor that listens at this path: the first one that listens at a Unix socket
/// moves there; where there is none, one is added.
fn set(command: &[String], path: &Path) -> Result<Vec<String>> {
    let path = check(path)?;
    let mut next = command.to_vec();
    match find(command) {
        Some((at, text)) => {
            if let Some(argument) = next.get_mut(at) {
                *argument = moved(&text, path);
            }
        }
        None => {
            next.extend(["-qmp".to_owned(), format!("{UNIX}{},server=on,wait=off", path.replace(',', ",,"))])
        }
    }
    Ok(next)
}

fn check(path: &Path) -> Result<&str> {
    let bad = |why: &str| Error::invalid(format!("the monitor's path {}: {why}", path.display()));
    let text = path.to_str().ok_or_else(|| bad("is not UTF-8"))?;
    match text {
        _ if !text.starts_with('/') => Err(bad("must be absolute")),
        _ if text.contains('\0') => Err(bad("contains a NUL")),
        _ if text.len() > MAX_SOCKET_PATH => Err(bad("is longer than a socket's path can be")),
        _ => Ok(text),
    }
}

/// The argument of the option that says where the monitor listens, and where it stands in the command.
fn find(command: &[String]) -> Option<(usize, Argument)> {
    let options = || options(command);
    options().find_map(|(at, option, text)| {
        let name = match option {
            "qmp" | "qmp-pretty" => match (text.strip_prefix(UNIX), text.strip_prefix("chardev:")) {
                (Some(rest), _) => {
                    let members = read(rest, "path");
                    return listens(&members).then_some((at, Argument { prefix: UNIX, members }));
                }
                (None, Some(name)) => name.to_owned(),
                (None, None) => return None,
            },
            "mon" => {
                let members = read(text, "chardev");
                (member(&members, "mode") == Some("control"))
                    .then(|| member(&members, "chardev"))??
                    .to_owned()
            }
            _ => return None,
        };
        options().filter(|(_, option, _)| *option == "chardev").find_map(|(at, _, text)| {
            let members = read(text, "backend");
            let is_it = member(&members, "backend") == Some("socket")
                && member(&members, "id") == Some(name.as_str())
                && listens(&members);
            is_it.then_some((at, Argument { prefix: "", members }))
        })
    })
}

/// An argument that names a socket.
struct Argument {
    prefix: &'static str,
    members: Members,
}

/// Options that can be about a monitor, each with its argument and where that stands.
fn options(command: &[String]) -> impl Iterator<Item = (usize, &str, &str)> {
    let pairs = command.iter().zip(command.iter().skip(1)).enumerate().skip(1);
    pairs.filter_map(|(at, (option, text))| {
        let option = option.strip_prefix("--").or_else(|| option.strip_prefix('-'))?;
        matches!(option, "qmp" | "qmp-pretty" | "mon" | "chardev").then_some((at + 1, option, text.as_str()))
    })
}

fn member<'a>(members: &'a Members, name: &str) -> Option<&'a str> {
    members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn listens(members: &Members) -> bool {
    let is_server = matches!(member(members, "server"), Some("on" | "yes" | "true" | "y"));
    is_server && member(members, "path").is_some()
}

/// The same argument with another path, which is a file's.
fn moved(argument: &Argument, path: &str) -> String {
    let mut text = argument.prefix.to_owned();
    let kept = argument.members.iter().filter(|(key, _)| !matches!(key.as_str(), "abstract" | "tight"));
    for (at, (key, value)) in kept.enumerate() {
        let value = if key == "path" { path } else { value.as_str() };
        if at > 0 {
            text.push(',');
        }
        // What comes first has no name there.
        if at > 0 || !matches!(key.as_str(), "path" | "backend") {
            text.push_str(key);
            text.push('=');
        }
        text.push_str(&value.replace(',', ",,"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        std::iter::once("qemu").chain(words.iter().copied()).map(str::to_owned).collect()
    }

    #[test]
    fn a_monitor_moves_or_is_added() {
        let chardev = ["-chardev", "socket,id=a,path=/a,server=on", "-mon", "chardev=a"];
        let table: &[(&[&str], &[&str])] = &[
            (&["-qmp", "unix:/a,server=on,wait=off"], &["-qmp", "unix:/n,,w,server=on,wait=off"]),
            (&["-qmp", "unix:/a,,b,server,nowait"], &["-qmp", "unix:/n,,w,server=on,nowait=on"]),
            (&["--qmp-pretty", "unix:path=/a,server=on"], &["--qmp-pretty", "unix:/n,,w,server=on"]),
            (
                &["-qmp", "unix:a,server=on,abstract=on,tight=on,wait=off"],
                &["-qmp", "unix:/n,,w,server=on,wait=off"],
            ),
            (
                &["-mon", "chardev=c,mode=control", "-chardev", "socket,id=c,path=/c,server=on,wait=off"],
                &["-mon", "chardev=c,mode=control", "-chardev", "socket,id=c,path=/n,,w,server=on,wait=off"],
            ),
            (
                &["-chardev", "socket,id=c,server=on,path=/c", "-mon", "c,mode=control"],
                &["-chardev", "socket,id=c,server=on,path=/n,,w", "-mon", "c,mode=control"],
            ),
            (
                &["-chardev", "socket,id=c,path=/c,server=on", "-qmp", "chardev:c"],
                &["-chardev", "socket,id=c,path=/n,,w,server=on", "-qmp", "chardev:c"],
            ),
            // The first one alone.
            (
                &["-qmp", "unix:/a,server=on", "-qmp", "unix:/b,server=on"],
                &["-qmp", "unix:/n,,w,server=on", "-qmp", "unix:/b,server=on"],
            ),
        ];
        for (before, after) in table {
            assert_eq!(set(&words(before), Path::new("/n,w")).unwrap(), words(after), "{before:?}");
        }
        // None of these is one: a human's, a client, TCP, no argument, and what only looks like one.
        for none in [
            &chardev[..],
            &["-qmp", "unix:/a"],
            &["-qmp", "tcp:localhost:4444,server=on"],
            &["-monitor", "unix:/a,server=on"],
            &["-qmp"],
            &["-mon", "chardev=gone,mode=control"],
            &["-name", "-qmp"],
        ] {
            let mut wanted = words(none);
            wanted.extend(words(&["-qmp", "unix:/n,,w,server=on,wait=off"]).into_iter().skip(1));
            assert_eq!(set(&words(none), Path::new("/n,w")).unwrap(), wanted, "{none:?}");
        }
    }

    #[test]
    fn what_is_no_path_of_a_socket_is_refused() {
        for path in ["", "relative", "@name", &format!("/{}", "x".repeat(107))] {
            assert!(set(&words(&[]), Path::new(path)).is_err(), "{path}");
        }
    }
}
