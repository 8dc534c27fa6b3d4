//! The brake, pulled by an operator or by the daemon itself.

use std::sync::Arc;

use chrono::TimeDelta;

use invoice_router::domain::audit::Actor;
use invoice_router::domain::delivery::{Shown, StepAnswer};
use invoice_router::domain::id::InvoiceNumber;
use invoice_router::domain::invoice::Release;
use invoice_router::store::{Command, PauseScope};

use super::house::{House, account, at};
use super::relay::{Gate, Moment, Reaction};

pub(super) async fn pause(house: &House, scope: PauseScope) {
    let actor = Actor::Operator("erika".to_owned());
    let paused = house.store.pause(scope, "a test".to_owned(), actor, house.clock.now());
    assert!(paused.await.unwrap());
}

pub(super) async fn resume(house: &House, scope: PauseScope) {
    let actor = Actor::Operator("erika".to_owned());
    let resumed = house.store.resume(scope, None, actor, house.clock.now());
    assert!(resumed.await.unwrap());
    house.wake_up.notify_one();
}

#[tokio::test]
async fn a_paused_accounts_invoices_neither_starve_others_nor_miss_their_release() {
    let mut house = House::new().await;
    house.settings.connections = 1;
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    house.account("K-2", 1, &["max@muster.example"], &[]).await;
    let scope = PauseScope::Account(account("K-1"));
    pause(&house, scope.clone()).await;
    for number in 0..40 {
        house.invoice("K-1", &format!("R-{number}"), Release::Scheduled).await;
    }
    house.invoice("K-2", "S-1", Release::Scheduled).await;
    let running = house.start();
    house.until_noted().await;
    house.clock.set(at("23T08:00"));
    house.until("K-2", "S-1", Shown::Delivered).await;
    house.until_true("the run is closed", || house.open_runs() == 0).await;
    assert_eq!(house.whole("K-1", "R-39").state, Shown::Due, "it waits for its account alone");
    assert_eq!(house.relay.book().accepted.len(), 1);

    resume(&house, scope).await;
    house.relay.accepted(41).await;
    running.stop().await;
    assert_eq!(house.relay.book().accepted.len(), 41);
}

#[tokio::test]
async fn what_is_held_when_its_schedule_fires_waits_for_the_next_time_and_a_pause_of_all_for_none()
{
    let house = House::new().await;
    for (id, number) in [("K-1", "R-1"), ("K-2", "S-1")] {
        house.account(id, 1, &["erika@muster.example"], &[]).await;
        house.invoice(id, number, Release::Scheduled).await;
    }
    pause(&house, PauseScope::Everything).await;
    let operate = async |command: Command| {
        let number = InvoiceNumber::parse("R-1").unwrap();
        let by = "erika".to_owned();
        let (store, now) = (&house.store, house.clock.now());
        let answer = store.operate(&account("K-1"), &number, command.into(), by, now);
        assert_eq!(answer.await.unwrap().unwrap().answer, StepAnswer::Applied);
        house.wake_up.notify_one();
    };
    operate(Command::Hold { reason: "a look".to_owned() }).await;
    let running = house.start();
    house.until_noted().await;
    house.clock.set(at("23T08:00"));
    house.until("K-2", "S-1", Shown::Due).await;
    operate(Command::Release { now: false }).await;
    house.until_the_dispatcher_went_round(&running).await;
    assert_eq!(house.whole("K-1", "R-1").state, Shown::Waiting);
    assert!(house.relay.book().begun.is_empty());

    resume(&house, PauseScope::Everything).await;
    house.until("K-2", "S-1", Shown::Delivered).await;
    assert_eq!(house.whole("K-1", "R-1").state, Shown::Waiting);
    house.clock.set(at("24T08:00"));
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
}

/// Eight invoices and a relay that rejects everybody, until that is noticed.
async fn stopped_by_rejections(billing: bool) -> House {
    let mut house = House::new().await;
    house.settings.rejections_max = 2;
    house.settings.connections = 1;
    house.relay.behave(|moment| match moment {
        Moment::Rcpt(_) => Reaction::Say("550 5.1.1 unknown"),
        _ => Reaction::Yes,
    });
    for number in 0..8 {
        let id = format!("K-{number}");
        let (main, selected) =
            (format!("a{number}@muster.example"), format!("b{number}@muster.example"));
        let selected = [selected.as_str()];
        let selected = if billing { &selected[..] } else { &[] };
        house.account(&id, 1, &[&main], selected).await;
        house.invoice(&id, &format!("R-{number}"), Release::Immediately).await;
    }
    let running = house.start();
    house
        .until_true("everything is paused", || {
            house.store.paused(&PauseScope::Everything).unwrap().is_some()
        })
        .await;
    running.stop().await;
    house
}

#[tokio::test]
async fn once_the_fault_was_the_relays_nobody_stands_in_for_whom_it_rejected() {
    let house = stopped_by_rejections(true).await;
    house.relay.behave_well();
    let actor = || Actor::Operator("erika".to_owned());
    let (store, now) = (&house.store, house.clock.now());
    let paused = store.paused(&PauseScope::Everything).unwrap().unwrap();
    assert!(paused.reason.contains("resume --forget-rejections"));
    let since = paused.since - TimeDelta::days(1);
    let (waiting, by) = (Arc::clone(store), actor());
    let forgotten = move || waiting.forget_rejections(since, None, by, now);
    let forgotten = tokio::task::spawn_blocking(forgotten).await.unwrap();
    assert_eq!(forgotten, Ok(3));
    resume(&house, PauseScope::Everything).await;
    let running = house.start();
    for number in 0..8 {
        let (account, invoice) = (format!("K-{number}"), format!("R-{number}"));
        let whole = house.until(&account, &invoice, Shown::Delivered).await;
        let last = whole.attempts.last().unwrap();
        let billing = format!("b{number}@muster.example");
        assert_eq!(last.intent.address.as_str(), billing);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_message_to_a_stand_in_is_not_begun_once_the_rejection_is_forgotten() {
    let house = House::new().await;
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let (mut rejected, mut waited) = (false, false);
    house.relay.behave(move |moment| match moment {
        Moment::Rcpt(_) if !rejected => {
            rejected = true;
            Reaction::Say("550 5.1.1 unknown")
        }
        Moment::Data if !waited => {
            waited = true;
            Reaction::Wait(Arc::clone(&waits))
        }
        _ => Reaction::Yes,
    });
    let (main, selected) = (["main@muster.example"], ["billing@muster.example"]);
    house.account("K-1", 1, &main, &selected).await;
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    gate.reached().await;
    assert_eq!(house.whole("K-1", "R-1").intent.unwrap().address.as_str(), main[0]);

    let (store, now) = (Arc::clone(&house.store), house.clock.now());
    let by = Actor::Operator("erika".to_owned());
    let forgotten = move || store.forget_rejections(now - TimeDelta::days(1), None, by, now);
    let forgotten = tokio::task::spawn_blocking(forgotten).await.unwrap();
    assert_eq!(forgotten, Ok(1));
    gate.open();
    let whole = house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    let tried: Vec<&str> = whole.attempts.iter().map(|one| one.intent.address.as_str()).collect();
    assert_eq!(tried, [selected[0], selected[0]]);
    assert_eq!(house.relay.book().accepted.len(), 1);
}

#[tokio::test]
async fn too_many_rejected_addresses_stop_all_sending() {
    let house = stopped_by_rejections(false).await;
    let tried = (0..8)
        .filter(|number| {
            let whole = house.whole(&format!("K-{number}"), &format!("R-{number}"));
            !whole.attempts.is_empty()
        })
        .count();
    assert_eq!(tried, 3);
}
