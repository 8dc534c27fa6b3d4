//! From the model's words to the domain's.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, NaiveDate, Utc};
use invoice_router::domain::account::{Profile as Whole, SubUser};
use invoice_router::domain::address::{EmailAddress, FileName, HeaderText};
use invoice_router::domain::change::{
    AccountChange, ChangeKind, ContactChange, ContactDifferences, CopySource,
};
use invoice_router::domain::contact::{Addresses, Contact};
use invoice_router::domain::id::{
    AccountId, Digest, Group, InvoiceNumber, ScheduleName, SenderName, SubUserId, Version,
    WebhookId,
};
use invoice_router::domain::invoice::{
    Document, Documents, Invoice, Kind as Sort, MediaType, Release,
};
use invoice_router::domain::money::{Currency, Money};
use invoice_router::mail::template::Templates;
use invoice_router::store::Received;
use sha2::{Digest as _, Sha256};

use crate::events::{Event, Issue};
use crate::rules::{Kind, Profile, Sub};

/// What is written here is well-formed; where it is not, the world ends.
#[expect(clippy::panic, reason = "a fault of the simulation's own, found at once")]
pub(crate) fn parsed<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// Compiled once for all worlds.
pub(crate) fn templates() -> Arc<Templates> {
    static TEMPLATES: OnceLock<Arc<Templates>> = OnceLock::new();
    Arc::clone(TEMPLATES.get_or_init(|| Arc::new(parsed(Templates::load(None)))))
}

/// One of few, so that invoices share them.
pub(crate) fn document(number: &str) -> Vec<u8> {
    let last = number.chars().next_back().unwrap_or_default();
    format!("%PDF {}", u32::from(last) % 3).into_bytes()
}

pub(crate) fn received(event: &Event) -> Received {
    Received {
        sender: parsed(SenderName::parse("portal")),
        id: parsed(WebhookId::parse(event.id.as_str())),
        body: digest(&event.body.to_be_bytes()),
        at: event.received_at,
    }
}

pub(crate) fn change(
    account: &str,
    version: u64,
    timestamp: DateTime<Utc>,
    kind: &Kind,
) -> AccountChange {
    let sub_user = |id: &String| parsed(SubUserId::parse(id.as_str()));
    let kind = match kind {
        Kind::Updated(profile) => ChangeKind::Updated(whole(profile)),
        Kind::Closed => ChangeKind::Closed,
        Kind::Saved(id, sub) => ChangeKind::SubUserSaved {
            id: sub_user(id),
            group: group(sub.billing),
            contact: ContactChange::Whole(contact(&sub.addresses)),
            login: None,
        },
        Kind::Copied(id, billing) => ChangeKind::SubUserSaved {
            id: sub_user(id),
            group: group(*billing),
            contact: ContactChange::Copy {
                source: CopySource::MainContact,
                differences: ContactDifferences::default(),
            },
            login: None,
        },
        Kind::Removed(id) => ChangeKind::SubUserRemoved(sub_user(id)),
        Kind::Selected(selected) => {
            ChangeKind::BillingContactSelected(selected.as_ref().map(sub_user))
        }
    };
    AccountChange {
        account: parsed(AccountId::parse(account)),
        version: parsed(Version::parse(version)),
        timestamp,
        kind,
    }
}

fn whole(profile: &Profile) -> Whole {
    let sub_users = profile.subs.iter().map(|(id, sub): (_, &Sub)| {
        let sub_user =
            SubUser { group: group(sub.billing), contact: contact(&sub.addresses), login: None };
        (parsed(SubUserId::parse(id.as_str())), sub_user)
    });
    Whole {
        name: None,
        language: None,
        schedule: profile.schedule.map(|name| parsed(ScheduleName::parse(name))),
        main_contact: contact(&profile.main),
        sub_users: sub_users.collect(),
        billing_contact: profile.selected.as_ref().map(|id| parsed(SubUserId::parse(id.as_str()))),
    }
}

fn group(billing: bool) -> Group {
    parsed(Group::parse(if billing { "Rechnungen" } else { "support" }))
}

fn contact(addresses: &[String]) -> Contact {
    let addresses = addresses.iter().map(|address| parsed(EmailAddress::parse(address))).collect();
    Contact {
        name: parsed(HeaderText::parse("Muster")),
        company: None,
        language: None,
        addresses: parsed(Addresses::parse(addresses)),
    }
}

pub(crate) fn invoice(issue: &Issue) -> Invoice {
    let Issue { account, number, cents, at_once, min_version } = issue;
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    let document = Document {
        digest: digest(&document(number)),
        file_name: parsed(FileName::parse("rechnung.pdf")),
        media_type: parsed(MediaType::parse("application/pdf")),
    };
    Invoice {
        account: parsed(AccountId::parse(account.as_str())),
        number: parsed(InvoiceNumber::parse(number.as_str())),
        kind: Sort::Invoice,
        issued_on: NaiveDate::from_ymd_opt(2026, 11, 23).unwrap_or_default(),
        due_on: None,
        total: parsed(Money::parse(&amount, parsed(Currency::parse("EUR")))),
        release: if *at_once { Release::Immediately } else { Release::Scheduled },
        min_account_version: min_version
            .filter(|version| *version > 0)
            .map(|version| parsed(Version::parse(version))),
        portal_url: None,
        documents: parsed(Documents::parse(vec![document])),
    }
}

pub(crate) fn id(account: &str) -> AccountId {
    parsed(AccountId::parse(account))
}

pub(crate) fn number_of(number: &str) -> InvoiceNumber {
    parsed(InvoiceNumber::parse(number))
}

pub(crate) fn at(raw: &str) -> DateTime<Utc> {
    parsed(raw.parse())
}
