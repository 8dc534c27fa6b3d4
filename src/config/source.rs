//! Configuration files as layers: every value keeps the place where it was written.
//!
//! The shipped file is the lowest layer, a user's file lies over it key by key. A value's place is the
//! line of its key: a list may go over several.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors};
use super::location::{KeyPath, Location};

/// A value from a file. Floats, dates and tables have no use here beyond being named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Text(String),
    Integer(i64),
    Truth(bool),
    List(Vec<Item>),
    Other(String),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => number.fmt(f),
            Self::Truth(truth) => truth.fmt(f),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl From<&DeValue<'_>> for Item {
    fn from(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Self::Other(number.to_string()), Self::Integer),
            DeValue::Boolean(truth) => Self::Truth(*truth),
            DeValue::Float(number) => Self::Other(number.to_string()),
            DeValue::Datetime(instant) => Self::Other(instant.to_string()),
            DeValue::Array(items) => {
                Self::List(items.iter().map(|item| Self::from(item.get_ref())).collect())
            }
            DeValue::Table(_) => Self::Other("a table".to_owned()),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) item: Item,
    pub(super) at: Location,
}

/// The values of one or more files laid over each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    pub(super) entries: BTreeMap<KeyPath, Entry>,
    /// Tables, so that an error about a missing key can name its location.
    pub(super) tables: BTreeMap<KeyPath, Location>,
}

impl Layers {
    /// Lays a file over what is there. Where it has something in the table `replaced`, nothing of that
    /// table remains of the lower layers. A file that is no TOML gives its errors.
    pub(super) fn lay(
        &mut self,
        text: &str,
        file: &str,
        replaced: &KeyPath,
    ) -> Result<(), ConfigErrors> {
        let lines = Lines { file: Arc::from(file), text };
        let (document, errors) = DeTable::parse_recoverable(text);
        let syntax = errors.iter().map(|error| ConfigError::Line {
            at: lines.at(error.span().map_or(0, |span| span.start)),
            what: error.message().to_owned(),
        });
        ConfigErrors::check(syntax.collect())?;
        let mut layer = Self::default();
        layer.add_table(&KeyPath(Vec::new()), document.get_ref(), &lines);
        if layer.tables.contains_key(replaced) {
            let is_outside = |key: &KeyPath| !key.starts_with(replaced);
            self.entries.retain(|key, _| is_outside(key));
            self.tables.retain(|key, _| is_outside(key));
        }
        for (path, at) in &layer.tables {
            // A table where a value belongs must not leave the lower layer's value in place.
            if let Some(entry) = self.entries.get_mut(path) {
                let item = Item::Other("a table".to_owned());
                *entry = Entry { item, at: at.clone() };
            }
        }
        self.entries.append(&mut layer.entries);
        self.tables.append(&mut layer.tables);
        Ok(())
    }

    /// The keys whose values differ, or that only one of both has.
    pub(super) fn differing(&self, other: &Self) -> Vec<KeyPath> {
        let keys: BTreeSet<&KeyPath> = self.entries.keys().chain(other.entries.keys()).collect();
        let item = |layers: &Self, key: &KeyPath| {
            let entry = layers.entries.get(key);
            entry.map(|entry| entry.item.clone())
        };
        keys.into_iter().filter(|key| item(self, key) != item(other, key)).cloned().collect()
    }

    /// The location of a key, or else the innermost table around it.
    pub(super) fn place(&self, key: &KeyPath) -> Location {
        let entry = self.entries.get(key).map(|entry| entry.at.clone());
        let table = || {
            (0..=key.0.len())
                .rev()
                .find_map(|depth| self.tables.get(&KeyPath(key.0[..depth].to_vec())).cloned())
        };
        entry
            .or_else(table)
            .unwrap_or_else(|| Location { file: Arc::from(super::SHIPPED_NAME), line: 1 })
    }

    /// The error of a key, with its place.
    pub(super) fn error(&self, key: &KeyPath, what: String) -> ConfigError {
        ConfigError::Key { at: self.place(key), key: key.clone(), what }
    }

    /// The error of a value that breaks its rule.
    pub(super) fn wrong_value(&self, key: &KeyPath, expected: &str) -> ConfigError {
        let got = self.entries.get(key).map(|entry| format!(", got {}", entry.item));
        self.error(key, format!("expected {expected}{}", got.unwrap_or_default()))
    }

    fn add_table(&mut self, path: &KeyPath, table: &DeTable<'_>, lines: &Lines<'_>) {
        for (name, value) in table {
            let key = path.child(name.get_ref());
            let at = lines.at(name.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => {
                    self.tables.insert(key.clone(), at);
                    self.add_table(&key, inner, lines);
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    let item = Item::from(value.get_ref());
                    self.entries.insert(key, Entry { item, at });
                }
            }
        }
    }
}

/// Turns offsets into lines.
struct Lines<'a> {
    file: Arc<str>,
    text: &'a str,
}

impl Lines<'_> {
    fn at(&self, offset: usize) -> Location {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        Location { file: Arc::clone(&self.file), line: before.split(|&b| b == b'\n').count() }
    }
}
