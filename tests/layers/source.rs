//! What a source file names, read as text: its submodules, its imports, and every path in its code. Comments,
//! texts and test modules are left out.

/// A source file.
pub struct Source {
    /// Below `src`, with its ending.
    pub path: String,
    /// The module that it is: `["disk", "spec"]`.
    pub module: Vec<String>,
    /// Modules that are files of their own.
    pub children: Vec<String>,
    pub imports: Vec<Import>,
    /// Paths of two segments or more, outside imports.
    pub paths: Vec<Vec<String>>,
}

/// One name that a `use` brings in.
pub struct Import {
    pub path: Vec<String>,
    /// `*` for all names.
    pub name: String,
}

impl Source {
    pub fn read(path: &str, text: &str) -> Self {
        let code = without_tests(&without_comments(text));
        let mut source = Self {
            path: path.to_owned(),
            module: module_of(path),
            children: Vec::new(),
            imports: Vec::new(),
            paths: Vec::new(),
        };
        let words = words(&code);
        let mut at = 0;
        while at < words.len() {
            match words[at].as_str() {
                "mod" if words.get(at + 2).is_some_and(|word| word == ";") => {
                    source.children.push(words[at + 1].clone());
                    at += 2;
                }
                "use" => {
                    at += 1;
                    read_tree(&words, &mut at, &[], &mut source.imports);
                }
                // For whom something is there is not what it uses.
                "pub" if words.get(at + 2).is_some_and(|word| word == "in") => {
                    at += words[at..].iter().position(|word| word == ")").unwrap_or_default();
                }
                word if is_name(word) => {
                    let mut path = vec![word.to_owned()];
                    while words.get(at + 1).is_some_and(|word| word == "::")
                        && words.get(at + 2).is_some_and(|word| is_name(word))
                    {
                        path.push(words[at + 2].clone());
                        at += 2;
                    }
                    if path.len() > 1 {
                        source.paths.push(path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        source
    }

    /// The room that it is in: a folder of `src`, or a file there.
    pub fn room(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
}

/// Reads what follows `use`, up to the comma, brace or semicolon behind it.
fn read_tree(words: &[String], at: &mut usize, before: &[String], imports: &mut Vec<Import>) {
    let mut path = before.to_vec();
    while let Some(word) = words.get(*at) {
        match word.as_str() {
            "::" => {}
            "{" => {
                while words.get(*at).is_some_and(|word| word != "}") {
                    *at += 1;
                    read_tree(words, at, &path, imports);
                }
                *at += 1;
                return;
            }
            "as" => {
                let name = words.get(*at + 1).cloned().unwrap_or_default();
                *at += 2;
                imports.push(Import { path, name });
                return;
            }
            "*" => {
                *at += 1;
                imports.push(Import { path, name: "*".to_owned() });
                return;
            }
            word if is_name(word) => path.push(word.to_owned()),
            _ => break,
        }
        *at += 1;
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if path.len() > before.len()
        || !before.is_empty() && words.get(*at - 1).is_some_and(|word| word == "self")
    {
        let name = path.last().cloned().unwrap_or_default();
        imports.push(Import { path, name });
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single other characters.
fn words(code: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = match first {
            _ if is_part(first) => rest.find(|letter| !is_part(letter)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(length);
        if !first.is_whitespace() {
            words.push(word.to_owned());
        }
        rest = behind;
    }
    words
}

/// The text without comments, and with empty texts.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(end) = raw_text(rest, &code) {
            end
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_letter(rest) {
            quoted(rest, '\'')
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    code
}

/// The length of a raw text, if one begins here.
fn raw_text(rest: &str, before: &str) -> Option<usize> {
    let is_new = !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    let hashes = rest.strip_prefix('r').or_else(|| rest.strip_prefix("br")).filter(|_| is_new)?;
    let count = hashes.find(|letter| letter != '#')?;
    hashes.get(count..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let start = rest.find('"')? + 1;
    Some(start + rest.get(start..)?.find(&end)? + end.len())
}

/// Whether this quote begins a character, and not a lifetime.
fn is_letter(rest: &str) -> bool {
    let mut letters = rest.chars().skip(1);
    letters.next() == Some('\\') || letters.next() == Some('\'')
}

/// The length of a text or character with its quotes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if letter == quote => return at + letter.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// The code without what is for tests only.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        rest = behind_item(&rest[at + MARK.len()..]);
    }
    kept + rest
}

fn behind_item(code: &str) -> &str {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(letter, ';' | '}') {
            return &code[at + 1..];
        }
    }
    ""
}
