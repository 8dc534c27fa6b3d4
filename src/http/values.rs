//! How values are written on the wire, wherever they occur.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};

use super::fields::{Fields, Noted};
use crate::domain::Invalid;
use crate::domain::id::{AccountId, InvoiceNumber};

/// RFC 3339 with any offset, to UTC in whole milliseconds, which is what the store keeps.
pub(super) fn instant(raw: &str) -> Result<DateTime<Utc>, Invalid> {
    let invalid = || Invalid::expected("an instant of RFC 3339 such as 2026-11-23T08:00:00Z");
    // chrono takes a blank for the T, and a minus sign that is none of ASCII.
    let has_form = raw.is_ascii() && raw.as_bytes().get(10).is_some_and(|b| b"Tt".contains(b));
    let parsed = DateTime::parse_from_rfc3339(raw).map_err(|_| invalid())?;
    DateTime::from_timestamp_millis(parsed.timestamp_millis())
        // In UTC, in which it is shown again, a year has four digits, too.
        .filter(|at| has_form && parsed.year() > 0 && at.year() <= 9999)
        .ok_or_else(invalid)
}

/// `2026-11-30` and nothing else.
pub(super) fn date(raw: &str) -> Result<NaiveDate, Invalid> {
    let has_form = raw.len() == 10
        && raw.bytes().enumerate().all(|(at, b)| match at {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    has_form
        .then(|| NaiveDate::parse_from_str(raw, "%Y-%m-%d").ok())
        .flatten()
        .ok_or_else(|| Invalid::expected("a date such as 2026-11-30"))
}

pub(super) fn account_id(data: &Fields<'_>) -> Result<AccountId, Noted> {
    data.required("account")?.parse(|raw| AccountId::parse(raw))
}

pub(super) fn invoice_number(data: &Fields<'_>) -> Result<InvoiceNumber, Noted> {
    data.required("number")?.parse(|raw| InvoiceNumber::parse(raw))
}
