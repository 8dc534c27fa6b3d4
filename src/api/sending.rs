//! Whether the daemon sends: dispatch, pauses and readiness.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Acceptance, Invoice, Name, Recipient};
use crate::domain::audit::PausedScope;
use crate::domain::named;

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Paused {
    pub scope: Name<PausedScope>,
    pub reason: String,
    pub by: String,
    pub since: DateTime<Utc>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct PauseRequest {
    pub account: Option<String>,
    pub removal: bool,
    pub reason: Option<String>,
}

/// The answer to `pause`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PauseAnswer {
    pub result: Name<Acceptance>,
    pub account: Option<String>,
    pub removal: bool,
    pub paused: bool,
    pub in_force: Option<Paused>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ResumeRequest {
    #[serde(flatten)]
    pub scope: PauseRequest,
    pub forget_rejections: bool,
}

/// The answer to `resume`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ResumeAnswer {
    #[serde(flatten)]
    pub now: PauseAnswer,
    pub ended: Option<Paused>,
    pub rejections_forgotten: Option<usize>,
}

#[derive(Debug, Clone, Serialize)]
pub struct DispatchRequest {
    pub dry_run: bool,
    pub schedule: Option<String>,
    pub account: Option<String>,
    pub reason: Option<String>,
}

/// The answer to `dispatch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Dispatched {
    pub dry_run: bool,
    pub instant: DateTime<Utc>,
    pub runs: Vec<Run>,
    pub paused: Option<Paused>,
}

/// What was released, of a schedule or an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Run {
    pub schedule: Option<String>,
    pub account: Option<String>,
    pub opened: bool,
    pub waiting: bool,
}

/// The answer to `dispatch` with `dry_run`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DryRun {
    pub dry_run: bool,
    pub items: Vec<Planned>,
    pub complete: bool,
    pub paused: Option<Paused>,
}

/// What an account would get.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Planned {
    pub account: String,
    pub recipient: Recipient,
    pub paused: Option<Paused>,
    pub invoices: Vec<Invoice>,
}

/// `GET /livez`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Liveness {
    pub status: Name<Status>,
}

/// `GET /readyz`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Readiness {
    pub status: Name<Status>,
    pub failing: Vec<FailedCheck>,
    pub paused: Option<Paused>,
    pub removal_paused: Option<Paused>,
    pub relay: Relay,
}

named! {
    /// The answer to a probe.
    pub enum Status {
        Live = "live",
        Ready = "ready",
        NotReady = "not_ready",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FailedCheck {
    pub check: String,
    pub detail: String,
}

/// How the relay fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Relay {
    /// Nothing was sent since the start.
    #[default]
    Untried,
    /// It answered last time.
    Up,
    /// It failed, and nothing is sent until it answers.
    Down {
        since: DateTime<Utc>,
        /// What it said last, without addresses.
        cause: String,
    },
}
