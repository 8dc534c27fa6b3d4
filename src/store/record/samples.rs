//! Values by chance, valid by the domain's rules. Rows and enums are drawn field by field from their tables, so
//! that a new field is in every sample; here is what they are made of. Times have whole milliseconds, as they are
//! kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use super::codec::RecordError;
use super::*;
use crate::domain::address::{EmailAddress, FileName, HeaderText, MessageId};
use crate::domain::audit::AuditText;
use crate::domain::contact::{Addresses, Language};
use crate::domain::delivery::EnhancedCode;
use crate::domain::id::{
    AccountId, Group, InvoiceNumber, ScheduleName, SenderName, SubUserId, Version, WebhookId,
};
use crate::domain::invoice::{Documents, MediaType, PortalUrl};
use crate::domain::money::Currency;

pub(crate) type Random = fastrand::Rng;

/// What can be drawn.
pub(crate) trait Sampled: Sized {
    fn sampled(random: &mut Random) -> Self;
}

/// Draws until the domain takes it.
pub(super) fn accepted<T>(mut draw: impl FnMut() -> Result<T, RecordError>) -> T {
    loop {
        if let Ok(value) = draw() {
            return value;
        }
    }
}

/// What was read, for people, and written again.
type ReadAgain = Result<(String, Vec<u8>), RecordError>;

/// What is done with the samples of a kind.
pub(super) struct Sample {
    /// A record that comes back as it was, in bytes.
    pub(super) encoded: fn(&mut Random) -> Vec<u8>,
    /// What bytes are, for people, and written again.
    pub(super) read: fn(&[u8]) -> ReadAgain,
}

impl Sample {
    pub(super) const fn of<R: Record + Sampled + PartialEq + Debug>() -> Self {
        Self {
            encoded: |random| {
                let record = R::sampled(random);
                let bytes = record.encode();
                assert_eq!(R::decode(&bytes), Ok(record));
                bytes
            },
            read: |bytes| {
                let record = R::decode(bytes)?;
                Ok((format!("{record:?}"), record.encode()))
            },
        }
    }
}

thread_local! {
    /// What was read: enums with the numbers of their variants, types of fields with their names and numbers.
    static VARIANTS: RefCell<BTreeSet<Variant>> = RefCell::default();
}

type Variant = (&'static str, &'static str, u64);

/// Notes that a variant, or a field with a value, was read.
pub(super) fn note_variant(kind: &'static str, field: &'static str, number: u64) {
    VARIANTS.with_borrow_mut(|variants| variants.insert((kind, field, number)));
}

/// The variants, and the fields with a value, that `read` meets.
pub(super) fn variants_read_by(read: impl FnOnce()) -> BTreeSet<Variant> {
    VARIANTS.take();
    read();
    VARIANTS.take()
}

macro_rules! sampled {
    ($($type:ty: |$random:ident| $value:expr;)+) => {$(
        impl Sampled for $type {
            fn sampled($random: &mut Random) -> Self {
                $value
            }
        }
    )+};
}

/// So many letters of an alphabet.
fn word(random: &mut Random, alphabet: &str) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    (0..random.usize(1..=12)).map(|_| letters[random.usize(..letters.len())]).collect()
}

fn one_of<'a>(random: &mut Random, all: &[&'a str]) -> &'a str {
    all[random.usize(..all.len())]
}

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";

sampled! {
    bool: |random| random.bool();
    u16: |random| random.u16(..);
    u32: |random| random.u32(..) >> random.u32(0..32);
    u64: |random| random.u64(..) >> random.u32(0..64);
    i128: |random| random.i128(..) >> random.u32(0..128);
    String: |random| (0..random.usize(0..40)).map(|_| random.char(..)).collect();
    Vec<u8>: |random| (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
    [u8; 16]: |random| std::array::from_fn(|_| random.u8(..));
    [u8; 32]: |random| std::array::from_fn(|_| random.u8(..));
    Digest: |random| Self::from_bytes(Sampled::sampled(random));
    ProcessId: |random| Self(Sampled::sampled(random));
    Sequence: |random| Self(Sampled::sampled(random));
    Version: |random| Self::parse(random.u64(1..=Self::MAX)).unwrap();
    DateTime<Utc>: |random| {
        Self::from_timestamp_millis(random.i64(-1_000_000_000_000..10_000_000_000_000)).unwrap()
    };
    NaiveDate: |random| Self::from_epoch_days(random.i32(-10_000..100_000)).unwrap();
    Duration: |random| Self::from_millis(Sampled::sampled(random));
    EnhancedCode: |random| Self(random.u8(..), random.u16(..), random.u16(..));
    Object: |random| match random.u8(..3) {
        0 => Self::Account(Sampled::sampled(random)),
        1 => Self::Invoice(Sampled::sampled(random)),
        _ => Self::Daemon,
    };
    SenderName: |random| Self::parse(word(random, LOWER)).unwrap();
    WebhookId: |random| {
        let id = Self::parse(word(random, LOWER)).unwrap();
        if random.bool() { id } else { id.of_line(random.usize(..)) }
    };
    AuditText: |random| Self::new(String::sampled(random));
    Currency: |random| Self::parse(one_of(random, &["EUR", "JPY", "KWD"])).unwrap();
    Addresses: |random| accepted(|| Ok(Self::parse(Sampled::sampled(random))?));
    Documents: |random| accepted(|| Ok(Self::parse(Sampled::sampled(random))?));
    AccountId: |random| Self::parse(word(random, "ABCXYZ0189äß/-")).unwrap();
    // Few, so that a selection is among an account's sub-users.
    SubUserId: |random| Self::parse(word(random, "u")).unwrap();
    InvoiceNumber: |random| Self::parse(format!("RE-{}", random.u64(..))).unwrap();
    Group: |random| Self::parse(one_of(random, &["Rechnungen", "support"])).unwrap();
    ScheduleName: |random| Self::parse(word(random, LOWER)).unwrap();
    EmailAddress: |random| {
        let (local, domain) = (word(random, LOWER), word(random, LOWER));
        let host = one_of(random, &["", "xn--mller-kva."]);
        Self::parse(&format!("{local}+a@{host}{domain}.example")).unwrap()
    };
    HeaderText: |random| Self::parse(word(random, "AZazÄöü&,.\"")).unwrap();
    FileName: |random| Self::parse(format!("Beleg-{}.pdf", random.u64(..))).unwrap();
    MessageId: |random| Self::parse(&format!("{}@invoices.example", word(random, LOWER))).unwrap();
    Language: |random| Self::parse(one_of(random, &["de", "en", "gsw"])).unwrap();
    MediaType: |random| Self::parse(one_of(random, &["application/pdf", "text/xml"])).unwrap();
    PortalUrl: |random| Self::parse(format!("https://portal.example/{}", random.u64(..))).unwrap();
}

impl<T: Sampled> Sampled for Option<T> {
    fn sampled(random: &mut Random) -> Self {
        random.bool().then(|| T::sampled(random))
    }
}

impl<T: Sampled> Sampled for Box<T> {
    fn sampled(random: &mut Random) -> Self {
        Self::new(T::sampled(random))
    }
}

impl<T: Sampled> Sampled for Vec<T> {
    fn sampled(random: &mut Random) -> Self {
        (0..random.usize(0..6)).map(|_| T::sampled(random)).collect()
    }
}

impl<K: Sampled + Ord, V: Sampled> Sampled for BTreeMap<K, V> {
    fn sampled(random: &mut Random) -> Self {
        (0..random.usize(0..4)).map(|_| (K::sampled(random), V::sampled(random))).collect()
    }
}
