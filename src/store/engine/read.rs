//! Reads that several use cases share, over the tree or over a batch being built.

use chrono::{DateTime, Days, Utc};

use super::keys::{self, Class, Object};
use super::tx::{Records as _, Tree, met};
use crate::domain::account::Account;
use crate::domain::address::EmailAddress;
use crate::domain::audit::AuditEntry;
use crate::domain::delivery::{DeliveryId, Intent, State};
use crate::domain::id::{AccountId, InvoiceNumber, SenderName, Sequence, WebhookId};
use crate::domain::invoice::Invoice;
use crate::domain::recipient::{Recipient, Suppression, Suppressions, resolve};
use crate::store::record::{
    DeliveryRow, EntryRow, IdempotencyRow, IdentityRow, IntentRow, InvoiceRow,
};
use crate::store::{CurrentPause, InvoiceStatus, Pause, PauseScope, Result, Rules, StoreError};

/// What the key and the value of an entry have in common: they came from the same place.
pub(super) fn damaged(key: &str, cause: impl Into<String>) -> StoreError {
    StoreError::Damaged { key: key.to_owned(), cause: cause.into() }
}

/// What was read. Nothing if it is damaged, with which `tell` is called: it must not hold up others.
pub(super) fn unless_damaged<T>(
    read: Result<T>,
    tell: impl FnOnce(&StoreError),
) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error @ StoreError::Damaged { .. }) => {
            tell(&error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn account(tree: &dyn Tree, id: &AccountId) -> Result<Option<Account>> {
    tree.read(&keys::account(id))
}

pub(super) fn suppressions(tree: &dyn Tree, id: &AccountId) -> Result<Suppressions> {
    let prefix = keys::suppressions(id);
    let mut suppressions = Suppressions::new();
    for (key, value) in tree.scan(&prefix, None, usize::MAX, met)? {
        let suppression: Suppression = tree.decode(&key, &value)?;
        let address = keys::text_after(&key, prefix.len())
            .and_then(|text| EmailAddress::parse(text).ok())
            .ok_or_else(|| damaged("of kind suppression", "its key holds no address"))?;
        suppressions.insert(address, suppression);
    }
    Ok(suppressions)
}

/// Who gets an account's invoices now.
pub(super) fn recipient(tree: &dyn Tree, account: &Account, rules: &Rules) -> Result<Recipient> {
    Ok(resolve(account, &suppressions(tree, account.id())?, rules.on_rejected))
}

pub(super) fn identity(
    tree: &dyn Tree,
    account: &AccountId,
    number: &InvoiceNumber,
) -> Result<Option<IdentityRow>> {
    tree.read(&keys::identity(account, number))
}

/// An invoice that another record says is there.
pub(super) fn invoice(tree: &dyn Tree, sequence: Sequence) -> Result<InvoiceRow> {
    tree.read(&keys::invoice(sequence))?
        .ok_or_else(|| damaged(&format!("invoice {sequence}"), "it is missing"))
}

/// The delivery of an invoice that is there.
pub(super) fn delivery(tree: &dyn Tree, id: DeliveryId) -> Result<DeliveryRow> {
    tree.read(&keys::delivery(id))?
        .ok_or_else(|| damaged(&format!("delivery of {id}"), "it is missing"))
}

/// What was read of an invoice, or nothing if retention removed the invoice meanwhile: outside a unit,
/// one record is read after the other.
pub(super) fn unless_gone<R>(
    tree: &dyn Tree,
    sequence: Sequence,
    result: Result<R>,
) -> Result<Option<R>> {
    match result {
        Ok(read) => Ok(Some(read)),
        Err(StoreError::Damaged { .. })
            if !tree.any(&keys::of_invoice(keys::kind::DELIVERY, sequence))? =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn intent(tree: &dyn Tree, id: DeliveryId) -> Result<Option<Intent>> {
    let row: Option<IntentRow> = tree.read(&keys::intent(id))?;
    Ok(row.map(|row| row.intent))
}

pub(super) fn pause(tree: &dyn Tree, scope: &PauseScope) -> Result<Option<Pause>> {
    tree.read(&keys::pause(scope))
}

/// The pause that stops an account's mail: that of everything comes before its own.
pub(super) fn current_pause(
    tree: &dyn Tree,
    account: Option<&AccountId>,
) -> Result<Option<CurrentPause>> {
    let own = account.map(|id| PauseScope::Account(id.clone()));
    for scope in std::iter::once(PauseScope::Everything).chain(own) {
        if let Some(pause) = pause(tree, &scope)? {
            return Ok(Some(CurrentPause { scope, pause }));
        }
    }
    Ok(None)
}

/// An invoice's status, for an answer.
pub(super) fn standing(
    tree: &dyn Tree,
    invoice: &Invoice,
    id: DeliveryId,
    row: &DeliveryRow,
    rules: &Rules,
) -> Result<InvoiceStatus> {
    let account = account(tree, &invoice.account)?;
    let sent_to = tree.read(&keys::recipient(id))?;
    let recipient = match (sent_to, &account) {
        // Once an address has it no one else gets it.
        (Some(recipient), _) if row.delivery.is_finished() || row.delivery.is_accepted_by_one() => {
            Some(recipient)
        }
        (_, Some(account)) => Some(recipient(tree, account, rules)?),
        (_, None) => None,
    };
    let schedule = match row.delivery.state {
        State::Waiting => account.as_ref().map(Account::schedule),
        State::Parked
        | State::Due
        | State::Sending
        | State::Delivered
        | State::Withheld
        | State::Withdrawn
        | State::Undeliverable => None,
    };
    let state = row.delivery.shown();
    Ok(InvoiceStatus { state, schedule, next_at: row.delivery.next_attempt_at(), recipient })
}

/// The body's digest that is remembered under a `webhook-id`.
pub(super) fn remembered(
    tree: &dyn Tree,
    sender: &SenderName,
    id: &WebhookId,
    at: DateTime<Utc>,
    days: u32,
) -> Result<Option<[u8; 16]>> {
    let today = at.date_naive();
    // One day ahead, too: the clock may have been set back.
    let first = today.checked_add_days(Days::new(1)).unwrap_or(today);
    for day in
        first.iter_days().rev().take(usize::try_from(days).unwrap_or(usize::MAX).saturating_add(2))
    {
        if let Some(IdempotencyRow { body }) = tree.read(&keys::remembered(day, sender, id))? {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

/// An account's deliveries that are pending for one reason, in order.
pub(super) fn pending(
    tree: &dyn Tree,
    account: &AccountId,
    class: Class,
) -> Result<Vec<DeliveryId>> {
    tree.scan(&keys::pending_class(account, class), None, usize::MAX, |key, _| {
        keys::delivery_at_the_end(key)
    })
}

/// An object's history, in order.
pub(super) fn story(tree: &dyn Tree, object: &Object) -> Result<Vec<AuditEntry>> {
    let rows: Vec<EntryRow> = tree.collect(&keys::entries(object))?;
    Ok(rows.into_iter().map(|row| row.entry).collect())
}
