//! What retention removes is removed whole, in however many units and over a crash, and one damaged record
//! stands in the way of no other.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn a_removal_that_was_cut_off_is_a_tombstone_at_once_and_goes_on_after_a_start() {
    let home = Home::new();
    let store = home.open();
    change(&store, 1, 0, 0);
    withdraw_after(&store, 0, 200);
    let mut states = Vec::new();
    let purge = |tx: &mut Tx<'_>| upkeep::purge(tx, Sequence(1), at(50), at(100));
    let mut more = store.remove_now(purge).unwrap();
    while more {
        states.push(home.snapshot());
        let view = store.invoice(&account(), &number(0)).unwrap();
        assert!(matches!(view, Some(InvoiceView::Tombstone { .. })), "{view:?}");
        let page = store.invoices(&Filter::default(), None, 10).unwrap();
        assert!(page.items.is_empty(), "{:?}", page.items);
        let (trail, _) = store.audit(AuditOrder::NewestFirst, None, 10).unwrap();
        assert_eq!(trail.len(), 1, "the account's change");
        more = store.remove_now(|tx| upkeep::purge_remains(tx, Sequence(1))).unwrap();
    }
    assert!(states.len() > 2, "it took {} units more", states.len());
    let whole = home.snapshot();
    for (before, after) in states.iter().zip(states[1..].iter().chain([&whole])) {
        let removed = before.len() - after.len();
        assert!((1..tx::BATCH_OPERATIONS).contains(&removed), "{removed} keys");
    }
    let left = |kind| whole.keys().filter(|key| key[0] == kind).count();
    assert_eq!(left(keys::kind::PURGING), 0);
    assert_eq!(left(keys::kind::ENTRY), 1);

    for state in states {
        let home = Home::new();
        home.fill(state);
        let reopened = home.open();
        while reopened.sweep(&SOON, at(100)).unwrap() {}
        assert_eq!(home.snapshot(), whole);
    }
}

#[test]
fn a_removal_that_was_decided_before_a_pause_removes_nothing_after_it() {
    let home = Home::new();
    let store = home.open();
    change(&store, 1, 0, 0);
    withdraw_after(&store, 0, 200);
    let (scope, actor) = (PauseScope::Removal, Actor::Daemon);
    let paused = store.pause(scope.clone(), "a look".to_owned(), actor, at(60));
    assert_eq!(paused.wait(), Ok(true));
    let purge = |tx: &mut Tx<'_>| upkeep::purge(tx, Sequence(1), at(50), at(100));
    assert_eq!(store.remove_now(purge), Ok(false));
    let view = store.invoice(&account(), &number(0)).unwrap();
    assert!(matches!(view, Some(InvoiceView::Whole(_))), "{view:?}");
    let resumed = store.resume(scope, None, Actor::Daemon, at(70));
    assert_eq!(resumed.wait(), Ok(true));
    assert_eq!(store.remove_now(purge), Ok(true));
}

#[test]
fn an_invoice_that_is_sent_again_between_look_and_removal_stays() {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 0, 0);
    issue(&engine, 0, 0);
    let key = keys::delivery(DeliveryId::of_invoice(Sequence(1)));
    let mut row: DeliveryRow = engine.tree().read(&key).unwrap().unwrap();
    row.delivery.state = State::Delivered;
    home.submit(move |tx| tx.put(&key, &row).unwrap());
    let (found, _) = upkeep::finished(engine.tree(), None, at(50)).unwrap();
    assert_eq!(found, [keys::delivery(DeliveryId::of_invoice(Sequence(1)))]);

    let resend = Command::Resend { revision: 1 };
    let anna = "anna".to_owned();
    let answer = engine.operate(&account(), &number(0), resend.into(), anna, at(90));
    assert_eq!(answer.wait().unwrap().unwrap().answer, StepAnswer::Applied);
    let before = home.snapshot();
    // The clock went back meanwhile: that it is not finished protects it alone.
    for changed_before in [at(50), at(100)] {
        let purged =
            engine.remove_now(move |tx| upkeep::purge(tx, Sequence(1), changed_before, at(100)));
        assert_eq!(purged, Ok(false));
        assert_eq!(home.snapshot(), before);
    }
}

#[test]
fn a_mark_of_removal_that_stands_without_reason_costs_nobody_a_story() {
    let home = Home::new();
    let engine = home.open();
    issue(&engine, 0, 0);
    home.fill(Map::from([(keys::purging(Sequence(1)), vec![0])]));
    let before = home.snapshot();
    while engine.sweep(&SOON, at(100)).unwrap() {}
    assert_eq!(home.snapshot(), before);
}

#[test]
fn an_invoice_that_cannot_be_removed_stands_in_no_others_way() {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 0, 0);
    for n in 0..3 {
        withdraw_after(&engine, n, 0);
    }
    home.spoil(keys::invoice(Sequence(1)));
    let kept = |key: &[u8]| engine.tree().is_there(key).unwrap();
    while engine.sweep(&SOON, at(100)).unwrap() {}
    for n in 1..3 {
        let left = engine.invoice(&account(), &number(n)).unwrap();
        assert!(matches!(left, Some(InvoiceView::Tombstone { .. })), "{left:?}");
    }
    assert!(
        kept(&keys::invoice(Sequence(1)))
            && kept(&keys::delivery(DeliveryId::of_invoice(Sequence(1))))
    );
}

#[test]
fn a_damaged_record_of_a_document_keeps_its_file_and_stops_no_sweep() {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 0, 0);
    withdraw_after(&engine, 0, 0);
    let (damaged, unused) = (digest(b"damaged"), digest(b"unused"));
    for (digest, bytes) in [(damaged, &b"damaged"[..]), (unused, b"unused")] {
        engine.put_document(digest, bytes, at(0)).wait().unwrap();
    }
    home.spoil(keys::document(&damaged));
    home.submit(|tx| {
        tx.put_bytes(vec![keys::kind::DOCUMENT, 1], vec![0, 1]);
        tx.put_bytes(vec![keys::kind::DELIVERY, 1], vec![0, 1]);
    });
    while engine.sweep(&SOON, at(10 * 86_400)).unwrap() {}
    let file = |digest| engine.documents.read(&digest, at(0).date_naive());
    assert!(file(damaged).is_ok());
    assert!(file(unused).is_err());
    let left = engine.invoice(&account(), &number(0)).unwrap();
    assert!(matches!(left, Some(InvoiceView::Tombstone { .. })), "{left:?}");
}

#[test]
fn a_document_whose_record_is_found_damaged_between_look_and_removal_stops_no_sweep() {
    let home = Home::new();
    let sound = home.open();
    let mut digests = [&b"one"[..], b"two"].map(|bytes| {
        let digest = digest(bytes);
        sound.put_document(digest, bytes, at(0)).wait().unwrap();
        digest
    });
    // In the order of the sweep, so that the damaged one comes first.
    digests.sort();
    let key = keys::document(&digests[0]);
    // The first unit of a sweep forgets ids.
    let is_later = AtomicBool::new(false);
    let spoiling = move |memory: &MemoryBackend, priority, unit| {
        if is_later.swap(true, Ordering::Relaxed) {
            let spoilt = key.clone();
            let unit = Box::new(|tx: &mut Tx<'_>| {
                tx.put_bytes(spoilt, vec![0, 1, 2, 3]);
                Box::new(drop) as Answerer
            });
            memory.submit(priority, unit)?;
        }
        memory.submit(priority, unit)
    };
    let spoiling = home.open_behind(spoiling);
    while spoiling.sweep(&SOON, at(10 * 86_400)).unwrap() {}
    let file = |digest| sound.documents.read(&digest, at(0).date_naive());
    assert!(file(digests[0]).is_ok());
    assert!(file(digests[1]).is_err());
}
