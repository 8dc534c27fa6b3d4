//! Changes of accounts: what they free, what they move, whom they name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use invoice_router::domain::account::Profile;
use invoice_router::domain::address::HeaderText;
use invoice_router::domain::audit::{Actor, AuditEvent, AuditText, PausedScope};
use invoice_router::domain::change::{AccountChange, ChangeKind, Import, Warning};
use invoice_router::domain::delivery::{DeliveryId, Lane, Shown, Verdict};
use invoice_router::domain::id::InvoiceNumber;
use invoice_router::domain::invoice::Invoice;
use invoice_router::domain::recipient::{Recipient, Rule};
use invoice_router::store::{
    Accounts, ChangeAnswer, ChangeResult, Command, Filter, IssueAnswer, Judged, PauseScope, Settle,
};

use super::sample::{
    self, address, contact, id, invoice, number, of_schedule, on_schedule, profile, schedule,
    selecting, sub_user, sub_user_id, urgent, version, without_addresses,
};
use super::world::{World, result_of};

contract![
    an_invoice_of_an_unknown_account_is_freed_by_it,
    an_invoice_waits_for_the_version_that_it_asks_for,
    one_change_frees_hundreds_of_invoices,
    an_invoice_held_while_parked_is_freed_and_goes_on_when_released,
    an_invoice_released_at_once_while_parked_does_not_wait_for_its_schedule,
    what_is_withheld_becomes_due_with_the_next_change,
    what_is_withheld_and_held_becomes_due_when_released,
    a_change_of_schedule_takes_along_what_waits,
    a_mark_is_cleared_with_the_addresses_of_its_own_contact_only,
    a_selected_sub_user_that_goes_is_deselected,
    an_answer_names_what_was_past_the_last_look,
    an_answer_does_not_name_what_has_its_last_look_ahead,
    an_answer_names_a_message_exactly_if_a_look_at_the_same_time_let_it_go,
    the_largest_account_is_kept_whole,
    accounts_are_listed_by_id,
    a_page_of_large_accounts_is_short_and_has_a_next_one,
    an_import_that_accepts_its_version_counts_over_a_newer_one,
    a_version_that_comes_back_with_other_content_is_not_the_one_that_was_seen,
    an_event_that_an_import_has_undone_is_judged_anew_when_it_comes_again,
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

fn an_invoice_of_an_unknown_account_is_freed_by_it(world: &mut World) {
    world.put(sample::PDF);
    let answer = world.issue(invoice("K-1", "R-1"));
    let IssueAnswer::Parked(standing) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((standing.state, standing.recipient), (Shown::Parked, None));
    let at_once = world.take(urgent("K-1", "R-2"));
    world.take(urgent("K-10", "R-3"));
    assert!(world.due().is_empty());

    world.account("K-1", 1, profile());
    assert_eq!(world.state("K-1", "R-1"), Shown::Waiting);
    assert_eq!(world.due(), [at_once]);
    assert_eq!(world.state("K-10", "R-3"), Shown::Parked);
}

fn an_invoice_waits_for_the_version_that_it_asks_for(world: &mut World) {
    world.account("K-1", 1, profile());
    world.take(asking_for(3, urgent("K-1", "R-3")));
    world.take(asking_for(2, urgent("K-1", "R-2")));
    world.take(asking_for(1, urgent("K-1", "R-1")));
    assert_eq!(world.state("K-1", "R-1"), Shown::Due);
    world.change("K-1", 2, ChangeKind::Closed);
    assert_eq!(world.state("K-1", "R-2"), Shown::Due);
    assert_eq!(world.state("K-1", "R-3"), Shown::Parked);
    world.account("K-1", 9, profile());
    assert_eq!(world.state("K-1", "R-3"), Shown::Due);
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

fn an_invoice_held_while_parked_is_freed_and_goes_on_when_released(world: &mut World) {
    world.take(invoice("K-1", "R-1"));
    let sequence = world.take(urgent("K-1", "R-2"));
    assert_eq!(world.hold("K-1", "R-1"), Shown::Held);
    assert_eq!(world.hold("K-1", "R-2"), Shown::Held);
    world.account("K-1", 1, profile());
    assert_eq!(world.state("K-1", "R-1"), Shown::Held);
    assert!(world.due().is_empty());
    assert!(world.step().schedules_in_use().unwrap().is_empty());
    let release = Command::Release { now: false };
    assert_eq!(world.obey("K-1", "R-1", release.clone()), Shown::Waiting);
    assert_eq!(world.obey("K-1", "R-2", release), Shown::Due);
    assert_eq!(world.due(), [sequence]);
    assert_eq!(world.step().schedules_in_use().unwrap(), [schedule("default")]);
}

fn an_invoice_released_at_once_while_parked_does_not_wait_for_its_schedule(world: &mut World) {
    let first = world.take(invoice("K-1", "R-1"));
    world.take(invoice("K-1", "R-2"));
    let held_again = world.take(invoice("K-1", "R-3"));
    for raw in ["R-1", "R-2", "R-3"] {
        world.hold("K-1", raw);
        let released = world.obey("K-1", raw, Command::Release { now: true });
        assert_eq!(released, Shown::Parked, "never before its account is known");
    }
    world.hold("K-1", "R-2");
    world.obey("K-1", "R-2", Command::Release { now: false });
    world.hold("K-1", "R-3");
    let listed = world.step().invoices(&Filter::default(), None, 1).unwrap();
    assert_eq!(listed.items[0].next_at, None);

    world.pass(Duration::from_secs(60));
    world.account("K-1", 1, profile());
    assert_eq!(world.due(), [first]);
    assert_eq!(world.state("K-1", "R-2"), Shown::Waiting, "the last word counts");
    assert_eq!(world.state("K-1", "R-3"), Shown::Held);
    world.obey("K-1", "R-3", Command::Release { now: false });
    assert_eq!(world.due(), [first, held_again]);
}

/// Brings an invoice that nobody can be reached for.
fn withhold(world: &mut World) -> DeliveryId {
    world.account("K-1", 1, without_addresses());
    let sequence = world.take(urgent("K-1", "R-1"));
    let seen = world.step().job(sequence).unwrap().unwrap().seen;
    let now = world.now;
    let withheld = world.step().withhold(sequence, seen, now).wait().unwrap();
    assert!(withheld);
    let again = world.step().withhold(sequence, seen, now).wait().unwrap();
    assert!(!again, "it moved since it was seen");
    assert_eq!(world.state("K-1", "R-1"), Shown::Withheld);
    assert!(world.due().is_empty());
    sequence
}

fn what_is_withheld_becomes_due_with_the_next_change(world: &mut World) {
    let sequence = withhold(world);
    world.account("K-2", 1, profile());
    assert!(world.due().is_empty());
    world.account("K-1", 2, profile());
    assert_eq!(world.due(), [sequence]);
    let seen = world.step().job(sequence).unwrap().unwrap().seen;
    let now = world.now;
    let withheld = world.step().withhold(sequence, seen, now).wait().unwrap();
    assert!(!withheld, "somebody can be reached");
    world.attempt(sequence, Verdict::Accepted);
    assert_eq!(world.state("K-1", "R-1"), Shown::Delivered);
}

fn what_is_withheld_and_held_becomes_due_when_released(world: &mut World) {
    let sequence = withhold(world);
    world.hold("K-1", "R-1");
    world.account("K-1", 2, profile());
    assert_eq!(world.state("K-1", "R-1"), Shown::Held);
    assert!(world.due().is_empty());
    world.obey("K-1", "R-1", Command::Release { now: false });
    assert_eq!(world.due(), [sequence]);
}

fn a_change_of_schedule_takes_along_what_waits(world: &mut World) {
    world.account("K-1", 1, on_schedule("weekly"));
    world.account("K-2", 1, on_schedule("weekly"));
    let first = world.take(invoice("K-1", "R-1"));
    let second = world.take(invoice("K-2", "R-2"));
    world.account("K-1", 2, on_schedule("daily"));
    let in_use = world.step().schedules_in_use().unwrap();
    assert_eq!(in_use, [schedule("daily"), schedule("weekly")]);
    assert!(world.release(of_schedule("weekly")));
    assert_eq!(world.due(), [second]);
    assert_eq!(world.state("K-1", "R-1"), Shown::Waiting);
    assert!(world.release(of_schedule("daily")));
    assert_eq!(world.due(), [first, second]);
}

fn a_mark_is_cleared_with_the_addresses_of_its_own_contact_only(world: &mut World) {
    let bad = "rechnung@muster.example";
    world.account("K-1", 1, selecting(&[bad]));
    let sequence = world.take(urgent("K-1", "R-1"));
    world.attempt(sequence, Verdict::AddressRejected);
    let rule = |world: &mut World| {
        let view = world.step().account(&id("K-1")).unwrap().unwrap();
        let marked: Vec<_> = view.suspects.into_keys().collect();
        (view.recipient.reason.rule, marked)
    };
    let fallen_back = (Rule::FallbackAfterRejection, vec![address(bad)]);
    assert_eq!(rule(world), fallen_back);
    assert_eq!(world.due(), [sequence]);
    assert_eq!(world.intention(sequence).intent.address, address("erika@muster.example"));

    let mut other = selecting(&[bad]);
    other.main_contact = contact("Max Muster", &["max@muster.example"]);
    let main_contact = other.main_contact.clone();
    let (recipient, ..) = recipient(world.account("K-1", 2, other));
    assert_eq!(recipient.addressee().unwrap().contact, main_contact);
    assert_eq!(rule(world), fallen_back);
    let version_of = |world: &mut World| {
        let view = world.step().account(&id("K-1")).unwrap().unwrap();
        view.recipient.reason.account_version
    };
    assert_eq!(version_of(world), version(1), "that of the rejection");
    let nobody = ChangeKind::BillingContactSelected(None);
    world.change("K-1", 3, nobody);
    let again = ChangeKind::BillingContactSelected(Some(sub_user_id("u-7")));
    world.change("K-1", 4, again);
    assert_eq!(rule(world), fallen_back);
    assert_eq!(version_of(world), version(4), "it was selected again since");
    world.account("K-1", 5, selecting(&[bad, "neu@muster.example"]));
    assert_eq!(rule(world), (Rule::BillingContactSelected, Vec::new()));
}

fn a_selected_sub_user_that_goes_is_deselected(world: &mut World) {
    world.account("K-1", 1, selecting(&["rechnung@muster.example"]));
    let removal = ChangeKind::SubUserRemoved(sub_user_id("u-7"));
    let (recipient, warnings, _) = recipient(world.change("K-1", 2, removal));
    assert_eq!(recipient.reason.rule, Rule::BillingContactRemoved);
    assert_eq!(warnings, [Warning::BillingContactRemoved(sub_user_id("u-7"))]);
    let view = world.step().account(&id("K-1")).unwrap().unwrap();
    assert_eq!(view.recipient, recipient);
}

fn an_answer_names_what_was_past_the_last_look(world: &mut World) {
    world.account("K-1", 1, profile());
    world.account("K-2", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    let other = world.take(urgent("K-2", "R-2"));
    world.take(urgent("K-1", "R-3"));
    let begin = world.begin(sequence);
    assert!(world.may_go_out(sequence, &begin));
    let begin_other = world.begin(other);
    assert!(world.may_go_out(other, &begin_other));
    let closed = ChangeKind::Closed;
    let (_, _, in_flight) = recipient(world.change("K-1", 2, closed));
    assert!(in_flight.is_empty(), "the recipient is the same: {in_flight:?}");
    let select = ChangeKind::Updated(selecting(&["rechnung@muster.example"]));
    let event = world.event();
    let first = world.change_as(event.clone(), "K-1", 3, select.clone());
    let repeated = world.change_as(event, "K-1", 3, select.clone());
    let (Judged::New(first), Judged::Repeated(repeated)) = (first, repeated) else {
        panic!("it comes twice");
    };
    let same_version = world.change("K-1", 3, select);
    for answer in [first, repeated, same_version] {
        let (_, _, in_flight) = recipient(answer);
        assert_eq!(in_flight, [number("R-1")]);
    }
    let (_, _, in_flight) = recipient(world.change("K-1", 4, ChangeKind::Closed));
    assert_eq!(in_flight, [number("R-1")], "it still goes to who was the recipient");
    world.settle(sequence, &begin, Verdict::Accepted);
    let other = selecting(&["neu@muster.example"]);
    let (_, _, in_flight) = recipient(world.account("K-1", 5, other));
    assert!(in_flight.is_empty());
}

fn an_answer_does_not_name_what_has_its_last_look_ahead(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    world.at_a_stretch(|world| {
        let begin = world.begin(sequence);
        let selected = selecting(&["rechnung@muster.example"]);
        let (_, _, in_flight) = recipient(world.account("K-1", 2, selected));
        assert!(in_flight.is_empty(), "{in_flight:?}");
        assert!(!world.may_go_out(sequence, &begin));
        let (_, _, in_flight) = recipient(world.account("K-1", 3, profile()));
        assert!(in_flight.is_empty());
        assert!(world.may_go_out(sequence, &begin), "it is the recipient again");
        let selected = selecting(&["neu@muster.example"]);
        let (_, _, in_flight) = recipient(world.account("K-1", 4, selected));
        assert_eq!(in_flight, [number("R-1")]);
    });
    world.reopen();
    let selected = selecting(&["noch@muster.example"]);
    let (_, _, in_flight) = recipient(world.account("K-1", 5, selected));
    assert_eq!(in_flight, [number("R-1")], "what the last process left may be out");
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

fn accounts_are_listed_by_id(world: &mut World) {
    for account in ["K-2", "K-10", "K-1", "K-1 a"] {
        world.account(account, 1, profile());
    }
    let page = |world: &mut World, after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(id);
        let views = world.step().accounts(after.as_ref(), limit).unwrap();
        views.items.iter().map(|view| view.account.id().to_string()).collect()
    };
    assert_eq!(page(world, None, 10), ["K-1", "K-1 a", "K-10", "K-2"]);
    assert_eq!(page(world, None, 2), ["K-1", "K-1 a"]);
    assert_eq!(page(world, Some("K-1 a"), 10), ["K-10", "K-2"]);
    assert_eq!(page(world, Some("K-11"), 10), ["K-2"], "it need not be there");
    assert!(page(world, Some("K-2"), 10).is_empty());
    let mut rest = |after: Option<&str>, limit| {
        let after = after.map(id);
        let Accounts { items: _, next, total, damaged } =
            world.step().accounts(after.as_ref(), limit).unwrap();
        assert_eq!((total, damaged), (4, 0));
        next
    };
    assert_eq!(rest(None, 2), Some(id("K-1 a")));
    assert_eq!(rest(None, 4), None);
    assert_eq!(rest(Some("K-1 a"), 2), None);
    world.account("K-2", 2, profile());
    assert_eq!(world.step().accounts(None, 1).unwrap().total, 4);
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

fn an_import_that_accepts_its_version_counts_over_a_newer_one(world: &mut World) {
    let import = |accept_version, name: &str| {
        ChangeKind::Imported(Import {
            profile: Profile { name: Some(HeaderText::parse(name).unwrap()), ..profile() },
            closed: false,
            accept_version,
        })
    };
    let mut bring = |version_of: u64, kind: ChangeKind| {
        let change = AccountChange {
            account: id("K-1"),
            version: version(version_of),
            timestamp: world.now,
            kind,
        };
        let operator = Actor::Operator("anna".to_owned());
        let now = world.now;
        let commit = world.step().import_account(change, operator, None, now);
        commit.wait().unwrap()
    };
    let applied = bring(5, import(false, "five"));
    assert_eq!(result_of(&applied), ChangeResult::Applied);
    let stale = bring(4, import(false, "four"));
    assert_eq!(result_of(&stale), ChangeResult::Stale);
    let conflict = bring(5, import(false, "other"));
    assert!(matches!(conflict, ChangeAnswer::Refused(_)), "{conflict:?}");
    for (version_of, name) in [(4, "four"), (4, "other"), (9, "nine")] {
        let accepted = bring(version_of, import(true, name));
        assert_eq!(result_of(&accepted), ChangeResult::Applied);
        let again = bring(version_of, import(true, name));
        assert_eq!(result_of(&again), ChangeResult::Duplicate);
    }
}

/// Brings an account at a version, whatever is in force.
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

fn an_event_that_an_import_has_undone_is_judged_anew_when_it_comes_again(world: &mut World) {
    world.account("K-1", 5, profile());
    let event = world.event();
    let update = ChangeKind::Updated(on_schedule("weekly"));
    world.change_as(event.clone(), "K-1", 6, update.clone());
    put_into_force(world, 5, profile());
    let again = world.change_as(event, "K-1", 6, update);
    let Judged::New(answer) = again else {
        panic!("{again:?}");
    };
    assert_eq!(result_of(&answer), ChangeResult::Applied);
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
    use invoice_router::store::TrailOrder;
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
    let (trail, _) = world.step().audit(TrailOrder::NewestFirst, None, 5).unwrap();
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
        let paused = world.step().pause_in_force(account.as_ref()).unwrap();
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
