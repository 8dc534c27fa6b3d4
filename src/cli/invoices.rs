//! `invoices`, `invoice`, and what an operator may do to one.

use serde::Serialize;

use super::client::{Client, left_out, segment};
use super::out::{complain, table};
use super::words::{
    each_address, hold_in_words, outcome_in_words, pause_in_words, state_in_words, time,
    tombstone_in_words, who, why,
};
use super::{Context, Failure, InvoiceArguments, InvoicesArguments};
use crate::api::{
    AddressDelivery, Attempt, HistoryItem, Invoice, InvoicePage, InvoiceView, ListedInvoice, Money,
    OperationAnswer, RemovedInvoice, WholeInvoice,
};

pub(super) async fn list_all(
    context: &Context,
    arguments: &InvoicesArguments,
) -> Result<(), Failure> {
    let invoices = all(&context.daemon()?, arguments).await?;
    context.out.show(&invoices, || {
        let heading = ["account", "number", "kind", "issued on", "total", "state"];
        let row = |ListedInvoice { invoice, state, .. }: &ListedInvoice| {
            let Invoice { account, number, kind, issued_on, total, .. } = invoice;
            let Money { amount, currency } = total;
            let (issued_on, total) = (issued_on.to_string(), format!("{amount} {currency}"));
            [account, number, kind.as_str(), &issued_on, &total, state_in_words(state)]
                .map(str::to_owned)
        };
        let table = table(heading, &invoices.items.iter().map(row).collect::<Vec<_>>());
        match pause_in_words(invoices.paused.as_ref()) {
            Some(paused) => format!("{table}\n{paused}"),
            None => table,
        }
    })
}

/// A list with every item, read page by page; its other members are those of the last page.
pub(super) async fn all(
    daemon: &Client,
    arguments: &InvoicesArguments,
) -> Result<InvoicePage, Failure> {
    let InvoicesArguments { state, account, since } = arguments;
    let filters = [
        state.map(|state| format!("state={state}&")),
        account.as_ref().map(|account| format!("account={}&", segment(account.as_str()))),
        since.map(|since| format!("issued_from={since}&")),
    ];
    let path = format!("/v1/invoices?{}", filters.into_iter().flatten().collect::<String>());
    let mut all: InvoicePage = daemon.get(path.trim_end_matches(['?', '&'])).await?.value;
    while let Some(cursor) = &all.next_cursor {
        let next = format!("{path}cursor={}", segment(cursor));
        let InvoicePage { items, next_cursor, damaged, paused } = daemon.get(&next).await?.value;
        all.items.extend(items);
        all.damaged += damaged;
        (all.next_cursor, all.paused) = (next_cursor, paused);
    }
    if all.damaged > 0 {
        complain(&left_out(all.damaged));
    }
    Ok(all)
}

pub(super) async fn show(context: &Context, invoice: &InvoiceArguments) -> Result<(), Failure> {
    let InvoiceArguments { account, number } = invoice;
    let text = |view: &InvoiceView| match view {
        InvoiceView::Whole(whole) => describe(whole),
        InvoiceView::Removed(RemovedInvoice {
            account, number, state, tombstone_since, ..
        }) => {
            let (state, why) = (state_in_words(state), tombstone_in_words(*tombstone_since));
            format!("{number} of account {account} · {state}\n{why}")
        }
    };
    context.show(&path(account.as_str(), number.as_str()), text).await
}

pub(super) async fn operate(
    context: &Context,
    invoice: &InvoiceArguments,
    what: &str,
    request: &impl Serialize,
) -> Result<(), Failure> {
    let InvoiceArguments { account, number } = invoice;
    let path = format!("{}/{what}", path(account.as_str(), number.as_str()));
    let text = |answer: &OperationAnswer| {
        format!("{number} of account {account} is {}", state_in_words(&answer.state))
    };
    context.act(&path, request, text).await
}

pub(super) fn path(account: &str, number: &str) -> String {
    format!("/v1/accounts/{}/invoices/{}", segment(account), segment(number))
}

fn describe(whole: &WholeInvoice) -> String {
    let WholeInvoice { invoice, revision, .. } = whole;
    let state = state_in_words(&whole.state);
    let (number, account) = (&invoice.number, &invoice.account);
    let mut lines = vec![format!("{number} of account {account} · revision {revision} · {state}")];
    if let Some(recipient) = &whole.recipient {
        lines.push(format!("to {}", who(recipient)));
        lines.push(format!("why: {}", why(recipient)));
    }
    lines.extend(each_address(&whole.addresses));
    let hold = hold_in_words(whole.held_reason.as_deref(), whole.held_by.as_deref());
    lines.extend(hold.map(|hold| format!("held: {hold}")));
    lines.extend(whole.next_attempt_at.map(|at| format!("next attempt: {}", time(at))));
    lines.extend(pause_in_words(whole.paused.as_ref()));
    let item = |item: &HistoryItem| [time(item.at), item.actor.clone(), item.what.clone()];
    let history: Vec<_> = whole.story.iter().map(item).collect();
    lines.extend([String::new(), table(["at", "who", "what"], &history)]);
    let attempts = attempts(whole);
    if !attempts.is_empty() {
        let heading = ["revision", "address", "attempt", "started", "outcome", "stage", "reply"];
        lines.push(table(heading, &attempts));
    }
    lines.join("\n")
}

/// Every attempt with its revision, the earlier revisions' first.
fn attempts(whole: &WholeInvoice) -> Vec<[String; 7]> {
    let earlier = whole.earlier_attempts.iter();
    let earlier = earlier.map(|one| attempt(one.revision, &one.address, &one.attempt));
    let current =
        whole.addresses.iter().flat_map(|AddressDelivery { address, attempts, .. }| {
            attempts.iter().map(move |one| attempt(whole.revision, address, one))
        });
    earlier.chain(current).collect()
}

fn attempt(revision: u32, address: &str, attempt: &Attempt) -> [String; 7] {
    let reply = match &attempt.reply {
        Some(reply) => {
            let enhanced = reply.enhanced.as_deref().unwrap_or_default();
            [&reply.code.to_string(), enhanced, &reply.text]
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        }
        None => attempt.cause.clone().unwrap_or_default(),
    };
    [
        &revision.to_string(),
        address,
        &attempt.number.to_string(),
        &time(attempt.started_at),
        outcome_in_words(&attempt.outcome),
        attempt.stage.as_str(),
        &reply,
    ]
    .map(str::to_owned)
}
