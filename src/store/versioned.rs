//! What our own files have in common: a JSON object that says which format it has, in which version.

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::json;

/// The members of a file of `format`, without those two that say so. A version above `newest` is refused by
/// name.
pub(crate) fn open(bytes: &[u8], format: &str, newest: u64) -> Result<Map<String, Value>> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| malformed(format!("is not JSON: {error}")))?;
    let mut file = object(value)?;
    match field::<String>(&mut file, "format")? {
        Some(found) if found == format => {}
        Some(other) => return Err(malformed(format!("has \"format\" {other:?}, expected {format:?}"))),
        None => return Err(malformed(format!("has no \"format\", expected {format:?}"))),
    }
    match field::<u64>(&mut file, "version")? {
        Some(0) => Err(malformed("has \"version\" 0, which never existed")),
        Some(newer) if newer > newest => Err(Error::new(
            ErrorKind::Version,
            format!(
                "was written by a newer version: format version {newer}, this library reads up to {newest}"
            ),
        )),
        Some(_) => Ok(file),
        None => Err(malformed("has no \"version\"")),
    }
}

/// Bytes that most files do with, so that they need not grow from 8 bytes on.
const ROOM: usize = 1024;

#[derive(Serialize)]
struct File<'a, T> {
    format: &'a str,
    version: u64,
    #[serde(flatten)]
    content: T,
}

/// A file of `format`, on one line, with the members of `content`.
pub(crate) fn write(format: &str, version: u64, content: impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROOM);
    json::append(&mut bytes, &File { format, version, content })
        .map_err(|error| Error::invalid(format!("the file cannot be written: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Takes a member out.
pub(crate) fn field<T: DeserializeOwned>(file: &mut Map<String, Value>, key: &str) -> Result<Option<T>> {
    match file.remove(key) {
        Some(value) => parse(value).map(Some).map_err(|error| error.context(format!("{key:?}"))),
        None => Ok(None),
    }
}

/// The members of an object.
pub(crate) fn object(value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(malformed("is not a JSON object")),
    }
}

/// Takes a struct out of an object; the members that it has no field for stay.
///
/// `#[serde(flatten)]` does so as well, but sorts members one way for each struct, in several times the code.
pub(crate) fn take<T: DeserializeOwned>(object: &mut Map<String, Value>) -> Result<T> {
    T::deserialize(Members(object)).map_err(|error| malformed(error.to_string()))
}

struct Members<'a>(&'a mut Map<String, Value>);

impl<'de> Deserializer<'de> for Members<'_> {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Self::Error> {
        let taken = fields.iter().filter_map(|field| Some((*field, self.0.remove(*field)?)));
        visitor.visit_map(MapDeserializer::new(taken))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only structs are taken out of an object"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Reads a value, saying what is wrong with it.
pub(crate) fn parse<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| malformed(error.to_string()))
}

pub(crate) fn malformed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        let content = Map::from_iter([("a".to_owned(), 2.into())]);
        let bytes = write("f", 1, &content).unwrap();
        assert_eq!(open(&bytes, "f", 1).unwrap(), content);
    }

    #[test]
    fn a_struct_is_taken_out_and_the_rest_stays() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Some {
            a: u8,
            #[serde(default)]
            b: Option<String>,
        }
        let read = |text: &str| {
            let mut members = object(serde_json::from_str(text).unwrap())?;
            take::<Some>(&mut members).map(|some| (some, Value::Object(members)))
        };
        let rest = serde_json::json!({"newer": [1.5], "z": null});
        let (some, left) = read(r#"{"newer": [1.5], "a": 2, "z": null}"#).unwrap();
        assert_eq!((some, left), (Some { a: 2, b: None }, rest));
        for (text, why) in [
            (r#"{"b": "x"}"#, "missing field `a`"),
            (r#"{"a": 256}"#, "invalid value: integer `256`"),
            (r#"{"a": 1, "b": 2}"#, "invalid type: integer `2`"),
            ("[1]", "is not a JSON object"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.kind() == ErrorKind::Format && error.message().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn only_what_it_says_it_is() {
        let file = open(br#"{"format":"f","version":1,"a":2}"#, "f", 1).unwrap();
        assert_eq!(Value::Object(file), serde_json::json!({"a": 2}));
        for (text, why) in [
            ("", "is not JSON"),
            ("[]", "is not a JSON object"),
            ("{}", "has no \"format\", expected \"f\""),
            (r#"{"format":"g","version":1}"#, "has \"format\" \"g\", expected \"f\""),
            (r#"{"format":7,"version":1}"#, "\"format\": invalid type"),
            (r#"{"format":"f"}"#, "has no \"version\""),
            (r#"{"format":"f","version":0}"#, "never existed"),
            (r#"{"format":"f","version":"1"}"#, "\"version\": invalid type"),
        ] {
            let error = open(text.as_bytes(), "f", 1).unwrap_err();
            assert!(error.kind() == ErrorKind::Format && error.message().contains(why), "{text}: {error}");
        }
        let newer = open(br#"{"format":"f","version":2}"#, "f", 1).unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::Version);
    }
}
