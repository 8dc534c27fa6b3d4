//! Events: what is remembered of them, and what versions decide.

use std::time::Duration;

use invoice_router::domain::change::{ChangeKind, Refused};
use invoice_router::domain::delivery::{Shown, Verdict};
use invoice_router::domain::id::Version;
use invoice_router::store::{
    ChangeAnswer, ChangeResult, Command, IssueAnswer, Judged, WithdrawAnswer,
};

use super::sample::{
    self, contact, id, invoice, number, profile, sender, sub_user_id, urgent, version, webhook_id,
};
use super::world::{DAY, World, result_of};

contract![
    a_repeated_event_is_answered_with_the_state_of_now,
    an_id_with_other_bytes_is_refused,
    a_refused_event_is_judged_anew,
    an_id_is_remembered_over_midnight_and_after_the_clock_was_set_back,
    an_id_is_forgotten_after_its_days,
    versions_decide_over_a_change,
    the_time_in_the_portal_is_told_to_the_millisecond,
    a_repeated_withdrawal_does_not_act_again,
];

fn a_repeated_event_is_answered_with_the_state_of_now(world: &mut World) {
    world.put(sample::PDF);
    let first = world.event();
    let answer = world.issue_as(first.clone(), invoice("K-1", "R-1"));
    assert!(matches!(answer, Judged::New(IssueAnswer::Parked(_))), "{answer:?}");
    let created = world.event();
    let update = ChangeKind::Updated(profile());
    world.change_as(created.clone(), "K-1", 1, update.clone());
    world.account("K-1", 2, profile());

    let answer = world.issue_as(first, invoice("K-1", "R-1"));
    let Judged::Repeated(IssueAnswer::Duplicate(standing)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(standing.state, Shown::Waiting);
    let answer = world.change_as(created, "K-1", 1, update);
    let Judged::Repeated(ChangeAnswer::Accepted { result, account, .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(result, ChangeResult::Duplicate);
    assert_eq!(account.version(), version(2));
}

fn an_id_with_other_bytes_is_refused(world: &mut World) {
    let first = world.event_of("msg_a", "one body");
    world.change_as(first, "K-1", 1, ChangeKind::Updated(profile()));
    let other = world.event_of("msg_a", "another body");
    let answer = world.change_as(other.clone(), "K-1", 2, ChangeKind::Closed);
    assert_eq!(answer, Judged::IdReused);
    let answer = world.step().withdraw(other.clone(), id("K-1"), number("R-1"));
    assert_eq!(answer.wait().unwrap(), Judged::IdReused);
    assert_eq!(world.issue_as(other.clone(), invoice("K-1", "R-1")), Judged::IdReused);
    assert!(world.look("K-1", "R-1").is_none());

    let mut of_another = other;
    of_another.sender = sender("billing");
    let answer = world.change_as(of_another, "K-1", 2, ChangeKind::Closed);
    assert!(matches!(answer, Judged::New(_)), "ids are each sender's own");
}

fn a_refused_event_is_judged_anew(world: &mut World) {
    world.account("K-1", 1, profile());
    let early = world.event();
    let removal = ChangeKind::SubUserRemoved(sub_user_id("u-1"));
    let answer = world.change_as(early.clone(), "K-1", 3, removal.clone());
    let gap = Refused::VersionGap { current: version(1) };
    assert_eq!(answer, Judged::New(ChangeAnswer::Refused(gap)));
    world.change("K-1", 2, ChangeKind::Closed);
    let answer = world.change_as(early.clone(), "K-1", 3, removal);
    let Judged::New(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(result_of(&answer), ChangeResult::Applied);

    let early = world.event();
    let answer = world.issue_as(early.clone(), invoice("K-1", "R-1"));
    let missing = IssueAnswer::DocumentsMissing(vec![sample::digest(sample::PDF)]);
    assert_eq!(answer, Judged::New(missing));
    world.put(sample::PDF);
    let answer = world.issue_as(early, invoice("K-1", "R-1"));
    assert!(matches!(answer, Judged::New(IssueAnswer::Applied(_))), "{answer:?}");
}

fn an_id_is_remembered_over_midnight_and_after_the_clock_was_set_back(world: &mut World) {
    world.now = sample::instant("2026-11-23T23:59:59.999Z");
    let first = world.event_of("msg_a", "body");
    let update = ChangeKind::Updated(profile());
    world.change_as(first.clone(), "K-1", 1, update.clone());
    for now in ["2026-11-24T00:00:00Z", "2026-11-22T12:00:00Z"] {
        world.now = sample::instant(now);
        let again = world.event_of("msg_a", "body");
        let answer = world.change_as(again, "K-1", 1, update.clone());
        assert!(matches!(answer, Judged::Repeated(_)), "{now}: {answer:?}");
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
    assert!(matches!(answer, Judged::New(_)), "{answer:?}");
}

fn versions_decide_over_a_change(world: &mut World) {
    let current = version(5);
    let removal = || ChangeKind::SubUserRemoved(sub_user_id("u-1"));
    let refused = |refused| ChangeAnswer::Refused(refused);
    let gap = Refused::VersionGap { current: Version::UNKNOWN };
    assert_eq!(world.change("K-1", 1, removal()), refused(gap));
    world.account("K-1", 5, profile());

    let answer = world.change("K-1", 5, ChangeKind::Updated(profile()));
    assert_eq!(result_of(&answer), ChangeResult::Duplicate);
    let mut other = profile();
    other.main_contact = contact("Max Muster", &["max@muster.example"]);
    assert_eq!(
        world.change("K-1", 5, ChangeKind::Updated(other)),
        refused(Refused::VersionConflict { current })
    );
    assert_eq!(world.change("K-1", 7, removal()), refused(Refused::VersionGap { current }));
    let answer = world.change("K-1", 4, ChangeKind::Updated(profile()));
    assert_eq!(result_of(&answer), ChangeResult::Stale);
    world.pass(Duration::from_secs(1));
    assert_eq!(
        world.change("K-1", 4, ChangeKind::Closed),
        refused(Refused::VersionRegressed { current })
    );
    assert_eq!(world.step().account_version(&id("K-1")).unwrap(), current);
    assert_eq!(world.step().account_version(&id("K-2")).unwrap(), Version::UNKNOWN);
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

fn a_repeated_withdrawal_does_not_act_again(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    let begin = world.begin(sequence);
    let event = world.event();
    let withdraw = |world: &mut World| {
        let answer = world.step().withdraw(event.clone(), id("K-1"), number("R-1"));
        answer.wait().unwrap()
    };
    assert_eq!(withdraw(world), Judged::New(WithdrawAnswer::Recorded));
    let repeated = |state| Judged::Repeated(WithdrawAnswer::Duplicate { state });
    assert_eq!(withdraw(world), repeated(Shown::Sending));
    world.settle(sequence, &begin, Verdict::Uncertain);
    assert_eq!(world.state("K-1", "R-1"), Shown::Held);
    assert_eq!(withdraw(world), repeated(Shown::Held));

    // An operator knows better and lets it go.
    world.obey("K-1", "R-1", Command::Release { now: true });
    assert_eq!(withdraw(world), repeated(Shown::Due));
    assert_eq!(world.state("K-1", "R-1"), Shown::Due);
    world.attempt(sequence, Verdict::Accepted);
    assert_eq!(withdraw(world), repeated(Shown::Delivered));
    world.pass(31 * DAY);
    world.sweep();
    let event = world.event();
    let answer = world.step().withdraw(event, id("K-1"), number("R-1"));
    let state = Shown::Delivered;
    assert_eq!(
        answer.wait().unwrap(),
        Judged::New(WithdrawAnswer::AlreadySent { state }),
        "an event of its own is told"
    );
}
