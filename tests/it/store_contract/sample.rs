//! Accounts, invoices and rules to play with.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use invoice_router::domain::account::{BillingGroups, Profile, SubUser};
use invoice_router::domain::address::{EmailAddress, FileName, HeaderText, MessageId};
use invoice_router::domain::contact::{Addresses, Contact};
use invoice_router::domain::delivery::{
    Attempt, DeliveryId, EnhancedCode, Intent, Outcome, Reply, Stage, Verdict,
};
use invoice_router::domain::id::{
    AccountId, Digest, Group, InvoiceNumber, ScheduleName, SenderName, Sequence, SubUserId,
    Version, WebhookId,
};
use invoice_router::domain::invoice::{Document, Documents, Invoice, Kind, MediaType, Release};
use invoice_router::domain::money::{Currency, Money};
use invoice_router::store::{Rules, RunScope, test_rules};

/// Functions that parse what must be well-formed.
macro_rules! parsed {
    ($($name:ident: $type:ty),+ $(,)?) => {
        $(pub(super) fn $name(raw: &str) -> $type {
            <$type>::parse(raw).unwrap()
        })+
    };
}

parsed! {
    id: AccountId,
    number: InvoiceNumber,
    sub_user_id: SubUserId,
    group: Group,
    schedule: ScheduleName,
    sender: SenderName,
    webhook_id: WebhookId,
    address: EmailAddress,
}

/// The rules that all tests over a store begin with, and one billing group.
pub(crate) fn rules_for(billing_group: &str) -> Rules {
    test_rules(BillingGroups::new([group(billing_group)]).unwrap())
}

pub(super) fn rules() -> Rules {
    rules_for("billing")
}

pub(super) fn version(raw: u64) -> Version {
    Version::parse(raw).unwrap()
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

pub(super) fn day(raw: &str) -> NaiveDate {
    raw.parse().unwrap()
}

pub(super) fn instant(raw: &str) -> DateTime<Utc> {
    raw.parse().unwrap()
}

/// A run of a schedule.
pub(super) fn of_schedule(raw: &str) -> RunScope {
    RunScope::Schedule(schedule(raw))
}

/// A run of one account.
pub(super) fn of_account(raw: &str) -> RunScope {
    RunScope::Account(id(raw))
}

pub(super) fn contact(name: &str, addresses: &[&str]) -> Contact {
    Contact {
        name: HeaderText::parse(name).unwrap(),
        company: None,
        language: None,
        addresses: Addresses::parse(addresses.iter().map(|raw| address(raw)).collect()).unwrap(),
    }
}

pub(super) fn sub_user(group_name: &str, addresses: &[&str]) -> SubUser {
    SubUser { group: group(group_name), contact: contact("Buchhaltung", addresses), login: None }
}

/// An account with a main contact only.
pub(super) fn profile() -> Profile {
    Profile {
        name: None,
        language: None,
        schedule: None,
        main_contact: contact("Erika Muster", &["erika@muster.example"]),
        sub_users: BTreeMap::new(),
        billing_contact: None,
    }
}

/// An account whose sub-user `u-7` is selected, with these addresses.
pub(super) fn selecting(addresses: &[&str]) -> Profile {
    Profile {
        sub_users: BTreeMap::from([(sub_user_id("u-7"), sub_user("billing", addresses))]),
        billing_contact: Some(sub_user_id("u-7")),
        ..profile()
    }
}

/// An account on a schedule.
pub(super) fn on_schedule(name: &str) -> Profile {
    Profile { schedule: Some(schedule(name)), ..profile() }
}

/// An account without a usable address.
pub(super) fn without_addresses() -> Profile {
    Profile { main_contact: contact("Erika Muster", &[]), ..profile() }
}

/// The bytes of the document that [`invoice`] names.
pub(super) const PDF: &[u8] = b"%PDF-1.7 one";

pub(super) fn document(bytes: &[u8], file_name: &str) -> Document {
    Document {
        digest: digest(bytes),
        file_name: FileName::parse(file_name).unwrap(),
        media_type: MediaType::parse("application/pdf").unwrap(),
    }
}

/// An invoice for an account's schedule.
pub(super) fn invoice(account: &str, raw: &str) -> Invoice {
    Invoice {
        account: id(account),
        number: number(raw),
        kind: Kind::Invoice,
        issued_on: day("2026-11-23"),
        due_on: None,
        total: Money::parse("119.00", Currency::parse("EUR").unwrap()).unwrap(),
        release: Release::Scheduled,
        min_account_version: None,
        portal_url: None,
        documents: Documents::parse(vec![document(PDF, "invoice.pdf")]).unwrap(),
    }
}

/// An invoice to be sent at once.
pub(super) fn urgent(account: &str, raw: &str) -> Invoice {
    Invoice { release: Release::Immediately, ..invoice(account, raw) }
}

pub(super) fn intent(
    to: &EmailAddress,
    account_version: Version,
    revision: u32,
    attempt: u32,
    at: DateTime<Utc>,
) -> Intent {
    Intent {
        revision,
        address: to.clone(),
        number: attempt,
        started_at: at,
        account_version,
        message_id: MessageId::parse("0123abcd@mail.hosting.example").unwrap(),
        message_digest: digest(b"message"),
        message_bytes: 7,
    }
}

/// The delivery of an invoice, by its place in the order of arrival.
pub(super) fn delivery(sequence: u64) -> DeliveryId {
    DeliveryId::of_invoice(Sequence(sequence))
}

/// What a relay says to an attempt with this verdict.
pub(super) fn attempt(intent: Intent, verdict: Verdict) -> Attempt {
    let said = |code, enhanced, text: &str| {
        Some(Reply { code, enhanced: Some(enhanced), text: text.to_owned() })
    };
    let rejected = format!("<{}>: no such user", intent.address);
    let (stage, reply, outcome) = match verdict {
        Verdict::Accepted => {
            (Stage::FinalDot, said(250, EnhancedCode(2, 0, 0), "queued"), Outcome::Accepted)
        }
        Verdict::Deferred | Verdict::RelayFailed => {
            (Stage::Rcpt, said(450, EnhancedCode(4, 2, 0), "later"), Outcome::Deferred)
        }
        Verdict::AddressRejected => {
            (Stage::Rcpt, said(550, EnhancedCode(5, 1, 1), &rejected), Outcome::Rejected)
        }
        Verdict::MessageRefused => {
            (Stage::FinalDot, said(554, EnhancedCode(5, 7, 1), &rejected), Outcome::Rejected)
        }
        Verdict::Uncertain => (Stage::FinalDot, None, Outcome::Uncertain),
    };
    Attempt { intent, stage, reply, cause: None, outcome }
}
