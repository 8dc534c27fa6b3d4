//! Events written as a portal or a billing system writes them, and compared with what one wrote.

#![expect(clippy::unwrap_used, reason = "a panic is how a property tells that it does not hold")]

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::domain::account::{Login, Profile, SubUser};
use crate::domain::address::HeaderText;
use crate::domain::change::{ContactChange, ContactDifferences, CopySource};
use crate::domain::contact::Language;
use crate::domain::id::{Group, ScheduleName, SubUserId};
use crate::http::events::account::Places;
use crate::http::values::instant as read_instant;
use crate::http::view;

/// The body of an event. What an event of an invoice does not keep, its time-stamp, is as it was `said`.
pub(super) fn event(event: &Event, said: &Value) -> Value {
    let (name, timestamp, data) = match event {
        Event::Account(parsed) => {
            let ParsedChange { change, places } = &**parsed;
            let AccountChange { account, version, timestamp, kind } = change;
            let (name, mut data) = change_data(kind, places);
            data["account"] = account.as_str().into();
            data["version"] = version.get().into();
            (name, *timestamp, data)
        }
        Event::Issued(parsed) => {
            let timestamp = read_instant(text(&said["timestamp"])).unwrap();
            ("invoice.issued", timestamp, issued(parsed, &said["data"]["documents"]))
        }
        Event::Withdrawn(account, number) => {
            let timestamp = read_instant(text(&said["timestamp"])).unwrap();
            let data = json!({"account": account.as_str(), "number": number.as_str()});
            ("invoice.withdrawn", timestamp, data)
        }
    };
    json!({"type": name, "timestamp": timestamp, "data": data})
}

fn change_data(kind: &ChangeKind, places: &Places) -> (&'static str, Value) {
    match kind {
        ChangeKind::Updated(profile) => {
            let Places::Updated(order) = places else {
                unreachable!("{places:?} in a whole account")
            };
            ("account.updated", updated(profile, order))
        }
        ChangeKind::Imported(_) => unreachable!("{kind:?} of an event"),
        ChangeKind::Closed => ("account.closed", json!({})),
        ChangeKind::SubUserSaved { id, group, contact, login } => {
            let mut sub_user = sub_user(id, group, login.as_ref());
            match contact {
                ContactChange::Whole(contact) => {
                    sub_user["contact"] = json!(view::contact(contact));
                }
                ContactChange::Copy { source, differences } => {
                    sub_user["copy_from"] = match source {
                        CopySource::MainContact => json!({"main_contact": true}),
                        CopySource::SubUser(id) => json!({"sub_user": id.as_str()}),
                    };
                    sub_user["contact"] = self::differences(differences);
                }
            }
            ("sub_user.saved", json!({"sub_user": sub_user}))
        }
        ChangeKind::SubUserRemoved(id) => ("sub_user.removed", json!({"sub_user": id.as_str()})),
        ChangeKind::BillingContactSelected(id) => {
            ("billing_contact.selected", json!({"sub_user": id.as_ref().map(SubUserId::as_str)}))
        }
    }
}

/// With the sub-users in their original order.
fn updated(profile: &Profile, order: &[SubUserId]) -> Value {
    let Profile { name, language, schedule, main_contact, sub_users, billing_contact } = profile;
    assert_eq!(order.len(), sub_users.len());
    let sub_users = order.iter().map(|id| {
        let SubUser { group, contact, login } = &sub_users[id];
        let mut sub_user = sub_user(id, group, login.as_ref());
        sub_user["contact"] = json!(view::contact(contact));
        sub_user
    });
    json!({
        "name": name.as_ref().map(HeaderText::as_str),
        "language": language.as_ref().map(Language::as_str),
        "schedule": schedule.as_ref().map(ScheduleName::as_str),
        "main_contact": view::contact(main_contact),
        "sub_users": sub_users.collect::<Vec<_>>(),
        "billing_contact": billing_contact.as_ref().map(SubUserId::as_str),
    })
}

fn sub_user(id: &SubUserId, group: &Group, login: Option<&Login>) -> Value {
    json!({"id": id.as_str(), "group": group.as_str(), "login": login.map(view::login)})
}

/// Only what is said: absent is another thing than `null` here.
fn differences(differences: &ContactDifferences) -> Value {
    let ContactDifferences { name, company, language, addresses } = differences;
    let name = name.as_ref().map(|name| json!(name.as_str()));
    let company = company.as_ref().map(|it| json!(it.as_ref().map(HeaderText::as_str)));
    let language = language.as_ref().map(|it| json!(it.as_ref().map(Language::as_str)));
    let addresses = addresses.as_ref().map(|list| json!(view::texts(list.as_slice())));
    let all =
        [("name", name), ("company", company), ("language", language), ("addresses", addresses)];
    let said = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(said.collect())
}

/// With a document's bytes where they were `said`.
fn issued(parsed: &ParsedInvoice, said: &Value) -> Value {
    let ParsedInvoice { invoice, embedded, places } = parsed;
    let mut written = json!(view::invoice(invoice));
    let documents = written["documents"].as_array_mut().unwrap();
    let mut embedded = embedded.iter();
    assert_eq!(documents.len(), places.len());
    for (at, (document, (digest, place))) in documents.iter_mut().zip(places).enumerate() {
        assert_eq!(*place, format!("/data/documents/{at}/sha256"));
        assert_eq!(document["sha256"], digest.to_string());
        if !said[at]["content_base64"].is_null() {
            let (of, bytes) = embedded.next().unwrap();
            assert_eq!(of, digest);
            document.as_object_mut().unwrap().remove("sha256");
            document["content_base64"] = STANDARD.encode(bytes).into();
        }
    }
    assert_eq!(embedded.next(), None, "bytes of no document");
    written
}

/// Whether what was written of an event says what was said: the same under each name, but for the ways in which
/// the interface lets one value be said.
pub(super) fn says_the_same(said: &Value, written: &Value, name: &str) -> bool {
    match (said, written) {
        (said, written) if says_nothing(said) && says_nothing(written) => true,
        (Value::String(said), Value::Null) => name == "schedule" && said == "default",
        (Value::Object(said), Value::Object(written)) => {
            let is_told = |(name, value): (&String, &Value)| {
                says_nothing(value) || written.contains_key(name)
            };
            // In the differences of a copy, absent and cleared are two things.
            let is_kept = !written.contains_key("copy_from")
                || told_in(said.get("contact")) == told_in(written.get("contact"));
            let same = |(name, value): (&String, &Value)| {
                says_the_same(said.get(name).unwrap_or(&Value::Null), value, name)
            };
            said.iter().all(is_told) && is_kept && written.iter().all(same)
        }
        (Value::Array(said), Value::Array(written)) => {
            let same = |(said, written)| says_the_same(said, written, name);
            said.len() == written.len() && said.iter().zip(written).all(same)
        }
        (Value::String(said), Value::String(written)) => is_same_text(said, written, name),
        (said, written) => said == written,
    }
}

/// The names in a contact, without the one that stands for nothing yet.
fn told_in(contact: Option<&Value>) -> BTreeSet<&str> {
    let members = contact.and_then(Value::as_object).into_iter().flatten();
    members.map(|(name, _)| name.as_str()).filter(|name| *name != "receiving").collect()
}

/// Absent, `null`, or what these stand for.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_true) => !is_true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

fn is_same_text(said: &str, written: &str, name: &str) -> bool {
    let without_noughts = |amount: &str| {
        let amount = match amount.split_once('.') {
            Some((integer, fraction)) => format!("{integer}.{}", fraction.trim_end_matches('0')),
            None => format!("{amount}."),
        };
        if amount == "-0." { "0.".to_owned() } else { amount }
    };
    match name {
        // Named or not, it is the same schedule.
        "schedule" => said == written && said != "default",
        "language" => {
            said.get(..written.len()).is_some_and(|start| start.eq_ignore_ascii_case(written))
        }
        "media_type" => said.eq_ignore_ascii_case(written),
        "amount" => without_noughts(said) == without_noughts(written),
        "timestamp" => {
            let millis =
                |text: &str| DateTime::parse_from_rfc3339(text).map(|at| at.timestamp_millis());
            millis(said) == millis(written)
        }
        "addresses" => match (said.split_once('@'), written.split_once('@')) {
            (Some((said, domain)), Some((written, other))) => {
                said == written && (domain.eq_ignore_ascii_case(other) || !domain.is_ascii())
            }
            _ => false,
        },
        _ => said == written,
    }
}
