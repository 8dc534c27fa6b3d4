//! Reads that several use cases share, over the tree or over a batch being built.

use std::ops::ControlFlow;

use chrono::{DateTime, Days, Utc};

use super::keys::{self, Class, Object};
use super::tx::Records;
use crate::domain::account::Account;
use crate::domain::audit::AuditEntry;
use crate::domain::delivery::{Attempt, DeliveryId, Intent, State};
use crate::domain::id::{AccountId, InvoiceNumber, SenderName, Sequence, WebhookId};
use crate::domain::invoice::Invoice;
use crate::domain::recipient::{Recipient, Suspect, Suspects, resolve};
use crate::store::record::{
    DeliveryRow, EntryRow, IdempotencyRow, IdentityRow, IntentRow, InvoiceRow,
};
use crate::store::{Pause, PauseInForce, PauseScope, Rules, Standing, StoreError};

/// What the key and the value of an entry have in common: they came from the same place.
pub(super) fn damaged(key: &str, cause: impl Into<String>) -> StoreError {
    StoreError::Damaged { key: key.to_owned(), cause: cause.into() }
}

pub(super) fn account<T: Records + ?Sized>(
    tree: &T,
    id: &AccountId,
) -> Result<Option<Account>, StoreError> {
    tree.read(&keys::account(id))
}

pub(super) fn suspects<T: Records + ?Sized>(
    tree: &T,
    id: &AccountId,
) -> Result<Suspects, StoreError> {
    let prefix = keys::suspects(id);
    let mut found = Vec::new();
    tree.prefix(&prefix, None, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    let mut suspects = Suspects::new();
    for (key, value) in found {
        let suspect: Suspect = tree.decode(&key, &value)?;
        let address = keys::text_after(&key, prefix.len())
            .and_then(|text| crate::domain::address::EmailAddress::parse(text).ok())
            .ok_or_else(|| damaged("of kind suspect", "its key holds no address"))?;
        suspects.insert(address, suspect);
    }
    Ok(suspects)
}

/// Who gets an account's invoices now.
pub(super) fn recipient<T: Records + ?Sized>(
    tree: &T,
    account: &Account,
    rules: &Rules,
) -> Result<Recipient, StoreError> {
    Ok(resolve(account, &suspects(tree, account.id())?, rules.on_rejected))
}

pub(super) fn identity<T: Records + ?Sized>(
    tree: &T,
    account: &AccountId,
    number: &InvoiceNumber,
) -> Result<Option<IdentityRow>, StoreError> {
    tree.read(&keys::identity(account, number))
}

/// An invoice that another record says is there.
pub(super) fn invoice<T: Records + ?Sized>(
    tree: &T,
    sequence: Sequence,
) -> Result<InvoiceRow, StoreError> {
    tree.read(&keys::invoice(sequence))?
        .ok_or_else(|| damaged(&format!("invoice {sequence}"), "it is missing"))
}

/// The delivery of an invoice that is there.
pub(super) fn delivery<T: Records + ?Sized>(
    tree: &T,
    id: DeliveryId,
) -> Result<DeliveryRow, StoreError> {
    tree.read(&keys::delivery(id))?
        .ok_or_else(|| damaged(&format!("delivery of {id}"), "it is missing"))
}

/// What was read of an invoice, or nothing if retention removed the invoice meanwhile: outside a unit,
/// one record is read after the other.
pub(super) fn unless_gone<R, T: Records + ?Sized>(
    tree: &T,
    sequence: Sequence,
    result: Result<R, StoreError>,
) -> Result<Option<R>, StoreError> {
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

pub(super) fn intent<T: Records + ?Sized>(
    tree: &T,
    id: DeliveryId,
) -> Result<Option<Intent>, StoreError> {
    let row: Option<IntentRow> = tree.read(&keys::intent(id))?;
    Ok(row.map(|row| row.intent))
}

pub(super) fn pause<T: Records + ?Sized>(
    tree: &T,
    scope: &PauseScope,
) -> Result<Option<Pause>, StoreError> {
    tree.read(&keys::pause(scope))
}

/// The pause that stops an account's mail: that of everything comes before its own.
pub(super) fn pause_in_force<T: Records + ?Sized>(
    tree: &T,
    account: Option<&AccountId>,
) -> Result<Option<PauseInForce>, StoreError> {
    let own = account.map(|id| PauseScope::Account(id.clone()));
    for scope in std::iter::once(PauseScope::Everything).chain(own) {
        if let Some(pause) = pause(tree, &scope)? {
            return Ok(Some(PauseInForce { scope, pause }));
        }
    }
    Ok(None)
}

/// Where an invoice stands, for an answer.
pub(super) fn standing<T: Records + ?Sized>(
    tree: &T,
    invoice: &Invoice,
    id: DeliveryId,
    row: &DeliveryRow,
    rules: &Rules,
) -> Result<Standing, StoreError> {
    let account = account(tree, &invoice.account)?;
    let sent_to = tree.read(&keys::recipient(id))?;
    let recipient = match (sent_to, &account) {
        // Once an address has it nobody else gets it.
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
    Ok(Standing { state, schedule, next_at: row.delivery.next_attempt_at(), recipient })
}

/// The body's digest that is remembered under a `webhook-id`.
pub(super) fn remembered<T: Records + ?Sized>(
    tree: &T,
    sender: &SenderName,
    id: &WebhookId,
    at: DateTime<Utc>,
    days: u32,
) -> Result<Option<[u8; 16]>, StoreError> {
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

/// An account's deliveries that stand by for one reason, in order.
pub(super) fn standing_by<T: Records + ?Sized>(
    tree: &T,
    account: &AccountId,
    class: Class,
) -> Result<Vec<DeliveryId>, StoreError> {
    let mut deliveries = Vec::new();
    tree.prefix(&keys::standing_by_class(account, class), None, &mut |key, _| {
        deliveries.extend(keys::delivery_at_the_end(key));
        ControlFlow::Continue(())
    })?;
    Ok(deliveries)
}

/// Every attempt at a delivery that counted, in order.
pub(super) fn attempts<T: Records + ?Sized>(
    tree: &T,
    id: DeliveryId,
) -> Result<Vec<Attempt>, StoreError> {
    collect(tree, &keys::attempts(id))
}

/// An object's story, in order.
pub(super) fn story<T: Records + ?Sized>(
    tree: &T,
    object: &Object,
) -> Result<Vec<AuditEntry>, StoreError> {
    let rows: Vec<EntryRow> = collect(tree, &keys::entries(object))?;
    Ok(rows.into_iter().map(|row| row.entry).collect())
}

pub(super) fn collect<R: crate::store::record::Record, T: Records + ?Sized>(
    tree: &T,
    prefix: &[u8],
) -> Result<Vec<R>, StoreError> {
    let mut values = Vec::new();
    tree.prefix(prefix, None, &mut |key, value| {
        values.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    values.iter().map(|(key, value)| tree.decode(key, value)).collect()
}
