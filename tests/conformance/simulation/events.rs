//! What senders send, and which of it is remembered.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use invoice_router::domain::change::AccountChange;
use invoice_router::domain::id::{AccountId, InvoiceNumber};
use invoice_router::domain::invoice::Invoice;

/// A webhook-id is looked for among those of so many days, and of a day ahead, for a clock that was set back.
const IDEMPOTENCY: (TimeDelta, TimeDelta) = (TimeDelta::days(7), TimeDelta::days(1));

#[derive(Debug, Clone)]
pub(crate) enum What {
    Change(Box<AccountChange>),
    Issue(Box<Invoice>),
    Withdraw(AccountId, InvoiceNumber),
}

/// What a sender sends, and sends again until it is answered with success.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    /// Distinguishes bodies.
    pub(crate) body: u64,
    /// When it was handed over last.
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) what: What,
}

/// Events that were answered with success.
#[derive(Debug, Default)]
pub(crate) struct Remembered(BTreeMap<String, Vec<Body>>);

#[derive(Debug)]
struct Body {
    body: u64,
    /// When it came, unless it may be forgotten by now.
    at: Option<DateTime<Utc>>,
}

impl Remembered {
    pub(crate) fn add(&mut self, event: &Event) {
        self.0
            .entry(event.id.clone())
            .or_default()
            .push(Body { body: event.body, at: Some(event.received_at) });
    }

    /// What is old now may be forgotten.
    pub(crate) fn swept(&mut self, now: DateTime<Utc>) {
        for body in self.0.values_mut().flatten() {
            body.at = body.at.filter(|at| *at > now - IDEMPOTENCY.0);
        }
    }

    /// Whether its id cannot be taken for a new one, whatever the times of day.
    pub(crate) fn must_know(&self, event: &Event) -> bool {
        let (before, after) = IDEMPOTENCY;
        let earliest = event.received_at - before;
        let latest = event.received_at + after;
        self.bodies(event).any(|body| body.at.is_some_and(|at| earliest < at && at <= latest))
    }

    /// Whether it may be called a repetition.
    pub(crate) fn knows(&self, event: &Event) -> bool {
        self.bodies(event).any(|body| body.body == event.body)
    }

    /// Whether its id may be called re-used.
    pub(crate) fn knows_another(&self, event: &Event) -> bool {
        self.bodies(event).any(|body| body.body != event.body)
    }

    fn bodies(&self, event: &Event) -> impl Iterator<Item = &Body> {
        self.0.get(&event.id).into_iter().flatten()
    }
}
