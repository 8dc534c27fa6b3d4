//! Schedules: runs, what they include, and how far they have come.

use std::time::Duration;

use invoice_router::domain::delivery::{DeliveryId, Shown, Verdict};
use invoice_router::store::{Actor, Command, DuePlace, Run};

use super::sample::{
    id, instant, invoice, of_account, of_schedule, on_schedule, profile, schedule, urgent,
};
use super::world::World;

contract![
    a_run_includes_what_waits_when_it_is_opened,
    a_run_is_gone_through_page_by_page,
    an_open_run_is_widened_by_the_next,
    what_comes_to_wait_for_an_open_run_has_it_read_anew,
    a_run_of_one_account_is_forgotten_once_it_is_closed,
    where_nothing_waits_no_run_is_opened_and_its_instant_is_known,
    a_run_of_an_operators_is_never_too_late,
    the_last_instant_of_a_schedule_stays_known,
    schedules_in_use_are_told_once_each,
    due_is_told_in_order_and_from_a_place_on,
];

fn a_run_includes_what_waits_when_it_is_opened(world: &mut World) {
    world.account("K-1", 1, profile());
    let first = world.take(invoice("K-1", "R-1"));
    assert_eq!(world.state("K-1", "R-1"), Shown::Waiting);
    assert!(world.open_run(of_schedule("default")));
    assert!(!world.open_run(of_schedule("default")), "the instant was opened");
    world.take(invoice("K-1", "R-2"));
    assert_eq!(world.state("K-1", "R-1"), Shown::Due);
    assert_eq!(world.state("K-1", "R-2"), Shown::Waiting);
    let run = world.run(&of_schedule("default"));
    assert_eq!((run.high_water, run.cursor.clone(), run.open), (first.invoice, None, true));
    assert_eq!(world.included(&run), [first]);

    world.attempt(first, Verdict::Accepted);
    assert!(world.included(&run).is_empty());
    assert!(world.step().close_run(&run).wait().unwrap());
    assert!(!world.step().close_run(&run).wait().unwrap());
    assert_eq!(world.state("K-1", "R-2"), Shown::Waiting);
    assert!(!world.open_run(of_schedule("default")), "it stays known");
}

fn a_run_is_gone_through_page_by_page(world: &mut World) {
    let accounts = ["K-1", "K-1 a", "K-10", "K-2"];
    for account in accounts {
        world.account(account, 1, profile());
        world.take(invoice(account, "R-1"));
        world.take(invoice(account, "R-2"));
    }
    world.account("L-1", 1, on_schedule("other"));
    world.take(invoice("L-1", "R-1"));
    world.open_run(of_schedule("default"));
    let run = world.run(&of_schedule("default"));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = world.step().run_page(&run, after.as_ref(), 1).unwrap();
        let Some((account, sequences)) = page.into_iter().next() else {
            break;
        };
        assert_eq!(sequences.len(), 2);
        seen.push(account.to_string());
        world.step().advance_run(&run, account.clone()).wait().unwrap();
        after = Some(account);
    }
    assert_eq!(seen, accounts);
    assert_eq!(world.run(&of_schedule("default")).cursor, after);

    // What it has passed is not released by it any more.
    assert_eq!(world.state("K-2", "R-1"), Shown::Waiting);
}

fn an_open_run_is_widened_by_the_next(world: &mut World) {
    world.account("K-1", 1, profile());
    let first = world.take(invoice("K-1", "R-1"));
    world.open_run(of_schedule("default"));
    let narrow = world.run(&of_schedule("default"));
    world.step().advance_run(&narrow, id("K-1")).wait().unwrap();
    let second = world.take(invoice("K-1", "R-2"));
    world.pass(Duration::from_secs(60));
    assert!(world.open_run(of_schedule("default")));
    let wide = world.run(&of_schedule("default"));
    assert_eq!((wide.high_water, wide.cursor.clone()), (second.invoice, None));
    assert_eq!(world.included(&wide), [first, second]);

    // Who has only seen the narrow one neither moves nor ends the wide one.
    world.step().advance_run(&narrow, id("K-1")).wait().unwrap();
    assert!(!world.step().close_run(&narrow).wait().unwrap());
    assert_eq!(world.run(&of_schedule("default")), wide);
    assert!(world.step().close_run(&wide).wait().unwrap());
}

fn what_comes_to_wait_for_an_open_run_has_it_read_anew(world: &mut World) {
    for account in ["K-1", "K-2", "K-3"] {
        world.account(account, 1, profile());
        world.take(invoice(account, "R-1"));
    }
    world.account("L-1", 1, on_schedule("other"));
    let moved = world.take(invoice("L-1", "R-1"));
    world.hold("K-1", "R-1");
    world.hold("K-3", "R-1");
    assert!(world.open_run(of_schedule("default")));
    let read = world.run(&of_schedule("default"));
    world.step().advance_run(&read, id("K-2")).wait().unwrap();

    // It has passed this one.
    world.obey("K-1", "R-1", Command::Release { now: false });
    assert_eq!(world.state("K-1", "R-1"), Shown::Waiting);
    assert_eq!(world.run(&of_schedule("default")).latecomers, 0);

    world.obey("K-3", "R-1", Command::Release { now: false });
    assert_eq!(world.state("K-3", "R-1"), Shown::Due);
    assert!(!world.step().close_run(&read).wait().unwrap());
    world.step().advance_run(&read, id("K-3")).wait().unwrap();
    let anew = world.run(&of_schedule("default"));
    assert_eq!((anew.cursor.clone(), anew.latecomers), (Some(id("K-2")), 1));

    world.account("L-1", 2, profile());
    assert_eq!(world.state("L-1", "R-1"), Shown::Due);
    assert!(!world.step().close_run(&anew).wait().unwrap());
    let anew = world.run(&of_schedule("default"));
    let included = world.step().run_page(&anew, anew.cursor.as_ref(), 10).unwrap();
    assert_eq!(included.last(), Some(&(id("L-1"), vec![moved])));
    assert!(world.step().close_run(&anew).wait().unwrap());
}

fn a_run_of_one_account_is_forgotten_once_it_is_closed(world: &mut World) {
    for account in ["K-1", "K-2"] {
        world.account(account, 1, profile());
    }
    let first = world.take(invoice("K-1", "R-1"));
    world.take(invoice("K-2", "R-2"));
    assert!(world.open_run(of_account("K-1")));
    assert!(!world.open_run(of_account("K-1")));
    assert_eq!(world.state("K-1", "R-1"), Shown::Due);
    assert_eq!(world.state("K-2", "R-2"), Shown::Waiting);
    let run = world.run(&of_account("K-1"));
    let page = world.step().run_page(&run, None, 10).unwrap();
    assert_eq!(page, [(id("K-1"), vec![first])]);
    assert!(world.step().run_page(&run, Some(&id("K-1")), 10).unwrap().is_empty());
    assert!(world.step().close_run(&run).wait().unwrap());
    assert!(world.step().runs().unwrap().is_empty());
    assert_eq!(world.state("K-1", "R-1"), Shown::Waiting);
    assert!(world.open_run(of_account("K-1")));
}

fn where_nothing_waits_no_run_is_opened_and_its_instant_is_known(world: &mut World) {
    world.account("K-1", 1, profile());
    assert!(!world.open_run(of_schedule("default")));
    let run = world.run(&of_schedule("default"));
    assert_eq!((run.open, run.instant), (false, world.now));
    world.take(invoice("K-1", "R-1"));
    assert!(!world.open_run(of_schedule("default")), "that instant is over");
    world.pass(Duration::from_secs(60));
    assert!(world.open_run(of_schedule("default")));

    assert!(!world.open_run(of_account("K-2")));
    let runs = world.step().runs().unwrap();
    assert!(runs.iter().all(|run| run.scope != of_account("K-2")));
}

fn a_run_of_an_operators_is_never_too_late(world: &mut World) {
    world.account("K-1", 1, profile());
    world.take(invoice("K-1", "R-1"));
    assert!(world.open_run(of_schedule("default")));
    let ahead = world.run(&of_schedule("default")).instant;
    // The clock was set back by an hour.
    let before = ahead - chrono::TimeDelta::hours(1);
    for actor in [Actor::Daemon, Actor::Operator("uid:0".to_owned())] {
        let is_operators = actor != Actor::Daemon;
        let scope = of_schedule("default");
        let opened = world.step().open_run(scope, before, actor, None).wait().unwrap();
        assert_eq!(opened, is_operators);
    }
    assert!(world.run(&of_schedule("default")).instant > ahead);
}

fn the_last_instant_of_a_schedule_stays_known(world: &mut World) {
    let note = |world: &mut World, at: &str| -> Run {
        let at = instant(at);
        world.step().note_schedule(schedule("default"), at).wait().unwrap();
        world.run(&of_schedule("default"))
    };
    let first = note(world, "2026-11-23T08:00:00Z");
    assert_eq!((first.open, first.instant), (false, instant("2026-11-23T08:00:00Z")));
    assert_eq!(note(world, "2026-11-24T08:00:00Z"), first, "only the first sight counts");
    world.pass(Duration::from_secs(60));
    world.account("K-1", 1, profile());
    world.take(invoice("K-1", "R-1"));
    assert!(world.open_run(of_schedule("default")));

    // The clock was set back by a month, and the next run must not wait for one.
    assert_eq!(note(world, "2026-10-23T08:00:00Z").instant, instant("2026-10-23T08:00:00Z"));
    world.now = instant("2026-10-23T08:05:00Z");
    assert!(world.open_run(of_schedule("default")));
}

fn schedules_in_use_are_told_once_each(world: &mut World) {
    let names = ["a", "a b", "ab", "b", "täglich", "t"];
    for (n, name) in (0..).zip(names) {
        for account in [format!("K-{n}"), format!("L-{n}")] {
            world.account(&account, 1, on_schedule(name));
            world.take(invoice(&account, "R-1"));
        }
    }
    world.account("M-1", 1, on_schedule("idle"));
    world.take(urgent("M-1", "R-1"));
    let mut expected = names.map(schedule);
    expected.sort();
    assert_eq!(world.step().schedules_in_use().unwrap(), expected);

    // The last invoice that waits takes its schedule along.
    world.hold("K-3", "R-1");
    assert_eq!(world.step().schedules_in_use().unwrap(), expected);
    world.withdraw("L-3", "R-1");
    let without_b: Vec<_> = expected.into_iter().filter(|name| *name != schedule("b")).collect();
    assert_eq!(world.step().schedules_in_use().unwrap(), without_b);
}

fn due_is_told_in_order_and_from_a_place_on(world: &mut World) {
    world.account("K-1", 1, profile());
    let early = world.now;
    let first = world.take(urgent("K-1", "R-1"));
    let second = world.take(urgent("K-1", "R-2"));
    world.pass(Duration::from_secs(10));
    let later = world.now;
    let third = world.take(urgent("K-1", "R-3"));
    world.take(invoice("K-1", "R-4"));
    let place = |at, delivery: DeliveryId| DuePlace { at, delivery };
    let all = [place(early, first), place(early, second), place(later, third)];

    let due = |world: &mut World, now, after, limit| world.step().due(now, after, limit).unwrap();
    assert_eq!(due(world, later, None, 10), all);
    assert_eq!(due(world, early, None, 10), all[..2]);
    assert_eq!(due(world, later, None, 2), all[..2]);
    assert_eq!(due(world, later, Some(all[0]), 10), all[1..]);
    assert_eq!(due(world, later, Some(all[2]), 10), []);
    assert_eq!(due(world, early, Some(all[2]), 10), [], "the clock was set back");

    // A place stays good when what stood there is gone.
    world.hold("K-1", "R-1");
    assert_eq!(due(world, later, Some(all[0]), 10), all[1..]);
    let deferred = world.attempt(second, Verdict::Deferred).delivery;
    let next = place(deferred.next_at.unwrap(), second);
    assert_eq!(due(world, next.at, None, 10), [all[2], next]);
    world.obey("K-1", "R-1", Command::Release { now: true });
    assert_eq!(due(world, next.at, None, 1), [place(later, first)], "a release makes it due again");
}
