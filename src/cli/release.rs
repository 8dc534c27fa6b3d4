//! `release`: one invoice, or all that are in a state that only an operator or a change ends.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::invoices::{self, list_path};
use super::out::{list, table, text};
use super::words::hold_in_words;
use super::{Context, Failure, InvoiceArguments, InvoicesArguments, ReleaseArguments};
use crate::domain::delivery::Shown;
use crate::domain::id::{AccountId, InvoiceNumber};

pub(super) fn run(context: &Context, arguments: ReleaseArguments) -> Result<(), Failure> {
    let ReleaseArguments { account, number, state, dry_run, now, reason } = arguments;
    let body = json!({ "now": now, "reason": reason });
    match (account, number, state) {
        (Some(account), Some(number), _) => {
            let invoice = InvoiceArguments { account, number };
            invoices::operate(context, &invoice, "release", &body)
        }
        (_, _, Some(state)) => all(context, state, dry_run, &body),
        (_, None, None) | (None, _, None) => {
            Err(Failure::Failed(anyhow!("name an invoice or a state")))
        }
    }
}

fn all(context: &Context, state: Shown, dry_run: bool, body: &Value) -> Result<(), Failure> {
    let admin = context.admin()?;
    let listed = admin.all(&list_path(&InvoicesArguments {
        state: Some(state),
        account: None,
        since: None,
    }))?;
    let mut items = Vec::new();
    let mut refused = 0_usize;
    let mut failed = None;
    for item in list(&listed, "/items") {
        let invoice = InvoiceArguments {
            account: parsed(AccountId::parse(text(item, "/account")))?,
            number: parsed(InvoiceNumber::parse(text(item, "/number")))?,
        };
        let result = if dry_run {
            "would be released".to_owned()
        } else {
            // One that moved on meanwhile, or is gone, is no reason to leave the others.
            match admin.post(&format!("{}/release", invoices::path(&invoice)), body) {
                Ok(answer) => text(&answer, "/state").to_owned(),
                Err(failure @ (Failure::Refused(_) | Failure::Failed(_))) => {
                    refused += 1;
                    failure.to_string()
                }
                // What was released before is told all the same.
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
        };
        items.push(json!({
            "account": invoice.account.as_str(),
            "number": invoice.number.as_str(),
            "reason": hold_in_words(item).unwrap_or_else(|| why_it_stopped(state).to_owned()),
            "result": result,
        }));
    }
    let answer = json!({ "dry_run": dry_run, "items": items, "refused": refused });
    context.out.show(&answer, |answer| {
        let heading = ["account", "number", "why it stopped", "result"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for item in list(answer, "/items") {
            let cells = ["/account", "/number", "/reason", "/result"];
            rows.push(cells.map(|cell| text(item, cell).to_owned()).to_vec());
        }
        if rows.len() == 1 { format!("no invoice is {state}") } else { table(&rows) }
    })?;
    match failed {
        Some(failure) => Err(failure),
        None if refused == 0 => Ok(()),
        None => Err(Failure::Failed(anyhow!("{refused} were not released"))),
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

/// What the daemon answers is always right, but for a daemon of another version.
fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    parsed: Result<T, E>,
) -> Result<T, Failure> {
    parsed.map_err(|invalid| Failure::Failed(anyhow::Error::new(invalid)))
}
