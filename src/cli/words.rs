//! How people read what the daemon answers in JSON.

use serde_json::Value;

use super::out::{list, text};

/// A state as people read it: nobody but the recipient knows that a mail arrived.
pub(super) fn state_in_words(state: &str) -> &str {
    match state {
        "delivered" => "accepted by relay",
        other => other,
    }
}

/// Who a recipient is.
pub(super) fn who(recipient: &Value) -> String {
    let addresses: Vec<&str> = list(recipient, "/addresses")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let name = match (text(recipient, "/name"), text(recipient, "/company")) {
        (name, "") => name.to_owned(),
        (name, company) => format!("{name}, {company}"),
    };
    match text(recipient, "/kind") {
        "sub_user" => {
            format!(
                "the billing contact, sub-user {} ({name}): {}",
                text(recipient, "/sub_user"),
                addresses.join(", ")
            )
        }
        "main_contact" => format!("the main contact ({name}): {}", addresses.join(", ")),
        _ => "nobody".to_owned(),
    }
}

/// Why it is the recipient.
pub(super) fn why(recipient: &Value) -> String {
    let reason = &recipient["reason"];
    let rule = match text(reason, "/rule") {
        "billing_contact_selected" => "it is selected as billing contact",
        "no_billing_contact" => "no billing contact is selected",
        "billing_contact_removed" => "the selected billing contact was removed",
        "billing_contact_left_group" => "the selected billing contact left the billing group",
        "fallback_after_rejection" => {
            "the relay rejected every address of the selected billing contact"
        }
        "no_deliverable_address" => "there is no address that mail could be delivered to",
        other => other,
    };
    format!(
        "{rule}, since version {} of the account ({})",
        reason["account_version"],
        text(reason, "/since")
    )
}
