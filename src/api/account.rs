//! Accounts with their contacts, and who gets their invoices.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Name, Paused};
use crate::domain::recipient::{Rule, TargetKind};

/// Who gets the invoices, and why; everywhere the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Recipient {
    pub kind: Name<TargetKind>,
    pub sub_user: Option<String>,
    pub name: Option<String>,
    pub company: Option<String>,
    pub addresses: Vec<String>,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reason {
    pub rule: Name<Rule>,
    pub account_version: u64,
    pub since: DateTime<Utc>,
}

/// `GET /v1/accounts/{account}/recipient`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountRecipient {
    pub account: String,
    pub version: u64,
    pub recipient: Recipient,
    pub paused: Option<Paused>,
}

/// `GET /v1/accounts`, of [`Account`] or, with `view=version`, of [`AccountVersion`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountPage<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
    pub total: u64,
    pub damaged: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountVersion {
    pub account: String,
    pub version: u64,
    pub changed_at: DateTime<Utc>,
    pub closed: bool,
}

/// `GET /v1/accounts/{account}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Account {
    pub account: String,
    pub version: u64,
    pub changed_at: DateTime<Utc>,
    pub closed: bool,
    pub name: Option<String>,
    pub language: Option<String>,
    pub schedule: String,
    pub main_contact: MainContact,
    pub sub_users: Vec<SubUser>,
    pub billing_contact: Option<String>,
    pub recipient: Recipient,
    pub suppressions: Vec<Suppression>,
    pub paused: Option<Paused>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MainContact {
    #[serde(flatten)]
    pub contact: Contact,
    pub active: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SubUser {
    pub id: String,
    pub group: String,
    pub selectable: bool,
    pub active: bool,
    pub contact: Contact,
    pub login: Option<Login>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Contact {
    pub name: String,
    pub company: Option<String>,
    pub language: Option<String>,
    pub addresses: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Login {
    pub enabled: bool,
    pub user_name: Option<String>,
    pub permissions: Vec<String>,
}

/// An address that the relay said does not exist.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Suppression {
    pub address: String,
    pub since: DateTime<Utc>,
    pub account_version: u64,
    pub reply: String,
}
