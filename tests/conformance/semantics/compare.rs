//! Whether two answers are the same as far as the contract fixes them.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::{Value, json};

/// Members whose words are the daemon's own; they must be texts, or lists where that is what they are.
const OPEN: [&str; 6] = [
    "detail",
    "expected",
    "title",
    "type",
    "request_id",
    // Of an invoice.
    "story",
];

/// Instants: whatever their decimals, in UTC.
const INSTANTS: [&str; 7] = [
    "changed_at",
    "next_attempt_at",
    "received_at",
    "release_at",
    "since",
    "timestamp",
    "tombstone_since",
];

/// Lists whose order means nothing.
const SETS: [&str; 5] = ["differs", "errors", "missing", "sub_users", "warnings"];

/// A status with its body.
pub(crate) type Shown = (u16, Value);

/// What differs, if anything does: what is wanted and what was answered, without what is not compared. Which of several
/// `broken` rules an answer tells is open.
pub(crate) fn difference(
    mut wanted: Shown,
    mut answered: Shown,
    broken: &BTreeSet<String>,
) -> Option<(Value, Value)> {
    normalize("", &mut wanted.1);
    normalize("", &mut answered.1);
    if !broken.is_empty() {
        let told = answered.1.get_mut("errors").map(Value::take);
        let told = told.unwrap_or_default();
        if tells_some_of(broken, &told) {
            wanted.1["errors"] = Value::Null;
        } else {
            wanted.1["errors"] = json!({"some of": broken});
            answered.1["errors"] = told;
        }
    }
    let pair = |(status, body): Shown| json!({"status": status, "body": body});
    (wanted != answered).then(|| (pair(wanted), pair(answered)))
}

/// Whether it names one or more of these places, and no other.
fn tells_some_of(broken: &BTreeSet<String>, told: &Value) -> bool {
    let is_broken = |error: &Value| {
        let pointer = error["pointer"].as_str();
        pointer.is_some_and(|pointer| broken.contains(pointer))
    };
    let told = told.as_array();
    told.is_some_and(|told| !told.is_empty() && told.iter().all(is_broken))
}

/// Takes out what is open, and brings the rest into one form.
fn normalize(name: &str, value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| {
                let is_filled =
                    value.is_array() || value.as_str().is_some_and(|text| !text.is_empty());
                !(is_filled && OPEN.contains(&name.as_str()))
            });
            for (name, value) in members {
                normalize(name, value);
            }
        }
        Value::Array(items) => {
            for item in &mut *items {
                normalize("", item);
            }
            if SETS.contains(&name) {
                items.sort_by_cached_key(Value::to_string);
            }
        }
        Value::String(text) if INSTANTS.contains(&name) && text.ends_with('Z') => {
            if let Ok(at) = DateTime::parse_from_rfc3339(text) {
                *value = json!(at.timestamp_millis());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
