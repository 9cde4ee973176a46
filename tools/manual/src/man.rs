//! Man pages: one for each function, struct, enum and function type in section 3, and an overview in section
//! 7.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use manual::header::{Header, Item, Kind, Member, is_word};
use manual::markup::{self, Block, blocks, sections};

use crate::rules::Rules;

/// A page that says nothing that this one does not say as well.
const OVERVIEW: &str = "kvm_hotplug";

/// File names and their contents.
pub fn pages(header: &Header) -> Result<Vec<(String, String)>, String> {
    let mut pages = vec![(format!("{OVERVIEW}.7"), overview(header))];
    for item in &header.items {
        let text = match &item.kind {
            Kind::File | Kind::Constant => continue,
            Kind::Function(_) => function(header, item),
            // It stands on the page of the function that says such a value.
            Kind::Enum(_) if is_function(header, &item.name) => continue,
            Kind::Struct(fields) => members(header, item, "FIELDS", fields),
            Kind::Enum(values) => members(header, item, "VALUES", values),
            Kind::Callback => members(header, item, "", &[]),
        };
        let name = format!("{}.3", item.name);
        if pages.iter().any(|(other, _)| *other == name) {
            return Err(format!("two pages would be called {name}"));
        }
        pages.push((name, text));
    }
    Ok(pages)
}

/// A page in the making.
struct Page<'a> {
    header: &'a Header,
    text: String,
    /// What is spoken of, for the list at the end.
    seen: BTreeSet<String>,
}

impl<'a> Page<'a> {
    fn new(header: &'a Header, title: &str, section: u8, summary: &str) -> Self {
        let version = header.version();
        let text = format!(
            ".\\\" Made from kvm_hotplug.h by tools/manual.\n\
             .TH {title} {section} \"\" \"kvm_hotplug {version}\" \"kvm_hotplug manual\"\n.ad l\n\
             .SH NAME\n{title} \\- {}\n",
            plain(summary)
        );
        Self { header, text, seen: BTreeSet::new() }
    }

    fn section(&mut self, title: &str) {
        _ = writeln!(self.text, ".SH {title}");
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn code(&mut self, lines: &[String]) {
        self.line(".PP\n.in +4n\n.EX");
        for code in lines {
            self.line(&at_line_start(&escaped(code)));
        }
        self.line(".EE\n.in");
    }

    fn text(&mut self, text: &str) {
        let text = at_line_start(&self.inline(text));
        self.line(&text);
    }

    fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            match block {
                Block::Text(text) => {
                    self.line(".PP");
                    self.text(text);
                }
                Block::Bullets(items) => {
                    for item in items {
                        self.line(".IP \\(bu 3");
                        self.text(item);
                    }
                }
                Block::Terms(terms) => self.terms(terms),
                Block::Code(lines) => self.code(lines),
            }
        }
    }

    fn terms(&mut self, terms: &[(Vec<String>, String)]) {
        for (names, text) in terms {
            let names: Vec<String> = names.iter().map(|name| format!("\\fI{name}\\fP")).collect();
            self.line(&format!(".TP\n{}", names.join(", ")));
            self.text(&capitalised(text));
        }
    }

    /// Text with its names in bold and its parameters in italics.
    fn inline(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let word: usize = rest.chars().take_while(|char| is_word(*char)).count();
            let (token, behind) = rest.split_at(if word > 0 { word } else { first.len_utf8() });
            if word > 0 {
                let errno = out.ends_with('-') && is_errno(token);
                if errno {
                    out.pop();
                }
                out.push_str(&self.word(token, behind.starts_with("()"), errno));
                rest = match behind.strip_prefix("()") {
                    Some(behind) if self.is_page(token) => behind,
                    _ => behind,
                };
                continue;
            }
            if first == '`' {
                if let Some((code, behind)) = behind.split_once('`') {
                    _ = write!(out, "\\fI{}\\fP", escaped(code));
                    rest = behind;
                    continue;
                }
            }
            out.push_str(&plain(token));
            rest = behind;
        }
        out
    }

    fn word(&mut self, word: &str, called: bool, errno: bool) -> String {
        let page = self.is_page(word);
        if page
            && (called || self.header.find(word).is_some_and(|item| !matches!(item.kind, Kind::Function(_))))
        {
            self.seen.insert(word.to_owned());
        }
        match (called, page, errno) {
            (true, true, _) => format!("\\fB\\%{word}\\fP(3)"),
            (_, _, true) => format!("\\fB\\%\\-{word}\\fP"),
            _ if page || word.starts_with("KVM_") => format!("\\fB\\%{word}\\fP"),
            // Names of fields and constants are not to be broken at a line's end.
            _ if word.contains('_') || word.chars().all(|char| char.is_ascii_uppercase()) => {
                format!("\\%{word}")
            }
            _ => word.to_owned(),
        }
    }

    fn is_page(&self, name: &str) -> bool {
        self.header.find(name).is_some_and(|item| !matches!(item.kind, Kind::Constant | Kind::File))
    }

    fn synopsis(&mut self, item: &Item) {
        self.section("SYNOPSIS");
        self.line(".nf\n.B #include <kvm_hotplug.h>\n.fi\n.PP\n.EX");
        for line in declaration(item) {
            self.line(&at_line_start(&escaped(&line)));
        }
        self.line(".EE");
        if matches!(item.kind, Kind::Function(_)) {
            self.line(".PP\nLink with \\fI\\-lkvm_hotplug\\fP.");
        }
        for other in &self.header.items {
            if other.name != item.name
                && mentions(&item.declaration, &other.name)
                && self.is_page(&other.name)
            {
                self.seen.insert(other.name.clone());
            }
        }
    }

    fn members(&mut self, members: &[Member]) {
        for member in members {
            self.line(&format!(".TP\n.B {}", at_line_start(&escaped(&member.declaration))));
            let text = blocks(&member.doc);
            match text.split_first() {
                Some((Block::Text(first), rest)) => {
                    self.text(first);
                    for block in rest {
                        self.line(".IP");
                        if let Block::Text(text) = block {
                            self.text(text);
                        }
                    }
                }
                _ => self.blocks(&text),
            }
        }
    }

    fn finish(mut self, own: &str) -> String {
        self.section("SEE ALSO");
        self.seen.remove(own);
        let mut names: Vec<String> = self.seen.iter().map(|name| format!(".BR \\%{name} (3)")).collect();
        names.push(format!(".BR {OVERVIEW} (7)"));
        let list = names.join(" ,\n");
        self.line(&list);
        self.text
    }
}

fn is_function(header: &Header, name: &str) -> bool {
    header.functions().any(|function| function.name == name)
}

fn function(header: &Header, item: &Item) -> String {
    let Kind::Function(names) = &item.kind else { return String::new() };
    let mut parts = sections(&item.doc);
    let rules = Rules::of(header);
    rules.complete(names, item.declaration.starts_with("int "), &mut parts);
    let mut page = Page::new(header, &item.name, 3, &markup::summary(&item.doc));
    page.synopsis(item);
    page.section("DESCRIPTION");
    page.blocks(&parts.description);
    if !parts.parameters.is_empty() {
        page.section("PARAMETERS");
        page.terms(&parts.parameters);
    }
    if let Some(blocking) = &parts.blocking {
        page.section("BLOCKING AND THREADS");
        page.text(blocking);
    }
    if !parts.returns.is_empty() {
        page.section("RETURN VALUE");
        page.blocks(&parts.returns);
    }
    let values = header.items.iter().find_map(|other| match &other.kind {
        Kind::Enum(values) if other.name == item.name => Some(values),
        _ => None,
    });
    if let Some(values) = values {
        page.section("VALUES");
        page.members(values);
    }
    page.finish(&item.name)
}

/// A struct, an enum or a function type.
fn members(header: &Header, item: &Item, title: &str, members: &[Member]) -> String {
    let mut page = Page::new(header, &item.name, 3, &markup::summary(&item.doc));
    page.synopsis(item);
    page.section("DESCRIPTION");
    page.blocks(&blocks(&item.doc));
    if !members.is_empty() {
        page.section(title);
        page.members(members);
    }
    let users: Vec<&Item> =
        header.functions().filter(|function| mentions(&function.declaration, &item.name)).collect();
    if !users.is_empty() {
        page.section("FUNCTIONS");
        for user in users {
            page.line(&format!(".TP\n.BR {} (3)", user.name));
            page.text(&capitalised(&markup::summary(&user.doc)));
        }
    }
    for other in &header.items {
        if other.name == item.name || !page.is_page(&other.name) {
            continue;
        }
        let members: &[Member] = match &other.kind {
            Kind::Struct(members) | Kind::Enum(members) => members,
            _ => &[],
        };
        let docs = std::iter::once(&other.doc).chain(members.iter().map(|member| &member.doc));
        if docs.flatten().any(|line| mentions(line, &item.name)) {
            page.seen.insert(other.name.clone());
        }
    }
    page.finish(&item.name)
}

fn overview(header: &Header) -> String {
    let file = header.items.iter().find(|item| item.kind == Kind::File);
    let doc: &[String] = file.map_or(&[], |item| item.doc.get(1..).unwrap_or_default());
    let summary = "plug NICs and disks into running QEMU guests";
    let mut page = Page::new(header, OVERVIEW, 7, summary);
    page.section("SYNOPSIS");
    page.line(".nf\n.B #include <kvm_hotplug.h>\n.PP\n.B cc agent.c $(pkg\\-config \\-\\-cflags \\-\\-libs kvm_hotplug)\n.fi");
    page.section("DESCRIPTION");
    page.blocks(&blocks(doc));
    for (title, wanted) in [
        ("FUNCTIONS", (|kind| matches!(kind, Kind::Function(_))) as fn(&Kind) -> bool),
        ("STRUCTS", |kind| matches!(kind, Kind::Struct(_))),
        ("FUNCTION TYPES", |kind| matches!(kind, Kind::Callback)),
        ("ENUMS", |kind| matches!(kind, Kind::Enum(_))),
        ("CONSTANTS", |kind| matches!(kind, Kind::Constant)),
    ] {
        page.section(title);
        for item in header.items.iter().filter(|item| wanted(&item.kind)) {
            match item.kind {
                Kind::Constant => {
                    let value = item.declaration.rsplit(' ').next().unwrap_or_default();
                    page.line(&format!(".TP\n.BR {} \" = {value}\"", item.name));
                    page.blocks(&text_only(&item.doc));
                }
                _ => {
                    page.line(&format!(".TP\n.BR {} (3)", item.name));
                    page.text(&capitalised(&markup::summary(&item.doc)));
                }
            }
        }
    }
    page.section("SEE ALSO");
    page.line(".BR kvmctl (1)");
    page.text
}

/// The paragraphs of a comment as one, so that a list entry stays one.
fn text_only(doc: &[String]) -> Vec<Block> {
    let texts = blocks(doc).into_iter().filter_map(|block| match block {
        Block::Text(text) => Some(text),
        _ => None,
    });
    vec![Block::Text(texts.collect::<Vec<_>>().join(" "))]
}

/// As it would be written in C, a parameter a line where it is long.
fn declaration(item: &Item) -> Vec<String> {
    let whole = format!("{};", item.declaration);
    match &item.kind {
        Kind::Struct(members) | Kind::Enum(members) if !members.is_empty() => {
            let end = if matches!(item.kind, Kind::Enum(_)) { "," } else { ";" };
            let mut lines = vec![format!("{} {{", item.declaration)];
            lines.extend(members.iter().map(|member| format!("    {}{end}", member.declaration)));
            lines.push("};".to_owned());
            lines
        }
        _ if whole.len() <= 72 => vec![whole],
        kind => match if *kind == Kind::Callback { whole.split_once(")(") } else { whole.split_once('(') } {
            Some((head, rest)) => {
                let head = if *kind == Kind::Callback { format!("{head})") } else { head.to_owned() };
                let parameters: Vec<&str> = rest.split(", ").collect();
                let first = format!("{head}(");
                let indent = " ".repeat(4);
                std::iter::once(first)
                    .chain(parameters.iter().enumerate().map(|(at, parameter)| {
                        let comma = if at + 1 < parameters.len() { "," } else { "" };
                        format!("{indent}{parameter}{comma}")
                    }))
                    .collect()
            }
            None => vec![whole],
        },
    }
}

/// Whether the name stands there as a word of its own.
pub fn mentions(text: &str, name: &str) -> bool {
    text.split(|char| !is_word(char)).any(|word| word == name)
}

fn is_errno(word: &str) -> bool {
    word.len() > 2
        && word.starts_with('E')
        && word.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit())
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// For running text: a hyphen may be one.
fn plain(text: &str) -> String {
    text.replace('\\', "\\e")
}

/// For code: every character is what it is.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti")
}

/// A full stop or an apostrophe at the beginning of a line would be a request.
fn at_line_start(text: &str) -> String {
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text.to_owned(),
    }
}
