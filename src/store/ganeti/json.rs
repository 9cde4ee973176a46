//! JSON that is written as it was read: keys in their order, integers as integers, in the layout of Python's
//! `json`.
//!
//! serde_json's own tree sorts keys. Its `preserve_order` would not, but then every answer of the monitor
//! takes half as much memory again (260 bytes a member instead of 160, measured), and what the monitor may
//! send is bounded by that.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number.
    Number(Number),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Object),
}

/// The members of an object, in their order. Of two with one key, Python, and so Ganeti, takes the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Json)>);

impl Object {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().rev().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The value under `key`, in place.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Json> {
        self.0.iter_mut().rev().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Sets a value: in place if there is one, at the end if not.
    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        match self.get_mut(key) {
            Some(old) => *old = value.into(),
            None => self.0.push((key.to_owned(), value.into())),
        }
    }

    /// Takes a value out; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        let value = self.get(key).cloned();
        self.0.retain(|(name, _)| name != key);
        value
    }

    /// Whether there is a value under `key`.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

impl<const N: usize> From<[(&str, Json); N]> for Object {
    fn from(members: [(&str, Json); N]) -> Self {
        Self(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Json {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<Vec<Json>> for Json {
    fn from(list: Vec<Json>) -> Self {
        Self::List(list)
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Object(map) => {
                Self::Object(Object(map.iter().map(|(key, value)| (key.clone(), value.into())).collect()))
            }
        }
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => Self::Number(number.clone()),
            Json::Text(text) => Self::String(text.clone()),
            Json::List(list) => Self::Array(list.iter().map(Self::from).collect()),
            Json::Object(object) => {
                let members = object.0.iter().map(|(key, value)| (key.clone(), Self::from(value)));
                Self::Object(members.collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(Object(members)))
    }
}

/// As Python's `json.dumps` writes it: ", " and ": " between things, and nothing but ASCII.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write_text(f, text),
            Self::List(list) => {
                f.write_char('[')?;
                for (index, item) in list.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    item.fmt(f)?;
                }
                f.write_char(']')
            }
            Self::Object(object) => {
                f.write_char('{')?;
                for (index, (key, value)) in object.0.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    write_text(f, key)?;
                    f.write_str(": ")?;
                    value.fmt(f)?;
                }
                f.write_char('}')
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            ' '..='~' => f.write_char(c)?,
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(f, "\\u{unit:04x}")?;
                }
            }
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn written_as_it_was_read() {
        // Made with Python 3.11's json.dumps.
        for text in [
            r#"{"b": [512, -1, 1700000000.5, 1700000000.0], "a": {}, "": null, "x": [true, false]}"#,
            r#"["\u00e4\ud83d\ude00", "\u007f\b\f\n\r\t\"\\/"]"#,
            r#"{"a": 1, "b": 2, "a": 3}"#,
        ] {
            let json: Json = serde_json::from_str(text).unwrap();
            assert_eq!(json.to_string(), text);
        }
    }

    #[test]
    fn members_keep_their_places() {
        let Json::Object(mut object) = serde_json::from_str(r#"{"b": 1, "a": 2, "c": 3}"#).unwrap() else {
            panic!("an object")
        };
        object.set("a", "x");
        object.set("d", true);
        assert_eq!(object.remove("b"), Some(1.into()));
        assert_eq!(object.remove("b"), None);
        assert_eq!(Json::from(object).to_string(), r#"{"a": "x", "c": 3, "d": true}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_survives(text in ".{0,40}", number in any::<f64>()) {
            let json = Json::from(vec![Json::from(text), Number::from_f64(number).map_or(Json::Null, Json::Number)]);
            prop_assert_eq!(&serde_json::from_str::<Json>(&json.to_string()).unwrap(), &json);
            prop_assert_eq!(Json::from(&Value::from(&json)), json);
        }
    }
}
