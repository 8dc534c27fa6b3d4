//! What happened, who did it and why.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Attempt, Name};
use crate::domain::audit::{Effect, PausedScope};
use crate::domain::delivery::{HoldKind, Shown};
use crate::domain::invoice::Release;
use crate::domain::named;
use crate::domain::recipient::{Rule, TargetKind};

/// One item of an invoice's history.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryItem {
    pub at: DateTime<Utc>,
    pub actor: String,
    pub by: Actor,
    pub what: String,
    pub event: AuditEvent,
    pub reason: Option<String>,
}

/// One item of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditItem {
    pub position: String,
    #[serde(flatten)]
    pub item: HistoryItem,
    pub account: Option<String>,
    pub number: Option<String>,
}

/// `GET /v1/audit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditPage {
    pub items: Vec<AuditItem>,
    pub next_cursor: Option<String>,
}

/// Who did something.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    Sender {
        name: String,
        webhook_id: String,
    },
    Operator {
        name: String,
    },
    Schedule {
        name: String,
    },
    Daemon,
    /// Of a newer daemon.
    #[serde(other)]
    #[cfg_attr(test, schemars(skip))]
    Unknown,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AuditEvent {
    AccountChanged {
        change: Name<AccountChange>,
        sub_user: Option<String>,
        group: Option<String>,
        closed: Option<bool>,
        version: u64,
        replaced_version: Option<u64>,
        deselected: bool,
        recipient: AuditRecipient,
        suppressions_cleared: u64,
    },
    SuppressionsCleared {
        count: u64,
    },
    WithdrawnBeforeIssue {
        number: String,
    },
    Issued {
        release: Name<Release>,
        state: Name<Shown>,
    },
    Freed {
        account_version: u64,
        held: bool,
    },
    Retried {
        held: bool,
    },
    Held {
        hold: Name<HoldKind>,
        cause: Option<String>,
        effect: Name<Effect>,
        state: Name<Shown>,
    },
    Released {
        now: bool,
        effect: Name<Effect>,
        state: Name<Shown>,
        suppressions_cleared: u64,
    },
    Withdrawn {
        effect: Name<Effect>,
        state: Name<Shown>,
    },
    Resent {
        revision: u32,
        state: Name<Shown>,
        suppressions_cleared: u64,
    },
    RecipientResolved {
        recipient: AuditRecipient,
    },
    AttemptEnded {
        revision: u32,
        address: u64,
        addresses: u64,
        #[serde(flatten)]
        attempt: Attempt,
        consequence: Option<Consequence>,
    },
    NothingToSend {
        state: Name<Shown>,
        rule: Name<Rule>,
        hold: Option<Name<HoldKind>>,
        superseded: u64,
    },
    RunOpened {
        schedule: Option<String>,
    },
    ReleasedByRun {
        schedule: Option<String>,
    },
    Paused {
        scope: Name<PausedScope>,
    },
    PauseReasonAdded {
        scope: Name<PausedScope>,
    },
    Resumed {
        scope: Name<PausedScope>,
        paused_for: Vec<PausedFor>,
    },
    /// Of a newer daemon.
    #[serde(other)]
    #[cfg_attr(test, schemars(skip))]
    Unknown,
}

named! {
    /// How an account was changed.
    pub enum AccountChange {
        Updated = "updated",
        Imported = "imported",
        Closed = "closed",
        SubUserSaved = "sub_user_saved",
        SubUserRemoved = "sub_user_removed",
        BillingContactSelected = "billing_contact_selected",
    }
}

/// Who gets invoices, and which rule says so.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditRecipient {
    pub kind: Name<TargetKind>,
    pub sub_user: Option<String>,
    pub rule: Name<Rule>,
}

/// A reason for a pause that ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PausedFor {
    pub by: Actor,
    pub reason: String,
}

/// What the end of an attempt means for the invoice.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Consequence {
    Held {
        hold: Name<HoldKind>,
    },
    Delivered {
        accepted: u64,
        of: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        withdrawal_stopped: Option<u64>,
    },
    EarlierRevisionDelivered,
    Undeliverable,
    Withdrawn,
    AddressSuppressed,
    /// Of a newer daemon.
    #[serde(other)]
    #[cfg_attr(test, schemars(skip))]
    Unknown,
}
