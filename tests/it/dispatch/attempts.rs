//! What goes to whom, and what becomes of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use invoice_router::dispatch::RelayState;
use invoice_router::domain::delivery::{AddressState, Outcome, Shown};
use invoice_router::domain::id::InvoiceNumber;
use invoice_router::domain::invoice::Release;
use invoice_router::store::Command;

use super::house::{House, account};
use super::relay::{Mail, Moment, Reaction};
use super::scene::{address_states, outcomes};

#[tokio::test]
async fn an_immediate_invoice_goes_at_once_to_the_billing_contact_alone() {
    let house = House::with(&["erika@muster.example"], &["rechnung@muster.example"]).await;
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    assert_eq!(house.relay.accepted(1).await, ["rechnung@muster.example"]);
    let whole = house.until("K-1", "R-1", Shown::Delivered).await;
    assert_eq!(outcomes(&whole), [Outcome::Accepted]);
    assert_eq!(
        house.relay.book().accepted[0].header("Message-ID"),
        format!("<{}>", whole.attempts[0].intent.message_id)
    );
    running.stop().await;
    assert_eq!(house.relay.book().accepted.len(), 1);
}

#[tokio::test]
async fn two_addresses_get_the_same_message_once_each() {
    let house = House::with(&["a@muster.example", "b@muster.example"], &[]).await;
    house.invoice("K-1", "R-1", Release::Immediately).await;
    let running = house.start();
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    let accepted = house.relay.book().accepted;
    assert_eq!(accepted.len(), 2);
    assert_eq!(accepted[0].to, "a@muster.example");
    assert_eq!(accepted[1].to, "b@muster.example");
    assert_eq!(accepted[0].message, accepted[1].message);
}

#[tokio::test]
async fn a_deferred_invoice_is_tried_again_when_its_time_has_come_and_not_before() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    house.account("K-2", 1, &["max@muster.example"], &[]).await;
    let mut first = true;
    house.relay.behave(move |moment| match moment {
        Moment::FinalDot(mail) if mail.to.starts_with("erika") && std::mem::take(&mut first) => {
            Reaction::Say("451 4.7.1 come back later")
        }
        _ => Reaction::Yes,
    });
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    let whole = house
        .until_it_is("K-1", "R-1", "it is deferred", |whole| {
            whole.attempts.len() == 1 && whole.state == Shown::Due
        })
        .await;
    let next_at = whole.delivery.next_at.unwrap();
    assert!(next_at >= house.clock.now() + TimeDelta::seconds(300));

    house.clock.set(next_at - TimeDelta::milliseconds(1));
    house.invoice("K-2", "R-2", Release::Immediately).await;
    house.until("K-2", "R-2", Shown::Delivered).await;
    assert_eq!(house.whole("K-1", "R-1").attempts.len(), 1);

    house.clock.set(next_at);
    let whole = house.until("K-1", "R-1", Shown::Delivered).await;
    assert_eq!(outcomes(&whole), [Outcome::Deferred, Outcome::Accepted]);
    running.stop().await;
}

#[tokio::test]
async fn a_retry_planned_by_a_clock_that_was_ahead_is_due_now() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    let now = house.clock.now();
    house.clock.set(now + TimeDelta::days(3));
    house.invoice("K-1", "R-1", Release::Immediately).await;
    house.clock.set(now);
    let running = house.start();
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
}

#[tokio::test]
async fn an_uncertain_attempt_is_repeated_as_the_very_same_message() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    let seen: Arc<Mutex<Vec<Mail>>> = Arc::default();
    let noted = Arc::clone(&seen);
    house.relay.behave(move |moment| match moment {
        Moment::FinalDot(mail) => {
            let mut seen = noted.lock().unwrap();
            seen.push(mail.clone());
            if seen.len() == 1 { Reaction::Cut } else { Reaction::Yes }
        }
        _ => Reaction::Yes,
    });
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    let whole = house
        .until_it_is("K-1", "R-1", "it is uncertain", |whole| {
            outcomes(whole) == [Outcome::Uncertain] && whole.state == Shown::Due
        })
        .await;
    house.clock.set(whole.delivery.next_at.unwrap());
    let whole = house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    assert_eq!(outcomes(&whole), [Outcome::Uncertain, Outcome::Accepted]);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn an_address_of_unknown_outcome_comes_after_one_that_was_tried_more_often() {
    const CUT: &str = "a@muster.example";
    const SLOW: &str = "b@muster.example";
    let house = House::with(&[SLOW], &[]).await;
    house.relay.behave(|moment| match moment {
        Moment::Rcpt(_) => Reaction::Say("450 4.2.1 full"),
        _ => Reaction::Yes,
    });
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    for tries in 1..=2 {
        let whole = house
            .until_it_is("K-1", "R-1", "it is tried", |whole| {
                whole.attempts.len() == tries && whole.state == Shown::Due
            })
            .await;
        if tries == 2 {
            house.account("K-1", 2, &[CUT, SLOW], &[]).await;
            house.relay.behave(|moment| match moment {
                Moment::FinalDot(mail) if mail.to == CUT => Reaction::Cut,
                _ => Reaction::Yes,
            });
        }
        house.clock.set(whole.delivery.next_at.unwrap());
    }
    let whole = house
        .until_it_is("K-1", "R-1", "the new address is tried", |whole| {
            whole.attempts.len() == 3 && whole.state == Shown::Due
        })
        .await;
    house.clock.set(whole.delivery.next_at.unwrap());
    let whole = house
        .until_it_is("K-1", "R-1", "both are tried", |whole| {
            whole.attempts.len() == 5 && whole.state == Shown::Due
        })
        .await;
    running.stop().await;
    let tried: Vec<_> = whole
        .attempts
        .iter()
        .map(|attempt| (attempt.intent.address.as_str(), attempt.outcome))
        .collect();
    assert_eq!(
        tried[2..],
        [(CUT, Outcome::Uncertain), (SLOW, Outcome::Accepted), (CUT, Outcome::Uncertain)]
    );
}

#[tokio::test]
async fn a_change_that_leaves_the_recipient_alone_does_not_stop_the_message() {
    let house = House::with(&["erika@muster.example"], &["rechnung@muster.example"]).await;
    let mut begun = 0;
    let gate = house.gate(move |moment| {
        let begins = matches!(moment, Moment::Data);
        begun += usize::from(begins);
        assert!(begun <= 1);
        begins
    });
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    gate.reached().await;
    house.account("K-1", 2, &["max@muster.example"], &["rechnung@muster.example"]).await;
    gate.open();
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    assert_eq!(house.relay.accepted(1).await, ["rechnung@muster.example"]);
}

#[tokio::test]
async fn what_one_address_accepted_goes_to_nobody_new() {
    let house = House::with(&["a@muster.example", "b@muster.example"], &[]).await;
    house.relay.behave(|moment| match moment {
        Moment::Rcpt(to) if to == "b@muster.example" => Reaction::Say("450 4.2.1 full"),
        _ => Reaction::Yes,
    });
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    let whole = house
        .until_it_is("K-1", "R-1", "both were tried", |whole| {
            whole.attempts.len() == 2 && whole.state == Shown::Due
        })
        .await;
    house.relay.behave_well();
    house.account("K-1", 2, &["c@muster.example"], &[]).await;
    let told = house.whole("K-1", "R-1").recipient.unwrap();
    assert_eq!(told.addresses().len(), 2, "nobody is told that it goes to c");
    house.clock.set(whole.delivery.next_at.unwrap());
    let whole = house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    assert_eq!(
        address_states(&whole),
        [
            ("a@muster.example", AddressState::Delivered),
            ("b@muster.example", AddressState::Superseded)
        ]
    );
    assert_eq!(house.relay.book().accepted.len(), 1);
}

#[tokio::test]
async fn a_rejected_billing_contact_is_stood_in_for_by_the_main_contact() {
    let house = House::with(&["erika@muster.example"], &["weg@muster.example"]).await;
    house.relay.behave(|moment| match moment {
        Moment::Rcpt(to) if to == "weg@muster.example" => Reaction::Say("550 5.1.1 unknown"),
        _ => Reaction::Yes,
    });
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    let whole = house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    assert_eq!(house.relay.accepted(1).await, ["erika@muster.example"]);
    assert_eq!(outcomes(&whole), [Outcome::Rejected, Outcome::Accepted]);
    let accepted = &house.relay.book().accepted[0];
    assert!(!accepted.message.contains("weg@muster.example"));
    let view = house.store.account(&account("K-1")).unwrap().unwrap();
    assert_eq!(view.suppressions.len(), 1);
}

#[tokio::test]
async fn a_refused_message_is_held_and_blames_no_address() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    house.relay.behave(|moment| match moment {
        Moment::FinalDot(_) => Reaction::Say("554 5.7.1 looks like spam"),
        _ => Reaction::Yes,
    });
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    let whole = house.until("K-1", "R-1", Shown::Held).await;
    running.stop().await;
    assert_eq!(address_states(&whole), [("erika@muster.example", AddressState::Pending)]);
    let view = house.store.account(&account("K-1")).unwrap().unwrap();
    assert!(view.suppressions.is_empty());
}

#[tokio::test]
async fn an_address_whose_message_is_refused_comes_after_the_others_once_it_is_released() {
    let house = House::with(&["a@muster.example", "b@muster.example"], &[]).await;
    house.relay.behave(|moment| match moment {
        Moment::Rcpt(to) if to.starts_with("a@") => Reaction::Say("554 5.7.1 relay access denied"),
        _ => Reaction::Yes,
    });
    house.invoice("K-1", "R-1", Release::Immediately).await;
    let running = house.start();
    house.until("K-1", "R-1", Shown::Held).await;
    let release = Command::Release { now: false };
    let released = house.store.operate(
        &account("K-1"),
        &InvoiceNumber::parse("R-1").unwrap(),
        release.into(),
        "anna".to_owned(),
        house.clock.now(),
    );
    released.await.unwrap().unwrap();
    house.wake_up.notify_one();
    let whole = house
        .until_it_is("K-1", "R-1", "it is held again", |whole| {
            whole.state == Shown::Held && whole.attempts.len() == 3
        })
        .await;
    running.stop().await;
    assert_eq!(outcomes(&whole), [Outcome::Rejected, Outcome::Accepted, Outcome::Rejected]);
    assert_eq!(
        address_states(&whole),
        [
            ("a@muster.example", AddressState::Pending),
            ("b@muster.example", AddressState::Delivered)
        ]
    );
}

#[tokio::test]
async fn an_invoice_for_nobody_is_withheld_until_its_account_changes() {
    let house = House::with(&[], &[]).await;
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    house.until("K-1", "R-1", Shown::Withheld).await;
    house.account("K-1", 2, &["erika@muster.example"], &[]).await;
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
}

#[tokio::test]
async fn an_invoice_whose_document_is_gone_is_held_and_others_go_on() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    house.invoice("K-1", "R-1", Release::Immediately).await;
    house.lose_documents();
    house.invoice("K-1", "R-2", Release::Immediately).await;
    let running = house.start();
    let whole = house.until("K-1", "R-1", Shown::Held).await;
    assert!(whole.attempts.is_empty());
    house.until("K-1", "R-2", Shown::Delivered).await;
    running.stop().await;
}

#[tokio::test]
async fn an_invoice_whose_documents_exceed_a_mail_is_held_before_all_are_read() {
    let mut house = House::new().await;
    house.settings.message_bytes = 4;
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    house.invoice("K-1", "R-1", Release::Immediately).await;
    let running = house.start();
    let whole = house.until("K-1", "R-1", Shown::Held).await;
    running.stop().await;
    let reason = whole.delivery.hold.unwrap().to_string();
    assert!(reason.ends_with("its documents exceed 4 bytes in total"), "{reason}");
    assert_eq!(house.relay.book().connections, 0);
}

#[tokio::test]
async fn a_connection_is_kept_used_again_and_left_politely_when_nobody_needs_it() {
    let mut house = House::new().await;
    house.settings.connection_idle = Duration::from_millis(300);
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    let running = house.start();
    for number in ["R-1", "R-2", "R-3"] {
        house.invoice("K-1", number, Release::Immediately).await;
        house.until("K-1", number, Shown::Delivered).await;
    }
    let book = house.relay.until("the client says good-bye", |book| book.goodbyes > 0).await;
    running.stop().await;
    assert_eq!((book.connections, book.goodbyes), (1, 1));
}

#[tokio::test]
async fn a_kept_connection_that_the_relay_has_had_enough_of_is_replaced_without_blame() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    let mut mails = 0;
    house.relay.behave(move |moment| match moment {
        Moment::Mail => {
            mails += 1;
            if mails == 2 {
                Reaction::Say("421 4.7.0 enough on this connection")
            } else {
                Reaction::Yes
            }
        }
        _ => Reaction::Yes,
    });
    let mut running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.status.relay.mark_unchanged();
    house.invoice("K-1", "R-2", Release::Immediately).await;
    let whole = house.until("K-1", "R-2", Shown::Delivered).await;
    assert_eq!(outcomes(&whole), [Outcome::Accepted]);
    assert_eq!(house.relay.book().connections, 2);
    assert_eq!(*running.status.relay.borrow(), RelayState::Up);
    assert!(!running.status.relay.has_changed().unwrap());
    running.stop().await;
}
