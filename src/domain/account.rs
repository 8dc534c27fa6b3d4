//! An account: its main contact, its sub-users, and the one of them that is selected.
//!
//! "At most one active billing contact" is one optional field. Only [`super::change`] alters an
//! account; [`Account::restore`] takes one back from the store.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::Invalid;
use super::address::HeaderText;
use super::contact::{Contact, Language};
use super::id::{AccountId, Group, ScheduleName, SubUserId, Version};
use super::reason::Reason;

/// Most sub-users of an account.
pub const SUB_USERS: usize = 100;

/// The user groups whose members may be selected, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingGroups(BTreeSet<Group>);

impl BillingGroups {
    /// At least one group.
    pub fn new(groups: impl IntoIterator<Item = Group>) -> Result<Self, Invalid> {
        let groups: BTreeSet<Group> = groups.into_iter().collect();
        if groups.is_empty() {
            return Err(Invalid::expected("at least one billing group"));
        }
        Ok(Self(groups))
    }

    /// Whether members of `group` may be selected.
    #[must_use]
    pub fn contains(&self, group: &Group) -> bool {
        self.0.contains(group)
    }
}

/// A further contact of an account, in one user group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubUser {
    /// Decides whether it may be selected.
    pub group: Group,
    /// Its own data; a copy does not follow its source.
    pub contact: Contact,
    /// Its portal login, stored and shown, never acted upon.
    pub login: Option<Login>,
}

/// A portal login. Passwords stay in the portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    enabled: bool,
    user_name: Option<HeaderText>,
    permissions: Vec<HeaderText>,
}

/// Most permissions of a login.
const PERMISSIONS: usize = 100;

impl Login {
    /// An enabled login needs a user name.
    pub fn new(
        enabled: bool,
        user_name: Option<HeaderText>,
        permissions: Vec<HeaderText>,
    ) -> Result<Self, Invalid> {
        if enabled && user_name.is_none() {
            return Err(Invalid::expected("a user name, since the login is enabled"));
        }
        if permissions.len() > PERMISSIONS {
            return Err(Invalid::expected(format!("at most {PERMISSIONS} permissions")));
        }
        Ok(Self { enabled, user_name, permissions })
    }

    /// Whether the portal lets it in.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Its user name in the portal.
    #[must_use]
    pub fn user_name(&self) -> Option<&HeaderText> {
        self.user_name.as_ref()
    }

    /// What it may do in the portal.
    #[must_use]
    pub fn permissions(&self) -> &[HeaderText] {
        &self.permissions
    }
}

/// What the portal says of an account in a whole `account.updated`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The customer's name.
    pub name: Option<HeaderText>,
    /// The language of mails to contacts that have none of their own.
    pub language: Option<Language>,
    /// The schedule that releases its invoices; `default` if none.
    pub schedule: Option<ScheduleName>,
    /// Gets the invoices unless a billing contact is selected.
    pub main_contact: Contact,
    /// The further contacts, a set by id.
    pub sub_users: BTreeMap<SubUserId, SubUser>,
    /// The selected sub-user.
    pub billing_contact: Option<SubUserId>,
}

/// A customer as of one version. Valid by construction: a selection names one of its sub-users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(AccountParts);

/// The parts of an [`Account`], for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountParts {
    /// Chosen by the portal.
    pub id: AccountId,
    /// The version of the last applied change.
    pub version: Version,
    /// The event time-stamp of the last applied change.
    pub changed_at: DateTime<Utc>,
    /// See [`Account::closed`].
    pub closed: bool,
    /// Why the recipient is who it is.
    pub reason: Reason,
    /// All the rest.
    pub profile: Profile,
}

impl Account {
    /// For [`super::change`], whose rules keep it valid.
    pub(super) fn changed(parts: AccountParts) -> Self {
        Self(parts)
    }

    /// Takes back a stored account. Group membership is not judged again: the stored selection is the
    /// authority, so that a typo in the configuration cannot reroute mail.
    pub fn restore(parts: AccountParts) -> Result<Self, Invalid> {
        if let Some(selected) = &parts.profile.billing_contact
            && !parts.profile.sub_users.contains_key(selected)
        {
            return Err(Invalid::expected("a selected sub-user of this account"));
        }
        Ok(Self(parts))
    }

    /// The parts, to be stored.
    #[must_use]
    pub fn into_parts(self) -> AccountParts {
        self.0
    }

    /// Chosen by the portal.
    #[must_use]
    pub fn id(&self) -> &AccountId {
        &self.0.id
    }

    /// The version of the last applied change.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// The event time-stamp of the last applied change.
    #[must_use]
    pub fn changed_at(&self) -> DateTime<Utc> {
        self.0.changed_at
    }

    /// A flag of the portal's; invoices are still accepted and sent.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.0.closed
    }

    /// Why the selection is what it is, and since when.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Contacts, selection and settings.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// The schedule that releases its invoices.
    #[must_use]
    pub fn schedule(&self) -> ScheduleName {
        self.0.profile.schedule.clone().unwrap_or_default()
    }

    /// The one active billing contact, if a sub-user is selected.
    #[must_use]
    pub fn billing_contact(&self) -> Option<(&SubUserId, &SubUser)> {
        let selected = self.0.profile.billing_contact.as_ref()?;
        self.0.profile.sub_users.get_key_value(selected)
    }
}
