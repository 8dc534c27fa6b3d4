//! The whole table of state and event, and what holds in every one of its cells.

use std::fmt::Write as _;

use super::*;
use crate::domain::retry::{AfterUncertain, Backoff, Policy};

const A: &str = "a@b.example";
const B: &str = "b@b.example";
const C: &str = "c@b.example";

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn address(raw: &str) -> EmailAddress {
    EmailAddress::parse(raw).unwrap()
}

fn policy() -> Policy {
    Policy {
        backoff: Backoff {
            first: Duration::from_secs(300),
            max: Duration::from_secs(14_400),
            give_up_after: Duration::from_secs(432_000),
        },
        after_uncertain: AfterUncertain::Resend,
    }
}

const STATES: [State; 8] = [
    State::Parked,
    State::Waiting,
    State::Due,
    State::Sending,
    State::Delivered,
    State::Withheld,
    State::Withdrawn,
    State::Undeliverable,
];

const ADDRESS_STATES: [AddressState; 5] = [
    AddressState::Pending,
    AddressState::Delivered,
    AddressState::Rejected,
    AddressState::Superseded,
    AddressState::Unknown,
];

fn part(raw: &str, state: AddressState) -> AddressDelivery {
    let unknown = u32::from(state == AddressState::Unknown);
    let untried = [AddressState::Pending, AddressState::Superseded];
    AddressDelivery {
        address: address(raw),
        state,
        attempts: u32::from(!untried.contains(&state)),
        failures: unknown,
        uncertain: unknown,
        waited: Duration::ZERO,
    }
}

fn operator(reason: &str) -> HoldReason {
    HoldReason::Operator { name: "erika".to_owned(), reason: reason.to_owned() }
}

fn delivery(state: State, held: bool, withdraw: bool, addresses: Vec<AddressDelivery>) -> Delivery {
    Delivery {
        revision: 1,
        state,
        hold: held.then(|| operator("look")),
        withdraw,
        lane: Lane::Scheduled,
        next_at: (state == State::Due).then(|| at(5)),
        round_at: None,
        addresses,
    }
}

fn resolved(addresses: &[EmailAddress]) -> Event<'_> {
    Event::Resolved { addresses, fallback: false }
}

struct Fixture {
    a: EmailAddress,
    both: Vec<EmailAddress>,
}

impl Fixture {
    fn new() -> Self {
        Self { a: address(A), both: vec![address(A), address(B)] }
    }

    fn events(&self) -> Vec<(&'static str, Event<'_>)> {
        let ended = |verdict, fallback| Event::AttemptEnded {
            address: &self.a,
            verdict,
            reply: "550 no",
            fallback,
        };
        vec![
            ("freed, scheduled", Event::Freed(Release::Scheduled)),
            ("freed, immediately", Event::Freed(Release::Immediately)),
            ("account changed", Event::AccountChanged),
            ("schedule fired", Event::ScheduleFired),
            ("resolved to a", resolved(&self.both[..1])),
            ("resolved to b", resolved(&self.both[1..])),
            ("resolved to both", resolved(&self.both)),
            ("resolved to nobody", resolved(&[])),
            (
                "resolved to b, fallback",
                Event::Resolved { addresses: &self.both[1..], fallback: true },
            ),
            ("attempt began", Event::AttemptBegan(&self.a)),
            ("accepted", ended(Verdict::Accepted, false)),
            ("deferred", ended(Verdict::Deferred, false)),
            ("address rejected", ended(Verdict::AddressRejected, false)),
            ("address rejected, fallback", ended(Verdict::AddressRejected, true)),
            ("message refused", ended(Verdict::MessageRefused, false)),
            ("uncertain", ended(Verdict::Uncertain, false)),
            ("relay failed", ended(Verdict::RelayFailed, false)),
            ("dropped", Event::AttemptDropped),
            ("interrupted", Event::Interrupted(&self.a)),
            ("hold", Event::Hold(operator("wait"))),
            ("release", Event::Release { now: false }),
            ("release now", Event::Release { now: true }),
            ("withdraw", Event::Withdraw),
            ("resend 1", Event::Resend { revision: 1 }),
            ("resend 2", Event::Resend { revision: 2 }),
        ]
    }
}

/// One cell of the table, unless nothing changes.
fn cell(before: &Delivery, name: &str, event: &Event<'_>) -> Option<String> {
    let Step { delivery: after, answer } = step(before, event, at(100), &policy(), 0.5);
    if is_refused(answer) {
        return None;
    }
    let hold = if before.hold.is_some() { "+hold" } else { "" };
    let hold_after = if after.hold.is_some() { "+hold" } else { "" };
    let withdraw = if after.withdraw { "+withdraw" } else { "" };
    let parts: Vec<&str> = after.addresses.iter().map(|part| part.state.as_str()).collect();
    Some(format!(
        "{:?}{hold} | {name} | {answer:?} | {:?}{hold_after}{withdraw} [{}]",
        before.state,
        after.state,
        parts.join(" ")
    ))
}

/// One line for each state and event that changes something, for a delivery to one pending address; and
/// one for a resend where it differs.
#[test]
fn the_table_of_state_and_event_is_this() {
    let fixture = Fixture::new();
    let mut table = String::new();
    for state in STATES {
        let held_too = match state {
            State::Parked | State::Waiting | State::Due | State::Sending | State::Withheld => {
                vec![false, true]
            }
            State::Delivered | State::Withdrawn | State::Undeliverable => vec![false],
        };
        for held in held_too {
            let address_state = match state {
                State::Delivered => AddressState::Delivered,
                State::Undeliverable => AddressState::Rejected,
                State::Parked
                | State::Waiting
                | State::Due
                | State::Sending
                | State::Withheld
                | State::Withdrawn => AddressState::Pending,
            };
            let before = delivery(state, held, false, vec![part(A, address_state)]);
            let again = Delivery { revision: 2, ..before.clone() };
            for (name, event) in fixture.events() {
                let line = cell(&before, name, &event);
                if let Some(line) = &line {
                    writeln!(table, "{line}").unwrap();
                }
                let resent = cell(&again, name, &event);
                if resent != line {
                    let resent = resent.unwrap_or(format!("{state:?} | {name} | WrongState"));
                    writeln!(table, "again: {resent}").unwrap();
                }
            }
        }
    }
    insta::with_settings!({ snapshot_path => "../../../tests/golden", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("delivery_table", table);
    });
}

#[test]
fn no_cell_of_the_table_breaks_a_promise() {
    let fixture = Fixture::new();
    let mut address_sets = vec![Vec::new()];
    for first in ADDRESS_STATES {
        address_sets.push(vec![part(A, first)]);
        for second in ADDRESS_STATES {
            address_sets.push(vec![part(A, first), part(B, second)]);
        }
    }
    for state in STATES {
        for held in [false, true] {
            for withdraw in [false, true] {
                for addresses in &address_sets {
                    let first = delivery(state, held, withdraw, addresses.clone());
                    let again = Delivery { revision: 2, ..first.clone() };
                    let urgent = Delivery { lane: Lane::Urgent, ..first.clone() };
                    for (name, event) in fixture.events() {
                        check(&first, name, &event);
                        check(&again, name, &event);
                        check(&urgent, name, &event);
                    }
                }
            }
        }
    }
}

fn is_refused(answer: StepAnswer) -> bool {
    matches!(answer, StepAnswer::WrongState | StepAnswer::OtherRevision { .. })
}

fn check(before: &Delivery, name: &str, event: &Event<'_>) {
    let Step { delivery: after, answer } = step(before, event, at(100), &policy(), 0.5);
    let cell = format!("{name}: {before:?} -> {after:?}, {answer:?}");
    let delivered = |delivery: &Delivery| {
        delivery.addresses.iter().filter(|part| part.state == AddressState::Delivered).count()
    };

    if is_refused(answer) || answer == StepAnswer::Unchanged {
        assert_eq!(&after, before, "{cell}");
        return;
    }
    let resent = after.revision > before.revision;
    assert_eq!(
        resent,
        matches!(event, Event::Resend { revision } if *revision == before.revision),
        "{cell}"
    );
    assert!(
        !resent || before.state == State::Delivered,
        "only what was delivered is sent again: {cell}"
    );
    let accepted = matches!(event, Event::AttemptEnded { verdict: Verdict::Accepted, .. });
    if !resent {
        let newly = delivered(&after).saturating_sub(delivered(before));
        assert!(newly == 0 || accepted, "only a 250 delivers: {cell}");
        assert!(delivered(&after) >= delivered(before), "accepted is final: {cell}");
        let is_dropped = |old: &AddressDelivery| {
            matches!(event, Event::Resolved { addresses, .. } if !addresses.contains(&old.address))
                && old.attempts == 0
                && delivered(before) == 0
        };
        let kept: Vec<_> = before.addresses.iter().filter(|old| !is_dropped(old)).collect();
        for (old, new) in kept.iter().zip(&after.addresses) {
            assert_eq!(old.address, new.address, "no address is lost: {cell}");
            assert!(new.uncertain >= old.uncertain, "an unknown outcome is not forgotten: {cell}");
        }
        assert!(kept.len() <= after.addresses.len(), "no address is lost: {cell}");
        if delivered(before) > 0 {
            assert_eq!(
                after.addresses.len(),
                before.addresses.len(),
                "none is added once one accepted: {cell}"
            );
        }
    }
    check_states(before, event, &after, answer, &cell);
}

fn check_states(
    before: &Delivery,
    event: &Event<'_>,
    after: &Delivery,
    answer: StepAnswer,
    cell: &str,
) {
    let any = |state| after.addresses.iter().any(|part| part.state == state);
    let resent = after.revision > before.revision;
    if after.state == State::Delivered && before.state != State::Delivered {
        assert!(
            any(AddressState::Delivered) || before.revision > 1,
            "delivered means that one accepted: {cell}"
        );
    }
    if after.state == State::Sending {
        let began = matches!(event, Event::AttemptBegan(_)) && before.may_send();
        assert!(began || before.state == State::Sending, "{cell}");
    }
    if after.state == State::Due {
        assert!(after.next_at.is_some_and(|next| next >= at(5)), "what is due has a time: {cell}");
    }
    let is_urgent = match event {
        Event::Freed(Release::Immediately)
        | Event::Release { now: true }
        | Event::Resend { .. } => after.state == State::Due,
        Event::Freed(Release::Scheduled)
        | Event::AccountChanged
        | Event::ScheduleFired
        | Event::Resolved { .. }
        | Event::AttemptBegan(_)
        | Event::AttemptEnded { .. }
        | Event::AttemptDropped
        | Event::Interrupted(_)
        | Event::Hold(_)
        | Event::Release { now: false }
        | Event::Withdraw => false,
    };
    let lane = if is_urgent { Lane::Urgent } else { before.lane };
    assert_eq!(after.lane, lane, "nothing but whoever wants it at once changes its lane: {cell}");
    if after.is_finished() && before.state != after.state {
        assert!(after.hold.is_none() && after.next_at.is_none() && !after.withdraw, "{cell}");
    }
    let finished_moves = match before.state {
        State::Delivered => resent || answer == StepAnswer::AlreadySent,
        State::Withdrawn => false,
        State::Undeliverable => matches!(event, Event::Release { .. } | Event::Withdraw),
        State::Parked | State::Waiting | State::Due | State::Sending | State::Withheld => true,
    };
    assert!(finished_moves, "what is finished moves by an operator alone: {cell}");
    if answer == StepAnswer::AlreadySent {
        assert!(before.may_have_arrived() || before.state == State::Delivered, "{cell}");
        assert!(
            after.open_addresses().next().is_none()
                || before.state == State::Delivered
                || after.withdraw,
            "what is open stops, at the latest when the attempt under way ends: {cell}"
        );
    }
    if after.state == State::Withdrawn {
        assert!(!after.may_have_arrived(), "what may have arrived is never withdrawn: {cell}");
    }
}

fn sending() -> Delivery {
    delivery(
        State::Sending,
        false,
        false,
        vec![part(A, AddressState::Pending), part(B, AddressState::Pending)],
    )
}

impl Delivery {
    fn after(&self, event: &Event<'_>, seconds: i64) -> Self {
        step(self, event, at(seconds), &policy(), 0.0).delivery
    }

    fn resolved_to(&self, addresses: &[&str], seconds: i64) -> Self {
        let addresses: Vec<EmailAddress> = addresses.iter().map(|raw| address(raw)).collect();
        self.after(&resolved(&addresses), seconds)
    }

    /// The relay rejects the contact, and the main contact has this address.
    fn fallen_back_to(&self, raw: &str, seconds: i64) -> Self {
        self.after(&Event::Resolved { addresses: &[address(raw)], fallback: true }, seconds)
    }

    /// The attempt at an address, which begins if none has begun.
    fn tried(&self, raw: &str, verdict: Verdict) -> Self {
        self.tried_last(raw, verdict, false)
    }

    fn tried_last(&self, raw: &str, verdict: Verdict, fallback: bool) -> Self {
        let address = address(raw);
        let end = Event::AttemptEnded { address: &address, verdict, reply: "", fallback };
        self.after(&Event::AttemptBegan(&address), 100).after(&end, 100)
    }

    fn released(&self) -> Self {
        self.after(&Event::Release { now: true }, 900)
    }

    fn open(&self) -> Vec<&str> {
        self.open_addresses().map(|open| open.address.as_str()).collect()
    }

    fn address_states(&self) -> Vec<(&str, AddressState)> {
        self.addresses.iter().map(|part| (part.address.as_str(), part.state)).collect()
    }
}

fn fresh() -> Delivery {
    delivery(State::Due, false, false, Vec::new())
}

#[test]
fn a_bad_address_does_not_block_the_good_one() {
    let one = sending().tried(A, Verdict::AddressRejected);
    assert_eq!(one.state, State::Due);
    assert_eq!(one.tried(B, Verdict::Accepted).state, State::Delivered);
}

#[test]
fn an_accepted_address_forbids_the_fallback() {
    let one = sending().tried(A, Verdict::Accepted);
    assert_eq!(one.tried_last(B, Verdict::AddressRejected, true).state, State::Delivered);
}

#[test]
fn three_unknown_outcomes_hold() {
    let two = sending().tried(A, Verdict::Uncertain).tried(A, Verdict::Uncertain);
    assert_eq!(two.hold, None);
    let three = two.tried(A, Verdict::Uncertain);
    assert_eq!(three.hold, Some(HoldReason::UncertainTooOften));
}

#[test]
fn the_repeat_of_an_unknown_outcome_keeps_its_date() {
    let first = fresh().resolved_to(&[A], 10);
    let unknown = first.tried(A, Verdict::Uncertain);
    assert_eq!(unknown.resolved_to(&[A], 900).round_at, Some(at(10)));
    // Nor does it lose it while another is the contact.
    let meanwhile = unknown.resolved_to(&[B], 400).tried(B, Verdict::Uncertain);
    assert_eq!(meanwhile.resolved_to(&[A], 900).round_at, Some(at(10)));
    let deferred = first.tried(A, Verdict::Deferred);
    assert_eq!(deferred.resolved_to(&[A], 900).round_at, Some(at(900)));
}

/// Each address with attempts of its own, and a round before each.
#[test]
fn an_invoice_is_given_up_after_five_days_of_delays_at_each_of_its_addresses() {
    for addresses in [&[A][..], &[A, B]] {
        let mut delivery = fresh();
        let mut rounds = 0;
        while delivery.state != State::Undeliverable {
            for raw in addresses {
                delivery = delivery.resolved_to(addresses, 100);
                if delivery.open().contains(raw) {
                    delivery = delivery.tried(raw, Verdict::Deferred);
                }
            }
            rounds += 1;
            assert!(rounds < 2_000);
        }
        assert!(rounds >= 12);
        for address in &delivery.addresses {
            assert_eq!(address.state, AddressState::Rejected);
            assert!(address.waited >= policy().backoff.give_up_after);
        }
    }
}

#[test]
fn nobody_stands_in_for_a_contact_who_may_have_it_before_an_operator_says_so() {
    let held_by_us = Some(HoldReason::RejectedAfterUncertain);
    let unknown = fresh().resolved_to(&[A], 10).tried(A, Verdict::Uncertain);
    let unknown_of_two = fresh().resolved_to(&[A, C], 10).tried(A, Verdict::Uncertain);

    let held = unknown.fallen_back_to(B, 900);
    assert_eq!((&held.hold, held.addresses.len()), (&held_by_us, 1), "nobody else gets it");
    let sent = held.released().fallen_back_to(B, 902);
    assert_eq!(sent.open(), [B]);
    // An unknown outcome at the stand-in is one like any other.
    let again = sent.tried(B, Verdict::Uncertain).fallen_back_to(B, 1_800);
    assert_eq!((&again.hold, again.round_at, again.open()), (&None, sent.round_at, vec![B]));

    // One that was left out while the contact had another may have it, too.
    let left_out = unknown_of_two.resolved_to(&[C], 900);
    assert_eq!(left_out.addresses[0].state, AddressState::Superseded);
    let rejected = left_out.tried_last(C, Verdict::AddressRejected, true);
    assert_eq!(rejected.fallen_back_to(B, 901).hold, held_by_us);

    // So may one that an operator held for reasons of their own when the relay rejected it.
    let theirs = operator("a wrong total");
    let asked = unknown
        .after(&Event::AttemptBegan(&address(A)), 20)
        .after(&Event::Hold(theirs.clone()), 20);
    let rejected = asked.tried_last(A, Verdict::AddressRejected, true);
    assert_eq!(rejected.hold, Some(theirs));
    assert_eq!(rejected.released().fallen_back_to(B, 931).hold, held_by_us);

    // One that was rejected after all its attempts counts once, too.
    let mut tired = unknown.clone();
    tired.addresses[0].failures = 100;
    tired.addresses[0].waited = policy().backoff.give_up_after;
    let held = tired.tried_last(A, Verdict::AddressRejected, true);
    assert_eq!(held.hold, held_by_us);
    assert_eq!(held.released().fallen_back_to(B, 931).hold, None);

    // And one that was given up before the contact's other one was rejected. Once an operator has released it, it
    // counts no more.
    let mut given_up = unknown_of_two;
    while given_up.addresses[0].state != AddressState::Rejected {
        given_up = given_up.tried(A, Verdict::Deferred);
    }
    let rejected = given_up.tried_last(C, Verdict::AddressRejected, true);
    let held = rejected.fallen_back_to(B, 901);
    assert_eq!(held.hold, held_by_us);
    assert_eq!(held.released().fallen_back_to(B, 903).open(), [B]);
}

#[test]
fn an_address_that_nothing_was_tried_at_does_not_stay() {
    let both = fresh().resolved_to(&[A, B], 200);
    let begun = both.after(&Event::AttemptBegan(&address(A)), 100);
    let other = begun.after(&Event::AttemptDropped, 100).resolved_to(&[C], 200);
    assert_eq!(other.address_states(), [(C, AddressState::Pending)]);

    let other = both.tried(A, Verdict::Deferred).resolved_to(&[C], 200);
    let stopped = (A, AddressState::Superseded);
    assert_eq!(other.address_states(), [stopped, (C, AddressState::Pending)]);
    assert_eq!(other.resolved_to(&[], 200).address_states(), [stopped]);

    let other = both.tried(A, Verdict::Accepted).resolved_to(&[C], 200);
    assert_eq!(other.state, State::Delivered);
    let states = [(A, AddressState::Delivered), (B, AddressState::Superseded)];
    assert_eq!(other.address_states(), states);
}

#[test]
fn a_withdrawal_while_sending_is_obeyed_when_the_attempt_ends() {
    let asked = step(&sending(), &Event::Withdraw, at(1), &policy(), 0.0);
    assert_eq!(asked.answer, StepAnswer::Deferred);
    let ended = |verdict| asked.delivery.tried(A, verdict);
    assert_eq!(ended(Verdict::Deferred).state, State::Withdrawn);
    let accepted = ended(Verdict::Accepted);
    assert_eq!(accepted.state, State::Delivered);
    assert_eq!(accepted.addresses[1].state, AddressState::Superseded);
    assert_eq!(ended(Verdict::Uncertain).hold, Some(HoldReason::WithdrawnAfterUncertain));
}

#[test]
fn what_may_have_arrived_cannot_be_taken_back_whatever_the_attempt_under_way_comes_to() {
    let one = sending().tried(A, Verdict::Accepted);
    let mut delivery = one.after(&Event::AttemptBegan(&address(B)), 100);
    for _ in 0..2 {
        let asked = step(&delivery, &Event::Withdraw, at(1), &policy(), 0.0);
        assert_eq!(asked.answer, StepAnswer::AlreadySent);
        delivery = asked.delivery;
    }
    let settled = delivery.tried(B, Verdict::Deferred);
    assert_eq!(settled.state, State::Delivered);
    assert_eq!(settled.addresses[1].state, AddressState::Superseded);
}

#[test]
fn a_resend_that_is_withdrawn_leaves_what_the_revision_before_came_to() {
    let resent = Delivery { revision: 2, ..sending() };
    let rejected = Verdict::AddressRejected;
    let undeliverable = resent.tried(A, rejected).tried(B, rejected);
    assert_eq!(undeliverable.state, State::Undeliverable);
    for (before, ends) in [(&resent, true), (&undeliverable, false)] {
        let asked = step(before, &Event::Withdraw, at(1), &policy(), 0.0);
        assert_eq!(asked.answer, StepAnswer::AlreadySent);
        let withdrawn =
            if ends { asked.delivery.tried(A, Verdict::Deferred) } else { asked.delivery };
        assert_eq!(withdrawn.state, State::Delivered);
    }
}
