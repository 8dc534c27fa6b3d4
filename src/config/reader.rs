//! Typed reading of the layers.
//!
//! The reader notes every key that it is asked for, and any other key is unknown: no list
//! of keys has to be kept in step with the code. What is wrong is noted as well and the reading goes
//! on, so that an operator sees all of it at once.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Environment;
use super::error::{ConfigError, ConfigErrors};
use super::location::{KeyPath, Location};
use super::source::{Entry, Item, Layers};
use crate::domain::Invalid;

/// That an error was noted in the reader, which is the only one to make this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted(());

/// What was asked for so far, and what is wrong.
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

    /// The table with these names between dots.
    pub(super) fn table(&mut self, dotted: &str) -> Table<'_, 'a> {
        self.table_at(KeyPath::new(dotted))
    }

    pub(super) fn table_at(&mut self, path: KeyPath) -> Table<'_, 'a> {
        Table { reader: self, path }
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
    pub(super) fn rule(&mut self, key: &KeyPath, expected: impl fmt::Display) -> Noted {
        self.errors.push(self.layers.error(key, format!("expected {expected}")));
        Noted(())
    }

    /// Notes a rule between keys, at the first of them that does not merely have its default.
    pub(super) fn rule_between(&mut self, keys: &[&str], expected: impl fmt::Display) -> Noted {
        let keys: Vec<KeyPath> = keys.iter().map(|key| KeyPath::new(key)).collect();
        let is_given = |key: &&KeyPath| {
            let entry = self.layers.entries.get(*key);
            entry.is_some_and(|entry| &*entry.at.file != super::SHIPPED_NAME)
        };
        self.rule(keys.iter().find(is_given).unwrap_or(&keys[0]), expected)
    }

    /// What was read, unless something was noted or a key was never asked for.
    pub(super) fn finish<T>(mut self, read: Result<T, Noted>) -> Result<T, ConfigErrors> {
        self.note_unknown();
        match read {
            Ok(read) => ConfigErrors::check(self.errors).map(|()| read),
            Err(Noted(())) => Err(ConfigErrors(self.errors)),
        }
    }

    fn note_unknown(&mut self) {
        for key in &self.asked {
            self.asked_tables.extend(key.tables());
        }
        let unknown = |at: &Location, key, known| {
            let nearest = nearest(key, known).map(|key| format!(", did you mean {key}?"));
            let what = format!("unknown key {key}{}", nearest.unwrap_or_default());
            ConfigError::Line { at: at.clone(), what }
        };
        for (key, entry) in &self.layers.entries {
            if self.asked_tables.contains(key) {
                self.errors.push(self.layers.wrong_value(key, "a table"));
            } else if !self.asked.contains(key) {
                self.errors.push(unknown(&entry.at, key, &self.asked));
            }
        }
        for (table, at) in &self.layers.tables {
            // A table with keys is reported by its keys, and one in place of a value by its wrong type.
            let is_reported = self.layers.entries.keys().any(|key| key.starts_with(table));
            if !is_reported && !self.asked_tables.contains(table) {
                self.errors.push(unknown(at, table, &self.asked_tables));
            }
        }
    }
}

/// Reads the values of a table. Each function that takes a name asks for it.
pub(super) struct Table<'r, 'a> {
    reader: &'r mut Reader<'a>,
    path: KeyPath,
}

impl Table<'_, '_> {
    /// A value that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&Item) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Noted> {
        let (reader, key) = (&mut *self.reader, self.path.child(name));
        let is_first = reader.asked.insert(key.clone());
        let Some(Entry { item, .. }) = reader.layers.entries.get(&key) else {
            return Ok(None);
        };
        parse(item).map(Some).map_err(|invalid| {
            // What other tables fall back to is read again, but reported once.
            if is_first {
                reader.errors.push(reader.layers.wrong_value(&key, invalid.expectation()));
            }
            Noted(())
        })
    }

    /// A value that has a default, or must be given.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&Item) -> Result<T, Invalid>,
    ) -> Result<T, Noted> {
        self.optional(name, parse)?
            .ok_or_else(|| self.rule(name, "a value, since it has no default"))
    }

    pub(super) fn text<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Result<T, Noted> {
        self.required(name, |item| parse(as_text(item)?))
    }

    pub(super) fn optional_text<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Noted> {
        self.optional(name, |item| parse(as_text(item)?))
    }

    /// A path; a relative one is relative to the configuration file's directory.
    pub(super) fn path(&mut self, name: &str) -> Result<PathBuf, Noted> {
        let environment = self.reader.environment;
        self.text(name, |text| environment.path(text))
    }

    pub(super) fn optional_path(&mut self, name: &str) -> Result<Option<PathBuf>, Noted> {
        let environment = self.reader.environment;
        self.optional_text(name, |text| environment.path(text))
    }

    /// A path or the name of a credential.
    pub(super) fn file(&mut self, name: &str) -> Result<PathBuf, Noted> {
        self.optional_file(name)?
            .ok_or_else(|| self.rule(name, "a path or the name of a credential"))
    }

    pub(super) fn optional_file(&mut self, name: &str) -> Result<Option<PathBuf>, Noted> {
        let environment = self.reader.environment;
        let key = self.path.child(name);
        let given = self.reader.layers.entries.get(&key).map(|entry| &entry.item);
        if given.is_some_and(|given| given.to_string().contains("whsec_")) {
            // Refused here, where the value is not shown.
            self.reader.asked.insert(key);
            return Err(self.rule(name, "the name of a file with the secret, not the secret"));
        }
        self.optional_text(name, |text| environment.file(text))
    }

    /// An integer; `unit` completes "an integer from 1 to 5 …" and begins with a blank or is empty.
    pub(super) fn integer<T>(
        &mut self,
        name: &str,
        range: RangeInclusive<T>,
        unit: &str,
    ) -> Result<T, Noted>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        self.required(name, |item| {
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
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, Noted> {
        self.integer(name, range, " seconds").map(Duration::from_secs)
    }

    pub(super) fn truth(&mut self, name: &str) -> Result<bool, Noted> {
        self.required(name, |item| match item {
            Item::Truth(truth) => Ok(*truth),
            Item::Text(_) | Item::Integer(_) | Item::List(_) | Item::Other(_) => {
                Err(Invalid::expected("true or false"))
            }
        })
    }

    /// One of a closed set of names.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<T, Noted> {
        self.required(name, |item| choose(item, choices))
    }

    /// A list of texts.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&[Item]) -> Result<T, Invalid>,
    ) -> Result<T, Noted> {
        self.required(name, |item| match item {
            Item::List(items) => parse(items),
            Item::Text(_) | Item::Integer(_) | Item::Truth(_) | Item::Other(_) => {
                Err(Invalid::expected("a list of texts in brackets"))
            }
        })
    }

    /// Notes a rule that a key breaks.
    pub(super) fn rule(&mut self, name: &str, expected: impl fmt::Display) -> Noted {
        self.reader.rule(&self.path.child(name), expected)
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
