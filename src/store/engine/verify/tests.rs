//! A store that holds together, damaged in one place at a time.

use super::super::tests::{
    Home, SOON, account, at, change, issue, number, received, withdraw_after,
};
use super::*;
use crate::domain::audit::AuditText;
use crate::domain::delivery::Lane;
use crate::domain::id::ScheduleName;
use crate::store::Store as _;
use crate::store::record::samples::{Random, Sampled as _};
use crate::store::testing::samples::Map;

/// The first key of a kind.
fn first(map: &Map, kind: u8) -> Vec<u8> {
    map.keys().find(|key| key[0] == kind).unwrap().clone()
}

/// Writes a record in one part.
fn put(map: &mut Map, key: Vec<u8>, record: &impl Record) {
    map.insert(key, [vec![0], record.encode()].concat());
}

/// An account too large for one value, with two invoices that are due, each with the same document.
fn sound() -> (Home, Map) {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 20, 0);
    for n in 0..2 {
        issue(&engine, n, 0);
    }
    let map = home.snapshot();
    (home, map)
}

/// An invoice that is purged, and one that is due.
fn purged() -> (Home, Map) {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 0, 0);
    withdraw_after(&engine, 0, 0);
    while engine.sweep(&SOON, at(100)).unwrap() {}
    issue(&engine, 1, 200);
    let map = home.snapshot();
    assert_eq!(findings(&home, &map).1, [""; 0]);
    (home, map)
}

fn findings(home: &Home, map: &Map) -> (Verified, Vec<String>) {
    let documents = DocumentFiles::to_be_read(home.directory.path());
    let mut findings = Vec::new();
    let mut tell = |Finding { place, what }| findings.push(format!("{place}: {what}"));
    let verified = verify(map, &documents, &mut tell).unwrap();
    (verified, findings)
}

#[test]
fn what_was_written_holds_together() {
    let (home, map) = sound();
    let (verified, findings) = findings(&home, &map);
    assert_eq!(findings, [""; 0]);
    assert_eq!(verified.records, map.len() as u64);
    assert_eq!((verified.links, verified.documents), (3, 1));
}

#[test]
fn whatever_is_damaged_or_gone_is_told_by_its_place() {
    type Damage = fn(&mut Map);
    let cases: [(Damage, &str); 15] = [
        (
            |map| {
                *map.get_mut(&first(map, kind::ACCOUNT)).unwrap().last_mut().unwrap() ^= 1;
            },
            "account K-1: the checksum does not match",
        ),
        (|map| drop(map.remove(&first(map, kind::CONTINUED))), "account K-1: part 1 of "),
        (
            |map| {
                let key = keys::continued(&keys::trail(1), 9);
                map.insert(key, vec![1]);
            },
            "part of link of the hash chain 1: a part that its record does not have",
        ),
        (
            |map| drop(map.remove(&first(map, kind::IDENTITY))),
            "invoice 1: its number does not lead to it",
        ),
        (
            |map| drop(map.remove(&first(map, kind::INVOICE))),
            "number K-1 R-0: it leads to no invoice of that number",
        ),
        (|map| drop(map.remove(&first(map, kind::DELIVERY))), "invoice 1: it has no delivery"),
        (
            |map| drop(map.remove(&first(map, kind::DUE))),
            "delivery 1: its state asks for an index entry that is missing",
        ),
        (
            |map| {
                let id = DeliveryId::of_invoice(Sequence(1));
                drop(map.insert(keys::due(Lane::Urgent, at(1), id), vec![0]));
            },
            "what is due: an index entry that no delivery asks for",
        ),
        (
            |map| {
                let account = AccountId::parse("K-1").unwrap();
                let schedule = ScheduleName::default();
                map.insert(keys::scheduled(&schedule, &account), vec![0]);
            },
            "schedule of account default K-1: an index entry without anything that waits",
        ),
        (
            |map| drop(map.remove(&first(map, kind::DOCUMENT))),
            "invoice 1: a document that it names has no record",
        ),
        (
            |map| drop(map.remove(&keys::trail(2))),
            "link of the hash chain 3: a link before it is missing",
        ),
        (
            |map| {
                let key = first(map, kind::ENTRY);
                let mut entry: EntryRow = map.read(&key).unwrap().unwrap();
                entry.entry.reason = Some(AuditText::new("or so they say"));
                put(map, key, &entry);
            },
            "entry of account K-1: it does not match its digest in the hash chain",
        ),
        (
            |map| drop(map.remove(&first(map, kind::ENTRY))),
            "entry of account K-1: it is missing, but link 1 of the hash chain names it",
        ),
        (
            |map| {
                put(map, keys::counter("sequence"), &CounterRow(1));
            },
            "the counter of invoices: it is below the last invoice, 2",
        ),
        (|map| drop(map.insert(vec![b'?', 1], vec![0])), "kind 0x3f: a kind that is not known"),
    ];
    for (damage, expected) in cases {
        let (home, mut map) = sound();
        damage(&mut map);
        let (verified, findings) = findings(&home, &map);
        assert!(
            findings.iter().any(|finding| finding.starts_with(expected)),
            "{expected}: {findings:#?}"
        );
        assert_eq!(verified.findings, findings.len() as u64);
    }
}

#[test]
fn documents_are_read_and_their_references_counted() {
    let (home, mut map) = sound();
    let key = first(&map, kind::DOCUMENT);
    let row: DocumentRow = map.read(&key).unwrap().unwrap();
    let digest = Digest::from_bytes(*key.last_chunk::<32>().unwrap());
    let once = DocumentRow { references: 1, ..row.clone() };
    put(&mut map, key.clone(), &once);
    let (_, told) = findings(&home, &map);
    assert_eq!(told, [format!("document {digest}: 2 invoices name it, and its record says 1")]);

    put(&mut map, key, &row);
    let day = row.day.format("%Y-%m-%d").to_string();
    let file = home.directory.path().join("documents").join(day);
    let file = file.join(format!("{digest}.sha256"));
    std::fs::write(&file, b"another").unwrap();
    let (_, told) = findings(&home, &map);
    assert_eq!(told, [format!("document {digest}: its file has other bytes")]);
    let stray = file.with_file_name(format!("{}.sha256", Digest::from_bytes([1; 32])));
    std::fs::rename(&file, stray).unwrap();
    let (verified, told) = findings(&home, &map);
    assert_eq!(told, [format!("document {digest}: its file is missing")]);
    assert_eq!(verified.left_over, 1);

    std::fs::remove_dir_all(home.directory.path().join("documents")).unwrap();
    let (_, told) = findings(&home, &map);
    assert_eq!(told, [format!("document {digest}: its file is missing")]);
}

#[test]
fn nothing_is_changed() {
    let (home, map) = sound();
    let half_written = home.directory.path().join("documents/.incoming/one");
    std::fs::write(&half_written, b"%PDF").unwrap();
    let collected = home.directory.path().join("documents/2020-01-01");
    std::fs::create_dir(&collected).unwrap();
    let (verified, told) = findings(&home, &map);
    assert_eq!(told, [""; 0]);
    assert_eq!((verified.left_over, verified.strays), (1, Vec::new()));
    assert!(half_written.is_file() && collected.is_dir());
}

#[test]
fn each_state_of_a_removal_holds_together() {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 0, 0);
    withdraw_after(&engine, 0, 200);
    issue(&engine, 1, 200);
    let attempt = Attempt::sampled(&mut Random::with_seed(1));
    home.submit(move |tx| {
        for ordinal in 0..100 {
            tx.put(&keys::attempt(DeliveryId::of_invoice(Sequence(1)), ordinal), &attempt).unwrap();
        }
    });
    let mut more = engine.remove_now(|tx| upkeep::purge(tx, Sequence(1), at(50), at(100))).unwrap();
    let mut units = 1;
    while more {
        let (_, told) = findings(&home, &home.snapshot());
        assert_eq!(told, [""; 0], "after {units} units");
        more = engine.remove_now(|tx| upkeep::purge_remains(tx, Sequence(1))).unwrap();
        units += 1;
    }
    assert!(units > 2);
    let (_, told) = findings(&home, &home.snapshot());
    assert_eq!(told, [""; 0]);
}

#[test]
fn what_is_missing_beside_an_invoice_that_was_buried_is_told() {
    type Damage = fn(&mut Map);
    let cases: [(Damage, &[&str]); 3] = [
        (
            |map| map.retain(|key, _| key[0] != kind::ENTRY),
            &[
                "entry of account K-1: it is missing, but link 1 of the hash chain names it",
                "entry of invoice 2: it is missing, but link 4 of the hash chain names it",
            ],
        ),
        (
            |map| drop(map.remove(&first(map, kind::IDENTITY))),
            &["the numbers of invoices: 2 invoices came, and 1 are there or left a tombstone"],
        ),
        (
            |map| drop(map.insert(keys::purging(Sequence(2)), vec![0])),
            &["the remains of invoice 2: the invoice is not gone"],
        ),
    ];
    for (damage, expected) in cases {
        let (home, mut map) = purged();
        damage(&mut map);
        assert_eq!(findings(&home, &map).1, expected);
    }
}

#[test]
fn an_invoice_of_which_only_entries_are_left_is_told_by_them() {
    let (home, mut map) = purged();
    for key in [
        keys::identity(&account(), &number(1)),
        keys::invoice(Sequence(2)),
        keys::delivery(DeliveryId::of_invoice(Sequence(2))),
        first(&map, kind::DUE),
    ] {
        map.remove(&key).unwrap();
    }
    let (_, told) = findings(&home, &map);
    let expected = [
        "entry of invoice 2: its invoice is gone",
        "the numbers of invoices: 2 invoices came, and 1 are there or left a tombstone",
    ];
    assert_eq!(told[..2], expected);
    assert!(told[2].ends_with("0 invoices name it, and its record says 1"));
}

#[test]
fn a_withdrawal_that_came_first_stands_for_no_invoice() {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 0, 0);
    issue(&engine, 0, 0);
    engine.withdraw(received("first", 1), account(), number(7)).wait().unwrap();
    let mut map = home.snapshot();
    let (_, told) = findings(&home, &map);
    assert_eq!(told, [""; 0]);
    map.remove(&keys::identity(&account(), &number(0))).unwrap();
    let (_, told) = findings(&home, &map);
    assert!(told.iter().any(|told| told.starts_with("the numbers of invoices: 1 ")), "{told:?}");
}

#[test]
fn strange_files_among_the_documents_are_named_and_no_damage() {
    let (home, map) = sound();
    let stray = home.directory.path().join("documents/2020-01-01");
    std::fs::write(&stray, b"").unwrap();
    let (verified, told) = findings(&home, &map);
    assert_eq!((told, verified.left_over), (Vec::new(), 0));
    assert_eq!(verified.strays, [stray]);
}
