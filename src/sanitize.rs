//! The border for text that others wrote: QEMU, which its guest may have taken over, and the people who named
//! the images. It ends up in terminals and log files, where a control character is a command and an override
//! of the writing direction makes a line read as another one.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Longest text of QEMU's that is passed on, in characters. Its own longest error texts have some 200.
pub const MAX_TEXT: usize = 1024;

/// Longest name of a device type or class that is kept, in characters.
const MAX_NAME: usize = 64;

/// Longest id of a device that is kept, in bytes; ids of ours have 31 at most, those of libvirt some 50.
const MAX_ID: usize = 255;

/// Whether a character stands for itself: it is no control character of ASCII or C1, separates no lines, and
/// does not change the direction of others.
pub fn is_plain(c: char) -> bool {
    let directs =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}');
    let separates = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    !c.is_control() && !directs && !separates
}

/// A text of QEMU's for people: plain characters, at most 1,024.
pub fn readable(text: &str) -> String {
    // Nearly all of them.
    if text.len() <= MAX_TEXT && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let plain = |c: char| if is_plain(c) { c } else { ' ' };
    let mut out: String = text.chars().take(MAX_TEXT).map(plain).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        out.push_str(" ...");
    }
    out
}

/// What QEMU calls a type or class: printable ASCII, at most 64 characters.
pub fn name(text: &str) -> String {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(MAX_NAME).map(plain).collect()
}

/// An id or the last component of a QOM path as QEMU says it; `None` if it can be neither.
pub fn id(text: &str) -> Option<&str> {
    let fits =
        !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    fits.then_some(text)
}

/// Any text for a terminal or a log: what is not plain stands there as `\u001b`. JSON means the same
/// afterwards, because there such characters can only be in strings.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    // To write into a string does not fail.
    let _ = write_escaped(&mut out, text);
    Cow::Owned(out)
}

/// Writes what [`escaped`] gives. Fails as `out` does.
pub fn write_escaped(out: &mut impl Write, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some((place, c)) = rest.char_indices().find(|(_, c)| !is_plain(*c)) {
        let (plain, from) = rest.split_at(place);
        out.write_str(plain)?;
        // None of them is beyond 16 bits.
        write!(out, "\\u{:04x}", u32::from(c))?;
        rest = from.get(c.len_utf8()..).unwrap_or_default();
    }
    out.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 9] = [
        "\u{1b}]0;owned\u{7}",
        "a\nb\r\t",
        "\u{7f}",
        "\u{9b}31m",
        "\u{202e}txt",
        "\u{2066}a\u{2069}",
        "\u{200f}",
        "\u{2028}",
        "\0",
    ];

    #[test]
    fn nothing_gets_through() {
        for text in HOSTILE {
            for out in [readable(text), name(text), escaped(text).into_owned()] {
                assert!(out.chars().all(is_plain), "{text:?}: {out:?}");
            }
            assert_eq!(id(text), None, "{text:?}");
        }
        assert_eq!(escaped("ä \u{1b}[0m"), "ä \\u001b[0m");
        assert_eq!(readable("Größe 日本"), "Größe 日本");
    }

    #[test]
    fn json_means_the_same() {
        for text in HOSTILE {
            let value = serde_json::json!({ text: [text] });
            let json = value.to_string();
            let safe = escaped(&json);
            assert!(safe.chars().all(is_plain), "{safe}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(name(&"x".repeat(1000)).len(), 64);
        assert_eq!(readable(&"ä".repeat(5000)).chars().count(), MAX_TEXT + 4);
        assert!(id(&"x".repeat(255)).is_some() && id(&"x".repeat(256)).is_none() && id("a/b").is_none());
        assert_eq!(id("device[3]"), Some("device[3]"));
    }
}
