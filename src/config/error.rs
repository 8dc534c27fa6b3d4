//! What can be wrong with a configuration. Every error names file, line and key.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::location::{KeyPath, Location};

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file could not be read.
    #[error("{}: cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The file is no TOML.
    #[error("{at}: {what}")]
    Syntax {
        /// Where.
        at: Location,
        /// What the parser says.
        what: String,
    },
    /// A key that does not exist.
    #[error("{at}: unknown key {key}{}", nearest.as_ref().map(|key| format!(", did you mean {key}?")).unwrap_or_default())]
    UnknownKey {
        /// Where.
        at: Location,
        /// The key.
        key: KeyPath,
        /// A known key much like it.
        nearest: Option<KeyPath>,
    },
    /// Something that the configuration names, checked by the code that uses it.
    #[error("{0}")]
    Elsewhere(String),
    /// A value that breaks its rule.
    #[error("{at}: {key}: expected {expected}, got {got}")]
    Value {
        /// Where.
        at: Location,
        /// Its key.
        key: KeyPath,
        /// What is expected.
        expected: String,
        /// The value in the file.
        got: String,
    },
    /// A rule over more than one key, or something missing.
    #[error("{at}: {key}: expected {expected}")]
    Rule {
        /// Where.
        at: Location,
        /// The key that breaks it.
        key: KeyPath,
        /// What is expected.
        expected: String,
    },
    /// A file that a key names could not be read.
    #[error("{at}: {key}: {} cannot be read: {reason}{hint}", path.display())]
    File {
        /// Where the key is.
        at: Location,
        /// The key.
        key: KeyPath,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
        /// What to do about it; empty or beginning with a semicolon.
        hint: String,
    },
    /// A file that a key names holds something wrong. What it holds is never shown: it is secret.
    #[error("{at}: {key}: line {line} of {}: expected {expected}", path.display())]
    FileLine {
        /// Where the key is.
        at: Location,
        /// The key.
        key: KeyPath,
        /// The file.
        path: PathBuf,
        /// The line in that file, from 1.
        line: usize,
        /// What is expected.
        expected: String,
    },
}

/// Everything that is wrong with a configuration; at least one thing. Shown one a line.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// All of `errors` as one, unless there are none.
    pub fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// All of `errors` as one, where it is known that there are some.
    #[must_use]
    pub fn all(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }

    /// All of them, to be reported together with others.
    #[must_use]
    pub fn into_vec(self) -> Vec<ConfigError> {
        self.0
    }

    /// Each of them.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let line_break = if at > 0 { "\n" } else { "" };
            write!(f, "{line_break}{error}")?;
        }
        Ok(())
    }
}
