//! What answers show of accounts, recipients and invoices.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::Relay;
use crate::domain::account::{Account, BillingGroups, Login, SubUser};
use crate::domain::address::{EmailAddress, HeaderText};
use crate::domain::contact::{Contact, Language};
use crate::domain::delivery::{Attempt, HoldReason};
use crate::domain::id::{AccountId, InvoiceNumber, SubUserId};
use crate::domain::invoice::Invoice;
use crate::domain::recipient::{Addressee, Recipient, Target};
use crate::store::{
    AccountView, Actor, Audited, Entry, InvoiceView, Listed, Pause, PauseInForce, PauseScope,
    Subject, WholeInvoice,
};

/// An instant in UTC (RFC 3339).
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A recipient, everywhere the same.
pub(super) fn recipient(recipient: &Recipient) -> Value {
    let Recipient { target, reason } = recipient;
    let sub_user = match target {
        Target::SubUser(id, _) => Some(id),
        Target::MainContact(_) | Target::None => None,
    };
    let contact = recipient.addressee().map(|addressee| {
        let Addressee { contact, .. } = addressee;
        contact
    });
    json!({
        "kind": target.kind().as_str(),
        "sub_user": sub_user.map(SubUserId::as_str),
        "name": contact.map(|contact| contact.name.as_str()),
        "company": contact.and_then(|contact| contact.company.as_ref()).map(HeaderText::as_str),
        "addresses": addresses(recipient.addresses()),
        "reason": {
            "rule": reason.rule.as_str(),
            "account_version": reason.account_version.get(),
            "since": instant(reason.since),
        },
    })
}

/// One account with all that bears upon its recipient.
pub(super) fn account(view: &AccountView, groups: &BillingGroups) -> Value {
    let AccountView { account, recipient: active, suspects, paused } = view;
    let profile = account.profile();
    let main_is_active = matches!(active.target, Target::MainContact(_));
    let sub_users: Vec<Value> =
        profile.sub_users.iter().map(|(id, sub)| sub_user(id, sub, active, groups)).collect();
    let suspects: Vec<Value> = suspects
        .iter()
        .map(|(address, suspect)| {
            json!({
                "address": address.as_str(),
                "since": instant(suspect.since),
                "account_version": suspect.account_version.get(),
                "reply": suspect.reply,
            })
        })
        .collect();
    json!({
        "account": account.id().as_str(),
        "version": account.version().get(),
        "changed_at": instant(account.changed_at()),
        "closed": account.closed(),
        "name": profile.name.as_ref().map(HeaderText::as_str),
        "language": profile.language.as_ref().map(Language::as_str),
        "schedule": account.schedule().as_str(),
        "main_contact": with_active(contact(&profile.main_contact), main_is_active),
        "sub_users": sub_users,
        "billing_contact": profile.billing_contact.as_ref().map(SubUserId::as_str),
        "recipient": recipient(active),
        "suspects": suspects,
        "paused": self::paused(paused.as_ref()),
    })
}

/// An account in short.
pub(super) fn account_version(account: &Account) -> Value {
    json!({
        "account": account.id().as_str(),
        "version": account.version().get(),
        "changed_at": instant(account.changed_at()),
        "closed": account.closed(),
    })
}

fn with_active(mut contact: Value, active: bool) -> Value {
    contact["active"] = active.into();
    contact
}

fn sub_user(
    id: &SubUserId,
    sub_user: &SubUser,
    active: &Recipient,
    groups: &BillingGroups,
) -> Value {
    let SubUser { group, contact: data, login } = sub_user;
    let is_active = match &active.target {
        Target::SubUser(active, _) => active == id,
        Target::MainContact(_) | Target::None => false,
    };
    json!({
        "id": id.as_str(),
        "group": group.as_str(),
        "selectable": groups.contains(group) && !data.addresses.is_empty(),
        "active": is_active,
        "contact": contact(data),
        "login": login.as_ref().map(self::login),
    })
}

fn contact(contact: &Contact) -> Value {
    let Contact { name, company, language, addresses: list } = contact;
    json!({
        "name": name.as_str(),
        "company": company.as_ref().map(HeaderText::as_str),
        "language": language.as_ref().map(Language::as_str),
        "addresses": addresses(list.as_slice()),
    })
}

fn login(login: &Login) -> Value {
    let permissions: Vec<&str> = login.permissions().iter().map(HeaderText::as_str).collect();
    json!({
        "enabled": login.enabled(),
        "user_name": login.user_name().map(HeaderText::as_str),
        "permissions": permissions,
    })
}

fn addresses(list: &[EmailAddress]) -> Vec<&str> {
    list.iter().map(EmailAddress::as_str).collect()
}

/// What stops mail, or `null`.
pub(super) fn paused(paused: Option<&PauseInForce>) -> Value {
    let Some(PauseInForce { scope, pause }) = paused else {
        return Value::Null;
    };
    let scope = match scope {
        PauseScope::Everything => "everything",
        PauseScope::Account(_) => "account",
        PauseScope::Removal => "removal",
    };
    let Pause { reason, by, since } = pause;
    json!({"scope": scope, "reason": reason, "by": by, "since": instant(*since)})
}

/// How the relay fares.
pub(super) fn relay(relay: &Relay) -> Value {
    match relay {
        Relay::Untried => json!({"state": "untried"}),
        Relay::Up => json!({"state": "up"}),
        Relay::Down { since, cause } => {
            json!({"state": "down", "since": instant(*since), "cause": cause})
        }
    }
}

/// An entry of the trail.
pub(super) fn audited(audited: &Audited) -> Value {
    let Audited { place, subject, entry: Entry { at, actor, what } } = audited;
    let (account, number) = match subject {
        Subject::Account(account) => (Some(account), None),
        Subject::Invoice(account, number) => (Some(account), Some(number)),
        Subject::Everything => (None, None),
    };
    json!({
        "position": format!("{}-{}", place.batch, place.index),
        "at": instant(*at),
        "actor": actor,
        "account": account.map(AccountId::as_str),
        "number": number.map(InvoiceNumber::as_str),
        "what": what,
    })
}

/// The members that every answer about an invoice shows of it.
pub(super) fn invoice(invoice: &Invoice) -> Value {
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
    let documents: Vec<Value> = documents
        .as_slice()
        .iter()
        .map(|document| {
            json!({
                "sha256": document.digest.to_string(),
                "file_name": document.file_name.as_str(),
                "media_type": document.media_type.as_str(),
            })
        })
        .collect();
    json!({
        "account": account.as_str(),
        "number": number.as_str(),
        "kind": kind.as_str(),
        "issued_on": issued_on.to_string(),
        "due_on": due_on.map(|day| day.to_string()),
        "total": {"amount": total.amount(), "currency": total.currency().code()},
        "release": release.as_str(),
        "refers_to": kind.refers_to().map(|number| number.as_str().to_owned()),
        "min_account_version": min_account_version.map(crate::domain::id::Version::get),
        "portal_url": portal_url.as_ref().map(|url| url.as_str().to_owned()),
        "documents": documents,
    })
}

/// One line of a list of invoices.
pub(super) fn listed(listed: &Listed) -> Value {
    let Listed { sequence: _, invoice: what, state, next_at, hold, changed_at } = listed;
    let mut line = invoice(what);
    line["state"] = state.as_str().into();
    line["next_attempt_at"] = next_at.map(instant).into();
    line["held_reason"] = hold.as_ref().map(ToString::to_string).into();
    line["held_by"] = hold.as_ref().map(held_by).into();
    line["changed_at"] = instant(*changed_at).into();
    line
}

/// One invoice with its story; `release_at` is the next time its schedule fires.
pub(super) fn whole(view: &WholeInvoice, release_at: Option<DateTime<Utc>>) -> Value {
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
    let of = |revision: u32, address: &EmailAddress| -> Vec<&Attempt> {
        attempts
            .iter()
            .filter(|attempt| {
                attempt.intent.revision == revision && attempt.intent.address == *address
            })
            .collect()
    };
    let now: Vec<Value> = delivery
        .addresses
        .iter()
        .map(|one| {
            let attempts = of(delivery.revision, &one.address);
            let under_way = intent.as_ref().filter(|intent| intent.address == one.address);
            let message_id = attempts
                .last()
                .map(|attempt| &attempt.intent)
                .or(under_way)
                .map(|intent| intent.message_id.as_str());
            json!({
                "address": one.address.as_str(),
                "state": one.state.as_str(),
                "message_id": message_id,
                "attempts": attempts.into_iter().map(attempt).collect::<Vec<_>>(),
                "under_way_since": under_way.map(|intent| instant(intent.started_at)),
            })
        })
        .collect();
    let earlier: Vec<Value> = attempts
        .iter()
        .filter(|attempt| attempt.intent.revision != delivery.revision)
        .map(earlier_attempt)
        .collect();
    let story: Vec<Value> = story
        .iter()
        .map(|entry| json!({"at": instant(entry.at), "actor": entry.actor, "what": entry.what}))
        .collect();
    let mut whole = invoice(what);
    let more = json!({
        "state": state.as_str(),
        "revision": delivery.revision,
        "received_at": instant(*received_at),
        "schedule": schedule.as_ref().map(|schedule| schedule.as_str().to_owned()),
        "release_at": release_at.map(instant),
        "recipient": who.as_ref().map(recipient),
        "next_attempt_at": delivery.next_attempt_at().map(instant),
        "held_reason": delivery.hold.as_ref().map(ToString::to_string),
        "held_by": delivery.hold.as_ref().map(held_by),
        "paused": self::paused(paused.as_ref()),
        "addresses": now,
        "earlier_attempts": earlier,
        "story": story,
    });
    if let (Value::Object(whole), Value::Object(more)) = (&mut whole, more) {
        whole.extend(more);
    }
    whole
}

/// An invoice as an operator sees it, whole or what is left of it.
pub(super) fn invoice_view(
    account: &str,
    number: &str,
    view: &InvoiceView,
    release_at: Option<DateTime<Utc>>,
) -> Value {
    match view {
        InvoiceView::Whole(view) => whole(view, release_at),
        InvoiceView::Tombstone { state, at } => json!({
            "account": account,
            "number": number,
            "state": state.as_str(),
            "recipient": null,
            "next_attempt_at": null,
            "held_reason": null,
            "held_by": null,
            "paused": null,
            "addresses": [],
            "story": [],
            "tombstone_since": instant(*at),
        }),
    }
}

/// Who holds it.
fn held_by(hold: &HoldReason) -> String {
    hold.operator().map_or_else(|| Actor::Daemon.to_string(), ToOwned::to_owned)
}

/// An attempt of a revision that was replaced.
fn earlier_attempt(earlier: &Attempt) -> Value {
    let mut line = attempt(earlier);
    line["revision"] = earlier.intent.revision.into();
    line["address"] = earlier.intent.address.as_str().into();
    line["message_id"] = earlier.intent.message_id.as_str().into();
    line
}

fn attempt(attempt: &Attempt) -> Value {
    let Attempt { intent, stage, reply, cause, outcome } = attempt;
    let reply = reply.as_ref().map(|reply| {
        json!({
            "code": reply.code,
            "enhanced": reply.enhanced.map(|code| code.to_string()),
            "text": reply.text,
        })
    });
    json!({
        "number": intent.number,
        "started_at": instant(intent.started_at),
        "stage": stage.as_str(),
        "reply": reply,
        "cause": cause,
        "outcome": outcome.as_str(),
        "message": {
            "sha256": intent.message_digest.to_string(),
            "bytes": intent.message_bytes,
        },
    })
}
