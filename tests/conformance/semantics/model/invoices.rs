//! Invoice events, and where an invoice stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::accounts::{self, recipient, versions};
use super::{Accepted, Account, Answer, Effect, at, instant, is_stored, refused, success, with};
use crate::setting::{SCHEDULES, next_release};
use crate::words::{self, list};

pub(super) fn issued(
    history: &[Accepted],
    now: DateTime<Utc>,
    data: &Value,
    repeated: bool,
) -> Answer {
    let invoice = words::invoice_of(data);
    let (account, number) = (&text(&invoice["account"]), &text(&invoice["number"]));

    if let Some((_, known)) = invoice_of(history, account, number) {
        let differs: Vec<&str> = members(&invoice)
            .filter(|(name, value)| known[*name] != **value)
            .map(|(name, _)| name.as_str())
            .collect();
        if !differs.is_empty() {
            return conflict(&differs, state(history, account, number));
        }
        let because =
            if repeated { "a repeated invoice" } else { "a known number with the same content" };
        return standing(history, now, (account, number), ("duplicate", because));
    }
    // One that was withdrawn before it came; what was repeated is told so.
    if withdrawn_at(history, account, number).is_some() {
        let (result, because) = if repeated {
            ("duplicate", "a repeated invoice that was withdrawn before")
        } else {
            ("stale", "an invoice that was withdrawn before")
        };
        return standing(history, now, (account, number), (result, because));
    }

    let mut leaves = came_along(history, data);
    if let Some(mut answer) = missing(history, data) {
        // Open in the contract: documents that came inside the event are kept although others are missing.
        answer.leaves = leaves;
        return answer;
    }
    let what = Arc::new(Effect::Issued(invoice.clone()));
    let history = with(history, now, &what);
    leaves.push(what);
    let is_parked = state(&history, account, number) == Some("parked");
    let (result, because) = match accounts::account(&history, account) {
        _ if !is_parked => ("applied", "an invoice"),
        None => ("parked", "an invoice of an unknown account"),
        Some(_) => ("parked", "an invoice of an account that is too old"),
    };
    let mut answer = standing(&history, now, (account, number), (result, because));
    answer.also.extend(match invoice["kind"].as_str() {
        Some("credit_note") => Some("a credit note"),
        Some("corrected_invoice") => Some("a corrected invoice"),
        Some("reminder") => Some("a reminder"),
        Some(_) | None => None,
    });
    if accounts::account(&history, account).is_some_and(|account| account.closed) {
        answer.also.push("an invoice of a closed account");
    }
    answer.leaves = leaves;
    answer
}

fn conflict(differs: &[&str], state: Option<&str>) -> Answer {
    let places: Vec<String> = differs.iter().map(|name| format!("/data/{name}")).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let because = "other content of a known number";
    let mut answer = at(&places, refused(409, "invoice_conflict", because));
    answer.body["state"] = json!(state);
    answer.body["differs"] = json!(differs);
    answer
}

/// The documents that came inside an event and are new.
fn came_along(history: &[Accepted], data: &Value) -> Vec<Arc<Effect>> {
    let digests: BTreeSet<String> = list(&data["documents"])
        .iter()
        .filter(|document| words::embedded(document).is_some())
        .map(words::digest_of_document)
        .filter(|digest| !is_stored(history, digest))
        .collect();
    let effects = digests.into_iter().map(Effect::Document);
    effects.map(Arc::new).collect()
}

/// The refusal of an event that names documents that are neither there nor came along.
fn missing(history: &[Accepted], data: &Value) -> Option<Answer> {
    let came_along = came_along(history, data);
    let is_there = |digest: &str| {
        let came = came_along
            .iter()
            .any(|effect| matches!(&**effect, Effect::Document(came) if came == digest));
        came || is_stored(history, digest)
    };
    let mut missing = BTreeSet::new();
    let mut places = Vec::new();
    for (index, document) in list(&data["documents"]).iter().enumerate() {
        let digest = words::digest_of_document(document);
        if !is_there(&digest) {
            missing.insert(digest);
            places.push(format!("/data/documents/{index}/sha256"));
        }
    }
    if missing.is_empty() {
        return None;
    }
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let because = "a missing document";
    let mut answer = at(&places, refused(409, "document_missing", because));
    answer.body["missing"] = json!(missing);
    Some(answer)
}

/// Where an invoice stands now.
fn standing(
    history: &[Accepted],
    now: DateTime<Utc>,
    (account, number): (&str, &str),
    (result, because): (&str, &'static str),
) -> Answer {
    let status = if result == "parked" { 202 } else { 200 };
    let body = json!({
        "result": result,
        "account": account,
        "number": number,
        "state": state(history, account, number),
        "release_at": release_at(history, now, account, number),
        "recipient": recipient_of_invoice(history, account, number),
        "warnings": [],
    });
    success(status, because, body)
}

pub(super) fn withdrawn(history: &[Accepted], data: &Value, repeated: bool) -> Answer {
    let (account, number) = (text(&data["account"]), text(&data["number"]));
    let is_known = invoice_of(history, &account, &number).is_some();
    let (result, because) = match withdrawn_at(history, &account, &number) {
        Some(_) if repeated => ("duplicate", "a repeated withdrawal"),
        Some(_) => ("duplicate", "a withdrawal of what is withdrawn"),
        None if is_known => ("applied", "a withdrawal"),
        None => ("applied", "a withdrawal that overtook its invoice"),
    };
    let body = json!({
        "result": result,
        "account": account,
        "number": number,
        "state": "withdrawn",
        "warnings": [],
    });
    let mut answer = success(200, because, body);
    if result == "applied" {
        let what = Effect::Withdrawn { account, number };
        answer.leaves.push(Arc::new(what));
    }
    answer
}

/// What an invoice says, and when it came.
pub(crate) fn invoice_of<'h>(
    history: &'h [Accepted],
    account: &str,
    number: &str,
) -> Option<(DateTime<Utc>, &'h Value)> {
    history.iter().find_map(|accepted| {
        let Effect::Issued(invoice) = &*accepted.what else {
            return None;
        };
        let is_it = invoice["account"] == account && invoice["number"] == number;
        is_it.then_some((accepted.at, invoice))
    })
}

pub(crate) fn withdrawn_at(history: &[Accepted], of: &str, what: &str) -> Option<DateTime<Utc>> {
    history.iter().find_map(|accepted| {
        let Effect::Withdrawn { account, number } = &*accepted.what else {
            return None;
        };
        (account == of && number == what).then_some(accepted.at)
    })
}

/// When an invoice was parked no more: its account was known in the version that it asks for.
pub(crate) fn freed_at(history: &[Accepted], account: &str, number: &str) -> Option<DateTime<Utc>> {
    let (came_at, invoice) = invoice_of(history, account, number)?;
    let least = invoice["min_account_version"].as_u64().unwrap_or(1);
    let (known_at, _) =
        versions(history, account).filter(|(_, account)| account.version >= least).last()?;
    Some(known_at.max(came_at))
}

/// The state of an invoice, §6.
pub(crate) fn state(history: &[Accepted], account: &str, number: &str) -> Option<&'static str> {
    if withdrawn_at(history, account, number).is_some() {
        return Some("withdrawn");
    }
    let (_, invoice) = invoice_of(history, account, number)?;
    if freed_at(history, account, number).is_none() {
        return Some("parked");
    }
    if invoice["release"] == "immediately" {
        return Some("due");
    }
    Some("waiting")
}

/// When an invoice is going to be sent, as far as that can be known.
pub(crate) fn release_at(
    history: &[Accepted],
    now: DateTime<Utc>,
    account: &str,
    number: &str,
) -> Value {
    match state(history, account, number) {
        Some("waiting") => {
            let schedule = accounts::account(history, account).map(schedule).unwrap_or_default();
            // Open in the contract: one that is not configured acts as the default one.
            let known = SCHEDULES.iter().find(|known| **known == schedule);
            let fires = next_release(known.unwrap_or(&"default"), now);
            json!(fires.map(instant))
        }
        Some("due") => json!(freed_at(history, account, number).map(instant)),
        _ => Value::Null,
    }
}

/// The name of an account's schedule.
pub(crate) fn schedule(account: &Account) -> String {
    account.profile["schedule"].as_str().unwrap_or("default").to_owned()
}

/// Who is to get an invoice: unknown while its account is, and for ever if it never came.
pub(crate) fn recipient_of_invoice(history: &[Accepted], account: &str, number: &str) -> Value {
    let is_there = invoice_of(history, account, number).is_some();
    match accounts::account(history, account) {
        Some(account) if is_there => recipient(history, account),
        Some(_) | None => Value::Null,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
