//! Documents, retention and lists.

use std::time::Duration;

use invoice_router::domain::audit::Actor;
use invoice_router::domain::delivery::{HoldReason, Shown, Verdict};
use invoice_router::domain::id::Sequence;
use invoice_router::domain::invoice::{Documents, Invoice};
use invoice_router::store::{
    DocumentAnswer, Filter, InvoiceView, IssueAnswer, Page, PauseScope, StoreError, WithdrawAnswer,
};

use super::sample::{
    self, day, digest, document, id, invoice, number, of_schedule, profile, urgent,
};
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
    a_finished_invoice_leaves_its_tombstone,
    what_is_not_finished_is_never_swept,
    an_invoice_with_a_long_story_is_swept_too,
    the_same_content_is_a_duplicate_and_other_content_a_conflict,
    a_list_of_invoices_is_filtered,
    a_list_goes_on_where_its_page_ended,
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

fn a_finished_invoice_leaves_its_tombstone(world: &mut World) {
    world.account("K-1", 1, profile());
    let event = world.event();
    let sequence = world.take(urgent("K-1", "R-1"));
    world.attempt(sequence, Verdict::Accepted);
    world.pass(30 * DAY);
    world.sweep();
    assert_eq!(world.state("K-1", "R-1"), Shown::Delivered);
    world.pass(DAY);
    world.sweep();
    let buried = world.now;
    let Some(InvoiceView::Tombstone { state, at }) = world.look("K-1", "R-1") else {
        panic!("it is a tombstone");
    };
    assert_eq!((state, at), (Shown::Delivered, buried));
    assert!(world.step().job(sequence).unwrap().is_none());

    // A year later, when its event and its documents are forgotten.
    world.pass(365 * DAY);
    world.sweep();
    let repeated = event.clone();
    world.put(sample::PDF);
    let answer = world.issue_as(repeated, urgent("K-1", "R-1"));
    let invoice_router::store::Judged::New(IssueAnswer::Duplicate(standing)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(standing.state, Shown::Delivered);
    let answer = world.issue(invoice("K-1", "R-1"));
    let (state, differs) = (Shown::Delivered, Vec::new());
    assert_eq!(answer, IssueAnswer::Conflict { state, differs });
    let answer = world.withdraw("K-1", "R-1");
    assert_eq!(answer, WithdrawAnswer::AlreadySent { state });
    assert!(world.due().is_empty());
    assert!(list(world, &Filter::default()).is_empty());

    // Its place is not given away again.
    assert!(world.take(urgent("K-1", "R-2")) > sequence);
}

fn what_is_not_finished_is_never_swept(world: &mut World) {
    world.take(urgent("K-9", "parked"));
    world.account("K-1", 1, profile());
    world.take(invoice("K-1", "waiting"));
    let due = world.take(urgent("K-1", "due"));
    world.take(urgent("K-1", "held"));
    world.hold("K-1", "held");
    let sending = world.take(urgent("K-1", "sending"));
    world.begin(sending);
    world.pass(3_650 * DAY);
    world.sweep();
    for (account, raw) in
        [("K-9", "parked"), ("K-1", "waiting"), ("K-1", "due"), ("K-1", "held"), ("K-1", "sending")]
    {
        assert_eq!(world.state(account, raw).as_str(), raw);
    }
    assert_eq!(world.due(), [due]);
    assert!(is_kept(world, sample::PDF));
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

fn the_same_content_is_a_duplicate_and_other_content_a_conflict(world: &mut World) {
    world.account("K-1", 1, profile());
    world.take(invoice("K-1", "R-1"));
    let answer = world.issue(invoice("K-1", "R-1"));
    assert!(matches!(answer, IssueAnswer::Duplicate(_)), "{answer:?}");
    let other = Invoice { due_on: Some(day("2026-12-07")), ..urgent("K-1", "R-1") };
    let (state, differs) = (Shown::Waiting, vec!["due_on", "release"]);
    assert_eq!(world.issue(other), IssueAnswer::Conflict { state, differs });
    world.account("K-2", 1, profile());
    world.take(invoice("K-2", "R-1"));
}

fn list(world: &mut World, filter: &Filter) -> Vec<String> {
    let page = world.step().invoices(filter, None, 100).unwrap();
    assert_eq!(page.next, None);
    numbers(&page)
}

fn numbers(page: &Page) -> Vec<String> {
    page.items.iter().map(|listed| listed.invoice.number.to_string()).collect()
}

fn a_list_of_invoices_is_filtered(world: &mut World) {
    world.account("K-1", 1, profile());
    world.account("K-2", 1, profile());
    world.take(invoice("K-2", "R-9"));
    world.take(Invoice { issued_on: day("2026-11-01"), ..invoice("K-1", "R-1") });
    world.pass(DAY);
    let since = world.now;
    world.take(urgent("K-1", "R-2"));
    world.hold("K-2", "R-9");
    let all = Filter::default();
    assert_eq!(list(world, &all), ["R-9", "R-1", "R-2"]);
    let of = |account: &str| Filter { account: Some(id(account)), ..Filter::default() };
    assert_eq!(list(world, &of("K-1")), ["R-1", "R-2"]);
    assert!(list(world, &of("K-3")).is_empty());
    let numbered = Filter { number: Some(number("R-1")), ..all.clone() };
    assert_eq!(list(world, &numbered), ["R-1"]);
    let both = Filter { number: Some(number("R-1")), ..of("K-2") };
    assert!(list(world, &both).is_empty());
    let changed = Filter { changed_since: Some(since), ..all.clone() };
    assert_eq!(list(world, &changed), ["R-9", "R-2"]);
    let issued = |from: &str, to: &str| Filter {
        issued_from: Some(day(from)),
        issued_to: Some(day(to)),
        ..Filter::default()
    };
    assert_eq!(list(world, &issued("2026-11-01", "2026-11-22")), ["R-1"]);
    assert_eq!(list(world, &issued("2026-11-02", "2026-11-23")), ["R-9", "R-2"]);

    let in_state = |state| Filter { state: Some(state), ..Filter::default() };
    assert_eq!(list(world, &in_state(Shown::Waiting)), ["R-1"]);
    world.release(of_schedule("default"));
    assert!(list(world, &in_state(Shown::Waiting)).is_empty());
    assert_eq!(list(world, &in_state(Shown::Due)), ["R-1", "R-2"]);
    let held = world.step().invoices(&in_state(Shown::Held), None, 10).unwrap();
    let expected =
        HoldReason::Operator { name: "anna".to_owned(), reason: "look at it".to_owned() };
    assert_eq!(held.items[0].hold, Some(expected));
}

fn a_list_goes_on_where_its_page_ended(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequences: Vec<Sequence> =
        (0..5).map(|n| world.take(invoice("K-1", &format!("R-{n}"))).invoice).collect();
    for filter in [Filter::default(), Filter { account: Some(id("K-1")), ..Filter::default() }] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = world.step().invoices(&filter, after, 2).unwrap();
            seen.extend(page.items.iter().map(|listed| listed.sequence));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, sequences);
    }
    // What a page ended with may have gone since.
    world.withdraw("K-1", "R-1");
    world.pass(31 * DAY);
    world.sweep();
    let page = world.step().invoices(&Filter::default(), Some(sequences[1]), 2).unwrap();
    assert_eq!(numbers(&page), ["R-2", "R-3"]);
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
