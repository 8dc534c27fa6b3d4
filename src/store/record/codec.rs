//! How values are written: CBOR (RFC 8949), a row as an array in which the place of a field is its number.
//!
//! Fields that are absent at a row's end are left out, those between are null. A reader takes the fields that it
//! knows and skips the rest, so that a later program may add some. What has rules in the domain is read through
//! the domain's own checks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use minicbor::data::Type;
use minicbor::{Decoder, Encoder, decode, encode};

use crate::domain::Invalid;
use crate::domain::address::{EmailAddress, FileName, HeaderText, MessageId};
use crate::domain::contact::{Addresses, Language};
use crate::domain::delivery::EnhancedCode;
use crate::domain::id::{
    AccountId, Digest, Group, InvoiceNumber, ScheduleName, Sequence, SubUserId, Version,
};
use crate::domain::invoice::{Documents, MediaType, PortalUrl};
use crate::domain::money::Currency;
use crate::store::engine::keys::Object;
use crate::store::types::ProcessId;

pub(super) type Writer = Encoder<Vec<u8>>;
pub(super) type Written = Result<(), encode::Error<Infallible>>;

/// Bytes that are no record of the kind that was asked for. Names the field and the rule, and never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}{cause}")]
pub(in crate::store) struct RecordError {
    /// The way to it, such as `profile.name: `.
    field: String,
    cause: String,
}

impl RecordError {
    pub(super) fn new(cause: impl Into<String>) -> Self {
        Self { field: String::new(), cause: cause.into() }
    }

    fn within(self, name: &str) -> Self {
        let separator = if self.field.is_empty() { ": " } else { "." };
        Self { field: format!("{name}{separator}{}", self.field), cause: self.cause }
    }
}

impl From<Invalid> for RecordError {
    fn from(invalid: Invalid) -> Self {
        Self::new(invalid.to_string())
    }
}

impl From<decode::Error> for RecordError {
    fn from(error: decode::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// What can be written.
pub(super) trait Write {
    fn write(&self, to: &mut Writer) -> Written;

    /// Whether it may be left out of a row.
    fn is_absent(&self) -> bool {
        false
    }
}

/// What can be read back.
pub(super) trait Read: Sized {
    fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError>;

    /// What it is where a row leaves it out; nothing if it is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// Writes the fields of a row, in the order of their numbers.
pub(super) fn write_row(to: &mut Writer, fields: &[(u64, &dyn Write)]) -> Written {
    let last = fields.iter().rfind(|(_, field)| !field.is_absent());
    let length = last.map_or(0, |(number, _)| number + 1);
    to.array(length)?;
    let mut next = 0;
    for (number, field) in fields.iter().take_while(|(number, _)| *number < length) {
        for _ in next..*number {
            to.null()?;
        }
        field.write(to)?;
        next = number + 1;
    }
    Ok(())
}

/// Writes a variant: its number alone, or a row that begins with it.
pub(super) fn write_choice(to: &mut Writer, variant: u64, fields: &[(u64, &dyn Write)]) -> Written {
    if fields.iter().all(|(_, field)| field.is_absent()) {
        return variant.write(to);
    }
    let number: [(u64, &dyn Write); 1] = [(0, &variant)];
    write_row(to, &[&number, fields].concat())
}

/// Whether each field of a row has a number of its own, in order.
pub(super) const fn are_ascending(numbers: &[u64]) -> bool {
    let mut at = 1;
    while at < numbers.len() {
        if numbers[at - 1] >= numbers[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The fields of a row that is being read.
pub(super) struct Fields<'a, 'b> {
    from: &'a mut Decoder<'b>,
    next: u64,
    length: u64,
}

impl<'a, 'b> Fields<'a, 'b> {
    pub(super) fn of_row(from: &'a mut Decoder<'b>) -> Result<Self, RecordError> {
        let length = length(from.array()?)?;
        Ok(Self { from, next: 0, length })
    }

    /// The number of a variant, and its fields.
    pub(super) fn of_choice(from: &'a mut Decoder<'b>) -> Result<(u64, Self), RecordError> {
        if from.datatype()? == Type::Array {
            let mut fields = Self::of_row(from)?;
            Ok((fields.take(0, "variant")?, fields))
        } else {
            Ok((from.u64()?, Self { from, next: 1, length: 1 }))
        }
    }

    /// Reads a field; those before it that were not asked for are skipped.
    pub(super) fn take<T: Read>(&mut self, number: u64, name: &str) -> Result<T, RecordError> {
        self.skip_to(number)?;
        let mut value = None;
        if self.next < self.length {
            self.next += 1;
            if self.from.datatype()? == Type::Null {
                self.from.null()?;
            } else {
                value = Some(T::read(self.from).map_err(|error| error.within(name))?);
            }
        }
        value.or_else(T::absent).ok_or_else(|| RecordError::new("missing").within(name))
    }

    /// Skips what a later program has added.
    pub(super) fn close(&mut self) -> Result<(), RecordError> {
        self.skip_to(self.length)
    }

    fn skip_to(&mut self, number: u64) -> Result<(), RecordError> {
        while self.next < number.min(self.length) {
            self.from.skip()?;
            self.next += 1;
        }
        Ok(())
    }
}

/// Whatever this program writes has its length in front.
fn length(length: Option<u64>) -> Result<u64, RecordError> {
    length.ok_or_else(|| RecordError::new("its length is missing"))
}

impl<T: Write + ?Sized> Write for &T {
    fn write(&self, to: &mut Writer) -> Written {
        (**self).write(to)
    }

    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

impl<T: Write> Write for Option<T> {
    fn write(&self, to: &mut Writer) -> Written {
        match self {
            Some(value) => value.write(to),
            None => to.null()?.ok(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Read> Read for Option<T> {
    /// [`Fields`] sees to null.
    fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
        T::read(from).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Write> Write for [T] {
    fn write(&self, to: &mut Writer) -> Written {
        to.array(self.len() as u64)?;
        self.iter().try_for_each(|item| item.write(to))
    }
}

impl<T: Write> Write for Vec<T> {
    fn write(&self, to: &mut Writer) -> Written {
        self.as_slice().write(to)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
        // The length is not to be believed before the items are there.
        (0..length(from.array()?)?).map(|_| T::read(from)).collect()
    }
}

impl<K: Write, V: Write> Write for BTreeMap<K, V> {
    fn write(&self, to: &mut Writer) -> Written {
        to.map(self.len() as u64)?;
        for (key, value) in self {
            key.write(to)?;
            value.write(to)?;
        }
        Ok(())
    }
}

impl<K: Read + Ord, V: Read> Read for BTreeMap<K, V> {
    fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
        let mut map = Self::new();
        for _ in 0..length(from.map()?)? {
            if map.insert(K::read(from)?, V::read(from)?).is_some() {
                return Err(RecordError::new("a key is in it twice"));
            }
        }
        Ok(map)
    }
}

impl<const N: usize> Write for [u8; N] {
    fn write(&self, to: &mut Writer) -> Written {
        to.bytes(self)?.ok()
    }
}

impl<const N: usize> Read for [u8; N] {
    fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
        let bytes = from.bytes()?;
        bytes.try_into().map_err(|_| RecordError::new(format!("expected {N} bytes")))
    }
}

macro_rules! primitives {
    ($($type:ident: $method:ident),+) => {$(
        impl Write for $type {
            fn write(&self, to: &mut Writer) -> Written {
                to.$method(self.to_owned())?.ok()
            }
        }

        impl Read for $type {
            fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
                Ok(from.$method()?)
            }
        }
    )+};
}

primitives!(bool: bool, u16: u16, u32: u32, u64: u64, i32: i32, i64: i64, i128: i128);

/// Types that lie on the disk as another one: how it is written, and how it is checked when it is read.
macro_rules! stored_as {
    ($($type:ty as $form:ty: $write:expr, $read:expr;)+) => {$(
        impl Write for $type {
            fn write(&self, to: &mut Writer) -> Written {
                let form: fn(&$type) -> $form = $write;
                form(self).write(to)
            }
        }

        impl Read for $type {
            fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
                let read: fn($form) -> Result<Self, RecordError> = $read;
                read(<$form>::read(from)?)
            }
        }
    )+};
}

stored_as! {
    // Milliseconds since the epoch.
    DateTime<Utc> as i64: DateTime::timestamp_millis, |millis| {
        DateTime::from_timestamp_millis(millis).ok_or_else(|| RecordError::new("expected a time"))
    };
    // Days since the epoch.
    NaiveDate as i32: NaiveDate::to_epoch_days, |days| {
        NaiveDate::from_epoch_days(days).ok_or_else(|| RecordError::new("expected a day"))
    };
    // Whole milliseconds; what does not fit is 584 million years.
    Duration as u64: |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX), |millis| {
        Ok(Duration::from_millis(millis))
    };
    Sequence as u64: |sequence| sequence.0, |number| Ok(Sequence(number));
    // What was decided before its account was known has version 0.
    Version as u64: |version| version.get(), |number| match number {
        0 => Ok(Version::UNKNOWN),
        number => Ok(Version::parse(number)?),
    };
    ProcessId as [u8; 16]: |process| process.0, |bytes| Ok(ProcessId(bytes));
    Digest as [u8; 32]: |digest| *digest.as_bytes(), |bytes| Ok(Digest::from_bytes(bytes));
    EnhancedCode as Vec<u16>: |EnhancedCode(class, subject, detail)| {
        vec![u16::from(*class), *subject, *detail]
    }, |code| match (code.as_slice(), code.first().map(|class| u8::try_from(*class))) {
        ([_, subject, detail], Some(Ok(class))) => Ok(EnhancedCode(class, *subject, *detail)),
        _ => Err(RecordError::new("expected an enhanced status code")),
    };
    // As in keys.
    Object as Vec<u8>: Object::name, |name| {
        Object::parse(&name).ok_or_else(|| RecordError::new("expected an object with a story"))
    };
    Currency as String: |currency| currency.code().to_owned(), |code| Ok(Currency::parse(&code)?);
}

impl Write for String {
    fn write(&self, to: &mut Writer) -> Written {
        to.str(self)?.ok()
    }
}

impl Read for String {
    fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
        Ok(from.str()?.to_owned())
    }
}

impl Write for Vec<u8> {
    fn write(&self, to: &mut Writer) -> Written {
        to.bytes(self)?.ok()
    }
}

impl Read for Vec<u8> {
    fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
        Ok(from.bytes()?.to_vec())
    }
}

/// Texts with a rule.
macro_rules! texts {
    ($($type:ident)+) => {$(
        impl Write for $type {
            fn write(&self, to: &mut Writer) -> Written {
                to.str(self.as_str())?.ok()
            }
        }

        impl Read for $type {
            fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
                Ok($type::parse(from.str()?)?)
            }
        }
    )+};
}

texts! {
    AccountId SubUserId InvoiceNumber Group ScheduleName
    EmailAddress HeaderText FileName MessageId Language MediaType PortalUrl
}

/// Lists with a rule.
macro_rules! lists {
    ($($type:ident)+) => {$(
        impl Write for $type {
            fn write(&self, to: &mut Writer) -> Written {
                self.as_slice().write(to)
            }
        }

        impl Read for $type {
            fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
                Ok($type::parse(Vec::read(from)?)?)
            }
        }
    )+};
}

lists!(Addresses Documents);
