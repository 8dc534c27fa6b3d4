//! What the world is made of, in the domain's words.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, NaiveDate, Utc};
use invoice_router::domain::account::BillingGroups;
use invoice_router::domain::address::{EmailAddress, FileName, HeaderText};
use invoice_router::domain::contact::{Addresses, Contact};
use invoice_router::domain::id::{
    AccountId, Digest, Group, InvoiceNumber, SenderName, SubUserId, Version, WebhookId,
};
use invoice_router::domain::invoice::{Document, Documents, Invoice, Kind, MediaType, Release};
use invoice_router::domain::money::{Currency, Money};
use invoice_router::mail::template::Templates;
use invoice_router::store::Received;

use crate::events::Event;

/// What is written here is well-formed; where it is not, the world ends.
#[expect(clippy::panic, reason = "a fault of the simulation's own, found at once")]
pub(crate) fn parsed<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
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
        body: Digest::of(&event.body.to_be_bytes()),
        at: event.received_at,
    }
}

pub(crate) fn groups() -> BillingGroups {
    parsed(BillingGroups::new([group(true)]))
}

pub(crate) fn group(billing: bool) -> Group {
    parsed(Group::parse(if billing { "Rechnungen" } else { "support" }))
}

pub(crate) fn contact(addresses: &[String]) -> Contact {
    let addresses = addresses.iter().map(|address| parsed(EmailAddress::parse(address))).collect();
    Contact {
        name: parsed(HeaderText::parse("Muster")),
        company: None,
        language: None,
        addresses: parsed(Addresses::parse(addresses)),
    }
}

/// An invoice that waits for its account's schedule.
pub(crate) fn invoice(account: &str, number: &str) -> Invoice {
    let document = Document {
        digest: Digest::of(&document(number)),
        file_name: parsed(FileName::parse("rechnung.pdf")),
        media_type: parsed(MediaType::parse("application/pdf")),
    };
    Invoice {
        account: id(account),
        number: number_of(number),
        kind: Kind::Invoice,
        issued_on: NaiveDate::from_ymd_opt(2026, 11, 23).unwrap_or_default(),
        due_on: None,
        total: euros("119.00"),
        release: Release::Scheduled,
        min_account_version: None,
        portal_url: None,
        documents: parsed(Documents::parse(vec![document])),
    }
}

pub(crate) fn euros(amount: &str) -> Money {
    parsed(Money::parse(amount, parsed(Currency::parse("EUR"))))
}

pub(crate) fn version(raw: u64) -> Version {
    parsed(Version::parse(raw))
}

pub(crate) fn sub_user_id(raw: &str) -> SubUserId {
    parsed(SubUserId::parse(raw))
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
