//! Whether two answers are the same as far as the contract fixes them.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::{Value, json};

use crate::model::Answer;

/// Members whose words are the daemon's own. There must be some: what is absent or empty differs.
pub(crate) const OPEN: [&str; 6] = [
    "detail",
    "expected",
    "title",
    "type",
    "request_id",
    // Of an invoice, a list.
    "story",
];

/// What the model has for such words.
pub(crate) const SOME: &str = "…";

/// Instants: whatever their decimals, in UTC.
pub(crate) const INSTANTS: [&str; 6] =
    ["changed_at", "next_attempt_at", "received_at", "release_at", "since", "tombstone_since"];

/// Lists whose order means nothing.
pub(crate) const SETS: [&str; 5] = ["differs", "errors", "missing", "sub_users", "warnings"];

/// A status with its body.
pub(crate) type Shown = (u16, Value);

/// What differs in the answer to a request, if anything does: of a batch, the first line that does.
pub(crate) fn of_answer(wanted: &Answer, (status, body): Shown) -> Option<(Value, Value)> {
    if wanted.lines.is_empty() {
        let whole = (wanted.status, wanted.body.clone());
        return difference(whole, (status, body), &wanted.broken);
    }
    let lines = body.as_array().filter(|_| status == wanted.status);
    let Some(lines) = lines.filter(|lines| lines.len() == wanted.lines.len()) else {
        let numbers: Vec<usize> = wanted.lines.iter().map(|(number, _)| *number).collect();
        let wanted = json!({"status": wanted.status, "lines": numbers});
        return Some((wanted, json!({"status": status, "body": body})));
    };
    wanted.lines.iter().zip(lines).find_map(|((number, wanted), line)| {
        let (status, body) = (&line["status"], &line["body"]);
        if *line != json!({"line": number, "status": status, "body": body}) {
            let wanted = json!({"line": number, "status": wanted.status, "body": wanted.body});
            return Some((wanted, line.clone()));
        }
        let status = status.as_u64().and_then(|status| u16::try_from(status).ok());
        of_answer(wanted, (status.unwrap_or_default(), body.clone()))
    })
}

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
        let is_known = pointer.is_some_and(|pointer| broken.contains(pointer));
        is_known && *error == json!({"pointer": pointer, "expected": SOME})
    };
    let told = told.as_array();
    told.is_some_and(|told| !told.is_empty() && told.iter().all(is_broken))
}

/// Makes one of all words that are open, and brings the rest into one form.
fn normalize(name: &str, value: &mut Value) {
    let is_filled = match &*value {
        Value::String(text) => name != "story" && !text.is_empty(),
        Value::Array(items) => name == "story" && !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    if is_filled && OPEN.contains(&name) {
        *value = json!(SOME);
        return;
    }
    match value {
        Value::Object(members) => {
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
