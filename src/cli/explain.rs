//! `explain`: who gets it, and why, in a sentence.

use chrono::DateTime;
use serde_json::Value;

use super::admin::segment;
use super::out::text;
use super::words::{
    each_address, hold_in_words, pause_in_words, relay_in_words, state_in_words,
    tombstone_in_words, who, whom, why,
};
use super::{Context, Failure};
use crate::clock::Clock;
use crate::domain::delivery::Shown;
use crate::domain::id::{AccountId, InvoiceNumber};

pub(super) fn run(
    context: &Context,
    account: &AccountId,
    number: Option<&InvoiceNumber>,
) -> Result<(), Failure> {
    let admin = context.admin()?;
    let account = segment(account.as_str());
    match number {
        None => {
            let answer = admin.get(&format!("/v1/accounts/{account}/recipient"))?;
            context.out.show(&answer, |answer| {
                let mut lines = vec![recipient(&answer["recipient"])];
                lines.extend(not_now(answer));
                lines.join("\n")
            })?;
        }
        Some(number) => {
            let path = format!("/v1/accounts/{account}/invoices/{}", segment(number.as_str()));
            let answer = admin.get(&path)?;
            let relay = relay_in_words(&admin);
            context.out.show(&answer, |answer| {
                let mut lines = vec![invoice(answer)];
                let is_due = text(answer, "/state") == Shown::Due.as_str();
                lines.extend(relay.filter(|_| is_due));
                lines.join("\n")
            })?;
        }
    }
    Ok(())
}

/// Who gets an account's invoices, and why.
pub(super) fn recipient(recipient: &Value) -> String {
    format!("Invoices go to {}.\nWhy: {}.", who(recipient), why(recipient))
}

/// Who got an invoice or would get it now, and why.
fn invoice(invoice: &Value) -> String {
    let state = text(invoice, "/state");
    let number = text(invoice, "/number");
    let outcome = state_in_words(state);
    if let Some(tombstone) = tombstone_in_words(invoice) {
        return format!("{number} is {outcome}.\n{tombstone}");
    }
    let recipient = &invoice["recipient"];
    if recipient.is_null() {
        let waits = waits_for(invoice).unwrap_or_default();
        return format!("{number} is {outcome}.\nNo recipient is known for it yet. {waits}");
    }
    let mut lines = vec![format!("{number} is {outcome}.")];
    let addresses = each_address(invoice);
    match Shown::parse(state) {
        // Not all of the recipient's addresses need have got it.
        Some(Shown::Delivered) => {
            lines.push(format!("It went to {}:", whom(recipient)));
            lines.extend(addresses.into_iter().map(|address| format!("  {address}")));
        }
        Some(Shown::Withdrawn | Shown::Undeliverable) => {
            lines.push(format!("It goes to nobody; its recipient is {}.", whom(recipient)));
            lines.extend(addresses.into_iter().map(|address| format!("  {address}")));
        }
        Some(
            Shown::Parked
            | Shown::Waiting
            | Shown::Due
            | Shown::Sending
            | Shown::Withheld
            | Shown::Held,
        )
        | None => lines.push(format!("It goes to {}.", who(recipient))),
    }
    lines.push(format!("Why: {}.", why(recipient)));
    lines.extend(hold_in_words(invoice).map(|hold| format!("It is held: {hold}.")));
    lines.extend(waits_for(invoice));
    match (not_now(invoice), invoice["next_attempt_at"].as_str()) {
        // Until that ends, no time means anything.
        (Some(paused), _) => lines.push(paused),
        (None, Some(at)) if is_past(at) => lines.push(format!("It has been due since {at}.")),
        (None, Some(at)) => lines.push(format!("It is tried next at {at}.")),
        (None, None) => {}
    }
    lines.join("\n")
}

/// What must come before it can be sent, if that is known.
fn waits_for(invoice: &Value) -> Option<String> {
    let words = match Shown::parse(text(invoice, "/state"))? {
        Shown::Parked => match invoice["min_account_version"].as_u64() {
            Some(version) => format!("version {version} of its account"),
            None => "its account".to_owned(),
        },
        Shown::Waiting => {
            let schedule = match invoice["schedule"].as_str() {
                Some(schedule) => format!("its schedule, {schedule}"),
                None => "its account's schedule".to_owned(),
            };
            match invoice["release_at"].as_str() {
                Some(at) => format!("{schedule}, at {at}"),
                None => schedule,
            }
        }
        Shown::Withheld => "a change of its account, or to be released".to_owned(),
        Shown::Due
        | Shown::Sending
        | Shown::Delivered
        | Shown::Held
        | Shown::Withdrawn
        | Shown::Undeliverable => return None,
    };
    Some(format!("It waits for {words}."))
}

/// That nothing goes out now, and why.
fn not_now(answer: &Value) -> Option<String> {
    pause_in_words(&answer["paused"]).map(|paused| format!("Nothing is sent now: {paused}."))
}

fn is_past(at: &str) -> bool {
    DateTime::parse_from_rfc3339(at).is_ok_and(|at| at <= Clock::system().now())
}
