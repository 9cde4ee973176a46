//! Enums of the C header that are declared in the library's own sources, by its macro `c_enum!`.

use crate::header::{Item, Kind, Member};

/// The C twins of those that a source declares.
pub fn declared(source: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line == "c_enum! {" {
            items.push(one(&mut lines)?);
        }
    }
    Ok(items)
}

fn one<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<Item, String> {
    let mut about = Vec::new();
    let mut item: Option<(Vec<String>, String, String)> = None;
    let mut values = Vec::new();
    for line in lines {
        let line = line.trim();
        if line == "}" {
            let (doc, name, _) = item.ok_or("a c_enum! without an enum")?;
            return Ok(Item { doc, declaration: format!("enum {name}"), name, kind: Kind::Enum(values) });
        } else if let Some(text) = line.strip_prefix("///") {
            about.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
        } else if let Some(rest) = line.strip_prefix("pub enum ") {
            let names = rest.split_once(" = ").map(|(_, names)| names.trim_end_matches(" {"));
            let names = names.and_then(|names| names.trim_end_matches(", with data").split_once(", "));
            let (name, prefix) = names.ok_or_else(|| format!("{line}: no C names"))?;
            item = Some((std::mem::take(&mut about), name.to_owned(), prefix.to_owned()));
        } else if line.starts_with("#[") {
            // For Rust.
        } else if let Some((value, number)) = line.trim_end_matches(',').split_once(" = ") {
            // The fields of a value are Rust's.
            let value = value.split([' ', '(']).next().unwrap_or_default();
            let (_, _, prefix) = item.as_ref().ok_or_else(|| format!("{line} stands before its enum"))?;
            let name = format!("{prefix}_{}", upper(value));
            let declaration = format!("{name} = {number}");
            values.push(Member { doc: std::mem::take(&mut about), name, declaration });
        }
    }
    Err("a c_enum! has no end".into())
}

/// ReadOnly becomes READ_ONLY.
fn upper(name: &str) -> String {
    let mut out = String::new();
    let mut before = None::<char>;
    for char in name.chars() {
        if char.is_uppercase() && before.is_some_and(|before| !before.is_uppercase()) {
            out.push('_');
        }
        out.push(char.to_ascii_uppercase());
        before = Some(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_has_the_values_and_what_is_said_of_them() {
        let source = "use a;\n\nc_enum! {\n    /// Why.\n    #[derive(Clone)]\n    pub enum Why = kvm_why, KVM_WHY {\n        /// Not there:\n\
            \x20       /// at all.\n        #[default]\n        NotThere = 1,\n        /// Q35.\n        Q35 = 2,\n    }\n}\n";
        let items = declared(source).unwrap();
        assert_eq!(
            (items.len(), items[0].name.as_str(), items[0].declaration.as_str()),
            (1, "kvm_why", "enum kvm_why")
        );
        assert_eq!(items[0].doc, ["Why."]);
        let Kind::Enum(values) = &items[0].kind else { panic!() };
        assert_eq!(values[0].declaration, "KVM_WHY_NOT_THERE = 1");
        assert_eq!(values[0].doc, ["Not there:", "at all."]);
        assert_eq!(values[1].declaration, "KVM_WHY_Q35 = 2");
    }

    #[test]
    fn half_an_enum_is_an_error() {
        assert!(declared("c_enum! {\n    A = 1,\n}").is_err());
        assert!(declared("c_enum! {\n    pub enum A {\n").is_err());
    }
}
