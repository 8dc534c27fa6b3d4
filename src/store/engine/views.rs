//! Reads for people and for the dispatcher.

use chrono::{DateTime, Utc};

use super::keys::{self, Class, Object, kind};
use super::subject::Subject;
use super::tx::{self, Records as _, Tree};
use super::{read, write};
use crate::domain::address::masked;
use crate::domain::delivery::{DeliveryId, Lane};
use crate::domain::id::{AccountId, InvoiceNumber, Sequence};
use crate::domain::invoice::Invoice;
use crate::store::record::{DeliveryRow, IdentityRow};
use crate::store::{
    AccountView, Accounts, Backlog, DuePlace, Filter, InvoiceView, Job, Listed, Page, PauseScope,
    Result, Rules, WholeInvoice,
};

/// A page of accounts ends with the one that reaches so many bytes, as stored.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How many invoices one page of a list looks at.
const LOOKED_AT: usize = 5_000;

pub(super) fn due(
    tree: &dyn Tree,
    lane: Lane,
    now: DateTime<Utc>,
    after: Option<DuePlace>,
    limit: usize,
) -> Result<Vec<DuePlace>> {
    // No key comes between one and the same with a zero behind it.
    let after = after.map(|place| [keys::due(lane, place.at, place.delivery), vec![0]].concat());
    let from = after.unwrap_or_else(|| keys::due_in(lane));
    tree.scan_range(&from, Some(&keys::due_after(lane, now)), limit, |key, _| {
        keys::parse_due(key).map(|(_, at, delivery)| DuePlace { at, delivery })
    })
}

pub(super) fn job(tree: &dyn Tree, id: DeliveryId) -> Result<Option<Job>> {
    let job = job_of(tree, id);
    Ok(read::unless_gone(tree, id.invoice, job)?.flatten())
}

fn job_of(tree: &dyn Tree, id: DeliveryId) -> Result<Option<Job>> {
    let subject = Subject::read(tree, id)?;
    let seen = subject.seen();
    let Subject { invoice, row: DeliveryRow { delivery, .. }, account: Some(account), .. } =
        subject
    else {
        return Ok(None);
    };
    let suppressions = read::suppressions(tree, account.id())?;
    let paused = read::pause(tree, &PauseScope::Account(account.id().clone()))?;
    Ok(Some(Job { id, invoice, delivery, account, suppressions, paused, seen }))
}

pub(super) fn account(
    tree: &dyn Tree,
    id: &AccountId,
    rules: &Rules,
) -> Result<Option<AccountView>> {
    let Some(account) = read::account(tree, id)? else {
        return Ok(None);
    };
    let recipient = read::recipient(tree, &account, rules)?;
    let suppressions = read::suppressions(tree, id)?;
    let paused = read::current_pause(tree, Some(id))?;
    Ok(Some(AccountView { account, recipient, suppressions, paused }))
}

pub(super) fn accounts(
    tree: &dyn Tree,
    after: Option<&AccountId>,
    limit: usize,
    rules: &Rules,
) -> Result<Accounts> {
    let total = write::count(tree, write::ACCOUNTS)?;
    let after = after.map(keys::account);
    let mut ids = tree.scan(&[kind::ACCOUNT], after.as_deref(), limit + 1, |key, value| {
        let id = AccountId::parse(keys::text_after(key, 1)?).ok()?;
        Some((id, tx::stored_bytes(value)))
    })?;
    let mut more = ids.len() > limit;
    ids.truncate(limit);
    let mut page = Accounts { items: Vec::with_capacity(ids.len()), next: None, total, damaged: 0 };
    let mut bytes = 0;
    let mut last = None;
    for (id, stored) in ids {
        if bytes >= PAGE_BYTES {
            more = true;
            break;
        }
        let view = read::unless_damaged(account(tree, &id, rules), |error| {
            tracing::error!(account.id = %masked(id.as_str()), %error, "a damaged account is left out of a list");
            page.damaged += 1;
        })?;
        if let Some(view) = view.flatten() {
            bytes += stored;
            page.items.push(view);
        }
        last = Some(id);
    }
    page.next = last.filter(|_| more);
    Ok(page)
}

pub(super) fn invoice(
    tree: &dyn Tree,
    id: &AccountId,
    number: &InvoiceNumber,
    rules: &Rules,
) -> Result<Option<InvoiceView>> {
    if let Some(IdentityRow::Sequence(sequence)) = read::identity(tree, id, number)?
        && let Some(whole) = read::unless_gone(tree, sequence, whole(tree, sequence, rules))?
    {
        return Ok(Some(InvoiceView::Whole(Box::new(whole))));
    }
    // Read anew: retention may have put a tombstone in its place meanwhile.
    Ok(match read::identity(tree, id, number)? {
        Some(IdentityRow::Tombstone { content: _, state, at }) => {
            Some(InvoiceView::Tombstone { state, at })
        }
        Some(IdentityRow::Sequence(_)) | None => None,
    })
}

fn whole(tree: &dyn Tree, sequence: Sequence, rules: &Rules) -> Result<WholeInvoice> {
    let stored = read::invoice(tree, sequence)?;
    let id = DeliveryId::of_invoice(sequence);
    let row = read::delivery(tree, id)?;
    let standing = read::standing(tree, &stored.invoice, id, &row, rules)?;
    let paused = if row.delivery.is_finished() {
        None
    } else {
        read::current_pause(tree, Some(&stored.invoice.account))?
    };
    Ok(WholeInvoice {
        sequence,
        received_at: stored.received_at,
        state: standing.state,
        schedule: standing.schedule,
        recipient: standing.recipient,
        paused,
        intent: read::intent(tree, id)?,
        attempts: tree.collect(&keys::attempts(id))?,
        story: read::story(tree, &Object::Invoice(sequence))?,
        delivery: row.delivery,
        invoice: stored.invoice,
    })
}

pub(super) fn invoices(
    tree: &dyn Tree,
    filter: &Filter,
    after: Option<Sequence>,
    limit: usize,
) -> Result<Page> {
    let mut sequences = match (&filter.account, &filter.number) {
        (Some(account), Some(number)) => match read::identity(tree, account, number)? {
            Some(IdentityRow::Sequence(sequence)) => vec![sequence],
            Some(IdentityRow::Tombstone { .. }) | None => Vec::new(),
        },
        (Some(account), None) => of_account(tree, account)?,
        (None, _) => {
            let from = after.map(keys::invoice);
            tree.scan(&[kind::INVOICE], from.as_deref(), LOOKED_AT + 1, |key, _| {
                keys::sequence_at_the_end(key)
            })?
        }
    };
    sequences.retain(|sequence| after.is_none_or(|after| *sequence > after));
    let more = sequences.len() >= LOOKED_AT;
    sequences.truncate(LOOKED_AT);
    let mut page = Page::default();
    for sequence in sequences {
        if page.items.len() == limit {
            page.next = page.items.last().map(|listed| listed.sequence);
            return Ok(page);
        }
        let listed = read::unless_gone(tree, sequence, listed(tree, filter, sequence));
        let listed = read::unless_damaged(listed, |error| {
            tracing::error!(%sequence, %error, "a damaged invoice is left out of a list");
            page.damaged += 1;
        })?;
        page.items.extend(listed.flatten().flatten());
        page.next = more.then_some(sequence);
    }
    Ok(page)
}

pub(super) fn backlog(tree: &dyn Tree) -> Result<Backlog> {
    let mut backlog = Backlog {
        accounts: write::count(tree, write::ACCOUNTS)?,
        unused_documents_bytes: write::count(tree, write::UNUSED_DOCUMENTS)?,
        due: count(tree, kind::DUE)?,
        sending: count(tree, kind::INTENT)?,
        ..Backlog::default()
    };
    let mut oldest: Option<Sequence> = None;
    tree.scan(&[kind::PENDING], None, usize::MAX, |key, _| {
        match keys::parse_pending(key)? {
            (Class::Parked, DeliveryId { invoice, .. }) => {
                backlog.parked += 1;
                oldest = Some(oldest.map_or(invoice, |oldest| oldest.min(invoice)));
            }
            (Class::Waiting, _) => backlog.waiting += 1,
            (Class::Withheld, _) => backlog.withheld += 1,
        }
        None::<()>
    })?;
    if let Some(sequence) = oldest {
        let invoice = read::unless_gone(tree, sequence, read::invoice(tree, sequence))?;
        backlog.oldest_parked = invoice.map(|stored| stored.received_at);
    }
    Ok(backlog)
}

fn count(tree: &dyn Tree, kind: u8) -> Result<u64> {
    Ok(tree.scan(&[kind], None, usize::MAX, |_, _| Some(()))?.len() as u64)
}

fn of_account(tree: &dyn Tree, account: &AccountId) -> Result<Vec<Sequence>> {
    let identities: Vec<IdentityRow> = tree.collect(&keys::identities(account))?;
    let of = |identity| match identity {
        IdentityRow::Sequence(sequence) => Some(sequence),
        IdentityRow::Tombstone { .. } => None,
    };
    let mut sequences: Vec<Sequence> = identities.into_iter().filter_map(of).collect();
    sequences.sort();
    Ok(sequences)
}

fn listed(tree: &dyn Tree, filter: &Filter, sequence: Sequence) -> Result<Option<Listed>> {
    let Filter { state, account: _, number, issued_from, issued_to, changed_since } = filter;
    let row = read::delivery(tree, DeliveryId::of_invoice(sequence))?;
    if changed_since.is_some_and(|since| row.changed_at < since) {
        return Ok(None);
    }
    let invoice: Invoice = read::invoice(tree, sequence)?.invoice;
    let shown = row.delivery.shown();
    let fits = state.is_none_or(|state| state == shown)
        && number.as_ref().is_none_or(|number| *number == invoice.number)
        && issued_from.is_none_or(|from| invoice.issued_on >= from)
        && issued_to.is_none_or(|to| invoice.issued_on <= to);
    if !fits {
        return Ok(None);
    }
    Ok(Some(Listed {
        sequence,
        state: shown,
        next_at: row.delivery.next_attempt_at(),
        hold: row.delivery.hold,
        changed_at: row.changed_at,
        invoice,
    }))
}
