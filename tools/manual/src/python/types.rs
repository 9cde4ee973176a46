//! Structs and functions of the header, with the types that ctypes has for them.

use std::fmt::Write;

use super::{WIDTH, free_word};
use crate::header::{Header, Item, Kind, Member};
use crate::words::fill;

/// A number of C: in ctypes, and its size in bytes.
const NUMBERS: &[(&str, &str, usize)] = &[
    ("int", "c_int", 4),
    ("int32_t", "c_int32", 4),
    ("uint32_t", "c_uint32", 4),
    ("uint64_t", "c_uint64", 8),
    ("size_t", "c_size_t", 8),
];
const POINTER_SIZE: usize = 8;

/// Opaque ones and function types first, which the others name; then the sizes, which the package compares
/// with what ctypes makes of the fields when it loads the library.
pub fn structs(out: &mut String, header: &Header) -> Result<(), String> {
    for (item, _) in described(header).filter(|(_, fields)| fields.is_empty()) {
        let _ = write!(out, "\n\nclass {}(Structure):\n    \"\"\"Opaque.\"\"\"\n", item.name);
    }
    for item in header.items.iter().filter(|item| item.kind == Kind::Callback) {
        callback(out, header, item)?;
    }
    let mut sizes = String::new();
    for (item, fields) in described(header).filter(|(_, fields)| !fields.is_empty()) {
        let size = one_struct(out, header, item, fields)?;
        let _ = writeln!(sizes, "    {}: {size},", item.name);
    }
    let _ = write!(out, "\n\n#: Bytes of each struct in C.\nSIZES = {{\n{sizes}}}\n");
    Ok(())
}

/// The structs with their fields; those without are opaque.
fn described(header: &Header) -> impl Iterator<Item = (&Item, &[Member])> {
    header.items.iter().filter_map(|item| match &item.kind {
        Kind::Struct(fields) => Some((item, fields.as_slice())),
        _ => None,
    })
}

fn one_struct(out: &mut String, header: &Header, item: &Item, fields: &[Member]) -> Result<usize, String> {
    let _ = write!(out, "\n\nclass {}(Structure):\n    _fields_ = [\n", item.name);
    let (mut end, mut most) = (0_usize, 1);
    for field in fields {
        let whole = format!("struct {}: {}", item.name, field.declaration);
        let (ctype, size, align) = field_type(header, field).map_err(|error| format!("{whole}: {error}"))?;
        let _ = writeln!(out, "        (\"{}\", {ctype}),", free_word(&field.name, &whole)?);
        end = end.next_multiple_of(align) + size;
        most = most.max(align);
    }
    out.push_str("    ]\n");
    Ok(end.next_multiple_of(most))
}

/// Its type, size and alignment.
fn field_type(header: &Header, field: &Member) -> Result<(String, usize, usize), String> {
    if let Some((before, rest)) = field.declaration.split_once('[') {
        let length = rest.trim_end_matches(']');
        let count: usize = length.parse().map_err(|_| format!("{length} is no number"))?;
        if before.strip_suffix(&field.name).map(str::trim) != Some("char") {
            return Err("an array of something else than char".to_owned());
        }
        return Ok((format!("c_char * {count}"), count, 1));
    }
    let declared = field.declaration.strip_suffix(&field.name).unwrap_or_default();
    let ctype = ctype(header, declared)?;
    let size = NUMBERS.iter().find(|(_, own, _)| *own == ctype).map_or(POINTER_SIZE, |(.., size)| *size);
    Ok((ctype, size, size))
}

fn callback(out: &mut String, header: &Header, item: &Item) -> Result<(), String> {
    let (_, parameters) =
        item.declaration.split_once(")(").ok_or_else(|| format!("{} has no parameters", item.name))?;
    if !item.declaration.starts_with("typedef void (") {
        return Err(format!("{} returns something", item.name));
    }
    let types =
        list(header, parameters.trim_end_matches(')')).map_err(|error| format!("{}: {error}", item.name))?;
    let _ = write!(out, "\n\n{} = CFUNCTYPE(None, {})\n", item.name, types.join(", "));
    Ok(())
}

/// What each function returns and takes.
pub fn functions(out: &mut String, header: &Header) -> Result<(), String> {
    out.push_str("\n#: What each function returns, and what it takes.\nPROTOTYPES = {\n");
    for item in header.functions() {
        let (result, rest) = item
            .declaration
            .split_once(&format!("{}(", item.name))
            .ok_or_else(|| format!("{} is declared in an unknown way", item.name))?;
        let named = |error: String| format!("{}: {error}", item.name);
        let result =
            if result.trim() == "void" { "None".to_owned() } else { ctype(header, result).map_err(named)? };
        let types = list(header, rest.trim_end_matches(')')).map_err(named)?.join(", ");
        let line = format!("    \"{}\": ({result}, [{types}]),", item.name);
        if line.len() <= WIDTH {
            let _ = writeln!(out, "{line}");
        } else {
            let _ = writeln!(out, "    \"{}\": ({result}, [", item.name);
            fill(out, "        ", WIDTH - 9, &format!("{types},"));
            out.push_str("    ]),\n");
        }
    }
    out.push_str("}\n");
    Ok(())
}

/// The types of parameters, each with its name behind it.
fn list(header: &Header, parameters: &str) -> Result<Vec<String>, String> {
    let all = parameters.split(", ").filter(|parameter| *parameter != "void");
    all.map(|parameter| {
        let end = parameter.rfind([' ', '*']).map_or(0, |at| at + 1);
        ctype(header, parameter.get(..end).unwrap_or_default())
    })
    .collect()
}

/// A type of C in ctypes. `const char *` is a text that is read. `char *` is one that is freed or written to:
/// its pointer is kept.
fn ctype(header: &Header, declared: &str) -> Result<String, String> {
    let stars = declared.matches('*').count();
    let bare = declared.replace('*', " ");
    let words: Vec<&str> = bare.split_whitespace().filter(|word| *word != "const").collect();
    let pointers =
        |inner: &str, depth: usize| format!("{}{inner}{}", "POINTER(".repeat(depth), ")".repeat(depth));
    let number = |name: &str| NUMBERS.iter().find(|(c, ..)| *c == name).map(|(_, own, _)| *own);
    match (words.as_slice(), stars) {
        (["char"], 1..) if declared.trim_start().starts_with("const") => Ok(pointers("c_char_p", stars - 1)),
        (["char"], 1..) => Ok(pointers("c_char", stars)),
        (["void"], 1) => Ok("c_void_p".to_owned()),
        (["struct", name], 1..) if is_kind(header, name, |kind| matches!(kind, Kind::Struct(_))) => {
            Ok(pointers(name, stars))
        }
        ([name], 0) if is_kind(header, name, |kind| *kind == Kind::Callback) => Ok((*name).to_owned()),
        ([name], _) if number(name).is_some() => Ok(pointers(number(name).unwrap_or_default(), stars)),
        _ => Err(format!("{} has no type in Python: src/python/types.rs", declared.trim())),
    }
}

fn is_kind(header: &Header, name: &str, wanted: impl Fn(&Kind) -> bool) -> bool {
    header.named(name).any(|item| wanted(&item.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "/** X. */\nstruct kvm_x;\n/** L. */\ntypedef void (*kvm_fn)(void *userdata, int level);\n\
        /** S. */\nstruct kvm_s {\n    char id[3]; /**< I. */\n    uint32_t n; /**< N. */\n    \
        const struct kvm_s *next; /**< P. */\n    uint32_t last; /**< L. */\n};\n\
        /** F. */\nconst char *kvm_f(struct kvm_x *x, const char *const *list, char **ret_text, kvm_fn callback);\n\
        /** G. */\nvoid kvm_g(void);\n";

    #[test]
    fn types_are_those_of_ctypes() {
        let header = Header::parse(SAMPLE).unwrap();
        for (c, python) in [
            ("uint32_t ", "c_uint32"),
            ("const char *", "c_char_p"),
            ("const char *const *", "POINTER(c_char_p)"),
            ("char *", "POINTER(c_char)"),
            ("char **", "POINTER(POINTER(c_char))"),
            ("const int32_t *", "POINTER(c_int32)"),
            ("void *", "c_void_p"),
            ("struct kvm_x **", "POINTER(POINTER(kvm_x))"),
            ("kvm_fn ", "kvm_fn"),
        ] {
            assert_eq!(ctype(&header, c).unwrap(), python);
        }
        assert!(ctype(&header, "struct kvm_x ").is_err());
    }

    #[test]
    fn structs_have_the_size_that_c_gives_them() {
        let mut out = String::new();
        structs(&mut out, &Header::parse(SAMPLE).unwrap()).unwrap();
        assert!(out.contains("        (\"id\", c_char * 3),\n        (\"n\", c_uint32),\n"), "{out}");
        assert!(out.contains("    kvm_s: 24,\n"), "{out}");
        assert!(out.contains("kvm_fn = CFUNCTYPE(None, c_void_p, c_int)"), "{out}");
    }

    #[test]
    fn functions_have_their_types() {
        let mut out = String::new();
        functions(&mut out, &Header::parse(SAMPLE).unwrap()).unwrap();
        assert!(out.contains("    \"kvm_g\": (None, []),\n"), "{out}");
        let types = "[POINTER(kvm_x), POINTER(c_char_p), POINTER(POINTER(c_char)), kvm_fn]";
        assert!(out.contains(&format!("    \"kvm_f\": (c_char_p, {types}),\n")), "{out}");
    }
}
