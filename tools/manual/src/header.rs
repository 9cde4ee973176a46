//! Reads the header, as cbindgen writes it: comments, each followed by what it describes.

/// A comment and what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Without the comment's stars.
    pub doc: Vec<String>,
    pub name: String,
    /// In C, on one line, without the semicolon. Empty for the comment about the whole header.
    pub declaration: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The comment about the whole header.
    File,
    Constant,
    Enum(Vec<Member>),
    /// No members: it is opaque.
    Struct(Vec<Member>),
    Callback,
    /// The names of its parameters.
    Function(Vec<String>),
}

/// A value of an enum or a field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub doc: Vec<String>,
    pub name: String,
    pub declaration: String,
}

pub struct Header {
    pub items: Vec<Item>,
}

impl Header {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let mut doc = Vec::new();
        let mut items = Vec::new();
        while let Some(line) = lines.next() {
            if line.starts_with("static ") {
                // A function with a body: it says what one above does.
                lines.by_ref().find(|line| line.ends_with('}'));
            } else if line.starts_with("/* ") || line == "/*" {
                // A heading, or what is said to who reads the header alone.
                if !line.ends_with("*/") {
                    lines.by_ref().find(|line| line.ends_with("*/"));
                }
            } else if let Some(first) = line.trim_start().strip_prefix("/**") {
                doc = comment(first, &mut lines);
                if doc.first().is_some_and(|line| line.starts_with("@file")) {
                    items.push(file(std::mem::take(&mut doc)));
                }
            } else if line.starts_with("struct") && line.ends_with('{') || line.starts_with("enum") {
                items.push(braces(std::mem::take(&mut doc), line, &mut lines)?);
            } else if let Some(rest) = line.strip_prefix("#define ") {
                // The include guard has no value.
                if let Some((name, _)) = rest.split_once(' ').filter(|(name, _)| !name.contains('(')) {
                    let (doc, name) = (std::mem::take(&mut doc), name.to_owned());
                    items.push(Item { doc, name, declaration: line.to_owned(), kind: Kind::Constant });
                }
            } else if line.starts_with(|first: char| first.is_ascii_alphabetic())
                && !line.starts_with("extern")
            {
                items.push(statement(std::mem::take(&mut doc), line, &mut lines)?);
            }
        }
        // Structs are declared before they are described.
        let described: Vec<String> =
            items.iter().filter(|item| !item.doc.is_empty()).map(|item| item.name.clone()).collect();
        items.retain(|item| !item.doc.is_empty() || !described.contains(&item.name));
        let header = Self { items };
        header.functions().next().map(|_| ()).ok_or("there is no function in the header")?;
        Ok(header)
    }

    pub fn find(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.name == name)
    }

    /// A function may have the name of an enum.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.name == name)
    }

    pub fn functions(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| matches!(item.kind, Kind::Function(_)))
    }

    /// "0.1.0".
    pub fn version(&self) -> String {
        let part = |part: &str| {
            let item = self.find(&format!("KVM_HOTPLUG_VERSION_{part}"));
            item.and_then(|item| item.declaration.rsplit(' ').next()).unwrap_or("?")
        };
        [part("MAJOR"), part("MINOR"), part("PATCH")].join(".")
    }

    /// Whether something of this name is declared, values of enums included.
    pub fn declares(&self, name: &str) -> bool {
        self.items.iter().any(|item| {
            item.name == name
                || matches!(&item.kind, Kind::Enum(values) if values.iter().any(|value| value.name == name))
        })
    }
}

/// The lines of a comment whose first one has been begun.
pub fn comment<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> Vec<String> {
    if let Some(all) = first.strip_suffix("*/") {
        return vec![all.trim().to_owned()];
    }
    let mut doc: Vec<String> =
        Some(first.trim()).filter(|first| !first.is_empty()).map(str::to_owned).into_iter().collect();
    for line in lines.map(str::trim_start) {
        if line.starts_with("*/") {
            break;
        }
        // The last line of a short comment ends it.
        let (text, ends) = line.strip_suffix("*/").map_or((line, false), |text| (text.trim_end(), true));
        let indent = if first.trim().is_empty() { "* " } else { "*  " };
        doc.push(text.strip_prefix(indent).or_else(|| text.strip_prefix('*')).unwrap_or(text).to_owned());
        if ends {
            break;
        }
    }
    doc
}

fn file(doc: Vec<String>) -> Item {
    Item { doc, name: String::new(), declaration: String::new(), kind: Kind::File }
}

/// A struct or enum with its members.
fn braces<'a>(
    doc: Vec<String>,
    first: &str,
    lines: &mut impl Iterator<Item = &'a str>,
) -> Result<Item, String> {
    let declaration = first.trim_end_matches([' ', '{']).to_owned();
    let name = last_word(&declaration).to_owned();
    let mut members = Vec::new();
    let mut about = Vec::new();
    loop {
        let line = lines.next().ok_or_else(|| format!("{name} has no end"))?.trim();
        if line == "};" {
            break;
        }
        if let Some(first) = line.strip_prefix("/**") {
            about = comment(first, lines);
        } else if !line.is_empty() {
            let (line, behind) =
                line.split_once(" /**< ").map_or((line, None), |(line, behind)| (line, Some(behind)));
            about.extend(behind.map(|text| text.trim_end_matches("*/").trim().to_owned()));
            let declaration = line.trim_end_matches([';', ',']).to_owned();
            let before = declaration.split([' ', '=', '[']).filter(|word| !word.is_empty());
            let name = match declaration.contains('=') {
                true => before.into_iter().next().unwrap_or_default().to_owned(),
                false => last_word(declaration.split('[').next().unwrap_or_default()).to_owned(),
            };
            members.push(Member { doc: std::mem::take(&mut about), name, declaration });
        }
    }
    let kind = if first.starts_with("enum") { Kind::Enum(members) } else { Kind::Struct(members) };
    Ok(Item { doc, name, declaration, kind })
}

/// What ends in a semicolon: an opaque struct, a function type, a function.
fn statement<'a>(
    doc: Vec<String>,
    first: &str,
    lines: &mut impl Iterator<Item = &'a str>,
) -> Result<Item, String> {
    let mut text = first.to_owned();
    while !text.ends_with(';') {
        let more = lines.next().ok_or_else(|| format!("no semicolon behind {first}"))?;
        text = format!("{text} {}", more.trim());
    }
    let declaration = text.trim_end_matches(';').to_owned();
    let (name, kind) = match declaration.split_once('(') {
        None => (last_word(&declaration), Kind::Struct(Vec::new())),
        Some((_, rest)) if declaration.starts_with("typedef") => {
            (rest.trim_start_matches('*').split(')').next().unwrap_or_default(), Kind::Callback)
        }
        Some((head, rest)) => {
            let list = rest.trim_end_matches(')').split(',').map(last_word);
            (
                last_word(head),
                Kind::Function(list.filter(|name| *name != "void").map(str::to_owned).collect()),
            )
        }
    };
    Ok(Item { doc, name: name.to_owned(), declaration: declaration.clone(), kind })
}

/// The identifier at the end.
fn last_word(text: &str) -> &str {
    let text = text.trim_end();
    let start = text.rfind(|last: char| !is_word(last)).map_or(0, |at| at + 1);
    text.get(start..).unwrap_or_default()
}

pub fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "#ifndef H\n#define H\n/** Number. */\n#define N 7\n/**\n * @file h\n *\n *     code\n */\n\
        /**\n * Opaque.\n */\nstruct kvm_x;\n/**\n * E.\n */\nenum kvm_e {\n    /**\n     * One.\n     */\n    KVM_ONE = 1,\n};\n\
        /**\n * S.\n */\nstruct kvm_s {\n    /**\n     * Id.\n     */\n    char id[32];\n    const char *const *list;\n};\n\
        typedef void (*kvm_fn)(void *userdata, int level);\nextern \"C\" {\n/**\n * F.\n */\n\
        int kvm_f(struct kvm_x *x,\n          const char *const *list);\nconst char *kvm_g(void);\n";

    #[test]
    fn everything_is_found() {
        let header = Header::parse(SAMPLE).unwrap();
        let names: Vec<&str> = header.items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["N", "", "kvm_x", "kvm_e", "kvm_s", "kvm_fn", "kvm_f", "kvm_g"]);
        let find = |name| header.find(name).unwrap();
        assert_eq!(find("N").doc, ["Number."]);
        assert_eq!(find("").doc, ["@file h", "", "    code"]);
        assert_eq!(find("kvm_x").kind, Kind::Struct(Vec::new()));
        let Kind::Enum(values) = &find("kvm_e").kind else { panic!() };
        assert_eq!((values[0].name.as_str(), values[0].doc[0].as_str()), ("KVM_ONE", "One."));
        let Kind::Struct(fields) = &find("kvm_s").kind else { panic!() };
        assert_eq!(fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["id", "list"]);
        assert_eq!(fields[1].doc, Vec::<String>::new());
        assert_eq!(find("kvm_f").kind, Kind::Function(vec!["x".into(), "list".into()]));
        assert_eq!(find("kvm_f").declaration, "int kvm_f(struct kvm_x *x, const char *const *list)");
        assert_eq!(find("kvm_g").kind, Kind::Function(Vec::new()));
        assert!(header.declares("KVM_ONE") && !header.declares("KVM_TWO"));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for text in ["", "struct kvm_s {\n    int a;\n", "int kvm_f(int a,\n"] {
            assert!(Header::parse(text).is_err(), "{text:?}");
        }
    }
}
