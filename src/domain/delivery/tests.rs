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

fn is_refused(answer: Answer) -> bool {
    matches!(answer, Answer::WrongState | Answer::OtherRevision { .. })
}

fn check(before: &Delivery, name: &str, event: &Event<'_>) {
    let Step { delivery: after, answer } = step(before, event, at(100), &policy(), 0.5);
    let cell = format!("{name}: {before:?} -> {after:?}, {answer:?}");
    let delivered = |delivery: &Delivery| {
        delivery.addresses.iter().filter(|part| part.state == AddressState::Delivered).count()
    };

    if is_refused(answer) || answer == Answer::Already {
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
    answer: Answer,
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
        State::Delivered => resent || answer == Answer::AlreadySent,
        State::Withdrawn => false,
        State::Undeliverable => matches!(event, Event::Release { .. } | Event::Withdraw),
        State::Parked | State::Waiting | State::Due | State::Sending | State::Withheld => true,
    };
    assert!(finished_moves, "what is finished moves by an operator alone: {cell}");
    if answer == Answer::AlreadySent {
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

fn end(delivery: &Delivery, raw: &str, verdict: Verdict, fallback: bool) -> Delivery {
    let address = address(raw);
    let event = Event::AttemptEnded { address: &address, verdict, reply: "", fallback };
    step(delivery, &event, at(100), &policy(), 0.0).delivery
}

fn begin(delivery: &Delivery, raw: &str) -> Delivery {
    step(delivery, &Event::AttemptBegan(&address(raw)), at(100), &policy(), 0.0).delivery
}

#[test]
fn a_bad_address_does_not_block_the_good_one() {
    let one = end(&sending(), A, Verdict::AddressRejected, false);
    assert_eq!(one.state, State::Due);
    let both = end(&begin(&one, B), B, Verdict::Accepted, false);
    assert_eq!(both.state, State::Delivered);
}

#[test]
fn an_accepted_address_forbids_the_fallback() {
    let one = end(&sending(), A, Verdict::Accepted, false);
    let both = end(&begin(&one, B), B, Verdict::AddressRejected, true);
    assert_eq!(both.state, State::Delivered);
}

#[test]
fn three_unknown_outcomes_hold() {
    let mut delivery = delivery(State::Sending, false, false, vec![part(A, AddressState::Pending)]);
    for count in 1..=3 {
        delivery = end(&delivery, A, Verdict::Uncertain, false);
        assert_eq!(delivery.hold.is_some(), count == 3);
        if count < 3 {
            delivery = begin(&delivery, A);
        }
    }
    assert_eq!(delivery.hold, Some(HoldReason::UncertainTooOften));
}

#[test]
fn the_repeat_of_an_unknown_outcome_keeps_its_date() {
    let both = [address(A)];
    let fresh = delivery(State::Due, false, false, Vec::new());
    let first = step(&fresh, &resolved(&both), at(10), &policy(), 0.0).delivery;
    let unknown = end(&begin(&first, A), A, Verdict::Uncertain, false);
    let again = step(&unknown, &resolved(&both), at(900), &policy(), 0.0).delivery;
    assert_eq!(again.round_at, Some(at(10)));
    // Nor does it lose it while somebody else is the contact.
    let other = [address(B)];
    let meanwhile = step(&unknown, &resolved(&other), at(400), &policy(), 0.0).delivery;
    let meanwhile = end(&begin(&meanwhile, B), B, Verdict::Uncertain, false);
    let back = step(&meanwhile, &resolved(&both), at(900), &policy(), 0.0).delivery;
    assert_eq!(back.round_at, Some(at(10)));
    let deferred = end(&begin(&first, A), A, Verdict::Deferred, false);
    let again = step(&deferred, &resolved(&both), at(900), &policy(), 0.0).delivery;
    assert_eq!(again.round_at, Some(at(900)));
}

#[test]
fn an_address_is_given_up_after_five_days_of_delays() {
    let mut delivery = delivery(State::Sending, false, false, vec![part(A, AddressState::Pending)]);
    let mut attempts = 0;
    while delivery.state != State::Undeliverable {
        delivery = begin(&delivery, A);
        delivery = step(
            &delivery,
            &Event::AttemptEnded {
                address: &address(A),
                verdict: Verdict::Deferred,
                reply: "",
                fallback: true,
            },
            at(100),
            &policy(),
            0.99,
        )
        .delivery;
        attempts += 1;
        assert!(attempts < 1_000);
    }
    assert!(attempts >= 12);
    assert!(delivery.addresses[0].waited >= policy().backoff.give_up_after);
}

/// Each address with attempts of its own, and a round before each.
#[test]
fn an_invoice_for_two_addresses_is_given_up_once_both_are() {
    let both = [address(A), address(B)];
    let mut delivery = delivery(State::Due, false, false, Vec::new());
    let mut rounds = 0;
    while delivery.state != State::Undeliverable {
        for one in [A, B] {
            delivery = step(&delivery, &resolved(&both), at(100), &policy(), 0.0).delivery;
            if delivery.open_addresses().any(|open| open.address == address(one)) {
                delivery = end(&begin(&delivery, one), one, Verdict::Deferred, false);
            }
        }
        rounds += 1;
        assert!(rounds < 2_000);
    }
    assert!(rounds >= 12);
    assert!(delivery.addresses.iter().all(|address| address.state == AddressState::Rejected));
}

#[test]
fn nobody_stands_in_for_a_contact_who_may_have_it_before_somebody_says_so() {
    let billing = [address(A)];
    let main = [address(B)];
    let stands_in = Event::Resolved { addresses: &main, fallback: true };
    let fresh = delivery(State::Due, false, false, Vec::new());
    let first = step(&fresh, &resolved(&billing), at(10), &policy(), 0.0).delivery;
    let unknown = end(&begin(&first, A), A, Verdict::Uncertain, false);

    let held = step(&unknown, &stands_in, at(900), &policy(), 0.0).delivery;
    assert_eq!(held.hold, Some(HoldReason::RejectedAfterUncertain));
    assert_eq!(held.addresses.len(), 1, "nobody else gets it");

    let released = Event::Release { now: true };
    let released = step(&held, &released, at(901), &policy(), 0.0).delivery;
    let sent = step(&released, &stands_in, at(902), &policy(), 0.0).delivery;
    let open: Vec<_> = sent.open_addresses().map(|open| &open.address).collect();
    assert_eq!(open, [&main[0]]);

    // One that was left out while the contact had another may have it, too.
    let both = [address(A), address(C)];
    let first = step(&fresh, &resolved(&both), at(10), &policy(), 0.0).delivery;
    let unknown = end(&begin(&first, A), A, Verdict::Uncertain, false);
    let left = step(&unknown, &resolved(&both[1..]), at(900), &policy(), 0.0).delivery;
    assert_eq!(left.addresses[0].state, AddressState::Superseded);
    let rejected = end(&begin(&left, C), C, Verdict::AddressRejected, true);
    let held = step(&rejected, &stands_in, at(901), &policy(), 0.0).delivery;
    assert_eq!(held.hold, Some(HoldReason::RejectedAfterUncertain));

    // So may one that was held by somebody for reasons of his own when the relay rejected it.
    let first = step(&fresh, &resolved(&billing), at(10), &policy(), 0.0).delivery;
    let unknown = end(&begin(&first, A), A, Verdict::Uncertain, false);
    let theirs =
        HoldReason::Operator { name: "anna".to_owned(), reason: "a wrong total".to_owned() };
    let asked = step(&begin(&unknown, A), &Event::Hold(theirs.clone()), at(20), &policy(), 0.0);
    let rejected = end(&asked.delivery, A, Verdict::AddressRejected, true);
    assert_eq!(rejected.hold, Some(theirs));
    let let_go = step(&rejected, &Event::Release { now: true }, at(30), &policy(), 0.0).delivery;
    let held = step(&let_go, &stands_in, at(31), &policy(), 0.0).delivery;
    assert_eq!(held.hold, Some(HoldReason::RejectedAfterUncertain));

    // One that was rejected after all its attempts counts once, too.
    let first = step(&fresh, &resolved(&billing), at(10), &policy(), 0.0).delivery;
    let mut tired = end(&begin(&first, A), A, Verdict::Uncertain, false);
    tired.addresses[0].failures = 100;
    tired.addresses[0].waited = policy().backoff.give_up_after;
    let held = end(&begin(&tired, A), A, Verdict::AddressRejected, true);
    assert_eq!(held.hold, Some(HoldReason::RejectedAfterUncertain));
    let let_go = step(&held, &Event::Release { now: true }, at(30), &policy(), 0.0).delivery;
    let sent_to_another = step(&let_go, &stands_in, at(31), &policy(), 0.0).delivery;
    assert_eq!(sent_to_another.hold, None);

    // And one that was given up before the contact's other one was rejected. Once somebody has said so it counts no
    // more.
    let first = step(&fresh, &resolved(&both), at(10), &policy(), 0.0).delivery;
    let mut given_up = end(&begin(&first, A), A, Verdict::Uncertain, false);
    while given_up.addresses[0].state != AddressState::Rejected {
        given_up = end(&begin(&given_up, A), A, Verdict::Deferred, false);
    }
    let rejected = end(&begin(&given_up, C), C, Verdict::AddressRejected, true);
    let held = step(&rejected, &stands_in, at(901), &policy(), 0.0).delivery;
    assert_eq!(held.hold, Some(HoldReason::RejectedAfterUncertain));
    let let_go = step(&held, &Event::Release { now: true }, at(902), &policy(), 0.0).delivery;
    let sent_to_another = step(&let_go, &stands_in, at(903), &policy(), 0.0).delivery;
    let open: Vec<_> = sent_to_another.open_addresses().map(|open| &open.address).collect();
    assert_eq!(open, [&main[0]]);

    // An unknown outcome at the stand-in is one like any other.
    let unknown = end(&begin(&sent, B), B, Verdict::Uncertain, false);
    let again = step(&unknown, &stands_in, at(1_800), &policy(), 0.0).delivery;
    assert_eq!((again.hold.clone(), again.round_at), (None, sent.round_at));
    let open: Vec<_> = again.open_addresses().map(|open| &open.address).collect();
    assert_eq!(open, [&main[0]]);
}

#[test]
fn an_address_that_nothing_was_tried_at_does_not_stay() {
    let [a, b, c] = [A, B, C].map(address);
    let fresh = delivery(State::Due, false, false, Vec::new());
    let resolve = |delivery: &Delivery, addresses: &[EmailAddress]| {
        step(delivery, &resolved(addresses), at(200), &policy(), 0.0).delivery
    };
    let states = |delivery: &Delivery| -> Vec<(EmailAddress, AddressState)> {
        delivery.addresses.iter().map(|one| (one.address.clone(), one.state)).collect()
    };
    let both = resolve(&fresh, &[a.clone(), b.clone()]);
    let dropped = step(&begin(&both, A), &Event::AttemptDropped, at(100), &policy(), 0.0).delivery;
    let other = resolve(&dropped, std::slice::from_ref(&c));
    assert_eq!(states(&other), [(c.clone(), AddressState::Pending)]);

    let tried = end(&begin(&both, A), A, Verdict::Deferred, false);
    let other = resolve(&tried, std::slice::from_ref(&c));
    let stopped = (a.clone(), AddressState::Superseded);
    assert_eq!(states(&other), [stopped.clone(), (c.clone(), AddressState::Pending)]);
    assert_eq!(states(&resolve(&other, &[])), [stopped]);

    let accepted = end(&begin(&both, A), A, Verdict::Accepted, false);
    let other = resolve(&accepted, &[c]);
    assert_eq!(other.state, State::Delivered);
    assert_eq!(states(&other), [(a, AddressState::Delivered), (b, AddressState::Superseded)]);
}

#[test]
fn a_withdrawal_while_sending_is_obeyed_when_the_attempt_ends() {
    let asked = step(&sending(), &Event::Withdraw, at(1), &policy(), 0.0);
    assert_eq!(asked.answer, Answer::Recorded);
    assert_eq!(end(&asked.delivery, A, Verdict::Deferred, false).state, State::Withdrawn);
    let accepted = end(&asked.delivery, A, Verdict::Accepted, false);
    assert_eq!(
        (accepted.state, accepted.addresses[1].state),
        (State::Delivered, AddressState::Superseded)
    );
    let unknown = end(&asked.delivery, A, Verdict::Uncertain, false);
    assert_eq!(unknown.hold, Some(HoldReason::WithdrawnAfterUncertain));
}

#[test]
fn what_may_have_arrived_cannot_be_taken_back_whatever_the_attempt_under_way_comes_to() {
    let one = end(&sending(), A, Verdict::Accepted, false);
    let asked = step(&begin(&one, B), &Event::Withdraw, at(1), &policy(), 0.0);
    assert_eq!(asked.answer, Answer::AlreadySent);
    let again = step(&asked.delivery, &Event::Withdraw, at(1), &policy(), 0.0);
    assert_eq!(again.answer, Answer::AlreadySent);
    let settled = end(&asked.delivery, B, Verdict::Deferred, false);
    assert_eq!(
        (settled.state, settled.addresses[1].state),
        (State::Delivered, AddressState::Superseded)
    );
}

#[test]
fn a_resend_that_is_withdrawn_leaves_what_the_revision_before_came_to() {
    let resent = Delivery { revision: 2, ..sending() };
    let undeliverable = end(
        &begin(&end(&resent, A, Verdict::AddressRejected, false), B),
        B,
        Verdict::AddressRejected,
        false,
    );
    assert_eq!(undeliverable.state, State::Undeliverable);
    let under_way = step(&resent, &Event::Withdraw, at(1), &policy(), 0.0);
    let withdrawn = end(&under_way.delivery, A, Verdict::Deferred, false);
    assert_eq!(withdrawn.state, State::Delivered);
    for before in [&resent, &undeliverable] {
        let asked = step(before, &Event::Withdraw, at(1), &policy(), 0.0);
        assert_eq!(asked.answer, Answer::AlreadySent);
    }
    let given_up = step(&undeliverable, &Event::Withdraw, at(1), &policy(), 0.0);
    assert_eq!(given_up.delivery.state, State::Delivered);
}
