//! The relay fails, or the daemon ends, at the worst moment.

use std::sync::Arc;
use std::time::Duration;

use invoice_router::dispatch::{DispatchError, RelayState};
use invoice_router::domain::delivery::{Outcome, Shown};
use invoice_router::domain::invoice::Release;
use invoice_router::store::{Store, StoreError};

use super::failing_store::{FailingStore, UseCase};
use super::house::{House, Running, at, patiently};
use super::relay::{Gate, Moment, Reaction};

async fn until_down(running: &mut Running) {
    let down = running.status.relay.wait_for(|state| matches!(state, RelayState::Down { .. }));
    patiently("the relay is known to be down", down).await.unwrap();
}

async fn five_invoices(house: &House) {
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    for number in 1..=5 {
        house.invoice("K-1", &format!("R-{number}"), Release::Immediately).await;
    }
}

async fn all_are_delivered_at_the_first_attempt(house: &House) {
    for number in 1..=5 {
        let whole = house.until("K-1", &format!("R-{number}"), Shown::Delivered).await;
        assert_eq!(whole.attempts.len(), 1);
        assert_eq!(whole.delivery.addresses[0].attempts, 1);
    }
    assert_eq!(house.relay.book().accepted.len(), 5);
}

#[tokio::test]
async fn while_the_relay_is_down_no_attempt_counts_and_all_is_delivered_once_it_is_back() {
    let house = House::new().await;
    five_invoices(&house).await;
    house.relay.behave(|moment| match moment {
        Moment::Connected(_) => Reaction::Cut,
        _ => Reaction::Yes,
    });
    let mut running = house.start();
    until_down(&mut running).await;
    house.relay.until("it is probed again", |book| book.connections >= 3).await;
    for number in 1..=5 {
        let whole = house.whole("K-1", &format!("R-{number}"));
        assert!(whole.attempts.is_empty());
        assert_eq!(whole.state, Shown::Due);
    }
    house.relay.behave_well();
    all_are_delivered_at_the_first_attempt(&house).await;
    assert_eq!(*running.status.relay.borrow(), RelayState::Up);
    running.stop().await;
}

/// Whether the relay or the recipient is the cause is unknown.
#[tokio::test]
async fn a_421_to_the_envelope_counts_as_an_attempt_and_others_are_sent() {
    for at_data in [false, true] {
        let house = House::new().await;
        house.account("K-2", 1, &["otto@muster.example"], &[]).await;
        house.invoice("K-2", "R-0", Release::Immediately).await;
        five_invoices(&house).await;
        let mut named_otto = false;
        house.relay.behave(move |moment| match moment {
            Moment::Rcpt(to) => {
                named_otto = to.contains("otto@");
                if named_otto && !at_data {
                    Reaction::Say("421 4.3.2 closing")
                } else {
                    Reaction::Yes
                }
            }
            Moment::Data if named_otto => Reaction::Say("421 4.3.2 closing"),
            _ => Reaction::Yes,
        });
        let running = house.start();
        all_are_delivered_at_the_first_attempt(&house).await;
        running.stop().await;
        let whole = house.whole("K-2", "R-0");
        assert_eq!(whole.state, Shown::Due);
        assert_eq!(whole.attempts.len(), 1);
        let reply = whole.attempts[0].reply.as_ref().unwrap();
        assert_eq!((reply.code, whole.attempts[0].outcome), (421, Outcome::Deferred));
    }
}

#[tokio::test]
async fn an_invoice_that_is_too_large_for_the_relay_is_held_and_others_are_sent() {
    let house = House::new().await;
    house.account("K-2", 1, &["otto@muster.example"], &[]).await;
    house.invoice("K-2", "R-0", Release::Immediately).await;
    let mut mails = 0;
    house.relay.behave(move |moment| match moment {
        Moment::Mail => {
            mails += 1;
            if mails == 1 { Reaction::Say("552 5.3.4 too large") } else { Reaction::Yes }
        }
        _ => Reaction::Yes,
    });
    let running = house.start();
    let whole = house.until("K-2", "R-0", Shown::Held).await;
    let reason = whole.delivery.hold.unwrap().to_string();
    assert!(reason.contains("552 5.3.4 too large"), "{reason}");
    five_invoices(&house).await;
    all_are_delivered_at_the_first_attempt(&house).await;
    running.stop().await;
}

/// Each of these messages may have arrived: the less of them the better.
#[tokio::test]
async fn a_relay_that_hangs_up_at_the_end_of_each_message_is_left_alone_after_three() {
    let mut house = House::new().await;
    house.settings.connections = 1;
    house.settings.probe_first = Duration::from_secs(3_600);
    let addresses = ["a@muster.example", "b@muster.example", "c@muster.example"];
    house.account("K-1", 1, &addresses, &[]).await;
    for number in 1..=5 {
        let number = format!("R-{number}");
        house.invoice("K-1", &number, Release::Immediately).await;
    }
    house.relay.behave(|moment| match moment {
        Moment::FinalDot(_) => Reaction::Cut,
        _ => Reaction::Yes,
    });
    let mut running = house.start();
    until_down(&mut running).await;
    running.stop().await;
    let attempts = |number| house.whole("K-1", &format!("R-{number}")).attempts.len();
    let attempts: Vec<usize> = (1..=5).map(attempts).collect();
    assert_eq!(attempts, [1, 1, 1, 0, 0]);
}

#[tokio::test]
async fn an_answer_to_an_envelope_does_not_speak_for_the_final_dots() {
    let mut house = House::new().await;
    house.settings.connections = 1;
    house.settings.probe_first = Duration::from_secs(3_600);
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    for number in 1..=9 {
        let number = format!("R-{number}");
        house.invoice("K-1", &number, Release::Immediately).await;
    }
    let mut envelopes = 0;
    house.relay.behave(move |moment| match moment {
        Moment::Rcpt(_) => {
            envelopes += 1;
            if envelopes % 2 == 0 { Reaction::Say("450 4.2.0 greylisted") } else { Reaction::Yes }
        }
        Moment::FinalDot(_) => Reaction::Cut,
        _ => Reaction::Yes,
    });
    let mut running = house.start();
    until_down(&mut running).await;
    running.stop().await;
    let uncertain = (1..=9)
        .flat_map(|number| house.whole("K-1", &format!("R-{number}")).attempts)
        .filter(|attempt| attempt.outcome == Outcome::Uncertain)
        .count();
    assert_eq!(uncertain, 3);
}

#[tokio::test]
async fn a_relay_that_allows_one_connection_only_is_not_taken_for_down() {
    let mut house = House::new().await;
    house.settings.connections = 4;
    house.settings.probe_first = Duration::from_secs(3_600);
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    for number in 1..=30 {
        let number = format!("R-{number}");
        house.invoice("K-1", &number, Release::Immediately).await;
    }
    house.relay.behave(|moment| match moment {
        Moment::Connected(number) if *number > 1 => Reaction::Say("421 4.7.0 too many connections"),
        _ => Reaction::Yes,
    });
    let running = house.start();
    for number in 1..=30 {
        let number = format!("R-{number}");
        house.until("K-1", &number, Shown::Delivered).await;
    }
    assert_eq!(*running.status.relay.borrow(), RelayState::Up);
    running.stop().await;
}

#[tokio::test]
async fn after_an_opening_one_connection_is_tried_before_the_others() {
    let house = House::new().await;
    five_invoices(&house).await;
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let mut transactions = 0;
    house.relay.behave(move |moment| match moment {
        Moment::Mail => {
            transactions += 1;
            match transactions {
                1 => Reaction::Say("451 4.3.0 not now"),
                2 => Reaction::Wait(Arc::clone(&waits)),
                _ => Reaction::Yes,
            }
        }
        _ => Reaction::Yes,
    });
    let running = house.start();
    gate.reached().await;
    let beats = running.status.progress.dispatcher();
    house
        .until_true("the dispatcher goes round", || {
            running.status.progress.dispatcher() > beats + 10
        })
        .await;
    assert_eq!(house.relay.book().connections, 2, "the probe's is used");
    gate.open();
    all_are_delivered_at_the_first_attempt(&house).await;
    running.stop().await;
}

#[tokio::test]
async fn a_shutdown_during_an_attempt_waits_for_its_outcome_and_begins_no_other() {
    let house = House::with(&["a@muster.example", "b@muster.example"], &[]).await;
    let gate = house.gate(|moment| matches!(moment, Moment::FinalDot(_)));
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    gate.reached().await;
    running.tell_to_stop();
    gate.open();
    running.ended().await.unwrap();
    let whole = house.whole("K-1", "R-1");
    assert_eq!(whole.intent, None);
    assert_eq!(whole.attempts.len(), 1);
    assert_eq!(whole.attempts[0].outcome, Outcome::Accepted);
    assert_eq!(house.relay.book().accepted.len(), 1);

    house.relay.behave_well();
    let running = house.start();
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    assert_eq!(house.relay.accepted(2).await, ["a@muster.example", "b@muster.example"]);
}

#[tokio::test]
async fn an_invoice_that_cannot_be_read_keeps_neither_others_nor_runs_from_their_end() {
    let house = House::new().await;
    for (id, number) in [("K-1", "R-1"), ("K-2", "S-1")] {
        house.account(id, 1, &["erika@muster.example"], &[]).await;
        house.invoice(id, number, Release::Scheduled).await;
    }
    let damaged = StoreError::Damaged {
        key: "of kind recipient".to_owned(),
        cause: "a wrong checksum".to_owned(),
    };
    let store = FailingStore::new(&house.store, [(UseCase::Begin, damaged)]);
    let running = house.start_over(Arc::clone(&store) as Arc<dyn Store>);
    house.until_noted().await;
    for (day, brought) in [(23, 1), (24, 2)] {
        house.clock.set(at(&format!("{day}T08:00")));
        house.relay.accepted(brought).await;
        house.until_true("the run is closed", || house.open_runs() == 0).await;
        assert!(store.has_failed());
        house.invoice("K-2", &format!("S-{day}"), Release::Scheduled).await;
    }
    running.stop().await;
    assert_eq!(house.relay.book().accepted.len(), 2);
}

#[tokio::test]
async fn a_shutdown_before_the_message_waits_for_nobody_and_leaves_nothing_uncertain() {
    for at_data in [false, true] {
        let house = House::with(&["erika@muster.example"], &[]).await;
        let gate = house.gate(move |moment| match moment {
            Moment::Rcpt(_) => !at_data,
            Moment::Data => at_data,
            _ => false,
        });
        let running = house.start();
        house.invoice("K-1", "R-1", Release::Immediately).await;
        gate.reached().await;
        // The gate stays shut: nothing waits for what the relay would say.
        running.stop().await;
        let whole = house.whole("K-1", "R-1");
        assert_eq!((whole.state, whole.intent), (Shown::Due, None));
        assert!(whole.attempts.is_empty());
        gate.open();

        house.relay.behave_well();
        let running = house.start();
        house.until("K-1", "R-1", Shown::Delivered).await;
        running.stop().await;
        assert_eq!(house.relay.book().accepted.len(), 1);
    }
}

#[tokio::test]
async fn a_crash_after_the_final_dot_leads_to_a_repeat_under_the_same_message_id() {
    let mut house = House::with(&["erika@muster.example"], &[]).await;
    let gate = house.gate_at_first(|moment| matches!(moment, Moment::FinalDot(_)));
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    gate.reached().await;
    running.crash().await;
    gate.open();
    house.relay.accepted(1).await;

    house.reopen();
    let running = house.start();
    let whole = house
        .until_it_is("K-1", "R-1", "the intent is settled", |whole| {
            whole.intent.is_none() && whole.attempts.len() == 1
        })
        .await;
    assert_eq!(whole.attempts[0].outcome, Outcome::Uncertain);
    house.clock.set(whole.delivery.next_at.unwrap());
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    let accepted = house.relay.book().accepted;
    assert_eq!(accepted.len(), 2);
    assert_eq!(accepted[0], accepted[1], "Message-ID and Date included");
}

#[tokio::test]
async fn a_store_that_is_busy_or_full_for_a_while_loses_and_repeats_nothing() {
    let house = House::new().await;
    let store = FailingStore::new(
        &house.store,
        [
            (UseCase::Recover, StoreError::Busy),
            (UseCase::Release, StoreError::DiskFull),
            (UseCase::Begin, StoreError::DiskFull),
            (UseCase::Begin, StoreError::Busy),
            (UseCase::Settle, StoreError::Busy),
            (UseCase::Settle, StoreError::DiskFull),
            (UseCase::Settle, StoreError::Busy),
        ],
    );
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    house.invoice("K-1", "R-1", Release::Scheduled).await;
    let running = house.start_over(Arc::clone(&store) as Arc<dyn Store>);
    house.until_noted().await;
    house.clock.set(at("23T08:00"));
    let whole = house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    assert!(store.has_failed());
    assert_eq!(whole.attempts.len(), 1);
    assert_eq!(house.relay.book().accepted.len(), 1);
}

#[tokio::test]
async fn while_the_store_takes_no_attempts_the_relay_is_left_alone() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    for number in ["R-1", "R-2", "R-3"] {
        house.invoice("K-1", number, Release::Immediately).await;
    }
    let store = FailingStore::new(&house.store, []);
    store.refuse_intents(Some(StoreError::DiskFull));
    let running = house.start_over(Arc::clone(&store) as Arc<dyn Store>);
    let mut progress = 0;
    while progress < 20 {
        progress = running.status.progress.dispatcher();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(house.relay.book().connections, 0);

    store.refuse_intents(None);
    for number in ["R-1", "R-2", "R-3"] {
        house.until("K-1", number, Shown::Delivered).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_fails_for_good_ends_sending_with_its_error() {
    let fault = StoreError::sync_failed("input/output error");
    for use_case in
        [UseCase::Recover, UseCase::Release, UseCase::Begin, UseCase::Settle, UseCase::Due]
    {
        let house = House::with(&["erika@muster.example"], &[]).await;
        let running = house.start();
        house.until_noted().await;
        running.stop().await;
        house.invoice("K-1", "R-1", Release::Scheduled).await;
        house.clock.set(at("23T08:00"));
        let store = FailingStore::new(&house.store, [(use_case, fault.clone())]);
        let running = house.start_over(store);
        assert_eq!(running.ended().await, Err(DispatchError::Store(fault.clone())), "{use_case:?}");
    }
}

#[tokio::test]
async fn a_421_to_the_final_dot_counts_as_an_attempt_and_spares_the_relay_others() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    house.relay.behave(|moment| match moment {
        Moment::FinalDot(_) => Reaction::Say("421 4.3.2 closing"),
        _ => Reaction::Yes,
    });
    let mut running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    until_down(&mut running).await;
    let whole =
        house.until_it_is("K-1", "R-1", "it is deferred", |whole| whole.attempts.len() == 1).await;
    assert_eq!(whole.attempts[0].outcome, Outcome::Deferred);
    running.stop().await;
}
