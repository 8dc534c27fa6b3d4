//! Version 1 of every record.
//!
//! Nothing here may change once data exist: neither the order or type of a field nor the order of an
//! enum's variants, since `postcard` writes fields by place and variants by number. The golden bytes
//! in the tests hold this fast. Times are milliseconds since the epoch, days are days since it.

mod account;
mod delivery;
mod invoice;
mod ledger;

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use super::Malformed;
use crate::domain::Invalid;
use crate::domain::id::Version;

/// A form for a domain enum without data, with conversions both ways. Its variants are numbered in
/// the order given here, which is never to change; new ones are added at the end.
macro_rules! numbered {
    ($form:ident = $domain:ident { $($variant:ident),+ $(,)? }) => {
        #[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
        pub(in crate::store::record) enum $form {
            $($variant),+
        }

        impl From<$domain> for $form {
            fn from(value: $domain) -> Self {
                match value {
                    $($domain::$variant => Self::$variant),+
                }
            }
        }

        impl From<$form> for $domain {
            fn from(form: $form) -> Self {
                match form {
                    $($form::$variant => Self::$variant),+
                }
            }
        }
    };
}
use numbered;

/// Names the field in which a rule of the domain was broken. The rule is told, the value is not.
fn field<T>(name: &str, checked: Result<T, Invalid>) -> Result<T, Malformed> {
    checked.map_err(|invalid| Malformed(format!("{name}: {invalid}")))
}

fn time(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

fn read_time(name: &str, millis: i64) -> Result<DateTime<Utc>, Malformed> {
    DateTime::from_timestamp_millis(millis)
        .ok_or_else(|| Malformed(format!("{name}: expected a time")))
}

fn read_optional_time(name: &str, millis: Option<i64>) -> Result<Option<DateTime<Utc>>, Malformed> {
    millis.map(|millis| read_time(name, millis)).transpose()
}

fn day(day: NaiveDate) -> i32 {
    day.to_epoch_days()
}

fn read_day(name: &str, days: i32) -> Result<NaiveDate, Malformed> {
    NaiveDate::from_epoch_days(days).ok_or_else(|| Malformed(format!("{name}: expected a day")))
}

/// Whole milliseconds; what does not fit is 584 million years.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the version that something was seen at, which is 0 if the account was not known.
fn read_version_seen(name: &str, version: u64) -> Result<Version, Malformed> {
    if version == Version::UNKNOWN.get() {
        return Ok(Version::UNKNOWN);
    }
    field(name, Version::parse(version))
}
