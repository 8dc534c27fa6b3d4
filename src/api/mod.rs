//! What the HTTP interfaces answer: the daemon writes these types; the command line, the demo and tests read them.
//!
//! Each follows a schema of `src/http/openapi.yaml`, and a test compares the two. Names come from the domain's enums.
//! Readers skip members that they do not know and keep names that they do not know, so that they understand a newer daemon.

#![allow(missing_docs, reason = "src/http/openapi.yaml says what each member means")]

mod account;
mod audit;
mod event;
mod invoice;
mod problem;
mod sending;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::account::*;
pub use self::audit::*;
pub use self::event::*;
pub use self::invoice::*;
pub use self::problem::*;
pub use self::sending::*;
use crate::domain::Named;

/// The name of a value; one that this version does not know is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name<T> {
    Known(T),
    Unknown(String),
}

impl<T: Named> Name<T> {
    /// The value, if this version knows it.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Unknown(_) => None,
        }
    }

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(value) => value.as_str(),
            Self::Unknown(name) => name,
        }
    }
}

impl<T> From<T> for Name<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: Named> PartialEq<T> for Name<T> {
    fn eq(&self, other: &T) -> bool {
        self.known() == Some(*other)
    }
}

impl<T: Named> fmt::Display for Name<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<T: Named> Serialize for Name<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Named> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(T::parse(&name).map_or(Self::Unknown(name), Self::Known))
    }
}
