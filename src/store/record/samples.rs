//! Strategies for what is stored, with whole milliseconds, as they are kept.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::{
    CounterRow, CursorRow, DeliveryRow, DocumentRow, EntryRow, IdempotencyRow, IdentityRow,
    IntentRow, InvoiceRow, Link, Object, OpenerRow, TrailRow,
};
use crate::domain::account::{Account, AccountParts, Login, Profile, SubUser};
use crate::domain::address::{EmailAddress, FileName, HeaderText, MessageId};
use crate::domain::contact::{Addresses, Contact, Language};
use crate::domain::delivery::{
    AddressDelivery, AddressState, Attempt, Delivery, EnhancedCode, HoldReason, Intent, Outcome,
    Reply, Shown, Stage, State,
};
use crate::domain::id::{
    AccountId, Digest, Group, InvoiceNumber, ScheduleName, Sequence, SubUserId, Version,
};
use crate::domain::invoice::{Document, Documents, Invoice, Kind, MediaType, PortalUrl, Release};
use crate::domain::money::{Currency, Money};
use crate::domain::recipient::{Addressee, Reason, Recipient, Rule, Suspect, Target};
use crate::store::types::{Entry, Pause, ProcessId, Run, RunScope};

pub(in crate::store) fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (-1_000_000_000_000_i64..10_000_000_000_000)
        .prop_map(|millis| DateTime::from_timestamp_millis(millis).unwrap())
}

pub(in crate::store) fn day() -> impl Strategy<Value = NaiveDate> {
    (-10_000..100_000_i32).prop_map(|days| NaiveDate::from_epoch_days(days).unwrap())
}

pub(in crate::store) fn account_id() -> impl Strategy<Value = AccountId> {
    "[A-Za-z0-9äß/-]{1,20}".prop_map(|text| AccountId::parse(text).unwrap())
}

pub(in crate::store) fn sub_user_id() -> impl Strategy<Value = SubUserId> {
    "[a-z0-9]{1,8}".prop_map(|text| SubUserId::parse(text).unwrap())
}

pub(in crate::store) fn number() -> impl Strategy<Value = InvoiceNumber> {
    "RE-[0-9]{1,20}".prop_map(|text| InvoiceNumber::parse(text).unwrap())
}

pub(in crate::store) fn schedule() -> impl Strategy<Value = ScheduleName> {
    "[a-z]{1,12}".prop_map(|text| ScheduleName::parse(text).unwrap())
}

pub(in crate::store) fn version() -> impl Strategy<Value = Version> {
    (1..=Version::MAX).prop_map(|number| Version::parse(number).unwrap())
}

/// A version that something was seen at.
fn version_seen() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::UNKNOWN), version()]
}

pub(in crate::store) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

pub(in crate::store) fn header_text() -> impl Strategy<Value = HeaderText> {
    "[A-Za-zÄöü&,.\"]{1,30}".prop_map(|text| HeaderText::parse(text).unwrap())
}

pub(in crate::store) fn address() -> impl Strategy<Value = EmailAddress> {
    "[a-z]{1,12}(\\+[a-z]{1,4})?@[a-z]{1,12}(\\.xn--mller-kva)?\\.example"
        .prop_map(|text| EmailAddress::parse(&text).unwrap())
}

fn language() -> impl Strategy<Value = Language> {
    select(vec!["de", "en", "gsw"]).prop_map(|text| Language::parse(text).unwrap())
}

pub(in crate::store) fn contact() -> impl Strategy<Value = Contact> {
    let addresses = proptest::collection::btree_set(address(), 0..=10)
        .prop_map(|set| Addresses::parse(set.into_iter().collect()).unwrap());
    (header_text(), of(header_text()), of(language()), addresses).prop_map(
        |(name, company, language, addresses)| Contact { name, company, language, addresses },
    )
}

fn login() -> impl Strategy<Value = Login> {
    (any::<bool>(), header_text(), vec(header_text(), 0..4)).prop_map(
        |(enabled, name, permissions)| Login::new(enabled, Some(name), permissions).unwrap(),
    )
}

fn sub_user() -> impl Strategy<Value = SubUser> {
    let group = select(vec!["Rechnungen", "support"]).prop_map(|name| Group::parse(name).unwrap());
    (group, contact(), of(login())).prop_map(|(group, contact, login)| SubUser {
        group,
        contact,
        login,
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    select(vec![
        Rule::BillingContactSelected,
        Rule::NoBillingContact,
        Rule::BillingContactRemoved,
        Rule::BillingContactLeftGroup,
        Rule::FallbackAfterRejection,
        Rule::NoDeliverableAddress,
    ])
}

fn reason() -> impl Strategy<Value = Reason> {
    (rule(), version_seen(), time()).prop_map(|(rule, account_version, since)| Reason {
        rule,
        account_version,
        since,
    })
}

pub(in crate::store) fn account() -> impl Strategy<Value = Account> {
    let profile = (
        of(header_text()),
        of(language()),
        of(schedule()),
        contact(),
        btree_map(sub_user_id(), sub_user(), 0..4),
        any::<bool>(),
    )
        .prop_map(|(name, language, schedule, main_contact, sub_users, selected)| Profile {
            name,
            language,
            schedule,
            main_contact,
            billing_contact: sub_users.keys().next().filter(|_| selected).cloned(),
            sub_users,
        });
    (account_id(), version(), time(), any::<bool>(), reason(), profile).prop_map(
        |(id, version, changed_at, closed, reason, profile)| {
            Account::restore(AccountParts { id, version, changed_at, closed, reason, profile })
                .unwrap()
        },
    )
}

pub(in crate::store) fn suspect() -> impl Strategy<Value = Suspect> {
    (time(), version_seen(), "\\PC{0,40}").prop_map(|(since, account_version, reply)| Suspect {
        since,
        account_version,
        reply,
    })
}

pub(in crate::store) fn recipient() -> impl Strategy<Value = Recipient> {
    let addressee = || {
        (contact(), vec(address(), 1..4), of(language())).prop_map(
            |(contact, deliverable, language)| Addressee { contact, deliverable, language },
        )
    };
    let target = prop_oneof![
        (sub_user_id(), addressee()).prop_map(|(id, addressee)| Target::SubUser(id, addressee)),
        addressee().prop_map(Target::MainContact),
        Just(Target::None),
    ];
    (target, reason()).prop_map(|(target, reason)| Recipient { target, reason })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Invoice),
        of(number()).prop_map(Kind::CreditNote),
        number().prop_map(Kind::CorrectedInvoice),
        number().prop_map(Kind::Reminder),
    ]
}

fn documents() -> impl Strategy<Value = Documents> {
    let media_type = select(vec!["application/pdf", "application/xml"])
        .prop_map(|text| MediaType::parse(text).unwrap());
    vec((digest(), media_type), 1..4).prop_map(|documents| {
        let documents = (1..).zip(documents).map(|(at, (digest, media_type))| Document {
            digest,
            file_name: FileName::parse(format!("Beleg-{at}.pdf")).unwrap(),
            media_type,
        });
        Documents::parse(documents.collect()).unwrap()
    })
}

pub(in crate::store) fn invoice() -> impl Strategy<Value = Invoice> {
    let total = (any::<i64>(), select(vec!["EUR", "JPY", "KWD"]))
        .prop_map(|(minor, code)| Money::from_minor(minor.into(), Currency::parse(code).unwrap()));
    let release = select(vec![Release::Scheduled, Release::Immediately]);
    let url =
        "https://portal\\.example/[a-z0-9]{1,9}".prop_map(|text| PortalUrl::parse(text).unwrap());
    (
        (account_id(), number(), kind(), day(), of(day())),
        (total, release, of(version()), of(url), documents()),
    )
        .prop_map(
            |(
                (account, number, kind, issued_on, due_on),
                (total, release, min_account_version, portal_url, documents),
            )| Invoice {
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
            },
        )
}

pub(super) fn invoice_row() -> impl Strategy<Value = InvoiceRow> {
    (invoice(), time()).prop_map(|(invoice, received_at)| InvoiceRow { invoice, received_at })
}

pub(super) fn identity_row() -> impl Strategy<Value = IdentityRow> {
    prop_oneof![
        any::<u64>().prop_map(|number| IdentityRow::Sequence(Sequence(number))),
        (of(digest()), select(Shown::ALL.to_vec()), time())
            .prop_map(|(content, state, at)| IdentityRow::Tombstone { content, state, at }),
    ]
}

pub(super) fn document_row() -> impl Strategy<Value = DocumentRow> {
    (any::<u64>(), day(), any::<u64>(), any::<bool>(), time()).prop_map(
        |(bytes, day, references, billed, stored_at)| DocumentRow {
            bytes,
            day,
            references,
            billed,
            stored_at,
        },
    )
}

fn hold() -> impl Strategy<Value = HoldReason> {
    prop_oneof![
        ("\\PC{0,40}", "\\PC{0,40}").prop_map(|(by, reason)| HoldReason::Operator { by, reason }),
        "\\PC{0,40}".prop_map(HoldReason::MessageRefused),
        "\\PC{0,40}".prop_map(HoldReason::NotComposable),
        Just(HoldReason::Uncertain),
        Just(HoldReason::UncertainTooOften),
        Just(HoldReason::RejectedAfterUncertain),
        Just(HoldReason::WithdrawnAfterUncertain),
    ]
}

fn address_delivery() -> impl Strategy<Value = AddressDelivery> {
    let state = select(vec![
        AddressState::Pending,
        AddressState::Delivered,
        AddressState::Rejected,
        AddressState::Superseded,
        AddressState::Unknown,
    ]);
    let waited = (0..=u64::from(u32::MAX)).prop_map(Duration::from_millis);
    (address(), state, any::<u32>(), any::<u32>(), any::<u32>(), waited).prop_map(
        |(address, state, attempts, failures, uncertain, waited)| AddressDelivery {
            address,
            state,
            attempts,
            failures,
            uncertain,
            waited,
        },
    )
}

pub(in crate::store) fn delivery() -> impl Strategy<Value = Delivery> {
    let state = select(vec![
        State::Parked,
        State::Waiting,
        State::Due,
        State::Sending,
        State::Delivered,
        State::Withheld,
        State::Withdrawn,
        State::Undeliverable,
    ]);
    (
        any::<u32>(),
        state,
        of(hold()),
        any::<bool>(),
        of(time()),
        of(time()),
        vec(address_delivery(), 0..4),
    )
        .prop_map(|(revision, state, hold, withdraw, next_at, round_at, addresses)| Delivery {
            revision,
            state,
            hold,
            withdraw,
            next_at,
            round_at,
            addresses,
        })
}

pub(super) fn delivery_row() -> impl Strategy<Value = DeliveryRow> {
    (delivery(), any::<u64>(), time()).prop_map(|(delivery, stamp, changed_at)| DeliveryRow {
        delivery,
        stamp,
        changed_at,
    })
}

pub(in crate::store) fn intent() -> impl Strategy<Value = Intent> {
    let message_id =
        "[0-9a-f]{8,32}@invoices\\.example".prop_map(|text| MessageId::parse(&text).unwrap());
    (
        any::<u32>(),
        address(),
        any::<u32>(),
        time(),
        version_seen(),
        message_id,
        (digest(), any::<u64>()),
    )
        .prop_map(
            |(
                revision,
                address,
                number,
                started_at,
                account_version,
                message_id,
                (message_digest, message_bytes),
            )| Intent {
                revision,
                address,
                number,
                started_at,
                account_version,
                message_id,
                message_digest,
                message_bytes,
            },
        )
}

pub(super) fn intent_row() -> impl Strategy<Value = IntentRow> {
    let owner = any::<[u8; 16]>().prop_map(ProcessId);
    (intent(), owner).prop_map(|(intent, owner)| IntentRow { intent, owner })
}

pub(in crate::store) fn attempt() -> impl Strategy<Value = Attempt> {
    let outcome =
        select(vec![Outcome::Accepted, Outcome::Deferred, Outcome::Rejected, Outcome::Uncertain]);
    let enhanced = any::<(u8, u16, u16)>()
        .prop_map(|(class, subject, detail)| EnhancedCode(class, subject, detail));
    let reply = (any::<u16>(), of(enhanced), "\\PC{0,40}")
        .prop_map(|(code, enhanced, text)| Reply { code, enhanced, text });
    (intent(), select(Stage::ALL.to_vec()), of(reply), of("\\PC{0,40}"), outcome).prop_map(
        |(intent, stage, reply, cause, outcome)| Attempt { intent, stage, reply, cause, outcome },
    )
}

pub(in crate::store) fn run() -> impl Strategy<Value = Run> {
    let scope = prop_oneof![
        schedule().prop_map(RunScope::Schedule),
        account_id().prop_map(RunScope::Account),
    ];
    let place = (any::<u64>(), of(account_id()));
    (scope, time(), place, any::<bool>(), any::<u64>()).prop_map(
        |(scope, instant, (high_water, cursor), open, latecomers)| Run {
            scope,
            instant,
            high_water: Sequence(high_water),
            cursor,
            open,
            latecomers,
        },
    )
}

pub(super) fn opener_row() -> impl Strategy<Value = OpenerRow> {
    "\\PC{0,20}".prop_map(OpenerRow)
}

pub(in crate::store) fn pause() -> impl Strategy<Value = Pause> {
    ("\\PC{0,40}", "\\PC{0,20}", time()).prop_map(|(reason, by, since)| Pause { reason, by, since })
}

pub(super) fn entry_row() -> impl Strategy<Value = EntryRow> {
    (any::<[u8; 16]>(), time(), "\\PC{0,20}", "\\PC{0,80}")
        .prop_map(|(salt, at, actor, what)| EntryRow { salt, entry: Entry { at, actor, what } })
}

pub(super) fn trail_row() -> impl Strategy<Value = TrailRow> {
    let object = prop_oneof![
        account_id().prop_map(Object::Account),
        any::<u64>().prop_map(|number| Object::Invoice(Sequence(number))),
        Just(Object::Daemon),
    ];
    let link = (any::<[u8; 32]>(), object).prop_map(|(digest, object)| Link { digest, object });
    (any::<[u8; 32]>(), vec(link, 0..5)).prop_map(|(previous, links)| TrailRow { previous, links })
}

pub(super) fn cursor_row() -> impl Strategy<Value = CursorRow> {
    vec(any::<u8>(), 0..40).prop_map(CursorRow)
}

pub(super) fn counter_row() -> impl Strategy<Value = CounterRow> {
    any::<u64>().prop_map(CounterRow)
}

pub(super) fn idempotency_row() -> impl Strategy<Value = IdempotencyRow> {
    any::<[u8; 16]>().prop_map(|body| IdempotencyRow { body })
}
