//! What the daemon knows about accounts, invoices and deliveries, and every rule over them.
//!
//! Pure: time and randomness are arguments, decisions are return values. Nothing here knows of the
//! network, the disk, a clock, a log or a wire format, so that each rule can be tested by itself and
//! one resolver serves sending, dry run and `explain`.
//!
//! What has one of these types is valid: fields are private where a rule hangs on them, and a value
//! gets in by `parse` or by a function that checks.

pub mod account;
pub mod address;
pub mod audit;
pub mod change;
pub mod contact;
pub mod delivery;
pub mod id;
pub mod invoice;
pub mod money;
mod named;
mod reason;
pub mod recipient;
pub mod retry;
pub mod schedule;

pub use self::named::Named;
pub(crate) use self::named::{named, text};

/// A value that breaks its rule; says what was expected instead, ready for an API caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct Invalid {
    expected: String,
}

impl Invalid {
    /// `expected` completes the sentence "expected …".
    pub fn expected(expected: impl Into<String>) -> Self {
        Self { expected: expected.into() }
    }

    /// What would have been right.
    #[must_use]
    pub fn expectation(&self) -> &str {
        &self.expected
    }
}

/// Characters that a reader cannot see or that change how their neighbours are shown: controls,
/// line and paragraph separators, the byte order mark, and the bidirectional and zero-width
/// formatting characters (Unicode Standard Annex 9, section 2) used to disguise names.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}
