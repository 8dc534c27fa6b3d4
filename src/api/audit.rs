//! What happened, and who did it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One item of an invoice's history.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryItem {
    pub at: DateTime<Utc>,
    pub actor: String,
    pub what: String,
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
