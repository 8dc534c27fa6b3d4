//! Every record comes back as it was, a damaged one does not come back at all, and the bytes on the
//! disk stay what they were.

use std::fmt::{Debug, Write as _};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use proptest::prelude::*;

use super::*;
use crate::domain::account::{Account, AccountParts, Login, Profile, SubUser};
use crate::domain::address::{EmailAddress, FileName, HeaderText, MessageId};
use crate::domain::contact::{Addresses, Contact, Language};
use crate::domain::delivery::{
    AddressDelivery, AddressState, Attempt, EnhancedCode, HoldReason, Intent, Outcome, Reply,
    Stage, State,
};
use crate::domain::id::{AccountId, Group, InvoiceNumber, ScheduleName, SubUserId, Version};
use crate::domain::invoice::{Document, Documents, Kind, MediaType, PortalUrl, Release};
use crate::domain::money::{Currency, Money};
use crate::domain::recipient::{Addressee, Reason, Recipient, Rule, Suspect, Target};
use crate::store::types::{Pause, Run, RunScope};

/// What was written comes back; no flipped bit, cut or addition does.
fn comes_back<R: Record + PartialEq + Debug>(record: &R, flip: usize) -> Result<(), TestCaseError> {
    let bytes = record.encode();
    let back = R::decode(&bytes);
    prop_assert_eq!(back.as_ref(), Ok(record));

    let mut flipped = bytes.clone();
    flipped[flip / 8 % bytes.len()] ^= 1 << (flip % 8);
    prop_assert!(R::decode(&flipped).is_err());
    prop_assert!(R::decode(&bytes[..flip % bytes.len()]).is_err());
    prop_assert!(R::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    Ok(())
}

macro_rules! come_back {
    ($($name:ident: $strategy:path),+ $(,)?) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(
                #[test]
                fn $name(record in $strategy(), flip in any::<usize>()) {
                    comes_back(&record, flip)?;
                }
            )+
        }
    };
}

come_back! {
    an_account_comes_back: samples::account,
    a_suspect_comes_back: samples::suspect,
    a_recipient_comes_back: samples::recipient,
    an_invoice_comes_back: samples::invoice_row,
    an_identity_comes_back: samples::identity_row,
    a_document_comes_back: samples::document_row,
    a_delivery_comes_back: samples::delivery_row,
    an_intent_comes_back: samples::intent,
    an_attempt_comes_back: samples::attempt,
    a_run_comes_back: samples::run,
    an_opener_comes_back: samples::opener_row,
    a_pause_comes_back: samples::pause,
    an_entry_comes_back: samples::entry_row,
    a_link_of_the_trail_comes_back: samples::trail_row,
    a_cursor_comes_back: samples::cursor_row,
    a_counter_comes_back: samples::counter_row,
}

/// Content behind a frame that is right.
fn framed(form: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    bytes.extend(postcard::to_stdvec(form).unwrap());
    let checksum = checksum(&bytes);
    bytes[1..FRAME_OCTETS].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn arbitrary_content_is_refused_without_a_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![VERSION, 0, 0, 0, 0];
        bytes.extend(content);
        let checksum = checksum(&bytes);
        bytes[1..FRAME_OCTETS].copy_from_slice(&checksum.to_le_bytes());
        // Some of it may happen to be a record; none of it may end the daemon.
        let _ = Account::decode(&bytes);
        let _ = InvoiceRow::decode(&bytes);
        let _ = DeliveryRow::decode(&bytes);
        let _ = Recipient::decode(&bytes);
        let _ = Attempt::decode(&bytes);
        let _ = Run::decode(&bytes);
        let _ = TrailRow::decode(&bytes);
    }
}

#[test]
fn a_record_of_a_later_version_is_refused() {
    let mut bytes = CounterRow(7).encode();
    bytes[0] = 2;
    let checksum = checksum(&bytes);
    bytes[1..FRAME_OCTETS].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(CounterRow::decode(&bytes), Err(Malformed("unknown version 2".to_owned())));
}

#[test]
fn a_stored_value_that_breaks_a_rule_is_named_by_its_field_only() {
    let form =
        (1_u32, "erika muster@nowhere", 1_u32, 0_i64, 1_u64, "a@b.example", [0_u8; 32], 0_u64);
    let Malformed(cause) = Intent::decode(&framed(&form)).unwrap_err();
    assert!(cause.starts_with("address: expected an e-mail address"), "{cause}");
    assert!(!cause.contains("erika") && !cause.contains("nowhere"), "{cause}");
}

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_790_000_000_000 + millis).unwrap()
}

fn address(raw: &str) -> EmailAddress {
    EmailAddress::parse(raw).unwrap()
}

fn text(raw: &str) -> HeaderText {
    HeaderText::parse(raw).unwrap()
}

fn version(number: u64) -> Version {
    Version::parse(number).unwrap()
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn contact() -> Contact {
    Contact {
        name: text("Erika Muster"),
        company: Some(text("Muster GmbH")),
        language: Some(Language::parse("de").unwrap()),
        addresses: Addresses::parse(vec![address("rechnung@muster.example")]).unwrap(),
    }
}

fn reason() -> Reason {
    Reason { rule: Rule::BillingContactSelected, account_version: version(7), since: at(0) }
}

fn account() -> Account {
    let selected = SubUserId::parse("u-2").unwrap();
    let sub_user = SubUser {
        group: Group::parse("Rechnungen").unwrap(),
        contact: contact(),
        login: Some(Login::new(true, Some(text("erika")), vec![text("invoices")]).unwrap()),
    };
    Account::restore(AccountParts {
        id: AccountId::parse("K-1001").unwrap(),
        version: version(7),
        changed_at: at(-5),
        closed: false,
        reason: reason(),
        profile: Profile {
            name: Some(text("Muster GmbH")),
            language: None,
            schedule: Some(ScheduleName::parse("monthly").unwrap()),
            main_contact: contact(),
            sub_users: [(selected.clone(), sub_user)].into(),
            billing_contact: Some(selected),
        },
    })
    .unwrap()
}

fn invoice() -> InvoiceRow {
    let document = Document {
        digest: digest(0xD0),
        file_name: FileName::parse("RE-42.pdf").unwrap(),
        media_type: MediaType::parse("application/pdf").unwrap(),
    };
    InvoiceRow {
        invoice: Invoice {
            account: AccountId::parse("K-1001").unwrap(),
            number: InvoiceNumber::parse("RE-42").unwrap(),
            kind: Kind::CorrectedInvoice(InvoiceNumber::parse("RE-41").unwrap()),
            issued_on: NaiveDate::from_ymd_opt(2026, 9, 30).unwrap(),
            due_on: NaiveDate::from_ymd_opt(2026, 10, 14),
            total: Money::from_minor(-11_900, Currency::parse("EUR").unwrap()),
            release: Release::Immediately,
            min_account_version: Some(version(7)),
            portal_url: Some(PortalUrl::parse("https://portal.example/i/42").unwrap()),
            documents: Documents::parse(vec![document]).unwrap(),
        },
        received_at: at(1),
    }
}

fn delivery() -> DeliveryRow {
    DeliveryRow {
        delivery: Delivery {
            revision: 1,
            state: State::Due,
            hold: Some(HoldReason::Uncertain),
            withdraw: false,
            next_at: Some(at(600_000)),
            round_at: Some(at(2)),
            addresses: vec![AddressDelivery {
                address: address("buchhaltung.rechnungseingang@muster-hosting.example"),
                state: AddressState::Unknown,
                attempts: 3,
                failures: 2,
                uncertain: 1,
                waited: Duration::from_mins(90),
            }],
        },
        stamp: 5,
        changed_at: at(3),
    }
}

fn intent() -> Intent {
    Intent {
        revision: 1,
        address: address("rechnung@muster.example"),
        number: 2,
        started_at: at(4),
        account_version: version(7),
        message_id: MessageId::parse("4f1a@invoices.example").unwrap(),
        message_digest: digest(0xAB),
        message_bytes: 85_000,
    }
}

#[test]
fn a_delivery_to_one_address_is_short() {
    let bytes = delivery().encode().len();
    assert!(bytes <= 120, "{bytes} bytes");
}

fn hex(record: &impl Record) -> String {
    record.encode().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// The numbers under which the variants of an enum lie on the disk.
fn numbers<T>(
    all: impl IntoIterator<Item = T>,
    row: impl Fn(T) -> Vec<u8>,
    place: usize,
) -> Vec<u8> {
    all.into_iter().map(|value| row(value)[FRAME_OCTETS + place]).collect()
}

#[test]
fn variants_of_a_delivery_keep_their_numbers() {
    let states = [
        State::Parked,
        State::Waiting,
        State::Due,
        State::Sending,
        State::Delivered,
        State::Withheld,
        State::Withdrawn,
        State::Undeliverable,
    ];
    let with_state = |state| {
        let mut row = delivery();
        row.delivery.state = state;
        row.encode()
    };
    assert_eq!(numbers(states, with_state, 1), [0, 1, 2, 3, 4, 5, 6, 7]);

    let reasons = [
        HoldReason::Operator { by: String::new(), reason: String::new() },
        HoldReason::MessageRefused(String::new()),
        HoldReason::NotComposable(String::new()),
        HoldReason::Uncertain,
        HoldReason::UncertainTooOften,
        HoldReason::RejectedAfterUncertain,
        HoldReason::WithdrawnAfterUncertain,
    ];
    let with_hold = |reason| {
        let mut row = delivery();
        row.delivery.hold = Some(reason);
        row.encode()
    };
    assert_eq!(numbers(reasons, with_hold, 3), [0, 1, 2, 3, 4, 5, 6]);

    let states = [
        AddressState::Pending,
        AddressState::Delivered,
        AddressState::Rejected,
        AddressState::Superseded,
        AddressState::Unknown,
    ];
    let with_address = |state| {
        let mut row = delivery();
        row.delivery.addresses[0].state = state;
        let mut bytes = row.encode();
        let address = row.delivery.addresses[0].address.as_str().as_bytes();
        let at = bytes.windows(address.len()).position(|part| part == address).unwrap();
        bytes.drain(FRAME_OCTETS..at + address.len());
        bytes
    };
    assert_eq!(numbers(states, with_address, 0), [0, 1, 2, 3, 4]);
}

#[test]
fn variants_of_other_records_keep_their_numbers() {
    let tombstone = |state| IdentityRow::Tombstone { content: None, state, at: at(0) }.encode();
    assert_eq!(numbers(Shown::ALL, tombstone, 2), [0, 1, 2, 3, 4, 5, 6, 7, 8]);

    let with_rule = |rule| {
        let reason = Reason { rule, ..reason() };
        Recipient { target: Target::None, reason }.encode()
    };
    let rules = [
        Rule::BillingContactSelected,
        Rule::NoBillingContact,
        Rule::BillingContactRemoved,
        Rule::BillingContactLeftGroup,
        Rule::FallbackAfterRejection,
        Rule::NoDeliverableAddress,
    ];
    assert_eq!(numbers(rules, with_rule, 1), [0, 1, 2, 3, 4, 5]);

    let intent_length = intent().encode().len() - FRAME_OCTETS;
    let ended = |stage, outcome| {
        Attempt { intent: intent(), stage, reply: None, cause: None, outcome }.encode()
    };
    let reached = numbers(Stage::ALL, |stage| ended(stage, Outcome::Accepted), intent_length);
    assert_eq!(reached, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let outcomes = [Outcome::Accepted, Outcome::Deferred, Outcome::Rejected, Outcome::Uncertain];
    let outcomes = numbers(outcomes, |outcome| ended(Stage::Body, outcome), intent_length + 3);
    assert_eq!(outcomes, [0, 1, 2, 3]);
}

/// Whoever changes these bytes loses what is stored: add a version instead.
#[test]
fn the_bytes_on_the_disk_are_those_of_version_1() {
    let attempt = Attempt {
        intent: intent(),
        stage: Stage::Rcpt,
        reply: Some(Reply {
            code: 450,
            enhanced: Some(EnhancedCode(4, 2, 1)),
            text: "try later".to_owned(),
        }),
        cause: None,
        outcome: Outcome::Deferred,
    };
    let recipient = Recipient {
        target: Target::SubUser(
            SubUserId::parse("u-2").unwrap(),
            Addressee {
                contact: contact(),
                deliverable: vec![address("rechnung@muster.example")],
                language: None,
            },
        ),
        reason: reason(),
    };
    let suspect = Suspect {
        since: at(5),
        account_version: version(7),
        reply: "550 5.1.1 unknown".to_owned(),
    };
    let run = Run {
        scope: RunScope::Account(AccountId::parse("K-1001").unwrap()),
        instant: at(6),
        high_water: Sequence(300),
        cursor: Some(AccountId::parse("K-1000").unwrap()),
        open: true,
        latecomers: 2,
    };
    let pause =
        Pause { reason: "moving".to_owned(), by: "operator erika".to_owned(), since: at(7) };
    let tombstone =
        IdentityRow::Tombstone { content: Some(digest(0xC0)), state: Shown::Withdrawn, at: at(8) };
    let document = DocumentRow {
        bytes: 80_000,
        day: NaiveDate::from_ymd_opt(2026, 9, 30).unwrap(),
        references: 1,
        billed: true,
        stored_at: at(9),
    };
    let entry = EntryRow {
        salt: [0x5A; 16],
        entry: Entry { at: at(10), actor: "sender portal".to_owned(), what: "accepted".to_owned() },
    };
    let trail = TrailRow {
        previous: [1; 32],
        entries: vec![[2; 32]],
        objects: vec![b"aK-1001\0".to_vec()],
    };
    let golden = [
        ("account", hex(&account())),
        ("attempt", hex(&attempt)),
        ("recipient", hex(&recipient)),
        ("suspect", hex(&suspect)),
        ("invoice", hex(&invoice())),
        ("identity", hex(&IdentityRow::Sequence(Sequence(300)))),
        ("tombstone", hex(&tombstone)),
        ("document", hex(&document)),
        ("delivery", hex(&delivery())),
        ("intent", hex(&intent())),
        ("run", hex(&run)),
        ("opener", hex(&OpenerRow("operator erika".to_owned()))),
        ("pause", hex(&pause)),
        ("entry", hex(&entry)),
        ("trail", hex(&trail)),
        ("cursor", hex(&CursorRow(b"K-1001".to_vec()))),
        ("counter", hex(&CounterRow(300))),
    ];
    let kept: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(golden.map(|(kind, bytes)| format!("{kind} {bytes}")), *kept);
}
