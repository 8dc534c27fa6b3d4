//! What lies on the disk stays readable, and rows can grow. That every record comes back as it was and a damaged one
//! does not is held in [`super::property`].

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use super::codec::{Fields, Writer, Written, are_ascending, write_choice, write_row};
use super::property::framed;
use super::rows::{KINDS, choice, row};
use super::*;
use crate::domain::account::{Account, AccountParts, Login, Profile, SubUser};
use crate::domain::address::{EmailAddress, FileName, HeaderText, MessageId};
use crate::domain::audit::{Actor, samples as audit};
use crate::domain::contact::{Addresses, Contact, Language};
use crate::domain::delivery::{
    AddressDelivery, AddressState, Attempt, EnhancedCode, HoldReason, Intent, Lane, Outcome, Reply,
    Stage, State,
};
use crate::domain::id::{
    AccountId, Group, InvoiceNumber, ScheduleName, SenderName, SubUserId, Version, WebhookId,
};
use crate::domain::invoice::{Document, Documents, Kind, MediaType, PortalUrl, Release};
use crate::domain::money::{Currency, Money};
use crate::domain::recipient::{Addressee, Reason, Recipient, Rule, Suspect, Target};
use crate::store::types::{FurtherReason, Pause, Run, RunCursor, RunScope};

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

fn bare_account() -> Account {
    Account::restore(AccountParts {
        id: AccountId::parse("K-1001").unwrap(),
        version: version(8),
        changed_at: at(-4),
        closed: true,
        reason: Reason { rule: Rule::NoBillingContact, ..reason() },
        profile: Profile {
            name: None,
            language: Some(Language::parse("de").unwrap()),
            schedule: None,
            main_contact: Contact { company: None, language: None, ..contact() },
            sub_users: [].into(),
            billing_contact: None,
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
            lane: Lane::Scheduled,
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

fn attempt(stage: Stage, outcome: Outcome) -> Attempt {
    Attempt { intent: intent(), stage, reply: None, cause: None, outcome }
}

fn addressee() -> Addressee {
    let deliverable = vec![address("rechnung@muster.example")];
    Addressee { contact: contact(), deliverable, language: None }
}

/// Whether bytes are read as a certain record.
type IsReadFrom = Box<dyn Fn(&[u8]) -> bool>;

/// A record of which golden bytes are kept.
struct Sample {
    /// Its kind, and what is special about it.
    name: String,
    encoded: Vec<u8>,
    is_read_from: IsReadFrom,
}

/// Every kind of record with all its fields and without, and with every variant of every enum.
#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn add<R: Record + PartialEq + Debug + 'static>(&mut self, what: impl Debug, record: R) {
        let what = format!("{what:?}").replace(|c: char| !c.is_alphanumeric(), "");
        let name = format!("{}/{what}", R::KIND);
        let encoded = record.encode();
        let is_read_from = Box::new(move |bytes: &[u8]| R::decode(bytes).as_ref() == Ok(&record));
        self.0.push(Sample { name, encoded, is_read_from });
    }
}

fn of_accounts(samples: &mut Samples) {
    samples.add("whole", account());
    samples.add("bare", bare_account());
    let reply = "550 5.1.1 unknown".to_owned();
    samples.add("whole", Suspect { since: at(5), account_version: version(7), reply });
    let target = Target::SubUser(SubUserId::parse("u-2").unwrap(), addressee());
    samples.add("SubUser", Recipient { target, reason: reason() });
    let target = Target::MainContact(addressee());
    samples.add("MainContact", Recipient { target, reason: reason() });
    for rule in [
        Rule::BillingContactSelected,
        Rule::NoBillingContact,
        Rule::BillingContactRemoved,
        Rule::BillingContactLeftGroup,
        Rule::FallbackAfterRejection,
        Rule::NoDeliverableAddress,
    ] {
        let reason = Reason { rule, account_version: Version::UNKNOWN, since: at(0) };
        samples.add(rule, Recipient { target: Target::None, reason });
    }
}

fn of_invoices(samples: &mut Samples) {
    let number = InvoiceNumber::parse("RE-41").unwrap();
    samples.add("whole", invoice());
    for (what, kind) in [
        ("Invoice", Kind::Invoice),
        ("CreditNote", Kind::CreditNote(None)),
        ("CreditNoteOf", Kind::CreditNote(Some(number.clone()))),
        ("CorrectedInvoice", Kind::CorrectedInvoice(number.clone())),
        ("Reminder", Kind::Reminder(number)),
    ] {
        let InvoiceRow { invoice, received_at } = invoice();
        let invoice = Invoice {
            kind,
            due_on: None,
            release: Release::Scheduled,
            min_account_version: None,
            portal_url: None,
            ..invoice
        };
        samples.add(what, InvoiceRow { invoice, received_at });
    }
    samples.add("Sequence", IdentityRow::Sequence(Sequence(300)));
    let content = Some(digest(0xC0));
    samples.add("whole", IdentityRow::Tombstone { content, state: Shown::Withdrawn, at: at(8) });
    for state in Shown::ALL {
        samples.add(state, IdentityRow::Tombstone { content: None, state, at: at(8) });
    }
    let day = NaiveDate::from_ymd_opt(2026, 9, 30).unwrap();
    let document =
        DocumentRow { bytes: 80_000, day, references: 1, billed: true, stored_at: at(9) };
    samples.add("whole", document);
}

fn of_deliveries(samples: &mut Samples) {
    samples.add("whole", delivery());
    let new = Delivery::new(false, Release::Scheduled, at(0));
    samples.add("new", DeliveryRow { delivery: new, ..delivery() });
    let mut add = |what: &dyn Debug, change: &dyn Fn(&mut Delivery)| {
        let mut row = delivery();
        change(&mut row.delivery);
        samples.add(what, row);
    };
    for state in [
        State::Parked,
        State::Waiting,
        State::Due,
        State::Sending,
        State::Delivered,
        State::Withheld,
        State::Withdrawn,
        State::Undeliverable,
    ] {
        add(&state, &|delivery| delivery.state = state);
    }
    for (what, reason) in [
        ("Operator", HoldReason::Operator { name: "erika".to_owned(), reason: "why".to_owned() }),
        ("MessageRefused", HoldReason::MessageRefused("552 no".to_owned())),
        ("NotComposable", HoldReason::NotComposable("no document".to_owned())),
        ("Uncertain", HoldReason::Uncertain),
        ("UncertainTooOften", HoldReason::UncertainTooOften),
        ("RejectedAfterUncertain", HoldReason::RejectedAfterUncertain),
        ("WithdrawnAfterUncertain", HoldReason::WithdrawnAfterUncertain),
    ] {
        add(&["hold", what], &|delivery| delivery.hold = Some(reason.clone()));
    }
    for lane in Lane::ALL {
        add(&("lane", lane), &|delivery| delivery.lane = lane);
    }
    for state in AddressState::ALL {
        add(&("address", state), &|delivery| delivery.addresses[0].state = state);
    }
    samples.add("whole", IntentRow { intent: intent(), owner: ProcessId([0x0E; 16]) });
    for stage in Stage::ALL {
        samples.add(stage, attempt(stage, Outcome::Accepted));
    }
    for outcome in Outcome::ALL {
        samples.add(outcome, attempt(Stage::FinalDot, outcome));
    }
    let enhanced = Some(EnhancedCode(4, 2, 1));
    let reply = Some(Reply { code: 450, enhanced, text: "try later".to_owned() });
    samples.add("reply", Attempt { reply, ..attempt(Stage::Rcpt, Outcome::Deferred) });
    let cause = Some("the connection was closed".to_owned());
    samples.add("cause", Attempt { cause, ..attempt(Stage::Body, Outcome::Deferred) });
}

fn of_the_store(samples: &mut Samples) {
    let account = AccountId::parse("K-1001").unwrap();
    let run = Run {
        scope: RunScope::Account(account.clone()),
        instant: at(6),
        at: at(11),
        opened_by: Actor::Operator("erika".to_owned()),
        high_water: Sequence(300),
        cursor: Some(RunCursor {
            account: AccountId::parse("K-1000").unwrap(),
            last: Sequence(200),
        }),
        open: true,
    };
    let scope = RunScope::Schedule(ScheduleName::parse("monthly").unwrap());
    samples.add("Account", run.clone());
    let (name, id) = (SenderName::parse("portal").unwrap(), WebhookId::parse("msg_1").unwrap());
    for (what, opened_by) in
        [("openedBySender", Actor::Sender(name, id)), ("openedByDaemon", Actor::Daemon)]
    {
        samples.add(what, Run { opened_by, ..run.clone() });
    }
    samples.add("Schedule", Run { scope, cursor: None, open: false, ..run });
    let by = Actor::Operator("erika".to_owned());
    let further = vec![FurtherReason { reason: "an audit".to_owned(), by: Actor::Daemon }];
    samples.add("whole", Pause { reason: "moving".to_owned(), by, since: at(7), further });
    let mut numbers = BTreeMap::<String, u32>::new();
    for entry in audit::entries() {
        let event = format!("{:?}", entry.event);
        let variant = event.split([' ', '(']).next().unwrap_or_default().to_owned();
        let number = numbers.entry(variant.clone()).or_default();
        *number += 1;
        samples.add((variant, *number), EntryRow { salt: [0x5A; 16], entry });
    }
    let objects = [Object::Account(account), Object::Invoice(Sequence(300)), Object::Daemon];
    let links = (2..).zip(objects).map(|(byte, object)| Link { digest: [byte; 32], object });
    samples.add("whole", TrailRow { previous: [1; 32], links: links.collect() });
    samples.add("whole", CursorRow(b"K-1001".to_vec()));
    samples.add("whole", CounterRow(300));
    samples.add("whole", IdempotencyRow { body: [0x1D; 16] });
}

fn samples() -> Vec<Sample> {
    let mut samples = Samples::default();
    of_accounts(&mut samples);
    of_invoices(&mut samples);
    of_deliveries(&mut samples);
    of_the_store(&mut samples);
    samples.0
}

/// Lines are only ever added: whoever changes or removes one loses what is stored.
const GOLDEN: &str = include_str!("golden.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn whatever_was_ever_written_is_read_as_what_it_was() {
    let samples = samples();
    for line in GOLDEN.lines() {
        let (name, bytes) = line.split_once(' ').unwrap();
        let sample = samples.iter().find(|sample| sample.name == name).unwrap();
        assert!((sample.is_read_from)(&unhex(bytes)), "{line}");
    }
}

#[test]
fn what_is_written_now_is_the_newest_line_of_its_name() {
    let newest = |name: &str| {
        let lines = GOLDEN.lines().rev().map(|line| line.split_once(' ').unwrap());
        lines.filter(|(kept, _)| *kept == name).map(|(_, bytes)| bytes).next()
    };
    let missing: Vec<String> = samples()
        .iter()
        .filter(|sample| newest(&sample.name) != Some(&hex(&sample.encoded)))
        .map(|sample| format!("{} {}", sample.name, hex(&sample.encoded)))
        .collect();
    assert!(missing.is_empty(), "to be added to golden.txt:\n{}", missing.join("\n"));
}

#[test]
fn each_kind_has_golden_bytes() {
    for (kind, _) in KINDS {
        let is_kept = |line: &str| line.split('/').next() == Some(*kind);
        assert!(GOLDEN.lines().any(is_kept), "{kind}");
    }
}

#[test]
fn a_delivery_to_one_address_is_short() {
    let bytes = delivery().encode().len();
    assert!(bytes <= 120, "{bytes} bytes");
}

#[test]
fn a_record_of_a_later_version_is_refused() {
    let mut bytes = CounterRow(7).encode();
    bytes[0] = 2;
    assert_eq!(CounterRow::decode(&sealed(bytes)), Err(RecordError::new("unknown version 2")));
}

#[derive(Debug, Clone, PartialEq)]
enum Colour {
    Red,
    Blue,
}
choice!(Colour { 0 Red, 1 Blue });

/// A colour after two releases: one variant has data, one is new.
#[derive(Debug, Clone, PartialEq)]
enum LaterColour {
    Red,
    Blue { shade: Option<u32> },
    Green(String),
}
choice!(LaterColour { 0 Red, 1 Blue { 1 shade }, 2 Green(1 name) });

#[derive(Debug, Clone, PartialEq)]
struct Car {
    name: String,
    colour: Colour,
    owner: Option<String>,
}
// What had number 1 is gone.
row!(Car { 0 name, 2 colour, 3 owner });

#[derive(Debug, Clone, PartialEq)]
struct LaterCar {
    name: String,
    colour: LaterColour,
    owner: Option<String>,
    doors: Option<Vec<u32>>,
    sold_at: Option<DateTime<Utc>>,
}
row!(LaterCar { 0 name, 2 colour, 3 owner, 4 doors, 7 sold_at });

#[derive(Debug, PartialEq)]
struct Garage {
    cars: Vec<Car>,
    city: String,
}
row!(Garage { 0 cars, 1 city });

fn written(value: &impl Write) -> Vec<u8> {
    let mut writer = Encoder::new(Vec::new());
    value.write(&mut writer).unwrap();
    writer.into_writer()
}

/// What is read of the bytes, all of which have to be looked at.
fn read<T: Read>(bytes: &[u8]) -> Result<T, String> {
    let mut decoder = Decoder::new(bytes);
    let read = T::read(&mut decoder).map_err(|error| error.to_string())?;
    assert_eq!(decoder.position(), bytes.len());
    Ok(read)
}

fn car(owner: Option<&str>) -> Car {
    let owner = owner.map(str::to_owned);
    Car { name: "Käfer".to_owned(), colour: Colour::Blue, owner }
}

fn later_car(colour: LaterColour) -> LaterCar {
    let Car { name, owner, .. } = car(None);
    LaterCar { name, colour, owner, doors: Some(vec![2, 1]), sold_at: Some(at(0)) }
}

#[test]
fn an_older_program_skips_the_fields_that_it_does_not_know() {
    let later = later_car(LaterColour::Blue { shade: Some(7) });
    assert_eq!(read(&written(&later)), Ok(car(None)));
    // Within others, too: what follows is found.
    let garage = ("Wolfsburg", vec![&later, &later]);
    let fields: [(u64, &dyn Write); 3] =
        [(0, &garage.1), (1, &garage.0.to_owned()), (9, &later.doors)];
    let mut writer = Encoder::new(Vec::new());
    write_row(&mut writer, &fields).unwrap();
    let cars = vec![car(None), car(None)];
    assert_eq!(read(&writer.into_writer()), Ok(Garage { cars, city: "Wolfsburg".to_owned() }));
}

#[test]
fn a_later_program_reads_what_has_not_got_its_fields() {
    let colour = LaterColour::Blue { shade: None };
    let later =
        LaterCar { doors: None, sold_at: None, owner: Some("A".to_owned()), ..later_car(colour) };
    assert_eq!(read(&written(&car(Some("A")))), Ok(later.clone()));
    assert_eq!(written(&later), written(&car(Some("A"))), "what is absent takes no room");
}

#[test]
fn a_required_field_that_is_missing_or_null_is_named() {
    let cut = |length: u64| {
        let mut writer = Encoder::new(Vec::new());
        writer.array(length).unwrap();
        for _ in 0..length {
            writer.null().unwrap();
        }
        writer.into_writer()
    };
    assert_eq!(read::<Car>(&cut(0)), Err("name: missing".to_owned()));
    assert_eq!(read::<Car>(&cut(4)), Err("name: missing".to_owned()));
    let garage = [&[0x82, 0x81][..], &cut(1), b"\x60"].concat();
    assert_eq!(read::<Garage>(&garage), Err("cars.name: missing".to_owned()));
}

#[test]
fn a_variant_that_is_not_known_is_named_by_kind_and_number() {
    let green = later_car(LaterColour::Green("moss".to_owned()));
    assert_eq!(read::<Car>(&written(&green)), Err("colour: 2 is no Colour".to_owned()));
    let red = later_car(LaterColour::Red);
    assert_eq!(read(&written(&red)), Ok(Car { colour: Colour::Red, ..car(None) }));
    assert_eq!(
        Recipient::decode(&framed(b"\x82\x02\x83\x09\x07\x00")).unwrap_err().to_string(),
        "reason.rule: 9 is no Rule"
    );
}

#[test]
fn a_stored_value_that_breaks_a_rule_is_named_by_its_field_only() {
    let row = IntentRow { intent: intent(), owner: ProcessId([0; 16]) };
    let mut content = written(&row);
    let good = content.windows(2).position(|pair| pair == b"re").unwrap();
    content[good + 8] = b' ';
    let cause = IntentRow::decode(&framed(&content)).unwrap_err().to_string();
    assert!(cause.starts_with("intent.address: expected an e-mail address"), "{cause}");
    assert!(!cause.contains("muster") && !cause.contains("rechnung"), "{cause}");
}
