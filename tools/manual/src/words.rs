//! A comment of the header in the words of another language.

use std::fmt::Write;

use crate::header::is_word;

/// `words` are phrases with a C name in them, and what to write in their place. `prefixes` are what the names
/// of values of enumerations begin with; `value` is what such a value is called, by its prefix and the rest
/// of its name.
///
/// # Errors
/// A C name that is in neither: the name.
pub fn translated<'a>(
    text: &str,
    words: &[(&str, &str)],
    prefixes: impl Iterator<Item = &'a str>,
    value: impl Fn(&str, &str) -> String,
) -> Result<String, String> {
    let mut text = text.to_owned();
    for (c, own) in words {
        text = text.replace(c, own);
    }
    for prefix in prefixes {
        let begin = format!("{prefix}_");
        while let Some(at) = text.find(&begin) {
            let rest = text.get(at + begin.len()..).unwrap_or_default();
            let rest: String = rest.chars().take_while(|char| is_word(*char)).collect();
            text = text.replace(&format!("{begin}{rest}"), &value(prefix, &rest));
        }
    }
    match text.split(|char| !is_word(char)).find(|word| word.to_lowercase().starts_with("kvm_")) {
        Some(word) => Err(word.to_owned()),
        None => Ok(text),
    }
}

/// Appends the text in filled lines, each of which has at most `room` characters behind `before`.
pub fn fill(out: &mut String, before: &str, room: usize, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > room {
            let _ = writeln!(out, "{before}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{before}{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_filled_and_no_longer_than_the_room() {
        let mut out = String::new();
        fill(&mut out, "# ", 9, "one two three\nfour");
        assert_eq!(out, "# one two\n# three\n# four\n");
    }

    #[test]
    fn a_name_that_is_left_over_is_the_error() {
        let value = |_: &str, rest: &str| rest.to_lowercase();
        let words = [("kvm_f()", "f")];
        let said = |text| translated(text, &words, ["KVM_E"].into_iter(), value);
        assert_eq!(said("kvm_f() and KVM_E_ONE.").unwrap(), "f and one.");
        assert_eq!(said("kvm_g() too").unwrap_err(), "kvm_g");
    }
}
