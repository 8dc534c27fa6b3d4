//! What happened, who did it and why.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One item of an invoice's history.
///
/// Commands show its sentence; its data are for programs, and go through them as they came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryItem {
    pub at: DateTime<Utc>,
    pub actor: String,
    pub by: Value,
    pub what: String,
    pub event: Value,
    pub reason: Option<String>,
}

/// One item of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditItem {
    pub position: String,
    #[serde(flatten)]
    pub item: HistoryItem,
    pub account: Option<String>,
    pub number: Option<String>,
}

/// `GET /v1/audit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditPage {
    pub items: Vec<AuditItem>,
    pub next_cursor: Option<String>,
}
