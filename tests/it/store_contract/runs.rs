//! Schedules: what a run releases, and what is due then.

use std::time::Duration;

use invoice_router::domain::audit::{Actor, AuditEvent, AuditText, ReleaseScope};
use invoice_router::domain::delivery::Shown;
use invoice_router::store::Run;

use super::sample::{instant, invoice, of_schedule, on_schedule, profile, schedule};
use super::world::World;

contract![
    a_release_of_thousands_leaves_nothing_behind_and_says_who_did_it,
    a_run_of_an_operators_is_never_too_late,
    the_last_instant_of_a_schedule_stays_known,
];

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
