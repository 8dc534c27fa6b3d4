//! Schedules: what a run releases, and what is due then.

use std::time::Duration;

use invoice_router::domain::audit::{Actor, AuditEvent, AuditText, ReleaseScope};
use invoice_router::domain::delivery::{DeliveryId, Lane, Shown, Verdict};
use invoice_router::store::{Command, DuePlace, Run};

use super::sample::{
    id, instant, invoice, of_account, of_schedule, on_schedule, profile, schedule, urgent,
};
use super::world::World;

contract![
    a_release_makes_due_what_waits_by_then_and_nothing_that_comes_later,
    a_release_passes_by_what_is_held,
    a_release_of_thousands_leaves_nothing_behind_and_says_who_did_it,
    a_release_of_one_account_leaves_no_run,
    what_waits_is_shown_account_by_account,
    where_nothing_waits_no_run_is_opened_and_its_instant_is_known,
    a_run_of_an_operators_is_never_too_late,
    the_last_instant_of_a_schedule_stays_known,
    schedules_in_use_are_told_once_each,
    due_is_told_in_order_and_from_a_place_on,
    what_is_due_keeps_its_lane,
];

fn a_release_makes_due_what_waits_by_then_and_nothing_that_comes_later(world: &mut World) {
    world.account("K-1", 1, profile());
    let first = world.take(invoice("K-1", "R-1"));
    assert_eq!(world.state("K-1", "R-1"), Shown::Waiting);
    assert!(world.release(of_schedule("default")));
    assert!(!world.release(of_schedule("default")), "the instant was dealt with");
    world.take(invoice("K-1", "R-2"));
    assert_eq!(world.state("K-1", "R-1"), Shown::Due);
    assert_eq!(world.state("K-1", "R-2"), Shown::Waiting);
    assert_eq!(world.due(), [first]);
    let run = world.run(&of_schedule("default"));
    assert_eq!((run.high_water, run.cursor.clone(), run.open), (first.invoice, None, false));

    world.attempt(first, Verdict::Accepted);
    assert!(!world.release(of_schedule("default")), "it stays known");
    assert_eq!(world.state("K-1", "R-2"), Shown::Waiting);
    world.pass(Duration::from_secs(60));
    assert!(world.release(of_schedule("default")));
    assert_eq!(world.state("K-1", "R-1"), Shown::Delivered);
    assert_eq!(world.state("K-1", "R-2"), Shown::Due);
}

fn a_release_passes_by_what_is_held(world: &mut World) {
    world.account("K-1", 1, profile());
    world.take(invoice("K-1", "R-1"));
    let second = world.take(invoice("K-1", "R-2"));
    world.hold("K-1", "R-1");
    assert!(world.release(of_schedule("default")));
    assert_eq!(world.due(), [second]);
    assert_eq!(world.obey("K-1", "R-1", Command::Release { now: false }), Shown::Waiting);
    // What is due stays so, held in between or not.
    world.hold("K-1", "R-2");
    assert_eq!(world.obey("K-1", "R-2", Command::Release { now: false }), Shown::Due);
    world.pass(Duration::from_secs(60));
    assert!(world.release(of_schedule("default")));
    assert_eq!(world.state("K-1", "R-1"), Shown::Due);
}

fn a_release_of_thousands_leaves_nothing_behind_and_says_who_did_it(world: &mut World) {
    // One account has more than a unit takes, and units end within accounts and between them.
    let counts = [("K-1", 150), ("K-1 a", 1), ("K-10", 2), ("K-2", 70), ("K-3", 1), ("K-4", 30)];
    let mut all = Vec::new();
    world.at_a_stretch(|world| {
        for (account, count) in counts {
            world.account(account, 1, profile());
            for n in 0..count {
                all.push(world.take(invoice(account, &format!("R-{n}"))));
            }
        }
        world.account("L-1", 1, on_schedule("other"));
        world.take(invoice("L-1", "R-1"));
    });
    let now = world.now;
    let erika = Actor::Operator("erika".to_owned());
    let released = world.step().release(of_schedule("default"), now, erika.clone(), None, now);
    assert!(released.wait().unwrap());
    world.until_released();
    assert_eq!(world.due(), all);
    assert_eq!(world.state("L-1", "R-1"), Shown::Waiting);
    let run = world.run(&of_schedule("default"));
    assert_eq!((run.cursor, run.open), (None, false));
    for (account, raw) in [("K-1", "R-0"), ("K-1", "R-149"), ("K-4", "R-29")] {
        let view = world.view(account, raw);
        let told: Vec<_> = view.story[1..].iter().map(|one| (&one.actor, &one.event)).collect();
        let scope = ReleaseScope::Schedule(AuditText::new("default"));
        assert_eq!(told, [(&erika, &AuditEvent::ReleasedByRun { scope })]);
        assert_eq!(view.delivery.next_at, Some(now));
    }
}

fn a_release_of_one_account_leaves_no_run(world: &mut World) {
    for account in ["K-1", "K-2"] {
        world.account(account, 1, profile());
    }
    let first = world.take(invoice("K-1", "R-1"));
    world.take(invoice("K-2", "R-2"));
    assert!(world.release(of_account("K-1")));
    assert!(!world.release(of_account("K-1")));
    assert_eq!(world.due(), [first]);
    assert_eq!(world.state("K-2", "R-2"), Shown::Waiting);
    assert!(world.step().runs().unwrap().is_empty());
    world.take(invoice("K-1", "R-3"));
    assert!(world.release(of_account("K-1")));
}

fn what_waits_is_shown_account_by_account(world: &mut World) {
    let accounts = ["K-1", "K-1 a", "K-10", "K-2"];
    for account in accounts {
        world.account(account, 1, profile());
        world.take(invoice(account, "R-1"));
        world.take(invoice(account, "R-2"));
        world.take(invoice(account, "R-3"));
        world.hold(account, "R-3");
    }
    world.account("L-1", 1, on_schedule("other"));
    world.take(invoice("L-1", "R-1"));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = world.step().waiting(&of_schedule("default"), after.as_ref(), 1).unwrap();
        let Some((account, sequences)) = page.into_iter().next() else {
            break;
        };
        assert_eq!(sequences.len(), 2);
        seen.push(account.to_string());
        after = Some(account);
    }
    assert_eq!(seen, accounts);
    let of_one = world.step().waiting(&of_account("K-2"), None, 10).unwrap();
    assert_eq!(of_one.len(), 1);
    assert!(world.step().waiting(&of_account("K-2"), Some(&id("K-2")), 10).unwrap().is_empty());
}

fn where_nothing_waits_no_run_is_opened_and_its_instant_is_known(world: &mut World) {
    world.account("K-1", 1, profile());
    assert!(!world.release(of_schedule("default")));
    let run = world.run(&of_schedule("default"));
    assert_eq!((run.open, run.instant), (false, world.now));
    world.take(invoice("K-1", "R-1"));
    assert!(!world.release(of_schedule("default")), "that instant is over");
    world.pass(Duration::from_secs(60));
    assert!(world.release(of_schedule("default")));

    assert!(!world.release(of_account("K-2")));
    let runs = world.step().runs().unwrap();
    assert!(runs.iter().all(|run| run.scope != of_account("K-2")));
}

fn a_run_of_an_operators_is_never_too_late(world: &mut World) {
    world.account("K-1", 1, profile());
    world.take(invoice("K-1", "R-1"));
    assert!(world.release(of_schedule("default")));
    world.take(invoice("K-1", "R-2"));
    let ahead = world.run(&of_schedule("default")).instant;
    // The clock was set back by an hour.
    let before = ahead - chrono::TimeDelta::hours(1);
    for actor in [Actor::Daemon, Actor::Operator("uid:0".to_owned())] {
        let is_operators = actor != Actor::Daemon;
        let scope = of_schedule("default");
        let released = world.step().release(scope, before, actor, None, before).wait().unwrap();
        assert_eq!(released, is_operators);
    }
    assert!(world.run(&of_schedule("default")).instant > ahead);
    let whole = world.view("K-1", "R-2");
    assert_eq!(whole.delivery.next_at, Some(before), "it is due by the clock of now");
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
    assert!(world.release(of_schedule("default")));

    world.take(invoice("K-1", "R-2"));
    // The clock was set back by a month, and the next run must not wait for one.
    assert_eq!(note(world, "2026-10-23T08:00:00Z").instant, instant("2026-10-23T08:00:00Z"));
    world.now = instant("2026-10-23T08:05:00Z");
    assert!(world.release(of_schedule("default")));
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

    let due = |world: &mut World, now, after, limit| {
        world.step().due(Lane::Urgent, now, after, limit).unwrap()
    };
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

fn what_is_due_keeps_its_lane(world: &mut World) {
    world.account("K-1", 1, profile());
    let scheduled: Vec<DeliveryId> =
        ["R-1", "R-2"].map(|raw| world.take(invoice("K-1", raw))).to_vec();
    world.release(of_schedule("default"));
    let urgent_one = world.take(urgent("K-1", "R-3"));
    let lanes = |world: &mut World| {
        let far = world.now + chrono::TimeDelta::days(1);
        Lane::ALL.map(|lane| {
            let places = world.step().due(lane, far, None, 10).unwrap();
            places.into_iter().map(|place| place.delivery).collect::<Vec<_>>()
        })
    };
    assert_eq!(lanes(world), [vec![urgent_one], scheduled.clone()]);

    // A retry keeps it, a hold that is ended too.
    world.attempt(scheduled[0], Verdict::Deferred);
    world.attempt(urgent_one, Verdict::Deferred);
    world.hold("K-1", "R-2");
    world.obey("K-1", "R-2", Command::Release { now: false });
    let [first, mut second] = lanes(world);
    second.sort();
    assert_eq!((first, second), (vec![urgent_one], scheduled.clone()));

    // Whoever is released at once, or sent again, is urgent from then on.
    world.hold("K-1", "R-2");
    world.obey("K-1", "R-2", Command::Release { now: true });
    assert_eq!(lanes(world)[1], [scheduled[0]]);
    world.attempt(scheduled[0], Verdict::Accepted);
    world.obey("K-1", "R-1", Command::Resend { revision: 1 });
    assert_eq!(lanes(world)[1], []);
    world.attempt(scheduled[0], Verdict::Deferred);
    assert_eq!(lanes(world)[1], []);
}
