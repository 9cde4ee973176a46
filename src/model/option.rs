//! How the argument of an option of QEMU's is read: JSON, or key=value text.

use serde_json::{Map, Value};

/// Reads the argument of an option that somebody else wrote: its members as text, `implied` being the name of
/// one that is given without. JSON that does not parse has none.
pub fn read(argument: &str, implied: &str) -> Vec<(String, String)> {
    if argument.starts_with('{') {
        let object: Map<String, Value> = serde_json::from_slice(argument.as_bytes()).unwrap_or_default();
        let text = |key: &str, value: Value| match value {
            Value::String(text) => text,
            // As a number it is slot and function in one (7.2).
            Value::Number(number) if key == "addr" => {
                number.as_u64().map_or_else(String::new, |devfn| format!("{:x}.{}", devfn >> 3, devfn & 7))
            }
            other => other.to_string(),
        };
        return object.into_iter().map(|(key, value)| (key.clone(), text(&key, value))).collect();
    }
    let mut members = Vec::new();
    let mut rest = argument;
    while !rest.is_empty() {
        let (item, after) = split_item(rest);
        rest = after;
        members.push(match item.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None if members.is_empty() => (implied.to_owned(), item),
            None => (item, "on".to_owned()),
        });
    }
    members
}

/// The text up to the next comma that is not doubled, and what is behind it.
fn split_item(text: &str) -> (String, &str) {
    let mut item = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(',') {
        item += before;
        match after.strip_prefix(',') {
            Some(further) => {
                item.push(',');
                rest = further;
            }
            None => return (item, after),
        }
    }
    item += rest;
    (item, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_options_are_read() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let table: [(&str, &[(&str, &str)]); 6] = [
            (
                "pcie-root-port,id=rp1,addr=0x1c.1",
                &[("driver", "pcie-root-port"), ("id", "rp1"), ("addr", "0x1c.1")],
            ),
            ("driver=a,path=/x,,y,z", &[("driver", "a"), ("path", "/x,y"), ("z", "on")]),
            ("a,,b,,", &[("driver", "a,b,")]),
            (r#"{"driver":"a","addr":24,"on":true}"#, &[("addr", "3.0"), ("driver", "a"), ("on", "true")]),
            ("{broken", &[]),
            ("", &[]),
        ];
        for (text, members) in table {
            assert_eq!(read(text, "driver"), pairs(members), "{text}");
        }
    }
}
