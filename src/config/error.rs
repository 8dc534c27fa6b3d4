//! What can be wrong with a configuration. Every error names file, line and key.

use std::fmt;

use super::location::{KeyPath, Location};

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The value of a key, or what it names. A secret is never part of it.
    #[error("{at}: {key}: {what}")]
    Key {
        /// Where the key is, or belongs.
        at: Location,
        /// The key.
        key: KeyPath,
        /// What is wrong, and what is expected.
        what: String,
    },
    /// A line that is no TOML, or has a key that does not exist.
    #[error("{at}: {what}")]
    Line {
        /// Where.
        at: Location,
        /// What is wrong.
        what: String,
    },
    /// A file that cannot be read, or one that the configuration names and the code that uses it has checked.
    #[error("{0}")]
    File(String),
}

/// Everything that is wrong with a configuration; at least one thing. Shown one a line.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// All of `errors` as one, unless there are none.
    pub fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
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
