//! Changes of accounts, and what they free.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::final_checks::PendingFinalChecks;
use super::keys::{self, Object};
use super::pending::{self, Pending};
use super::read;
use super::tx::{Records as _, Tree, Tx};
use super::unfinished::{Unfinished, go_on};
use super::write::{self, By, Idempotency};
use crate::domain::account::{Account, Profile};
use crate::domain::address::EmailAddress;
use crate::domain::audit::{AccountChangeKind, AccountChanged, Actor, AuditEvent, AuditText};
use crate::domain::change::{AccountChange, Applied, ChangeKind, Refused, Warning, apply};
use crate::domain::contact::Contact;
use crate::domain::delivery::{DeliveryId, Event, StepAnswer, step};
use crate::domain::id::{AccountId, InvoiceNumber, Sequence, SubUserId, Version};
use crate::domain::recipient::{Recipient, Suppression};
use crate::store::record::{CursorRow, InvoiceRow, Record as _};
use crate::store::{ChangeAnswer, ChangeResult, Deduplicated, Received, Result};

/// Largest account, so that all of its parts fit into one batch beside what else a change writes.
const ACCOUNT_BYTES: usize = 300 * 1024;
/// Marks that one change clears at most: those of two contacts.
const MARKS_AT_ONCE: usize = 20;

/// Applies a change. What is in flight is named once the change is durable, see [`name_in_flight`].
pub(super) fn change(
    tx: &mut Tx<'_>,
    received: &Received,
    change: &AccountChange,
) -> Result<Deduplicated<ChangeAnswer>> {
    let memory = write::memory(tx, received)?;
    match (memory, read::account(tx, &change.account)?) {
        (Idempotency::Reused, _) => Ok(Deduplicated::IdReused),
        // A repeated event can only be above the current version if an import lowered that: judge it again.
        (Idempotency::Repeated, Some(account)) if change.version <= account.version() => {
            Ok(Deduplicated::Repeated(accepted(tx, ChangeResult::Duplicate, account, Vec::new())?))
        }
        (Idempotency::New | Idempotency::Repeated, _) => {
            let by = By { actor: &received.actor(), reason: None };
            let answer = apply_to_current(tx, change, &by, received.at)?;
            let is_success = matches!(answer, ChangeAnswer::Accepted { .. });
            write::judged(tx, received, Idempotency::New, answer, is_success)
        }
    }
}

/// Applies a change, from an event or an import.
pub(super) fn apply_to_current(
    tx: &mut Tx<'_>,
    change: &AccountChange,
    by: &By<'_>,
    at: DateTime<Utc>,
) -> Result<ChangeAnswer> {
    let current = read::account(tx, &change.account)?;
    let applied = match apply(current.as_ref(), change, &tx.rules().groups, at) {
        Ok(applied) => applied,
        Err(refused) => return Ok(ChangeAnswer::Refused(refused)),
    };
    let unchanged = |tx: &Tx<'_>, result| match current.clone() {
        Some(account) => accepted(tx, result, account, Vec::new()),
        None => Err(read::damaged("of kind account", "an unknown account has a version")),
    };
    let (account, warnings) = match applied {
        Applied::Changed { account, warnings } => (*account, warnings),
        Applied::Duplicate => return unchanged(tx, ChangeResult::Duplicate),
        Applied::Stale => return unchanged(tx, ChangeResult::Stale),
    };
    let current = current.as_ref();
    let encoded = account.encode();
    if encoded.len() > ACCOUNT_BYTES {
        return Ok(ChangeAnswer::Refused(Refused::TooLarge));
    }
    tx.put_encoded::<Account>(&keys::account(account.id()), &encoded)?;

    let mut suppressions_cleared = 0;
    if let Some(current) = current {
        suppressions_cleared = write::count_of(clear_marks(tx, current, &account)?);
        if current.schedule() != account.schedule() {
            tx.remove(&keys::scheduled(&current.schedule(), current.id()))?;
        }
    } else {
        write::count_on(tx, write::ACCOUNTS, 1, 0)?;
    }
    write::mark_schedule(tx, &account)?;
    let recipient = read::recipient(tx, &account, tx.rules())?;
    let changed = AccountChanged {
        change: kind_of(&change.kind),
        version: account.version(),
        replaced: current.map(Account::version).filter(|before| account.version() <= *before),
        deselected: warnings.iter().any(|warning| match warning {
            Warning::BillingContactRemoved(_) | Warning::BillingContactLeftGroup(_) => true,
            Warning::SubUserUnknown(_) => false,
        }),
        recipient: (&recipient).into(),
        suppressions_cleared,
    };
    let object = Object::Account(account.id().clone());
    write::tell(tx, object, at, by, AuditEvent::AccountChanged(changed));

    free(tx, &account, None, at)?;
    accepted(tx, ChangeResult::Applied, account, warnings)
}

fn accepted(
    tx: &Tx<'_>,
    result: ChangeResult,
    account: Account,
    warnings: Vec<Warning>,
) -> Result<ChangeAnswer> {
    let recipient = Box::new(read::recipient(tx, &account, tx.rules())?);
    let account = Box::new(account);
    Ok(ChangeAnswer::Accepted { result, account, recipient, warnings, in_flight: Vec::new() })
}

/// Goes on freeing from where the last unit stopped.
pub(super) fn go_on_freeing(tx: &mut Tx<'_>, account: &AccountId) -> Result<()> {
    let cursor: Option<CursorRow> = tx.read(&keys::freeing(account))?;
    if let (Some(cursor), Some(account)) = (cursor, read::account(tx, account)?) {
        let (at, last) = read_cursor(&cursor)?;
        free(tx, &account, Some(last), at)?;
    }
    Ok(())
}

/// How far freeing has come: the time of the change that began it, in milliseconds, and the last key
/// that was looked at.
fn cursor(at: DateTime<Utc>, last: &[u8]) -> CursorRow {
    CursorRow([&at.timestamp_millis().to_be_bytes(), last].concat())
}

fn read_cursor(CursorRow(cursor): &CursorRow) -> Result<(DateTime<Utc>, Vec<u8>)> {
    cursor
        .split_first_chunk()
        .and_then(|(millis, last)| {
            let at = DateTime::from_timestamp_millis(i64::from_be_bytes(*millis))?;
            Some((at, last.to_vec()))
        })
        .ok_or_else(|| read::damaged("of kind cursor", "it does not begin with a time"))
}

/// Frees what is pending under an account, by units that follow.
fn free_later(tx: &mut Tx<'_>, account: &AccountId, at: DateTime<Utc>, last: &[u8]) -> Result<()> {
    tx.leave(go_on(Unfinished::Freeing(account.clone())));
    tx.put(&keys::freeing(account), &cursor(at, last))
}

/// Frees what was parked for this version of the account, and makes due what was withheld, after
/// `after`. Leaves a cursor if more is left.
fn free(
    tx: &mut Tx<'_>,
    account: &Account,
    after: Option<Vec<u8>>,
    at: DateTime<Utc>,
) -> Result<()> {
    use keys::Class::{Parked, Withheld};
    let pending =
        Pending { account, classes: &[Withheld, Parked], up_to: Sequence(u64::MAX), after };
    let last = pending::advance(tx, &pending, &Actor::Daemon, at, |tx, id, before| {
        let invoice = read::invoice(tx, id.invoice)?.invoice;
        let known = invoice.min_account_version.unwrap_or(Version::UNKNOWN) <= account.version();
        for event in [Event::Freed(invoice.release), Event::AccountChanged] {
            let freed = step(before, &event, at, &tx.rules().policy, 0.0);
            // Whoever is withheld was known before; an import may have lowered the version since.
            let is_known = known || event == Event::AccountChanged;
            if is_known && freed.answer == StepAnswer::Applied {
                let held = before.hold.is_some();
                let told = if event == Event::AccountChanged {
                    AuditEvent::Retried { held }
                } else {
                    AuditEvent::Freed { version: account.version(), held }
                };
                return Ok(Some((freed.delivery, told)));
            }
        }
        Ok(None)
    })?;
    match last {
        Some(last) => free_later(tx, account.id(), at, &last),
        None => tx.remove(&keys::freeing(account.id())),
    }
}

/// Clears the marks of addresses of contacts whose addresses changed: those of the contacts that invoices
/// go to before all others. A snapshot that changes many contacts with many marks leaves some, since the
/// batch has a limit; those are cleared when their contact changes again, or by an operator. Says how many.
fn clear_marks(tx: &mut Tx<'_>, before: &Account, after: &Account) -> Result<usize> {
    let suppressions = read::suppressions(tx, before.id())?;
    if suppressions.is_empty() {
        return Ok(0);
    }
    let (old, new) = (before.profile(), after.profile());
    let mut pairs: Vec<(Option<&Contact>, Option<&Contact>)> =
        vec![(Some(&old.main_contact), Some(&new.main_contact))];
    let selected = new.billing_contact.iter();
    for id in selected.chain(old.sub_users.keys()).chain(new.sub_users.keys()) {
        pairs.push((contact_of(old, id), contact_of(new, id)));
    }
    let mut cleared: Vec<&EmailAddress> = Vec::new();
    for (old, new) in pairs {
        let old = old.map_or(&[][..], |contact| contact.addresses.as_slice());
        let new = new.map_or(&[][..], |contact| contact.addresses.as_slice());
        if old != new {
            for address in old.iter().chain(new) {
                if suppressions.contains_key(address) && !cleared.contains(&address) {
                    cleared.push(address);
                }
            }
        }
    }
    cleared.truncate(MARKS_AT_ONCE);
    for address in &cleared {
        tx.remove(&keys::suppression(before.id(), address))?;
    }
    Ok(cleared.len())
}

fn contact_of<'p>(profile: &'p Profile, id: &SubUserId) -> Option<&'p Contact> {
    profile.sub_users.get(id).map(|sub_user| &sub_user.contact)
}

/// Clears at most so many of an account's suppressions, those that `goes` names. Says how many there were. What is
/// withheld is to be freed then, by units that follow.
fn clear_and_free(
    tx: &mut Tx<'_>,
    account: &AccountId,
    at: DateTime<Utc>,
    most: usize,
    goes: impl Fn(&EmailAddress, &Suppression) -> bool,
) -> Result<usize> {
    let marks = read::suppressions(tx, account)?;
    let going = marks.iter().filter(|(address, mark)| goes(address, mark)).take(most);
    let mut cleared = 0;
    for (address, _) in going {
        tx.remove(&keys::suppression(account, address))?;
        cleared += 1;
    }
    if cleared > 0 {
        free_later(tx, account, at, &[])?;
    }
    Ok(cleared)
}

/// Clears the marks of whom the account's invoices go to: an operator knows that the relay was wrong, or
/// that it is right by now. Says how many there were.
pub(super) fn clear_marks_of_recipients(
    tx: &mut Tx<'_>,
    account: &Account,
    at: DateTime<Utc>,
) -> Result<usize> {
    let selected = account.billing_contact().map(|(_, sub_user)| &sub_user.contact);
    let contacts = selected.into_iter().chain([&account.profile().main_contact]);
    let theirs: BTreeSet<&EmailAddress> =
        contacts.flat_map(|contact| contact.addresses.as_slice()).collect();
    clear_and_free(tx, account.id(), at, usize::MAX, |address, _| theirs.contains(address))
}

/// The accounts with an address that was rejected since then. A damaged mark is left alone.
pub(super) fn rejected_since(tree: &dyn Tree, since: DateTime<Utc>) -> Result<BTreeSet<AccountId>> {
    let accounts = tree.scan(&[keys::kind::SUPPRESSION], None, usize::MAX, |key, value| {
        let mark: Suppression = tree.decode(key, value).ok()?;
        let account = AccountId::parse(keys::text_after(key, 1)?).ok()?;
        (mark.since >= since).then_some(account)
    })?;
    Ok(accounts.into_iter().collect())
}

/// Clears the marks that an account has got since then, a bounded number of them. Says how many.
pub(super) fn forget_marks(
    tx: &mut Tx<'_>,
    account: &AccountId,
    since: DateTime<Utc>,
    by: &By<'_>,
    at: DateTime<Utc>,
) -> Result<usize> {
    let count = clear_and_free(tx, account, at, MARKS_AT_ONCE, |_, mark| mark.since >= since)?;
    if count > 0 {
        let cleared = AuditEvent::SuppressionsCleared { count: write::count_of(count) };
        write::tell(tx, Object::Account(account.clone()), at, by, cleared);
    }
    Ok(count)
}

/// The account's invoices that have an intent for another recipient than the current one.
pub(super) fn under_way(
    tx: &Tx<'_>,
    answer: &ChangeAnswer,
) -> Result<Vec<(DeliveryId, InvoiceNumber)>> {
    let ChangeAnswer::Accepted { account, recipient, .. } = answer else {
        return Ok(Vec::new());
    };
    // A damaged record must not block every account's changes: one whose account is unknown
    // is left out, one whose recipient is unknown is named.
    let intents =
        tx.scan(&[keys::kind::INTENT], None, usize::MAX, |key, _| keys::delivery_at_the_end(key))?;
    let mut under_way = Vec::new();
    for id in intents {
        let Ok(InvoiceRow { invoice, .. }) = read::invoice(tx, id.invoice) else {
            continue;
        };
        if invoice.account != *account.id() {
            continue;
        }
        let sent_to: Result<Option<Recipient>> = tx.read(&keys::recipient(id));
        let is_theirs = matches!(sent_to, Ok(Some(sent_to)) if sent_to.same_target(recipient));
        if !is_theirs {
            under_way.push((id, invoice.number));
        }
    }
    Ok(under_way)
}

/// Names those of `under_way` whose final check is not certain to come after the change. To be called once
/// the change can be read.
pub(super) fn name_in_flight(
    answer: &mut ChangeAnswer,
    under_way: Vec<(DeliveryId, InvoiceNumber)>,
    looks: &PendingFinalChecks,
) {
    if let ChangeAnswer::Accepted { in_flight, .. } = answer {
        in_flight.extend(
            under_way.into_iter().filter(|(id, _)| !looks.is_ahead(*id)).map(|(_, number)| number),
        );
    }
}

/// What a change is, without what it says of people.
fn kind_of(kind: &ChangeKind) -> AccountChangeKind {
    match kind {
        ChangeKind::Updated(_) => AccountChangeKind::Updated,
        ChangeKind::Imported(import) => AccountChangeKind::Imported { closed: import.closed },
        ChangeKind::Closed => AccountChangeKind::Closed,
        ChangeKind::SubUserSaved { id, group, contact: _, login: _ } => {
            let (sub_user, group) = (AuditText::new(id), AuditText::new(group));
            AccountChangeKind::SubUserSaved { sub_user, group }
        }
        ChangeKind::SubUserRemoved(id) => {
            AccountChangeKind::SubUserRemoved { sub_user: AuditText::new(id) }
        }
        ChangeKind::BillingContactSelected(id) => {
            AccountChangeKind::BillingContactSelected { sub_user: id.as_ref().map(AuditText::new) }
        }
    }
}
