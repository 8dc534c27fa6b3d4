//! How the check names what it looks at.

use super::super::keys::{self, Object, kind};
use crate::domain::address::masked;
use crate::domain::id::Digest;

/// Names a key: its kind, and its number or what text there is in it, without addresses.
pub(super) fn place(key: &[u8]) -> String {
    let Some((kind, rest)) = key.split_first() else {
        return "a key".to_owned();
    };
    let text = || {
        let texts: Vec<String> = rest
            .split(|byte| *byte == 0)
            .filter_map(|text| std::str::from_utf8(text).ok())
            .filter(|text| !text.is_empty() && !text.chars().any(char::is_control))
            .map(|text| masked(text).into_owned())
            .collect();
        texts.join(" ")
    };
    let number = || {
        let number = rest.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        number.map_or_else(String::new, |number| number.to_string())
    };
    let (what, which) = match *kind {
        kind::ACCOUNT => ("account", text()),
        kind::IDENTITY => ("number", text()),
        kind::INVOICE => ("invoice", number()),
        kind::DELIVERY => ("delivery", number()),
        kind::RECIPIENT => ("recipient of delivery", number()),
        kind::ATTEMPT => ("attempt at delivery", number()),
        kind::INTENT => ("intent of delivery", number()),
        kind::SCHEDULED => ("schedule of account", text()),
        kind::PENDING => ("a pending invoice of account", text()),
        kind::DUE => ("what is due", String::new()),
        kind::FREEING => ("what is being freed of account", text()),
        kind::PURGING => ("the remains of invoice", number()),
        kind::RUN => ("run", text()),
        kind::IDEMPOTENCY => ("remembered webhook-id", String::new()),
        kind::SUPPRESSION => ("rejected address of account", text()),
        kind::PAUSE => ("pause", text()),
        kind::DOCUMENT => {
            let digest = rest.first_chunk::<32>().map(|bytes| Digest::from_bytes(*bytes));
            ("document", digest.map_or_else(String::new, |digest| digest.to_string()))
        }
        kind::ENTRY => ("entry", entry_of(rest)),
        kind::CHAIN => ("link of the hash chain", number()),
        kind::COUNTER => ("counter", text()),
        kind::CONTINUED => return format!("part of {}", place(rest)),
        _ => ("kind", format!("{kind:#04x}")),
    };
    format!("{what} {which}").trim_end().to_owned()
}

fn entry_of(rest: &[u8]) -> String {
    let prefix = |object: &Object| keys::entries(object)[1..].to_vec();
    match rest.split_first() {
        Some((b'a', account)) => {
            let account = account.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("of account {}", masked(&String::from_utf8_lossy(account)))
        }
        Some((b'i', rest)) => {
            let number = rest.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
            format!("of invoice {}", number.unwrap_or_default())
        }
        Some(_) if rest.starts_with(&prefix(&Object::Daemon)) => "of the daemon".to_owned(),
        Some(_) | None => String::new(),
    }
}
