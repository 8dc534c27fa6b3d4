//! What is stored: the forms of records on the disk, apart from the domain's types.
//!
//! A record is `postcard` behind a version byte and a CRC-32 of both. The forms of a version never
//! change; a new version gets new structs, and old ones are read for ever and written anew when their
//! object changes. Reading goes through the domain's own checks, so that what has a domain type is
//! valid even if the disk is not.

#[cfg(any(test, fuzzing))]
pub(super) mod property;
#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;
mod v1;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Entry;
use crate::domain::delivery::{Delivery, Shown};
use crate::domain::id::{Digest, Sequence};
use crate::domain::invoice::Invoice;

/// The version that is written.
const VERSION: u8 = 1;
/// Octets of the version and the checksum.
const FRAME_OCTETS: usize = 5;

/// Bytes that are no record of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) String);

/// Something that is stored.
pub(super) trait Record: Sized {
    /// For messages.
    const KIND: &'static str;

    /// Version byte, checksum, content.
    fn encode(&self) -> Vec<u8>;

    /// Checks version and checksum, and every rule of the domain.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;
}

/// Something with a form of version 1.
trait Stored: Sized {
    const KIND: &'static str;

    /// What lies on the disk; it borrows from the record when written and from the bytes when read.
    type Form<'a>: Serialize + Deserialize<'a>
    where
        Self: 'a;

    fn form(&self) -> Self::Form<'_>;

    /// Takes the record back, through the domain's checks.
    fn restore(form: Self::Form<'_>) -> Result<Self, Malformed>;
}

impl<T: Stored> Record for T {
    const KIND: &'static str = <T as Stored>::KIND;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_OCTETS];
        bytes[0] = VERSION;
        #[expect(
            clippy::expect_used,
            reason = "a form has only fields of known length, and a vector takes any number of bytes"
        )]
        let mut bytes =
            postcard::to_extend(&self.form(), bytes).expect("a form can be written into a vector");
        let checksum = checksum(&bytes);
        bytes[1..FRAME_OCTETS].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(([version, stored @ ..], content)) = bytes.split_first_chunk::<FRAME_OCTETS>()
        else {
            return Err(Malformed(format!("only {} bytes", bytes.len())));
        };
        if checksum(bytes) != u32::from_le_bytes(*stored) {
            return Err(Malformed("the checksum does not match".to_owned()));
        }
        if *version != VERSION {
            return Err(Malformed(format!("unknown version {version}")));
        }
        let (form, rest) = postcard::take_from_bytes::<T::Form<'_>>(content)
            .map_err(|error| Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(Malformed(format!("{} bytes too many", rest.len())));
        }
        T::restore(form)
    }
}

/// Of the version byte and of what follows the checksum.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..1]);
    hasher.update(&bytes[FRAME_OCTETS..]);
    hasher.finalize()
}

/// An invoice as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvoiceRow {
    pub(super) invoice: Invoice,
    pub(super) received_at: DateTime<Utc>,
}

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryRow {
    pub(super) delivery: Delivery,
    /// Raised with each write.
    pub(super) stamp: u64,
    pub(super) changed_at: DateTime<Utc>,
}

/// What a number of an account stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IdentityRow {
    /// An invoice that is there.
    Sequence(Sequence),
    /// What is left of one, or a withdrawal that came first.
    Tombstone {
        /// Of the content; none if it never came.
        content: Option<Digest>,
        /// Its last state.
        state: Shown,
        at: DateTime<Utc>,
    },
}

/// A document whose bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DocumentRow {
    pub(super) bytes: u64,
    /// The directory that holds it.
    pub(super) day: NaiveDate,
    /// How many invoices name it.
    pub(super) references: u64,
    /// Whether an invoice has ever named it.
    pub(super) billed: bool,
    pub(super) stored_at: DateTime<Utc>,
}

/// A line of a story, salted so that its digest says nothing about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryRow {
    pub(super) salt: [u8; 16],
    pub(super) entry: Entry,
}

/// A link of the hash chain over all batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrailRow {
    /// Hash of the link before.
    pub(super) previous: [u8; 32],
    /// Digests of the batch's entries.
    pub(super) entries: Vec<[u8; 32]>,
    /// In whose story each entry lies, as in its key. Not part of the hash: what a story is about can be
    /// forgotten without breaking the chain.
    pub(super) objects: Vec<Vec<u8>>,
}

impl TrailRow {
    /// The hash that the next link holds.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.previous);
        for entry in &self.entries {
            hasher.update(entry);
        }
        hasher.finalize().into()
    }
}

/// How far something has got: a key of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CursorRow(pub(super) Vec<u8>);

/// Who opened a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenerRow(pub(super) String);

/// A number that only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CounterRow(pub(super) u64);
