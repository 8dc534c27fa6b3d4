//! What an event says about an account, and how it changes it.
//!
//! A change is applied whole or refused whole. Versions decide the order: a snapshot may jump ahead,
//! a delta must follow directly, so that none is skipped unnoticed.

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

use super::account::{Account, AccountParts, BillingGroups, Login, Profile, SUB_USERS, SubUser};
use super::address::HeaderText;
use super::contact::{Addresses, Contact, Language};
use super::id::{AccountId, Group, SubUserId, Version};
use super::reason::{Reason, Rule};

/// One change of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountChange {
    /// Whose.
    pub account: AccountId,
    /// The version that the account has afterwards.
    pub version: Version,
    /// When it happened in the portal.
    pub timestamp: DateTime<Utc>,
    /// What happened.
    pub kind: ChangeKind,
}

/// What happened to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// The whole account as it is now: creates, replaces, reopens.
    Updated(Profile),
    /// The whole account as written to a file, imported by an operator.
    Imported(Import),
    /// The customer left.
    Closed,
    /// A sub-user was added or changed.
    SubUserSaved {
        /// Which.
        id: SubUserId,
        /// Its group now.
        group: Group,
        /// Its contact now.
        contact: ContactChange,
        /// Its login now.
        login: Option<Login>,
    },
    /// A sub-user is gone.
    SubUserRemoved(SubUserId),
    /// The customer chose who gets the invoices; `None` is the main contact.
    BillingContactSelected(Option<SubUserId>),
}

/// An account as it was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// All of it.
    pub profile: Profile,
    /// Whether the customer had left.
    pub closed: bool,
    /// Overwrites the stored account even if the version is older, or equal with different content; used after a
    /// portal was restored from a backup.
    pub accept_version: bool,
}

/// A sub-user's contact data, whole or as a copy with differences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactChange {
    /// All of it.
    Whole(Contact),
    /// The source's fields as stored before the change, with what differs.
    Copy {
        /// Whose data.
        source: CopySource,
        /// What wins over it.
        differences: ContactDifferences,
    },
}

/// Whose contact data is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// The account's main contact.
    MainContact,
    /// Another sub-user of the account.
    SubUser(SubUserId),
}

/// Fields that win over copied ones. The outer `Option` is presence; an inner `None` clears.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContactDifferences {
    /// Another name.
    pub name: Option<HeaderText>,
    /// Another company, or none.
    pub company: Option<Option<HeaderText>>,
    /// Another language, or none.
    pub language: Option<Option<Language>>,
    /// Other addresses, replaced as a whole.
    pub addresses: Option<Addresses>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The account is another one now.
    Changed {
        /// As it is now.
        account: Box<Account>,
        /// What the portal should know.
        warnings: Vec<Warning>,
    },
    /// The version is stored already, with the same content.
    Duplicate,
    /// A newer version is stored.
    Stale,
}

/// Something the portal should know about a change that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The selected sub-user was removed; the main contact gets the invoices.
    BillingContactRemoved(SubUserId),
    /// The selected sub-user left the billing group; the main contact gets the invoices.
    BillingContactLeftGroup(SubUserId),
    /// The sub-user that was to be removed is not there.
    SubUserUnknown(SubUserId),
}

/// Why a change was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The version is stored already, with different content.
    #[error("version {current} is already stored with different content")]
    VersionConflict {
        /// In force.
        current: Version,
    },
    /// A delta that does not follow directly.
    #[error("the change does not follow version {current}")]
    VersionGap {
        /// In force; [`Version::UNKNOWN`] if the account is not known.
        current: Version,
    },
    /// An older version with a newer time-stamp: the portal was restored from a backup.
    #[error("version {current} is stored, but the time-stamp of this older version is newer")]
    VersionRegressed {
        /// In force.
        current: Version,
    },
    /// The selected sub-user is not in this account.
    #[error("sub-user {0} is not in this account")]
    UnknownBillingContact(SubUserId),
    /// The selection names a sub-user outside the billing groups.
    #[error("sub-user {id} is in group {group}, which is not a billing group")]
    NotInBillingGroup {
        /// Who was selected.
        id: SubUserId,
        /// Its group.
        group: Group,
    },
    /// The source of a copy is not in this account.
    #[error("sub-user {0}, the source of the copy, is not in this account")]
    UnknownCopySource(SubUserId),
    /// A member of a billing group has no address.
    #[error("sub-user {0} is in a billing group without an address")]
    NoAddress(SubUserId),
    /// One sub-user too many.
    #[error("more than {SUB_USERS} sub-users")]
    TooManySubUsers,
    /// More text than one account can be stored with.
    #[error("the account is larger than can be stored")]
    TooLarge,
}

/// Applies `change` to `current`, the stored account if it is known.
///
/// `now` is the time of the commit. Group membership is judged here and nowhere else.
pub fn apply(
    current: Option<&Account>,
    change: &AccountChange,
    groups: &BillingGroups,
    now: DateTime<Utc>,
) -> Result<Applied, Refused> {
    let stored = current.map_or(Version::UNKNOWN, Account::version);
    let (is_snapshot, must_follow, import) = match &change.kind {
        ChangeKind::Updated(_) => (true, false, None),
        ChangeKind::Imported(import) => (true, false, Some(import)),
        ChangeKind::Closed => (false, false, None),
        ChangeKind::SubUserSaved { .. }
        | ChangeKind::SubUserRemoved(_)
        | ChangeKind::BillingContactSelected(_) => (false, true, None),
    };
    let accept_version = import.is_some_and(|import| import.accept_version);
    if change.version < stored && !accept_version {
        // When the file of an import was written is not known: it says nothing about the portal's current versions.
        let is_newer = import.is_none()
            && current.is_some_and(|account| change.timestamp > account.changed_at());
        return if is_newer {
            Err(Refused::VersionRegressed { current: stored })
        } else {
            Ok(Applied::Stale)
        };
    }
    let repeated = change.version == stored;
    if !is_snapshot && current.is_none()
        || must_follow && !repeated && !change.version.follows(stored)
    {
        return Err(Refused::VersionGap { current: stored });
    }

    if repeated {
        // Whatever the rules of today: it broke none when it came.
        let content = change_profile(current, &change.kind, None);
        let same = content.is_ok_and(|changed| {
            current.is_some_and(|account| {
                *account.profile() == changed.profile && account.closed() == changed.closed
            })
        });
        if same {
            return Ok(Applied::Duplicate);
        }
        if !accept_version {
            return Err(Refused::VersionConflict { current: stored });
        }
    }
    let Changed { profile, closed, rule, warnings } =
        change_profile(current, &change.kind, Some(groups))?;
    let selection = (shown_rule(rule, &profile), &profile.billing_contact);
    let same = current.filter(|account| {
        let shown = shown_rule(account.reason().rule, account.profile());
        (shown, &account.profile().billing_contact) == selection
    });
    let reason = match same {
        Some(account) => Reason { rule, ..account.reason() },
        None => Reason { rule, account_version: change.version, since: now },
    };
    let account = Account::changed(AccountParts {
        id: change.account.clone(),
        version: change.version,
        changed_at: change.timestamp,
        closed,
        reason,
        profile,
    });
    Ok(Applied::Changed { account: Box::new(account), warnings })
}

/// The rule that is shown of a selection, rejections aside: where its contact has no address, that counts.
fn shown_rule(rule: Rule, profile: &Profile) -> Rule {
    let selected = profile.billing_contact.as_ref();
    let selected = selected.and_then(|id| profile.sub_users.get(id));
    let contact = selected.map_or(&profile.main_contact, |sub_user| &sub_user.contact);
    if contact.addresses.is_empty() { Rule::NoDeliverableAddress } else { rule }
}

struct Changed {
    profile: Profile,
    closed: bool,
    rule: Rule,
    warnings: Vec<Warning>,
}

/// What the change makes of the account. Without `groups`, what these forbid is not looked at.
fn change_profile(
    current: Option<&Account>,
    kind: &ChangeKind,
    groups: Option<&BillingGroups>,
) -> Result<Changed, Refused> {
    let snapshot = match kind {
        ChangeKind::Updated(profile) => Some((profile, false)),
        ChangeKind::Imported(import) => Some((&import.profile, import.closed)),
        ChangeKind::Closed
        | ChangeKind::SubUserSaved { .. }
        | ChangeKind::SubUserRemoved(_)
        | ChangeKind::BillingContactSelected(_) => None,
    };
    if let Some((profile, closed)) = snapshot {
        if let Some(groups) = groups {
            check_profile(profile, groups)?;
        }
        let rule = match (&profile.billing_contact, current) {
            (Some(_), _) => Rule::BillingContactSelected,
            // A snapshot that still selects no sub-user does not undo why none is selected.
            (None, Some(account)) if account.profile().billing_contact.is_none() => {
                account.reason().rule
            }
            (None, _) => Rule::NoBillingContact,
        };
        return Ok(Changed { profile: profile.clone(), closed, rule, warnings: Vec::new() });
    }

    let current = current.ok_or(Refused::VersionGap { current: Version::UNKNOWN })?;
    let AccountParts { id: _, version: _, changed_at: _, mut closed, reason, mut profile } =
        current.clone().into_parts();
    let mut rule = reason.rule;
    let mut warnings = Vec::new();
    match kind {
        ChangeKind::Updated(_) | ChangeKind::Imported(_) => {}
        ChangeKind::Closed => closed = true,
        ChangeKind::SubUserSaved { id, group, contact, login } => {
            let contact = match contact {
                ContactChange::Whole(contact) => contact.clone(),
                ContactChange::Copy { source, differences } => copy(&profile, source, differences)?,
            };
            let sub_user = SubUser { group: group.clone(), contact, login: login.clone() };
            if save(&mut profile, id, sub_user, groups)? {
                rule = Rule::BillingContactLeftGroup;
                warnings.push(Warning::BillingContactLeftGroup(id.clone()));
            }
        }
        ChangeKind::SubUserRemoved(id) => {
            if profile.sub_users.remove(id).is_none() {
                warnings.push(Warning::SubUserUnknown(id.clone()));
            }
            if profile.billing_contact.as_ref() == Some(id) {
                profile.billing_contact = None;
                rule = Rule::BillingContactRemoved;
                warnings.push(Warning::BillingContactRemoved(id.clone()));
            }
        }
        ChangeKind::BillingContactSelected(selected) => {
            if let (Some(id), Some(groups)) = (selected, groups) {
                check_selection(&profile, id, groups)?;
            }
            rule = match selected {
                Some(_) => Rule::BillingContactSelected,
                None => Rule::NoBillingContact,
            };
            profile.billing_contact.clone_from(selected);
        }
    }
    Ok(Changed { profile, closed, rule, warnings })
}

/// Puts a sub-user in. One that leaves the billing groups is no longer selected; says whether that is so.
fn save(
    profile: &mut Profile,
    id: &SubUserId,
    sub_user: SubUser,
    groups: Option<&BillingGroups>,
) -> Result<bool, Refused> {
    let before = profile.sub_users.get(id).map(|before| &before.group);
    let is_selected = profile.billing_contact.as_ref() == Some(id);
    // One that stays where it is keeps its selection, also if that is no billing group by today's configuration: a
    // typo in it must not reroute mail.
    let stays_selected = is_selected && before == Some(&sub_user.group);
    let mut loses_selection = false;
    if let Some(groups) = groups
        && (groups.contains(&sub_user.group) || stays_selected)
    {
        check_member(id, &sub_user)?;
    } else if is_selected && !stays_selected {
        profile.billing_contact = None;
        loses_selection = true;
    }
    profile.sub_users.insert(id.clone(), sub_user);
    if profile.sub_users.len() > SUB_USERS {
        return Err(Refused::TooManySubUsers);
    }
    Ok(loses_selection)
}

fn check_profile(profile: &Profile, groups: &BillingGroups) -> Result<(), Refused> {
    if profile.sub_users.len() > SUB_USERS {
        return Err(Refused::TooManySubUsers);
    }
    for (id, sub_user) in &profile.sub_users {
        if groups.contains(&sub_user.group) {
            check_member(id, sub_user)?;
        }
    }
    match &profile.billing_contact {
        Some(id) => check_selection(profile, id, groups),
        None => Ok(()),
    }
}

fn check_member(id: &SubUserId, sub_user: &SubUser) -> Result<(), Refused> {
    if sub_user.contact.addresses.is_empty() {
        return Err(Refused::NoAddress(id.clone()));
    }
    Ok(())
}

fn check_selection(
    profile: &Profile,
    id: &SubUserId,
    groups: &BillingGroups,
) -> Result<(), Refused> {
    let sub_user =
        profile.sub_users.get(id).ok_or_else(|| Refused::UnknownBillingContact(id.clone()))?;
    if !groups.contains(&sub_user.group) {
        return Err(Refused::NotInBillingGroup { id: id.clone(), group: sub_user.group.clone() });
    }
    // Its group may have become a billing group by configuration after it was saved.
    check_member(id, sub_user)
}

fn copy(
    profile: &Profile,
    source: &CopySource,
    differences: &ContactDifferences,
) -> Result<Contact, Refused> {
    let source = match source {
        CopySource::MainContact => &profile.main_contact,
        CopySource::SubUser(id) => match profile.sub_users.get(id) {
            Some(sub_user) => &sub_user.contact,
            None => return Err(Refused::UnknownCopySource(id.clone())),
        },
    };
    let ContactDifferences { name, company, language, addresses } = differences.clone();
    Ok(Contact {
        name: name.unwrap_or_else(|| source.name.clone()),
        company: company.unwrap_or_else(|| source.company.clone()),
        language: language.unwrap_or_else(|| source.language.clone()),
        addresses: addresses.unwrap_or_else(|| source.addresses.clone()),
    })
}
