//! §7 of the contract: what the admin interface shows of the state that a sequence has come to. That is each account,
//! its recipient and each invoice, the list of all accounts, and those of all invoices and of those in one state; other
//! filters, the audit, and what an operator may do are left out.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::author::{ACCOUNTS, NUMBERS};
use crate::compare::SOME;
use crate::model::accounts::{self, kind_of_recipient, recipient};
use crate::model::invoices::{
    freed_at, invoice_of, recipient_of_invoice, release_at, schedule, state, withdrawn_at,
};
use crate::model::{Accepted, Account, Effect, instant, refused};
use crate::setting::BILLING_GROUPS;

/// What one path is answered.
pub(crate) struct Look {
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// A list, which comes in pages.
pub(crate) struct List {
    pub(crate) path: String,
    pub(crate) items: Vec<Value>,
}

/// Every account and every invoice by itself, also those that sequences could be about and were not: they are not
/// there. Some accounts have invoices and are not there.
pub(crate) fn looks(history: &[Accepted], now: DateTime<Utc>) -> Vec<Look> {
    let mut looks = Vec::new();
    let mut accounts = names(history, |name| Some(name.account));
    accounts.extend(ACCOUNTS.map(str::to_owned));
    for id in accounts {
        let path = format!("/v1/accounts/{}", encoded(&id));
        let Some(account) = accounts::account(history, &id) else {
            looks.push(not_found(format!("{path}/recipient")));
            looks.push(not_found(path));
            continue;
        };
        let who = json!({
            "account": account.id,
            "version": account.version,
            "recipient": recipient(history, account),
            "paused": null,
        });
        looks.push(found(format!("{path}/recipient"), who));
        looks.push(found(path, self::account(history, account)));
    }
    let mut numbers = names(history, |name| Some((name.account, name.number?)));
    for account in ACCOUNTS {
        numbers.extend(NUMBERS.map(|number| (account.to_owned(), number.to_owned())));
    }
    for (account, number) in numbers {
        let path = format!("/v1/accounts/{}/invoices/{}", encoded(&account), encoded(&number));
        looks.push(match state(history, &account, &number) {
            Some(_) => found(path, invoice(history, now, &account, &number)),
            None => not_found(path),
        });
    }
    looks
}

/// All accounts by id; all invoices in the order of their arrival, and those of one state.
pub(crate) fn lists(history: &[Accepted]) -> Vec<List> {
    let ids = names(history, |name| Some(name.account));
    let accounts = ids.iter().filter_map(|id| accounts::account(history, id));
    let invoices = history.iter().filter_map(|accepted| {
        let Effect::Issued(invoice) = &*accepted.what else {
            return None;
        };
        Some(listed(history, invoice))
    });
    let invoices: Vec<Value> = invoices.collect();
    let mut lists = vec![List {
        path: "/v1/accounts".to_owned(),
        items: accounts.map(|account| self::account(history, account)).collect(),
    }];
    // One of them in each sequence is enough.
    let state = ["parked", "waiting", "due", "withdrawn"][history.len() % 4];
    let of_state = invoices.iter().filter(|invoice| invoice["state"] == state);
    lists.push(List {
        path: format!("/v1/invoices?state={state}"),
        items: of_state.cloned().collect(),
    });
    lists.push(List { path: "/v1/invoices".to_owned(), items: invoices });
    lists
}

/// An account, and a number in it.
struct Name {
    account: String,
    number: Option<String>,
}

/// What the list names.
fn names<T: Ord>(history: &[Accepted], of: impl Fn(Name) -> Option<T>) -> BTreeSet<T> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |accepted: &Accepted| {
        let (account, number) = match &*accepted.what {
            Effect::Changed(account) => (account.id.clone(), None),
            Effect::Issued(invoice) => (text(&invoice["account"]), Some(text(&invoice["number"]))),
            Effect::Withdrawn { account, number } => (account.clone(), Some(number.clone())),
            Effect::Remembered { .. } | Effect::Document(_) => return None,
        };
        of(Name { account, number })
    };
    history.iter().filter_map(name).collect()
}

fn account(history: &[Accepted], account: &Account) -> Value {
    let Account { profile, .. } = account;
    let kind = kind_of_recipient(account);
    let mut main_contact = profile["main_contact"].clone();
    main_contact["active"] = json!(kind == "main_contact");
    let sub_users: Vec<Value> = profile["sub_users"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, sub_user)| {
            let is_billing = BILLING_GROUPS.iter().any(|group| sub_user["group"] == *group);
            json!({
                "id": id,
                "group": sub_user["group"],
                "contact": sub_user["contact"],
                "login": sub_user["login"],
                // Whoever is in a billing group has an address.
                "selectable": is_billing,
                "active": profile["billing_contact"] == **id,
            })
        })
        .collect();
    json!({
        "account": account.id,
        "version": account.version,
        "changed_at": instant(account.timestamp),
        "closed": account.closed,
        "name": profile["name"],
        "language": profile["language"],
        "schedule": schedule(account),
        "main_contact": main_contact,
        "sub_users": sub_users,
        "billing_contact": profile["billing_contact"],
        "recipient": recipient(history, account),
        // No relay rejects anything, and no operator pauses anything.
        "suppressions": [],
        "paused": null,
    })
}

fn invoice(history: &[Accepted], now: DateTime<Utc>, account: &str, number: &str) -> Value {
    let state = state(history, account, number);
    let mut shown = json!({"account": account, "number": number});
    if let Some((came_at, invoice)) = invoice_of(history, account, number) {
        shown = invoice.clone();
        shown["received_at"] = json!(instant(came_at));
        shown["revision"] = json!(1);
        shown["earlier_attempts"] = json!([]);
        shown["story"] = json!(SOME);
        let waits = state == Some("waiting");
        let schedule = accounts::account(history, account).map(schedule).filter(|_| waits);
        shown["schedule"] = json!(schedule);
        let release_at = waits.then(|| release_at(history, now, account, number));
        shown["release_at"] = json!(release_at);
    } else {
        let at = withdrawn_at(history, account, number);
        shown["tombstone_since"] = json!(at.map(instant));
        // Open in the contract: what withdrew it is told of the account.
        shown["story"] = json!([]);
    }
    shown["state"] = json!(state);
    shown["recipient"] = recipient_of_invoice(history, account, number);
    shown["next_attempt_at"] = next_attempt_at(history, account, number);
    shown["held_reason"] = Value::Null;
    shown["held_by"] = Value::Null;
    shown["paused"] = Value::Null;
    shown["addresses"] = json!([]);
    shown
}

fn listed(history: &[Accepted], invoice: &Value) -> Value {
    let text = |name: &str| invoice[name].as_str().unwrap_or_default();
    let (account, number) = (text("account"), text("number"));
    let came_at = invoice_of(history, account, number).map(|(at, _)| at);
    let changed_at =
        withdrawn_at(history, account, number).or(freed_at(history, account, number)).or(came_at);
    let mut line = invoice.clone();
    line["state"] = json!(state(history, account, number));
    line["next_attempt_at"] = next_attempt_at(history, account, number);
    line["held_reason"] = Value::Null;
    line["held_by"] = Value::Null;
    line["changed_at"] = json!(changed_at.map(instant));
    line
}

fn next_attempt_at(history: &[Accepted], account: &str, number: &str) -> Value {
    let freed = freed_at(history, account, number);
    let is_due = state(history, account, number) == Some("due");
    json!(freed.filter(|_| is_due).map(instant))
}

fn found(path: String, body: Value) -> Look {
    Look { path, status: 200, body }
}

fn not_found(path: String) -> Look {
    let refused = refused(404, "not_found", "");
    Look { path, status: 404, body: refused.body }
}

/// As a segment of a path, or a value in a query.
pub(crate) fn encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 0xF)]);
        }
    }
    encoded
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or_default().to_ascii_uppercase()
}
