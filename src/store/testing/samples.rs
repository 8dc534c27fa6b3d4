//! What the tests of every backend need: small units of work and a look at the audit log.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::mpsc::{self, Receiver};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::super::engine::backend::{Backend, Priority};
use super::super::engine::keys::{self, Object, kind};
use super::super::engine::tx::{Answerer, KeyValue, Records as _, Tree, Tx, Unit, Visit, met};
use super::super::record::{ChainRow, CounterRow, EntryRow};
use super::super::{Received, Result, Rules};
use super::test_rules;
use crate::domain::account::{BillingGroups, Profile};
use crate::domain::address::{EmailAddress, FileName, HeaderText};
use crate::domain::audit::{Actor, AuditEntry, AuditEvent, AuditText, PausedScope};
use crate::domain::contact::{Addresses, Contact};
use crate::domain::id::{AccountId, Digest, Group, InvoiceNumber, SenderName, WebhookId};
use crate::domain::invoice::{Document, Documents, Invoice, Kind, MediaType, Release};
use crate::domain::money::{Currency, Money};

/// Where the answer to a unit arrives; it is closed without one if the unit was dropped.
pub(crate) type Answer = Receiver<Result<()>>;

/// A unit that does `work`.
pub(crate) fn unit(work: impl FnOnce(&mut Tx<'_>) + Send + 'static) -> (Unit, Answer) {
    let (sender, answer) = mpsc::channel();
    let unit = Box::new(|tx: &mut Tx<'_>| {
        work(tx);
        Box::new(move |result| {
            // A test may not care.
            let _ = sender.send(result);
        }) as Answerer
    });
    (unit, answer)
}

/// What a database holds.
pub(crate) type Map = BTreeMap<Vec<u8>, Vec<u8>>;

impl Tree for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get(key).cloned())
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<()> {
        let bounds = (Included(from), to.map_or(Unbounded, Excluded));
        for (key, value) in self.range::<[u8], _>(bounds) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The rules of a house with one billing group, `billing`.
pub(crate) fn rules() -> Rules {
    test_rules(BillingGroups::new([Group::parse("billing").unwrap()]).unwrap())
}

/// Raises a counter by one and writes an audit entry.
pub(crate) fn count(tx: &mut Tx<'_>, name: &str) {
    let value = counted(tx, name) + 1;
    tx.put(&keys::counter(name), &CounterRow(value)).unwrap();
    tx.tell(Object::Daemon, entry(format!("counted {name} to {value}")));
}

/// An audit entry.
pub(crate) fn entry(reason: impl AsRef<str>) -> AuditEntry {
    let event = AuditEvent::Paused { scope: PausedScope::Everything };
    let reason = Some(AuditText::new(reason));
    AuditEntry { at: DateTime::UNIX_EPOCH, actor: Actor::Daemon, event, reason }
}

/// The value of a counter.
pub(crate) fn counted(tree: &dyn Tree, name: &str) -> u64 {
    tree.read(&keys::counter(name)).unwrap().map_or(0, |CounterRow(value)| value)
}

/// Commits a unit and waits for its answer.
pub(crate) fn commit(
    backend: &impl Backend,
    work: impl FnOnce(&mut Tx<'_>) + Send + 'static,
) -> Result<()> {
    let (unit, answer) = unit(work);
    backend.submit(Priority::Intake, unit)?;
    answer.recv().unwrap()
}

/// Everything that begins with `prefix`.
pub(crate) fn all(tree: &dyn Tree, prefix: &[u8]) -> Vec<KeyValue> {
    tree.scan(prefix, None, usize::MAX, met).unwrap()
}

/// Checks that each link of the chain holds the one before, and that the histories are exactly what the
/// links say. Returns the number of links.
pub(crate) fn verify_trail(tree: &dyn Tree) -> u64 {
    let mut links = Vec::new();
    let mut previous = [0; 32];
    for (batch, (key, value)) in (1..).zip(all(tree, &[kind::CHAIN])) {
        assert_eq!(key, keys::trail(batch), "no link is missing");
        let link: ChainRow = tree.decode(&key, &value).unwrap();
        assert_eq!(link.previous, previous, "link {batch} follows");
        previous = link.hash();
        links.push(link.links);
    }
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    let mut told = 0;
    for (key, value) in all(tree, &[kind::ENTRY]) {
        let entry = tree.whole::<EntryRow>(&key, &value).unwrap();
        let (rest, index) = key.split_at(key.len() - 8);
        let batch = number(&rest[rest.len() - 8..]);
        let digest: [u8; 32] = Sha256::digest([key.as_slice(), &entry].concat()).into();
        let link = &links[usize::try_from(batch - 1).unwrap()];
        assert_eq!(link[usize::try_from(number(index)).unwrap()].digest, digest);
        told += 1;
    }
    assert_eq!(links.iter().map(Vec::len).sum::<usize>(), told);
    links.len() as u64
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

pub(crate) fn account() -> AccountId {
    AccountId::parse("K-1").unwrap()
}

pub(crate) fn received(id: &str, body: &[u8], at: DateTime<Utc>) -> Received {
    let (sender, id) = (SenderName::parse("portal").unwrap(), WebhookId::parse(id).unwrap());
    Received { sender, id, body: Digest::of(body), at }
}

pub(crate) fn contact<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Contact {
    let addresses = addresses.into_iter().map(|address| EmailAddress::parse(address).unwrap());
    Contact {
        name: HeaderText::parse("Erika Muster").unwrap(),
        company: None,
        language: None,
        addresses: Addresses::parse(addresses.collect()).unwrap(),
    }
}

pub(crate) fn profile(main_contact: Contact) -> Profile {
    Profile {
        name: None,
        language: None,
        schedule: None,
        main_contact,
        sub_users: BTreeMap::new(),
        billing_contact: None,
    }
}

pub(crate) fn invoice(
    account: AccountId,
    number: &str,
    release: Release,
    digest: Digest,
    at: DateTime<Utc>,
) -> Invoice {
    Invoice {
        account,
        number: InvoiceNumber::parse(number).unwrap(),
        kind: Kind::Invoice,
        issued_on: at.date_naive(),
        due_on: None,
        total: Money::from_minor(11_900, Currency::parse("EUR").unwrap()),
        release,
        min_account_version: None,
        portal_url: None,
        documents: Documents::parse(vec![Document {
            digest,
            file_name: FileName::parse("rechnung.pdf").unwrap(),
            media_type: MediaType::parse("application/pdf").unwrap(),
        }])
        .unwrap(),
    }
}
