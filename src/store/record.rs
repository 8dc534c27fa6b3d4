//! What is stored: the forms of records on the disk, apart from the domain's types.
//!
//! A record is `postcard` behind a version byte and a CRC-32 of what follows it. The forms of a
//! version never change; a new version gets new structs, and old ones are read for ever and written
//! anew when their object changes.

use chrono::{DateTime, NaiveDate, Utc};

use super::Entry;
use crate::domain::delivery::{Delivery, Shown};
use crate::domain::id::{Digest, Sequence};
use crate::domain::invoice::Invoice;

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
}
