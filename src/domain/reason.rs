//! Why an account has the recipient that it has: stored with the account, found by the resolver.

use chrono::{DateTime, Utc};

use super::id::Version;
use super::named;

named! {
    /// Which rule names the recipient.
    pub enum Rule {
        /// A sub-user is selected.
        BillingContactSelected = "billing_contact_selected",
        /// No billing contact is selected: the main contact.
        NoBillingContact = "no_billing_contact",
        /// The selected sub-user was removed: the main contact.
        BillingContactRemoved = "billing_contact_removed",
        /// The selected sub-user left the billing group: the main contact.
        BillingContactLeftGroup = "billing_contact_left_group",
        /// Every address of the billing contact is rejected by the relay: the main contact.
        FallbackAfterRejection = "fallback_after_rejection",
        /// None of the contacts that the other rules name has a deliverable address.
        NoDeliverableAddress = "no_deliverable_address",
    }
}

/// A rule, and the commit in which it and its recipient began to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The rule.
    pub rule: Rule,
    /// The account's version in that commit.
    pub account_version: Version,
    /// The time of that commit.
    pub since: DateTime<Utc>,
}
