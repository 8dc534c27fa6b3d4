//! What may be wrong about an event. Whether it is then is for the model to say: some of it is right in places.

use serde_json::{Value, json};

use super::Author;
use crate::json::escaped;

impl Author {
    /// Puts something else in the place of any value, takes it out, or adds a member.
    pub(super) fn spoil(&mut self, event: &mut Value) {
        let mut places = Vec::new();
        collect(event, "", &mut places);
        let place = places[self.rng.usize(..places.len())].clone();
        let name = place.rsplit('/').next().unwrap_or_default();
        let wrong = self.something_wrong(name);
        let (parent, _) = place.rsplit_once('/').unwrap_or_default();
        match self.rng.u32(..10) {
            0 | 1 => {
                if let Some(Value::Object(members)) = event.pointer_mut(parent) {
                    members.remove(name);
                }
            }
            2 | 3 => {
                places.retain(|place| event.pointer(place).is_some_and(Value::is_object));
                let names = ["unknown", "a/b~c", "password", "Passwort", "name", "version"];
                let name = self.one_of(&names);
                if !places.is_empty()
                    && let place = &places[self.rng.usize(..places.len())]
                    && let Some(Value::Object(members)) = event.pointer_mut(place)
                {
                    members.insert(name.to_owned(), json!("x"));
                }
            }
            4 => {
                if let Some(Value::Array(items)) = event.pointer_mut(parent)
                    && let Some(first) = items.first().cloned()
                {
                    items.push(first);
                }
            }
            _ => {
                if let Some(value) = event.pointer_mut(&place) {
                    *value = wrong;
                }
            }
        }
    }

    /// What is wrong in many places, or in those of this name.
    fn something_wrong(&mut self, name: &str) -> Value {
        if self.rng.bool() {
            let long = "ä".repeat(self.one_of(&[128, 129]));
            let anything = [
                json!(null),
                json!(7),
                json!(0),
                json!(-1),
                json!(1.5),
                json!(true),
                json!(false),
                json!([]),
                json!({}),
                json!(""),
                json!("x"),
                json!(" x"),
                json!("x "),
                json!(".."),
                json!("a\nb"),
                json!("a\u{202E}b"),
                json!(long),
            ];
            return anything[self.rng.usize(..anything.len())].clone();
        }
        if name == "version" && self.rng.bool() {
            return json!(9_007_199_254_740_992_u64);
        }
        let of_name = WRONG.iter().find(|(names, _)| names.contains(&name));
        let wrong = of_name.map_or(WRONG_ELSEWHERE, |(_, wrong)| wrong);
        json!(self.one_of(&wrong.split('|').collect::<Vec<_>>()))
    }

    pub(super) fn spoil_bytes(&mut self, body: &mut Vec<u8>) {
        match self.rng.u32(..6) {
            0 => body.truncate(body.len() / 2),
            1 => body.push(b'}'),
            2 => *body = b"[]".to_vec(),
            3 => body.insert(body.len() / 3, 0xFF),
            4 => {
                let twice = self.one_of(&[r#"{"data":{},"#, r#"{"dat\u0061":{},"#]);
                body.splice(..1, twice.bytes());
            }
            _ => body.clear(),
        }
    }
}

/// What may be wrong in places of these names.
const WRONG: [(&[&str], &str); 15] = [
    (&["type"], "account.deleted|Account.updated|invoice.issued|sub_user.removed"),
    (
        &["timestamp"],
        concat!(
            "2026-11-23|2026-11-23T08:00:00|1795420800|2026-13-01T00:00:00Z|2026-11-23 08:00:00Z|",
            "2026-11-23t08:00:00z|2026-11-23T08:00:00.5z|2026-11-23T08:00:00.Z|2026-11-23T08:00:00,5Z|",
            "2026-11-23T08:00Z|2026-11-23T08:00:00 Z|2026-11-23T08:00:00+0100|2026-11-23T08:00:00 +01:00|",
            "2026-11-23T08:00:00+01|2026-11-23T08:00:00\u{2212}01:00|2026-11-23T08:00:00-25:00|",
            "2026-11-23T24:00:00Z|2026-11- 3T08:00:00Z|+026-11-23T08:00:00Z|2026-11-23T 8:00:00Z|",
            " 2026-11-23T08:00:00Z|2026-11-23T08:00:00Z ",
        ),
    ),
    (&["version", "min_account_version"], "4|9007199254740992"),
    (&["language"], "german|d|de-|../de|DE-at|de AT"),
    (&["amount"], "1.234,56|119.001|1e2|+1|01|1.|.5|--1|1234567890123456|3.1"),
    (&["currency"], "eur|EURO|XXX|JPY|KWD"),
    (
        &["issued_on", "due_on"],
        concat!(
            "2026-2-1|2026-02-30|23.11.2026|2026-11-30|2026- 2- 1|2026-02- 1|+026-11-23|2026-11-1\u{661}|",
            "2026-11-\u{663}|2026/11/23| 2026-11-2|2026-11-23T",
        ),
    ),
    (&["release"], "now|Scheduled|immediately"),
    (&["kind"], "Rechnung|INVOICE|reminder|invoice|corrected_invoice"),
    (&["portal_url"], "http://portal.example|https://|javascript:1|https://portal.example"),
    (&["sha256"], "9f|9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F9F"),
    (&["content_base64"], "JVBERg|%%%|JVBE\nRg==|JVBERg=="),
    (&["file_name"], "../../a.pdf|a b.pdf|pdf|a.pdf.exe|b.pdf"),
    (&["media_type"], "pdf|application/|text/plain"),
    (&["refers_to", "number", "account", "schedule", "group"], "RE-1|K-1|billing|."),
];
/// In any other place.
const WRONG_ELSEWHERE: &str =
    "a@b|a@muster.example\r\nBcc: x|a b@muster.example|@muster.example|a@MUSTER.example";

/// The pointers of all values, the outermost apart.
pub(crate) fn collect(value: &Value, at: &str, places: &mut Vec<String>) {
    if !at.is_empty() {
        places.push(at.to_owned());
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                collect(value, &format!("{at}/{}", escaped(name)), places);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, &format!("{at}/{index}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
