//! How people read what the daemon answers. A name that this program does not know, from a newer daemon, is shown as it
//! is.

use chrono::{DateTime, SecondsFormat, Utc};

use super::client::Client;
use crate::api::{AddressDelivery, Name, Paused, Readiness, Recipient, Relay};
use crate::domain::audit::{PausedScope, rule_in_words};
use crate::domain::delivery::{AddressState, Outcome, Shown};
use crate::domain::recipient::TargetKind;

/// An instant (RFC 3339).
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A state for people: only the recipient knows that a mail arrived.
pub(super) fn state_in_words(state: &Name<Shown>) -> &str {
    if *state == Shown::Delivered { "accepted by relay" } else { state.as_str() }
}

/// An attempt's outcome as people read it.
pub(super) fn outcome_in_words(outcome: &Name<Outcome>) -> &str {
    if *outcome == Outcome::Accepted { "accepted by relay" } else { outcome.as_str() }
}

/// The state of one of an invoice's addresses as people read it.
fn address_in_words(address: &AddressDelivery) -> &str {
    let may_have_it = address.attempts.iter().any(|attempt| attempt.outcome == Outcome::Uncertain);
    match address.state.known() {
        Some(AddressState::Pending) => "not sent yet",
        Some(AddressState::Delivered) => "accepted by relay",
        Some(AddressState::Rejected) => "rejected",
        Some(AddressState::Superseded) if may_have_it => "stopped, but may have received it",
        Some(AddressState::Superseded) => "stopped, receives nothing",
        Some(AddressState::Unknown) => "may have received it, the outcome is unknown",
        None => address.state.as_str(),
    }
}

/// What became of each address of an invoice; nothing before its first attempt.
pub(super) fn each_address(addresses: &[AddressDelivery]) -> impl Iterator<Item = String> {
    addresses.iter().map(|one| format!("{}: {}", one.address, address_in_words(one)))
}

/// Why only an invoice's number and state are known.
pub(super) fn tombstone_in_words(since: DateTime<Utc>) -> String {
    let since = time(since);
    format!(
        "Only its number is kept, since {since}: it was withdrawn before it was issued, or its \
         retention period was over."
    )
}

/// That the relay is down, if it is: the daemon takes what comes, but nothing goes out.
pub(super) async fn relay_in_words(daemon: &Client) -> Option<String> {
    // A daemon that is not ready says so where that matters.
    let Readiness { relay, .. } = daemon.get("/readyz").await.ok()?.value;
    match relay {
        Relay::Down { since, cause } => {
            Some(format!("The relay has been down since {}: {cause}.", time(since)))
        }
        Relay::Untried | Relay::Up => None,
    }
}

/// Who gets an account's invoices, and why.
pub(super) fn recipient_in_words(recipient: &Recipient) -> String {
    format!("Invoices go to {}.\nWhy: {}.", who(recipient), why(recipient))
}

/// Who a recipient is, with the addresses.
pub(super) fn who(recipient: &Recipient) -> String {
    let addresses = &recipient.addresses;
    if addresses.is_empty() {
        whom(recipient)
    } else {
        format!("{}: {}", whom(recipient), addresses.join(", "))
    }
}

/// Who a recipient is.
pub(super) fn whom(recipient: &Recipient) -> String {
    let mut name = recipient.name.clone().unwrap_or_default();
    if let Some(company) = &recipient.company {
        name = format!("{name}, {company}");
    }
    match recipient.kind.known() {
        Some(TargetKind::SubUser) => {
            let id = recipient.sub_user.as_deref().unwrap_or_default();
            format!("the billing contact, sub-user {id} ({name})")
        }
        Some(TargetKind::MainContact) => format!("the main contact ({name})"),
        Some(TargetKind::None) | None => "nobody".to_owned(),
    }
}

/// Why it is the recipient.
pub(super) fn why(recipient: &Recipient) -> String {
    let reason = &recipient.reason;
    let rule = match reason.rule.known() {
        Some(rule) => rule_in_words(rule),
        None => reason.rule.as_str(),
    };
    let since = time(reason.since);
    format!("{rule}, since version {} of the account ({since})", reason.account_version)
}

/// Who holds an invoice, and why, if it is held.
pub(super) fn hold_in_words(reason: Option<&str>, by: Option<&str>) -> Option<String> {
    let reason = reason?;
    Some(by.map_or_else(|| reason.to_owned(), |by| format!("{reason} (by {by})")))
}

/// What is paused, if anything is.
pub(super) fn pause_in_words(paused: Option<&Paused>) -> Option<String> {
    let Paused { scope, reason, by, since } = paused?;
    let what = match scope.known() {
        Some(PausedScope::Account) => "sending for this account is paused",
        Some(PausedScope::Removal) => "nothing is removed",
        Some(PausedScope::Everything) | None => "all sending is paused",
    };
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    Some(format!("{what} since {} by {by}{reason}", time(*since)))
}
