//! Events: what is remembered of them, and what versions decide.

use invoice_router::domain::change::ChangeKind;
use invoice_router::store::{ChangeAnswer, ChangeResult, Deduplicated};

use super::sample::{self, id, profile, sender, webhook_id};
use super::world::{DAY, World, result_of};

contract![
    an_id_is_remembered_over_midnight_and_after_the_clock_was_set_back,
    an_id_is_forgotten_after_its_days,
    the_time_in_the_portal_is_told_to_the_millisecond,
];

fn an_id_is_remembered_over_midnight_and_after_the_clock_was_set_back(world: &mut World) {
    world.now = sample::instant("2026-11-23T23:59:59.999Z");
    let first = world.event_of("msg_a", "body");
    let update = ChangeKind::Updated(profile());
    world.change_as(first.clone(), "K-1", 1, update.clone());
    for now in ["2026-11-24T00:00:00Z", "2026-11-22T12:00:00Z"] {
        world.now = sample::instant(now);
        let again = world.event_of("msg_a", "body");
        let answer = world.change_as(again, "K-1", 1, update.clone());
        assert!(matches!(answer, Deduplicated::Repeated(_)), "{now}: {answer:?}");
    }
}

fn an_id_is_forgotten_after_its_days(world: &mut World) {
    let remembered = |world: &mut World| {
        let now = world.now;
        let id = webhook_id("msg_a");
        world.step().remembered(&sender("portal"), &id, now).unwrap()
    };
    assert_eq!(remembered(world), None);
    let first = world.event_of("msg_a", "body");
    world.change_as(first.clone(), "K-1", 1, ChangeKind::Updated(profile()));
    world.pass(7 * DAY);
    world.sweep();
    assert_eq!(remembered(world), Some(first.short_digest()));
    world.pass(2 * DAY);
    world.sweep();
    assert_eq!(remembered(world), None);
    let first = world.event_of("msg_a", "other body");
    let answer = world.change_as(first, "K-1", 2, ChangeKind::Closed);
    assert!(matches!(answer, Deduplicated::New(_)), "{answer:?}");
}

fn the_time_in_the_portal_is_told_to_the_millisecond(world: &mut World) {
    world.now = sample::instant("2026-11-23T08:00:00.000200Z");
    world.account("K-1", 2, profile());
    // Both came about in the same millisecond, and the earlier one comes last.
    world.now = sample::instant("2026-11-23T08:00:00.000100Z");
    let answer = world.change("K-1", 1, ChangeKind::Updated(profile()));
    assert_eq!(result_of(&answer), ChangeResult::Stale);
    let account = world.step().account(&id("K-1")).unwrap().unwrap().account;
    let ChangeAnswer::Accepted { account: answered, .. } = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(*answered, account);
}
