//! What portal and billing system are answered.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Name, Problem, Recipient};
use crate::domain::delivery::Shown;
use crate::domain::named;

named! {
    /// How a request was accepted.
    pub enum Acceptance {
        Applied = "applied",
        Duplicate = "duplicate",
        Stale = "stale",
        Parked = "parked",
        Stored = "stored",
    }
}

/// The answer to an event of an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountAnswer {
    pub result: Name<Acceptance>,
    pub account: String,
    pub version: u64,
    pub recipient: Recipient,
    pub warnings: Vec<Warning>,
    pub in_flight: Vec<String>,
}

/// The answer to `invoice.issued`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InvoiceAnswer {
    pub result: Name<Acceptance>,
    pub account: String,
    pub number: String,
    pub state: Name<Shown>,
    pub release_at: Option<DateTime<Utc>>,
    pub recipient: Option<Recipient>,
    pub warnings: Vec<Warning>,
}

/// The answer to `invoice.withdrawn`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WithdrawalAnswer {
    pub result: Name<Acceptance>,
    pub account: String,
    pub number: String,
    pub state: Name<Shown>,
    pub warnings: Vec<Warning>,
}

/// What the sender should know; nothing was refused for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Warning {
    pub code: Name<WarningCode>,
    pub field: String,
    pub detail: String,
}

named! {
    pub enum WarningCode {
        LanguageWithoutTemplate = "language_without_template",
        UnknownSchedule = "unknown_schedule",
        BillingContactRemoved = "billing_contact_removed",
        BillingContactLeftGroup = "billing_contact_left_group",
        SubUserUnknown = "sub_user_unknown",
    }
}

/// What became of a line of a batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LineAnswer {
    pub line: usize,
    pub status: u16,
    pub body: LineBody,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum LineBody {
    Accepted(Box<AccountAnswer>),
    Refused(Box<Problem>),
}

/// The answer to a document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DocumentAnswer {
    pub sha256: String,
    pub bytes: usize,
    pub result: Name<Acceptance>,
}
