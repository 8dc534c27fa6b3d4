//! Invoices: listed, with all that happened to one, and what is left of one.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::{Acceptance, HistoryItem, Name, Paused, Recipient};
use crate::domain::delivery::{AddressState, Outcome, Shown, Stage};
use crate::domain::invoice::{KindName, Release};

/// What the billing system handed over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Invoice {
    pub account: String,
    pub number: String,
    pub kind: Name<KindName>,
    pub issued_on: NaiveDate,
    pub due_on: Option<NaiveDate>,
    pub total: Money,
    pub release: Name<Release>,
    pub refers_to: Option<String>,
    pub min_account_version: Option<u64>,
    pub portal_url: Option<String>,
    pub documents: Vec<Document>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Money {
    pub amount: String,
    pub currency: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Document {
    pub sha256: String,
    pub file_name: String,
    pub media_type: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListedInvoice {
    #[serde(flatten)]
    pub invoice: Invoice,
    pub state: Name<Shown>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub held_reason: Option<String>,
    pub held_by: Option<String>,
    pub changed_at: DateTime<Utc>,
}

/// `GET /v1/invoices`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InvoicePage {
    pub items: Vec<ListedInvoice>,
    pub next_cursor: Option<String>,
    pub damaged: u64,
    pub paused: Option<Paused>,
}

/// `GET /v1/accounts/{account}/invoices/{number}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InvoiceView {
    Whole(Box<WholeInvoice>),
    Removed(RemovedInvoice),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WholeInvoice {
    #[serde(flatten)]
    pub invoice: Invoice,
    pub state: Name<Shown>,
    pub revision: u32,
    pub received_at: DateTime<Utc>,
    pub schedule: Option<String>,
    pub release_at: Option<DateTime<Utc>>,
    pub recipient: Option<Recipient>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub held_reason: Option<String>,
    pub held_by: Option<String>,
    pub paused: Option<Paused>,
    pub addresses: Vec<AddressDelivery>,
    pub earlier_attempts: Vec<EarlierAttempt>,
    pub story: Vec<HistoryItem>,
}

/// What is left of an invoice once retention has removed it, or if it was withdrawn before it was issued.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RemovedInvoice {
    pub account: String,
    pub number: String,
    pub state: Name<Shown>,
    pub recipient: (),
    pub next_attempt_at: (),
    pub held_reason: (),
    pub held_by: (),
    pub paused: (),
    pub addresses: [(); 0],
    pub story: [(); 0],
    pub tombstone_since: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AddressDelivery {
    pub address: String,
    pub state: Name<AddressState>,
    pub message_id: Option<String>,
    pub attempts: Vec<Attempt>,
    pub under_way_since: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attempt {
    pub number: u32,
    pub started_at: DateTime<Utc>,
    pub stage: Name<Stage>,
    pub reply: Option<Reply>,
    pub cause: Option<String>,
    pub outcome: Name<Outcome>,
    pub message: Message,
}

/// A relay's reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reply {
    pub code: u16,
    pub enhanced: Option<String>,
    pub text: String,
}

/// The exact bytes that were sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Message {
    pub sha256: String,
    pub bytes: u64,
}

/// An attempt of a revision that was replaced.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EarlierAttempt {
    #[serde(flatten)]
    pub attempt: Attempt,
    pub revision: u32,
    pub address: String,
    pub message_id: String,
}

/// The answer to `hold`, `release`, `resend` and `withdraw`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OperationAnswer {
    pub result: Name<Acceptance>,
    pub account: String,
    pub number: String,
    pub state: Name<Shown>,
}

/// Asks for `hold` or `withdraw`.
#[derive(Debug, Clone, Serialize)]
pub struct ReasonRequest {
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ReleaseRequest {
    pub now: bool,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ResendRequest {
    pub revision: u32,
    pub reason: Option<String>,
}
