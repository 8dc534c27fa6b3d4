//! §3 of the contract as far as it says what an event looks like: which places of one are wrong.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate};
use serde_json::{Value, json};

use crate::json::escaped;
use crate::words::{self, decimals, normal_address};

/// What a value must look like.
#[derive(Clone, Copy)]
enum Shape {
    /// A text of which this holds.
    Text(fn(&str) -> bool),
    /// Another value of which this holds.
    Is(fn(&Value) -> bool),
    /// An object with these members and no other.
    Object(&'static [(&'static str, Need, Shape)]),
    /// So many items at least, and at most, each like this.
    List(usize, usize, &'static Shape),
    /// What looks like this, and of which more is asked.
    And(&'static Shape, fn(&Value, &str, &mut Wrong)),
}
use Shape::{And, Is, List, Object, Text};

/// Whether a member must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It must, and not be `null`.
    Required,
    /// It must, and may be `null`.
    Nullable,
    /// Absent is `null`.
    Optional,
    /// It may be absent, and not `null`.
    Filled,
}
use Need::{Filled, Nullable, Optional, Required};

type Member = (&'static str, Need, Shape);

/// Pointers to the places of a body that are wrong.
#[derive(Default)]
struct Wrong {
    places: BTreeSet<String>,
    /// Unknown members. Beside them everything can be read, and judged as a whole.
    unknown: BTreeSet<String>,
}

/// The table of §3.
const EVENTS: [(&str, Shape); 7] = [
    (
        "account.updated",
        Object(&[
            ACCOUNT,
            VERSION,
            ("main_contact", Required, CONTACT),
            ("sub_users", Required, And(&List(0, 100, &SUB_USER), each_id_once)),
            ("billing_contact", Nullable, Text(is_id)),
            ("name", Optional, Text(is_line)),
            ("language", Optional, Text(is_language)),
            ("schedule", Optional, Text(is_id)),
        ]),
    ),
    ("account.closed", Object(&[ACCOUNT, VERSION])),
    ("sub_user.saved", Object(&[ACCOUNT, VERSION, ("sub_user", Required, And(&ANY, saved))])),
    ("sub_user.removed", Object(&[ACCOUNT, VERSION, ("sub_user", Required, Text(is_id))])),
    ("billing_contact.selected", Object(&[ACCOUNT, VERSION, ("sub_user", Nullable, Text(is_id))])),
    ("invoice.issued", And(&INVOICE, refers_as_its_kind_asks)),
    ("invoice.withdrawn", Object(&[ACCOUNT, NUMBER])),
];

const ANY: Shape = Is(|_| true);
const ACCOUNT: Member = ("account", Required, Text(is_id));
const NUMBER: Member = ("number", Required, Text(is_id));
const VERSION: Member = ("version", Required, Is(is_version));

const CONTACT: Shape = Object(&[
    ("name", Required, Text(is_line)),
    ("addresses", Required, ADDRESSES),
    ("company", Optional, Text(is_line)),
    ("language", Optional, Text(is_language)),
    RECEIVING,
]);
/// What wins over a copied contact: `null` clears, but a name is required.
const DIFFERENCES: Shape = Object(&[
    ("name", Filled, Text(is_line)),
    ("addresses", Optional, ADDRESSES),
    ("company", Optional, Text(is_line)),
    ("language", Optional, Text(is_language)),
    RECEIVING,
]);
/// There are no receiving profiles yet, so that none can be named.
const RECEIVING: Member = ("receiving", Optional, Is(|_| false));
const ADDRESSES: Shape = And(&List(0, 10, &Text(is_address)), each_address_once);

const ID: Member = ("id", Required, Text(is_id));
const GROUP: Member = ("group", Required, Text(is_id));
const LOGIN: Member = ("login", Optional, And(&LOGIN_ITSELF, an_enabled_one_has_a_name));
const LOGIN_ITSELF: Shape = Object(&[
    ("enabled", Optional, Is(Value::is_boolean)),
    ("user_name", Optional, Text(is_line)),
    ("permissions", Optional, List(0, 100, &Text(is_line))),
]);
const SUB_USER: Shape = Object(&[ID, GROUP, ("contact", Required, CONTACT), LOGIN]);
const SOURCE: Shape = Object(&[
    ("main_contact", Optional, Is(|value| *value == json!(true))),
    ("sub_user", Optional, Text(is_id)),
]);

const INVOICE: Shape = Object(&[
    ACCOUNT,
    NUMBER,
    ("kind", Required, Text(|kind| KINDS.contains(&kind))),
    ("issued_on", Required, Text(is_date)),
    ("total", Required, And(&TOTAL, as_many_decimals_as_the_currency_has)),
    ("release", Required, Text(|release| matches!(release, "scheduled" | "immediately"))),
    ("documents", Required, And(&List(1, 20, &And(&DOCUMENT, one_of_two)), each_name_once)),
    ("min_account_version", Optional, Is(is_version)),
    ("due_on", Optional, Text(is_date)),
    ("refers_to", Optional, Text(is_id)),
    ("portal_url", Optional, Text(is_url)),
]);
const KINDS: [&str; 4] = ["invoice", "credit_note", "corrected_invoice", "reminder"];
const TOTAL: Shape = Object(&[
    ("amount", Required, Text(is_amount)),
    ("currency", Required, Is(|currency| decimals(currency).is_some())),
]);
const DOCUMENT: Shape = Object(&[
    ("sha256", Optional, Text(is_digest)),
    ("content_base64", Optional, Text(is_content)),
    ("file_name", Required, Text(is_file_name)),
    ("media_type", Required, Text(is_media_type)),
]);

/// The places of an event that are wrong. In a batch only events of accounts are right.
pub(crate) fn wrong_places(event: &Value, in_batch: bool) -> BTreeSet<String> {
    let event_type = event["type"].as_str().filter(|of| !in_batch || !of.starts_with("invoice."));
    let data = EVENTS.iter().find(|(name, _)| Some(*name) == event_type);
    let envelope = [
        ("timestamp", Required, Text(is_instant)),
        // Without a type there is no telling what else would be right.
        ("data", Required, data.map_or(Is(Value::is_object), |(_, shape)| *shape)),
        ("type", Required, if data.is_some() { ANY } else { Is(|_| false) }),
    ];
    let mut wrong = Wrong::default();
    members(event, "", &envelope, &mut wrong);
    let Wrong { mut places, unknown } = wrong;
    places.extend(unknown);
    places
}

fn judge(shape: Shape, value: &Value, at: &str, wrong: &mut Wrong) {
    match shape {
        Text(holds) => unless(value.as_str().is_some_and(holds), at, wrong),
        Is(holds) => unless(holds(value), at, wrong),
        Object(table) => members(value, at, table, wrong),
        List(least, most, item) => match value.as_array() {
            Some(items) if (least..=most).contains(&items.len()) => {
                for (index, value) in items.iter().enumerate() {
                    judge(*item, value, &format!("{at}/{index}"), wrong);
                }
            }
            Some(_) | None => unless(false, at, wrong),
        },
        And(shape, more) => {
            judge(*shape, value, at, wrong);
            // What cannot be read at all is not asked more.
            if !wrong.places.contains(at) {
                more(value, at, wrong);
            }
        }
    }
}

/// Judges an object and its members; an unknown member is wrong.
fn members(value: &Value, at: &str, table: &[Member], wrong: &mut Wrong) {
    let Some(object) = value.as_object() else {
        return unless(false, at, wrong);
    };
    for (name, need, shape) in table {
        let place = format!("{at}/{name}");
        match object.get(*name) {
            None if matches!(need, Optional | Filled) => {}
            Some(Value::Null) if matches!(need, Optional | Nullable) => {}
            None | Some(Value::Null) => unless(false, &place, wrong),
            Some(value) => judge(*shape, value, &place, wrong),
        }
    }
    let unknown = object.keys().filter(|name| !table.iter().any(|(known, ..)| known == name));
    wrong.unknown.extend(unknown.map(|name| format!("{at}/{}", escaped(name))));
}

/// Adds the place unless the value is `right`.
fn unless(right: bool, at: &str, wrong: &mut Wrong) {
    if !right {
        wrong.places.insert(at.to_owned());
    }
}

impl Wrong {
    /// Whether a place or a part of it is wrong.
    fn is_within(&self, at: &str) -> bool {
        let is_part = |place: &String| {
            place.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.places.iter().any(is_part)
    }
}

// What is asked of several values together.

/// Open in the contract: one that is wrong anyway is no one's twin.
fn each_id_once(sub_users: &Value, at: &str, wrong: &mut Wrong) {
    let mut met = BTreeSet::new();
    for (index, sub_user) in words::list(sub_users).iter().enumerate() {
        let place = format!("{at}/{index}");
        if !wrong.is_within(&place) {
            unless(met.insert(sub_user["id"].as_str()), &format!("{place}/id"), wrong);
        }
    }
}

fn each_address_once(addresses: &Value, at: &str, wrong: &mut Wrong) {
    let mut met = BTreeSet::new();
    for (index, address) in words::list(addresses).iter().enumerate() {
        let place = format!("{at}/{index}");
        if !wrong.is_within(&place) {
            let address = address.as_str().map(normal_address);
            unless(met.insert(address), &place, wrong);
        }
    }
}

fn saved(sub_user: &Value, at: &str, wrong: &mut Wrong) {
    let is_copy = sub_user.get("copy_from").is_some_and(|from| !from.is_null());
    let contact = if is_copy { (Optional, DIFFERENCES) } else { (Required, CONTACT) };
    let source = ("copy_from", Optional, And(&SOURCE, one_of_two));
    let table = [ID, GROUP, LOGIN, source, ("contact", contact.0, contact.1)];
    members(sub_user, at, &table, wrong);
}

/// The first two members that a source or a document may have stand for each other.
fn one_of_two(value: &Value, at: &str, wrong: &mut Wrong) {
    let pairs = [["main_contact", "sub_user"], ["sha256", "content_base64"]];
    let is_document = at.starts_with("/data/documents");
    let pair = pairs[usize::from(is_document)];
    let is_there = |name: &str| value.get(name).is_some_and(|value| !value.is_null());
    let is_wrong = pair.iter().any(|name| wrong.is_within(&format!("{at}/{name}")));
    unless(is_wrong || is_there(pair[0]) != is_there(pair[1]), at, wrong);
}

fn an_enabled_one_has_a_name(login: &Value, at: &str, wrong: &mut Wrong) {
    let is_named = login["enabled"] != json!(true) || !login["user_name"].is_null();
    unless(is_named, &format!("{at}/user_name"), wrong);
}

/// Required for the last two kinds. Open in the contract: an invoice refers to no other.
fn refers_as_its_kind_asks(data: &Value, at: &str, wrong: &mut Wrong) {
    let refers = !data["refers_to"].is_null();
    let right = match data["kind"].as_str() {
        Some("invoice") => !refers,
        Some("corrected_invoice" | "reminder") => refers,
        Some(_) | None => true,
    };
    unless(right, &format!("{at}/refers_to"), wrong);
}

fn as_many_decimals_as_the_currency_has(total: &Value, at: &str, wrong: &mut Wrong) {
    let fraction = total["amount"].as_str().and_then(|text| text.split_once('.'));
    let most = decimals(&total["currency"]).unwrap_or(usize::MAX);
    let right = fraction.is_none_or(|(_, fraction)| fraction.len() <= most);
    unless(right, &format!("{at}/amount"), wrong);
}

/// Open in the contract: a mail does not carry two files of one name.
fn each_name_once(documents: &Value, at: &str, wrong: &mut Wrong) {
    if !wrong.is_within(at) {
        let documents = words::list(documents);
        let names = documents.iter().filter_map(|document| document["file_name"].as_str());
        unless(names.collect::<BTreeSet<_>>().len() == documents.len(), at, wrong);
    }
}

// Single values.

fn is_version(value: &Value) -> bool {
    value.as_u64().is_some_and(|version| (1..1 << 53).contains(&version))
}

/// An id, a number or a name of a group or schedule.
fn is_id(text: &str) -> bool {
    is_printable(text) && text.chars().count() <= 128 && text != "." && text != ".."
}

/// What a header or a mail shows. Open in the contract: how long it may be.
fn is_line(text: &str) -> bool {
    is_printable(text) && text.chars().count() <= 200
}

/// Something, without blanks at the ends, and without what cannot be seen. Of the invisible characters those
/// are looked for that are sent here.
fn is_printable(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && !text.contains(|c: char| c.is_control() || c == '\u{200B}' || c == '\u{202E}')
}

/// Whether a text is one or more letters and digits, or of these characters.
fn is_made_of(text: &str, more: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

/// Whether a text has these characters, with a digit for each `#`.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(c, form): (char, char)| match form {
        '#' => c.is_ascii_digit(),
        _ => c == form,
    };
    text.len() == form.len() && text.chars().zip(form.chars()).all(fits)
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

fn is_date(text: &str) -> bool {
    has_form(text, "####-##-##") && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn is_language(text: &str) -> bool {
    let mut parts = text.split(['-', '_']);
    let primary = parts.next().unwrap_or_default();
    (2..=3).contains(&primary.len())
        && primary.chars().all(|c| c.is_ascii_alphabetic())
        && parts.all(|part| part.len() <= 8 && is_made_of(part, ""))
}

/// As narrow as what is sent here needs.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    local.split('.').all(|atom| is_made_of(atom, "-_+"))
        && domain.contains('.')
        && domain.split('.').all(|label| is_made_of(label, "-"))
        && text.len() <= 254
}

/// `^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?$`
fn is_amount(text: &str) -> bool {
    let are_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    are_digits(integer)
        && integer.len() <= 15
        && (integer == "0" || !integer.starts_with('0'))
        && are_digits(fraction)
}

fn is_url(text: &str) -> bool {
    text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
        && text.chars().all(|c| c.is_ascii_graphic())
}

fn is_content(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| !bytes.is_empty())
}

fn is_file_name(text: &str) -> bool {
    text.len() <= 120
        && text.split_once('.').is_some_and(|(stem, extension)| {
            is_made_of(stem, "-_") && is_made_of(extension, "") && extension.len() <= 10
        })
}

fn is_media_type(text: &str) -> bool {
    text.split_once('/').is_some_and(|(top, sub)| is_made_of(top, "-") && is_made_of(sub, "-"))
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}
