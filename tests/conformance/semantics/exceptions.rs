//! Where the daemon is known to depart from the contract. Each exception leaves out what it is about, and no more,
//! until the daemon is mended; then it is to be taken out.

use crate::model::accounts::versions;
use crate::model::{Accepted, Account};

/// Stands in an expected answer where nothing is compared.
pub(crate) const NOT_COMPARED: &str = "(not compared)";

/// §5: "version and `since` are those of the commit in which this rule and recipient began to hold." The daemon names
/// the commit in which the billing contact, or the main contact, was selected, even if that one has lost its last
/// address or got one again since, and another recipient began to hold: whether the two differ.
pub(crate) fn selection_began_elsewhere(
    history: &[Accepted],
    account: &Account,
    began: Option<u64>,
) -> bool {
    let selection = |account: &Account| (account.rule, account.profile["billing_contact"].clone());
    let selected = versions(history, &account.id)
        .map(|(_, earlier)| earlier)
        .take_while(|earlier| selection(earlier) == selection(account))
        .last();
    selected.map(|account| account.version) != began
}
