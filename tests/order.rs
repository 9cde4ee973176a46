//! Another order than journal, commands, record, journal struck does not compile: the types that keep it are
//! compiled with code that uses them rightly, and with code that does not.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// What an operation does, and the error that the compiler has for it.
const OPERATIONS: [(&str, &str, Option<&str>); 10] = [
    (
        "all in order",
        "let begun = journal(Staged); send(begun.may()); send(begun.may()); strike(commit(begun));",
        None,
    ),
    (
        "all in order, and taken back",
        "let begun = journal(Staged).give_up(); send(begun.may()); strike(begun.nothing_to_record());",
        None,
    ),
    ("a command before the journal", "send(May(std::marker::PhantomData));", Some("E0423")),
    ("a journal entry that nobody has written", "let begun = Journaled::with(Staged);", Some("E0624")),
    ("the record before the journal", "commit(Staged);", Some("E0308")),
    (
        "a command after the record",
        "let begun = journal(Staged); let may = begun.may(); commit(begun); send(may);",
        Some("E0505"),
    ),
    ("the journal struck before the record", "let begun = journal(Staged); strike(begun);", Some("E0308")),
    (
        "the journal struck, and a staged record left",
        "let begun = journal(Staged); strike(begun.nothing_to_record());",
        Some("E0599"),
    ),
    ("a record that nobody has written", "strike(Committed(()));", Some("E0423")),
    ("struck twice", "let done = commit(journal(Staged)); strike(done); strike(done);", Some("E0382")),
];

fn program(operation: &str) -> String {
    let order = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/store_step/order.rs");
    format!(
        "#![allow(unused)]
        mod engine {{
            mod store_step {{
                #[path = {order:?}]
                mod order;
                pub(in crate::engine) use order::{{Committed, Journaled, May}};
                pub struct Staged;
                pub(in crate::engine) fn journal(staged: Staged) -> Journaled<Staged> {{ Journaled::with(staged) }}
                pub(in crate::engine) fn commit(begun: Journaled<Staged>) -> Committed {{ begun.into_staged().1.recorded() }}
                pub(in crate::engine) fn strike(_: Committed) {{}}
            }}
            mod talk {{
                pub(in crate::engine) fn send(_: super::store_step::May<'_>) {{}}
            }}
            mod operation {{
                use super::{{store_step::*, talk::send}};
                fn operation() {{ {operation} }}
            }}
        }}"
    )
}

#[test]
fn another_order_does_not_compile() {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("main.rs"), folder.path().join("out"));
    for (name, operation, expected) in OPERATIONS {
        std::fs::write(&source, program(operation)).unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata"]);
        let compiled = command.arg("-o").arg(&output).arg(&source).output().unwrap();
        let said = String::from_utf8_lossy(&compiled.stderr);
        let errors: Vec<&str> =
            said.lines().filter_map(|line| line.strip_prefix("error[")?.get(..5)).collect();
        assert_eq!(errors, expected.into_iter().collect::<Vec<_>>(), "{name}: {said}");
        assert_eq!(compiled.status.success(), expected.is_none(), "{name}: {said}");
    }
}
