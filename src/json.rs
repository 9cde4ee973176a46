//! Writes JSON. Most pieces that are written are single characters: each is put in its place without a call
//! for it, as serde_json's own writing into a vector has, which takes a quarter of what it costs to write a
//! record.

use std::io::{Result, Write};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

/// Appends a value on one line.
pub fn append(out: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::new(Text(out)))
}

/// Appends a value with a line for each of its members.
pub fn append_pretty(out: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(Text(out), PrettyFormatter::new()))
}

struct Text<'a>(&'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline(always)]
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        match bytes {
            [one] => self.0.push(*one),
            // What a line is indented by.
            [first, second] => {
                self.0.push(*first);
                self.0.push(*second);
            }
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_is_that_of_serde_json() {
        let value = json!({"a": [1, -2.5, true, null, "é\n\"\u{1}"], "b": {"c": {}, "d": []}});
        let (mut plain, mut pretty) = (b"x".to_vec(), b"x".to_vec());
        append(&mut plain, &value).unwrap();
        append_pretty(&mut pretty, &value).unwrap();
        assert_eq!(String::from_utf8(plain).unwrap(), format!("x{value}"));
        assert_eq!(String::from_utf8(pretty).unwrap(), format!("x{value:#}"));
    }
}
