//! Whether an invoice came to a good end: what the relay has, against what is told of it.

use std::collections::{BTreeMap, BTreeSet};

use invoice_router::domain::delivery::{
    AddressState, Attempt, HoldReason, Outcome, Reply, Shown, Stage,
};
use invoice_router::domain::retry::{AfterUncertain, GIVE_UP_ATTEMPTS, UNCERTAIN_MAX};
use invoice_router::store::WholeInvoice;

use crate::model::{Invoice, Ordered};
use crate::relay::Copy;
use crate::seeds::Figures;

/// Whether nothing more happens to it, with nothing going wrong and no operator.
pub(crate) fn rests(whole: &WholeInvoice) -> bool {
    match whole.state {
        // What is withheld waits for the portal to say more.
        Shown::Delivered | Shown::Withdrawn | Shown::Undeliverable | Shown::Withheld => true,
        // It is not to be sent any more, though an address may have it.
        Shown::Held => whole.delivery.hold == Some(HoldReason::WithdrawnAfterUncertain),
        Shown::Parked | Shown::Waiting | Shown::Due | Shown::Sending => false,
    }
}

/// What is wrong with it, at the end of all.
pub(crate) fn judge(
    invoice: &Invoice,
    whole: &WholeInvoice,
    copies: &[&Copy],
    blamed: &BTreeSet<String>,
    figures: &mut Figures,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if !rests(whole) {
        wrong.push(format!("it does not come to its end: {} {:?}", whole.state, whole.delivery));
    }
    every_copy_is_told(whole, copies, &mut wrong);
    every_acceptance_is_true(whole, copies, &mut wrong);
    every_copy_was_needed(whole, copies, figures, &mut wrong);
    every_revision_is_one_message(whole, &mut wrong);
    every_attempt_is_one(whole, &mut wrong);
    every_address_is_accounted_for(whole, blamed, &mut wrong);
    the_state_is_true(invoice, whole, copies, &mut wrong);
    let uncertain = whole.attempts.iter().filter(|one| one.outcome == Outcome::Uncertain);
    figures.add("uncertain attempts", uncertain.count() as u64);
    figures.add("sent again", u64::from(invoice.was(Ordered::Resend)));
    figures.add("delivered", u64::from(whole.state == Shown::Delivered));
    wrong
}

/// What is wrong with an invoice of which retention has left a tombstone.
pub(crate) fn judge_tombstone(invoice: &Invoice, state: Shown, copies: &[&Copy]) -> Vec<String> {
    let is_confirmed = copies.iter().any(|copy| copy.confirmed);
    let is_true = match state {
        Shown::Delivered => is_confirmed && !invoice.withdrawn,
        Shown::Withdrawn => copies.is_empty(),
        // What the relay said may not have been heard.
        Shown::Undeliverable => !invoice.withdrawn,
        Shown::Parked
        | Shown::Waiting
        | Shown::Due
        | Shown::Sending
        | Shown::Withheld
        | Shown::Held => false,
    };
    if is_true {
        Vec::new()
    } else {
        vec![format!("a tombstone, though it is {state}: the relay has {copies:?}")]
    }
}

/// Whether an attempt is the one that brought this copy.
fn brought(attempt: &Attempt, copy: &Copy) -> bool {
    let intent = &attempt.intent;
    intent.address.as_str() == copy.to
        && copy.message_id == format!("<{}>", intent.message_id)
        && *intent.message_digest.as_bytes() == copy.digest
}

fn every_copy_is_told(whole: &WholeInvoice, copies: &[&Copy], wrong: &mut Vec<String>) {
    for copy in copies {
        let is_told = whole.attempts.iter().any(|attempt| {
            let may_have_arrived =
                matches!(attempt.outcome, Outcome::Accepted | Outcome::Uncertain);
            may_have_arrived && brought(attempt, copy)
        });
        if !is_told {
            wrong.push(format!("nothing is told of {copy:?}"));
        }
    }
}

fn every_acceptance_is_true(whole: &WholeInvoice, copies: &[&Copy], wrong: &mut Vec<String>) {
    for attempt in &whole.attempts {
        let is_true = || copies.iter().any(|copy| copy.confirmed && brought(attempt, copy));
        if attempt.outcome == Outcome::Accepted && !is_true() {
            wrong.push(format!("accepted without a 250: {attempt:?}"));
        }
    }
}

/// Beyond the first, a copy needs an attempt of unknown outcome; what was accepted is never tried again.
fn every_copy_was_needed(
    whole: &WholeInvoice,
    copies: &[&Copy],
    figures: &mut Figures,
    wrong: &mut Vec<String>,
) {
    let places: BTreeSet<_> = copies.iter().map(|copy| (&copy.to, &copy.message_id)).collect();
    for (to, message_id) in places {
        let dates: Vec<&str> = copies
            .iter()
            .filter(|copy| copy.to == *to && copy.message_id == *message_id)
            .map(|copy| copy.date.as_str())
            .collect();
        let count = dates.len();
        if dates.iter().any(|date| date.is_empty() || *date != dates[0]) {
            wrong.push(format!("copies to {to} of one message are dated {dates:?}"));
        }
        let outcomes: Vec<Outcome> = whole
            .attempts
            .iter()
            .filter(|attempt| {
                attempt.intent.address.as_str() == to
                    && *message_id == format!("<{}>", attempt.intent.message_id)
            })
            .map(|attempt| attempt.outcome)
            .collect();
        let of = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        let (accepted, uncertain) = (of(Outcome::Accepted), of(Outcome::Uncertain));
        let is_repeated = outcomes
            .iter()
            .position(|outcome| *outcome == Outcome::Accepted)
            .is_some_and(|first| first + 1 < outcomes.len());
        if is_repeated || count > accepted + uncertain {
            wrong.push(format!("{count} copies to {to} of attempts that were {outcomes:?}"));
        }
        figures.add("second copies", count as u64 - 1);
    }
}

/// A repetition is the same mail to whoever may have it already.
fn every_revision_is_one_message(whole: &WholeInvoice, wrong: &mut Vec<String>) {
    let mut ids = BTreeMap::new();
    for Attempt { intent, .. } in &whole.attempts {
        let first = ids.entry(intent.revision).or_insert(&intent.message_id);
        if **first != intent.message_id {
            wrong.push(format!("revision {} has two Message-IDs", intent.revision));
        }
    }
    let different: BTreeSet<_> = ids.values().map(ToString::to_string).collect();
    if different.len() != ids.len() {
        wrong.push("two revisions have one Message-ID".to_owned());
    }
}

/// What failed before RCPT is the relay's, and no attempt; a clean reply leaves nothing uncertain.
fn every_attempt_is_one(whole: &WholeInvoice, wrong: &mut Vec<String>) {
    for attempt in &whole.attempts {
        if attempt.stage < Stage::Rcpt {
            wrong.push(format!("no attempt at all: {attempt:?}"));
        }
        let is_clean = |reply: &Reply| matches!(reply.code, 250 | 400..=599);
        let is_uncertain = attempt.outcome == Outcome::Uncertain;
        if is_uncertain && attempt.reply.as_ref().is_some_and(is_clean) {
            wrong.push(format!("uncertain, though the relay said it: {attempt:?}"));
        }
    }
}

/// At a finished delivery's end each address has it, or there is a reason why not.
fn every_address_is_accounted_for(
    whole: &WholeInvoice,
    blamed: &BTreeSet<String>,
    wrong: &mut Vec<String>,
) {
    let delivery = &whole.delivery;
    for one in &delivery.addresses {
        let of = |outcome| {
            let is_it = |attempt: &&Attempt| {
                attempt.intent.revision == delivery.revision
                    && attempt.intent.address == one.address
                    && attempt.outcome == outcome
            };
            whole.attempts.iter().filter(is_it).count()
        };
        let failures = of(Outcome::Deferred) + of(Outcome::Uncertain);
        let is_given_up = u32::try_from(failures).is_ok_and(|count| count >= GIVE_UP_ATTEMPTS);
        let has_a_reason = match one.state {
            AddressState::Delivered => of(Outcome::Accepted) == 1,
            AddressState::Pending | AddressState::Unknown => !delivery.is_finished(),
            AddressState::Superseded => true,
            AddressState::Rejected => {
                blamed.contains(one.address.as_str()) || is_given_up || of(Outcome::Uncertain) > 0
            }
        };
        if !has_a_reason || (of(Outcome::Accepted) > 0) != (one.state == AddressState::Delivered) {
            wrong.push(format!("an address is not accounted for: {one:?} of {delivery:?}"));
        }
    }
}

/// Whether there is a reason why an operator has to release it.
pub(crate) fn is_hold_explained(
    invoice: &Invoice,
    whole: &WholeInvoice,
    after_uncertain: AfterUncertain,
) -> bool {
    let any = |outcome| whole.attempts.iter().any(|attempt| attempt.outcome == outcome);
    match &whole.delivery.hold {
        None => true,
        Some(HoldReason::Operator { .. }) => invoice.was(Ordered::Hold),
        Some(HoldReason::MessageRefused(_)) => any(Outcome::Rejected),
        Some(HoldReason::NotComposable(_)) => false,
        Some(HoldReason::Uncertain) => {
            after_uncertain == AfterUncertain::Hold && any(Outcome::Uncertain)
        }
        Some(HoldReason::UncertainTooOften) => {
            whole.delivery.addresses.iter().any(|address| address.uncertain >= UNCERTAIN_MAX)
        }
        Some(HoldReason::RejectedAfterUncertain | HoldReason::WithdrawnAfterUncertain) => {
            any(Outcome::Uncertain)
        }
    }
}

fn the_state_is_true(
    invoice: &Invoice,
    whole: &WholeInvoice,
    copies: &[&Copy],
    wrong: &mut Vec<String>,
) {
    let is_confirmed = copies.iter().any(|copy| copy.confirmed);
    let addresses = &whole.delivery.addresses;
    let is_delivered = addresses.iter().any(|one| one.state == AddressState::Delivered);
    // A 250 that was lost is an attempt of unknown outcome.
    let mut attempts = whole.attempts.iter();
    let is_accepted = attempts.any(|attempt| attempt.outcome == Outcome::Accepted);
    match whole.state {
        Shown::Delivered if !is_confirmed || !(is_delivered || invoice.was(Ordered::Resend)) => {
            wrong.push("delivered to nobody".to_owned());
        }
        Shown::Withdrawn if !copies.is_empty() => {
            wrong.push(format!("withdrawn, yet the relay has {copies:?}"));
        }
        Shown::Undeliverable if is_accepted && !invoice.was(Ordered::Resend) => {
            wrong.push("undeliverable, yet the relay accepted it".to_owned());
        }
        Shown::Withheld => {
            let recipient = whole.recipient.as_ref();
            if recipient.is_some_and(|recipient| !recipient.addresses().is_empty()) {
                wrong.push("withheld, although there is a recipient".to_owned());
            }
        }
        Shown::Parked
        | Shown::Waiting
        | Shown::Due
        | Shown::Sending
        | Shown::Delivered
        | Shown::Held
        | Shown::Withdrawn
        | Shown::Undeliverable => {}
    }
    if invoice.withdrawn && whole.state != Shown::Withdrawn {
        wrong.push(format!("it was answered that it is withdrawn, yet it is {}", whole.state));
    }
}
