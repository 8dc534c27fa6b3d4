//! Standard Webhooks 1.0 signatures: who sent this?
//!
//! We verify ourselves: the crate of that name panics on a hostile time-stamp and takes one-byte keys
//! and doubled headers; it is the oracle of the tests below. The sender is the one whose secret
//! verifies. What is wrong goes to the log as a `Rejected`; a caller learns only that it is wrong.

#[cfg(any(test, fuzzing))]
pub(crate) mod property;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::HeaderMap;
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::domain::Invalid;
use crate::domain::id::{SenderName, WebhookId};

/// Header of the event's id.
pub const ID_HEADER: &str = "webhook-id";
/// Header of the time of sending, in seconds since 1970, UTC.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header of the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// What every secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// How long a key is, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How far the time of sending may be from now, in seconds.
const TOLERANCE_SECONDS: i64 = 300;
/// Most signatures in a header.
const SIGNATURES: usize = 8;

/// A key shared with a sender. Neither shown nor compared but in constant time; wiped when dropped.
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
            .ok_or_else(|| Invalid::expected("whsec_ and the base64 of 24 to 64 bytes"))
    }

    /// Whether both sign alike: HMAC fills a key up to its block with zeros (RFC 2104, section 2).
    fn same(&self, other: &Self) -> bool {
        let filled = |key: &Self| {
            let mut block = [0; *KEY_BYTES.end()];
            for (filled, byte) in block.iter_mut().zip(key.0.expose_secret()) {
                *filled = *byte;
            }
            SecretSlice::from(block.to_vec())
        };
        let (ours, theirs) = (filled(self), filled(other));
        ours.expose_secret().ct_eq(theirs.expose_secret()).into()
    }

    fn mac(&self, id: &str, timestamp: &str, payload: &[u8]) -> Option<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", payload] {
            mac.update(part);
        }
        Some(mac.finalize().into_bytes().into())
    }
}

impl From<SecretSlice<u8>> for Secret {
    /// A key whose length was checked where it was read.
    fn from(key: SecretSlice<u8>) -> Self {
        Self(key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Signs `payload` as [`SIGNATURE_HEADER`] wants it: `v1,` and the base64 of the HMAC.
///
/// `timestamp` is in seconds since 1970. The payload is the raw body; for a document, the 64 digits of
/// its digest.
#[must_use]
pub fn sign(secret: &Secret, id: &WebhookId, timestamp: i64, payload: &[u8]) -> String {
    // HMAC takes keys of every length, so there always is one.
    let mac = secret.mac(id.as_str(), &timestamp.to_string(), payload).unwrap_or_default();
    format!("v1,{}", STANDARD.encode(mac))
}

/// Somebody who may push events.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its name in the configuration.
    pub name: SenderName,
    /// One, or two and more while they are being rotated.
    pub secrets: Vec<Secret>,
    /// May push accounts, sub-users and the choice of the billing contact.
    pub accounts: bool,
    /// May hand over invoices and documents.
    pub invoices: bool,
}

/// All senders. No secret belongs to two of them.
#[derive(Debug, Clone, Default)]
pub struct Senders(Vec<Sender>);

/// Senders that cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmbiguousSenders {
    /// Two senders have one name.
    #[error("sender {0} stands twice")]
    Name(SenderName),
    /// Two senders have one secret.
    #[error("senders {0} and {1} share a secret")]
    Secret(SenderName, SenderName),
}

impl Senders {
    /// Refuses two senders of one name or with one secret.
    pub fn new(senders: Vec<Sender>) -> Result<Self, AmbiguousSenders> {
        for (at, one) in senders.iter().enumerate() {
            for other in &senders[..at] {
                if one.name == other.name {
                    return Err(AmbiguousSenders::Name(one.name.clone()));
                }
                let shared = one
                    .secrets
                    .iter()
                    .any(|secret| other.secrets.iter().any(|theirs| secret.same(theirs)));
                if shared {
                    return Err(AmbiguousSenders::Secret(other.name.clone(), one.name.clone()));
                }
            }
        }
        Ok(Self(senders))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody may push.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many secrets they have all together.
    #[must_use]
    pub fn secrets(&self) -> usize {
        self.0.iter().map(|sender| sender.secrets.len()).sum()
    }

    /// The sender of that name.
    #[must_use]
    pub fn get(&self, name: &SenderName) -> Option<&Sender> {
        self.0.iter().find(|sender| sender.name == *name)
    }
}

/// Why a signature was refused; for the log only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {0} stands more than once")]
    Doubled(&'static str),
    #[error("header {0} does not have its form")]
    Malformed(&'static str),
    #[error("more than {SIGNATURES} signatures")]
    TooMany,
    #[error("the time-stamp is {0} seconds from now")]
    Stale(i64),
    #[error("no secret of any sender verifies")]
    NoMatch,
}

/// The headers of a signature, well-formed and of this time.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    /// The event's id.
    pub(super) id: WebhookId,
    timestamp: String,
    signatures: Vec<[u8; 32]>,
}

impl Signed {
    /// Reads the three headers, each of which must stand exactly once.
    pub(super) fn read(headers: &HeaderMap, now: DateTime<Utc>) -> Result<Self, Rejected> {
        let id = WebhookId::parse(once(headers, ID_HEADER)?)
            .map_err(|_| Rejected::Malformed(ID_HEADER))?;
        let timestamp = once(headers, TIMESTAMP_HEADER)?;
        let sent_at = parse_timestamp(timestamp).ok_or(Rejected::Malformed(TIMESTAMP_HEADER))?;
        let distance = now.timestamp() - sent_at;
        if distance.abs() > TOLERANCE_SECONDS {
            return Err(Rejected::Stale(distance));
        }
        let signatures: Vec<&str> = once(headers, SIGNATURE_HEADER)?.split(' ').collect();
        if signatures.len() > SIGNATURES {
            return Err(Rejected::TooMany);
        }
        Ok(Self {
            id,
            timestamp: timestamp.to_owned(),
            signatures: signatures.into_iter().filter_map(parse_signature).collect(),
        })
    }

    /// The sender whose secret made one of the signatures over `payload`.
    pub(super) fn verify<'s>(
        &self,
        senders: &'s Senders,
        payload: &[u8],
    ) -> Result<&'s Sender, Rejected> {
        if self.signatures.is_empty() {
            return Err(Rejected::NoMatch);
        }
        let made_by = |secret: &Secret| {
            secret.mac(self.id.as_str(), &self.timestamp, payload).is_some_and(|mac| {
                self.signatures
                    .iter()
                    .fold(false, |found, theirs| found | bool::from(theirs.ct_eq(&mac)))
            })
        };
        senders.0.iter().find(|sender| sender.secrets.iter().any(made_by)).ok_or(Rejected::NoMatch)
    }
}

fn once<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, Rejected> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Rejected::Missing(name))?;
    if values.next().is_some() {
        return Err(Rejected::Doubled(name));
    }
    value.to_str().map_err(|_| Rejected::Malformed(name))
}

/// `^[1-9][0-9]{0,10}$`, which fits an `i64` and any arithmetic on it.
fn parse_timestamp(raw: &str) -> Option<i64> {
    let fits = (1..=11).contains(&raw.len())
        && !raw.starts_with('0')
        && raw.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| raw.parse().ok()).flatten()
}

/// The bytes of a `v1` signature; other versions are somebody else's.
fn parse_signature(raw: &str) -> Option<[u8; 32]> {
    let encoded = raw.strip_prefix("v1,")?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
