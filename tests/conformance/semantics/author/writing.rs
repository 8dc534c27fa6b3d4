//! How the same event may be written: JSON leaves blanks, the order of members and escapes to whoever writes it.

use serde_json::Value;

use super::Author;

/// Characters that stand in no escape that `serde_json` writes.
const ESCAPED: [char; 4] = ['e', 'ä', '/', '1'];

impl Author {
    /// One of four in another way than the others.
    pub(super) fn written(&mut self, event: &Value, on_one_line: bool) -> Vec<u8> {
        let escaped = self.one_of(&ESCAPED);
        match self.rng.u32(..16) {
            0 if !on_one_line => format!("{event:#}"),
            0 | 1 => backwards(event),
            2 => escape(&backwards(event), escaped),
            3 => escape(&event.to_string(), escaped),
            _ => event.to_string(),
        }
        .into_bytes()
    }
}

/// With the members of each object the other way round, so that the type comes first.
fn backwards(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().rev();
            let members = members.map(|(name, value)| {
                format!("{}: {}", Value::from(name.as_str()), backwards(value))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(backwards).collect::<Vec<_>>().join(", "))
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
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
