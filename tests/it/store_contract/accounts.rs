//! Changes of accounts: what they free, what they move, whom they name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use invoice_router::domain::account::Profile;
use invoice_router::domain::audit::{Actor, AuditEvent, AuditText, PausedScope};
use invoice_router::domain::change::{AccountChange, ChangeKind, Import, Warning};
use invoice_router::domain::delivery::{DeliveryId, Lane, Shown};
use invoice_router::domain::id::InvoiceNumber;
use invoice_router::domain::invoice::Invoice;
use invoice_router::domain::recipient::Recipient;
use invoice_router::store::{Accounts, ChangeAnswer, ChangeResult, Command, PauseScope, Settle};

use super::sample::{
    self, id, number, profile, selecting, sub_user, sub_user_id, urgent, version, without_addresses,
};
use super::world::{World, result_of};

contract![
    one_change_frees_hundreds_of_invoices,
    an_answer_names_a_message_exactly_if_a_look_at_the_same_time_let_it_go,
    the_largest_account_is_kept_whole,
    a_page_of_large_accounts_is_short_and_has_a_next_one,
    a_version_that_comes_back_with_other_content_is_not_the_one_that_was_seen,
    what_is_withheld_becomes_due_again_below_the_version_that_it_asked_for,
    pausing_one_account_leaves_others_alone,
    all_that_speaks_for_a_pause_is_kept_with_whose_it_is,
];

fn asking_for(raw: u64, invoice: Invoice) -> Invoice {
    Invoice { min_account_version: Some(version(raw)), ..invoice }
}

fn recipient(answer: ChangeAnswer) -> (Recipient, Vec<Warning>, Vec<InvoiceNumber>) {
    match answer {
        ChangeAnswer::Accepted { recipient, warnings, in_flight, .. } => {
            (*recipient, warnings, in_flight)
        }
        ChangeAnswer::Refused(refused) => panic!("{refused}"),
    }
}

fn one_change_frees_hundreds_of_invoices(world: &mut World) {
    world.put(sample::PDF);
    let numbers: Vec<String> = (0..300).map(|n| format!("R-{n}")).collect();
    world.at_a_stretch(|world| {
        for (n, raw) in (0..).zip(&numbers) {
            // Every tenth asks for more than the first change brings.
            let min = if n % 10 == 0 { 2 } else { 1 };
            world.issue(asking_for(min, urgent("K-1", raw)));
        }
    });
    let last = sample::delivery(300);
    let places = |world: &mut World| {
        let now = world.now;
        world.step().due(Lane::Urgent, now, None, 1_000).unwrap()
    };
    let first = world.account("K-1", 1, profile());
    // The next change and a hold come while the first is still freeing.
    world.hold("K-1", "R-298");
    world.account("K-1", 2, profile());
    world.obey("K-1", "R-298", Command::Release { now: false });
    assert_eq!(result_of(&first), ChangeResult::Applied);
    world.pass(Duration::from_secs(1));
    world.take(urgent("K-1", "R-last"));
    // Answers come before the last is freed, and others are let in between.
    let patience = Instant::now() + Duration::from_secs(30);
    let places = loop {
        let places = places(world);
        if places.len() >= 301 || Instant::now() > patience {
            break places;
        }
    };
    assert_eq!(places.len(), 301);
    let mut sequences: Vec<DeliveryId> = places.iter().map(|place| place.delivery).collect();
    sequences.sort();
    sequences.dedup();
    assert_eq!(sequences.len(), 301, "none is there twice");
    assert!(sequences.contains(&last));
    assert!(places.is_sorted());
}

fn an_answer_names_a_message_exactly_if_a_look_at_the_same_time_let_it_go(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    world.at_a_stretch(|world| {
        for raw in 2..32 {
            let begin = world.begin(sequence);
            let store = world.store();
            let to = begin.recipient.clone();
            let look = std::thread::spawn(move || store.may_go_out(sequence, &id("K-1"), &to));
            let selected = selecting(&[&format!("neu-{raw}@muster.example")]);
            let (_, _, in_flight) = recipient(world.account("K-1", raw, selected));
            let went_out = look.join().unwrap().unwrap();
            assert_eq!(went_out, in_flight == [number("R-1")]);
            let dropped = Settle::Dropped { at: world.now };
            world.store().settle(sequence, dropped).wait().unwrap();
        }
    });
}

/// With as many sub-users as there may be, and as many and as long addresses.
fn large_profile() -> Profile {
    let domain = format!("{}.{}.example", "d".repeat(60), "e".repeat(60));
    let addresses = |n: usize| -> Vec<String> {
        (0..10).map(|at| format!("{}{n}.{at}@{domain}", "a".repeat(50))).collect()
    };
    let large: BTreeMap<_, _> = (0..100)
        .map(|n| {
            let addresses = addresses(n);
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            (sub_user_id(&format!("u-{n}")), sub_user("billing", &addresses))
        })
        .collect();
    Profile { sub_users: large, billing_contact: Some(sub_user_id("u-99")), ..profile() }
}

fn the_largest_account_is_kept_whole(world: &mut World) {
    let large = large_profile();
    for n in 0..3 {
        world.take(urgent("K-1", &format!("R-{n}")));
    }
    world.account("K-1", 1, large.clone());
    assert_eq!(world.due().len(), 3);
    let stored = |world: &mut World| {
        let view = world.step().account(&id("K-1")).unwrap().unwrap();
        view.account.profile().clone()
    };
    assert_eq!(stored(world), large);
    world.account("K-1", 2, profile());
    assert_eq!(stored(world), profile());
    world.account("K-1", 3, large.clone());
    assert_eq!(stored(world), large);
    assert_eq!(world.step().accounts(None, 10).unwrap().items.len(), 1);
}

fn a_page_of_large_accounts_is_short_and_has_a_next_one(world: &mut World) {
    let large = large_profile();
    for n in 10..40 {
        world.account(&format!("K-{n}"), 1, large.clone());
    }
    let (mut after, mut told, mut pages) = (None, 0, 0);
    loop {
        let Accounts { items, next, .. } = world.step().accounts(after.as_ref(), 500).unwrap();
        assert!(items.len() < 30, "they come to more than 4 MiB: {}", items.len());
        told += items.len();
        pages += 1;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(told, 30);
    assert!(pages > 1, "{pages}");
}

/// Brings an account at a version, whatever the current one.
fn put_into_force(world: &mut World, raw: u64, profile: Profile) {
    let change = AccountChange {
        account: id("K-1"),
        version: version(raw),
        timestamp: world.now,
        kind: ChangeKind::Imported(Import { profile, closed: false, accept_version: true }),
    };
    let (operator, now) = (Actor::Operator("anna".to_owned()), world.now);
    let commit = world.step().import_account(change, operator, None, now);
    assert_eq!(result_of(&commit.wait().unwrap()), ChangeResult::Applied);
}

fn what_is_withheld_becomes_due_again_below_the_version_that_it_asked_for(world: &mut World) {
    world.account("K-1", 10, without_addresses());
    let mut asking = urgent("K-1", "R-1");
    asking.min_account_version = Some(version(9));
    let sequence = world.take(asking);
    let job = world.step().job(sequence).unwrap().unwrap();
    let now = world.now;
    let withheld = world.step().withhold(sequence, job.seen, now).wait();
    assert_eq!(withheld, Ok(true));
    world.pass(Duration::from_secs(1));
    put_into_force(world, 5, profile());
    assert_eq!(world.view("K-1", "R-1").state, Shown::Due);
}

/// What is decided on a version that an import puts into force again is not taken for the same.
fn a_version_that_comes_back_with_other_content_is_not_the_one_that_was_seen(world: &mut World) {
    world.account("K-1", 5, profile());
    let sequence = world.take(urgent("K-1", "RE-1"));
    let job = world.step().job(sequence).unwrap().unwrap();
    world.pass(Duration::from_secs(1));
    put_into_force(world, 5, without_addresses());
    let now = world.now;
    let withheld = world.step().withhold(sequence, job.seen, now).wait();
    assert_eq!(withheld, Ok(false));
}

fn all_that_speaks_for_a_pause_is_kept_with_whose_it_is(world: &mut World) {
    use invoice_router::store::AuditOrder;
    let (scope, now) = (PauseScope::Removal, world.now);
    let anna = Actor::Operator("anna".to_owned());
    for (actor, reason, is_new) in [
        (anna.clone(), "an audit", true),
        (anna, "an audit", false),
        (Actor::Operator("ben".to_owned()), "a lawsuit", false),
        (Actor::Daemon, "the clock stepped", false),
        (Actor::Daemon, "the clock stepped", false),
    ] {
        let paused = world.step().pause(scope.clone(), reason.to_owned(), actor, now);
        assert_eq!(paused.wait(), Ok(is_new), "{reason}");
    }
    let paused = world.step().paused(&scope).unwrap().unwrap();
    let (anna, ben) = (Actor::Operator("anna".to_owned()), Actor::Operator("ben".to_owned()));
    assert_eq!(
        paused.reasons().collect::<Vec<_>>(),
        [(&anna, "an audit"), (&ben, "a lawsuit"), (&Actor::Daemon, "the clock stepped")]
    );
    let (trail, _) = world.step().audit(AuditOrder::NewestFirst, None, 5).unwrap();
    let told: Vec<_> = trail
        .iter()
        .map(|audited| {
            let reason = audited.entry.reason.as_ref().map(AuditText::as_str);
            (&audited.entry.event, reason.unwrap_or_default())
        })
        .collect();
    let scope = PausedScope::Removal;
    assert_eq!(
        told,
        [
            (&AuditEvent::PauseReasonAdded { scope }, "the clock stepped"),
            (&AuditEvent::PauseReasonAdded { scope }, "a lawsuit"),
            (&AuditEvent::Paused { scope }, "an audit"),
        ]
    );
}

fn pausing_one_account_leaves_others_alone(world: &mut World) {
    world.account("K-1", 1, profile());
    world.account("K-2", 1, profile());
    let first = world.take(urgent("K-1", "R-1"));
    let second = world.take(urgent("K-2", "R-2"));
    let scope = PauseScope::Account(id("K-1"));
    let now = world.now;
    let anna = || Actor::Operator("anna".to_owned());
    let pause = |world: &mut World, scope: &PauseScope| {
        let reason = "fraud?".to_owned();
        let paused = world.step().pause(scope.clone(), reason, anna(), now);
        paused.wait().unwrap()
    };
    assert!(pause(world, &scope));
    assert!(!pause(world, &scope), "it is paused already");
    let paused = world.step().paused(&scope).unwrap().unwrap();
    assert_eq!((paused.by, paused.since), (anna(), now));
    assert!(world.step().job(first).unwrap().unwrap().paused.is_some());
    assert!(world.step().job(second).unwrap().unwrap().paused.is_none());
    assert!(world.step().paused(&PauseScope::Everything).unwrap().is_none());
    let in_force = |world: &mut World, account: Option<&str>| {
        let account = account.map(id);
        let paused = world.step().current_pause(account.as_ref()).unwrap();
        paused.map(|paused| paused.scope)
    };
    assert_eq!(in_force(world, Some("K-1")), Some(scope.clone()));
    assert_eq!(in_force(world, Some("K-2")), None);
    assert_eq!(in_force(world, None), None);

    assert!(pause(world, &PauseScope::Everything));
    for account in [Some("K-1"), Some("K-2"), None] {
        assert_eq!(in_force(world, account), Some(PauseScope::Everything));
    }
    assert!(
        world.step().job(second).unwrap().unwrap().paused.is_none(),
        "sending asks for the account's own"
    );
    let resume = |world: &mut World| {
        let resumed = world.step().resume(scope.clone(), None, anna(), now);
        resumed.wait().unwrap()
    };
    assert!(resume(world));
    assert!(!resume(world));
    assert!(world.step().paused(&scope).unwrap().is_none());
    assert!(world.step().paused(&PauseScope::Everything).unwrap().is_some());
}
