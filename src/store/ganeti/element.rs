//! One element of a Ganeti list with its place in it, so that an error can say where, what was expected, and
//! what is there.

use super::json::{Json, Object};
use crate::error::{Error, ErrorKind, Result};

/// How much of a wrong value an error repeats.
const SHOWN: usize = 60;

/// A value and where it is, such as `nics[0].hvinfo.addr`.
#[derive(Clone, Debug)]
pub(super) struct Element<'a> {
    path: String,
    json: &'a Json,
}

impl<'a> Element<'a> {
    pub(super) fn new(path: impl Into<String>, json: &'a Json) -> Self {
        Self { path: path.into(), json }
    }

    /// The error that this is not what was `expected`.
    pub(super) fn expected(&self, expected: &str) -> Error {
        malformed(format!("{}: expected {expected}, found {}", self.path, shown(self.json)))
    }

    /// Turns what another reader did not like into an error about this element.
    pub(super) fn refused(&self, error: Error) -> Error {
        error.with_kind(ErrorKind::Format).context(&self.path)
    }

    pub(super) fn object(&self) -> Result<&'a Object> {
        match self.json {
            Json::Object(object) => Ok(object),
            _ => Err(self.expected("an object")),
        }
    }

    pub(super) fn list(&self, expected: &str) -> Result<Vec<Element<'a>>> {
        match self.json {
            Json::List(list) => {
                Ok(list.iter().enumerate().map(|(index, json)| self.item(index, json)).collect())
            }
            _ => Err(self.expected(expected)),
        }
    }

    fn item(&self, index: usize, json: &'a Json) -> Self {
        Self::new(format!("{}[{index}]", self.path), json)
    }

    /// A member; null is taken for absent, as Ganeti writes neither.
    pub(super) fn member(&self, key: &str) -> Result<Option<Element<'a>>> {
        let found = self.object()?.get(key).filter(|json| **json != Json::Null);
        Ok(found.map(|json| Self::new(format!("{}.{key}", self.path), json)))
    }

    /// A member that has to be there.
    pub(super) fn required(&self, key: &str, expected: &str) -> Result<Element<'a>> {
        self.member(key)?
            .ok_or_else(|| malformed(format!("{}.{key}: expected {expected}, found nothing", self.path)))
    }

    pub(super) fn text(&self, expected: &str) -> Result<&'a str> {
        match self.json {
            Json::Text(text) => Ok(text),
            _ => Err(self.expected(expected)),
        }
    }

    pub(super) fn flag(&self) -> Result<bool> {
        match self.json {
            Json::Bool(flag) => Ok(*flag),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A whole number from 0 to `max`.
    pub(super) fn number(&self, max: u8) -> Result<u8> {
        let number = match self.json {
            Json::Number(number) => number.as_u64(),
            _ => None,
        };
        let number = number.and_then(|number| u8::try_from(number).ok()).filter(|number| *number <= max);
        number.ok_or_else(|| self.expected(&format!("a whole number from 0 to {max}")))
    }

    /// An argument of a command line: Ganeti leaves some of them integers.
    pub(super) fn argument(&self) -> Result<String> {
        match self.json {
            Json::Text(text) => Ok(text.clone()),
            Json::Number(number) if number.is_u64() || number.is_i64() => Ok(number.to_string()),
            _ => Err(self.expected("a string or a whole number")),
        }
    }

    pub(super) fn json(&self) -> &'a Json {
        self.json
    }
}

/// The command line as text.
pub(super) fn arguments(command: &[Json]) -> Result<Vec<String>> {
    let argument = |(index, json)| Element::new(format!("command[{index}]"), json).argument();
    command.iter().enumerate().map(argument).collect()
}

pub(super) fn malformed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, what)
}

fn shown(json: &Json) -> String {
    match json {
        Json::List(list) => format!("a list of {}", list.len()),
        Json::Object(_) => "an object".to_owned(),
        Json::Text(text) if text.chars().count() > SHOWN => {
            format!("\"{}...\"", text.chars().take(SHOWN).collect::<String>().escape_debug())
        }
        other => other.to_string(),
    }
}
