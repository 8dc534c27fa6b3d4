//! Typed reading of the layers.
//!
//! The reader notes every key that it is asked for, and any other key is unknown: no list
//! of keys has to be kept in step with the code. What is wrong is noted as well and the reading goes
//! on, so that an operator sees all of it at once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Environment;
use super::error::{ConfigError, ConfigErrors};
use super::location::KeyPath;
use super::source::{Entry, Item, Layers};
use crate::domain::Invalid;

/// That an error was noted in the reader, which is the only one to make this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted(());

/// Reads values. Each function that takes a key asks for it.
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    environment: &'a Environment,
    pub(super) asked: BTreeSet<KeyPath>,
    asked_tables: BTreeSet<KeyPath>,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers, environment: &'a Environment) -> Self {
        Self {
            layers,
            environment,
            asked: BTreeSet::new(),
            asked_tables: BTreeSet::new(),
            errors: Vec::new(),
        }
    }

    pub(super) fn layers(&self) -> &'a Layers {
        self.layers
    }

    /// A value that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &KeyPath,
        parse: impl FnOnce(&Item) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Noted> {
        let is_first = self.asked.insert(key.clone());
        let Some(Entry { item, at }) = self.layers.entries.get(key) else {
            return Ok(None);
        };
        parse(item).map(Some).map_err(|invalid| {
            // What other tables fall back to is read again, but reported once.
            if is_first {
                self.errors.push(ConfigError::Value {
                    at: at.clone(),
                    key: key.clone(),
                    expected: invalid.expectation().to_owned(),
                    got: item.to_string(),
                });
            }
            Noted(())
        })
    }

    /// A value that has a default, or must be given.
    pub(super) fn required<T>(
        &mut self,
        key: &KeyPath,
        parse: impl FnOnce(&Item) -> Result<T, Invalid>,
    ) -> Result<T, Noted> {
        self.optional(key, parse)?.ok_or_else(|| self.rule(key, "a value, since it has no default"))
    }

    pub(super) fn text<T>(
        &mut self,
        key: &KeyPath,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Result<T, Noted> {
        self.required(key, |item| parse(as_text(item)?))
    }

    pub(super) fn optional_text<T>(
        &mut self,
        key: &KeyPath,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Noted> {
        self.optional(key, |item| parse(as_text(item)?))
    }

    /// A path; a relative one is relative to the configuration file's directory.
    pub(super) fn path(&mut self, key: &KeyPath) -> Result<PathBuf, Noted> {
        let environment = self.environment;
        self.text(key, |text| environment.path(text))
    }

    pub(super) fn optional_path(&mut self, key: &KeyPath) -> Result<Option<PathBuf>, Noted> {
        let environment = self.environment;
        self.optional_text(key, |text| environment.path(text))
    }

    /// A path or the name of a credential.
    pub(super) fn file(&mut self, key: &KeyPath) -> Result<PathBuf, Noted> {
        self.optional_file(key)?.ok_or_else(|| self.rule(key, "a path or the name of a credential"))
    }

    pub(super) fn optional_file(&mut self, key: &KeyPath) -> Result<Option<PathBuf>, Noted> {
        let environment = self.environment;
        let given = self.layers.entries.get(key).map(|entry| &entry.item);
        if given.is_some_and(|given| given.to_string().contains("whsec_")) {
            // Refused here, where the value is not shown.
            self.asked.insert(key.clone());
            return Err(self.rule(key, "the name of a file with the secret, not the secret"));
        }
        self.optional_text(key, |text| environment.file(text))
    }

    /// An integer; `unit` completes "an integer from 1 to 5 …" and begins with a blank or is empty.
    pub(super) fn integer<T>(
        &mut self,
        key: &KeyPath,
        range: RangeInclusive<T>,
        unit: &str,
    ) -> Result<T, Noted>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        self.required(key, |item| {
            let expected = || {
                let (first, last) = (range.start(), range.end());
                Invalid::expected(format!("an integer from {first} to {last}{unit}"))
            };
            let Item::Integer(number) = item else {
                return Err(expected());
            };
            T::try_from(*number).ok().filter(|number| range.contains(number)).ok_or_else(expected)
        })
    }

    pub(super) fn seconds(
        &mut self,
        key: &KeyPath,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, Noted> {
        self.integer(key, range, " seconds").map(Duration::from_secs)
    }

    pub(super) fn truth(&mut self, key: &KeyPath) -> Result<bool, Noted> {
        self.required(key, |item| match item {
            Item::Truth(truth) => Ok(*truth),
            Item::Text(_) | Item::Integer(_) | Item::List(_) | Item::Other(_) => {
                Err(Invalid::expected("true or false"))
            }
        })
    }

    /// One of a closed set of names.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &KeyPath,
        choices: &[(&str, T)],
    ) -> Result<T, Noted> {
        self.required(key, |item| choose(item, choices))
    }

    /// A list of texts.
    pub(super) fn list<T>(
        &mut self,
        key: &KeyPath,
        parse: impl FnOnce(&[Item]) -> Result<T, Invalid>,
    ) -> Result<T, Noted> {
        self.required(key, |item| match item {
            Item::List(items) => parse(items),
            Item::Text(_) | Item::Integer(_) | Item::Truth(_) | Item::Other(_) => {
                Err(Invalid::expected("a list of texts in brackets"))
            }
        })
    }

    /// The names of the tables inside `table`.
    pub(super) fn names(&mut self, table: &KeyPath) -> BTreeSet<String> {
        self.asked_tables.insert(table.clone());
        let depth = table.names().len();
        self.layers
            .tables
            .keys()
            .filter(|key| key.starts_with(table))
            .filter_map(|key| key.names().get(depth).cloned())
            .collect()
    }

    /// Whether a file gives the key a value.
    pub(super) fn has(&self, key: &KeyPath) -> bool {
        self.layers.entries.contains_key(key)
    }

    /// Notes a rule that `key` breaks.
    pub(super) fn rule(&mut self, key: &KeyPath, expected: impl Into<String>) -> Noted {
        self.errors.push(ConfigError::Rule {
            at: self.layers.place(key),
            key: key.clone(),
            expected: expected.into(),
        });
        Noted(())
    }

    /// Notes a rule between keys, at the first of them that does not merely have its default.
    pub(super) fn rule_between(&mut self, keys: &[KeyPath], expected: impl Into<String>) -> Noted {
        let is_given = |key: &&KeyPath| {
            let entry = self.layers.entries.get(*key);
            entry.is_some_and(|entry| &*entry.at.file != super::SHIPPED_NAME)
        };
        match keys.iter().find(is_given).or(keys.first()) {
            Some(key) => self.rule(key, expected),
            None => self.rule(&KeyPath::new(&[]), expected),
        }
    }

    /// What was read, unless something was noted or a key was never asked for.
    pub(super) fn finish<T>(mut self, read: Result<T, Noted>) -> Result<T, ConfigErrors> {
        self.note_unknown();
        match read {
            Ok(read) => ConfigErrors::check(self.errors).map(|()| read),
            Err(Noted(())) => Err(ConfigErrors::all(self.errors)),
        }
    }

    fn note_unknown(&mut self) {
        for key in &self.asked {
            self.asked_tables.extend(key.tables());
        }
        for (key, entry) in &self.layers.entries {
            if self.asked.contains(key) {
                continue;
            }
            let at = entry.at.clone();
            let key = key.clone();
            self.errors.push(if self.asked_tables.contains(&key) {
                ConfigError::Value {
                    at,
                    key,
                    expected: "a table".to_owned(),
                    got: entry.item.to_string(),
                }
            } else {
                let nearest = nearest(&key, &self.asked);
                ConfigError::UnknownKey { at, key, nearest }
            });
        }
        for (table, at) in &self.layers.tables {
            // A table with keys is reported by its keys, and one in place of a value by its wrong type.
            let is_told = self.layers.entries.keys().any(|key| key.starts_with(table));
            if !is_told && !self.asked_tables.contains(table) {
                self.errors.push(ConfigError::UnknownKey {
                    at: at.clone(),
                    key: table.clone(),
                    nearest: nearest(table, &self.asked_tables),
                });
            }
        }
    }
}

pub(super) fn as_text(item: &Item) -> Result<&str, Invalid> {
    match item {
        Item::Text(text) => Ok(text),
        Item::Integer(_) | Item::Truth(_) | Item::List(_) | Item::Other(_) => {
            Err(Invalid::expected("a text in quotes"))
        }
    }
}

fn choose<T: Copy>(item: &Item, choices: &[(&str, T)]) -> Result<T, Invalid> {
    let given = as_text(item).unwrap_or_default();
    choices.iter().find_map(|(name, choice)| (*name == given).then_some(*choice)).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        Invalid::expected(names.join(" or "))
    })
}

/// The known key that an unknown one is most likely meant to be: few edits away, or of the same name in
/// another table.
fn nearest(unknown: &KeyPath, known: &BTreeSet<KeyPath>) -> Option<KeyPath> {
    let written = unknown.to_string();
    let allowed = 1 + written.chars().count() / 5;
    known
        .iter()
        .map(|key| (edits(&written, &key.to_string()), key))
        .filter(|(distance, key)| {
            *distance <= allowed || key.names().last() == unknown.names().last()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key.clone())
}

/// How many characters have to be added, removed or replaced to turn one text into the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.chars().enumerate() {
        let mut left = row + 1;
        let mut current = vec![left];
        for (column, &b) in to.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            left = replaced.min(above[column + 1] + 1).min(left + 1);
            current.push(left);
        }
        above = current;
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_characters() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("kitten", "sitting", 3),
            ("für", "fur", 1),
        ] {
            assert_eq!(edits(from, to), expected, "{from} {to}");
            assert_eq!(edits(to, from), expected, "{to} {from}");
        }
    }
}
