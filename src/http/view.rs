//! What the store holds, as the interfaces show it.

use chrono::{DateTime, Utc};

use super::audit::history_item;
use crate::api::{self, InvoiceView as View};
use crate::domain::account::{Account, BillingGroups, Login, SubUser};
use crate::domain::address::EmailAddress;
use crate::domain::audit::{Actor, PausedScope};
use crate::domain::contact::Contact;
use crate::domain::delivery::{Attempt, HoldReason};
use crate::domain::id::{AccountId, InvoiceNumber, SubUserId};
use crate::domain::invoice::{Document, Invoice};
use crate::domain::recipient::{Reason, Recipient, Suppression, Target};
use crate::store::{
    AccountView, AuditItem, CurrentPause, FurtherReason, InvoiceView, Listed, Pause, PauseScope,
    Subject, WholeInvoice,
};

fn text(value: &impl ToString) -> String {
    value.to_string()
}

pub(super) fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(text).collect()
}

pub(super) fn recipient(recipient: &Recipient) -> api::Recipient {
    let Recipient { target, reason: Reason { rule, account_version, since } } = recipient;
    let contact = recipient.addressee().map(|addressee| &addressee.contact);
    let sub_user = match target {
        Target::SubUser(id, _) => Some(text(id)),
        Target::MainContact(_) | Target::None => None,
    };
    api::Recipient {
        kind: target.kind().into(),
        sub_user,
        name: contact.map(|contact| text(&contact.name)),
        company: contact.and_then(|contact| contact.company.as_ref()).map(text),
        addresses: texts(recipient.addresses()),
        reason: api::Reason {
            rule: (*rule).into(),
            account_version: account_version.get(),
            since: *since,
        },
    }
}

/// One account with all that bears upon its recipient.
pub(super) fn account(view: &AccountView, groups: &BillingGroups) -> api::Account {
    let AccountView { account, recipient: active, suppressions, paused } = view;
    let profile = account.profile();
    let main_contact = api::MainContact {
        contact: contact(&profile.main_contact),
        active: matches!(active.target, Target::MainContact(_)),
    };
    let sub_users = profile.sub_users.iter().map(|(id, sub)| sub_user(id, sub, active, groups));
    api::Account {
        account: text(account.id()),
        version: account.version().get(),
        changed_at: account.changed_at(),
        closed: account.closed(),
        name: profile.name.as_ref().map(text),
        language: profile.language.as_ref().map(text),
        schedule: text(&account.schedule()),
        main_contact,
        sub_users: sub_users.collect(),
        billing_contact: profile.billing_contact.as_ref().map(text),
        recipient: recipient(active),
        suppressions: suppressions
            .iter()
            .map(|(address, mark)| suppression(address, mark))
            .collect(),
        paused: self::paused(paused.as_ref()),
    }
}

fn suppression(address: &EmailAddress, suppression: &Suppression) -> api::Suppression {
    let Suppression { since, account_version, reply } = suppression;
    api::Suppression {
        address: text(address),
        since: *since,
        account_version: account_version.get(),
        reply: reply.clone(),
    }
}

/// An account in short.
pub(super) fn account_version(account: &Account) -> api::AccountVersion {
    api::AccountVersion {
        account: text(account.id()),
        version: account.version().get(),
        changed_at: account.changed_at(),
        closed: account.closed(),
    }
}

fn sub_user(
    id: &SubUserId,
    sub_user: &SubUser,
    active: &Recipient,
    groups: &BillingGroups,
) -> api::SubUser {
    let SubUser { group, contact: data, login } = sub_user;
    api::SubUser {
        id: text(id),
        group: text(group),
        selectable: groups.contains(group) && !data.addresses.is_empty(),
        active: matches!(&active.target, Target::SubUser(active, _) if active == id),
        contact: contact(data),
        login: login.as_ref().map(self::login),
    }
}

pub(super) fn contact(contact: &Contact) -> api::Contact {
    let Contact { name, company, language, addresses } = contact;
    api::Contact {
        name: text(name),
        company: company.as_ref().map(text),
        language: language.as_ref().map(text),
        addresses: texts(addresses.as_slice()),
    }
}

pub(super) fn login(login: &Login) -> api::Login {
    api::Login {
        enabled: login.enabled(),
        user_name: login.user_name().map(text),
        permissions: texts(login.permissions()),
    }
}

/// What stops mail.
pub(super) fn paused(paused: Option<&CurrentPause>) -> Option<api::Paused> {
    let CurrentPause { scope, pause } = paused?;
    let scope = match scope {
        PauseScope::Everything => PausedScope::Everything,
        PauseScope::Account(_) => PausedScope::Account,
        PauseScope::Removal => PausedScope::Removal,
    };
    let Pause { reason, by, since, further } = pause;
    // `by` already names who gave the first reason.
    let further = further.iter().map(|FurtherReason { reason, by }| format!("{reason} ({by})"));
    let first = (!reason.is_empty()).then(|| reason.clone());
    let reasons: Vec<String> = first.into_iter().chain(further).collect();
    let (reason, by) = (reasons.join("; "), text(by));
    Some(api::Paused { scope: scope.into(), reason, by, since: *since })
}

pub(super) fn audited(audited: &AuditItem) -> api::AuditItem {
    let AuditItem { place, subject, entry } = audited;
    let (account, number) = match subject {
        Subject::Account(account) => (Some(account), None),
        Subject::Invoice(account, number) => (Some(account), Some(number)),
        Subject::Everything => (None, None),
    };
    api::AuditItem {
        position: format!("{}-{}", place.batch, place.index),
        item: history_item(entry),
        account: account.map(text),
        number: number.map(text),
    }
}

pub(super) fn invoice(invoice: &Invoice) -> api::Invoice {
    let Invoice {
        account,
        number,
        kind,
        issued_on,
        due_on,
        total,
        release,
        min_account_version,
        portal_url,
        documents,
    } = invoice;
    let currency = total.currency().code().to_owned();
    api::Invoice {
        account: text(account),
        number: text(number),
        kind: kind.kind().into(),
        issued_on: *issued_on,
        due_on: *due_on,
        total: api::Money { amount: total.amount(), currency },
        release: (*release).into(),
        refers_to: kind.refers_to().map(text),
        min_account_version: min_account_version.map(crate::domain::id::Version::get),
        portal_url: portal_url.as_ref().map(|url| url.as_str().to_owned()),
        documents: documents.as_slice().iter().map(document).collect(),
    }
}

fn document(document: &Document) -> api::Document {
    let Document { digest, file_name, media_type } = document;
    api::Document { sha256: text(digest), file_name: text(file_name), media_type: text(media_type) }
}

/// One line of a list of invoices.
pub(super) fn listed(listed: &Listed) -> api::ListedInvoice {
    let Listed { sequence: _, invoice: what, state, next_at, hold, changed_at } = listed;
    api::ListedInvoice {
        invoice: invoice(what),
        state: (*state).into(),
        next_attempt_at: *next_at,
        held_reason: hold.as_ref().map(text),
        held_by: hold.as_ref().map(held_by),
        changed_at: *changed_at,
    }
}

/// One invoice with its history; `release_at` is the next time its schedule fires.
fn whole(view: &WholeInvoice, release_at: Option<DateTime<Utc>>) -> api::WholeInvoice {
    let WholeInvoice {
        sequence: _,
        invoice: what,
        received_at,
        delivery,
        state,
        schedule,
        recipient: who,
        paused,
        intent,
        attempts,
        story,
    } = view;
    let addresses = delivery.addresses.iter().map(|one| {
        let of_this = |attempt: &&Attempt| {
            attempt.intent.revision == delivery.revision && attempt.intent.address == one.address
        };
        let under_way = intent.as_ref().filter(|intent| intent.address == one.address);
        let last = attempts.iter().rfind(of_this).map(|attempt| &attempt.intent);
        api::AddressDelivery {
            address: text(&one.address),
            state: one.state.into(),
            message_id: last.or(under_way).map(|intent| text(&intent.message_id)),
            attempts: attempts.iter().filter(of_this).map(attempt).collect(),
            under_way_since: under_way.map(|intent| intent.started_at),
        }
    });
    let earlier = attempts.iter().filter(|attempt| attempt.intent.revision != delivery.revision);
    api::WholeInvoice {
        invoice: invoice(what),
        state: (*state).into(),
        revision: delivery.revision,
        received_at: *received_at,
        schedule: schedule.as_ref().map(text),
        release_at,
        recipient: who.as_ref().map(recipient),
        next_attempt_at: delivery.next_attempt_at(),
        held_reason: delivery.hold.as_ref().map(text),
        held_by: delivery.hold.as_ref().map(held_by),
        paused: self::paused(paused.as_ref()),
        addresses: addresses.collect(),
        earlier_attempts: earlier.map(earlier_attempt).collect(),
        story: story.iter().map(history_item).collect(),
    }
}

/// An invoice as an operator sees it, whole or what is left of it.
pub(super) fn invoice_view(
    account: &AccountId,
    number: &InvoiceNumber,
    view: &InvoiceView,
    release_at: Option<DateTime<Utc>>,
) -> View {
    match view {
        InvoiceView::Whole(view) => View::Whole(Box::new(whole(view, release_at))),
        InvoiceView::Tombstone { state, at } => View::Removed(api::RemovedInvoice {
            account: text(account),
            number: text(number),
            state: (*state).into(),
            recipient: (),
            next_attempt_at: (),
            held_reason: (),
            held_by: (),
            paused: (),
            addresses: [],
            story: [],
            tombstone_since: *at,
        }),
    }
}

/// Who holds it: an operator, or else the daemon.
fn held_by(hold: &HoldReason) -> String {
    if let HoldReason::Operator { name, reason: _ } = hold {
        return Actor::Operator(name.clone()).to_string();
    }
    Actor::Daemon.to_string()
}

/// An attempt of a revision that was replaced.
fn earlier_attempt(earlier: &Attempt) -> api::EarlierAttempt {
    api::EarlierAttempt {
        attempt: attempt(earlier),
        revision: earlier.intent.revision,
        address: text(&earlier.intent.address),
        message_id: text(&earlier.intent.message_id),
    }
}

fn attempt(attempt: &Attempt) -> api::Attempt {
    let Attempt { intent, stage, reply, cause, outcome } = attempt;
    api::Attempt {
        number: intent.number,
        started_at: intent.started_at,
        stage: (*stage).into(),
        reply: reply.as_ref().map(|reply| api::Reply {
            code: reply.code,
            enhanced: reply.enhanced.as_ref().map(text),
            text: reply.text.clone(),
        }),
        cause: cause.clone(),
        outcome: (*outcome).into(),
        message: api::Message { sha256: text(&intent.message_digest), bytes: intent.message_bytes },
    }
}
