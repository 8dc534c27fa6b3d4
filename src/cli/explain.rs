//! `explain`: who gets it, and why, in a sentence.

use super::client::segment;
use super::words::{
    each_address, hold_in_words, pause_in_words, recipient_in_words, relay_in_words,
    state_in_words, time, tombstone_in_words, who, whom, why,
};
use super::{Context, Failure, invoices};
use crate::api::{AccountRecipient, InvoiceView, Paused, RemovedInvoice, WholeInvoice};
use crate::clock::Clock;
use crate::domain::delivery::Shown;
use crate::domain::id::{AccountId, InvoiceNumber};

pub(super) async fn run(
    context: &Context,
    account: &AccountId,
    number: Option<&InvoiceNumber>,
) -> Result<(), Failure> {
    let Some(number) = number else {
        let path = format!("/v1/accounts/{}/recipient", segment(account.as_str()));
        let text = |answer: &AccountRecipient| {
            let mut lines = vec![recipient_in_words(&answer.recipient)];
            lines.extend(not_now(answer.paused.as_ref()));
            lines.join("\n")
        };
        return context.show(&path, text).await;
    };
    let relay = relay_in_words(&context.daemon()?).await;
    let text = |view: &InvoiceView| match view {
        InvoiceView::Removed(removed) => tombstone(removed),
        InvoiceView::Whole(whole) => {
            let mut lines = invoice(whole);
            lines.extend(relay.filter(|_| whole.state == Shown::Due));
            lines.join("\n")
        }
    };
    context.show(&invoices::path(account.as_str(), number.as_str()), text).await
}

fn tombstone(removed: &RemovedInvoice) -> String {
    let RemovedInvoice { number, state, tombstone_since, .. } = removed;
    format!("{number} is {}.\n{}", state_in_words(state), tombstone_in_words(*tombstone_since))
}

/// Who got an invoice or would get it now, and why.
fn invoice(whole: &WholeInvoice) -> Vec<String> {
    let mut lines = vec![format!("{} is {}.", whole.invoice.number, state_in_words(&whole.state))];
    let Some(recipient) = &whole.recipient else {
        let waits = waits_for(whole).unwrap_or_default();
        lines.push(format!("Its recipient is not known yet. {waits}"));
        return lines;
    };
    let addresses = each_address(&whole.addresses).map(|address| format!("  {address}"));
    match whole.state.known() {
        // Not all of the recipient's addresses need have got it.
        Some(Shown::Delivered) => {
            lines.push(format!("It went to {}:", whom(recipient)));
            lines.extend(addresses);
        }
        Some(Shown::Withdrawn | Shown::Undeliverable) => {
            lines.push(format!("It goes to nobody; its recipient is {}.", whom(recipient)));
            lines.extend(addresses);
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
    let hold = hold_in_words(whole.held_reason.as_deref(), whole.held_by.as_deref());
    lines.extend(hold.map(|hold| format!("It is held: {hold}.")));
    lines.extend(waits_for(whole));
    match (not_now(whole.paused.as_ref()), whole.next_attempt_at) {
        // Until that ends, no time means anything.
        (Some(paused), _) => lines.push(paused),
        (None, Some(at)) if at <= Clock::system().now() => {
            lines.push(format!("It has been due since {}.", time(at)));
        }
        (None, Some(at)) => lines.push(format!("Its next attempt is at {}.", time(at))),
        (None, None) => {}
    }
    lines
}

/// What must come before it can be sent, if that is known.
fn waits_for(whole: &WholeInvoice) -> Option<String> {
    let words = match whole.state.known()? {
        Shown::Parked => match whole.invoice.min_account_version {
            Some(version) => format!("version {version} of its account"),
            None => "its account".to_owned(),
        },
        Shown::Waiting => {
            let schedule = match &whole.schedule {
                Some(schedule) => format!("its schedule, {schedule}"),
                None => "its account's schedule".to_owned(),
            };
            match whole.release_at {
                Some(at) => format!("{schedule}, at {}", time(at)),
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
fn not_now(paused: Option<&Paused>) -> Option<String> {
    pause_in_words(paused).map(|paused| format!("Nothing is sent now: {paused}."))
}
