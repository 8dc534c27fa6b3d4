//! What is no event at all.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Why a body is no JSON that can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    NotUtf8,
    NotJson,
    /// The pointer of a key that stands twice.
    KeyTwice(String),
}

/// What sequences say twice; a `Value` keeps one of them and says nothing.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "data")]
    _data: Option<IgnoredAny>,
}

pub(crate) fn parse(body: &[u8]) -> Result<Value, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_| Unreadable::NotUtf8)?;
    let value = serde_json::from_str(text).map_err(|_| Unreadable::NotJson)?;
    match serde_json::from_str::<Envelope>(text) {
        Err(error) if error.to_string().starts_with("duplicate field") => {
            Err(Unreadable::KeyTwice("/data".to_owned()))
        }
        Ok(_) | Err(_) => Ok(value),
    }
}

/// As a token of a pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
