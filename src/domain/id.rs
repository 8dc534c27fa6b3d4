//! Names that others chose: of accounts, sub-users, invoices, groups, schedules and events.
//!
//! They are compared byte by byte and never normalised: the portal's id is the portal's. None can
//! hold a NUL, which the store relies on to join them into keys.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Invalid, is_unprintable, text};

/// Longest id, number or name of a group or schedule, in characters.
pub const ID_CHARACTERS: usize = 128;

fn check_printable(raw: &str) -> Result<(), Invalid> {
    let length = raw.chars().count();
    let blank_at_an_end =
        raw.starts_with(char::is_whitespace) || raw.ends_with(char::is_whitespace);
    if length == 0
        || length > ID_CHARACTERS
        || blank_at_an_end
        || raw == "."
        || raw == ".."
        || raw.chars().any(|c| is_unprintable(c) || (c.is_whitespace() && c != ' '))
    {
        return Err(Invalid::expected(
            "1 to 128 printable characters, no blanks at the ends, not \".\" or \"..\"",
        ));
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        text! {
            $(#[$doc])*
            $name
        }

        impl $name {
            /// Takes the text as it is, or says what was expected.
            pub fn parse(raw: impl Into<String>) -> Result<Self, Invalid> {
                let raw = raw.into();
                $check(&raw)?;
                Ok(Self(raw))
            }
        }
    };
}

text_id! {
    /// An account's id, chosen by the portal.
    AccountId, check_printable
}
text_id! {
    /// A sub-user's id within its account, chosen by the portal.
    SubUserId, check_printable
}
text_id! {
    /// A document's own number, unique within its account.
    InvoiceNumber, check_printable
}
text_id! {
    /// A user group. Compared exactly: `Rechnungen` is not `rechnungen`.
    Group, check_printable
}
text_id! {
    /// A schedule of the configuration.
    ScheduleName, check_printable
}
text_id! {
    /// A sender of webhooks, as named in the configuration.
    SenderName, check_token
}
text_id! {
    /// A Standard Webhooks message id.
    WebhookId, check_token
}

impl WebhookId {
    /// The id under which a line of a batch is remembered. No sender can send it, for the slash.
    #[must_use]
    pub fn of_line(&self, line: usize) -> Self {
        Self(format!("{self}/{line}"))
    }
}

fn check_token(raw: &str) -> Result<(), Invalid> {
    let fits = (1..=64).contains(&raw.len())
        && raw.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    fits.then_some(()).ok_or_else(|| Invalid::expected("1 to 64 letters, digits, \"-\" or \"_\""))
}

impl Default for ScheduleName {
    /// The schedule of every account that names none.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// An account's version: a counter or a time in milliseconds that the portal raises with each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The greatest integer that every JSON implementation keeps exactly (RFC 8259, section 6).
    pub const MAX: u64 = (1 << 53) - 1;
    /// The version of an account that is not known yet.
    pub const UNKNOWN: Self = Self(0);

    /// A version that an event can carry: 1 to 2^53 - 1.
    pub fn parse(raw: u64) -> Result<Self, Invalid> {
        if (1..=Self::MAX).contains(&raw) {
            Ok(Self(raw))
        } else {
            Err(Invalid::expected("an integer from 1 to 9007199254740991"))
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// Whether this is the version directly after `earlier`.
    #[must_use]
    pub fn follows(self, earlier: Self) -> bool {
        self.0 == earlier.0 + 1
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An invoice's place in the order of arrival. Order is by this, never by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A SHA-256 digest; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Takes a digest that was computed.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Exactly 64 lower-case hexadecimal digits.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::expected("a SHA-256 digest of 64 lower-case hexadecimal digits");
        let digit = |b: u8| match b {
            b'0'..=b'9' => Ok(b - b'0'),
            b'a'..=b'f' => Ok(b - b'a' + 10),
            _ => Err(invalid()),
        };
        let (pairs, rest) = raw.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_byte_by_byte() {
        assert_eq!(AccountId::parse("K-1001/ä ö").unwrap().as_str(), "K-1001/ä ö");
        assert_eq!(AccountId::parse("ä".repeat(128)).unwrap().as_str().chars().count(), 128);
    }

    #[test]
    fn an_id_that_could_mislead_is_refused() {
        for raw in [
            "",
            " a",
            "a ",
            ".",
            "..",
            "a\nb",
            "a\0b",
            "a\u{202E}b",
            "a\u{200B}b",
            "a\u{00A0}",
            "a\tb",
        ] {
            assert!(AccountId::parse(raw).is_err(), "{raw:?}");
        }
        assert!(AccountId::parse("a".repeat(129)).is_err());
    }

    #[test]
    fn no_sender_can_send_the_id_of_a_line() {
        let line = WebhookId::parse("msg_1").unwrap().of_line(3);
        assert_eq!(line.as_str(), "msg_1/3");
        assert!(WebhookId::parse(line.as_str()).is_err());
    }

    #[test]
    fn a_version_is_exact_in_json() {
        assert!(Version::parse(0).is_err());
        assert!(Version::parse(Version::MAX).is_ok());
        assert!(Version::parse(Version::MAX + 1).is_err());
    }

    #[test]
    fn a_digest_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), expected);
    }

    #[test]
    fn a_digest_is_lower_case_hexadecimal() {
        let text = "9f".repeat(32);
        assert_eq!(Digest::parse(&text).unwrap().to_string(), text);
        for raw in
            ["", "9F", &"9F".repeat(32), &"9f".repeat(31), &"9f".repeat(33), &"zz".repeat(32)]
        {
            assert!(Digest::parse(raw).is_err(), "{raw}");
        }
    }
}
