//! What must hold of every body of an event: what is read is what was said, within every rule; what is refused is
//! pointed at; and what becomes of an account has at most one billing contact that can be reached.

#![expect(clippy::unwrap_used, reason = "a panic is how a property tells that it does not hold")]

mod wire;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::*;
use crate::domain::account::Profile;
use crate::domain::account::{Account, BillingGroups};
use crate::domain::address::property::{addresses, file_names};
use crate::domain::change::{AccountChange, Applied, ChangeKind, apply};
use crate::domain::id::Group;
use crate::domain::money::property::amounts;
use crate::http::problem::Place;

/// Largest document inside an event.
const DOCUMENT_BYTES: usize = 64;
/// When the changes are committed.
const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

static GROUPS: LazyLock<BillingGroups> = LazyLock::new(|| {
    BillingGroups::new(["Rechnungen", "billing"].map(|group| Group::parse(group).unwrap())).unwrap()
});

/// An account of version 3 with a billing contact, a second member of its group and a technician.
static KNOWN: LazyLock<Account> = LazyLock::new(|| {
    let body = br#"{"type": "account.updated", "timestamp": "2026-11-23T08:00:00Z", "data": {
        "account": "K-1001", "version": 3, "billing_contact": "u-7",
        "main_contact": {"name": "Erika Muster", "company": "Muster GmbH", "addresses": ["erika@muster.example"]},
        "sub_users": [
            {"id": "u-7", "group": "Rechnungen", "contact": {"name": "Rechnung", "addresses": ["rechnung@muster.example"]}},
            {"id": "u-8", "group": "Technik", "contact": {"name": "Technik", "language": "en", "addresses": []}},
            {"id": "u-9", "group": "billing", "contact": {"name": "Billing", "addresses": ["billing@muster.example"]}}]}}"#;
    let Ok(Event::Account(parsed)) = read_event(&json::parse(body).unwrap(), &EventType::ALL, 0)
    else {
        unreachable!("an account event")
    };
    match apply(None, &parsed.change, &GROUPS, NOW) {
        Ok(Applied::Changed { account, .. }) => *account,
        other => unreachable!("{other:?}"),
    }
});

/// The body of an event.
pub(crate) fn events(body: &[u8]) {
    is_event(body);
}

/// Whether it is one that is accepted.
fn is_event(body: &[u8]) -> bool {
    let text = std::str::from_utf8(body).ok();
    let value: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    let has_twice = value.as_ref().is_some_and(|value| members_written(body) != members(value));
    let parsed = json::parse(body);
    let expected = match (text, &value) {
        (None, _) => Some(Code::NotUtf8),
        (Some(_), None) => Some(Code::NotJson),
        (Some(_), Some(_)) => has_twice.then_some(Code::DuplicateKey),
    };
    assert_eq!(parsed.as_ref().err().map(|problem| problem.code), expected);
    let (Ok(node), Some(said)) = (parsed, value) else {
        return false;
    };

    let read = read_event(&node, &EventType::ALL, DOCUMENT_BYTES);
    let again = read_event(&node, &EventType::ALL, DOCUMENT_BYTES);
    assert_eq!(format!("{read:?}"), format!("{again:?}"), "the same body, the same event");
    match &read {
        Ok(event) => accepted(&said, event),
        Err(problem) => refused(&said, problem),
    }
    read.is_ok()
}

/// Every mistake has a place in the body, or in an object that lacks it.
fn refused(said: &Value, problem: &Problem) {
    assert_eq!(problem.code, Code::Invalid);
    let faults = &problem.body.errors;
    assert!((1..=50).contains(&faults.len()), "{} mistakes", faults.len());
    for fault in faults {
        let Place::Body(pointer) = &fault.place else {
            unreachable!("{fault:?} is not in the body")
        };
        let parent = pointer.rsplit_once('/').and_then(|(parent, _)| said.pointer(parent));
        assert!(
            said.pointer(pointer).is_some() || parent.is_some_and(Value::is_object),
            "{pointer:?} leads nowhere in {said}"
        );
        assert!(!fault.expected.is_empty(), "{pointer:?}");
    }
}

fn accepted(said: &Value, event: &Event) {
    let written = wire::event(event, said);
    assert!(wire::says_the_same(said, &written, ""), "{said} was read as {written}");
    is_within_rules(&written, "");

    let body = written.to_string();
    let node = json::parse(body.as_bytes()).unwrap();
    let again = read_event(&node, &EventType::ALL, DOCUMENT_BYTES);
    assert_eq!(format!("{:?}", again.as_ref()), format!("{:?}", Ok::<_, Problem>(event)), "{body}");
    if let Event::Account(parsed) = event {
        changes(None, &parsed.change);
        changes(Some(&KNOWN), &parsed.change);
        if let ChangeKind::Updated(profile) = &parsed.change.kind {
            imported(&said["data"], &parsed.change, profile);
        }
    }
}

/// The data of a whole account say the same as a line of an import.
fn imported(said: &Value, change: &AccountChange, profile: &Profile) {
    let line = json::parse(said.to_string().as_bytes()).unwrap();
    for accept_version in [false, true] {
        let report = Report::default();
        let read = Item::root(&line, &report).fields().and_then(|data| {
            account::read(data, Ok(change.timestamp), |data| {
                account::imported(data, accept_version)
            })
        });
        let ParsedChange { change: import, .. } = report.finish(read).unwrap();
        let ChangeKind::Imported(of_import) = &import.kind else {
            unreachable!("{import:?} is no import")
        };
        assert_eq!((&import.account, import.version), (&change.account, change.version));
        assert_eq!((&of_import.profile, of_import.closed), (profile, false));
        changes(None, &import);
        changes(Some(&KNOWN), &import);
    }
}

/// Applies a change to an account, which then can be relied upon.
fn changes(current: Option<&Account>, change: &AccountChange) {
    let in_force = current.map_or(0, |account| account.version().get());
    let version = change.version.get();
    let (is_snapshot, is_accepted_anyway) = match &change.kind {
        ChangeKind::Updated(_) => (true, false),
        ChangeKind::Imported(import) => (true, import.accept_version),
        ChangeKind::Closed
        | ChangeKind::SubUserSaved { .. }
        | ChangeKind::SubUserRemoved(_)
        | ChangeKind::BillingContactSelected(_) => (false, false),
    };
    let account = match apply(current, change, &GROUPS, NOW) {
        Ok(Applied::Changed { account, .. }) => account,
        Ok(Applied::Duplicate) => return assert_eq!(version, in_force),
        Ok(Applied::Stale) => return assert!(version < in_force),
        // What is refused changes nothing; which rule it broke is for the domain's own tests.
        Err(_) => return,
    };
    assert!(version > in_force || is_accepted_anyway);
    assert!(is_snapshot || current.is_some());
    let is_delta = !is_snapshot && !matches!(change.kind, ChangeKind::Closed);
    assert!(!is_delta || version == in_force + 1, "a delta follows directly");
    assert_eq!(
        (account.id(), account.version(), account.changed_at()),
        (&change.account, change.version, change.timestamp)
    );

    let profile = account.profile();
    for (id, sub_user) in &profile.sub_users {
        let is_selected = profile.billing_contact.as_ref() == Some(id);
        let is_member = GROUPS.contains(&sub_user.group);
        let count = sub_user.contact.addresses.as_slice().len();
        assert!(is_member || !is_selected, "{id} is selected and in no billing group");
        assert!(count <= 10 && (count > 0 || !is_member), "{id} has {count} addresses");
    }
    assert!(profile.sub_users.len() <= 100);
    let selected = account.billing_contact().map(|(id, _)| id);
    assert_eq!(selected, profile.billing_contact.as_ref(), "the selection is in the account");
    assert_eq!(
        apply(Some(&account), change, &GROUPS, NOW),
        Ok(Applied::Duplicate),
        "once is enough"
    );
}

/// Every value under its name, wherever it stands, is one that the interface allows.
fn is_within_rules(written: &Value, name: &str) {
    match written {
        Value::Object(members) => {
            if let (Some(code), Some(amount)) = (members.get("currency"), members.get("amount")) {
                amounts(format!("{} {}", text(code), text(amount)).as_bytes());
            }
            members.iter().for_each(|(name, value)| is_within_rules(value, name));
        }
        Value::Array(items) => {
            let identity = |item: &Value| match name {
                "sub_users" => item["id"].to_string(),
                "documents" => item["file_name"].to_string(),
                _ => item.to_string(),
            };
            let different: BTreeSet<String> = items.iter().map(identity).collect();
            let most = match name {
                "addresses" => 10,
                "documents" => 20,
                _ => 100,
            };
            assert!(items.len() <= most, "{} {name}", items.len());
            assert!(items.len() == different.len() || name == "permissions", "{written}");
            assert!(!items.is_empty() || name != "documents");
            for item in items {
                is_within_rules(item, name);
            }
        }
        Value::Number(number) => {
            let most = (1_u64 << 53) - 1;
            assert!(number.as_u64().is_some_and(|number| (1..=most).contains(&number)), "{name}");
        }
        Value::String(text) => is_text_within_rules(text, name),
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_text_within_rules(text: &str, name: &str) {
    let is_line_of = |most: usize| {
        (1..=most).contains(&text.chars().count())
            && text.trim() == text
            && !text.contains(|c: char| {
                c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{200B}'..='\u{200F}')
            })
    };
    let is_digits = |at: std::ops::Range<usize>| {
        text.get(at).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let fits = match name {
        "account" | "number" | "refers_to" | "id" | "sub_user" | "billing_contact" | "group"
        | "schedule" => is_line_of(128) && !matches!(text, "." | ".."),
        "name" | "company" | "user_name" | "permissions" => is_line_of(200),
        "addresses" => {
            addresses(text.as_bytes());
            text.contains('@')
        }
        "file_name" => {
            file_names(text.as_bytes());
            text.contains('.')
        }
        "sha256" => {
            text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        }
        "language" => {
            (2..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
        }
        "issued_on" | "due_on" => {
            text.len() == 10
                && is_digits(0..4)
                && is_digits(5..7)
                && is_digits(8..10)
                && &text[4..5] == "-"
                && &text[7..8] == "-"
        }
        "portal_url" => {
            text.len() <= 900
                && text.starts_with("https://")
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        }
        "media_type" => {
            text.is_ascii() && text.split('/').count() == 2 && !text.contains([' ', ';', '"'])
        }
        "timestamp" => text.ends_with('Z') && is_digits(0..4),
        "content_base64" => !text.is_empty(),
        "amount" | "currency" | "kind" | "release" | "type" => true,
        other => unreachable!("{other} is written and has no rule"),
    };
    assert!(fits, "{name}: {text:?}");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// How many members stand in a text of JSON: each has a colon, outside strings.
fn members_written(json: &[u8]) -> usize {
    let (mut colons, mut is_string, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_string = !is_string,
            b':' if !is_string => colons += 1,
            _ => {}
        }
    }
    colons
}

/// How many members a value has, all levels together; of those of one name `serde_json` keeps the last.
fn members(value: &Value) -> usize {
    match value {
        Value::Object(all) => all.len() + all.values().map(members).sum::<usize>(),
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests;
