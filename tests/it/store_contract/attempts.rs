//! Attempts: intents, outcomes, and what a crash or an operator does to them.

use std::time::Duration;

use chrono::TimeDelta;

use invoice_router::domain::audit::{Actor, AuditEvent, AuditText, Consequence, sentence};
use invoice_router::domain::change::ChangeKind;
use invoice_router::domain::delivery::{
    AddressState, Answer, DeliveryId, HoldKind, Outcome, Shown, State, Verdict,
};
use invoice_router::domain::id::{SenderName, WebhookId};
use invoice_router::domain::recipient::OnRejected;
use invoice_router::store::{
    Begun, Command, InvoiceView, IssueAnswer, Settle, TrailOrder, WithdrawAnswer,
};

use super::sample::{self, address, id, instant, invoice, profile, selecting, urgent, version};
use super::world::World;

contract![
    an_intent_is_refused_once_account_or_delivery_moved,
    every_outcome_leaves_its_state,
    a_settlement_that_is_repeated_changes_nothing,
    an_attempt_that_was_broken_off_does_not_count,
    each_address_is_an_attempt_of_its_own,
    what_a_crash_left_is_uncertain,
    many_intents_are_recovered,
    an_attempt_under_way_is_not_recovered,
    rejections_are_forgotten_from_a_time_on,
    a_rejected_billing_contact_leaves_the_invoice_to_the_main_contact,
    without_a_fallback_it_is_undeliverable,
    where_nobody_is_left_it_is_withheld_until_its_account_changes,
    an_operator_has_rejected_addresses_tried_anew,
    what_is_withheld_comes_back_with_the_one_that_an_operator_releases,
    an_invoice_is_withdrawn_in_each_state,
    a_withdrawal_that_comes_first_is_remembered,
    what_is_asked_for_while_sending_is_obeyed_afterwards,
    a_resend_is_a_new_revision,
    a_resend_cannot_take_back_what_was_accepted_before,
    a_command_that_does_not_fit_changes_nothing,
    a_story_tells_what_happened_without_an_address,
];

fn an_intent_is_refused_once_account_or_delivery_moved(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    let refused = |world: &mut World, begin| {
        let answer = world.step().begin(sequence, begin).wait().unwrap();
        assert_eq!(answer, Begun::Moved);
        assert_eq!(world.due(), [sequence]);
    };
    let early = world.intention(sequence);
    world.change("K-1", 2, ChangeKind::Closed);
    refused(world, early);
    let early = world.intention(sequence);
    world.hold("K-1", "R-1");
    world.obey("K-1", "R-1", Command::Release { now: false });
    refused(world, early);
    let begin = world.begin(sequence);
    let again = world.step().begin(sequence, begin.clone()).wait().unwrap();
    assert_eq!(again, Begun::Moved, "it is under way");
    let nobody = world.step().begin(sample::delivery(99), begin).wait().unwrap();
    assert_eq!(nobody, Begun::Moved);
    assert!(world.step().job(sample::delivery(99)).unwrap().is_none());
}

fn every_outcome_leaves_its_state(world: &mut World) {
    world.account("K-1", 1, selecting(&["a@muster.example", "b@muster.example"]));
    let cases = [
        (Verdict::Accepted, Shown::Due, AddressState::Delivered, 1),
        (Verdict::Deferred, Shown::Due, AddressState::Pending, 1),
        (Verdict::AddressRejected, Shown::Due, AddressState::Rejected, 1),
        (Verdict::MessageRefused, Shown::Held, AddressState::Pending, 1),
        (Verdict::Uncertain, Shown::Due, AddressState::Unknown, 1),
        (Verdict::RelayFailed, Shown::Due, AddressState::Pending, 0),
    ];
    for (n, (verdict, shown, address_state, attempts)) in (0..).zip(cases) {
        let raw = format!("R-{n}");
        let sequence = world.take(urgent("K-1", &raw));
        let before = world.now;
        let begin = world.begin(sequence);
        assert_eq!(world.view("K-1", &raw).intent, Some(begin.intent.clone()));
        assert!(!world.due().contains(&sequence), "{verdict:?}");
        let settled = world.settle(sequence, &begin, verdict);
        let view = world.view("K-1", &raw);
        assert_eq!(view.state, shown, "{verdict:?}");
        assert_eq!(view.intent, None);
        assert_eq!(view.delivery, settled.delivery);
        let tried = &view.delivery.addresses[0];
        assert_eq!((tried.state, tried.attempts), (address_state, attempts), "{verdict:?}");
        assert_eq!(view.attempts.len(), usize::try_from(attempts).unwrap());
        assert_eq!(world.step().job(sequence).unwrap().unwrap().seen, settled.seen);
        let is_due = view.delivery.next_at.is_some_and(|at| at <= before) && shown == Shown::Due;
        assert_eq!(world.due().contains(&sequence), is_due, "{verdict:?}");
    }
}

fn a_settlement_that_is_repeated_changes_nothing(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    let first = world.begin(sequence);
    let settled = world.settle(sequence, &first, Verdict::Deferred);
    let again = world.settle(sequence, &first, Verdict::Accepted);
    assert_eq!((again.delivery, again.seen), (settled.delivery, settled.seen));

    world.pass(Duration::from_secs(300));
    let second = world.begin(sequence);
    let late = world.settle(sequence, &first, Verdict::Accepted);
    assert_eq!(late.delivery.state, State::Sending, "another attempt is under way");
    let settled = world.settle(sequence, &second, Verdict::Accepted);
    assert_eq!(settled.delivery.state, State::Delivered);
    let outcomes: Vec<Outcome> =
        world.view("K-1", "R-1").attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Deferred, Outcome::Accepted]);
    let now = world.now;
    let dropped = Settle::Dropped { at: now };
    let dropped = world.step().settle(sequence, dropped).wait().unwrap();
    assert_eq!(dropped.delivery, settled.delivery);
}

fn an_attempt_that_was_broken_off_does_not_count(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    world.begin(sequence);
    let now = world.now;
    let dropped = Settle::Dropped { at: now };
    let settled = world.step().settle(sequence, dropped).wait().unwrap();
    assert_eq!(settled.delivery.addresses[0].attempts, 0);
    assert_eq!(world.due(), [sequence]);
    let view = world.view("K-1", "R-1");
    assert!(view.attempts.is_empty() && view.intent.is_none());
}

fn each_address_is_an_attempt_of_its_own(world: &mut World) {
    world.account("K-1", 1, selecting(&["a@muster.example", "b@muster.example"]));
    let sequence = world.take(urgent("K-1", "R-1"));
    let first = world.attempt(sequence, Verdict::Accepted);
    assert_eq!(first.delivery.state, State::Due);

    // One has it: nobody is added, and who does not belong to it any more is left out.
    world.account("K-1", 2, profile());
    let seen = world.step().job(sequence).unwrap().unwrap().seen;
    let now = world.now;
    assert!(world.step().withhold(sequence, seen, now).wait().unwrap());
    let view = world.view("K-1", "R-1");
    assert_eq!(view.state, Shown::Delivered);
    let states: Vec<AddressState> = view.delivery.addresses.iter().map(|a| a.state).collect();
    assert_eq!(states, [AddressState::Delivered, AddressState::Superseded]);
    let recipient = view.recipient.unwrap();
    assert_eq!(recipient.addresses()[0], address("a@muster.example"), "who got it");
}

fn what_a_crash_left_is_uncertain(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    for crash in 1..=3 {
        let begin = world.begin(sequence);
        world.reopen();
        assert_eq!(world.state("K-1", "R-1"), Shown::Sending);
        let now = world.now;
        let recovered = world.step().recover(now, 0.0).wait().unwrap();
        assert_eq!(recovered, [(sequence, begin.intent)]);
        assert_eq!(world.step().recover(now, 0.0).wait().unwrap(), []);
        let tried = &world.view("K-1", "R-1").delivery.addresses[0];
        assert_eq!((tried.state, tried.uncertain), (AddressState::Unknown, crash));
        world.pass(Duration::from_secs(14_400));
    }
    let view = world.view("K-1", "R-1");
    assert_eq!(view.state, Shown::Held);
    assert!(view.attempts.iter().all(|attempt| attempt.outcome == Outcome::Uncertain));
    assert_eq!(view.attempts.len(), 3);
    let last = &view.story.last().unwrap().event;
    let held = Some(Consequence::Held(HoldKind::UncertainTooOften));
    assert!(
        matches!(last, AuditEvent::AttemptEnded(attempt) if attempt.consequence == held),
        "{last:?}"
    );
    assert!(world.due().is_empty());
}

fn an_attempt_under_way_is_not_recovered(world: &mut World) {
    world.account("K-1", 1, profile());
    let left = ["R-1", "R-4"].map(|raw| {
        let delivery = world.take(urgent("K-1", raw));
        world.begin(delivery);
        delivery
    });
    world.reopen();
    world.at_a_stretch(|world| {
        let own = ["R-2", "R-3"].map(|raw| {
            let delivery = world.take(urgent("K-1", raw));
            (delivery, world.begin(delivery))
        });
        let recover = |world: &mut World| {
            let recovered = world.step().recover(world.now, 0.0).wait().unwrap();
            recovered.into_iter().map(|(delivery, _)| delivery).collect::<Vec<_>>()
        };
        assert_eq!(recover(world), left);
        assert_eq!(recover(world), []);
        for (delivery, begin) in own {
            let settled = world.settle(delivery, &begin, Verdict::Accepted);
            assert_eq!(settled.delivery.state, State::Delivered);
        }
    });
}

fn many_intents_are_recovered(world: &mut World) {
    world.account("K-1", 1, profile());
    world.put(sample::PDF);
    let begun: Vec<DeliveryId> = world.at_a_stretch(|world| {
        (0..200)
            .map(|n| {
                let sequence = world.take(urgent("K-1", &format!("R-{n}")));
                world.begin(sequence);
                sequence
            })
            .collect()
    });
    world.reopen();
    let now = world.now;
    let recovered = world.step().recover(now, 0.5).wait().unwrap();
    let sequences: Vec<DeliveryId> = recovered.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, begun);
    world.pass(Duration::from_secs(14_400));
    assert_eq!(world.due(), begun);
}

fn rejections_are_forgotten_from_a_time_on(world: &mut World) {
    for (account, number) in [("K-1", "R-1"), ("K-2", "R-2"), ("K-3", "R-3")] {
        world.account(account, 1, selecting(&["a@muster.example"]));
        let sequence = world.take(urgent(account, number));
        world.attempt(sequence, Verdict::AddressRejected);
        world.pass(Duration::from_secs(60));
    }
    let since = world.now - TimeDelta::seconds(120);
    let reason = Some("a wrong relay".to_owned());
    let (anna, now) = (Actor::Operator("anna".to_owned()), world.now);
    let forgotten = world.step().forget_rejections(since, reason, anna, now);
    assert_eq!(forgotten, Ok(2));
    for (account, marks, to) in [
        ("K-1", 1, "erika@muster.example"),
        ("K-2", 0, "a@muster.example"),
        ("K-3", 0, "a@muster.example"),
    ] {
        let view = world.step().account(&id(account)).unwrap().unwrap();
        assert_eq!(view.suspects.len(), marks, "{account}");
        assert_eq!(view.recipient.addresses(), [address(to)]);
    }
    let (trail, _) = world.step().audit(TrailOrder::NewestFirst, None, 1).unwrap();
    assert_eq!(trail[0].entry.event, AuditEvent::SuppressionsCleared { count: 1 });
    assert_eq!(trail[0].entry.reason, Some(AuditText::new("a wrong relay")));
    let anna = Actor::Operator("anna".to_owned());
    assert_eq!(world.step().forget_rejections(since, None, anna, now), Ok(0));
}

fn a_rejected_billing_contact_leaves_the_invoice_to_the_main_contact(world: &mut World) {
    world.account("K-1", 1, selecting(&["a@muster.example", "b@muster.example"]));
    let sequence = world.take(urgent("K-1", "R-1"));
    let to = |world: &mut World| world.intention(sequence).intent.address;
    assert_eq!(to(world), address("a@muster.example"));
    world.attempt(sequence, Verdict::AddressRejected);
    assert_eq!(to(world), address("b@muster.example"), "it has another one");
    world.attempt(sequence, Verdict::AddressRejected);
    assert_eq!(to(world), address("erika@muster.example"));
    assert_eq!(world.due(), [sequence]);
    let suspects = world.step().account(&id("K-1")).unwrap().unwrap().suspects;
    assert_eq!(suspects.len(), 2);
    for mark in suspects.values() {
        assert_eq!((mark.since, mark.account_version), (world.now, version(1)));
        assert!(!mark.reply.contains('@'), "{}", mark.reply);
    }
    world.attempt(sequence, Verdict::Accepted);
    assert_eq!(world.state("K-1", "R-1"), Shown::Delivered);
}

fn without_a_fallback_it_is_undeliverable(world: &mut World) {
    world.rules.on_rejected = OnRejected::Undeliverable;
    world.reopen();
    world.account("K-1", 1, selecting(&["a@muster.example"]));
    let sequence = world.take(urgent("K-1", "R-1"));
    world.attempt(sequence, Verdict::AddressRejected);
    assert_eq!(world.state("K-1", "R-1"), Shown::Undeliverable);
    assert!(world.due().is_empty());
    world.obey("K-1", "R-1", Command::Release { now: false });
    assert_eq!(world.due(), [sequence]);
    assert_eq!(world.withdraw("K-1", "R-1"), WithdrawAnswer::Withdrawn);
}

fn where_nobody_is_left_it_is_withheld_until_its_account_changes(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    world.attempt(sequence, Verdict::AddressRejected);
    assert_eq!(world.due(), [sequence], "whoever is left is asked for");
    world.withhold(sequence);
    assert_eq!(world.state("K-1", "R-1"), Shown::Withheld);
    world.account("K-1", 2, selecting(&["a@muster.example"]));
    assert_eq!(world.due(), [sequence]);
    let begin = world.intention(sequence);
    assert_eq!(begin.intent.address, address("a@muster.example"));
}

fn an_operator_has_rejected_addresses_tried_anew(world: &mut World) {
    let to = |world: &mut World, sequence| world.intention(sequence).intent.address;
    let (billing, main) = (address("a@muster.example"), address("erika@muster.example"));
    world.account("K-1", 1, selecting(&["a@muster.example"]));
    let sequence = world.take(urgent("K-1", "R-1"));
    world.attempt(sequence, Verdict::AddressRejected);
    assert_eq!(to(world, sequence), main);
    world.attempt(sequence, Verdict::Accepted);
    world.obey("K-1", "R-1", Command::Resend { revision: 1 });
    assert_eq!(to(world, sequence), billing, "it counts as good again");
    world.attempt(sequence, Verdict::AddressRejected);
    world.hold("K-1", "R-1");
    assert_eq!(to(world, sequence), main, "a hold says nothing of it");
    world.obey("K-1", "R-1", Command::Release { now: true });
    assert_eq!(to(world, sequence), billing, "it does so again");

    for _ in [&billing, &main] {
        world.attempt(sequence, Verdict::AddressRejected);
    }
    world.withhold(sequence);
    world.obey("K-1", "R-1", Command::Release { now: true });
    assert_eq!(to(world, sequence), billing);
    let suspects = world.step().account(&id("K-1")).unwrap().unwrap().suspects;
    assert!(suspects.is_empty());
    let story = world.view("K-1", "R-1").story;
    let last = &story.last().unwrap().event;
    assert!(
        matches!(last, AuditEvent::Released { now: true, suppressions_cleared: 2, .. }),
        "{last:?}"
    );
}

fn what_is_withheld_comes_back_with_the_one_that_an_operator_releases(world: &mut World) {
    world.account("K-1", 1, profile());
    let first = world.take(urgent("K-1", "R-1"));
    world.attempt(first, Verdict::AddressRejected);
    world.withhold(first);
    let others: Vec<_> = (0..100)
        .map(|n| {
            let sequence = world.take(urgent("K-1", &format!("S-{n}")));
            world.at_a_stretch(|world| world.withhold(sequence));
            sequence
        })
        .collect();
    assert!(world.due().is_empty());
    world.obey("K-1", "R-1", Command::Release { now: false });
    // Closing waits for the units that follow.
    world.reopen();
    let due = world.due();
    assert!(due.contains(&first) && others.iter().all(|sequence| due.contains(sequence)));
}

fn an_invoice_is_withdrawn_in_each_state(world: &mut World) {
    use WithdrawAnswer::{AlreadySent, Duplicate, Recorded, Withdrawn};
    let parked = world.take(urgent("K-9", "parked"));
    world.account("K-1", 1, profile());
    let raws = ["waiting", "due", "held", "sending", "delivered", "uncertain"];
    let sequences = raws.map(|raw| {
        let invoice = if raw == "waiting" { invoice } else { urgent };
        world.take(invoice("K-1", raw))
    });
    world.hold("K-1", "held");
    let sending = world.begin(sequences[3]);
    world.attempt(sequences[4], Verdict::Accepted);
    world.attempt(sequences[5], Verdict::Uncertain);

    assert_eq!(world.withdraw("K-9", "parked"), Withdrawn);
    let state = Shown::Withdrawn;
    for raw in ["waiting", "due", "held"] {
        assert_eq!(world.withdraw("K-1", raw), Withdrawn, "{raw}");
        assert_eq!(world.withdraw("K-1", raw), Duplicate { state }, "{raw}");
        assert_eq!(world.state("K-1", raw), Shown::Withdrawn, "{raw}");
    }
    assert_eq!(world.withdraw("K-1", "sending"), Recorded);
    let state = Shown::Sending;
    assert_eq!(world.withdraw("K-1", "sending"), Duplicate { state });
    world.settle(sequences[3], &sending, Verdict::Deferred);
    assert_eq!(world.state("K-1", "sending"), Shown::Withdrawn);
    let state = Shown::Delivered;
    assert_eq!(world.withdraw("K-1", "delivered"), AlreadySent { state });
    let state = Shown::Held;
    assert_eq!(world.withdraw("K-1", "uncertain"), AlreadySent { state });

    world.account("K-9", 1, profile());
    world.pass(Duration::from_secs(14_400));
    assert!(world.due().is_empty());
    assert!(world.step().schedules_in_use().unwrap().is_empty());
    assert!(!world.step().job(parked).unwrap().unwrap().delivery.may_send());
}

fn a_withdrawal_that_comes_first_is_remembered(world: &mut World) {
    world.account("K-1", 1, profile());
    world.put(sample::PDF);
    assert_eq!(world.withdraw("K-1", "R-1"), WithdrawAnswer::Withdrawn);
    let state = Shown::Withdrawn;
    let again = world.withdraw("K-1", "R-1");
    assert_eq!(again, WithdrawAnswer::Duplicate { state });
    let answer = world.issue(urgent("K-1", "R-1"));
    let IssueAnswer::Stale(standing) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(standing.state, Shown::Withdrawn);
    assert!(world.due().is_empty());
    let Some(InvoiceView::Tombstone { state, at }) = world.look("K-1", "R-1") else {
        panic!("it never came");
    };
    assert_eq!((state, at), (Shown::Withdrawn, instant("2026-11-23T08:00:00Z")));
    let answer = world.operate("K-1", "R-1", Command::Release { now: true });
    assert_eq!(answer.unwrap().answer, Answer::WrongState);
    let answer = world.operate("K-1", "R-1", Command::Withdraw);
    assert_eq!(answer.unwrap().answer, Answer::Already);
}

fn what_is_asked_for_while_sending_is_obeyed_afterwards(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    let begin = world.begin(sequence);
    assert_eq!(world.hold("K-1", "R-1"), Shown::Sending);
    world.settle(sequence, &begin, Verdict::Deferred);
    assert_eq!(world.state("K-1", "R-1"), Shown::Held);
    world.pass(Duration::from_secs(14_400));
    assert!(world.due().is_empty());
    world.obey("K-1", "R-1", Command::Release { now: false });
    assert_eq!(world.due(), [sequence]);
}

fn a_resend_is_a_new_revision(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    let resend = |revision| Command::Resend { revision };
    let refused = world.operate("K-1", "R-1", resend(1)).unwrap();
    assert_eq!(refused.answer, Answer::WrongState);
    world.attempt(sequence, Verdict::Accepted);
    world.account("K-1", 2, selecting(&["a@muster.example"]));
    assert_eq!(world.obey("K-1", "R-1", resend(1)), Shown::Due);
    assert_eq!(world.due(), [sequence]);
    let replaced = Answer::OtherRevision { named: 1, current: 2 };
    let refused = world.operate("K-1", "R-1", resend(1)).unwrap();
    assert_eq!(refused.answer, replaced);
    world.attempt(sequence, Verdict::Accepted);
    let view = world.view("K-1", "R-1");
    assert_eq!((view.state, view.delivery.revision), (Shown::Delivered, 2));
    let to: Vec<_> = view.attempts.iter().map(|a| a.intent.address.as_str()).collect();
    assert_eq!(to, ["erika@muster.example", "a@muster.example"]);
    assert_eq!(view.recipient.unwrap().addresses(), [address("a@muster.example")]);
}

fn a_resend_cannot_take_back_what_was_accepted_before(world: &mut World) {
    let state = Shown::Delivered;
    let resend = |revision| Command::Resend { revision };
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    world.attempt(sequence, Verdict::Accepted);
    world.obey("K-1", "R-1", resend(1));
    assert_eq!(world.withdraw("K-1", "R-1"), WithdrawAnswer::AlreadySent { state });
    assert!(world.due().is_empty(), "what was to be sent again stops");

    world.obey("K-1", "R-1", resend(2));
    let begin = world.begin(sequence);
    let sending = Shown::Sending;
    assert_eq!(world.withdraw("K-1", "R-1"), WithdrawAnswer::AlreadySent { state: sending });
    world.settle(sequence, &begin, Verdict::Deferred);
    assert_eq!(world.state("K-1", "R-1"), state);

    world.obey("K-1", "R-1", resend(3));
    world.attempt(sequence, Verdict::AddressRejected);
    world.withhold(sequence);
    assert_eq!(world.state("K-1", "R-1"), Shown::Withheld, "as for the new revision");
    assert_eq!(world.withdraw("K-1", "R-1"), WithdrawAnswer::AlreadySent { state });
}

fn a_command_that_does_not_fit_changes_nothing(world: &mut World) {
    world.account("K-1", 1, profile());
    world.take(invoice("K-1", "R-1"));
    let before = world.view("K-1", "R-1");
    let answer = world.operate("K-1", "R-1", Command::Release { now: true }).unwrap();
    assert_eq!((answer.answer, answer.state), (Answer::WrongState, Shown::Waiting));
    assert_eq!(world.operate("K-1", "R-2", Command::Withdraw), None);
    let after = world.view("K-1", "R-1");
    assert_eq!((after.delivery, after.story), (before.delivery, before.story));
}

fn a_story_tells_what_happened_without_an_address(world: &mut World) {
    world.account("K-1", 1, selecting(&["a@muster.example"]));
    let sequence = world.take(urgent("K-1", "R-1"));
    world.attempt(sequence, Verdict::MessageRefused);
    world.obey("K-1", "R-1", Command::Release { now: true });
    let reason = "asked a@muster.example first".to_owned();
    world.obey("K-1", "R-1", Command::Hold { reason });
    world.obey("K-1", "R-1", Command::Release { now: true });
    world.attempt(sequence, Verdict::AddressRejected);
    world.pass(Duration::from_secs(1));
    let settled = world.attempt(sequence, Verdict::Accepted);
    assert_eq!(settled.delivery.state, State::Delivered);
    let story = world.view("K-1", "R-1").story;
    let told: Vec<String> = story.iter().map(sentence).collect();
    let expected = [
        "issued",
        "goes to sub-user u-7",
        "held: the relay refused the message",
        "released for immediate sending",
        "held by an operator; reason: asked <address> first",
        "released for immediate sending",
        "the address is suppressed",
        "goes to the main contact: the relay rejected every address",
        "delivered",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected), "{told:?} tells {expected:?}");
    }
    for entry in &story {
        assert!(!format!("{entry:?}").contains("muster.example"), "{entry:?}");
    }
    let AuditEvent::AttemptEnded(last) = &story[8].event else {
        panic!("{:?}", story[8]);
    };
    assert_eq!((last.number, last.address, last.addresses), (1, 2, 2));
    assert_eq!((last.message_digest, last.message_bytes), (sample::digest(b"message"), 7));
    // The attempt that it names is shown with its address.
    let shown = world.view("K-1", "R-1").attempts;
    let shown = shown.iter().find(|attempt| {
        let intent = &attempt.intent;
        (intent.revision, intent.number, intent.started_at)
            == (last.revision, last.number, last.started_at)
    });
    assert_eq!(shown.unwrap().intent.address, address("erika@muster.example"));
    let sender = SenderName::parse("portal").unwrap();
    assert_eq!(story[0].actor, Actor::Sender(sender, WebhookId::parse("msg_2").unwrap()));
    assert_eq!(story[3].actor, Actor::Operator("anna".to_owned()));
}
