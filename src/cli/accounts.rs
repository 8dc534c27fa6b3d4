//! `account`: contacts, who is selectable, who is active.

use super::client::segment;
use super::out::table;
use super::words::{pause_in_words, recipient_in_words, time};
use super::{Context, Failure};
use crate::api::{Account, Contact, SubUser, Suppression};
use crate::domain::id::AccountId;

pub(super) async fn show(context: &Context, id: &AccountId) -> Result<(), Failure> {
    context.show(&format!("/v1/accounts/{}", segment(id.as_str())), describe).await
}

fn describe(account: &Account) -> String {
    let main_contact = &account.main_contact;
    let mut rows = vec![row("main contact", &main_contact.contact, "", "", main_contact.active)];
    rows.extend(account.sub_users.iter().map(|sub_user| {
        let SubUser { id, group, selectable, active, contact, login: _ } = sub_user;
        row(id, contact, group, if *selectable { "yes" } else { "no" }, *active)
    }));
    let name = account.name.as_ref().map(|name| format!(" · {name}"));
    let closed = if account.closed { ", closed" } else { "" };
    let paused = pause_in_words(account.paused.as_ref()).map(|paused| format!("\n{paused}"));
    let rejected: String = account.suppressions.iter().map(rejected).collect();
    format!(
        "{}{} · version {}{closed}{}\n\n{}\n{}{rejected}",
        account.account,
        name.unwrap_or_default(),
        account.version,
        paused.unwrap_or_default(),
        table(["", "contact", "group", "selectable", "active", "addresses"], &rows),
        recipient_in_words(&account.recipient),
    )
}

/// An address that gets nothing, since the relay said that it does not exist.
fn rejected(suppression: &Suppression) -> String {
    let Suppression { address, since, reply, account_version: _ } = suppression;
    format!("\nThe relay rejected {address} at {}: {reply}.", time(*since))
}

fn row(who: &str, contact: &Contact, group: &str, selectable: &str, active: bool) -> [String; 6] {
    let active = if active { "active" } else { "" };
    [who, &contact.name, group, selectable, active, &contact.addresses.join(", ")]
        .map(str::to_owned)
}
