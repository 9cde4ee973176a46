//! Other programs, run by a shell that was started before there was any tap.
//!
//! A program has everything that its parent has open until it is executed: a tap that another test closes
//! meanwhile would not be gone, and its test fail.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Before the first tap of the process. The shell ends with its input, when the process does.
pub fn prepare() {
    shell();
}

/// Runs a program that has to succeed. What it has to complain about goes where the test's own output goes.
pub fn run(words: &[&str]) {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    let mut shell = shell().lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(shell.stdin.as_mut().unwrap(), "{} </dev/null >/dev/null; echo $?", quoted.join(" ")).unwrap();
    let mut status = String::new();
    BufReader::with_capacity(1, shell.stdout.as_mut().unwrap()).read_line(&mut status).unwrap();
    assert_eq!(status.trim(), "0", "{words:?} failed");
}

/// Runs a program beside others, and says whether it succeeded and what it said.
pub fn output(words: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let [said, status] = ["said", "status"].map(|name| dir.path().join(name));
    // Renamed, so that it is whole when it is there.
    const SCRIPT: &str = r#"said=$0 status=$1; shift; ("$@" >"$said" 2>&1; echo $? >"$status.new"; mv "$status.new" "$status") &"#;
    let start = ["sh", "-c", SCRIPT, said.to_str().unwrap(), status.to_str().unwrap()];
    run(&[&start[..], words].concat());
    while !status.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let is_good = std::fs::read_to_string(&status).unwrap().trim() == "0";
    (is_good, String::from_utf8_lossy(&std::fs::read(&said).unwrap()).into_owned())
}

fn shell() -> &'static Mutex<Child> {
    static SHELL: OnceLock<Mutex<Child>> = OnceLock::new();
    SHELL.get_or_init(|| {
        let shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Mutex::new(shell.expect("start a shell"))
    })
}
