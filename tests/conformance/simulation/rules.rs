//! The rule that matters most, once more in few words: who may get an account's mail.

use std::collections::BTreeSet;

use invoice_router::domain::account::{Account, Profile};
use invoice_router::domain::address::EmailAddress;

/// Whether mail may go to `to`: if it is the one recipient's, or the stand-in's.
pub(crate) fn allows(
    account: &Account,
    to: &str,
    falls_back: bool,
    blamed: &BTreeSet<String>,
) -> bool {
    let contains = |addresses: &[EmailAddress]| addresses.iter().any(|one| one.as_str() == to);
    let profile = account.profile();
    let main = profile.main_contact.addresses.as_slice();
    match selected_addresses(profile) {
        None => contains(main),
        Some(addresses) if contains(addresses) => true,
        Some(addresses) => {
            let is_lost = addresses.iter().all(|address| blamed.contains(address.as_str()));
            falls_back && is_lost && contains(main)
        }
    }
}

/// The selected billing contact's addresses.
pub(crate) fn selected_addresses(profile: &Profile) -> Option<&[EmailAddress]> {
    let sub_user = profile.sub_users.get(profile.billing_contact.as_ref()?)?;
    Some(sub_user.contact.addresses.as_slice())
}

/// The account whose address this is.
pub(crate) fn account_of(address: &str) -> String {
    let domain = address.split('@').nth(1).unwrap_or_default();
    domain.split('.').next().unwrap_or_default().to_uppercase()
}
