//! The header with its comments in Doxygen's words, so that Doxygen can check them: every parameter, no
//! other.

use manual::header::{self, Header, Item, Kind, is_word};
use manual::markup::{Block, Sections, sections};

use crate::rules::Rules;

pub fn filtered(text: &str) -> Result<String, String> {
    let header = Header::parse(text)?;
    let rules = Rules::of(&header);
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(first) = line.trim_start().strip_prefix("/**").filter(|first| !first.starts_with('<'))
        else {
            // What is behind a value is short, and in Doxygen's own words already.
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let doc = header::comment(first, &mut lines);
        let mut parts = sections(&doc);
        if let Some(Item { kind: Kind::Function(names), declaration, .. }) =
            header.functions().find(|item| item.doc == doc)
        {
            rules.complete(names, declaration.starts_with("int "), &mut parts);
        }
        out.push_str(&comment(&parts));
    }
    // What fills in the sizes is no part of the interface.
    Ok(out.replace(
        "#define KVMH_SIZE",
        "/** The size of what a pointer points to; 0 for NULL. */\n#define KVMH_SIZE",
    ))
}

fn comment(parts: &Sections) -> String {
    let mut out = String::from("/**\n");
    for block in &parts.description {
        out.push_str(&written(block));
    }
    for (names, text) in &parts.parameters {
        out.push_str(&format!("@param {} {}\n", names.join(","), inline(text)));
    }
    if let Some(text) = &parts.blocking {
        out.push_str(&format!("\n@par Blocking and threads\n{}\n", inline(text)));
    }
    if let Some((Block::Text(first), rest)) = parts.returns.split_first() {
        // What is a list of Doxygen's own inside a section of Doxygen's own needs no blank line, nor bears
        // one.
        out.push_str(&format!("\n@return {}\n", inline(first.trim_start_matches("Returns "))));
        for block in rest {
            match block {
                Block::Bullets(_) => out.push_str(&written(block).trim_start().replace("\n\n", "\n")),
                _ => out.push_str(&format!("\n@par\n{}", written(block).trim_start())),
            }
        }
    }
    out.push_str("*/\n");
    out
}

fn written(block: &Block) -> String {
    match block {
        Block::Text(text) => format!("{}\n\n", inline(text)),
        Block::Bullets(items) => {
            let items: Vec<String> = items.iter().map(|item| format!("- {}\n", inline(item))).collect();
            items.concat() + "\n"
        }
        Block::Terms(terms) => {
            let line =
                |(names, text): &(Vec<String>, String)| format!("- {}: {}\n", names.join(", "), inline(text));
            terms.iter().map(line).collect::<Vec<_>>().concat()
        }
        Block::Code(lines) => format!("@code{{.c}}\n{}\n@endcode\n\n", lines.join("\n")),
    }
}

/// Doxygen sees tags in angle brackets, entities and commands in what is meant as it stands.
fn inline(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut out = String::new();
    for (at, char) in text.char_indices() {
        match char {
            '%' | '#' | '\\' => out.push('\\'),
            '@' if text.get(at + 1..).is_none_or(|rest| !rest.starts_with("file")) => out.push('@'),
            _ => {}
        }
        out.push(char);
    }
    // The word before the name is no link by itself.
    debug_assert!(
        out.chars().filter(|char| is_word(*char)).count()
            >= text.chars().filter(|char| is_word(*char)).count()
    );
    out
}
