//! The delivery state machine.

use chrono::{DateTime, Utc};

use super::{AddressDelivery, AddressState, Delivery, HoldReason, Lane, State, Verdict};
use crate::domain::address::EmailAddress;
use crate::domain::invoice::Release;
use crate::domain::recipient::{Recipient, Rule};
use crate::domain::retry::{AfterUncertain, Policy, UNCERTAIN_MAX};

/// What happens to a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// Its account is there now, in the version it asks for.
    Freed(Release),
    /// Its account changed.
    AccountChanged,
    /// What it waits for has come: its account's schedule fired, or an operator dispatched what waits.
    ScheduleFired,
    /// A round begins.
    Resolved {
        /// The current recipient's addresses, or none.
        addresses: &'a [EmailAddress],
        /// Whether they are the main contact's in place of the billing contact's, which are rejected.
        fallback: bool,
    },
    /// An intent for this address is being committed.
    AttemptBegan(&'a EmailAddress),
    /// The attempt at this address came to something.
    AttemptEnded {
        /// At which address.
        address: &'a EmailAddress,
        /// What it came to.
        verdict: Verdict,
        /// The relay's words, for the reason of a hold.
        reply: &'a str,
        /// Whether the resolver is asked who is left, once no address is open.
        fallback: bool,
    },
    /// The attempt was broken off before the message, through no fault of the invoice.
    AttemptDropped,
    /// The daemon ended between intent and outcome.
    Interrupted(&'a EmailAddress),
    /// It is to wait for an operator.
    Hold(HoldReason),
    /// An operator lets it go on.
    Release {
        /// At once, whatever the schedule.
        now: bool,
    },
    /// It is taken back.
    Withdraw,
    /// An operator wants it sent again.
    Resend {
        /// The revision that is to be replaced.
        revision: u32,
    },
}

impl<'a> Event<'a> {
    /// The beginning of a round for whom the resolver names.
    #[must_use]
    pub fn resolved(recipient: &'a Recipient) -> Self {
        Self::Resolved {
            addresses: recipient.addresses(),
            fallback: recipient.reason.rule == Rule::FallbackAfterRejection,
        }
    }
}

/// The delivery afterwards, and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Afterwards; unchanged if the event does not fit.
    pub delivery: Delivery,
    /// What became of the event.
    pub answer: StepAnswer,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepAnswer {
    /// It took effect.
    Applied,
    /// It takes effect when the attempt under way has ended.
    Deferred,
    /// It is in effect already.
    Unchanged,
    /// It was or may have been sent; what was still open stops.
    AlreadySent,
    /// It does not fit the state; nothing changed.
    WrongState,
    /// It names a revision that is not the current one; nothing changed.
    OtherRevision {
        /// The one that it names.
        named: u32,
        /// The current one.
        current: u32,
    },
}

/// Moves `delivery` by `event`. `jitter` is uniform in 0..1.
#[must_use]
pub fn step(
    delivery: &Delivery,
    event: &Event<'_>,
    now: DateTime<Utc>,
    policy: &Policy,
    jitter: f64,
) -> Step {
    let mut next = delivery.clone();
    let answer = match event {
        Event::Freed(release) => next.free(*release, now),
        Event::AccountChanged => next.become_due_if(delivery.state == State::Withheld, now),
        // A held one is passed by: it waits for the next time once it is let go.
        Event::ScheduleFired => {
            next.become_due_if(delivery.state == State::Waiting && delivery.hold.is_none(), now)
        }
        Event::Resolved { addresses, fallback } => next.resolved(addresses, *fallback, now, policy),
        Event::AttemptBegan(address) => next.attempt_began(address),
        Event::AttemptEnded { address, verdict, reply, fallback } => {
            let end = AttemptEnd { verdict: *verdict, reply, fallback: *fallback };
            next.attempt_ended(address, &end, now, policy, jitter)
        }
        Event::AttemptDropped => next.attempt_dropped(now),
        Event::Interrupted(address) => {
            let end = AttemptEnd { verdict: Verdict::Uncertain, reply: "", fallback: false };
            next.attempt_ended(address, &end, now, policy, jitter)
        }
        Event::Hold(reason) => next.put_on_hold(reason.clone()),
        Event::Release { now: at_once } => next.release(*at_once, now),
        Event::Withdraw => next.withdraw(),
        Event::Resend { revision } => next.resend(*revision, now),
    };
    match answer {
        StepAnswer::WrongState | StepAnswer::OtherRevision { .. } | StepAnswer::Unchanged => {
            Step { delivery: delivery.clone(), answer }
        }
        StepAnswer::Applied | StepAnswer::Deferred | StepAnswer::AlreadySent => {
            Step { delivery: next, answer }
        }
    }
}

struct AttemptEnd<'a> {
    verdict: Verdict,
    reply: &'a str,
    fallback: bool,
}

impl Delivery {
    fn free(&mut self, release: Release, now: DateTime<Utc>) -> StepAnswer {
        if self.state != State::Parked {
            return StepAnswer::WrongState;
        }
        *self = self.clone().freed(release, now);
        StepAnswer::Applied
    }

    fn become_due_if(&mut self, fits: bool, now: DateTime<Utc>) -> StepAnswer {
        if !fits {
            return StepAnswer::WrongState;
        }
        self.become_due(now);
        StepAnswer::Applied
    }

    /// Takes the current contact's addresses, unless one accepted: then none is added. Those that are no longer the
    /// contact's stop; until one accepts, untried ones are dropped. A contact who may have
    /// the mail already gets no substitute.
    fn resolved(
        &mut self,
        recipient: &[EmailAddress],
        fallback: bool,
        now: DateTime<Utc>,
        policy: &Policy,
    ) -> StepAnswer {
        if !self.may_send() {
            return StepAnswer::WrongState;
        }
        let accepted = self.is_accepted_by_one();
        if fallback && !accepted && self.reject_who_may_have_it(recipient, policy) {
            self.hold = Some(HoldReason::RejectedAfterUncertain);
            return StepAnswer::Applied;
        }
        if !accepted {
            self.addresses.retain(|known| known.attempts > 0 || recipient.contains(&known.address));
        }
        for address in &mut self.addresses {
            let belongs = recipient.contains(&address.address);
            address.state = match address.state {
                AddressState::Pending | AddressState::Unknown if !belongs => {
                    AddressState::Superseded
                }
                AddressState::Superseded | AddressState::Rejected
                    if belongs && !accepted && !address.is_given_up(policy) =>
                {
                    address.reopened()
                }
                AddressState::Pending
                | AddressState::Unknown
                | AddressState::Delivered
                | AddressState::Rejected
                | AddressState::Superseded => address.state,
            };
        }
        if !accepted {
            for address in recipient {
                if !self.addresses.iter().any(|known| known.address == *address) {
                    self.addresses.push(AddressDelivery::new(address.clone()));
                }
            }
        }
        // The repeat of an attempt of unknown outcome must be the same message, `Date` included; also at an
        // address that was not the contact's for a while.
        let may_be_a_repeat = self
            .addresses
            .iter()
            .any(|address| address.uncertain > 0 && address.state != AddressState::Delivered);
        if self.round_at.is_none() || !may_be_a_repeat {
            self.round_at = Some(now);
        }
        if self.open_addresses().next().is_some() {
            return StepAnswer::Applied;
        }
        if accepted {
            self.finish(State::Delivered);
        } else if recipient.is_empty() {
            self.state = State::Withheld;
            self.next_at = None;
        } else {
            self.finish(State::Undeliverable);
        }
        StepAnswer::Applied
    }

    /// Gives up the addresses of unknown outcome that are none of the recipient's, since the relay rejects
    /// their contact by now; those too that were left out or given up earlier, while the contact had others.
    /// Says whether there were any.
    fn reject_who_may_have_it(&mut self, recipient: &[EmailAddress], policy: &Policy) -> bool {
        let mut may_have_it = false;
        for address in &mut self.addresses {
            let is_unknown = match address.state {
                AddressState::Unknown => true,
                AddressState::Superseded => address.uncertain > 0,
                AddressState::Rejected => address.uncertain > 0 && address.is_given_up(policy),
                AddressState::Pending | AddressState::Delivered => false,
            };
            if is_unknown && !recipient.contains(&address.address) {
                // Once released it counts as rejected alone, and holds the invoice no more.
                address.forget_failures();
                address.state = AddressState::Rejected;
                may_have_it = true;
            }
        }
        may_have_it
    }

    fn attempt_began(&mut self, address: &EmailAddress) -> StepAnswer {
        let is_open = self.open_addresses().any(|open| open.address == *address);
        if !self.may_send() || !is_open {
            return StepAnswer::WrongState;
        }
        self.state = State::Sending;
        StepAnswer::Applied
    }

    fn attempt_ended(
        &mut self,
        address: &EmailAddress,
        end: &AttemptEnd<'_>,
        now: DateTime<Utc>,
        policy: &Policy,
        jitter: f64,
    ) -> StepAnswer {
        if end.verdict == Verdict::RelayFailed {
            return self.attempt_dropped(now);
        }
        let tried = self
            .addresses
            .iter_mut()
            .find(|tried| tried.address == *address && tried.state.is_open());
        let (State::Sending, Some(tried)) = (self.state, tried) else {
            return StepAnswer::WrongState;
        };
        tried.attempts += 1;
        let mut hold = None;
        match end.verdict {
            Verdict::Accepted => tried.state = AddressState::Delivered,
            Verdict::Deferred => {
                self.next_at = Some(now + tried.failed(policy, jitter));
                if tried.is_given_up(policy) {
                    tried.state = AddressState::Rejected;
                }
            }
            // Don't overwrite an operator's hold. That the contact may have the invoice must still be known when it is
            // released.
            Verdict::AddressRejected if tried.uncertain > 0 && self.hold.is_some() => {
                tried.state = AddressState::Unknown;
            }
            Verdict::AddressRejected => {
                if tried.uncertain > 0 {
                    // Once released it counts as rejected alone, and not as given up.
                    tried.forget_failures();
                    hold = Some(HoldReason::RejectedAfterUncertain);
                }
                tried.state = AddressState::Rejected;
            }
            Verdict::MessageRefused => {
                hold = Some(HoldReason::MessageRefused(end.reply.to_owned()));
            }
            Verdict::Uncertain => {
                self.next_at = Some(now + tried.failed(policy, jitter));
                tried.state = AddressState::Unknown;
                tried.uncertain += 1;
                hold = match policy.after_uncertain {
                    AfterUncertain::Resend if tried.uncertain < UNCERTAIN_MAX => None,
                    AfterUncertain::Resend => Some(HoldReason::UncertainTooOften),
                    AfterUncertain::Hold => Some(HoldReason::Uncertain),
                };
            }
            Verdict::RelayFailed => {}
        }
        if let Some(reason) = hold {
            self.hold.get_or_insert(reason);
        }
        let fallback = end.fallback
            && end.verdict == Verdict::AddressRejected
            && !self.is_accepted_by_one()
            && self.open_addresses().next().is_none();
        self.settle(now, fallback);
        StepAnswer::Applied
    }

    fn attempt_dropped(&mut self, now: DateTime<Utc>) -> StepAnswer {
        if self.state != State::Sending {
            return StepAnswer::WrongState;
        }
        self.settle(now, false);
        StepAnswer::Applied
    }

    fn put_on_hold(&mut self, reason: HoldReason) -> StepAnswer {
        if self.hold.is_some() {
            return StepAnswer::WrongState;
        }
        let answer = match self.state {
            State::Parked | State::Waiting | State::Due | State::Withheld => StepAnswer::Applied,
            State::Sending => StepAnswer::Deferred,
            State::Delivered | State::Withdrawn | State::Undeliverable => {
                return StepAnswer::WrongState;
            }
        };
        self.hold = Some(reason);
        answer
    }

    fn release(&mut self, at_once: bool, now: DateTime<Utc>) -> StepAnswer {
        let held = self.hold.take().is_some();
        match self.state {
            State::Sending if held => return StepAnswer::Deferred,
            State::Parked if held => self.next_at = at_once.then_some(now),
            State::Waiting | State::Due if held => {
                if at_once {
                    self.become_due(now);
                }
            }
            State::Withheld => self.become_due(now),
            State::Undeliverable => {
                for address in &mut self.addresses {
                    if address.state == AddressState::Rejected {
                        address.state = address.reopened();
                    }
                }
                self.become_due(now);
            }
            State::Parked
            | State::Waiting
            | State::Due
            | State::Sending
            | State::Delivered
            | State::Withdrawn => return StepAnswer::WrongState,
        }
        if at_once && self.state == State::Due {
            self.lane = Lane::Urgent;
        }
        StepAnswer::Applied
    }

    fn withdraw(&mut self) -> StepAnswer {
        match self.state {
            // Whatever the outcome of the attempt in progress, it cannot be taken back any more.
            State::Sending if self.may_have_arrived() => {
                self.withdraw = true;
                StepAnswer::AlreadySent
            }
            State::Sending if self.withdraw => StepAnswer::Unchanged,
            State::Sending => {
                self.withdraw = true;
                StepAnswer::Deferred
            }
            State::Withdrawn => StepAnswer::Unchanged,
            State::Delivered => StepAnswer::AlreadySent,
            State::Parked
            | State::Waiting
            | State::Due
            | State::Withheld
            | State::Undeliverable => {
                if self.take_back() {
                    StepAnswer::Applied
                } else {
                    StepAnswer::AlreadySent
                }
            }
        }
    }

    fn resend(&mut self, revision: u32, now: DateTime<Utc>) -> StepAnswer {
        // A request that comes twice is answered that the first one did it, whatever has become of the new revision.
        if self.revision != revision {
            return StepAnswer::OtherRevision { named: revision, current: self.revision };
        }
        if self.state != State::Delivered {
            return StepAnswer::WrongState;
        }
        self.revision += 1;
        self.addresses.clear();
        self.round_at = None;
        self.lane = Lane::Urgent;
        self.become_due(now);
        StepAnswer::Applied
    }

    /// Ends an attempt: obeys what was asked for meanwhile, then goes on with what is open.
    fn settle(&mut self, now: DateTime<Utc>, fallback: bool) {
        self.state = State::Due;
        if fallback || self.next_at.is_none_or(|at| at < now) {
            self.next_at = Some(now);
        }
        if self.withdraw {
            self.withdraw = false;
            self.take_back();
            return;
        }
        let waits_for_somebody = self.hold == Some(HoldReason::RejectedAfterUncertain);
        if self.open_addresses().next().is_some() || fallback {
            return;
        }
        let accepted = self.is_accepted_by_one();
        if waits_for_somebody && !accepted {
            return;
        }
        self.finish(if accepted { State::Delivered } else { State::Undeliverable });
    }

    /// Stops every open address; returns whether it certainly arrived nowhere.
    fn take_back(&mut self) -> bool {
        let may_have_arrived = self.may_have_arrived();
        for address in &mut self.addresses {
            if address.state.is_open() {
                address.state = AddressState::Superseded;
            }
        }
        if self.was_accepted() {
            self.finish(State::Delivered);
        } else if !may_have_arrived {
            self.finish(State::Withdrawn);
        } else if self.state != State::Undeliverable {
            self.hold = Some(HoldReason::WithdrawnAfterUncertain);
        }
        !may_have_arrived
    }

    fn become_due(&mut self, now: DateTime<Utc>) {
        self.state = State::Due;
        self.next_at = Some(now);
    }

    fn finish(&mut self, state: State) {
        self.state = state;
        self.hold = None;
        self.withdraw = false;
        self.next_at = None;
    }
}

impl AddressDelivery {
    fn new(address: EmailAddress) -> Self {
        Self {
            address,
            state: AddressState::Pending,
            attempts: 0,
            failures: 0,
            uncertain: 0,
            waited: std::time::Duration::ZERO,
        }
    }

    /// Counts a failure and returns the delay after it.
    fn failed(&mut self, policy: &Policy, jitter: f64) -> std::time::Duration {
        self.failures += 1;
        let delay = policy.backoff.delay(self.failures, jitter);
        self.waited += delay;
        delay
    }

    /// Whether it had all the attempts that it gets.
    fn is_given_up(&self, policy: &Policy) -> bool {
        policy.backoff.gives_up(self.failures, self.waited)
    }

    fn forget_failures(&mut self) {
        self.failures = 0;
        self.waited = std::time::Duration::ZERO;
    }

    /// The state in which it is tried once more; its delays start anew.
    fn reopened(&mut self) -> AddressState {
        self.forget_failures();
        if self.uncertain > 0 { AddressState::Unknown } else { AddressState::Pending }
    }
}
