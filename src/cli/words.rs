//! How people read what the daemon answers in JSON.
//!
//! What has a name on the wire is read as the domain's type, so that each has its words. A name that
//! this program does not know, from a newer daemon, is shown as it is.

use serde_json::Value;

use super::admin::Admin;
use super::out::{list, text};
use crate::domain::delivery::{AddressState, Outcome, Shown};
use crate::domain::recipient::{Rule, TargetKind};

/// A state as people read it: nobody but the recipient knows that a mail arrived.
pub(super) fn state_in_words(raw: &str) -> &str {
    match Shown::parse(raw) {
        Some(Shown::Delivered) => "accepted by relay",
        Some(
            Shown::Parked
            | Shown::Waiting
            | Shown::Due
            | Shown::Sending
            | Shown::Withheld
            | Shown::Held
            | Shown::Withdrawn
            | Shown::Undeliverable,
        )
        | None => raw,
    }
}

/// An attempt's outcome as people read it.
pub(super) fn outcome_in_words(raw: &str) -> &str {
    match Outcome::parse(raw) {
        Some(Outcome::Accepted) => "accepted by relay",
        Some(Outcome::Deferred | Outcome::Rejected | Outcome::Uncertain) | None => raw,
    }
}

/// The state of one of an invoice's addresses as people read it.
fn address_in_words(address: &Value) -> &str {
    let raw = text(address, "/state");
    let mut attempts = list(address, "/attempts").iter();
    let may_have_it =
        attempts.any(|attempt| text(attempt, "/outcome") == Outcome::Uncertain.as_str());
    let known = AddressState::ALL.into_iter().find(|state| state.as_str() == raw);
    match known {
        Some(AddressState::Pending) => "not sent yet",
        Some(AddressState::Delivered) => "accepted by relay",
        Some(AddressState::Rejected) => "rejected",
        Some(AddressState::Superseded) if may_have_it => "stopped, but may have it",
        Some(AddressState::Superseded) => "stopped, it gets nothing",
        Some(AddressState::Unknown) => "may have it, the outcome is unknown",
        None => raw,
    }
}

/// What became of each address of an invoice; nothing before its first attempt.
pub(super) fn each_address(invoice: &Value) -> Vec<String> {
    let addresses = list(invoice, "/addresses").iter();
    addresses
        .map(|one| {
            let state = address_in_words(one);
            format!("{}: {state}", text(one, "/address"))
        })
        .collect()
}

/// Why only an invoice's number and state are known.
pub(super) fn tombstone_in_words(invoice: &Value) -> Option<String> {
    let since = invoice["tombstone_since"].as_str()?;
    Some(format!(
        "Only its number is kept, since {since}: it was withdrawn before it came, or the time for which \
         finished invoices are kept was over."
    ))
}

/// Who a recipient is, with the addresses.
pub(super) fn who(recipient: &Value) -> String {
    let addresses = addresses(recipient);
    if addresses.is_empty() { whom(recipient) } else { format!("{}: {addresses}", whom(recipient)) }
}

/// That the relay is down, if it is: the daemon takes what comes, but nothing goes out.
pub(super) fn relay_in_words(admin: &Admin) -> Option<String> {
    // A daemon that is not ready says so where that matters.
    let ready = admin.get("/readyz").ok()?;
    let relay = &ready["relay"];
    (text(relay, "/state") == "down").then(|| {
        format!(
            "The relay has been down since {}: {}.",
            text(relay, "/since"),
            text(relay, "/cause")
        )
    })
}

/// Who a recipient is.
pub(super) fn whom(recipient: &Value) -> String {
    let name = match (text(recipient, "/name"), text(recipient, "/company")) {
        (name, "") => name.to_owned(),
        (name, company) => format!("{name}, {company}"),
    };
    match TargetKind::parse(text(recipient, "/kind")) {
        Some(TargetKind::SubUser) => {
            let id = text(recipient, "/sub_user");
            format!("the billing contact, sub-user {id} ({name})")
        }
        Some(TargetKind::MainContact) => format!("the main contact ({name})"),
        Some(TargetKind::None) | None => "nobody".to_owned(),
    }
}

/// A recipient's addresses.
pub(super) fn addresses(recipient: &Value) -> String {
    let addresses: Vec<&str> =
        list(recipient, "/addresses").iter().filter_map(Value::as_str).collect();
    addresses.join(", ")
}

/// Why it is the recipient.
pub(super) fn why(recipient: &Value) -> String {
    let reason = &recipient["reason"];
    format!(
        "{}, since version {} of the account ({})",
        rule_in_words(text(reason, "/rule")),
        reason["account_version"],
        text(reason, "/since")
    )
}

/// A rule as people read it.
pub(super) fn rule_in_words(raw: &str) -> &str {
    match Rule::parse(raw) {
        Some(Rule::BillingContactSelected) => "it is selected as billing contact",
        Some(Rule::NoBillingContact) => "no billing contact is selected",
        Some(Rule::BillingContactRemoved) => "the selected billing contact was removed",
        Some(Rule::BillingContactLeftGroup) => {
            "the selected billing contact left the billing group"
        }
        Some(Rule::FallbackAfterRejection) => {
            "the relay rejected every address of the selected billing contact"
        }
        Some(Rule::NoDeliverableAddress) => "there is no address that mail could be delivered to",
        None => raw,
    }
}

/// Who holds an invoice, and why, if it is held.
pub(super) fn hold_in_words(invoice: &Value) -> Option<String> {
    let reason = invoice["held_reason"].as_str()?;
    Some(match text(invoice, "/held_by") {
        "" => reason.to_owned(),
        by => format!("{reason} (by {by})"),
    })
}

/// What is paused, if anything is.
pub(super) fn pause_in_words(paused: &Value) -> Option<String> {
    let what = match text(paused, "/scope") {
        "" => return None,
        "account" => "sending for this account is paused",
        "removal" => "nothing is removed",
        _ => "all sending is paused",
    };
    let reason = match text(paused, "/reason") {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let (since, by) = (text(paused, "/since"), text(paused, "/by"));
    Some(format!("{what} since {since} by {by}{reason}"))
}
