//! §3 of the contract as far as it says what an event looks like: which places of one are wrong.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate};
use serde_json::{Value, json};

use crate::json::escaped;
use crate::words::{decimals, normal_address};

/// Pointers to the places of a body that are wrong.
#[derive(Default)]
struct Wrong {
    places: BTreeSet<String>,
    /// Members that nobody knows. Beside them everything can be read, and judged as a whole.
    unknown: BTreeSet<String>,
}

/// Whether a value is right; if not, its pointer or those of its parts are added.
type Check = fn(&Value, &str, &mut Wrong);

/// Whether a member must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It must, and not be `null`.
    Required,
    /// It must, and may be `null`.
    Nullable,
    /// Absent is `null`.
    Optional,
}
use Need::{Nullable, Optional, Required};

const KINDS: [&str; 4] = ["invoice", "credit_note", "corrected_invoice", "reminder"];

impl Wrong {
    fn add(&mut self, other: Self) {
        let Self { places, unknown } = other;
        self.places.extend(places);
        self.unknown.extend(unknown);
    }
}

/// The places of an event that are wrong. In a batch only events of accounts are right.
pub(crate) fn wrong_places(event: &Value, in_batch: bool) -> BTreeSet<String> {
    let mut wrong = Wrong::default();
    let of_type = if in_batch { check_in_batch } else { check_of_data };
    let data = event["type"].as_str().and_then(of_type);
    let event_type: Check = if in_batch {
        |value, at, wrong| unless(value.as_str().and_then(check_in_batch).is_some(), at, wrong)
    } else {
        |value, at, wrong| unless(value.as_str().and_then(check_of_data).is_some(), at, wrong)
    };
    let envelope = [
        ("type", Required, event_type),
        ("timestamp", Required, timestamp),
        // Without a type nobody can tell what else would be right.
        ("data", Required, data.unwrap_or(any_object)),
    ];
    members(event, "", &envelope, &mut wrong);
    let Wrong { mut places, unknown } = wrong;
    places.extend(unknown);
    places
}

fn check_in_batch(event_type: &str) -> Option<Check> {
    check_of_data(event_type).filter(|_| !event_type.starts_with("invoice."))
}

/// The table of §3.
fn check_of_data(event_type: &str) -> Option<Check> {
    Some(match event_type {
        "account.updated" => |data, at, wrong| {
            let table = [
                ("account", Required, id as Check),
                ("version", Required, version),
                ("main_contact", Required, contact),
                ("sub_users", Required, sub_users),
                ("billing_contact", Nullable, id),
                ("name", Optional, text),
                ("language", Optional, language),
                ("schedule", Optional, id),
            ];
            members(data, at, &table, wrong);
        },
        "account.closed" => |data, at, wrong| {
            let table = [("account", Required, id as Check), ("version", Required, version)];
            members(data, at, &table, wrong);
        },
        "sub_user.saved" => |data, at, wrong| {
            let table = [
                ("account", Required, id as Check),
                ("version", Required, version),
                ("sub_user", Required, saved_sub_user),
            ];
            members(data, at, &table, wrong);
        },
        "sub_user.removed" => |data, at, wrong| {
            let table = [
                ("account", Required, id as Check),
                ("version", Required, version),
                ("sub_user", Required, id),
            ];
            members(data, at, &table, wrong);
        },
        "billing_contact.selected" => |data, at, wrong| {
            let table = [
                ("account", Required, id as Check),
                ("version", Required, version),
                ("sub_user", Nullable, id),
            ];
            members(data, at, &table, wrong);
        },
        "invoice.issued" => issued,
        "invoice.withdrawn" => |data, at, wrong| {
            let table = [("account", Required, id as Check), ("number", Required, id)];
            members(data, at, &table, wrong);
        },
        _ => return None,
    })
}

/// Checks an object and its members; a member that nobody knows is wrong. Says whether it is an object.
fn members(value: &Value, at: &str, table: &[(&str, Need, Check)], wrong: &mut Wrong) -> bool {
    let Some(object) = value.as_object() else {
        wrong.places.insert(at.to_owned());
        return false;
    };
    for (name, need, check) in table {
        let place = format!("{at}/{name}");
        match object.get(*name) {
            None if *need == Optional => {}
            Some(Value::Null) if *need != Required => {}
            None | Some(Value::Null) => {
                wrong.places.insert(place);
            }
            Some(value) => check(value, &place, wrong),
        }
    }
    for name in object.keys() {
        if !table.iter().any(|(known, ..)| known == name) {
            wrong.unknown.insert(format!("{at}/{}", escaped(name)));
        }
    }
    true
}

/// Adds the place unless the value is `right`.
fn unless(right: bool, at: &str, wrong: &mut Wrong) {
    if !right {
        wrong.places.insert(at.to_owned());
    }
}

fn any_object(value: &Value, at: &str, wrong: &mut Wrong) {
    unless(value.is_object(), at, wrong);
}

fn timestamp(value: &Value, at: &str, wrong: &mut Wrong) {
    unless(value.as_str().is_some_and(is_instant), at, wrong);
}

/// RFC 3339, section 5.6, by position; then it must be one of the calendar, too. `t` and `z` are as good as `T` and
/// `Z`. Nothing stands for the `T`, which that section leaves to other applications.
fn is_instant(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let Some((local, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let after_decimals = rest
        .strip_prefix('.')
        .map(|decimals| decimals.trim_start_matches(|c: char| c.is_ascii_digit()));
    let offset = after_decimals.unwrap_or(rest);
    has_form(local, "####-##-##T##:##:##")
        // A point with a digit after it, if there is one.
        && (after_decimals.is_none() || offset.len() + 2 <= rest.len())
        && (offset == "Z" || has_form(offset, "+##:##") || has_form(offset, "-##:##"))
        && DateTime::parse_from_rfc3339(&text).is_ok()
}

/// Whether a text has these characters, with a digit for each `#`.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(c, form): (char, char)| match form {
        '#' => c.is_ascii_digit(),
        _ => c == form,
    };
    text.len() == form.len() && text.chars().zip(form.chars()).all(fits)
}

fn version(value: &Value, at: &str, wrong: &mut Wrong) {
    let right = value.as_u64().is_some_and(|version| (1..1 << 53).contains(&version));
    unless(right, at, wrong);
}

/// An id, a number or a name of a group or schedule.
fn id(value: &Value, at: &str, wrong: &mut Wrong) {
    let right = value.as_str().is_some_and(|text| {
        is_printable(text) && text.chars().count() <= 128 && text != "." && text != ".."
    });
    unless(right, at, wrong);
}

/// What a header or a mail shows. Open in the contract: how long it may be.
fn text(value: &Value, at: &str, wrong: &mut Wrong) {
    let right =
        value.as_str().is_some_and(|text| is_printable(text) && text.chars().count() <= 200);
    unless(right, at, wrong);
}

/// Something, without blanks at the ends, and without what cannot be seen. Of the invisible characters those
/// are looked for that are sent here.
fn is_printable(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && !text.contains(|c: char| c.is_control() || c == '\u{200B}' || c == '\u{202E}')
}

fn language(value: &Value, at: &str, wrong: &mut Wrong) {
    let right = value.as_str().is_some_and(|tag| {
        let mut parts = tag.split(['-', '_']);
        let primary = parts.next().unwrap_or_default();
        (2..=3).contains(&primary.len())
            && primary.chars().all(|c| c.is_ascii_alphabetic())
            && parts.all(|part| {
                (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
            })
    });
    unless(right, at, wrong);
}

fn boolean(value: &Value, at: &str, wrong: &mut Wrong) {
    unless(value.is_boolean(), at, wrong);
}

/// There are no receiving profiles yet, so that none can be named.
fn receiving(_: &Value, at: &str, wrong: &mut Wrong) {
    unless(false, at, wrong);
}

fn contact(value: &Value, at: &str, wrong: &mut Wrong) {
    let table = [
        ("name", Required, text as Check),
        ("addresses", Required, addresses),
        ("company", Optional, text),
        ("language", Optional, language),
        ("receiving", Optional, receiving),
    ];
    members(value, at, &table, wrong);
}

/// What wins over a copied contact: `null` clears, but nobody is without a name.
fn differences(value: &Value, at: &str, wrong: &mut Wrong) {
    let table = [
        ("name", Optional, text as Check),
        ("addresses", Optional, addresses),
        ("company", Optional, text),
        ("language", Optional, language),
        ("receiving", Optional, receiving),
    ];
    if members(value, at, &table, wrong) && value.get("name") == Some(&Value::Null) {
        wrong.places.insert(format!("{at}/name"));
    }
}

fn addresses(value: &Value, at: &str, wrong: &mut Wrong) {
    let Some(list) = value.as_array().filter(|list| list.len() <= 10) else {
        wrong.places.insert(at.to_owned());
        return;
    };
    let mut met: Vec<String> = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let address = item.as_str().filter(|text| is_address(text)).map(normal_address);
        match address {
            Some(address) if !met.contains(&address) => met.push(address),
            Some(_) | None => {
                wrong.places.insert(format!("{at}/{index}"));
            }
        }
    }
}

/// As narrow as what is sent here needs.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let are = |text: &str, more: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let labels: Vec<&str> = domain.split('.').collect();
    local.split('.').all(|atom| !atom.is_empty() && are(atom, "-_+"))
        && labels.len() >= 2
        && labels.iter().all(|label| !label.is_empty() && are(label, "-"))
        && text.len() <= 254
}

fn sub_users(value: &Value, at: &str, wrong: &mut Wrong) {
    let Some(list) = value.as_array().filter(|list| list.len() <= 100) else {
        wrong.places.insert(at.to_owned());
        return;
    };
    let mut met: Vec<&Value> = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let place = format!("{at}/{index}");
        let mut wrong_here = Wrong::default();
        let table = [
            ("id", Required, id as Check),
            ("group", Required, id),
            ("contact", Required, contact),
            ("login", Optional, login),
        ];
        members(item, &place, &table, &mut wrong_here);
        if wrong_here.places.is_empty() {
            // A set by id. Open in the contract: who is wrong anyway counts for nobody's twin.
            unless(!met.contains(&&item["id"]), &format!("{place}/id"), wrong);
            met.push(&item["id"]);
        }
        wrong.add(wrong_here);
    }
}

fn saved_sub_user(value: &Value, at: &str, wrong: &mut Wrong) {
    let is_copy = value.get("copy_from").is_some_and(|from| !from.is_null());
    let table = [
        ("id", Required, id as Check),
        ("group", Required, id),
        ("login", Optional, login),
        ("copy_from", Optional, copy_from),
        if is_copy { ("contact", Optional, differences) } else { ("contact", Required, contact) },
    ];
    members(value, at, &table, wrong);
}

fn copy_from(value: &Value, at: &str, wrong: &mut Wrong) {
    fn is_true(value: &Value, at: &str, wrong: &mut Wrong) {
        unless(*value == json!(true), at, wrong);
    }
    let table = [("main_contact", Optional, is_true as Check), ("sub_user", Optional, id)];
    let mut wrong_here = Wrong::default();
    let is_object = members(value, at, &table, &mut wrong_here);
    let is_there = |name: &str| value.get(name).is_some_and(|value| !value.is_null());
    let known_wrong = ["main_contact", "sub_user"]
        .iter()
        .any(|name| wrong_here.places.contains(&format!("{at}/{name}")));
    if is_object && !known_wrong && is_there("main_contact") == is_there("sub_user") {
        wrong.places.insert(at.to_owned());
    }
    wrong.add(wrong_here);
}

fn login(value: &Value, at: &str, wrong: &mut Wrong) {
    fn permissions(value: &Value, at: &str, wrong: &mut Wrong) {
        let Some(list) = value.as_array() else {
            wrong.places.insert(at.to_owned());
            return;
        };
        for (index, item) in list.iter().enumerate() {
            text(item, &format!("{at}/{index}"), wrong);
        }
    }
    let table = [
        ("enabled", Optional, boolean as Check),
        ("user_name", Optional, text),
        ("permissions", Optional, permissions),
    ];
    if members(value, at, &table, wrong) && value["enabled"] == json!(true) {
        unless(!value["user_name"].is_null(), &format!("{at}/user_name"), wrong);
    }
}

fn issued(data: &Value, at: &str, wrong: &mut Wrong) {
    fn kind(value: &Value, at: &str, wrong: &mut Wrong) {
        unless(value.as_str().is_some_and(|kind| KINDS.contains(&kind)), at, wrong);
    }
    fn release(value: &Value, at: &str, wrong: &mut Wrong) {
        unless(*value == json!("scheduled") || *value == json!("immediately"), at, wrong);
    }
    fn date(value: &Value, at: &str, wrong: &mut Wrong) {
        let right = value.as_str().is_some_and(|text| {
            has_form(text, "####-##-##") && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
        });
        unless(right, at, wrong);
    }
    fn portal_url(value: &Value, at: &str, wrong: &mut Wrong) {
        let right = value.as_str().is_some_and(|url| {
            url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
                && url.chars().all(|c| c.is_ascii_graphic())
        });
        unless(right, at, wrong);
    }
    let table = [
        ("account", Required, id as Check),
        ("number", Required, id),
        ("kind", Required, kind),
        ("issued_on", Required, date),
        ("total", Required, total),
        ("release", Required, release),
        ("documents", Required, documents),
        ("min_account_version", Optional, version),
        ("due_on", Optional, date),
        ("refers_to", Optional, id),
        ("portal_url", Optional, portal_url),
    ];
    members(data, at, &table, wrong);
    // Required for the last two kinds. Open in the contract: an invoice refers to no other.
    let refers = !data["refers_to"].is_null();
    let right = match data["kind"].as_str() {
        Some("invoice") => !refers,
        Some("corrected_invoice" | "reminder") => refers,
        Some(_) | None => true,
    };
    unless(right, &format!("{at}/refers_to"), wrong);
}

fn total(value: &Value, at: &str, wrong: &mut Wrong) {
    fn currency(value: &Value, at: &str, wrong: &mut Wrong) {
        unless(decimals(value).is_some(), at, wrong);
    }
    fn amount(value: &Value, at: &str, wrong: &mut Wrong) {
        unless(value.as_str().is_some_and(is_amount), at, wrong);
    }
    let table = [("amount", Required, amount as Check), ("currency", Required, currency)];
    if members(value, at, &table, wrong) {
        let fraction = value["amount"]
            .as_str()
            .and_then(|text| text.split_once('.'))
            .map_or(0, |(_, fraction)| fraction.len());
        let most = decimals(&value["currency"]).unwrap_or(usize::MAX);
        unless(fraction <= most, &format!("{at}/amount"), wrong);
    }
}

/// `^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?$`
fn is_amount(text: &str) -> bool {
    let are_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (integer, fraction) =
        text.split_once('.').map_or((text, None), |(integer, fraction)| (integer, Some(fraction)));
    are_digits(integer)
        && integer.len() <= 15
        && (integer == "0" || !integer.starts_with('0'))
        && fraction.is_none_or(are_digits)
}

fn documents(value: &Value, at: &str, wrong: &mut Wrong) {
    fn sha256(value: &Value, at: &str, wrong: &mut Wrong) {
        let right = value.as_str().is_some_and(is_digest);
        unless(right, at, wrong);
    }
    fn content(value: &Value, at: &str, wrong: &mut Wrong) {
        let right = value
            .as_str()
            .is_some_and(|text| STANDARD.decode(text).is_ok_and(|bytes| !bytes.is_empty()));
        unless(right, at, wrong);
    }
    fn file_name(value: &Value, at: &str, wrong: &mut Wrong) {
        let right = value.as_str().is_some_and(|name| {
            name.split_once('.').is_some_and(|(stem, extension)| {
                let are = |text: &str, more: &str| {
                    !text.is_empty()
                        && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
                };
                are(stem, "-_") && are(extension, "") && extension.len() <= 10
            }) && name.len() <= 120
        });
        unless(right, at, wrong);
    }
    fn media_type(value: &Value, at: &str, wrong: &mut Wrong) {
        let right = value.as_str().is_some_and(|text| {
            text.split_once('/').is_some_and(|(top, sub)| {
                [top, sub].iter().all(|name| {
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                })
            })
        });
        unless(right, at, wrong);
    }
    let Some(list) = value.as_array().filter(|list| (1..=20).contains(&list.len())) else {
        wrong.places.insert(at.to_owned());
        return;
    };
    let mut wrong_documents = Wrong::default();
    for (index, document) in list.iter().enumerate() {
        let place = format!("{at}/{index}");
        let mut wrong_here = Wrong::default();
        let table = [
            ("sha256", Optional, sha256 as Check),
            ("content_base64", Optional, content),
            ("file_name", Required, file_name),
            ("media_type", Required, media_type),
        ];
        let is_object = members(document, &place, &table, &mut wrong_here);
        let is_there = |name: &str| document.get(name).is_some_and(|value| !value.is_null());
        let known_wrong = ["sha256", "content_base64"]
            .iter()
            .any(|name| wrong_here.places.contains(&format!("{place}/{name}")));
        if is_object && !known_wrong && is_there("sha256") == is_there("content_base64") {
            wrong_here.places.insert(place);
        }
        wrong_documents.add(wrong_here);
    }
    // Open in the contract: a mail does not carry two files of one name.
    let names: BTreeSet<&str> =
        list.iter().filter_map(|document| document["file_name"].as_str()).collect();
    if wrong_documents.places.is_empty() && names.len() < list.len() {
        wrong.places.insert(at.to_owned());
    }
    wrong.add(wrong_documents);
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}
