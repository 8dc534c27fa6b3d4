//! Attempts: the intent before, the outcome after, and what a crash left between them.

use chrono::{DateTime, Utc};

use super::keys::{self, Key};
use super::read;
use super::subject::Subject;
use super::tx::{Records as _, Tx, met};
use super::write::{self, By};
use crate::domain::audit::{AttemptEnded, AuditEvent, AuditReply, AuditText, Consequence};
use crate::domain::delivery::{
    AddressDelivery, AddressState, Attempt, Delivery, DeliveryId, Event, HoldReason, Intent,
    Outcome, Reply, Shown, Stage, StepAnswer, Verdict, step,
};
use crate::domain::recipient::{OnRejected, Recipient, Suppression};
use crate::store::record::{DeliveryRow, IntentRow};
use crate::store::{Begin, ExpectedVersion, IntentOutcome, ProcessId, Result, Settle, Settled};

/// Commits an intent, if account and delivery are as they were when it was decided.
pub(super) fn begin(
    tx: &mut Tx<'_>,
    id: DeliveryId,
    begin: &Begin,
    owner: ProcessId,
) -> Result<IntentOutcome> {
    let Begin { seen, recipient, round_at, intent } = begin;
    let Some(subject) = Subject::unmoved(tx, id, *seen)? else {
        return Ok(IntentOutcome::Moved);
    };
    let resolved = subject.step(tx, &Event::resolved(recipient), *round_at, 0.0);
    let sending = step(
        &resolved.delivery,
        &Event::AttemptBegan(&intent.address),
        intent.started_at,
        &tx.rules().policy,
        0.0,
    );
    if resolved.answer != StepAnswer::Applied || sending.answer != StepAnswer::Applied {
        return Ok(IntentOutcome::Moved);
    }
    // Written anew, a damaged one is whole again.
    let sent_to: Option<Option<Recipient>> =
        read::unless_damaged(tx.read(&keys::recipient(id)), |_| ())?;
    if sent_to.flatten().as_ref() != Some(recipient) {
        tx.put(&keys::recipient(id), recipient)?;
        let resolved = AuditEvent::RecipientResolved { recipient: recipient.into() };
        subject.tell(tx, intent.started_at, &By::DAEMON, resolved);
    }
    tx.put(&keys::intent(id), &IntentRow { intent: intent.clone(), owner })?;
    subject.put(tx, sending.delivery, intent.started_at)?;
    Ok(IntentOutcome::Durable)
}

/// Commits the outcome of the attempt whose intent is stored.
pub(super) fn settle(tx: &mut Tx<'_>, id: DeliveryId, settle: &Settle) -> Result<Settled> {
    let mut subject = Subject::read(tx, id)?;
    match (settle, read::intent(tx, id)?) {
        (Settle::Ended { attempt, verdict, at, jitter }, Some(intent))
            if attempt.intent == intent =>
        {
            subject.row = end(tx, &subject, attempt, *verdict, *at, *jitter)?;
        }
        (Settle::Dropped { at }, Some(_)) => {
            let dropped = subject.step(tx, &Event::AttemptDropped, *at, 0.0);
            tx.remove(&keys::intent(id))?;
            subject.row = subject.put(tx, dropped.delivery, *at)?;
        }
        // The outcome was committed before: a settlement that is repeated changes nothing.
        (Settle::Ended { .. } | Settle::Dropped { .. }, _) => {}
    }
    Ok(Settled { seen: subject.seen(), delivery: subject.row.delivery })
}

fn end(
    tx: &mut Tx<'_>,
    subject: &Subject,
    attempt: &Attempt,
    verdict: Verdict,
    at: DateTime<Utc>,
    jitter: f64,
) -> Result<DeliveryRow> {
    let address = &attempt.intent.address;
    // Without a reply it was us who saw that it cannot be sent, and the cause says why.
    let reply = match (&attempt.reply, &attempt.cause) {
        (Some(reply), _) => AuditText::new(reply.to_string()),
        (None, cause) => AuditText::new(cause.as_deref().unwrap_or_default()),
    };
    let mut fallback = false;
    if verdict == Verdict::AddressRejected
        && let Some(account) = &subject.account
    {
        let mark =
            Suppression { since: at, account_version: account.version(), reply: reply.to_string() };
        tx.put(&keys::suppression(account.id(), address), &mark)?;
        // The next round resolves who is left. If that is no one, the invoice is withheld then,
        // and comes back with the next change of its account.
        fallback = match tx.rules().on_rejected {
            OnRejected::MainContact => true,
            OnRejected::Undeliverable => {
                !read::recipient(tx, account, tx.rules())?.addresses().is_empty()
            }
        };
    }
    let event = Event::AttemptEnded { address, verdict, reply: reply.as_str(), fallback };
    let ended = step_or_drop(tx, subject, &event, at, jitter);
    tx.remove(&keys::intent(subject.id))?;
    if verdict != Verdict::RelayFailed {
        let consequence = consequence_of(&subject.row.delivery, &ended, verdict, fallback);
        keep(tx, subject, attempt, consequence, at)?;
    }
    subject.put(tx, ended, at)
}

/// Keeps an attempt and writes its audit event, with its consequence.
fn keep(
    tx: &mut Tx<'_>,
    subject: &Subject,
    attempt: &Attempt,
    consequence: Option<Consequence>,
    at: DateTime<Utc>,
) -> Result<()> {
    tx.put(&keys::attempt(subject.id, subject.row.stamp), attempt)?;
    let told = Box::new(told_of(&subject.row.delivery, attempt, consequence));
    subject.tell(tx, at, &By::DAEMON, AuditEvent::AttemptEnded(told));
    Ok(())
}

/// An attempt for the audit log: all that proves it, and the address by its place alone.
fn told_of(
    delivery: &Delivery,
    attempt: &Attempt,
    consequence: Option<Consequence>,
) -> AttemptEnded {
    let Attempt { intent, stage, reply, cause, outcome } = attempt;
    let addresses = &delivery.addresses;
    let place = addresses.iter().position(|one| one.address == intent.address);
    AttemptEnded {
        revision: intent.revision,
        number: intent.number,
        started_at: intent.started_at,
        address: place.map_or(0, |place| write::count_of(place + 1)),
        addresses: write::count_of(addresses.len()),
        outcome: *outcome,
        stage: *stage,
        reply: reply.as_ref().map(|Reply { code, enhanced, text }| AuditReply {
            code: *code,
            enhanced: *enhanced,
            text: AuditText::new(text),
        }),
        cause: cause.as_ref().map(AuditText::new),
        message_digest: intent.message_digest,
        message_bytes: intent.message_bytes,
        consequence,
    }
}

/// What an attempt's end means for the whole invoice, if it is more than the attempt itself tells.
fn consequence_of(
    before: &Delivery,
    after: &Delivery,
    verdict: Verdict,
    fallback: bool,
) -> Option<Consequence> {
    if let Some(reason) = after.hold.as_ref().filter(|_| before.hold.is_none()) {
        return Some(Consequence::Held(reason.kind()));
    }
    let in_state = |state: AddressState| {
        let addresses = after.addresses.iter().filter(|address| address.state == state);
        write::count_of(addresses.count())
    };
    match after.shown() {
        Shown::Delivered => {
            let (accepted, superseded) =
                (in_state(AddressState::Delivered), in_state(AddressState::Superseded));
            Some(if accepted == 0 {
                Consequence::EarlierRevisionDelivered
            } else {
                Consequence::Delivered {
                    accepted,
                    of: write::count_of(after.addresses.len()) - superseded,
                    withdrawal_stopped: before.withdraw.then_some(superseded),
                }
            })
        }
        Shown::Undeliverable => Some(Consequence::Undeliverable),
        Shown::Withdrawn => Some(Consequence::Withdrawn),
        Shown::Due if verdict == Verdict::AddressRejected && fallback => {
            Some(Consequence::AddressSuppressed)
        }
        Shown::Parked
        | Shown::Waiting
        | Shown::Due
        | Shown::Sending
        | Shown::Withheld
        | Shown::Held => None,
    }
}

/// Commits that no address can be reached, or that nothing is left to be sent to the current recipient.
pub(super) fn withhold(
    tx: &mut Tx<'_>,
    id: DeliveryId,
    seen: ExpectedVersion,
    at: DateTime<Utc>,
) -> Result<bool> {
    let Some(subject) = Subject::unmoved(tx, id, seen)? else {
        return Ok(false);
    };
    let Some(account) = &subject.account else {
        return Ok(false);
    };
    let recipient = read::recipient(tx, account, tx.rules())?;
    let resolved = subject.step(tx, &Event::resolved(&recipient), at, 0.0);
    let is_open =
        resolved.delivery.may_send() && resolved.delivery.open_addresses().next().is_some();
    if resolved.answer != StepAnswer::Applied || is_open {
        return Ok(false);
    }
    let superseded = |delivery: &Delivery| {
        let of = |address: &&AddressDelivery| address.state == AddressState::Superseded;
        delivery.addresses.iter().filter(of).count()
    };
    let stopped = superseded(&resolved.delivery).saturating_sub(superseded(&subject.row.delivery));
    let nothing = AuditEvent::NothingToSend {
        state: resolved.delivery.shown(),
        rule: recipient.reason.rule,
        held: resolved.delivery.hold.as_ref().map(HoldReason::kind),
        superseded: write::count_of(stopped),
    };
    subject.tell(tx, at, &By::DAEMON, nothing);
    subject.put(tx, resolved.delivery, at)?;
    Ok(true)
}

/// What became of an intent.
pub(super) enum Recovered {
    /// It is settled as uncertain.
    Settled(DeliveryId, Intent),
    /// It stays, since its owner is at work or a record is damaged; those after this key are gone on with.
    Left(Key),
    /// There is none.
    None,
}

/// Settles the first intent after `after` as uncertain, if its owner is gone.
pub(super) fn recover_one(
    tx: &mut Tx<'_>,
    is_gone: &dyn Fn(ProcessId) -> bool,
    after: Option<&[u8]>,
    at: DateTime<Utc>,
    jitter: f64,
) -> Result<Recovered> {
    let Some((key, value)) = tx.scan(&[keys::kind::INTENT], after, 1, met)?.pop() else {
        return Ok(Recovered::None);
    };
    let recovered = match tx.decode(&key, &value) {
        Ok(IntentRow { owner, .. }) if !is_gone(owner) => return Ok(Recovered::Left(key)),
        Ok(IntentRow { intent, .. }) => recover_intent(tx, &key, intent, at, jitter),
        Err(error) => Err(error),
    };
    let recovered = read::unless_damaged(recovered, |error| {
        tracing::error!(%error, "an attempt of the previous process cannot be settled; its invoice is skipped");
        tx.roll_back();
    })?;
    Ok(recovered.unwrap_or(Recovered::Left(key)))
}

fn recover_intent(
    tx: &mut Tx<'_>,
    key: &[u8],
    intent: Intent,
    at: DateTime<Utc>,
    jitter: f64,
) -> Result<Recovered> {
    let id = keys::delivery_at_the_end(key)
        .ok_or_else(|| read::damaged("of kind intent", "its key holds no delivery"))?;
    let subject = Subject::read(tx, id)?;
    let event = Event::Interrupted(&intent.address);
    let interrupted = step_or_drop(tx, &subject, &event, at, jitter);
    let attempt = Attempt {
        intent: intent.clone(),
        stage: Stage::FinalDot,
        reply: None,
        cause: Some("the daemon ended before the outcome was known".to_owned()),
        outcome: Outcome::Uncertain,
    };
    tx.remove(key)?;
    let before = &subject.row.delivery;
    let consequence = consequence_of(before, &interrupted, Verdict::Uncertain, false);
    keep(tx, &subject, &attempt, consequence, at)?;
    subject.put(tx, interrupted, at)?;
    Ok(Recovered::Settled(id, intent))
}

/// The delivery after an attempt. One that does not fit must not stay in `sending` for ever.
fn step_or_drop(
    tx: &Tx<'_>,
    subject: &Subject,
    event: &Event<'_>,
    at: DateTime<Utc>,
    jitter: f64,
) -> Delivery {
    let ended = subject.step(tx, event, at, jitter);
    match ended.answer {
        StepAnswer::Applied
        | StepAnswer::Deferred
        | StepAnswer::Unchanged
        | StepAnswer::AlreadySent => ended.delivery,
        StepAnswer::WrongState | StepAnswer::OtherRevision { .. } => {
            subject.step(tx, &Event::AttemptDropped, at, jitter).delivery
        }
    }
}
