//! The markup of the comments: paragraphs, lists, parameters, indented code.

#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Text(String),
    Bullets(Vec<String>),
    /// Names, and what is said of them.
    Terms(Vec<(Vec<String>, String)>),
    Code(Vec<String>),
}

/// The comment of a function, by what it says.
#[derive(Debug, Default)]
pub struct Sections {
    pub description: Vec<Block>,
    pub parameters: Vec<(Vec<String>, String)>,
    /// The paragraph that begins with "Blocks".
    pub blocking: Option<String>,
    /// From the paragraph that begins with "Returns" to the end.
    pub returns: Vec<Block>,
}

/// What the parts of a function's comment begin with, after its parameters.
pub const PARTS: [&str; 4] = ["Blocks: ", "Returns ", "Fails ", "Answers and fails "];

pub fn blocks(doc: &[String]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in doc {
        let text = line.trim();
        open &= !PARTS.iter().any(|part| line.starts_with(part));
        let last = blocks.last_mut().filter(|_| open);
        if text.is_empty() {
            open = false;
        } else if line.starts_with("    ")
            && !matches!(last, Some(Block::Text(_) | Block::Bullets(_) | Block::Terms(_)))
        {
            let code = line.get(4..).unwrap_or_default().to_owned();
            match blocks.last_mut() {
                Some(Block::Code(lines)) => {
                    if !open {
                        lines.push(String::new());
                    }
                    lines.push(code);
                }
                _ => blocks.push(Block::Code(vec![code])),
            }
            open = true;
        } else if let Some(item) = line.strip_prefix("- ") {
            match last {
                Some(Block::Bullets(items)) => items.push(item.to_owned()),
                _ => blocks.push(Block::Bullets(vec![item.to_owned()])),
            }
            open = true;
        } else if let Some(term) = term(line) {
            match last {
                Some(Block::Terms(terms)) => terms.push(term),
                _ => blocks.push(Block::Terms(vec![term])),
            }
            open = true;
        } else {
            let target = match last {
                Some(Block::Text(whole)) => Some(whole),
                Some(Block::Bullets(items)) => items.last_mut(),
                Some(Block::Terms(terms)) => terms.last_mut().map(|(_, whole)| whole),
                Some(Block::Code(_)) | None => None,
            };
            match target {
                Some(whole) => {
                    whole.push(' ');
                    whole.push_str(text);
                }
                None => blocks.push(Block::Text(text.to_owned())),
            }
            open = true;
        }
    }
    blocks
}

/// "`a`, `b`: what they are", the comma being an "and" as well.
pub fn term(line: &str) -> Option<(Vec<String>, String)> {
    let mut names = Vec::new();
    let mut rest = line;
    loop {
        let (name, behind) = rest.strip_prefix('`')?.split_once('`')?;
        names.push(name.to_owned());
        if let Some(text) = behind.strip_prefix(": ") {
            return Some((names, text.to_owned()));
        }
        rest = behind.strip_prefix(", ").or_else(|| behind.strip_prefix(" and "))?;
    }
}

pub fn sections(doc: &[String]) -> Sections {
    let mut sections = Sections::default();
    for block in blocks(doc) {
        match block {
            block if !sections.returns.is_empty() => sections.returns.push(block),
            Block::Terms(terms) => sections.parameters.extend(terms),
            Block::Text(text) if text.starts_with("Blocks") => sections.blocking = Some(text),
            Block::Text(text) if PARTS.iter().any(|part| text.starts_with(part)) => {
                sections.returns.push(Block::Text(text));
            }
            block => sections.description.push(block),
        }
    }
    sections
}

/// What a comment says at first, short enough for a list: without what follows a colon, and without the full
/// stop.
pub fn summary(doc: &[String]) -> String {
    let first = blocks(doc).into_iter().find_map(|block| match block {
        Block::Text(text) if !text.starts_with('@') => Some(text),
        _ => None,
    });
    let text = first.unwrap_or_default();
    let end = [": ", ". ", "; "].iter().filter_map(|stop| text.find(stop)).min();
    let text = end.and_then(|end| text.get(..end)).unwrap_or(&text).trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        // "NIC" and "QEMU" stay as they are.
        Some(first) if !chars.clone().next().is_some_and(|second| second.is_uppercase()) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_parts_of_a_comment() {
        let doc = lines(
            "Does: a thing.\nAnd more.\n\n    if (a)\n        b();\n\n    c();\n\n`a`, `b`: two\nof them.\n`c` and `d`: two.\n\n\
             Blocks: no. Threads: any.\n\nReturns 0, or\n- -EINVAL (one\n  and two);\n- -EBADF.\n\nIn the end.",
        );
        let sections = sections(&doc);
        let code = ["if (a)", "    b();", "", "c();"].map(str::to_owned).to_vec();
        assert_eq!(sections.description, [Block::Text("Does: a thing. And more.".into()), Block::Code(code)]);
        assert_eq!(sections.parameters[0], (vec!["a".into(), "b".into()], "two of them.".into()));
        assert_eq!(sections.parameters[1].0, ["c", "d"]);
        assert_eq!(sections.blocking.as_deref(), Some("Blocks: no. Threads: any."));
        let bullets = vec!["-EINVAL (one and two);".into(), "-EBADF.".into()];
        let returns =
            [Block::Text("Returns 0, or".into()), Block::Bullets(bullets), Block::Text("In the end.".into())];
        assert_eq!(sections.returns, returns);
        assert_eq!(summary(&doc), "does");
    }

    #[test]
    fn summaries() {
        assert_eq!(summary(&lines("NIC or disk.")), "NIC or disk");
        assert_eq!(summary(&lines("A NIC to add. Zero is the default.")), "a NIC to add");
    }

    #[test]
    fn words_in_backquotes_are_no_terms() {
        assert_eq!(blocks(&lines("`x` is said.")), [Block::Text("`x` is said.".into())]);
    }
}
