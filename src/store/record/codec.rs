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
use crate::domain::audit::AuditText;
use crate::domain::contact::{Addresses, Language};
use crate::domain::delivery::EnhancedCode;
use crate::domain::id::{
    AccountId, Digest, Group, InvoiceNumber, ScheduleName, SenderName, Sequence, SubUserId,
    Version, WebhookId,
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
pub(crate) struct RecordError {
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
    pub(super) fn take<T: Read>(
        &mut self,
        number: u64,
        name: &'static str,
    ) -> Result<T, RecordError> {
        self.skip_to(number)?;
        let mut value = None;
        if self.next < self.length {
            self.next += 1;
            if self.from.datatype()? == Type::Null {
                self.from.null()?;
            } else {
                #[cfg(test)]
                super::samples::note_variant(std::any::type_name::<T>(), name, number);
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

impl<T: Write> Write for Box<T> {
    fn write(&self, to: &mut Writer) -> Written {
        (**self).write(to)
    }
}

impl<T: Read> Read for Box<T> {
    fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
        T::read(from).map(Self::new)
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
                return Err(RecordError::new("duplicate key"));
            }
        }
        Ok(map)
    }
}

/// How values of a type are written, and how they are read and checked.
macro_rules! values {
    ($($type:ty: |$to:ident, $value:ident| $write:expr, |$from:ident| $read:expr;)+) => {$(
        impl Write for $type {
            fn write(&self, $to: &mut Writer) -> Written {
                let $value = self;
                $write?;
                Ok(())
            }
        }

        impl Read for $type {
            fn read($from: &mut Decoder<'_>) -> Result<Self, RecordError> {
                Ok($read)
            }
        }
    )+};
}

values! {
    bool: |to, value| to.bool(*value), |from| from.bool()?;
    u16: |to, value| to.u16(*value), |from| from.u16()?;
    u32: |to, value| to.u32(*value), |from| from.u32()?;
    u64: |to, value| to.u64(*value), |from| from.u64()?;
    i128: |to, value| to.i128(*value), |from| from.i128()?;
    String: |to, value| to.str(value), |from| from.str()?.to_owned();
    Vec<u8>: |to, value| to.bytes(value), |from| from.bytes()?.to_vec();
    [u8; 16]: |to, value| to.bytes(value), |from| array(from)?;
    [u8; 32]: |to, value| to.bytes(value), |from| array(from)?;
    Digest: |to, value| to.bytes(value.as_bytes()), |from| Digest::from_bytes(array(from)?);
    ProcessId: |to, value| to.bytes(&value.0), |from| ProcessId(array(from)?);
    Sequence: |to, value| to.u64(value.0), |from| Sequence(from.u64()?);
    // What was decided before its account was known has version 0.
    Version: |to, value| to.u64(value.get()), |from| match from.u64()? {
        0 => Version::UNKNOWN,
        number => Version::parse(number)?,
    };
    // Milliseconds since the epoch.
    DateTime<Utc>: |to, value| to.i64(value.timestamp_millis()), |from| {
        expected("a time", DateTime::from_timestamp_millis(from.i64()?))?
    };
    // Days since the epoch.
    NaiveDate: |to, value| to.i32(value.to_epoch_days()), |from| {
        expected("a day", NaiveDate::from_epoch_days(from.i32()?))?
    };
    // Whole milliseconds; what does not fit is 584 million years.
    Duration: |to, value| to.u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX)), |from| {
        Duration::from_millis(from.u64()?)
    };
    EnhancedCode: |to, value| [value.0.into(), value.1, value.2].write(to), |from| {
        let digits = Vec::<u16>::read(from)?;
        match (digits.as_slice(), digits.first().map(|class| u8::try_from(*class))) {
            ([_, subject, detail], Some(Ok(class))) => EnhancedCode(class, *subject, *detail),
            _ => return Err(RecordError::new("expected an enhanced status code")),
        }
    };
    // As in keys.
    Object: |to, value| to.bytes(&value.name()), |from| {
        expected("an object with a history", Object::parse(from.bytes()?))?
    };
    // Behind a slash, the line of a batch, which no sender can send.
    WebhookId: |to, value| to.str(value.as_str()), |from| {
        let text = from.str()?;
        match text.split_once('/') {
            Some((id, line)) => {
                WebhookId::parse(id)?.of_line(expected("the number of a line", line.parse().ok())?)
            }
            None => WebhookId::parse(text)?,
        }
    };
    AuditText: |to, value| to.str(value.as_str()), |from| AuditText::new(from.str()?);
    Currency: |to, value| to.str(value.code()), |from| Currency::parse(from.str()?)?;
    Addresses: |to, value| value.as_slice().write(to), |from| Addresses::parse(Vec::read(from)?)?;
    Documents: |to, value| value.as_slice().write(to), |from| Documents::parse(Vec::read(from)?)?;
}

/// Texts with a rule.
macro_rules! texts {
    ($($type:ident)+) => {
        values! {$($type: |to, value| to.str(value.as_str()), |from| $type::parse(from.str()?)?;)+}
    };
}

texts! {
    AccountId SubUserId InvoiceNumber Group ScheduleName SenderName
    EmailAddress HeaderText FileName MessageId Language MediaType PortalUrl
}

fn array<const N: usize>(from: &mut Decoder<'_>) -> Result<[u8; N], RecordError> {
    let bytes = from.bytes()?;
    expected(&format!("{N} bytes"), bytes.try_into().ok())
}

fn expected<T>(what: &str, value: Option<T>) -> Result<T, RecordError> {
    value.ok_or_else(|| RecordError::new(format!("expected {what}")))
}
