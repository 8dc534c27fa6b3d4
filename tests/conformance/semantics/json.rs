//! What is no event at all.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Why a body is no JSON that can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    NotUtf8,
    NotJson,
    /// The pointer of a key that stands twice.
    KeyTwice(String),
}

pub(crate) fn parse(body: &[u8]) -> Result<Value, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_| Unreadable::NotUtf8)?;
    let value = serde_json::from_str(text).map_err(|_| Unreadable::NotJson)?;
    let mut twice = None;
    let keys = Keys { at: String::new(), twice: &mut twice };
    match keys.deserialize(&mut serde_json::Deserializer::from_str(text)) {
        Ok(()) => twice.map_or(Ok(value), |pointer| Err(Unreadable::KeyTwice(pointer))),
        Err(_) => Err(Unreadable::NotJson),
    }
}

/// Reads any JSON for keys that stand twice; a `Value` keeps one of them and says nothing.
struct Keys<'t> {
    at: String,
    twice: &'t mut Option<String>,
}

impl Keys<'_> {
    fn within(&mut self, name: &str) -> Keys<'_> {
        Keys { at: format!("{}/{}", self.at, escaped(name)), twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(()) = items.next_element_seed(self.within(&index.to_string()))? {
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut met = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let within = self.within(&name);
            if met.contains(&name) {
                *within.twice = Some(within.at.clone());
            }
            members.next_value_seed(within)?;
            met.insert(name);
        }
        Ok(())
    }
}

/// As a token of a pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
