//! `manual man HEADER DIRECTORY`: writes the library's man pages.
//! `manual check HEADER`: fails unless the header says everything that it has to.
//! `manual doxygen HEADER`: prints the header with its comments in Doxygen's words.
//! `manual examples DIRECTORY FILE...`: writes the C examples in a header or in Markdown, each as a file to
//! compile.

mod check;
mod doxygen;
mod examples;
mod man;
mod rules;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use manual::header::Header;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["man", header, directory] => write_man(header, Path::new(directory)),
        ["check", header] => check(header),
        ["doxygen", header] => {
            read(header).and_then(|text| doxygen::filtered(&text)).map(|text| print!("{text}"))
        }
        ["examples", directory, files @ ..] if !files.is_empty() => {
            write_examples(Path::new(directory), files)
        }
        _ => Err("usage: manual man|check|doxygen|examples ...; see src/main.rs".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// An empty directory: nothing of an earlier run stays.
fn renew(directory: &Path) -> Result<(), String> {
    let said = |error| format!("{}: {error}", directory.display());
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(said)?;
    }
    fs::create_dir_all(directory).map_err(said)
}

fn write_man(header: &str, directory: &Path) -> Result<(), String> {
    let pages = man::pages(&Header::parse(&read(header)?)?)?;
    renew(directory)?;
    pages.iter().try_for_each(|(name, text)| write(&directory.join(name), text))
}

fn check(header: &str) -> Result<(), String> {
    let complaints = check::complaints(&Header::parse(&read(header)?)?);
    match complaints.is_empty() {
        true => Ok(()),
        false => Err(format!("{header}:\n  {}", complaints.join("\n  "))),
    }
}

fn write_examples(directory: &Path, files: &[&str]) -> Result<(), String> {
    renew(directory)?;
    for file in files {
        for (name, text) in examples::programs(file, &read(file)?)? {
            write(&directory.join(name), &text)?;
        }
    }
    Ok(())
}
