//! Standard Webhooks 1.0 signatures: who sent this?
//!
//! We verify ourselves: the crate of that name panics on a hostile time-stamp and takes one-byte keys
//! and doubled headers; it is the oracle of the tests below. The sender is the one whose secret
//! verifies. What is wrong goes to the log as a `Rejected`; a caller learns only that it is wrong.

#[cfg(any(test, fuzzing))]
pub(crate) mod property;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::config::{Secret, Sender, Senders};
use crate::domain::id::WebhookId;

/// Header of the event's id.
pub const ID_HEADER: &str = "webhook-id";
/// Header of the time of sending, in seconds since 1970, UTC.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header of the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How far the time of sending may be from now, in seconds.
const TOLERANCE_SECONDS: i64 = 300;
/// Most signatures in a header.
const SIGNATURES: usize = 8;

/// Signs `payload` as [`SIGNATURE_HEADER`] wants it: `v1,` and the base64 of the HMAC.
///
/// `timestamp` is in seconds since 1970. The payload is the raw body; for a document, the 64 digits of
/// its digest.
#[must_use]
pub fn sign(secret: &Secret, id: &WebhookId, timestamp: i64, payload: &[u8]) -> String {
    // HMAC takes keys of every length, so there always is one.
    let mac = mac(secret, id.as_str(), &timestamp.to_string(), payload).unwrap_or_default();
    format!("v1,{}", STANDARD.encode(mac))
}

fn mac(secret: &Secret, id: &str, timestamp: &str, payload: &[u8]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).ok()?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", payload] {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

/// Why a signature was refused; for the log only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {0} occurs more than once")]
    Doubled(&'static str),
    #[error("header {0} is malformed")]
    Malformed(&'static str),
    #[error("more than {SIGNATURES} signatures")]
    TooMany,
    #[error("the time-stamp is {0} seconds from now")]
    Stale(i64),
    #[error("no sender's secret verifies the signature")]
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
    /// Reads the three headers, each of which must occur exactly once.
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
            mac(secret, self.id.as_str(), &self.timestamp, payload).is_some_and(|mac| {
                self.signatures
                    .iter()
                    .fold(false, |found, theirs| found | bool::from(theirs.ct_eq(&mac)))
            })
        };
        senders.iter().find(|sender| sender.secrets.iter().any(made_by)).ok_or(Rejected::NoMatch)
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

/// The bytes of a `v1` signature; other versions are ignored.
fn parse_signature(raw: &str) -> Option<[u8; 32]> {
    let encoded = raw.strip_prefix("v1,")?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
