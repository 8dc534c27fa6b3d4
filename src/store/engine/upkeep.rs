//! What retention removes. Each removal is a unit of its own and small.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use super::invoices::content_digest;
use super::keys::{self, Key, Object, kind};
use super::tx::{Records as _, Tree, Tx, met};
use super::{read, write};
use crate::domain::delivery::DeliveryId;
use crate::domain::id::{Digest, Sequence};
use crate::store::Result;
use crate::store::record::{CounterRow, DeliveryRow, DocumentRow, IdentityRow, Record};

/// How many keys or rows one unit, or one look, takes.
const AT_ONCE: usize = 64;
/// No more is removed in a unit that has come to so many operations.
const OPERATIONS: usize = 64;

/// Where it is kept what the clock said last; in milliseconds.
const CLOCK_SEEN: &str = "clock-seen";

/// What the clock said when that was noted last.
pub(super) fn clock_seen(tree: &dyn Tree) -> Result<Option<DateTime<Utc>>> {
    let noted: Option<CounterRow> = tree.read(&keys::counter(CLOCK_SEEN))?;
    Ok(noted.and_then(|CounterRow(millis)| {
        DateTime::from_timestamp_millis(i64::try_from(millis).ok()?)
    }))
}

/// Notes what the clock says.
pub(super) fn note_clock(tx: &mut Tx<'_>, now: DateTime<Utc>) -> Result<()> {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    tx.put(&keys::counter(CLOCK_SEEN), &CounterRow(millis))
}

/// Forgets `webhook-id`s of days that are over. Says whether more may be left.
pub(super) fn forget(tx: &mut Tx<'_>, now: DateTime<Utc>) -> Result<bool> {
    let days = Days::new(u64::from(tx.rules().webhook_id_days) + 1);
    let Some(first_kept) = now.date_naive().checked_sub_days(days) else {
        return Ok(false);
    };
    let end = keys::idempotency_day(first_kept);
    let old =
        tx.scan_range(&[kind::IDEMPOTENCY], Some(&end), AT_ONCE, |key, _| Some(key.to_vec()))?;
    for key in &old {
        tx.remove(key)?;
    }
    Ok(old.len() == AT_ONCE)
}

/// Documents that no invoice refers to any more, after a key, and where to go on from.
pub(super) fn unused_documents(
    tree: &dyn Tree,
    after: Option<&Key>,
    before: DateTime<Utc>,
) -> Result<(Vec<Key>, Option<Key>)> {
    page(tree, kind::DOCUMENT, after, |row| is_unused(row, before))
}

/// Finished deliveries that did not change since `before`, after a key, and where to go on from.
pub(super) fn finished(
    tree: &dyn Tree,
    after: Option<&Key>,
    before: DateTime<Utc>,
) -> Result<(Vec<Key>, Option<Key>)> {
    page(tree, kind::DELIVERY, after, |row| is_old(row, before))
}

/// The keys of those on a page of one kind that are to go, and where to go on from if there may be more.
fn page<R: Record>(
    tree: &dyn Tree,
    kind: u8,
    after: Option<&Key>,
    goes: impl Fn(&R) -> bool,
) -> Result<(Vec<Key>, Option<Key>)> {
    let met = tree.scan(&[kind], after.map(Vec::as_slice), AT_ONCE, met)?;
    let next = met.get(AT_ONCE - 1).map(|(key, _)| key.clone());
    let mut going = Vec::new();
    for (key, value) in met {
        // Nothing says that a damaged one is old.
        let row = read::unless_damaged(tree.decode(&key, &value), |error| {
            tracing::error!(%error, "a damaged record is not purged");
        })?;
        if row.is_some_and(|row| goes(&row)) {
            going.push(key);
        }
    }
    Ok((going, next))
}

/// Whether no invoice refers to a document, nor did since.
fn is_unused(row: &DocumentRow, before: DateTime<Utc>) -> bool {
    row.references == 0 && row.stored_at < before
}

/// Whether a delivery is finished and did not change since.
fn is_old(row: &DeliveryRow, before: DateTime<Utc>) -> bool {
    row.delivery.is_finished() && row.changed_at < before
}

/// Whether a record says that a document's file lies in the directory of `day`. One that is damaged may say so.
pub(super) fn is_named(tree: &dyn Tree, digest: &Digest, day: NaiveDate) -> Result<bool> {
    let row = read::unless_damaged(tree.read::<DocumentRow>(&keys::document(digest)), |_| ())?;
    Ok(row.is_none_or(|row| row.is_some_and(|row| row.day == day)))
}

/// Removes the record of a document that is unused still; returns it, so that its file can go.
pub(super) fn remove_document(
    tx: &mut Tx<'_>,
    digest: &Digest,
    before: DateTime<Utc>,
) -> Result<Option<DocumentRow>> {
    let row: Option<DocumentRow> = tx.read(&keys::document(digest))?;
    let unused = row.filter(|row| is_unused(row, before));
    if unused.is_some() {
        write::put_document(tx, digest, unused.as_ref(), None)?;
    }
    Ok(unused)
}

/// Removes an invoice whose deliveries are finished and leaves its tombstone. Its attempts and its history go in the
/// same unit as far as they fit; says whether some are left, which are marked for [`purge_remains`].
pub(super) fn purge(
    tx: &mut Tx<'_>,
    sequence: Sequence,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let of_invoice = |kind| keys::of_invoice(kind, sequence);
    let deliveries: Vec<DeliveryRow> = tx.collect(&of_invoice(kind::DELIVERY))?;
    if deliveries.is_empty() || !deliveries.iter().all(|row| is_old(row, before)) {
        return Ok(false);
    }
    let invoice = read::invoice(tx, sequence)?.invoice;
    let row = read::delivery(tx, DeliveryId::of_invoice(sequence))?;
    let state = row.delivery.shown();
    let tombstone =
        IdentityRow::Tombstone { content: Some(content_digest(&invoice)), state, at: now };
    tx.put(&keys::identity(&invoice.account, &invoice.number), &tombstone)?;
    for digest in invoice.documents.digests() {
        if let Some(document) = tx.read::<DocumentRow>(&keys::document(&digest))? {
            // Its time without a reference begins now.
            let references = document.references.saturating_sub(1);
            let row = DocumentRow { references, stored_at: now, ..document };
            write::put_document(tx, &digest, Some(&document), Some(&row))?;
        }
    }
    tx.remove(&keys::invoice(sequence))?;
    for kind in [kind::RECIPIENT, kind::DELIVERY] {
        for key in keys_of(tx, &of_invoice(kind), usize::MAX)? {
            tx.remove(&key)?;
        }
    }
    purge_remains(tx, sequence)
}

/// Removes what is left of an invoice that is gone, as much as fits in one unit. While more is left, a marker
/// lets the next start find it; says whether one is left.
pub(super) fn purge_remains(tx: &mut Tx<'_>, sequence: Sequence) -> Result<bool> {
    // A stray marker must not cost a stored invoice its history.
    let of_invoice = |kind| keys::of_invoice(kind, sequence);
    if tx.is_there(&keys::invoice(sequence))? || tx.any(&of_invoice(kind::DELIVERY))? {
        return Ok(false);
    }
    let mut remains = keys_of(tx, &of_invoice(kind::ATTEMPT), OPERATIONS + 1)?;
    remains.extend(keys_of(tx, &keys::entries(&Object::Invoice(sequence)), OPERATIONS + 1)?);
    let mark = keys::purging(sequence);
    for key in remains {
        if tx.operations() >= OPERATIONS {
            tx.mark(mark);
            return Ok(true);
        }
        tx.remove(&key)?;
    }
    tx.remove(&mark)?;
    Ok(false)
}

/// The keys that begin with `prefix`, at most so many.
fn keys_of(tx: &Tx<'_>, prefix: &[u8], limit: usize) -> Result<Vec<Key>> {
    tx.scan(prefix, None, limit, |key, _| Some(key.to_vec()))
}

/// Invoices that are gone, of which more is left.
pub(super) fn half_purged(tree: &dyn Tree) -> Result<Vec<Sequence>> {
    tree.scan(&[kind::PURGING], None, AT_ONCE, |key, _| keys::sequence_at_the_end(key))
}

/// The instant `span` before `now`.
pub(super) fn before(now: DateTime<Utc>, span: std::time::Duration) -> DateTime<Utc> {
    TimeDelta::from_std(span)
        .ok()
        .and_then(|span| now.checked_sub_signed(span))
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}
