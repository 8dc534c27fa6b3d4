//! Who may use the interfaces: senders by their secrets, operators by their tokens.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretSlice};
use subtle::ConstantTimeEq as _;

use crate::domain::Invalid;
use crate::domain::id::{Digest, SenderName};

/// What every secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Length of a key in bytes (Standard Webhooks 1.0).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Who may use the interfaces. It can be replaced while they are served, as a whole.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Who may push.
    pub senders: Senders,
    /// Who may use the admin interface over TCP. The socket is guarded by its file permissions.
    pub tokens: Vec<Token>,
}

/// A key shared with a sender: not shown, and wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// A key of 24 to 64 bytes.
    pub fn new(key: SecretSlice<u8>) -> Result<Self, Invalid> {
        if KEY_BYTES.contains(&key.expose_secret().len()) {
            Ok(Self(key))
        } else {
            Err(Invalid::expected("a key of 24 to 64 bytes"))
        }
    }

    /// `whsec_` and the base64 of 24 to 64 bytes.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        raw.strip_prefix(SECRET_PREFIX)
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .and_then(|key| Self::new(key.into()).ok())
            .ok_or_else(|| Invalid::expected("\"whsec_\" and base64 of 24 to 64 bytes"))
    }

    /// The key, to sign with.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Whether both make the same signatures: HMAC pads a key to its block with zeros (RFC 2104, section 2).
    fn signs_like(&self, other: &Self) -> bool {
        let padded = |key: &Self| {
            let mut block = [0; *KEY_BYTES.end()];
            for (padded, byte) in block.iter_mut().zip(key.expose()) {
                *padded = *byte;
            }
            SecretSlice::from(block.to_vec())
        };
        let (ours, theirs) = (padded(self), padded(other));
        ours.expose_secret().ct_eq(theirs.expose_secret()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A system that pushes events.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its name in the configuration.
    pub name: SenderName,
    /// One, or several while they are being rotated; any of them verifies, the first signs.
    pub secrets: Vec<Secret>,
    /// May push accounts, sub-users and the choice of the billing contact.
    pub accounts: bool,
    /// May push invoices and documents.
    pub invoices: bool,
}

/// All senders by name. No secret belongs to two of them.
#[derive(Debug, Clone, Default)]
pub struct Senders(BTreeMap<SenderName, Sender>);

/// Two senders have a secret in common, so that each would have the rights of both.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sender}: secrets that {other} does not have too")]
pub struct SharedSecret {
    /// The second of the two, by name.
    pub sender: SenderName,
    /// The first.
    pub other: SenderName,
}

impl Senders {
    /// Refuses a secret that two senders share.
    pub fn new(senders: impl IntoIterator<Item = Sender>) -> Result<Self, SharedSecret> {
        let senders: BTreeMap<SenderName, Sender> =
            senders.into_iter().map(|sender| (sender.name.clone(), sender)).collect();
        for (at, sender) in senders.values().enumerate() {
            let shares = |other: &&Sender| {
                let mut theirs = other.secrets.iter();
                theirs.any(|theirs| sender.secrets.iter().any(|ours| ours.signs_like(theirs)))
            };
            if let Some(other) = senders.values().take(at).find(shares) {
                let (sender, other) = (sender.name.clone(), other.name.clone());
                return Err(SharedSecret { sender, other });
            }
        }
        Ok(Self(senders))
    }

    /// The sender of that name.
    #[must_use]
    pub fn get(&self, name: &SenderName) -> Option<&Sender> {
        self.0.get(name)
    }

    /// Each sender, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Sender> {
        self.0.values()
    }
}

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// See everything.
    Read,
    /// See and change everything.
    Operate,
}

/// A bearer token of the admin interface (RFC 6750), of which only the digest is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its holder, as the audit log names them.
    pub name: SenderName,
    /// What its holder may do.
    pub right: Right,
    /// SHA-256 of the token.
    pub digest: Digest,
}

impl fmt::Debug for Token {
    /// Without the digest: that of a weak token would be as good as the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, right, digest: _ } = self;
        f.debug_struct("Token").field("name", name).field("right", right).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(key: &[u8]) -> Secret {
        Secret::parse(&format!("whsec_{}", STANDARD.encode(key))).unwrap()
    }

    fn sender(name: &str, secrets: &[&[u8]]) -> Sender {
        Sender {
            name: SenderName::parse(name).unwrap(),
            secrets: secrets.iter().map(|key| secret(key)).collect(),
            accounts: true,
            invoices: true,
        }
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_and_is_not_shown() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for (bytes, fits) in [(1, false), (23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(Secret::parse(&of(bytes)).is_ok(), fits, "{bytes}");
        }
        assert!(Secret::parse(&STANDARD.encode([7; 32])).is_err(), "no prefix");
        assert_eq!(format!("{:?}", secret(&[7; 32])), "Secret");
    }

    #[test]
    fn one_secret_under_two_senders_is_refused() {
        let (key, other) = ([7; 32], [8; 32]);
        let padded = [&key[..], &[0; 32]].concat();
        for (first, second) in [(&[&key[..]][..], &[&other[..], &key][..]), (&[&key], &[&padded])] {
            let shared = Senders::new([sender("portal", first), sender("billing", second)]);
            let shared = shared.unwrap_err();
            assert_eq!((shared.sender.as_str(), shared.other.as_str()), ("portal", "billing"));
        }
        assert!(Senders::new([sender("portal", &[&key]), sender("billing", &[&other])]).is_ok());
    }
}
