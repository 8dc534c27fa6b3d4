//! What an event says, in one form for all the ways to say the same; of events in which nothing is wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The currencies that events are about here, with their decimals.
const CURRENCIES: [(&str, usize); 3] = [("EUR", 2), ("JPY", 0), ("KWD", 3)];

/// In whole milliseconds, UTC.
pub(crate) fn instant(value: &Value) -> DateTime<Utc> {
    let parsed = value.as_str().map(DateTime::parse_from_rfc3339);
    let millis = parsed.and_then(Result::ok).map(|at| at.timestamp_millis());
    millis.and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}

/// What a whole account says, with its sub-users as a set by id. Open in the contract: no schedule and the schedule
/// `default` are one thing to say.
pub(crate) fn profile_of(data: &Value) -> Value {
    let sub_users: Map<String, Value> = list(&data["sub_users"])
        .iter()
        .map(|sub_user| {
            let id = sub_user["id"].as_str().unwrap_or_default().to_owned();
            (id, sub_user_of(sub_user, &contact_of(&sub_user["contact"])))
        })
        .collect();
    json!({
        "name": data["name"],
        "language": language_of(&data["language"]),
        "schedule": Some(&data["schedule"]).filter(|name| **name != "default"),
        "main_contact": contact_of(&data["main_contact"]),
        "sub_users": sub_users,
        "billing_contact": data["billing_contact"],
    })
}

pub(crate) fn sub_user_of(sub_user: &Value, contact: &Value) -> Value {
    let login = &sub_user["login"];
    let login = if login.is_null() {
        Value::Null
    } else {
        json!({
            "enabled": login["enabled"] == json!(true),
            "user_name": login["user_name"],
            "permissions": list(&login["permissions"]),
        })
    };
    json!({"group": sub_user["group"], "contact": contact, "login": login})
}

pub(crate) fn contact_of(contact: &Value) -> Value {
    json!({
        "name": contact["name"],
        "company": contact["company"],
        "language": language_of(&contact["language"]),
        "addresses": addresses_of(&contact["addresses"]),
    })
}

/// `null` is none.
pub(crate) fn addresses_of(addresses: &Value) -> Value {
    let addresses = list(addresses).iter().filter_map(Value::as_str);
    addresses.map(normal_address).collect()
}

/// Case counts before the `@` only.
pub(crate) fn normal_address(address: &str) -> String {
    address
        .split_once('@')
        .map(|(local, domain)| format!("{local}@{}", domain.to_ascii_lowercase()))
        .unwrap_or_default()
}

/// `de`, `de-AT`, `de_DE` → `de`
pub(crate) fn language_of(language: &Value) -> Value {
    let Some(tag) = language.as_str() else {
        return Value::Null;
    };
    let primary = tag.split(['-', '_']).next().unwrap_or_default();
    json!(primary.to_ascii_lowercase())
}

/// What an invoice says.
pub(crate) fn invoice_of(data: &Value) -> Value {
    let documents: Vec<Value> = list(&data["documents"])
        .iter()
        .map(|document| {
            let media_type = document["media_type"].as_str().unwrap_or_default();
            json!({
                "sha256": digest_of_document(document),
                "file_name": document["file_name"],
                "media_type": media_type.to_ascii_lowercase(),
            })
        })
        .collect();
    json!({
        "account": data["account"],
        "number": data["number"],
        "kind": data["kind"],
        "issued_on": data["issued_on"],
        "due_on": data["due_on"],
        "total": {"amount": amount_of(&data["total"]), "currency": data["total"]["currency"]},
        "release": data["release"],
        "refers_to": data["refers_to"],
        "min_account_version": data["min_account_version"],
        "portal_url": data["portal_url"],
        "documents": documents,
    })
}

/// With all decimals of its currency, and zero without a sign.
fn amount_of(total: &Value) -> String {
    let amount = total["amount"].as_str().unwrap_or_default();
    let decimals = decimals(&total["currency"]).unwrap_or_default();
    let (integer, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let padded = format!("{integer}.{fraction:0<decimals$}");
    let padded = padded.trim_end_matches('.');
    let is_zero = !padded.contains(|c| ('1'..='9').contains(&c));
    if is_zero { padded.trim_start_matches('-') } else { padded }.to_owned()
}

/// Of a currency that is known.
pub(crate) fn decimals(currency: &Value) -> Option<usize> {
    let known = CURRENCIES.iter().find(|(code, _)| *currency == **code);
    known.map(|(_, decimals)| *decimals)
}

/// The bytes of a document that came inside an event.
pub(crate) fn embedded(document: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(document["content_base64"].as_str()?).ok()
}

pub(crate) fn digest_of_document(document: &Value) -> String {
    match embedded(document) {
        Some(bytes) => digest(&bytes),
        None => document["sha256"].as_str().unwrap_or_default().to_owned(),
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(bytes) {
        digits.extend(char::from_digit(u32::from(byte >> 4), 16));
        digits.extend(char::from_digit(u32::from(byte & 0xF), 16));
    }
    digits
}

/// The items; none of `null`.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
