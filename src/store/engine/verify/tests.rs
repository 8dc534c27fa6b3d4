//! A store that holds together, damaged in one place at a time.

use std::collections::BTreeMap;

use super::super::tests::{
    SOON, account, at, change, engine, issue, number, received, snapshot, submit, withdraw_after,
};
use super::*;
use crate::domain::audit::AuditText;
use crate::domain::delivery::Lane;
use crate::domain::id::ScheduleName;
use crate::store::Store as _;
use crate::store::engine::tx::Visit;
use crate::store::memory::MemoryBackend;
use crate::store::record::samples::{Random, Sampled as _};

struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

impl Tree for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let bounds = (Included(from), to.map_or(Unbounded, Excluded));
        for (key, value) in self.0.range::<[u8], _>(bounds) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Map {
    /// The first key of a kind.
    fn first(&self, kind: u8) -> Vec<u8> {
        let mut keys = self.0.keys();
        keys.find(|key| key[0] == kind).unwrap().clone()
    }
}

/// An account too large for one value, with two invoices that are due, each with the same document.
fn sound(directory: &tempfile::TempDir) -> Map {
    let memory = MemoryBackend::new().unwrap();
    let engine = engine(memory.reopen(), directory);
    change(&engine, 1, 20, 0);
    for n in 0..2 {
        issue(&engine, n, 0);
    }
    Map(snapshot(&memory))
}

fn findings(map: &Map, directory: &tempfile::TempDir) -> (Verified, Vec<String>) {
    let documents = Documents::to_be_read(directory.path());
    let mut findings = Vec::new();
    let mut tell = |Finding { place, what }| findings.push(format!("{place}: {what}"));
    let verified = verify(map, &documents, &mut tell).unwrap();
    (verified, findings)
}

#[test]
fn what_was_written_holds_together() {
    let directory = tempfile::tempdir().unwrap();
    let map = sound(&directory);
    let (verified, findings) = findings(&map, &directory);
    assert_eq!(findings, [""; 0]);
    assert_eq!(verified.records, map.0.len() as u64);
    assert_eq!((verified.links, verified.documents), (3, 1));
}

#[test]
fn whatever_is_damaged_or_gone_is_told_by_its_place() {
    type Damage = fn(&mut Map);
    let cases: [(Damage, &str); 15] = [
        (
            |map| {
                *map.0.get_mut(&map.first(kind::ACCOUNT)).unwrap().last_mut().unwrap() ^= 1;
            },
            "account K-1: the checksum does not match",
        ),
        (|map| drop(map.0.remove(&map.first(kind::CONTINUED))), "account K-1: part 1 of "),
        (
            |map| {
                let key = keys::continued(&keys::trail(1), 9);
                map.0.insert(key, vec![1]);
            },
            "part of link of the trail 1: a part that its record does not have",
        ),
        (
            |map| drop(map.0.remove(&map.first(kind::IDENTITY))),
            "invoice 1: its number does not lead to it",
        ),
        (
            |map| drop(map.0.remove(&map.first(kind::INVOICE))),
            "number K-1 R-0: it leads to no invoice of that number",
        ),
        (|map| drop(map.0.remove(&map.first(kind::DELIVERY))), "invoice 1: it has no delivery"),
        (
            |map| drop(map.0.remove(&map.first(kind::DUE))),
            "delivery 1: its state asks for an index entry that is missing",
        ),
        (
            |map| {
                let id = DeliveryId::of_invoice(Sequence(1));
                drop(map.0.insert(keys::due(Lane::Urgent, at(1), id), vec![0]));
            },
            "what is due: an index entry that no delivery asks for",
        ),
        (
            |map| {
                let account = AccountId::parse("K-1").unwrap();
                let schedule = ScheduleName::default();
                map.0.insert(keys::scheduled(&schedule, &account), vec![0]);
            },
            "schedule of account default K-1: an index entry without anything that waits",
        ),
        (
            |map| drop(map.0.remove(&map.first(kind::DOCUMENT))),
            "invoice 1: a document that it names has no record",
        ),
        (
            |map| drop(map.0.remove(&keys::trail(2))),
            "link of the trail 3: a link before it is missing",
        ),
        (
            |map| {
                let key = map.first(kind::ENTRY);
                let mut entry: EntryRow = map.read(&key).unwrap().unwrap();
                entry.entry.reason = Some(AuditText::new("or so they say"));
                let value = [vec![0], entry.encode()].concat();
                map.0.insert(key, value);
            },
            "entry of account K-1: it is not what the trail says",
        ),
        (
            |map| drop(map.0.remove(&map.first(kind::ENTRY))),
            "entry of account K-1: it is gone, and link 1 of the trail tells of it",
        ),
        (
            |map| {
                let value = [vec![0], CounterRow(1).encode()].concat();
                map.0.insert(keys::counter("sequence"), value);
            },
            "the counter of invoices: it stands below the last invoice, 2",
        ),
        (|map| drop(map.0.insert(vec![b'?', 1], vec![0])), "kind 0x3f: a kind that is not known"),
    ];
    for (damage, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let mut map = sound(&directory);
        damage(&mut map);
        let (verified, findings) = findings(&map, &directory);
        assert!(
            findings.iter().any(|finding| finding.starts_with(expected)),
            "{expected}: {findings:#?}"
        );
        assert_eq!(verified.findings, findings.len() as u64);
    }
}

#[test]
fn documents_are_read_and_their_references_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut map = sound(&directory);
    let key = map.first(kind::DOCUMENT);
    let row: DocumentRow = map.read(&key).unwrap().unwrap();
    let digest = Digest::from_bytes(*key.last_chunk::<32>().unwrap());
    let once = DocumentRow { references: 1, ..row.clone() };
    map.0.insert(key.clone(), [vec![0], once.encode()].concat());
    let (_, told) = findings(&map, &directory);
    assert_eq!(told, [format!("document {digest}: 2 invoices name it, and its record says 1")]);

    map.0.insert(key, [vec![0], row.encode()].concat());
    let day = row.day.format("%Y-%m-%d").to_string();
    let file = directory.path().join("documents").join(day);
    let file = file.join(format!("{digest}.sha256"));
    std::fs::write(&file, b"another").unwrap();
    let (_, told) = findings(&map, &directory);
    assert_eq!(told, [format!("document {digest}: its file has other bytes")]);
    let stray = file.with_file_name(format!("{}.sha256", Digest::from_bytes([1; 32])));
    std::fs::rename(&file, stray).unwrap();
    let (verified, told) = findings(&map, &directory);
    assert_eq!(told, [format!("document {digest}: its file is missing")]);
    assert_eq!(verified.left_over, 1);

    std::fs::remove_dir_all(directory.path().join("documents")).unwrap();
    let (_, told) = findings(&map, &directory);
    assert_eq!(told, [format!("document {digest}: its file is missing")]);
}

#[test]
fn nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let map = sound(&directory);
    let half_written = directory.path().join("documents/.incoming/one");
    std::fs::write(&half_written, b"%PDF").unwrap();
    let collected = directory.path().join("documents/2020-01-01");
    std::fs::create_dir(&collected).unwrap();
    let (verified, told) = findings(&map, &directory);
    assert_eq!(told, [""; 0]);
    assert_eq!((verified.left_over, verified.strays), (1, Vec::new()));
    assert!(half_written.is_file() && collected.is_dir());
}

#[test]
fn each_state_of_a_removal_holds_together() {
    let directory = tempfile::tempdir().unwrap();
    let memory = MemoryBackend::new().unwrap();
    let engine = engine(memory.reopen(), &directory);
    change(&engine, 1, 0, 0);
    withdraw_after(&engine, 0, 200);
    issue(&engine, 1, 200);
    let attempt = Attempt::sampled(&mut Random::with_seed(1));
    submit(&memory, move |tx| {
        for ordinal in 0..100 {
            tx.put(&keys::attempt(DeliveryId::of_invoice(Sequence(1)), ordinal), &attempt).unwrap();
        }
    });
    let mut more =
        engine.remove_now(|tx, _| upkeep::bury(tx, Sequence(1), at(50), at(100))).unwrap();
    let mut units = 1;
    while more {
        let (_, told) = findings(&Map(snapshot(&memory)), &directory);
        assert_eq!(told, [""; 0], "after {units} units");
        more = engine.remove_now(|tx, _| upkeep::bury_remains(tx, Sequence(1))).unwrap();
        units += 1;
    }
    assert!(units > 2);
    let (_, told) = findings(&Map(snapshot(&memory)), &directory);
    assert_eq!(told, [""; 0]);
}

/// An invoice that is buried, and one that is due.
fn buried(directory: &tempfile::TempDir) -> Map {
    let memory = MemoryBackend::new().unwrap();
    let engine = engine(memory.reopen(), directory);
    change(&engine, 1, 0, 0);
    withdraw_after(&engine, 0, 0);
    while engine.sweep(&SOON, at(100)).unwrap() {}
    issue(&engine, 1, 200);
    let map = Map(snapshot(&memory));
    let (_, told) = findings(&map, directory);
    assert_eq!(told, [""; 0]);
    map
}

#[test]
fn an_entry_that_is_gone_is_told_though_an_invoice_was_buried() {
    let directory = tempfile::tempdir().unwrap();
    let mut map = buried(&directory);
    map.0.retain(|key, _| key[0] != kind::ENTRY);
    let (_, told) = findings(&map, &directory);
    assert_eq!(
        told,
        [
            "entry of account K-1: it is gone, and link 1 of the trail tells of it",
            "entry of invoice 2: it is gone, and link 4 of the trail tells of it",
        ]
    );
}

#[test]
fn an_invoice_of_which_only_entries_are_left_is_told_by_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut map = buried(&directory);
    for key in [
        keys::identity(&account(), &number(1)),
        keys::invoice(Sequence(2)),
        keys::delivery(DeliveryId::of_invoice(Sequence(2))),
        map.first(kind::DUE),
    ] {
        map.0.remove(&key).unwrap();
    }
    let (_, told) = findings(&map, &directory);
    let expected = [
        "entry of invoice 2: its invoice is gone",
        "the numbers of invoices: 2 invoices came, and 1 are there or left a tombstone",
    ];
    assert_eq!(told[..2], expected);
    assert!(told[2].ends_with("0 invoices name it, and its record says 1"));
}

#[test]
fn a_tombstone_that_is_gone_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut map = buried(&directory);
    map.0.remove(&map.first(kind::IDENTITY)).unwrap();
    let (_, told) = findings(&map, &directory);
    assert_eq!(
        told,
        ["the numbers of invoices: 2 invoices came, and 1 are there or left a tombstone"]
    );
}

#[test]
fn a_withdrawal_that_came_first_stands_for_no_invoice() {
    let directory = tempfile::tempdir().unwrap();
    let memory = MemoryBackend::new().unwrap();
    let engine = engine(memory.reopen(), &directory);
    change(&engine, 1, 0, 0);
    issue(&engine, 0, 0);
    engine.withdraw(received("first", 1), account(), number(7)).wait().unwrap();
    let mut map = Map(snapshot(&memory));
    let (_, told) = findings(&map, &directory);
    assert_eq!(told, [""; 0]);
    map.0.remove(&keys::identity(&account(), &number(0))).unwrap();
    let (_, told) = findings(&map, &directory);
    assert!(told.iter().any(|told| told.starts_with("the numbers of invoices: 1 ")), "{told:?}");
}

#[test]
fn a_mark_of_removal_with_its_invoice_still_there_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut map = buried(&directory);
    map.0.insert(keys::burying(Sequence(2)), vec![0]);
    let (_, told) = findings(&map, &directory);
    assert_eq!(told, ["what is left of invoice 2: the invoice is not gone"]);
}

#[test]
fn strange_files_among_the_documents_are_named_and_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let map = sound(&directory);
    let stray = directory.path().join("documents/2020-01-01");
    std::fs::write(&stray, b"").unwrap();
    let (verified, told) = findings(&map, &directory);
    assert_eq!((told, verified.left_over), (Vec::new(), 0));
    assert_eq!(verified.strays, [stray]);
}
