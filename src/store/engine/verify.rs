//! Whether what is stored holds together: every record against its checksum and the domain's rules,
//! every index entry against its record and the other way round, every entry of a story against the
//! hash chain, every document against its digest.
//!
//! Everything is looked at once, in the order of the keys; nothing is changed. What is wrong is told and
//! the check goes on. Keys are told by kind and number only where they may hold an address.

mod place;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use self::place::place;
use super::keys::{self, Class, Object, kind};
use super::tx::{Records, Tree};
use super::upkeep;
use super::write::{self, index_key};
use crate::domain::account::Account;
use crate::domain::delivery::{Attempt, DeliveryId, State};
use crate::domain::id::{AccountId, Digest, Sequence};
use crate::domain::recipient::{Recipient, Suspect};
use crate::store::documents::Documents;
use crate::store::record::{
    CounterRow, CursorRow, DeliveryRow, DocumentRow, EntryRow, IdempotencyRow, IdentityRow,
    IntentRow, InvoiceRow, Link, Record, TrailRow,
};
use crate::store::{Finding, Pause, Run, StoreError, Verified};

/// Checks a tree and its documents; `tell` hears what is wrong.
pub(in crate::store) fn verify(
    tree: &dyn Tree,
    documents: &Documents,
    tell: &mut dyn FnMut(Finding),
) -> Result<Verified, StoreError> {
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
    let mut failure = None;
    tree.range(&[], None, &mut |key, value| match check.record(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
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
    documents: &'a Documents,
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
    /// How many numbers stand for an invoice that came, whether it is there or has a tombstone.
    numbers: u64,
}

impl Check<'_> {
    /// Checks one key. Only a database that cannot be read any further is an error.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let Some(kind) = key.first() else {
            self.wrong(key, "an empty key");
            return Ok(());
        };
        self.verified.records += 1;
        match *kind {
            kind::ACCOUNT => self.account(key, value),
            kind::IDENTITY => self.identity(key, value),
            kind::INVOICE => self.invoice(key, value),
            kind::DELIVERY => self.delivery(key, value),
            kind::RECIPIENT => self.of_delivery::<Recipient>(key, value),
            kind::ATTEMPT => self.attempt(key, value),
            kind::INTENT => self.of_delivery::<IntentRow>(key, value),
            kind::BURYING => self.burying(key),
            kind::SCHEDULED => self.scheduled(key),
            kind::STANDING_BY | kind::DUE => self.indexed(key),
            kind::FREEING => self.decoded::<CursorRow>(key, value).map(drop),
            kind::RUN => self.run(key, value),
            kind::REMEMBERED => self.decoded::<IdempotencyRow>(key, value).map(drop),
            kind::SUSPECT => self.decoded::<Suspect>(key, value).map(drop),
            kind::PAUSE => self.decoded::<Pause>(key, value).map(drop),
            kind::DOCUMENT => self.document(key, value),
            kind::ENTRY => self.entry(key, value),
            kind::TRAIL => self.link(key, value),
            kind::COUNTER => self.counter(key, value),
            kind::CONTINUED => self.part(key),
            _ => {
                self.wrong(key, "a kind that is not known");
                Ok(())
            }
        }
    }

    fn account(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let Some(account) = self.decoded::<Account>(key, value)? else {
            return Ok(());
        };
        self.accounts += 1;
        self.expect(key, keys::account(account.id()) == key, "it holds another account");
        let waits = self.tree.any(&keys::standing_by_class(account.id(), Class::Waiting))?;
        let marked = self.tree.is_there(&keys::scheduled(&account.schedule(), account.id()))?;
        self.expect(key, waits == marked, "its schedule is marked, or not, against what waits");
        Ok(())
    }

    fn identity(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.numbers += 1;
        let Some(identity) = self.decoded::<IdentityRow>(key, value)? else {
            return Ok(());
        };
        match identity {
            IdentityRow::Sequence(sequence) => {
                let invoice = self.other::<InvoiceRow>(&keys::invoice(sequence))?;
                let names_it = invoice.is_some_and(|InvoiceRow { invoice, .. }| {
                    keys::identity(&invoice.account, &invoice.number) == key
                });
                self.expect(key, names_it, "it leads to no invoice of that number");
            }
            // A withdrawal that came first had no invoice.
            IdentityRow::Tombstone { content: None, .. } => self.numbers -= 1,
            IdentityRow::Tombstone { content: Some(_), .. } => {}
        }
        Ok(())
    }

    fn invoice(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let Some(InvoiceRow { invoice, .. }) = self.decoded::<InvoiceRow>(key, value)? else {
            return Ok(());
        };
        let Some(sequence) = self.sequence(key) else {
            return Ok(());
        };
        self.last_sequence = self.last_sequence.max(sequence);
        let identity =
            self.other::<IdentityRow>(&keys::identity(&invoice.account, &invoice.number))?;
        let leads_here = identity == Some(IdentityRow::Sequence(sequence));
        self.expect(key, leads_here, "its number does not lead to it");
        let has_delivery = self.tree.is_there(&keys::delivery(DeliveryId::of_invoice(sequence)))?;
        self.expect(key, has_delivery, "it has no delivery");
        for digest in invoice.documents.digests() {
            *self.references.entry(digest).or_default() += 1;
            let is_there = self.tree.is_there(&keys::document(&digest))?;
            self.expect(key, is_there, "a document that it names has no record");
        }
        Ok(())
    }

    fn delivery(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let Some(DeliveryRow { delivery, .. }) = self.decoded::<DeliveryRow>(key, value)? else {
            return Ok(());
        };
        let Some(id) = self.id_of_delivery(key) else {
            return Ok(());
        };
        let Some(account) = self.account_of(id)? else {
            self.wrong(key, "it has no invoice");
            return Ok(());
        };
        if let Some(index) = index_key(&account, id, &delivery) {
            let is_there = self.tree.is_there(&index)?;
            self.expect(key, is_there, "its state asks for an index entry that is missing");
        }
        let has_intent = self.tree.is_there(&keys::intent(id))?;
        self.expect(
            key,
            has_intent == (delivery.state == State::Sending),
            "an intent stands, or not, against its state",
        );
        Ok(())
    }

    /// A record that lies with a delivery.
    fn of_delivery<R: Record>(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.decoded::<R>(key, value)?;
        let has_delivery = match delivery_of(key) {
            Some(id) => self.tree.is_there(&keys::delivery(id))?,
            None => false,
        };
        self.expect(key, has_delivery, "it has no delivery");
        Ok(())
    }

    fn attempt(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match delivery_of(key) {
            Some(id) if self.is_being_buried(id.invoice)? => {
                self.decoded::<Attempt>(key, value).map(drop)
            }
            Some(_) | None => self.of_delivery::<Attempt>(key, value),
        }
    }

    fn burying(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let Some(sequence) = self.sequence(key) else {
            return Ok(());
        };
        let is_gone = !self.tree.is_there(&keys::invoice(sequence))?
            && !self.tree.any(&keys::of_invoice(kind::DELIVERY, sequence))?;
        self.expect(key, is_gone, "the invoice is not gone");
        Ok(())
    }

    /// Whether retention has removed an invoice, and not yet all of its story.
    fn is_being_buried(&self, sequence: Sequence) -> Result<bool, StoreError> {
        self.tree.is_there(&keys::burying(sequence))
    }

    fn scheduled(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let schedule = keys::text_after(key, 1);
        let account = schedule
            .and_then(|schedule| keys::text_after(key, 2 + schedule.len()))
            .and_then(|account| AccountId::parse(account).ok());
        let fits = match (schedule, account) {
            (Some(schedule), Some(account)) => {
                let waits = keys::standing_by_class(&account, Class::Waiting);
                let stored = self.other::<Account>(&keys::account(&account))?;
                stored.is_some_and(|account| account.schedule().as_str() == schedule)
                    && self.tree.any(&waits)?
            }
            (_, None) | (None, _) => false,
        };
        self.expect(key, fits, "an index entry without anything that waits");
        Ok(())
    }

    /// An entry of the index over deliveries.
    fn indexed(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let Some(id) = self.id_of_delivery(key) else {
            return Ok(());
        };
        let row = self.other::<DeliveryRow>(&keys::delivery(id))?;
        let account = self.account_of(id)?;
        let asked_for = match (row, account) {
            (Some(row), Some(account)) => index_key(&account, id, &row.delivery),
            (_, None) | (None, _) => None,
        };
        self.expect(
            key,
            asked_for.as_deref() == Some(key),
            "an index entry that no delivery asks for",
        );
        Ok(())
    }

    fn run(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if let Some(run) = self.decoded::<Run>(key, value)? {
            self.expect(key, keys::run(&run.scope) == key, "it holds another run");
        }
        Ok(())
    }

    fn document(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let Some(row) = self.decoded::<DocumentRow>(key, value)? else {
            return Ok(());
        };
        let Some(digest) = key.last_chunk::<32>().map(|bytes| Digest::from_bytes(*bytes)) else {
            self.wrong(key, "its key holds no digest");
            return Ok(());
        };
        self.recorded.insert(digest, row.references);
        self.unused_bytes += write::unused_bytes(Some(&row));
        self.verified.documents += 1;
        match self.documents.read(&digest, row.day) {
            Ok(bytes) => {
                let same = u64::try_from(bytes.len()) == Ok(row.bytes);
                self.expect(key, same, "its file has another length than its record says");
            }
            Err(StoreError::Damaged { cause, .. }) => self.wrong(key, &cause),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if self.decoded::<EntryRow>(key, value)?.is_none() {
            return Ok(());
        }
        let Some((object, batch, index)) = place_of_entry(key) else {
            self.wrong(key, "its key holds no place in the trail");
            return Ok(());
        };
        if let Object::Invoice(sequence) = object {
            let is_known =
                self.tree.is_there(&keys::invoice(sequence))? || self.is_being_buried(sequence)?;
            self.expect(key, is_known, "its invoice is gone");
        }
        let link = self.other::<TrailRow>(&keys::trail(batch))?;
        let told = link.and_then(|link| Some(link.links.get(usize::try_from(index).ok()?)?.digest));
        let digest = hash(&[key, &self.tree.whole::<EntryRow>(key, value)?].concat());
        self.expect(key, told == Some(digest), "it is not what the trail says");
        Ok(())
    }

    fn link(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.chain.links += 1;
        let expected = self.chain.links;
        let Some(link) = self.decoded::<TrailRow>(key, value)? else {
            return Ok(());
        };
        self.expect(key, keys::trail(expected) == key, "a link before it is missing");
        let follows = link.previous == self.chain.hash;
        self.expect(key, follows, "it does not follow from the link before");
        self.chain.hash = link.hash();
        self.entries_of(key, &link)?;
        // What follows a gap is told once, not at each link.
        if let Some(sequence) = keys::sequence_at_the_end(key) {
            self.chain.links = sequence.0;
        }
        Ok(())
    }

    /// Whether the entries that a link tells of are there. Only retention may take them, with their invoice.
    fn entries_of(&mut self, key: &[u8], link: &TrailRow) -> Result<(), StoreError> {
        let Some(Sequence(batch)) = self.sequence(key) else {
            return Ok(());
        };
        for (index, Link { object, .. }) in (0..).zip(&link.links) {
            let entry = keys::entry(object, batch, index);
            if self.tree.is_there(&entry)? {
                continue;
            }
            let may_be_gone = match object {
                Object::Invoice(sequence) => !self.tree.is_there(&keys::invoice(*sequence))?,
                Object::Account(_) | Object::Daemon => false,
            };
            let what = format!("it is gone, and link {batch} of the trail tells of it");
            self.expect(&entry, may_be_gone, &what);
        }
        Ok(())
    }

    fn counter(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match keys::text_after(key, 1) {
            // Raw, and compared when the store was opened.
            Some("store-id") => Ok(()),
            Some("sequence" | "clock-seen" | write::ACCOUNTS | write::UNUSED_DOCUMENTS) => {
                self.decoded::<CounterRow>(key, value).map(drop)
            }
            Some(_) | None => {
                self.wrong(key, "a counter that is not known");
                Ok(())
            }
        }
    }

    fn part(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let whole = key
            .get(1..)
            .and_then(|rest| rest.split_last_chunk::<2>())
            .map(|(whole, [_, part])| (whole, *part));
        let belongs = match whole {
            Some((whole, part)) => self
                .tree
                .get(whole)?
                .and_then(|first| first.first().copied())
                .is_some_and(|parts| (1..=parts).contains(&part)),
            None => false,
        };
        self.expect(key, belongs, "a part that its record does not have");
        Ok(())
    }

    /// What can only be said at the end.
    fn finish(mut self) -> Result<Verified, StoreError> {
        let counter = self.other::<CounterRow>(&keys::counter("sequence"))?;
        let came = counter.map_or(0, |CounterRow(last)| last);
        let (last, numbers) = (self.last_sequence, self.numbers);
        if came < last.0 {
            let what = format!("it stands below the last invoice, {last}");
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
            let counter = self.other::<CounterRow>(&keys::counter(name))?;
            let said = counter.map_or(0, |CounterRow(said)| said);
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

    /// How many documents no record names.
    fn left_over(&self) -> Result<u64, StoreError> {
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

    /// The record at hand; what is wrong with it is told.
    fn decoded<R: Record>(&mut self, key: &[u8], value: &[u8]) -> Result<Option<R>, StoreError> {
        match self.tree.decode(key, value) {
            Ok(record) => Ok(Some(record)),
            Err(StoreError::Damaged { cause, .. }) => {
                self.wrong(key, &cause);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Another record; one that is damaged is told where it is at hand.
    fn other<R: Record>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        match self.tree.read(key) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            read => read,
        }
    }

    fn account_of(&self, id: DeliveryId) -> Result<Option<AccountId>, StoreError> {
        let invoice = self.other::<InvoiceRow>(&keys::invoice(id.invoice))?;
        Ok(invoice.map(|row| row.invoice.account))
    }

    fn sequence(&mut self, key: &[u8]) -> Option<Sequence> {
        let sequence = keys::sequence_at_the_end(key);
        self.expect(key, sequence.is_some(), "its key holds no sequence");
        sequence
    }

    fn id_of_delivery(&mut self, key: &[u8]) -> Option<DeliveryId> {
        let id = keys::delivery_at_the_end(key);
        self.expect(key, id.is_some(), "its key holds no delivery");
        id
    }

    fn expect(&mut self, key: &[u8], holds: bool, otherwise: &str) {
        if !holds {
            self.wrong(key, otherwise);
        }
    }

    fn wrong(&mut self, key: &[u8], what: &str) {
        self.found(place(key), what);
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

/// In whose story an entry lies, and its place in the trail.
fn place_of_entry(key: &[u8]) -> Option<(Object, u64, u64)> {
    let (rest, index) = key.get(1..)?.split_last_chunk::<8>()?;
    let (object, batch) = rest.split_last_chunk::<8>()?;
    Some((Object::parse(object)?, u64::from_be_bytes(*batch), u64::from_be_bytes(*index)))
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
