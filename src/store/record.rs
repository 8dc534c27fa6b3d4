//! What is stored: records on the disk, apart from the domain's types.
//!
//! A record is a row of numbered fields ([`rows`]) in CBOR ([`codec`]) behind a version byte and a CRC-32 of
//! both. Reading goes through the domain's own checks, so that what has a domain type is valid even if the disk
//! is not. A row grows by optional fields, which an older program skips; since it would lose them when it
//! writes, `CURRENT` names the format of a store, and a program opens only those that it knows.

mod codec;
#[cfg(any(test, fuzzing))]
pub(super) mod property;
mod rows;
#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;

use chrono::{DateTime, NaiveDate, Utc};
use minicbor::{Decoder, Encoder};
use sha2::{Digest as _, Sha256};

use self::codec::{Read, RecordError, Write};
use super::ProcessId;
use super::engine::keys::Object;
use crate::domain::audit::AuditEntry;
use crate::domain::delivery::{Delivery, Intent, Shown};
use crate::domain::id::{Digest, Sequence};
use crate::domain::invoice::Invoice;

/// The version that is written, of the frame and of how values are encoded.
const VERSION: u8 = 1;
/// Octets of the version and the checksum.
const FRAME_OCTETS: usize = 5;

/// Something that is stored under a key of its own.
#[expect(private_bounds, reason = "only this module says how values are written")]
pub(crate) trait Record: Read + Write {
    /// For messages.
    const KIND: &'static str;

    /// Version byte, checksum, content.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Encoder::new(vec![VERSION, 0, 0, 0, 0]);
        #[expect(clippy::expect_used, reason = "a vector takes any number of bytes")]
        self.write(&mut writer).expect("a record can be written into a vector");
        sealed(writer.into_writer())
    }

    /// Checks version and checksum, and every rule of the domain.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let Some(([version, stored @ ..], content)) = bytes.split_first_chunk::<FRAME_OCTETS>()
        else {
            return Err(RecordError::new(format!("only {} bytes", bytes.len())));
        };
        if checksum(bytes) != u32::from_le_bytes(*stored) {
            return Err(RecordError::new("the checksum does not match"));
        }
        if *version != VERSION {
            return Err(RecordError::new(format!("unknown version {version}")));
        }
        let mut decoder = Decoder::new(content);
        let record = Self::read(&mut decoder)?;
        match content.len() - decoder.position() {
            0 => Ok(record),
            rest => Err(RecordError::new(format!("{rest} bytes too many"))),
        }
    }
}

/// A record with its checksum, for which there is room.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(&bytes);
    bytes[1..FRAME_OCTETS].copy_from_slice(&checksum.to_le_bytes());
    bytes
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

/// A delivery and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryRow {
    pub(super) delivery: Delivery,
    /// Raised with each write.
    pub(super) stamp: u64,
    pub(super) changed_at: DateTime<Utc>,
}

/// What is committed before the first byte of a message goes out, with the process that is about to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IntentRow {
    pub(super) intent: Intent,
    pub(super) owner: ProcessId,
}

/// What a number of an account was used for.
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

/// An audit entry, salted so that its digest reveals nothing about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryRow {
    pub(super) salt: [u8; 16],
    pub(super) entry: AuditEntry,
}

/// What the hash chain holds of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChainRow {
    /// Hash of the batch before.
    pub(super) previous: [u8; 32],
    /// The batch's entries, in order.
    pub(super) links: Vec<Link>,
}

/// What the hash chain holds of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Of the entry's key and its bytes as they are stored.
    pub(super) digest: [u8; 32],
    /// Whose history it belongs to. Not part of the hash: an object can be forgotten without breaking
    /// the chain.
    pub(super) object: Object,
}

impl ChainRow {
    /// The hash that the next batch holds.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.previous);
        for link in &self.links {
            hasher.update(link.digest);
        }
        hasher.finalize().into()
    }
}

/// How far something has got: a key of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CursorRow(pub(super) Vec<u8>);

/// A number that only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CounterRow(pub(super) u64);

/// What is remembered of an event that was answered with success, under its `webhook-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdempotencyRow {
    /// The first half of the SHA-256 of its body.
    pub(super) body: [u8; 16],
}
