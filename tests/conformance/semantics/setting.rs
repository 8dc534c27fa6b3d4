//! What the daemon is configured to, which daemon and model must agree about.

use chrono::{DateTime, TimeDelta, Utc};

pub(crate) const BILLING_GROUPS: [&str; 2] = ["Rechnungen", "billing"];
pub(crate) const LANGUAGES: [&str; 2] = ["de", "en"];
pub(crate) const SCHEDULES: [&str; 2] = ["default", "monthly"];
pub(crate) const WEBHOOK_ID_DAYS: u32 = 7;

/// Somebody who sends events. What one may and what secret one has is known here and to the daemon alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Portal,
    Billing,
    /// A house whose portal writes the invoices, too.
    Both,
    /// Nobody knows this secret.
    Stranger,
}

impl Sender {
    pub(crate) const KNOWN: [Self; 3] = [Self::Portal, Self::Billing, Self::Both];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portal => "portal",
            Self::Billing => "billing",
            Self::Both => "both",
            Self::Stranger => "stranger",
        }
    }

    pub(crate) fn secret(self) -> &'static str {
        match self {
            Self::Portal => "whsec_cG9ydGFsIHBvcnRhbCBwb3J0YWwgcG9ydGFsIDAx",
            Self::Billing => "whsec_YmlsbGluZyBiaWxsaW5nIGJpbGxpbmcgYmlsbGluZyE=",
            Self::Both => "whsec_Ym90aCBib3RoIGJvdGggYm90aCBib3RoIGJvdGg=",
            Self::Stranger => "whsec_c3RyYW5nZXIgc3RyYW5nZXIgc3RyYW5nZXIgc3RyYQ==",
        }
    }

    pub(crate) fn may_push_accounts(self) -> bool {
        matches!(self, Self::Portal | Self::Both)
    }

    pub(crate) fn may_hand_over_invoices(self) -> bool {
        matches!(self, Self::Billing | Self::Both)
    }
}

/// When the first event of a sequence may come.
pub(crate) fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_420_800, 0).unwrap_or_default()
}

/// When a schedule fires after `now`.
pub(crate) fn next_release(schedule: &str, now: DateTime<Utc>) -> DateTime<Utc> {
    let hours = if schedule == "monthly" { 720 } else { 1 };
    now + TimeDelta::hours(hours)
}
