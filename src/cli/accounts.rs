//! `account`: contacts, who is selectable, who is active.

use serde_json::Value;

use super::admin::segment;
use super::out::{list, table, text};
use super::words::pause_in_words;
use super::{Context, Failure};
use crate::domain::id::AccountId;

pub(super) fn show(context: &Context, id: &AccountId) -> Result<(), Failure> {
    let account = context.admin()?.get(&format!("/v1/accounts/{}", segment(id.as_str())))?;
    context.out.show(&account, describe)?;
    Ok(())
}

fn describe(account: &Value) -> String {
    let mut rows = vec![
        ["", "contact", "group", "selectable", "active", "addresses"].map(str::to_owned).to_vec(),
    ];
    let main_is_active = text(account, "/recipient/kind") == "main_contact";
    rows.push(row("main contact", &account["main_contact"], "", "", main_is_active));
    for sub_user in list(account, "/sub_users") {
        let selectable = if sub_user["selectable"] == Value::Bool(true) { "yes" } else { "no" };
        let active = sub_user["active"] == Value::Bool(true);
        rows.push(row(
            text(sub_user, "/id"),
            &sub_user["contact"],
            text(sub_user, "/group"),
            selectable,
            active,
        ));
    }
    let name = Some(text(account, "/name")).filter(|name| !name.is_empty());
    let closed = if account["closed"] == Value::Bool(true) { ", closed" } else { "" };
    let paused =
        pause_in_words(&account["paused"]).map(|paused| format!("\n{paused}")).unwrap_or_default();
    format!(
        "{}{} · version {}{closed}{paused}\n\n{}\n{}",
        text(account, "/account"),
        name.map(|name| format!(" · {name}")).unwrap_or_default(),
        account["version"],
        table(&rows),
        super::explain::recipient(&account["recipient"]),
    ) + &rejected(account)
}

/// The addresses that get nothing, since the relay said that they do not exist.
fn rejected(account: &Value) -> String {
    let rejected = list(account, "/suspects").iter().map(|suspect| {
        format!(
            "\nThe relay rejected {} at {}: {}.",
            text(suspect, "/address"),
            text(suspect, "/since"),
            text(suspect, "/reply")
        )
    });
    rejected.collect()
}

fn row(who: &str, contact: &Value, group: &str, selectable: &str, active: bool) -> Vec<String> {
    let addresses: Vec<&str> =
        list(contact, "/addresses").iter().filter_map(Value::as_str).collect();
    let active = if active { "active" } else { "" };
    [who, text(contact, "/name"), group, selectable, active, &addresses.join(", ")]
        .map(str::to_owned)
        .to_vec()
}
