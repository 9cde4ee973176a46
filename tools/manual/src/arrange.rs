//! The header as cbindgen writes it has all constants first, then all enums, structs and functions. Here each
//! stands in the section of what it is for, comments take no more lines than they need, and functions get a
//! form without sizes at the end.

use crate::header::{Header, Item, Kind, Member};
use crate::markup::{PARTS, term};
use crate::wrappers;

/// Of the header's lines.
const WIDTH: usize = 110;

/// A part of the header: what it is called, and the names of what is in it, in order.
pub struct Section {
    pub title: &'static str,
    pub names: Vec<String>,
}

/// The header in these sections. `head` is what stands before the comment about the file, licence and include
/// guard for instance.
///
/// # Errors
/// Something is in no section, or in two.
pub fn arranged(header: &Header, head: &str, sections: &[Section]) -> Result<String, String> {
    everything_once(header, sections)?;
    let mut out = head.to_owned();
    if let Some(file) = header.items.iter().find(|item| item.kind == Kind::File) {
        out.push_str(&comment("", &file.doc));
    }
    out.push_str("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
    for section in sections {
        let dashes = "-".repeat(WIDTH.saturating_sub(section.title.len() + 12));
        out.push_str(&format!("\n/* ---- {} {dashes} */\n", section.title));
        let items: Vec<&Item> = section.names.iter().flat_map(|name| header.named(name)).collect();
        // What has no fields is what functions are about; others name it.
        let (opaque, others): (Vec<&Item>, Vec<&Item>) =
            items.into_iter().partition(|item| item.kind == Kind::Struct(Vec::new()));
        let mut was_packed = false;
        for item in opaque.into_iter().chain(others) {
            let text = written(item);
            let packed = item.kind == Kind::Constant && text.lines().count() == 2;
            if !(packed && was_packed) {
                out.push('\n');
            }
            was_packed = packed;
            out.push_str(&text);
        }
    }
    out.push_str(&wrappers::written(header, WIDTH));
    out.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
    Ok(out)
}

fn everything_once(header: &Header, sections: &[Section]) -> Result<(), String> {
    for item in header.items.iter().filter(|item| item.kind != Kind::File) {
        let places = sections.iter().flat_map(|section| &section.names).filter(|name| **name == item.name);
        match places.count() {
            1 => {}
            count => return Err(format!("{} is in {count} sections of the header", item.name)),
        }
    }
    Ok(())
}

fn written(item: &Item) -> String {
    let about = comment("", &item.doc);
    match &item.kind {
        Kind::File => about,
        Kind::Constant => format!("{about}{}\n", item.declaration),
        Kind::Struct(members) if members.is_empty() => format!("{about}{};\n", item.declaration),
        Kind::Struct(members) => format!("{about}{} {{\n{}}};\n", item.declaration, lines(members, ';')),
        Kind::Enum(members) => format!("{about}{} {{\n{}}};\n", item.declaration, lines(members, ',')),
        Kind::Callback | Kind::Function(_) => {
            format!("{about}{}\n", broken(&format!("{};", item.declaration), WIDTH))
        }
    }
}

/// Fields or values, each with what is said of it behind it, or above it where that is long.
fn lines(members: &[Member], end: char) -> String {
    let mut out = String::new();
    for Member { doc, declaration, .. } in members {
        let behind = format!("    {declaration}{end} /**< {} */", doc.join(" "));
        if doc.iter().all(|line| !line.is_empty()) && behind.len() <= WIDTH {
            out.push_str(&behind);
            out.push('\n');
        } else {
            out.push_str(&comment("    ", doc));
            out.push_str(&format!("    {declaration}{end}\n"));
        }
    }
    out
}

/// A declaration, broken between parameters where it is too long.
pub fn broken(declaration: &str, width: usize) -> String {
    let Some((head, rest)) = declaration.split_once('(').filter(|_| declaration.len() > width) else {
        return declaration.to_owned();
    };
    let mut lines = vec![format!("{head}(")];
    let indent = " ".repeat(head.len() + 1);
    let parameters: Vec<&str> = rest.split(", ").collect();
    for (at, parameter) in parameters.iter().enumerate() {
        let comma = if at + 1 == parameters.len() { "" } else { "," };
        let Some(line) = lines.last_mut() else { break };
        if at == 0 {
            line.push_str(parameter);
        } else if line.len() + 1 + parameter.len() + comma.len() <= width {
            line.push(' ');
            line.push_str(parameter);
        } else {
            lines.push(format!("{indent}{parameter}"));
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(comma);
        }
    }
    lines.join("\n")
}

/// A comment, its paragraphs filled.
fn comment(indent: &str, doc: &[String]) -> String {
    if doc.is_empty() {
        return String::new();
    }
    let lines = filled(doc, WIDTH.saturating_sub(indent.len() + 3));
    if let [line] = lines.as_slice() {
        if indent.len() + line.len() + 7 <= WIDTH {
            return format!("{indent}/** {line} */\n");
        }
    }
    let filled = filled(doc, WIDTH.saturating_sub(indent.len() + 7));
    let body: Vec<String> =
        filled.iter().map(|line| format!("{indent} *  {line}").trim_end().to_owned()).collect();
    format!("{} */\n", body.join("\n").replacen(&format!("{indent} *  "), &format!("{indent}/** "), 1))
}

/// Paragraphs, list items and parameters, each filled up to the width. Code stays as it is.
fn filled(doc: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Whether words may be put behind the last line, and what a new line of the same paragraph begins with.
    let mut open: Option<&str> = None;
    for line in doc {
        if line.trim().is_empty() {
            lines.push(String::new());
            open = None;
        } else if line.starts_with("    ") && open.is_none() || line.starts_with('@') {
            lines.push(line.trim_end().to_owned());
        } else {
            let (begins, rest) = match line.strip_prefix("- ") {
                Some(_) => (true, "  "),
                None if term(line).is_some() => (true, ""),
                None => (open.is_none(), open.unwrap_or_default()),
            };
            if begins {
                if begins_a_part(line) && lines.last().is_some_and(String::is_empty) && lines.len() > 1 {
                    lines.pop();
                }
                lines.push(String::new());
            }
            open = Some(rest);
            for word in line.split_whitespace() {
                append(&mut lines, word, rest, width);
            }
        }
    }
    lines
}

/// A parameter, or what is said of blocking, answers and errors: no empty line has to set it off.
fn begins_a_part(line: &str) -> bool {
    term(line).is_some() || PARTS.iter().any(|part| line.starts_with(part))
}

fn append(lines: &mut Vec<String>, word: &str, indent: &str, width: usize) {
    match lines.last_mut() {
        Some(last) if last.is_empty() => last.push_str(word),
        // A dash by itself at the beginning of a line would begin a list item.
        Some(last) if last.len() + 1 + word.len() <= width || word == "-" => {
            last.push(' ');
            last.push_str(word);
        }
        _ => lines.push(format!("{indent}{word}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "/**\n * @file h\n */\n/**\n * A flag.\n */\n#define KVM_FLAG (1 << 3)\n/**\n * E.\n */\nenum kvm_e {\n    /**\n     * One.\n     */\n    KVM_ONE = 1,\n};\n\
        /**\n * Thing.\n */\nstruct kvm_x;\n/**\n * Does.\n *\n * `x`: the thing,\n * and more.\n *\n * - one\n *   and two\n */\nint kvm_f(struct kvm_x *x);\n";

    fn sections(names: &[&str]) -> [Section; 1] {
        [Section { title: "All", names: names.iter().map(|name| (*name).to_owned()).collect() }]
    }

    #[test]
    fn everything_stands_in_the_order_of_its_section() {
        let header = Header::parse(SAMPLE).unwrap();
        let text = arranged(&header, "head\n", &sections(&["kvm_x", "KVM_FLAG", "kvm_f", "kvm_e"])).unwrap();
        let order = [
            "head",
            "@file h",
            "/** Thing. */",
            "/** A flag. */\n#define",
            "`x`: the thing, and more.",
            "kvm_f(",
            "KVM_ONE = 1, /**< One. */",
        ];
        let places: Vec<usize> =
            order.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"))).collect();
        assert!(places.is_sorted(), "{text}");
        // What is written is read as the same.
        let again = Header::parse(&text).unwrap();
        for item in header.items.iter().filter(|item| matches!(item.kind, Kind::Enum(_) | Kind::Constant)) {
            assert_eq!(again.find(&item.name), Some(item));
        }
    }

    #[test]
    fn what_is_in_no_section_or_in_two_is_an_error() {
        let header = Header::parse(SAMPLE).unwrap();
        assert!(arranged(&header, "", &sections(&["kvm_x", "KVM_FLAG", "kvm_f"])).is_err());
        assert!(arranged(&header, "", &sections(&["kvm_x", "kvm_x", "KVM_FLAG", "kvm_f", "kvm_e"])).is_err());
    }

    #[test]
    fn paragraphs_are_filled_and_code_is_left() {
        let doc: Vec<String> = "aa bb\ncc\n\n    code;\n\n        more\n- dd\n  ee ff gg\n- hh"
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(
            filled(&doc, 8),
            ["aa bb cc", "", "    code;", "", "        more", "- dd ee", "  ff gg", "- hh"]
        );
    }

    #[test]
    fn declarations_are_broken_between_parameters() {
        assert_eq!(broken("int f(int a, int b, int c);", 20), "int f(int a, int b,\n      int c);");
        assert_eq!(broken("int f(void);", 20), "int f(void);");
    }
}
