//! Whether what is stored holds together: every record against its checksum and the domain's rules,
//! every index entry against its record and the other way round, every audit entry against the
//! hash chain, every document against its digest.
//!
//! Everything is looked at once, in the order of the keys; nothing is changed. What is wrong is reported and
//! the check goes on. Keys that may hold an address are named by kind and number only.

mod place;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use self::place::place;
use super::keys::{self, Class, Object, kind};
use super::tx::{Records as _, Tree};
use super::write::{self, index_key};
use super::{read, upkeep};
use crate::domain::account::Account;
use crate::domain::delivery::{Attempt, DeliveryId, State};
use crate::domain::id::{AccountId, Digest, Sequence};
use crate::domain::recipient::{Recipient, Suppression};
use crate::store::documents::DocumentFiles;
use crate::store::record::{
    ChainRow, CounterRow, CursorRow, DeliveryRow, DocumentRow, EntryRow, IdempotencyRow,
    IdentityRow, IntentRow, InvoiceRow, Link, Record,
};
use crate::store::{Finding, Pause, Result, Run, StoreError, Verified};

/// Checks a tree and its documents; `tell` is called with each finding.
pub(crate) fn verify(
    tree: &dyn Tree,
    documents: &DocumentFiles,
    tell: &mut dyn FnMut(Finding),
) -> Result<Verified> {
    let mut check = Check {
        tree,
        documents,
        tell,
        verified: Verified::default(),
        references: HashMap::new(),
        recorded: HashMap::new(),
        chain: Chain::default(),
        last_sequence: Sequence(0),
        accounts: 0,
        unused_bytes: 0,
        numbers: 0,
    };
    let mut failure = Ok(());
    tree.range(&[], None, &mut |key, value| {
        failure = check.record(key, value);
        if failure.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    failure?;
    check.finish()
}

/// The hash chain, as far as it was followed.
#[derive(Default)]
struct Chain {
    links: u64,
    hash: [u8; 32],
}

struct Check<'a> {
    tree: &'a dyn Tree,
    documents: &'a DocumentFiles,
    tell: &'a mut dyn FnMut(Finding),
    verified: Verified,
    /// How many invoices name each document.
    references: HashMap<Digest, u64>,
    /// How many the documents' records say.
    recorded: HashMap<Digest, u64>,
    chain: Chain,
    last_sequence: Sequence,
    /// How many accounts there are.
    accounts: u64,
    /// What the documents count as that no invoice refers to.
    unused_bytes: u64,
    /// How many numbers were used by an invoice, stored or a tombstone.
    numbers: u64,
}

impl Check<'_> {
    /// Checks one key. Only a database that cannot be read any further is an error.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.verified.records += 1;
        match key.first().copied() {
            Some(kind::ACCOUNT) => self.each(key, value, Self::account),
            Some(kind::IDENTITY) => {
                self.numbers += 1;
                self.each(key, value, Self::identity)
            }
            Some(kind::INVOICE) => self.each(key, value, Self::invoice),
            Some(kind::DELIVERY) => self.each(key, value, Self::delivery),
            Some(kind::RECIPIENT) => self.each::<Recipient>(key, value, Self::of_delivery),
            Some(kind::INTENT) => self.each::<IntentRow>(key, value, Self::of_delivery),
            Some(kind::ATTEMPT) => {
                self.each::<Attempt>(key, value, |check, key, attempt| match delivery_of(key) {
                    Some(id) if check.is_being_buried(id.invoice)? => Ok(()),
                    Some(_) | None => check.of_delivery(key, attempt),
                })
            }
            Some(kind::PURGING) => self.purging(key),
            Some(kind::SCHEDULED) => self.scheduled(key),
            Some(kind::PENDING | kind::DUE) => self.indexed(key),
            Some(kind::FREEING) => self.each::<CursorRow>(key, value, Self::alone),
            Some(kind::RUN) => self.each::<Run>(key, value, |check, key, run| {
                check.expect(key, keys::run(&run.scope) == key, "it holds another run")
            }),
            Some(kind::IDEMPOTENCY) => self.each::<IdempotencyRow>(key, value, Self::alone),
            Some(kind::SUPPRESSION) => self.each::<Suppression>(key, value, Self::alone),
            Some(kind::PAUSE) => self.each::<Pause>(key, value, Self::alone),
            Some(kind::DOCUMENT) => self.each(key, value, Self::document),
            Some(kind::ENTRY) => self.each::<EntryRow>(key, value, |check, key, _| {
                let stored = check.tree.whole::<EntryRow>(key, value)?;
                check.entry(key, &stored)
            }),
            Some(kind::CHAIN) => {
                self.chain.links += 1;
                self.each(key, value, Self::link)
            }
            Some(kind::COUNTER) => match keys::text_after(key, 1) {
                // Raw, and compared when the store was opened.
                Some("store-id") => Ok(()),
                Some("sequence" | "clock-seen" | write::ACCOUNTS | write::UNUSED_DOCUMENTS) => {
                    self.each::<CounterRow>(key, value, Self::alone)
                }
                Some(_) | None => self.expect(key, false, "a counter that is not known"),
            },
            Some(kind::CONTINUED) => self.part(key),
            Some(_) => self.expect(key, false, "a kind that is not known"),
            None => self.expect(key, false, "an empty key"),
        }
    }

    /// Checks a record by itself, and then what `check` asks of it.
    fn each<R: Record>(
        &mut self,
        key: &[u8],
        value: &[u8],
        check: impl FnOnce(&mut Self, &[u8], &R) -> Result<()>,
    ) -> Result<()> {
        match self.tree.decode(key, value) {
            Ok(record) => check(self, key, &record),
            Err(StoreError::Damaged { cause, .. }) => self.expect(key, false, &cause),
            Err(error) => Err(error),
        }
    }

    /// Of a record that hangs on no other.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "others ask something")]
    fn alone<R>(&mut self, _key: &[u8], _record: &R) -> Result<()> {
        Ok(())
    }

    fn account(&mut self, key: &[u8], account: &Account) -> Result<()> {
        self.accounts += 1;
        self.expect(key, keys::account(account.id()) == key, "it holds another account")?;
        let waits = self.tree.any(&keys::pending_class(account.id(), Class::Waiting))?;
        let marked = self.tree.is_there(&keys::scheduled(&account.schedule(), account.id()))?;
        self.expect(key, waits == marked, "its schedule is marked, or not, against what waits")
    }

    fn identity(&mut self, key: &[u8], identity: &IdentityRow) -> Result<()> {
        match identity {
            IdentityRow::Sequence(sequence) => {
                let invoice = self.other::<InvoiceRow>(&keys::invoice(*sequence))?;
                let names_it = invoice.is_some_and(|InvoiceRow { invoice, .. }| {
                    keys::identity(&invoice.account, &invoice.number) == key
                });
                self.expect(key, names_it, "it leads to no invoice of that number")
            }
            // A withdrawal that came first had no invoice.
            IdentityRow::Tombstone { content: None, .. } => {
                self.numbers -= 1;
                Ok(())
            }
            IdentityRow::Tombstone { content: Some(_), .. } => Ok(()),
        }
    }

    fn invoice(&mut self, key: &[u8], InvoiceRow { invoice, .. }: &InvoiceRow) -> Result<()> {
        let Some(sequence) = self.sequence(key)? else {
            return Ok(());
        };
        self.last_sequence = self.last_sequence.max(sequence);
        let identity =
            self.other::<IdentityRow>(&keys::identity(&invoice.account, &invoice.number))?;
        let leads_here = identity == Some(IdentityRow::Sequence(sequence));
        self.expect(key, leads_here, "its number does not lead to it")?;
        let delivery = keys::delivery(DeliveryId::of_invoice(sequence));
        self.expect_there(key, &delivery, "it has no delivery")?;
        for digest in invoice.documents.digests() {
            *self.references.entry(digest).or_default() += 1;
            let document = keys::document(&digest);
            self.expect_there(key, &document, "a document that it names has no record")?;
        }
        Ok(())
    }

    fn delivery(&mut self, key: &[u8], DeliveryRow { delivery, .. }: &DeliveryRow) -> Result<()> {
        let Some(id) = self.id_of_delivery(key)? else {
            return Ok(());
        };
        let Some(account) = self.account_of(id)? else {
            return self.expect(key, false, "it has no invoice");
        };
        if let Some(index) = index_key(&account, id, delivery) {
            let missing = "its state asks for an index entry that is missing";
            self.expect_there(key, &index, missing)?;
        }
        let has_intent = self.tree.is_there(&keys::intent(id))?;
        let fits = has_intent == (delivery.state == State::Sending);
        self.expect(key, fits, "its state and its intent do not agree")
    }

    /// A record that lies with a delivery.
    fn of_delivery<R>(&mut self, key: &[u8], _record: &R) -> Result<()> {
        // A key without one leads nowhere.
        let delivery = delivery_of(key).map(keys::delivery).unwrap_or_default();
        self.expect_there(key, &delivery, "it has no delivery")
    }

    fn purging(&mut self, key: &[u8]) -> Result<()> {
        let Some(sequence) = self.sequence(key)? else {
            return Ok(());
        };
        let is_gone = !self.tree.is_there(&keys::invoice(sequence))?
            && !self.tree.any(&keys::of_invoice(kind::DELIVERY, sequence))?;
        self.expect(key, is_gone, "the invoice is not gone")
    }

    /// Whether an invoice has been purged, but not yet all of its history.
    fn is_being_buried(&self, sequence: Sequence) -> Result<bool> {
        self.tree.is_there(&keys::purging(sequence))
    }

    fn scheduled(&mut self, key: &[u8]) -> Result<()> {
        let schedule = keys::text_after(key, 1);
        let account = schedule
            .and_then(|schedule| keys::text_after(key, 2 + schedule.len()))
            .and_then(|account| AccountId::parse(account).ok());
        let fits = match (schedule, account) {
            (Some(schedule), Some(account)) => {
                let waits = keys::pending_class(&account, Class::Waiting);
                let stored = self.other::<Account>(&keys::account(&account))?;
                stored.is_some_and(|account| account.schedule().as_str() == schedule)
                    && self.tree.any(&waits)?
            }
            (_, None) | (None, _) => false,
        };
        self.expect(key, fits, "an index entry without anything that waits")
    }

    /// An entry of the index over deliveries.
    fn indexed(&mut self, key: &[u8]) -> Result<()> {
        let Some(id) = self.id_of_delivery(key)? else {
            return Ok(());
        };
        let row = self.other::<DeliveryRow>(&keys::delivery(id))?;
        let asked_for = self.account_of(id)?.zip(row);
        let asked_for = asked_for.and_then(|(account, row)| index_key(&account, id, &row.delivery));
        let fits = asked_for.as_deref() == Some(key);
        self.expect(key, fits, "an index entry that no delivery asks for")
    }

    fn document(&mut self, key: &[u8], row: &DocumentRow) -> Result<()> {
        let Some(digest) = keys::digest_at_the_end(key) else {
            return self.expect(key, false, "its key holds no digest");
        };
        self.recorded.insert(digest, row.references);
        self.unused_bytes += write::unused_bytes(Some(row));
        self.verified.documents += 1;
        match self.documents.read(&digest, row.day) {
            Ok(bytes) => {
                let same = u64::try_from(bytes.len()) == Ok(row.bytes);
                self.expect(key, same, "its file has another length than its record says")
            }
            Err(StoreError::Damaged { cause, .. }) => self.expect(key, false, &cause),
            Err(error) => Err(error),
        }
    }

    fn entry(&mut self, key: &[u8], stored: &[u8]) -> Result<()> {
        let Some((object, batch, index)) = place_of_entry(key) else {
            return self.expect(key, false, "its key holds no place in the audit log");
        };
        if let Object::Invoice(sequence) = object {
            let is_known =
                self.tree.is_there(&keys::invoice(sequence))? || self.is_being_buried(sequence)?;
            self.expect(key, is_known, "its invoice is gone")?;
        }
        let link = self.other::<ChainRow>(&keys::trail(batch))?;
        let told = link.and_then(|link| Some(link.links.get(usize::try_from(index).ok()?)?.digest));
        let digest = Sha256::new().chain_update(key).chain_update(stored).finalize().into();
        self.expect(key, told == Some(digest), "it does not match its digest in the hash chain")
    }

    fn link(&mut self, key: &[u8], link: &ChainRow) -> Result<()> {
        let linked = keys::trail(self.chain.links) == key;
        self.expect(key, linked, "a link before it is missing")?;
        let follows = link.previous == self.chain.hash;
        self.expect(key, follows, "it does not follow from the link before")?;
        self.chain.hash = link.hash();
        if let Some(Sequence(batch)) = self.sequence(key)? {
            self.entries_of(batch, link)?;
            // What follows a gap is reported once, not at each link.
            self.chain.links = batch;
        }
        Ok(())
    }

    /// Whether the entries that a link tells of are there. Only retention may take them, with their invoice.
    fn entries_of(&mut self, batch: u64, link: &ChainRow) -> Result<()> {
        for (index, Link { object, .. }) in (0..).zip(&link.links) {
            let entry = keys::entry(object, batch, index);
            let may_be_gone = match object {
                Object::Invoice(sequence) => !self.tree.is_there(&keys::invoice(*sequence))?,
                Object::Account(_) | Object::Daemon => false,
            };
            if !may_be_gone {
                let what = format!("it is missing, but link {batch} of the hash chain names it");
                self.expect_there(&entry, &entry, &what)?;
            }
        }
        Ok(())
    }

    fn part(&mut self, key: &[u8]) -> Result<()> {
        let whole = key.get(1..).and_then(|rest| rest.split_last_chunk::<2>());
        let belongs = match whole {
            Some((whole, [_, part])) => {
                let parts = self.tree.get(whole)?.and_then(|first| first.first().copied());
                parts.is_some_and(|parts| (1..=parts).contains(part))
            }
            None => false,
        };
        self.expect(key, belongs, "a part that its record does not have")
    }

    /// What can only be said at the end.
    fn finish(mut self) -> Result<Verified> {
        let came = self.counted("sequence")?;
        let (last, numbers) = (self.last_sequence, self.numbers);
        if came < last.0 {
            let what = format!("it is below the last invoice, {last}");
            self.found("the counter of invoices".to_owned(), &what);
        }
        // Sequences are given away without a gap, each to one number, which stays for ever.
        if numbers < came {
            let what = format!("{came} invoices came, and {numbers} are there or left a tombstone");
            self.found("the numbers of invoices".to_owned(), &what);
        }
        for (name, there) in
            [(write::ACCOUNTS, self.accounts), (write::UNUSED_DOCUMENTS, self.unused_bytes)]
        {
            let said = self.counted(name)?;
            if said != there {
                let what = format!("it says {said}, and {there} are there");
                self.found(format!("the counter {name}"), &what);
            }
        }
        for (digest, recorded) in std::mem::take(&mut self.recorded) {
            let named_by = self.references.remove(&digest).unwrap_or(0);
            if named_by != recorded {
                let what = format!("{named_by} invoices name it, and its record says {recorded}");
                self.found(format!("document {digest}"), &what);
            }
        }
        self.verified.links = self.chain.links;
        self.verified.left_over = self.left_over()?;
        self.verified.strays = self.documents.strays()?;
        Ok(self.verified)
    }

    fn counted(&self, name: &str) -> Result<u64> {
        let counter = self.other::<CounterRow>(&keys::counter(name))?;
        Ok(counter.map_or(0, |CounterRow(counted)| counted))
    }

    /// How many documents no record names.
    fn left_over(&self) -> Result<u64> {
        let mut left_over = self.documents.unfinished()?;
        for day in self.documents.days()? {
            for digest in self.documents.of_day(day)? {
                if !upkeep::is_named(self.tree, &digest, day)? {
                    left_over += 1;
                }
            }
        }
        Ok(left_over)
    }

    /// Another record; one that is damaged is reported when it is at hand.
    fn other<R: Record>(&self, key: &[u8]) -> Result<Option<R>> {
        Ok(read::unless_damaged(self.tree.read(key), |_| ())?.flatten())
    }

    fn account_of(&self, id: DeliveryId) -> Result<Option<AccountId>> {
        let invoice = self.other::<InvoiceRow>(&keys::invoice(id.invoice))?;
        Ok(invoice.map(|row| row.invoice.account))
    }

    fn sequence(&mut self, key: &[u8]) -> Result<Option<Sequence>> {
        let sequence = keys::sequence_at_the_end(key);
        self.expect(key, sequence.is_some(), "its key holds no sequence")?;
        Ok(sequence)
    }

    fn id_of_delivery(&mut self, key: &[u8]) -> Result<Option<DeliveryId>> {
        let id = keys::delivery_at_the_end(key);
        self.expect(key, id.is_some(), "its key holds no delivery")?;
        Ok(id)
    }

    fn expect_there(&mut self, key: &[u8], other: &[u8], otherwise: &str) -> Result<()> {
        let is_there = self.tree.is_there(other)?;
        self.expect(key, is_there, otherwise)
    }

    /// Reports what is wrong, unless it holds. That is no error: the check goes on.
    #[expect(clippy::unnecessary_wraps, reason = "most checks end with one of these")]
    fn expect(&mut self, key: &[u8], holds: bool, otherwise: &str) -> Result<()> {
        if !holds {
            self.found(place(key), otherwise);
        }
        Ok(())
    }

    fn found(&mut self, place: String, what: &str) {
        self.verified.findings += 1;
        (self.tell)(Finding { place, what: what.to_owned() });
    }
}

/// The delivery that a record lies with.
fn delivery_of(key: &[u8]) -> Option<DeliveryId> {
    key.get(1..=keys::DELIVERY_OCTETS).and_then(keys::delivery_at_the_end)
}

/// Whose history an entry belongs to, and its place in the audit log.
fn place_of_entry(key: &[u8]) -> Option<(Object, u64, u64)> {
    let (rest, index) = key.get(1..)?.split_last_chunk::<8>()?;
    let (object, batch) = rest.split_last_chunk::<8>()?;
    Some((Object::parse(object)?, u64::from_be_bytes(*batch), u64::from_be_bytes(*index)))
}
