//! Attempts: intents, outcomes, and what a crash or an operator does to them.

use std::time::Duration;

use invoice_router::domain::audit::{Actor, AuditEvent, Consequence, sentence};
use invoice_router::domain::delivery::{DeliveryId, HoldKind, Shown, State, Verdict};
use invoice_router::domain::id::{SenderName, WebhookId};
use invoice_router::store::Command;

use super::sample::{self, address, profile, selecting, urgent};
use super::world::World;

contract![
    what_a_crash_left_is_uncertain_and_held_after_the_third,
    many_intents_are_recovered,
    what_is_withheld_comes_back_with_the_one_that_an_operator_releases,
    a_story_tells_what_happened_without_an_address,
];

fn what_a_crash_left_is_uncertain_and_held_after_the_third(world: &mut World) {
    world.account("K-1", 1, profile());
    let sequence = world.take(urgent("K-1", "R-1"));
    for _ in 0..3 {
        let begin = world.begin(sequence);
        world.reopen();
        assert_eq!(world.state("K-1", "R-1"), Shown::Sending);
        let now = world.now;
        let recovered = world.step().recover(now, 0.0).wait().unwrap();
        assert_eq!(recovered, [(sequence, begin.intent)]);
        world.pass(Duration::from_secs(14_400));
    }
    let view = world.view("K-1", "R-1");
    assert_eq!(view.state, Shown::Held);
    let last = &view.story.last().unwrap().event;
    let held = Some(Consequence::Held(HoldKind::UncertainTooOften));
    assert!(
        matches!(last, AuditEvent::AttemptEnded(attempt) if attempt.consequence == held),
        "{last:?}"
    );
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
    // Those that do not fit into the unit come by themselves, after a start too.
    while world.due().len() <= others.len() {
        std::thread::yield_now();
    }
    let due = world.due();
    assert!(due.contains(&first) && others.iter().all(|sequence| due.contains(sequence)));
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
