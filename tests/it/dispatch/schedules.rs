//! When waiting invoices are released.

use std::time::Duration;

use invoice_router::domain::audit::{Actor, AuditEvent, AuditRecipient, AuditTarget, ReleaseScope};
use invoice_router::domain::delivery::Shown;
use invoice_router::domain::id::ScheduleName;
use invoice_router::domain::invoice::Release;
use invoice_router::domain::recipient::Rule;
use invoice_router::domain::schedule::Schedules;
use invoice_router::store::RunScope;

use super::clock::timetable;
use super::house::{House, account, at};
use super::relay::Moment;

#[tokio::test]
async fn a_scheduled_invoice_goes_when_its_schedule_fires_and_only_once() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    house.invoice("K-1", "R-1", Release::Scheduled).await;
    let running = house.start();
    house.until_noted().await;
    house.account("K-2", 1, &["max@muster.example"], &[]).await;
    house.invoice("K-2", "R-2", Release::Immediately).await;
    assert_eq!(house.relay.accepted(1).await, ["max@muster.example"]);

    house.clock.set(at("23T08:00"));
    house.relay.accepted(2).await;
    house.until("K-1", "R-1", Shown::Delivered).await;
    house.until_true("the run is closed", || house.open_runs() == 0).await;
    running.stop().await;

    house.clock.set(at("23T08:30"));
    let running = house.start();
    house.invoice("K-2", "R-3", Release::Immediately).await;
    house.relay.accepted(3).await;
    running.stop().await;
    assert_eq!(house.relay.book().accepted.len(), 3);
}

#[tokio::test]
async fn what_was_missed_while_down_goes_once_at_the_start() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    let running = house.start();
    house.until_noted().await;
    running.stop().await;

    house.invoice("K-1", "R-1", Release::Scheduled).await;
    house.clock.set(at("25T09:00"));
    let running = house.start();
    house.until("K-1", "R-1", Shown::Delivered).await;
    house.until_true("the run is closed", || house.open_runs() == 0).await;
    running.stop().await;
    let runs = house.store.runs().unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].instant, at("25T08:00"));
    assert_eq!(house.relay.book().accepted.len(), 1);
}

#[tokio::test]
async fn what_was_missed_waits_for_the_next_time_where_the_schedule_says_so() {
    let mut house = House::new().await;
    let daily = timetable("0 8 * * *", chrono_tz::UTC, false);
    house.schedules = Schedules::from_iter([(ScheduleName::default(), daily)]);
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    let running = house.start();
    house.until_noted().await;
    running.stop().await;

    house.invoice("K-1", "R-1", Release::Scheduled).await;
    house.clock.set(at("25T09:00"));
    let running = house.start();
    house.invoice("K-1", "R-2", Release::Immediately).await;
    house.until("K-1", "R-2", Shown::Delivered).await;
    assert_eq!(house.whole("K-1", "R-1").state, Shown::Waiting);

    house.clock.set(at("26T08:00"));
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
}

#[tokio::test]
async fn a_schedule_that_is_not_configured_acts_as_default() {
    let house = House::new().await;
    house.account_of_schedule("K-1", 1, &["erika@muster.example"], &[], Some("weekly")).await;
    house.invoice("K-1", "R-1", Release::Scheduled).await;
    let running = house.start();
    house.until_noted().await;
    house.clock.set(at("23T08:00"));
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
}

#[tokio::test]
async fn a_clock_put_back_a_little_repeats_no_run_and_one_put_back_further_stops_none() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    let running = house.start();
    house.until_noted().await;
    house.clock.set(at("23T08:00"));
    let default = RunScope::Schedule(ScheduleName::default());
    let last_run = || {
        let runs = house.store.runs().unwrap();
        runs.iter().find(|run| run.scope == default).map(|run| (run.instant, run.open))
    };
    house.until_true("the run is over", || last_run() == Some((at("23T08:00"), false))).await;

    house.clock.set(at("23T07:59"));
    house.invoice("K-1", "R-1", Release::Scheduled).await;
    house.clock.set(at("23T08:00"));
    house.invoice("K-1", "R-2", Release::Immediately).await;
    house.until("K-1", "R-2", Shown::Delivered).await;
    assert_eq!(house.whole("K-1", "R-1").state, Shown::Waiting);

    for (back, next, number) in [("23T07:00", "23T08:00", "R-1"), ("20T07:00", "20T08:00", "R-3")] {
        house.clock.set(at(back));
        house
            .until_true("the last run counts as now", || last_run() == Some((at(back), false)))
            .await;
        if number != "R-1" {
            house.invoice("K-1", number, Release::Scheduled).await;
        }
        house.clock.set(at(next));
        house.until("K-1", number, Shown::Delivered).await;
        house.until_true("the run is over", || last_run() == Some((at(next), false))).await;
    }
    running.stop().await;
    assert_eq!(house.relay.book().accepted.len(), 3);
}

#[tokio::test]
async fn a_run_over_several_pages_brings_each_invoice_once_and_is_closed() {
    let house = House::new().await;
    for number in 0..100 {
        let id = format!("K-{number}");
        house.account(&id, 1, &[&format!("a{number}@muster.example")], &[]).await;
        house.invoice(&id, &format!("R-{number}"), Release::Scheduled).await;
    }
    let running = house.start();
    house.until_noted().await;
    house.clock.set(at("23T08:00"));
    let mut accepted = house.relay.accepted(100).await;
    house.until_true("the run is closed", || house.open_runs() == 0).await;
    running.stop().await;
    accepted.dedup();
    assert_eq!(accepted.len(), 100);
    assert_eq!(house.relay.book().accepted.len(), 100);
    assert!(house.relay.book().connections <= 4);
}

#[tokio::test]
async fn an_operators_run_of_one_account_releases_that_account_alone() {
    let house = House::new().await;
    for id in ["K-1", "K-2"] {
        house.account(id, 1, &["erika@muster.example"], &[]).await;
        house.invoice(id, &format!("R-{id}"), Release::Scheduled).await;
    }
    let running = house.start();
    let (scope, now) = (RunScope::Account(account("K-2")), house.clock.now());
    let operator = Actor::Operator("erika".to_owned());
    assert!(house.store.release(scope, now, operator, None, now).await.unwrap());
    house.wake_up.notify_one();
    house.until("K-2", "R-K-2", Shown::Delivered).await;
    house.until_true("the run is closed", || house.open_runs() == 0).await;
    running.stop().await;
    assert_eq!(house.whole("K-1", "R-K-1").state, Shown::Waiting);
    let story = house.whole("K-2", "R-K-2").story;
    let recipient =
        AuditRecipient { target: AuditTarget::MainContact, rule: Rule::NoBillingContact };
    let told: Vec<_> = story[1..3].iter().map(|entry| (&entry.actor, &entry.event)).collect();
    assert_eq!(
        told,
        [
            (
                &Actor::Operator("erika".to_owned()),
                &AuditEvent::ReleasedByRun { scope: ReleaseScope::Account }
            ),
            (&Actor::Daemon, &AuditEvent::RecipientResolved { recipient })
        ]
    );
}

#[tokio::test]
async fn an_immediate_invoice_overtakes_thousands_that_a_schedule_released() {
    const SCHEDULED: usize = 3_000;
    let mut house = House::new().await;
    house.settings.connections = 1;
    for id in ["K-1", "K-2"] {
        house.account(id, 1, &[&format!("{}@muster.example", id.to_lowercase())], &[]).await;
    }
    for number in 0..SCHEDULED {
        house.invoice("K-1", &format!("R-{number}"), Release::Scheduled).await;
    }
    let mut messages = 0;
    let gate = house.gate(move |moment| {
        messages += usize::from(matches!(moment, Moment::FinalDot(_)));
        messages == 20 && matches!(moment, Moment::FinalDot(_))
    });
    let running = house.start();
    house.until_noted().await;
    house.clock.set(at("23T08:00"));
    gate.reached().await;
    house.until_true("all is due", || house.store.backlog().unwrap().waiting == 0).await;
    house.invoice("K-2", "S-1", Release::Immediately).await;
    house.until_the_dispatcher_went_round(&running).await;
    gate.open();
    house.until("K-2", "S-1", Shown::Delivered).await;
    let accepted = house.relay.book().accepted;
    let place = accepted.iter().position(|mail| mail.to == "k-2@muster.example").unwrap();
    assert!(place <= 21, "only the one under way, and one whose turn it was, came before: {place}");
    assert_eq!(house.whole("K-1", &format!("R-{}", SCHEDULED - 1)).state, Shown::Due);
    running.stop().await;
}

#[tokio::test]
async fn what_is_released_behind_the_page_that_was_read_last_waits_for_no_tick() {
    let mut house = House::new().await;
    house.settings.connections = 1;
    house.settings.tick = Duration::from_secs(600);
    // Of the same time: what was issued first is read first.
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    house.invoice("K-1", "R-1", Release::Scheduled).await;
    house.account("K-2", 1, &["max@muster.example"], &[]).await;
    for number in 0..200 {
        house.invoice("K-2", &format!("S-{number}"), Release::Scheduled).await;
    }
    let release = async |id: &str| {
        let (scope, now) = (RunScope::Account(account(id)), house.clock.now());
        let erika = Actor::Operator("erika".to_owned());
        assert!(house.store.release(scope, now, erika, None, now).await.unwrap());
        house.until_true("the run is closed", || house.open_runs() == 0).await;
    };
    release("K-2").await;
    let gate = house.gate_at_first(|moment| matches!(moment, Moment::FinalDot(_)));
    let running = house.start();
    gate.reached().await;
    release("K-1").await;
    house.until_the_dispatcher_went_round(&running).await;
    gate.open();
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
}
