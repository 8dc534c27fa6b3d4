//! Who gets an account's invoices, and why: the one resolver.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

pub use super::reason::{Reason, Rule};

use super::account::Account;
use super::address::EmailAddress;
use super::contact::{Contact, Language};
use super::id::{SubUserId, Version};
use super::named;

/// That the relay said an address of an account does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// When it was rejected.
    pub since: DateTime<Utc>,
    /// The account's version then.
    pub account_version: Version,
    /// The relay's words, for the operator.
    pub reply: String,
}

/// The marked addresses of one account.
pub type Suppressions = BTreeMap<EmailAddress, Suppression>;

/// What happens when no address of the billing contact is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRejected {
    /// The main contact gets the invoice.
    MainContact,
    /// The invoice becomes undeliverable.
    Undeliverable,
}

/// The one recipient of an account's invoices, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub target: Target,
    /// Why.
    pub reason: Reason,
}

/// Who gets an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The billing contact.
    SubUser(SubUserId, Addressee),
    /// The main contact.
    MainContact(Addressee),
    /// No address can be reached: the invoice is withheld.
    None,
}

named! {
    /// What a [`Target`] is, without the contact.
    pub enum TargetKind of Target {
        /// See [`Target::SubUser`].
        SubUser = "sub_user",
        /// See [`Target::MainContact`].
        MainContact = "main_contact",
        /// See [`Target::None`].
        None = "none",
    }
}

/// A contact with those of its addresses that mail may go to; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The contact as it is stored.
    pub contact: Contact,
    /// Its addresses without the rejected ones, in the portal's order.
    pub deliverable: Vec<EmailAddress>,
    /// The contact's language or else the account's.
    pub language: Option<Language>,
}

impl Recipient {
    /// The addressee, unless there is none.
    #[must_use]
    pub fn addressee(&self) -> Option<&Addressee> {
        match &self.target {
            Target::SubUser(_, addressee) | Target::MainContact(addressee) => Some(addressee),
            Target::None => None,
        }
    }

    /// The addresses that mail goes to; none if there is no recipient.
    #[must_use]
    pub fn addresses(&self) -> &[EmailAddress] {
        self.addressee().map_or(&[], |addressee| &addressee.deliverable)
    }

    /// Whether both name the same contact with the same data, whatever the reasons.
    #[must_use]
    pub fn same_target(&self, other: &Self) -> bool {
        self.target == other.target
    }
}

/// Names the one current recipient of `account`'s invoices.
///
/// The selected billing contact, else the main contact. Suppressed addresses are left out. When none
/// of the billing contact's is left, the main contact replaces it if `on_rejected` says so; a billing
/// contact that never had an address has none to be rejected, and is not replaced.
#[must_use]
pub fn resolve(
    account: &Account,
    suppressions: &Suppressions,
    on_rejected: OnRejected,
) -> Recipient {
    let profile = account.profile();
    let selected = account.billing_contact();
    let chosen = match selected {
        Some((id, sub_user)) => addressee(account, &sub_user.contact, suppressions)
            .map(|addressee| Target::SubUser(id.clone(), addressee)),
        None => addressee(account, &profile.main_contact, suppressions).map(Target::MainContact),
    };
    if let Some(target) = chosen {
        return Recipient { target, reason: account.reason() };
    }

    let contact = selected.map_or(&profile.main_contact, |(_, sub_user)| &sub_user.contact);
    let last_mark = contact
        .addresses
        .as_slice()
        .iter()
        .filter_map(|address| suppressions.get(address))
        .max_by_key(|mark| (mark.since, mark.account_version));
    let selected_by = account.reason();
    let reason = |rule| match last_mark {
        // By the time of the commit before all: an import can lower the version.
        Some(mark)
            if (mark.since, mark.account_version)
                >= (selected_by.since, selected_by.account_version) =>
        {
            Reason { rule, account_version: mark.account_version, since: mark.since }
        }
        // Whoever was rejected before was selected again since.
        Some(_) | None => Reason { rule, ..selected_by },
    };
    let may_fall_back =
        selected.is_some() && last_mark.is_some() && on_rejected == OnRejected::MainContact;
    let fallback =
        if may_fall_back { addressee(account, &profile.main_contact, suppressions) } else { None };
    match fallback {
        Some(addressee) => Recipient {
            target: Target::MainContact(addressee),
            reason: reason(Rule::FallbackAfterRejection),
        },
        None => Recipient { target: Target::None, reason: reason(Rule::NoDeliverableAddress) },
    }
}

fn addressee(
    account: &Account,
    contact: &Contact,
    suppressions: &Suppressions,
) -> Option<Addressee> {
    let deliverable: Vec<EmailAddress> = contact
        .addresses
        .as_slice()
        .iter()
        .filter(|address| !suppressions.contains_key(address))
        .cloned()
        .collect();
    if deliverable.is_empty() {
        return None;
    }
    let language = contact.language.clone().or_else(|| account.profile().language.clone());
    Some(Addressee { contact: contact.clone(), deliverable, language })
}
