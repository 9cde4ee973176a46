//! What the documents name is there: tests, files, headings. And docs/qemu-quirks.md, which is to have every
//! remark about a QEMU version, names every source file that makes one.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::path::Path;

const QUIRKS: &str = "docs/qemu-quirks.md";

/// The documents that name tests and files of ours, beside all pages in `docs`; SECURITY.md is held by
/// tests/bin/docs as well.
const DOCUMENTS: [&str; 5] =
    ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "SECURITY.md", "tests/README.md"];

/// The pages in `docs`, in a fixed order.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> =
        read_dir("docs").unwrap().map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()).collect();
    pages.retain(|page| page.ends_with(".md"));
    pages.sort();
    pages
}

fn documents() -> Vec<String> {
    DOCUMENTS.into_iter().map(str::to_owned).chain(pages()).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// What is between backticks in the text, and begins with the name of a directory of ours.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|quoted| {
        let ours = ["src/", "tests/", "include/", "examples/", "docs/", "tools/"];
        ours.iter().any(|root| quoted.starts_with(root)) && !quoted.contains([' ', '*', '\n', '<', '{'])
    })
}

/// Without what stands between lines of three backticks.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let keeps = |line: &&str| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_fence && !is_code
    };
    text.lines().filter(keeps).collect::<Vec<_>>().join("\n")
}

/// Whether a function of this name is defined in the file; in Rust, whether cargo runs it.
fn has_test(file: &str, name: &str) -> bool {
    let text = read(file);
    let calls = format!("{name}(");
    if !file.ends_with(".rs") {
        return text.lines().any(|line| {
            let defines = line.starts_with("static") || line.starts_with("int ") || line.starts_with("func ");
            (defines && line.contains(&calls)) || line.starts_with(&calls)
        });
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_marked = lines.windows(2).any(|pair| {
        pair.first() == Some(&"#[test]")
            && pair.last().is_some_and(|line| line.contains(&format!("fn {calls}")))
    });
    // Those of two APIs, and those of tables, are listed by the file that cargo builds.
    let root = file.split('/').nth(1).unwrap_or_default().trim_end_matches(".rs");
    let listed =
        |line: &str| line.trim() == format!("{name},") || line.trim().starts_with(&format!("{name}: "));
    is_marked || (file.starts_with("tests/") && read(format!("tests/{root}.rs")).lines().any(listed))
}

/// The cells of the rows of all tables, headings and rules left out.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|---");
    let is_head = |line: &str| {
        lines.windows(2).any(|pair| {
            pair.first() == Some(&line) && pair.last().is_some_and(|next| next.starts_with("|---"))
        })
    };
    let rows = lines.iter().copied().filter(is_row).filter(|line| !is_head(line));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn each_row_has_a_test_or_says_why_it_has_none() {
    let text = read(QUIRKS);
    let rows = rows(&text);
    assert!(rows.len() >= 100, "{} rows only", rows.len());
    for row in rows {
        let [qemu, what, place, test] = row[..] else { panic!("{QUIRKS}: four cells, please: {row:?}") };
        assert!(!qemu.is_empty() && !what.is_empty(), "{QUIRKS}: {row:?}");
        assert!(
            references(place).next().is_some() || place.starts_with("not dealt with"),
            "{QUIRKS}: no place: {row:?}"
        );
        let says_why = test.split_once("not tested: ").is_some_and(|(_, why)| why.len() > 10);
        assert!(references(test).any(is_test_file) || says_why, "{QUIRKS}: no test: {row:?}");
    }
}

fn is_test_file(reference: &str) -> bool {
    let (file, name) = reference.split_once('#').unwrap_or((reference, ""));
    if name.is_empty() {
        file.starts_with("tests/c/") && file.matches('/').count() == 2
    } else {
        has_test(file, name)
    }
}

#[test]
fn files_and_tests_that_documents_name_are_there() {
    let mut wrong = BTreeSet::new();
    for document in documents() {
        let text = prose(&read(&document));
        for reference in references(&text) {
            let (file, name) = reference.split_once('#').unwrap_or((reference, ""));
            // What a test makes a table of is no function, and what SECURITY.md counts is held by
            // tests/bin/docs.
            let is_constant = !name.is_empty() && name == name.to_uppercase();
            let is_there = Path::new(file).exists()
                && (name.is_empty() || is_constant || document == "SECURITY.md" || has_test(file, name));
            if !is_there {
                wrong.insert(format!("{document} names {reference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not there: {wrong:#?}");
}

/// The heading as links name it: lower case, words joined by hyphens.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    for document in &documents() {
        let text = prose(&read(document));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = match file {
                "" => Path::new(document).to_owned(),
                file => Path::new(document).parent().unwrap_or(Path::new("")).join(file),
            };
            assert!(file.exists(), "{document}: the link {link} leads to nothing");
            if !heading.is_empty() {
                let target = prose(&read(&file));
                let mut headings = target.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line.trim_start_matches('#')) == heading),
                    "{document}: {link}: there is no such heading"
                );
            }
        }
    }
}

#[test]
fn each_page_is_listed_and_says_first_who_needs_it() {
    let list = read("docs/README.md");
    for page in pages() {
        let name = page.trim_start_matches("docs/");
        assert!(
            name == "README.md" || list.contains(&format!("]({name})")),
            "docs/README.md does not list {page}"
        );
    }
    for document in documents().iter().filter(|document| *document != "README.md") {
        let text = read(document);
        let first = text.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
        assert!(first.starts_with("You need this page "), "{document} does not say first who needs it");
    }
}

/// Source files, in a fixed order.
fn sources(folder: &Path, into: &mut Vec<String>) {
    let mut entries: Vec<_> = read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            into.push(entry.to_str().unwrap().to_owned());
        }
    }
}

/// Whether the line is a comment about a version of QEMU, or a constant that is one.
fn mentions_qemu(line: &str) -> bool {
    let line = line.trim();
    if line.contains("Version { major: ") && line.contains("const") {
        return true;
    }
    line.split_once("//").is_some_and(|(_, comment)| has_version(comment))
}

/// A number of a version of QEMU, such as 7.2 or 10.0.13 and not 0.5 or pci.0; or "QEMU 11".
fn has_version(comment: &str) -> bool {
    let word_ends = |letter: char| letter.is_whitespace() || "(),;:\"'".contains(letter);
    let words: Vec<&str> = comment.split(word_ends).map(|word| word.trim_end_matches('.')).collect();
    let numbers =
        |word: &str| word.split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
    let is_version =
        |word: &&str| matches!(numbers(word).as_deref(), Some([4..=19, 0..=2] | [4..=19, 0..=2, _]));
    let after_qemu = |pair: &[&str]| match pair {
        ["QEMU", number] => number.starts_with(|letter: char| letter.is_ascii_digit()),
        [_, "QEMU", "since" | "before" | "until", number] => {
            number.starts_with(|letter: char| letter.is_ascii_digit())
        }
        _ => false,
    };
    words.iter().any(is_version) || words.windows(2).any(after_qemu) || words.windows(4).any(after_qemu)
}

#[test]
fn versions_are_told_from_other_numbers() {
    for text in [
        "QEMU 7.2 keeps",
        "(5.2 to 11.1)",
        "seen with 11.1.3,",
        "QEMU since 11 polls",
        "since QEMU 2.9.",
        "before 9.1",
    ] {
        assert!(mentions_qemu(&format!("/// {text}")), "{text}");
    }
    for text in [
        "on scsi-pci-7.0",
        "pci.0",
        "0.5 s",
        "127.0.0.1 is here",
        "Linux 5.6",
        "3.5 µs",
        "Ganeti 2.16",
        "QEMU 's own",
    ] {
        assert!(!mentions_qemu(&format!("/// {text}")), "{text}");
    }
    assert!(!mentions_qemu("let name = \"pc-i440fx-7.2 7.2\";"));
    assert!(mentions_qemu("const NEW: Version = Version { major: 8, minor: 0, micro: 0 };"));
}

#[test]
fn every_source_file_that_mentions_a_version_is_in_the_table() {
    let (text, mut files) = (read(QUIRKS), Vec::new());
    sources(Path::new("src"), &mut files);
    let named: BTreeSet<&str> =
        references(&text).map(|name| name.split_once('#').map_or(name, |(file, _)| file)).collect();
    let missing: Vec<&String> = files
        .iter()
        .filter(|file| !named.contains(file.as_str()) && read(file.as_str()).lines().any(mentions_qemu))
        .collect();
    assert!(
        missing.is_empty(),
        "files with remarks about a QEMU version that {QUIRKS} does not have: {missing:#?}"
    );
}

#[test]
fn only_the_table_of_refusals_reads_qemus_words() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    // Where they are kept, where callers are given them, and where they are given a meaning.
    let may = |file: &str| ["src/error.rs", "src/capi/error.rs", "src/qmp/qemu_errors.rs"].contains(&file);
    let reads = |file: &str| {
        let text = read(file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        [".qmp_desc()", ".qmp_class()"].iter().any(|words| code.contains(words))
    };
    let others: Vec<&String> =
        files.iter().filter(|file| !may(file) && !file.ends_with("tests.rs") && reads(file)).collect();
    assert!(
        others.is_empty(),
        "src/qmp/qemu_errors.rs knows what QEMU says; these files look by themselves: {others:?}"
    );
}
