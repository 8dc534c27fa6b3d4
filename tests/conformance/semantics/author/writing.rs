//! How the same event may be written: JSON leaves blanks, the order of members and escapes to whoever writes it.

use serde_json::Value;

use super::Author;

/// Members in the order of the contract; others come last.
const ORDER: [&str; 36] = [
    "type",
    "timestamp",
    "data",
    "account",
    "version",
    "number",
    "kind",
    "issued_on",
    "due_on",
    "total",
    "amount",
    "currency",
    "release",
    "min_account_version",
    "refers_to",
    "documents",
    "sha256",
    "file_name",
    "media_type",
    "portal_url",
    "id",
    "group",
    "name",
    "company",
    "language",
    "schedule",
    "main_contact",
    "addresses",
    "sub_users",
    "contact",
    "copy_from",
    "login",
    "enabled",
    "user_name",
    "permissions",
    "billing_contact",
];
/// Characters that stand in no escape that `serde_json` writes.
const ESCAPED: [char; 4] = ['e', 'ä', '/', '1'];

impl Author {
    /// One of four in another way than the others.
    pub(super) fn written(&mut self, event: &Value, on_one_line: bool) -> Vec<u8> {
        let escaped = self.one_of(&ESCAPED);
        match self.rng.u32(..16) {
            0 if !on_one_line => format!("{event:#}"),
            0 | 1 => in_order(event, None),
            2 => in_order(event, Some(escaped)),
            3 => escape(&event.to_string(), escaped),
            _ => event.to_string(),
        }
        .into_bytes()
    }
}

fn in_order(value: &Value, escaped: Option<char>) -> String {
    let text = |text: &str| {
        let quoted = Value::from(text).to_string();
        escaped.map_or(quoted.clone(), |escaped| escape(&quoted, escaped))
    };
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            let rank = |name: &str| ORDER.iter().position(|known| *known == name);
            members.sort_by_key(|(name, _)| rank(name).unwrap_or(ORDER.len()));
            let members: Vec<String> = members
                .into_iter()
                .map(|(name, value)| format!("{}: {}", text(name), in_order(value, escaped)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| in_order(item, escaped));
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        Value::String(string) => text(string),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// JSON with one character of its strings said by its number.
fn escape(json: &str, escaped: char) -> String {
    let said = format!("\\u{:04x}", u32::from(escaped));
    let mut in_string = false;
    let mut after_backslash = false;
    let mut out = String::new();
    for c in json.chars() {
        if in_string && !after_backslash && c == escaped {
            out.push_str(&said);
        } else {
            out.push(c);
        }
        in_string ^= c == '"' && !after_backslash;
        after_backslash = in_string && c == '\\' && !after_backslash;
    }
    out
}
