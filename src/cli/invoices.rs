//! `invoices`, `invoice`, and what an operator may do to one.

use serde_json::Value;

use super::admin::segment;
use super::out::{list, table, text};
use super::words::{
    each_address, hold_in_words, outcome_in_words, pause_in_words, state_in_words,
    tombstone_in_words, who, why,
};
use super::{Context, Failure, InvoiceArguments, InvoicesArguments};

pub(super) fn list_path(arguments: &InvoicesArguments) -> String {
    let InvoicesArguments { state, account, since } = arguments;
    let mut query = Vec::new();
    if let Some(state) = state {
        query.push(format!("state={state}"));
    }
    if let Some(account) = account {
        query.push(format!("account={}", segment(account.as_str())));
    }
    if let Some(since) = since {
        query.push(format!("issued_from={since}"));
    }
    if query.is_empty() {
        "/v1/invoices".to_owned()
    } else {
        format!("/v1/invoices?{}", query.join("&"))
    }
}

pub(super) fn list_all(context: &Context, arguments: &InvoicesArguments) -> Result<(), Failure> {
    let invoices = context.admin()?.all(&list_path(arguments))?;
    context.out.show(&invoices, |value| {
        let mut rows = vec![
            ["account", "number", "kind", "issued on", "total", "state"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for item in list(value, "/items") {
            let total =
                format!("{} {}", text(item, "/total/amount"), text(item, "/total/currency"));
            let cells = [
                text(item, "/account"),
                text(item, "/number"),
                text(item, "/kind"),
                text(item, "/issued_on"),
                &total,
                state_in_words(text(item, "/state")),
            ];
            rows.push(cells.map(str::to_owned).to_vec());
        }
        match pause_in_words(&value["paused"]) {
            Some(paused) => format!("{}\n{paused}", table(&rows)),
            None => table(&rows),
        }
    })?;
    Ok(())
}

pub(super) fn show(context: &Context, invoice: &InvoiceArguments) -> Result<(), Failure> {
    let answer = context.admin()?.get(&path(invoice))?;
    context.out.show(&answer, describe)?;
    Ok(())
}

pub(super) fn operate(
    context: &Context,
    invoice: &InvoiceArguments,
    what: &str,
    body: &Value,
) -> Result<(), Failure> {
    let answer = context.admin()?.post(&format!("{}/{what}", path(invoice)), body)?;
    context.out.show(&answer, |answer| {
        let state = state_in_words(text(answer, "/state"));
        format!("{} of account {} is {state}", invoice.number, invoice.account)
    })?;
    Ok(())
}

pub(super) fn path(invoice: &InvoiceArguments) -> String {
    let InvoiceArguments { account, number } = invoice;
    format!("/v1/accounts/{}/invoices/{}", segment(account.as_str()), segment(number.as_str()))
}

fn describe(invoice: &Value) -> String {
    let state = state_in_words(text(invoice, "/state"));
    let number = text(invoice, "/number");
    let revision = match invoice["revision"].as_u64() {
        Some(revision) => format!(" · revision {revision}"),
        None => String::new(),
    };
    let mut lines =
        vec![format!("{number} of account {}{revision} · {state}", text(invoice, "/account"))];
    let recipient = &invoice["recipient"];
    if !recipient.is_null() {
        lines.push(format!("to {}", who(recipient)));
        lines.push(format!("why: {}", why(recipient)));
    }
    lines.extend(each_address(invoice));
    lines.extend(tombstone_in_words(invoice));
    lines.extend(hold_in_words(invoice).map(|hold| format!("held: {hold}")));
    if let Some(at) = invoice["next_attempt_at"].as_str() {
        lines.push(format!("next attempt: {at}"));
    }
    lines.extend(pause_in_words(&invoice["paused"]));
    let mut story = vec![["at", "who", "what"].map(str::to_owned).to_vec()];
    story.extend(list(invoice, "/story").iter().map(|entry| {
        [text(entry, "/at"), text(entry, "/actor"), text(entry, "/what")]
            .map(str::to_owned)
            .to_vec()
    }));
    lines.extend([String::new(), table(&story)]);
    let attempts = attempts(invoice);
    if attempts.len() > 1 {
        lines.push(table(&attempts));
    }
    lines.join("\n")
}

/// Every attempt with its revision, the earlier revisions' first.
fn attempts(invoice: &Value) -> Vec<Vec<String>> {
    let heading = ["revision", "address", "attempt", "started", "outcome", "stage", "reply"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(
        list(invoice, "/earlier_attempts")
            .iter()
            .map(|earlier| attempt(&earlier["revision"], text(earlier, "/address"), earlier)),
    );
    for address in list(invoice, "/addresses") {
        rows.extend(
            list(address, "/attempts")
                .iter()
                .map(|now| attempt(&invoice["revision"], text(address, "/address"), now)),
        );
    }
    rows
}

fn attempt(revision: &Value, address: &str, attempt: &Value) -> Vec<String> {
    let reply = &attempt["reply"];
    let reply = match reply["code"].as_u64() {
        Some(code) => [&code.to_string(), text(reply, "/enhanced"), text(reply, "/text")]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
        None => text(attempt, "/cause").to_owned(),
    };
    [
        &revision.to_string(),
        address,
        &attempt["number"].to_string(),
        text(attempt, "/started_at"),
        outcome_in_words(text(attempt, "/outcome")),
        text(attempt, "/stage"),
        &reply,
    ]
    .map(str::to_owned)
    .to_vec()
}
