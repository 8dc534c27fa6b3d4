//! Documents: the file and its record, kept together.

use chrono::{DateTime, NaiveDate, Utc};

use super::backend::Priority;
use super::tx::{Records as _, Tx};
use super::{Engine, keys, write};
use crate::domain::id::Digest;
use crate::store::record::DocumentRow;
use crate::store::{Commit, DocumentAnswer, Result, StoreError};

impl Engine {
    pub(super) fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let row: Option<DocumentRow> = self.tree().read(&keys::document(digest))?;
        row.map(|row| self.documents.read(digest, row.day)).transpose()
    }

    pub(super) fn keep(
        &self,
        digest: Digest,
        bytes: &[u8],
        at: DateTime<Utc>,
    ) -> Result<Commit<DocumentAnswer>> {
        if let Some(failure) = self.failed.get() {
            return Err(failure.clone());
        }
        let lock = self.documents.lock(digest);
        let known: Option<DocumentRow> = self.tree().read(&keys::document(&digest))?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let write = |day| {
            // Before anything is written: a disk without room for the database's next batch ends the daemon.
            let _room = self.backend.room_for(length)?;
            self.documents.write(&digest, bytes, day).inspect_err(|error| {
                if let StoreError::SyncFailed(_) = error {
                    // The first failure is the one that counts.
                    drop(self.failed.set(error.clone()));
                }
            })
        };
        let day = at.date_naive();
        match known {
            // What the disk has lost or damaged since is repaired by an upload of the same bytes.
            Some(row) if self.documents.read(&digest, row.day).is_err() => write(row.day)?,
            Some(_) => {}
            None => {
                let unused = write::count(self.tree(), write::UNUSED_DOCUMENTS)?;
                if unused >= self.rules.unused_documents_bytes {
                    return Ok(Commit::ready(Ok(DocumentAnswer::TooMany)));
                }
                write(day)?;
            }
        }
        let evaluate = move |tx: &mut Tx<'_>| {
            let key = keys::document(&digest);
            if let Some(row) = tx.read::<DocumentRow>(&key)? {
                // Seen anew: its time without a reference begins again.
                tx.put(&key, &DocumentRow { stored_at: at, ..row })?;
                return Ok(DocumentAnswer::Duplicate);
            }
            let row =
                DocumentRow { bytes: length, day, references: 0, billed: false, stored_at: at };
            write::put_document(tx, &digest, None, Some(&row))?;
            Ok(DocumentAnswer::Stored)
        };
        // The lock is held until the record is durable, so that neither a sweep nor a second upload of
        // the same bytes that is refused comes between file and record.
        let locked = move |answer| {
            drop(lock);
            answer
        };
        self.submit(Priority::Intake, evaluate, locked)
            .inspect_err(|_| self.remove_orphan(&digest, day))
    }

    /// Removes the file of a document whose record was refused, unless the same bytes came again.
    fn remove_orphan(&self, digest: &Digest, day: NaiveDate) {
        let _lock = self.documents.lock(*digest);
        let removed = match self.tree().read::<DocumentRow>(&keys::document(digest)) {
            Ok(None) => self.documents.remove(digest, day),
            known => known.map(|_| ()),
        };
        if let Err(error) = removed {
            tracing::warn!(
                error = error.in_full(),
                "the file of a refused document could not be removed"
            );
        }
    }
}
