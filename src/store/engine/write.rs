//! Writes that several use cases share. A delivery and the one index entry that its state asks for
//! are only ever written together, here.

use chrono::{DateTime, Utc};

use super::keys::{self, Class, Key, Object};
use super::read;
use super::tx::{Records as _, Tree, Tx};
use crate::domain::account::Account;
use crate::domain::audit::{Actor, AuditEntry, AuditEvent, AuditText};
use crate::domain::delivery::{Delivery, DeliveryId, State};
use crate::domain::id::{AccountId, Digest};
use crate::store::record::{CounterRow, DeliveryRow, DocumentRow, IdempotencyRow};
use crate::store::{Deduplicated, Received, Result};

/// The idempotency record of a `webhook-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idempotency {
    /// Nothing.
    New,
    /// The same bytes were answered with success.
    Repeated,
    /// Other bytes were.
    Reused,
}

/// What is known of an event's `webhook-id`, in commit order.
pub(super) fn memory(tx: &Tx<'_>, received: &Received) -> Result<Idempotency> {
    let Received { sender, id, body: _, at } = received;
    let known = read::remembered(tx, sender, id, *at, tx.rules().webhook_id_days)?;
    Ok(match known {
        None => Idempotency::New,
        Some(digest) if digest == received.short_digest() => Idempotency::Repeated,
        Some(_) => Idempotency::Reused,
    })
}

/// An event's answer under its `webhook-id`. A success that comes for the first time is remembered.
pub(super) fn judged<T>(
    tx: &mut Tx<'_>,
    received: &Received,
    memory: Idempotency,
    answer: T,
    is_success: bool,
) -> Result<Deduplicated<T>> {
    match memory {
        Idempotency::New if is_success => {
            let key = keys::remembered(received.at.date_naive(), &received.sender, &received.id);
            tx.put(&key, &IdempotencyRow { body: received.short_digest() })?;
            Ok(Deduplicated::New(answer))
        }
        Idempotency::New => Ok(Deduplicated::New(answer)),
        Idempotency::Repeated => Ok(Deduplicated::Repeated(answer)),
        Idempotency::Reused => Ok(Deduplicated::IdReused),
    }
}

/// What a document counts as at least, while no invoice refers to it: a block of the file system.
const DOCUMENT_COUNTS: u64 = 4096;
/// Counts the bytes of documents to which no invoice refers.
pub(super) const UNUSED_DOCUMENTS: &str = "unused-documents-bytes";

/// Writes what is known of a document from now on, and keeps count of those that no invoice refers to.
pub(super) fn put_document(
    tx: &mut Tx<'_>,
    digest: &Digest,
    before: Option<&DocumentRow>,
    after: Option<&DocumentRow>,
) -> Result<()> {
    let key = keys::document(digest);
    match after {
        Some(row) => tx.put(&key, row)?,
        None => tx.remove(&key)?,
    }
    let (gone, new) = (unused_bytes(before), unused_bytes(after));
    if gone != new {
        count_on(tx, UNUSED_DOCUMENTS, new, gone)?;
    }
    Ok(())
}

/// What a document counts as, of those that no invoice refers to. One that retention will purge doesn't count: it
/// was billed, and there is nothing to be done about it.
pub(super) fn unused_bytes(row: Option<&DocumentRow>) -> u64 {
    row.filter(|row| row.references == 0 && !row.billed)
        .map_or(0, |row| row.bytes.max(DOCUMENT_COUNTS))
}

/// Counts accounts.
pub(super) const ACCOUNTS: &str = "accounts";

/// What a counter says. A damaged one must not hold up what is counted: `verify` reports the difference.
pub(super) fn count(tree: &dyn Tree, name: &str) -> Result<u64> {
    let counted = read::unless_damaged(tree.read(&keys::counter(name)), |error| {
        tracing::error!(%error, name, "a counter begins anew");
    })?;
    Ok(counted.flatten().map_or(0, |CounterRow(counted)| counted))
}

/// Takes away what is gone, and adds what is new.
pub(super) fn count_on(tx: &mut Tx<'_>, name: &str, new: u64, gone: u64) -> Result<()> {
    let counted = count(tx, name)?.saturating_sub(gone).saturating_add(new);
    tx.put(&keys::counter(name), &CounterRow(counted))
}

/// The index entry that a delivery's state asks for.
pub(super) fn index_key(account: &AccountId, id: DeliveryId, delivery: &Delivery) -> Option<Key> {
    let held = delivery.hold.is_some();
    match delivery.state {
        State::Parked => Some(keys::pending(account, Class::Parked, id)),
        State::Withheld => Some(keys::pending(account, Class::Withheld, id)),
        State::Waiting if !held => Some(keys::pending(account, Class::Waiting, id)),
        State::Due if !held => delivery.next_at.map(|at| keys::due(delivery.lane, at, id)),
        State::Waiting
        | State::Due
        | State::Sending
        | State::Delivered
        | State::Withdrawn
        | State::Undeliverable => None,
    }
}

/// A delivery that is written, with what the write has to know about it.
pub(super) struct Placed<'a> {
    pub(super) id: DeliveryId,
    pub(super) account_id: &'a AccountId,
    /// The account, if it is known; its schedule is marked while something waits.
    pub(super) account: Option<&'a Account>,
}

/// Writes a delivery and its index entry; returns the row as written.
pub(super) fn put_delivery(
    tx: &mut Tx<'_>,
    placed: &Placed<'_>,
    before: Option<&DeliveryRow>,
    delivery: Delivery,
    at: DateTime<Utc>,
) -> Result<DeliveryRow> {
    let Placed { id, account_id, account } = placed;
    let old = before.and_then(|row| index_key(account_id, *id, &row.delivery));
    let new = index_key(account_id, *id, &delivery);
    let row =
        DeliveryRow { delivery, stamp: before.map_or(1, |row| row.stamp + 1), changed_at: at };
    tx.put(&keys::delivery(*id), &row)?;
    if old != new {
        if let Some(key) = &old {
            tx.remove(key)?;
        }
        if let Some(key) = new {
            tx.mark(key);
        }
        if let Some(account) = account {
            mark_schedule(tx, account)?;
        }
    }
    Ok(row)
}

/// Keeps the account's schedule marked exactly while something of it waits.
pub(super) fn mark_schedule(tx: &mut Tx<'_>, account: &Account) -> Result<()> {
    let mark = keys::scheduled(&account.schedule(), account.id());
    let waiting = tx.any(&keys::pending_class(account.id(), Class::Waiting))?;
    match (waiting, tx.is_there(&mark)?) {
        (true, false) => tx.mark(mark),
        (false, true) => tx.remove(&mark)?,
        (true, true) | (false, false) => {}
    }
    Ok(())
}

/// Who does something, and why, if they said so.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) actor: &'a Actor,
    pub(super) reason: Option<&'a str>,
}

impl By<'static> {
    /// The daemon, without a word.
    pub(super) const DAEMON: Self = Self { actor: &Actor::Daemon, reason: None };
}

/// Adds an entry to the audit log, and to an object's history.
pub(super) fn tell(
    tx: &mut Tx<'_>,
    object: Object,
    at: DateTime<Utc>,
    by: &By<'_>,
    event: AuditEvent,
) {
    let reason = by.reason.filter(|reason| !reason.is_empty()).map(AuditText::new);
    tx.tell(object, AuditEntry { at, actor: by.actor.clone(), event, reason });
}

/// A number of things as an entry holds it.
pub(super) fn count_of(things: usize) -> u64 {
    u64::try_from(things).unwrap_or(u64::MAX)
}
