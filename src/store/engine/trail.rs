//! The audit log, in the order of its batches.

use super::keys::{self, Object};
use super::read;
use super::tx::{Records as _, Tree};
use crate::store::record::{ChainRow, EntryRow, InvoiceRow, Link};
use crate::store::{AuditItem, AuditOrder, AuditPlace, Result, Subject};

/// Most batches that one page looks at: retention may have removed the entries of many.
const LOOKED_AT: usize = 5_000;

/// A page of the audit log, whose last batch is `last`; and the place to go on after, if there may be more.
pub(super) fn audit(
    tree: &dyn Tree,
    last: u64,
    order: AuditOrder,
    after: Option<AuditPlace>,
    limit: usize,
) -> Result<(Vec<AuditItem>, Option<AuditPlace>)> {
    let mut page = Vec::new();
    // Batches are numbered without a gap.
    let mut batch = match (order, after) {
        (AuditOrder::OldestFirst, None) => 1,
        (AuditOrder::NewestFirst, None) => last,
        (_, Some(place)) => place.batch.min(last),
    };
    for _ in 0..LOOKED_AT {
        if batch == 0 || batch > last {
            return Ok((page, None));
        }
        for entry in entries(tree, batch, order)? {
            let is_further = after.is_none_or(|after| match order {
                AuditOrder::OldestFirst => entry.place > after,
                AuditOrder::NewestFirst => entry.place < after,
            });
            if is_further {
                page.push(entry);
            }
            if page.len() == limit {
                let next = page.last().map(|entry| entry.place);
                return Ok((page, next));
            }
        }
        batch = match order {
            AuditOrder::OldestFirst => batch + 1,
            AuditOrder::NewestFirst => batch - 1,
        };
    }
    let next = match order {
        AuditOrder::OldestFirst => AuditPlace { batch: batch - 1, index: u64::MAX },
        AuditOrder::NewestFirst => AuditPlace { batch: batch + 1, index: 0 },
    };
    Ok((page, Some(next)))
}

/// What is left of one batch.
fn entries(tree: &dyn Tree, batch: u64, order: AuditOrder) -> Result<Vec<AuditItem>> {
    let link: ChainRow = tree.read(&keys::trail(batch))?.ok_or_else(|| {
        read::damaged(&format!("link {batch} of the hash chain"), "it is missing")
    })?;
    let mut entries = Vec::with_capacity(link.links.len());
    for (index, Link { object, .. }) in (0..).zip(link.links) {
        let entry: Option<EntryRow> = tree.read(&keys::entry(&object, batch, index))?;
        if let (Some(EntryRow { entry, .. }), Some(subject)) = (entry, subject(tree, object)?) {
            let place = AuditPlace { batch, index };
            entries.push(AuditItem { place, subject, entry });
        }
    }
    if order == AuditOrder::NewestFirst {
        entries.reverse();
    }
    Ok(entries)
}

fn subject(tree: &dyn Tree, object: Object) -> Result<Option<Subject>> {
    Ok(match object {
        Object::Account(account) => Some(Subject::Account(account)),
        Object::Daemon => Some(Subject::Everything),
        Object::Invoice(sequence) => {
            let row: Option<InvoiceRow> = tree.read(&keys::invoice(sequence))?;
            row.map(|InvoiceRow { invoice, .. }| Subject::Invoice(invoice.account, invoice.number))
        }
    })
}
