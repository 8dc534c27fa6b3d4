//! Documents, retention and lists.

use std::time::Duration;

use invoice_router::domain::audit::Actor;
use invoice_router::domain::delivery::Verdict;
use invoice_router::domain::invoice::{Documents, Invoice};
use invoice_router::store::{DocumentAnswer, InvoiceView, IssueAnswer, PauseScope, StoreError};

use super::sample::{self, digest, document, invoice, profile, urgent};
use super::world::{DAY, Medium, Passage, World};

contract![
    a_document_is_kept_until_nobody_has_referred_to_it_for_days,
    nothing_is_removed_while_that_is_paused,
    what_the_clock_said_last_is_remembered,
    a_document_that_is_put_again_is_kept_anew,
    a_document_stays_while_one_invoice_refers_to_it,
    an_invoice_needs_all_its_documents,
    twenty_documents_are_kept_and_let_go,
    documents_without_an_invoice_have_a_bound,
    what_retention_lets_go_of_takes_no_place_from_what_is_to_be_billed,
    an_invoice_with_a_long_story_is_swept_too,
    a_store_keeps_its_id,
];

fn documents_without_an_invoice_have_a_bound(world: &mut World) {
    world.rules.unused_documents_bytes = 2 * 4096 + 5_000;
    world.reopen();
    world.account("K-1", 1, profile());
    assert_eq!(world.put(b"small"), DocumentAnswer::Stored);
    assert_eq!(world.put(&[7; 5_000]), DocumentAnswer::Stored);
    assert_eq!(world.put(sample::PDF), DocumentAnswer::Stored);
    assert_eq!(world.put(b"one more"), DocumentAnswer::TooMany);
    assert!(!is_kept(world, b"one more"));
    assert_eq!(world.put(b"small"), DocumentAnswer::Duplicate);
    world.take(urgent("K-1", "RE-1"));
    assert_eq!(world.put(b"one more"), DocumentAnswer::Stored);
    assert_eq!(world.put(b"another"), DocumentAnswer::TooMany);
    world.pass(8 * DAY);
    world.sweep();
    assert_eq!(world.put(b"another"), DocumentAnswer::Stored);
}

fn what_retention_lets_go_of_takes_no_place_from_what_is_to_be_billed(world: &mut World) {
    world.rules.unused_documents_bytes = 4096;
    world.reopen();
    world.account("K-1", 1, profile());
    world.take(urgent("K-1", "RE-1"));
    world.withdraw("K-1", "RE-1");
    world.pass(31 * DAY);
    world.sweep();
    assert!(is_kept(world, sample::PDF), "for some days yet");
    assert_eq!(world.put(b"new"), DocumentAnswer::Stored);
    assert_eq!(world.put(b"one more"), DocumentAnswer::TooMany);
}

fn is_kept(world: &mut World, bytes: &[u8]) -> bool {
    let kept = world.step().document(&digest(bytes)).unwrap();
    assert!(kept.as_ref().is_none_or(|kept| kept == bytes));
    kept.is_some()
}

/// An invoice with these documents.
fn with_documents(raw: &str, documents: &[&[u8]]) -> Invoice {
    let documents =
        (0..).zip(documents).map(|(n, bytes)| document(bytes, &format!("page-{n}.pdf"))).collect();
    Invoice { documents: Documents::parse(documents).unwrap(), ..urgent("K-1", raw) }
}

fn a_document_is_kept_until_nobody_has_referred_to_it_for_days(world: &mut World) {
    assert!(!is_kept(world, b"one"));
    assert_eq!(world.put(b"one"), DocumentAnswer::Stored);
    assert_eq!(world.put(b"one"), DocumentAnswer::Duplicate);
    world.pass(7 * DAY);
    world.sweep();
    assert!(is_kept(world, b"one"));
    world.pass(Duration::from_millis(1));
    world.sweep();
    assert!(!is_kept(world, b"one"));
    assert_eq!(world.put(b"one"), DocumentAnswer::Stored);
    assert!(is_kept(world, b"one"));
}

fn nothing_is_removed_while_that_is_paused(world: &mut World) {
    world.put(b"one");
    world.pass(8 * DAY);
    let (scope, now) = (PauseScope::Removal, world.now);
    let anna = || Actor::Operator("anna".to_owned());
    let paused = world.step().pause(scope.clone(), "an audit".to_owned(), anna(), now);
    assert_eq!(paused.wait(), Ok(true));
    world.sweep();
    assert!(is_kept(world, b"one"));
    let resumed = world.step().resume(scope, None, anna(), now);
    assert_eq!(resumed.wait(), Ok(true));
    world.sweep();
    assert!(!is_kept(world, b"one"));
}

fn what_the_clock_said_last_is_remembered(world: &mut World) {
    assert_eq!(world.step().clock_seen(), Ok(None));
    for day in 0..2 {
        world.pass(day * DAY);
        let now = world.now;
        world.step().note_clock(now).wait().unwrap();
        assert_eq!(world.step().clock_seen(), Ok(Some(now)));
    }
}

fn a_document_that_is_put_again_is_kept_anew(world: &mut World) {
    world.put(b"one");
    world.pass(6 * DAY);
    world.put(b"one");
    world.pass(6 * DAY);
    world.sweep();
    assert!(is_kept(world, b"one"));
    world.pass(2 * DAY);
    world.sweep();
    assert!(!is_kept(world, b"one"));
}

fn a_document_stays_while_one_invoice_refers_to_it(world: &mut World) {
    world.account("K-1", 1, profile());
    world.put(b"one");
    world.issue(with_documents("R-1", &[b"one", b"one"]));
    world.pass(20 * DAY);
    world.issue(with_documents("R-2", &[b"one"]));
    world.withdraw("K-1", "R-1");
    world.pass(31 * DAY);
    world.sweep();
    assert!(is_kept(world, b"one"), "the second refers to it");
    world.withdraw("K-1", "R-2");
    world.pass(31 * DAY);
    world.sweep();
    assert!(is_kept(world, b"one"), "its days begin now");
    world.pass(8 * DAY);
    world.sweep();
    assert!(!is_kept(world, b"one"));
}

fn an_invoice_needs_all_its_documents(world: &mut World) {
    world.account("K-1", 1, profile());
    world.put(b"one");
    let answer = world.issue(with_documents("R-1", &[b"three", b"one", b"two"]));
    let mut missing = vec![digest(b"three"), digest(b"two")];
    missing.sort();
    assert_eq!(answer, IssueAnswer::DocumentsMissing(missing));
    assert!(world.look("K-1", "R-1").is_none());
    world.pass(8 * DAY);
    world.sweep();
    assert!(!is_kept(world, b"one"), "a refused invoice refers to nothing");
}

fn twenty_documents_are_kept_and_let_go(world: &mut World) {
    world.account("K-1", 1, profile());
    let bytes: Vec<Vec<u8>> = (0..20).map(|n| vec![n; 1_000]).collect();
    world.at_a_stretch(|world| {
        for bytes in &bytes {
            world.put(bytes);
        }
    });
    let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let answer = world.issue(with_documents("R-1", &slices));
    assert!(matches!(answer, IssueAnswer::Applied(_)), "{answer:?}");
    let sequence = world.due()[0];
    world.attempt(sequence, Verdict::Accepted);
    world.pass(30 * DAY);
    world.sweep();
    assert!(is_kept(world, &bytes[19]));
    world.pass(DAY);
    world.sweep();
    world.pass(8 * DAY);
    world.sweep();
    assert!(bytes.iter().all(|bytes| !is_kept(world, bytes)));
}

fn an_invoice_with_a_long_story_is_swept_too(world: &mut World) {
    world.account("K-1", 1, profile());
    world.take(urgent("K-1", "R-1"));
    world.at_a_stretch(|world| {
        for _ in 0..80 {
            world.hold("K-1", "R-1");
            let release = invoice_router::store::Command::Release { now: false };
            world.obey("K-1", "R-1", release);
        }
    });
    assert_eq!(world.view("K-1", "R-1").story.len(), 161);
    world.withdraw("K-1", "R-1");
    world.pass(31 * DAY);
    world.sweep();
    let view = world.look("K-1", "R-1");
    assert!(matches!(view, Some(InvoiceView::Tombstone { .. })), "{view:?}");
}

fn a_store_keeps_its_id(world: &mut World) {
    let first = world.step().id();
    world.account("K-1", 1, profile());
    assert_eq!(world.step().id(), first);
    assert_eq!(world.step().health().failure, None);
}

#[test]
fn a_full_disk_refuses_what_is_new_and_lets_retention_make_room() {
    let mut world = World::new(Medium::Sled, Passage::Straight);
    world.put(b"one");
    world.put(sample::PDF);
    world.fill_the_disk();
    let now = world.now;
    let event = world.event();
    let store = world.store();
    let put = store.put_document(digest(b"two"), b"two", now).wait();
    assert_eq!(put, Err(StoreError::DiskFull));
    let issued = store.issue(event, invoice("K-1", "R-1")).wait();
    assert_eq!(issued, Err(StoreError::DiskFull));
    drop(store);
    assert!(world.look("K-1", "R-1").is_none());
    world.pass(8 * DAY);
    world.sweep();
    assert!(!is_kept(&mut world, b"one"));
}
