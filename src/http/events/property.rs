//! What must hold of every body of an event: what is read is what was said, and as it is described; what is refused is
//! pointed at; and what becomes of an account has at most one billing contact that can be reached.

#![expect(clippy::unwrap_used, reason = "a panic is how a property tells that it does not hold")]

mod wire;

use std::sync::LazyLock;

use serde_json::Value;

use super::*;
use crate::domain::account::Profile;
use crate::domain::account::{Account, BillingGroups};
use crate::domain::change::{AccountChange, Applied, ChangeKind, apply};
use crate::domain::id::Group;
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
    #[cfg(test)]
    tests::is_described(&written);

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

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// How many members a JSON text has: each has a colon, outside strings.
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
