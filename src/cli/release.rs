//! `release`: one invoice, or all that are in a state that only an operator or a change ends.

use anyhow::anyhow;
use serde::Serialize;

use super::invoices;
use super::out::table;
use super::words::hold_in_words;
use super::{Context, Failure, InvoiceArguments, InvoicesArguments, ReleaseArguments};
use crate::api::{Invoice, ListedInvoice, OperationAnswer, ReleaseRequest};
use crate::domain::delivery::Shown;

pub(super) async fn run(context: &Context, arguments: ReleaseArguments) -> Result<(), Failure> {
    let ReleaseArguments { account, number, state, dry_run, now, reason } = arguments;
    let request = ReleaseRequest { now, reason };
    match (account, number, state) {
        (Some(account), Some(number), _) => {
            let invoice = InvoiceArguments { account, number };
            invoices::operate(context, &invoice, "release", &request).await
        }
        (_, _, Some(state)) => all(context, state, dry_run, &request).await,
        (_, None, None) | (None, _, None) => {
            Err(Failure::Failed(anyhow!("name an invoice or a state")))
        }
    }
}

#[derive(Serialize)]
struct Summary {
    dry_run: bool,
    items: Vec<Released>,
    refused: usize,
}

#[derive(Serialize)]
struct Released {
    account: String,
    number: String,
    reason: String,
    result: String,
}

async fn all(
    context: &Context,
    state: Shown,
    dry_run: bool,
    request: &ReleaseRequest,
) -> Result<(), Failure> {
    let daemon = context.daemon()?;
    let filter = InvoicesArguments { state: Some(state), account: None, since: None };
    let listed = invoices::all(&daemon, &filter).await?;
    let mut summary = Summary { dry_run, items: Vec::new(), refused: 0 };
    let mut failed = None;
    for ListedInvoice { invoice, held_reason, held_by, .. } in listed.items {
        let Invoice { account, number, .. } = invoice;
        let result = if dry_run {
            "would be released".to_owned()
        } else {
            // One that moved on meanwhile, or is gone, is no reason to leave the others.
            let path = format!("{}/release", invoices::path(&account, &number));
            match daemon.post::<OperationAnswer>(&path, request).await {
                Ok(answer) => answer.value.state.to_string(),
                Err(failure @ (Failure::Refused(_) | Failure::Failed(_))) => {
                    summary.refused += 1;
                    failure.to_string()
                }
                // Show what was released before the failure.
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
        };
        let hold = hold_in_words(held_reason.as_deref(), held_by.as_deref());
        let reason = hold.unwrap_or_else(|| why_it_stopped(state).to_owned());
        summary.items.push(Released { account, number, reason, result });
    }
    context.out.show(&summary, || {
        let heading = ["account", "number", "why it stopped", "result"];
        let row = |Released { account, number, reason, result }: &Released| {
            [account, number, reason, result].map(ToOwned::to_owned)
        };
        let rows: Vec<_> = summary.items.iter().map(row).collect();
        if rows.is_empty() { format!("no invoice is {state}") } else { table(heading, &rows) }
    })?;
    let refused = summary.refused;
    match failed {
        Some(failure) => Err(failure),
        None if refused == 0 => Ok(()),
        None => Err(Failure::Failed(anyhow!("{refused} invoices were not released"))),
    }
}

/// What a state that an operator may end says by itself.
fn why_it_stopped(state: Shown) -> &'static str {
    match state {
        Shown::Withheld => "no address can be reached",
        Shown::Undeliverable => "every address was rejected or given up",
        Shown::Parked
        | Shown::Waiting
        | Shown::Due
        | Shown::Sending
        | Shown::Delivered
        | Shown::Held
        | Shown::Withdrawn => "",
    }
}
