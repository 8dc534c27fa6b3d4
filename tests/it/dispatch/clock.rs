//! The clock jumps, or is changed twice a year, and the daemon ends in the middle of a long run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use invoice_router::domain::audit::{Actor, AuditEvent, AuditText, ReleaseScope};
use invoice_router::domain::delivery::{Outcome, Shown};
use invoice_router::domain::id::ScheduleName;
use invoice_router::domain::invoice::Release;
use invoice_router::domain::schedule::{Schedule, Schedules, Timetable};
use invoice_router::store::{AuditOrder, PauseScope, RunScope, WholeInvoice};

use super::house::{House, Running, account, at};
use super::pauses::{pause, resume};
use super::relay::{Gate, Moment, Reaction};
use super::scene::outcomes;
use crate::figures::count;

fn schedule(name: &str) -> ScheduleName {
    ScheduleName::parse(name).unwrap()
}

pub(super) fn timetable(expression: &str, zone: chrono_tz::Tz, catch_up: bool) -> Timetable {
    Timetable { schedule: Schedule::parse(expression, zone).unwrap(), catch_up }
}

/// Waits until the schedules and what is due have been looked at, at the clock's time.
async fn until_the_time_is_noticed(house: &House, running: &Running) {
    let looks = running.status.progress.schedule_runner();
    house
        .until_true("the schedules are looked at", || {
            running.status.progress.schedule_runner() > looks + 1
        })
        .await;
    house.until_the_dispatcher_went_round(running).await;
}

/// How often each invoice was accepted, by the number that its mail names.
fn copies(house: &House) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for mail in house.relay.book().accepted {
        let number = mail.header("X-Invoice-Number").to_owned();
        *copies.entry(number).or_default() += 1;
    }
    copies
}

fn once_each(numbers: &[&str]) -> BTreeMap<String, usize> {
    numbers.iter().map(|number| ((*number).to_owned(), 1)).collect()
}

/// The instant of a schedule's last run.
fn last_instant(house: &House, name: &ScheduleName) -> DateTime<Utc> {
    let runs = house.store.runs().unwrap();
    let run = runs.iter().find(|run| run.scope == RunScope::Schedule(name.clone()));
    run.unwrap().instant
}

const JUMPS: [TimeDelta; 4] =
    [TimeDelta::hours(1), TimeDelta::hours(-1), TimeDelta::days(365), TimeDelta::days(-365)];

/// Whether sending goes on while the clock jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Daemon {
    GoesOn,
    IsStopped,
}

/// One invoice waits for its schedule, one was deferred, one was released and its account is paused, and one is
/// being sent.
async fn all_is_sent_once_when_the_clock_goes_wrong_by(jump: TimeDelta, daemon: Daemon) {
    let mut house = House::new().await;
    for id in ["K-waits", "K-deferred", "K-in-a-run", "K-sent"] {
        let address = format!("{}@muster.example", id.to_lowercase());
        house.account(id, 1, &[&address], &[]).await;
    }
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let mut first = BTreeSet::new();
    house.relay.behave(move |moment| match moment {
        Moment::Rcpt(to) if to.starts_with("k-deferred") && first.insert(to.clone()) => {
            Reaction::Say("450 4.2.1 come back later")
        }
        Moment::FinalDot(mail) if mail.to.starts_with("k-sent") => {
            Reaction::Wait(Arc::clone(&waits))
        }
        _ => Reaction::Yes,
    });
    let mut running = house.start();
    house.until_noted().await;
    house.invoice("K-deferred", "R-deferred", Release::Immediately).await;
    house
        .until_it_is("K-deferred", "R-deferred", "it is deferred", |whole| {
            outcomes(whole) == [Outcome::Deferred] && whole.state == Shown::Due
        })
        .await;
    let paused = PauseScope::Account(account("K-in-a-run"));
    pause(&house, paused.clone()).await;
    house.invoice("K-in-a-run", "R-in-a-run", Release::Scheduled).await;
    let (run, now) = (RunScope::Account(account("K-in-a-run")), house.clock.now());
    assert!(house.store.release(run, now, Actor::Daemon, None, now).await.unwrap());
    house.invoice("K-waits", "R-waits", Release::Scheduled).await;
    house.invoice("K-sent", "R-sent", Release::Immediately).await;
    gate.reached().await;

    let right = house.clock.now();
    if daemon == Daemon::IsStopped {
        gate.open();
        running.stop().await;
        house.clock.set(right + jump);
        house.reopen();
        running = house.start();
    } else {
        house.clock.set(right + jump);
    }
    until_the_time_is_noticed(&house, &running).await;
    if daemon == Daemon::IsStopped {
        running.stop().await;
        house.clock.set(right);
        house.reopen();
        running = house.start();
    } else {
        house.clock.set(right);
        gate.open();
    }
    until_the_time_is_noticed(&house, &running).await;
    resume(&house, paused).await;
    house.until("K-in-a-run", "R-in-a-run", Shown::Delivered).await;
    house.until("K-sent", "R-sent", Shown::Delivered).await;
    house.invoice("K-waits", "R-later", Release::Scheduled).await;

    // The clock goes right: to the end of any delay, past the schedule, and past the next day's.
    for time in ["23T08:00", "23T12:00", "24T08:00"] {
        house.clock.set(at(time));
        until_the_time_is_noticed(&house, &running).await;
    }
    for (id, number) in
        [("K-deferred", "R-deferred"), ("K-waits", "R-waits"), ("K-waits", "R-later")]
    {
        house.until(id, number, Shown::Delivered).await;
    }
    house.until_true("no run is left open", || house.open_runs() == 0).await;
    until_the_time_is_noticed(&house, &running).await;
    running.stop().await;
    let all = ["R-deferred", "R-in-a-run", "R-later", "R-sent", "R-waits"];
    assert_eq!(copies(&house), once_each(&all), "{jump} {daemon:?}");
    count("clock", &[("jumps there and back", 1), ("invoices", all.len()), ("copies", all.len())]);
}

#[tokio::test]
async fn a_clock_that_goes_wrong_while_sending_sends_nothing_twice_and_leaves_nothing_behind() {
    for jump in JUMPS {
        all_is_sent_once_when_the_clock_goes_wrong_by(jump, Daemon::GoesOn).await;
    }
}

#[tokio::test]
async fn a_clock_that_goes_wrong_between_stop_and_start_sends_nothing_twice_and_leaves_nothing_behind()
 {
    for jump in JUMPS {
        all_is_sent_once_when_the_clock_goes_wrong_by(jump, Daemon::IsStopped).await;
    }
}

#[tokio::test]
async fn a_retry_further_away_than_any_delay_is_due_and_one_within_it_waits() {
    for (back, is_due) in [(TimeDelta::hours(1), false), (TimeDelta::days(365), true)] {
        let house = House::with(&["erika@muster.example"], &[]).await;
        let mut first = true;
        house.relay.behave(move |moment| match moment {
            Moment::Data if std::mem::take(&mut first) => Reaction::Say("451 4.7.1 later"),
            _ => Reaction::Yes,
        });
        let running = house.start();
        house.invoice("K-1", "R-1", Release::Immediately).await;
        let whole = house.until_it_is("K-1", "R-1", "it is deferred", |whole| {
            whole.attempts.len() == 1 && whole.state == Shown::Due
        });
        let next_at = whole.await.delivery.next_at.unwrap();
        house.clock.set(house.clock.now() - back);
        if !is_due {
            until_the_time_is_noticed(&house, &running).await;
            assert_eq!(house.whole("K-1", "R-1").attempts.len(), 1);
            house.clock.set(next_at);
        }
        house.until("K-1", "R-1", Shown::Delivered).await;
        running.stop().await;
        assert_eq!(copies(&house), once_each(&["R-1"]));
    }
}

#[tokio::test]
async fn retries_of_a_clock_far_ahead_wait_for_no_paused_account() {
    let house = House::with(&["erika@muster.example"], &[]).await;
    house.account("K-2", 1, &["max@muster.example"], &[]).await;
    house.relay.behave(|moment| match moment {
        Moment::Rcpt(_) => Reaction::Say("450 4.2.1 later"),
        _ => Reaction::Yes,
    });
    let now = house.clock.now();
    house.clock.set(now + TimeDelta::days(365));
    let running = house.start();
    let is_deferred = |whole: &WholeInvoice| whole.attempts.len() == 1 && whole.state == Shown::Due;
    // More than are read at once.
    for number in 0..140 {
        let number = format!("R-{number}");
        house.invoice("K-1", &number, Release::Immediately).await;
        house.until_it_is("K-1", &number, "it is deferred", is_deferred).await;
    }
    house.clock.set(house.clock.now() + TimeDelta::days(1));
    pause(&house, PauseScope::Account(account("K-1"))).await;
    house.invoice("K-2", "S-1", Release::Immediately).await;
    house.until_it_is("K-2", "S-1", "it is deferred", is_deferred).await;
    house.relay.behave_well();
    house.clock.set(now);
    house.until("K-2", "S-1", Shown::Delivered).await;
    running.stop().await;
}

/// Goes through a day in Berlin in steps of half an hour, with an invoice waiting at any time. Returns when
/// the schedule fired.
async fn a_day_in_berlin(expression: &str, from: &str, hours: i64) -> Vec<String> {
    let mut house = House::new().await;
    let berlin = timetable(expression, chrono_tz::Europe::Berlin, true);
    house.schedules = Schedules::from_iter([(ScheduleName::default(), berlin)]);
    house.settings.tick = std::time::Duration::from_millis(2);
    let start: DateTime<Utc> = from.parse().unwrap();
    house.clock.set(start);
    house.account("K-1", 1, &["erika@muster.example"], &[]).await;
    let running = house.start();
    house.until_noted().await;
    let mut fired: Vec<String> = Vec::new();
    let mut last = start;
    house.invoice("K-1", "R-0", Release::Scheduled).await;
    for half_hour in 1..=2 * hours {
        let now = start + TimeDelta::minutes(30 * half_hour);
        house.clock.set(now);
        let looks = running.status.progress.schedule_runner();
        house
            .until_true("the schedule is looked at", || {
                running.status.progress.schedule_runner() > looks + 1
            })
            .await;
        let instant = last_instant(&house, &ScheduleName::default());
        if instant != last {
            assert_eq!(instant, now, "it fires at its time, neither late nor again");
            house.until("K-1", &format!("R-{}", fired.len()), Shown::Delivered).await;
            house.until_true("the run is closed", || house.open_runs() == 0).await;
            last = instant;
            fired.push(instant.format("%d %H:%M").to_string());
            house.invoice("K-1", &format!("R-{}", fired.len()), Release::Scheduled).await;
        }
    }
    running.stop().await;
    assert!(copies(&house).values().all(|copies| *copies == 1));
    assert_eq!(copies(&house).len(), fired.len());
    let left = house.whole("K-1", &format!("R-{}", fired.len()));
    assert_eq!(left.state, Shown::Waiting);
    count("clock", &[("changes of Berlin's time", 1), ("firings at them", fired.len())]);
    fired
}

#[tokio::test]
async fn half_past_two_fires_once_on_each_day_on_which_the_clocks_change() {
    // The clocks of Berlin go forward at 01:00 UTC, from 02:00 to 03:00: the first instant after the gap.
    let spring = a_day_in_berlin("30 2 * * *", "2027-03-27T12:00:00Z", 48).await;
    assert_eq!(spring, ["28 01:00", "29 00:30"]);
    // They go back at 01:00 UTC, from 03:00 to 02:00: the first of two times 02:30.
    let autumn = a_day_in_berlin("30 2 * * *", "2026-10-24T12:00:00Z", 48).await;
    assert_eq!(autumn, ["25 00:30", "26 01:30"]);
}

#[tokio::test]
async fn an_hourly_schedule_fires_in_each_hour_that_there_is_when_the_clocks_change() {
    for from in ["2027-03-27T22:30:00Z", "2026-10-24T22:30:00Z"] {
        let start: DateTime<Utc> = from.parse().unwrap();
        let fired = a_day_in_berlin("0 * * * *", from, 6).await;
        let hours = (0..6).map(|hour| start + TimeDelta::minutes(30 + 60 * hour));
        let hours: Vec<String> = hours.map(|at| at.format("%d %H:%M").to_string()).collect();
        assert_eq!(fired, hours);
    }
}

/// How often a run of a schedule was opened for something that waited.
fn runs_opened(house: &House, name: &str) -> usize {
    let (trail, rest) = house.store.audit(AuditOrder::OldestFirst, None, 10_000).unwrap();
    assert_eq!(rest, None);
    let scope = ReleaseScope::Schedule(AuditText::new(name));
    let opened = AuditEvent::RunOpened { scope };
    trail.iter().filter(|told| told.entry.event == opened).count()
}

#[tokio::test]
async fn a_schedule_missed_over_several_days_is_made_up_for_by_one_run_or_none() {
    for (catch_up, daemon) in [
        (true, Daemon::IsStopped),
        (false, Daemon::IsStopped),
        (true, Daemon::GoesOn),
        (false, Daemon::GoesOn),
    ] {
        let mut house = House::new().await;
        let hourly = timetable("0 * * * *", chrono_tz::UTC, catch_up);
        house.schedules = Schedules::from_iter([(ScheduleName::default(), hourly)]);
        house.account("K-1", 1, &["erika@muster.example"], &[]).await;
        let mut running = Some(house.start());
        house.until_noted().await;
        if daemon == Daemon::IsStopped
            && let Some(running) = running.take()
        {
            running.stop().await;
        }
        for (day, number) in [("23", "R-1"), ("24", "R-2"), ("25", "R-3")] {
            if daemon == Daemon::IsStopped {
                house.clock.set(at(&format!("{day}T20:00")));
            }
            house.invoice("K-1", number, Release::Scheduled).await;
        }
        // Whoever is at work sees nothing of the days over which the clock goes at one stroke.
        house.clock.set(at("26T09:30"));
        let running = running.unwrap_or_else(|| house.start());
        until_the_time_is_noticed(&house, &running).await;
        let is_made_up_for = catch_up || daemon == Daemon::GoesOn;
        if !is_made_up_for {
            assert!(house.relay.book().begun.is_empty());
            house.clock.set(at("26T10:00"));
        }
        for number in ["R-1", "R-2", "R-3"] {
            house.until("K-1", number, Shown::Delivered).await;
        }
        house.until_true("the run is closed", || house.open_runs() == 0).await;
        running.stop().await;
        let instant = at(if is_made_up_for { "26T09:00" } else { "26T10:00" });
        assert_eq!(last_instant(&house, &ScheduleName::default()), instant);
        assert_eq!(runs_opened(&house, "default"), 1);
        assert_eq!(copies(&house), once_each(&["R-1", "R-2", "R-3"]));
        count("clock", &[("missed schedules", 1), ("invoices", 3), ("copies", 3)]);
    }
}

#[tokio::test]
async fn schedules_that_fire_at_the_same_instant_release_each_invoice_once() {
    let mut house = House::new().await;
    let daily = timetable("0 8 * * *", chrono_tz::UTC, true);
    house.schedules.insert(schedule("mondays"), daily);
    let names = ["default", "mondays", "of-nobody"];
    let mut numbers = Vec::new();
    for number in 0..30 {
        let id = format!("K-{number:02}");
        let address = format!("a{number:02}@muster.example");
        let name = names[number % names.len()];
        house.account_of_schedule(&id, 1, &[&address], &[], Some(name)).await;
        for copy in ["a", "b"] {
            let number = format!("R-{number:02}-{copy}");
            house.invoice(&id, &number, Release::Scheduled).await;
            numbers.push(number);
        }
    }
    let running = house.start();
    house.until_noted().await;
    until_the_time_is_noticed(&house, &running).await;
    house.clock.set(at("23T08:00"));
    house.relay.accepted(60).await;
    house.until_true("all runs are closed", || house.open_runs() == 0).await;
    until_the_time_is_noticed(&house, &running).await;
    running.stop().await;
    for name in names {
        assert_eq!(last_instant(&house, &schedule(name)), at("23T08:00"), "{name}");
        assert_eq!(runs_opened(&house, name), 1, "{name}");
    }
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    assert_eq!(copies(&house), once_each(&numbers));
    let sent = numbers.len();
    count(
        "clock",
        &[("schedules at one instant", names.len()), ("invoices", sent), ("copies", sent)],
    );
}

#[tokio::test]
async fn a_run_that_an_operator_opened_under_a_clock_far_ahead_stops_no_schedule() {
    let house = House::new().await;
    let main = ["erika@muster.example"];
    house.account("K-1", 1, &main, &[]).await;
    let running = house.start();
    house.until_noted().await;
    let run = RunScope::Schedule(ScheduleName::default());
    let operator = Actor::Operator("erika".to_owned());
    let a_year_ahead = house.clock.now() + TimeDelta::days(365);
    let released = house.store.release(run, a_year_ahead, operator, None, a_year_ahead);
    assert!(!released.await.unwrap(), "nothing waits");
    house.invoice("K-1", "R-1", Release::Scheduled).await;
    house.clock.set(at("23T08:00"));
    house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
}

#[tokio::test]
async fn a_run_of_hundreds_that_crashes_twice_brings_each_once_but_what_is_uncertain() {
    const ACCOUNTS: usize = 75;
    const CRASHES_AFTER: [usize; 2] = [100, 200];
    let mut house = House::new().await;
    let mut invoices = Vec::new();
    for number in 0..ACCOUNTS {
        let id = format!("K-{number:02}");
        let address = format!("a{number:02}@muster.example");
        house.account(&id, 1, &[&address], &[]).await;
        for copy in 0..4 {
            let number = format!("R-{number:02}-{copy}");
            house.invoice(&id, &number, Release::Scheduled).await;
            invoices.push((id.clone(), number));
        }
    }
    let mut running = house.start();
    house.until_noted().await;
    house.clock.set(at("23T08:00"));
    for crash in CRASHES_AFTER {
        // Every connection waits after its final dot; the relay accepts without the daemon learning of it.
        let gates: Vec<Arc<Gate>> =
            (0..house.settings.connections).map(|_| Arc::default()).collect();
        let mut left = gates.clone();
        let mut messages = house.relay.book().accepted.len();
        house.relay.behave(move |moment| match moment {
            Moment::FinalDot(_) => {
                messages += 1;
                match (messages > crash).then(|| left.pop()).flatten() {
                    Some(gate) => Reaction::Wait(gate),
                    None => Reaction::Yes,
                }
            }
            _ => Reaction::Yes,
        });
        for gate in &gates {
            gate.reached().await;
        }
        running.crash().await;
        let accepted = house.relay.book().accepted.len();
        assert!((crash..invoices.len() - 50).contains(&accepted), "in the middle");
        for gate in &gates {
            gate.open();
        }
        house.relay.accepted(accepted + gates.len()).await;
        house.relay.behave_well();
        // What is repeated later is not to be dated later.
        house.clock.set(house.clock.now() + TimeDelta::minutes(1));
        house.reopen();
        running = house.start();
    }
    house.relay.until("the run goes on", |book| book.accepted.len() >= invoices.len()).await;
    house.until_true("the run is closed", || house.open_runs() == 0).await;
    house.clock.set(house.clock.now() + TimeDelta::hours(5));

    let copies_of = |number: &str| copies(&house).get(number).copied();
    let mut uncertain = 0;
    for (id, number) in &invoices {
        let whole = house.until(id, number, Shown::Delivered).await;
        let is_uncertain = outcomes(&whole).contains(&Outcome::Uncertain);
        assert_eq!(copies_of(number), Some(1 + usize::from(is_uncertain)), "{number}");
        if is_uncertain {
            uncertain += 1;
            assert_eq!(outcomes(&whole), [Outcome::Uncertain, Outcome::Accepted]);
            let accepted = house.relay.book().accepted;
            let same: BTreeSet<&str> = accepted
                .iter()
                .filter(|mail| mail.header("X-Invoice-Number") == number)
                .map(|mail| mail.message.as_str())
                .collect();
            assert_eq!(same.len(), 1, "the very same message");
        } else {
            assert_eq!(outcomes(&whole), [Outcome::Accepted]);
        }
    }
    running.stop().await;
    assert_eq!(uncertain, 2 * house.settings.connections);
    assert_eq!(runs_opened(&house, "default"), 1);
    let copies = copies(&house).values().sum();
    let counts = [
        ("crashes amid a run", CRASHES_AFTER.len()),
        ("invoices", invoices.len()),
        ("copies", copies),
        ("attempts of unknown outcome", uncertain),
    ];
    count("clock", &counts);
}
