//! The keys of the one tree. The first byte is the kind; texts end with a NUL, which no id can hold,
//! and numbers are big-endian, so that keys sort as their values do.

use chrono::{DateTime, NaiveDate, Utc};

use crate::domain::address::EmailAddress;
use crate::domain::delivery::{DeliveryId, DeliveryKind, Lane};
use crate::domain::id::{
    AccountId, Digest, InvoiceNumber, ScheduleName, SenderName, Sequence, WebhookId,
};
use crate::store::types::{PauseScope, RunScope};

pub(crate) type Key = Vec<u8>;

/// The kinds. A new one takes a new byte; a byte is never used again for something else.
pub(crate) mod kind {
    /// account → the account with its sub-users.
    pub(crate) const ACCOUNT: u8 = b'a';
    /// account, number → sequence or tombstone.
    pub(crate) const IDENTITY: u8 = b'i';
    /// sequence → invoice.
    pub(crate) const INVOICE: u8 = b'I';
    /// sequence, kind → delivery.
    pub(crate) const DELIVERY: u8 = b'd';
    /// sequence, kind → recipient of the last attempt's round.
    pub(crate) const RECIPIENT: u8 = b'R';
    /// sequence, kind, ordinal → attempt.
    pub(crate) const ATTEMPT: u8 = b'A';
    /// schedule, account → nothing: accounts with something waiting.
    pub(crate) const SCHEDULED: u8 = b's';
    /// account, class, sequence, kind → nothing: what a run or a change of the account frees.
    pub(crate) const PENDING: u8 = b'p';
    /// account → cursor: a change frees more than fits in one unit.
    pub(crate) const FREEING: u8 = b'z';
    /// sequence → nothing: a purged invoice with more left of its history than fits in one unit.
    pub(crate) const PURGING: u8 = b'b';
    /// lane, time, sequence, kind → nothing: what is due.
    pub(crate) const DUE: u8 = b'D';
    /// sequence, kind → intent.
    pub(crate) const INTENT: u8 = b'S';
    /// scope → run.
    pub(crate) const RUN: u8 = b'r';
    /// day, sender, webhook-id → 16 bytes of the body's digest.
    pub(crate) const IDEMPOTENCY: u8 = b'w';
    /// account, address → suppression.
    pub(crate) const SUPPRESSION: u8 = b'x';
    /// scope → pause.
    pub(crate) const PAUSE: u8 = b'P';
    /// digest → document.
    pub(crate) const DOCUMENT: u8 = b'f';
    /// object, batch, index → an entry of its history.
    pub(crate) const ENTRY: u8 = b'e';
    /// batch → link of the hash chain.
    pub(crate) const CHAIN: u8 = b't';
    /// name → counter.
    pub(crate) const COUNTER: u8 = b'm';
    /// whole key, part → what did not fit into one value.
    pub(crate) const CONTINUED: u8 = b'c';
}

/// Why an invoice is pending under its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Parked,
    Waiting,
    Withheld,
}

impl Class {
    fn byte(self) -> u8 {
        match self {
            Self::Parked => b'k',
            Self::Waiting => b'w',
            Self::Withheld => b'h',
        }
    }
}

struct Builder(Key);

impl Builder {
    fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }

    fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    fn delivery(self, id: DeliveryId) -> Self {
        self.number(id.invoice.0).byte(id.kind.number())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn class(self, class: Class) -> Self {
        self.byte(class.byte())
    }

    fn day(self, day: NaiveDate) -> Self {
        let days = day.signed_duration_since(NaiveDate::default()).num_days();
        self.number(days.max(0).cast_unsigned())
    }

    fn lane(self, lane: Lane) -> Self {
        self.byte(lane_byte(lane))
    }

    /// Milliseconds since the epoch, moved so that earlier sorts first below zero too.
    fn time(self, at: DateTime<Utc>) -> Self {
        self.number(at.timestamp_millis().cast_unsigned() ^ (1 << 63))
    }
}

/// Keys, or what several begin with: their kind, and what follows it.
macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),+) = $kind:ident $(.$part:ident($value:expr))+;)+) => {$(
        $(#[$doc])*
        pub(crate) fn $name($($argument: $type),+) -> Key {
            Builder::new(kind::$kind)$(.$part($value))+.0
        }
    )+};
}

keys! {
    account(id: &AccountId) = ACCOUNT.text(id.as_str());
    identities(account: &AccountId) = IDENTITY.text(account.as_str());
    identity(account: &AccountId, number: &InvoiceNumber) = IDENTITY.text(account.as_str()).text(number.as_str());
    invoice(sequence: Sequence) = INVOICE.number(sequence.0);
    purging(sequence: Sequence) = PURGING.number(sequence.0);
    delivery(id: DeliveryId) = DELIVERY.delivery(id);
    recipient(id: DeliveryId) = RECIPIENT.delivery(id);
    intent(id: DeliveryId) = INTENT.delivery(id);
    attempts(id: DeliveryId) = ATTEMPT.delivery(id);
    attempt(id: DeliveryId, ordinal: u64) = ATTEMPT.delivery(id).number(ordinal);
    scheduled_accounts(schedule: &ScheduleName) = SCHEDULED.text(schedule.as_str());
    scheduled(schedule: &ScheduleName, account: &AccountId) = SCHEDULED.text(schedule.as_str()).text(account.as_str());
    pending_class(account: &AccountId, class: Class) = PENDING.text(account.as_str()).class(class);
    pending(account: &AccountId, class: Class, id: DeliveryId) =
        PENDING.text(account.as_str()).class(class).delivery(id);
    freeing(account: &AccountId) = FREEING.text(account.as_str());
    due_in(lane: Lane) = DUE.lane(lane);
    due(lane: Lane, at: DateTime<Utc>, id: DeliveryId) = DUE.lane(lane).time(at).delivery(id);
    /// The key before which everything of a lane is due up to and including `now`.
    due_after(lane: Lane, now: DateTime<Utc>) = DUE.lane(lane).time(now).number(u64::MAX).byte(u8::MAX).byte(0);
    /// Everything remembered on a day; days sort.
    idempotency_day(day: NaiveDate) = IDEMPOTENCY.day(day);
    remembered(day: NaiveDate, sender: &SenderName, id: &WebhookId) =
        IDEMPOTENCY.day(day).text(sender.as_str()).text(id.as_str());
    suppressions(account: &AccountId) = SUPPRESSION.text(account.as_str());
    suppression(account: &AccountId, address: &EmailAddress) = SUPPRESSION.text(account.as_str()).text(address.as_str());
    document(digest: &Digest) = DOCUMENT.bytes(digest.as_bytes());
    entries(object: &Object) = ENTRY.bytes(&object.name());
    entry(object: &Object, batch: u64, index: u64) = ENTRY.bytes(&object.name()).number(batch).number(index);
    trail(batch: u64) = CHAIN.number(batch);
    counter(name: &str) = COUNTER.text(name);
    continued(key: &[u8], part: u8) = CONTINUED.bytes(key).byte(0).byte(part);
}

/// The prefix of what a kind of key holds of every delivery of an invoice.
pub(crate) fn of_invoice(kind: u8, sequence: Sequence) -> Key {
    Builder::new(kind).number(sequence.0).0
}

/// The class and the delivery of a key of [`pending`].
pub(crate) fn parse_pending(key: &[u8]) -> Option<(Class, DeliveryId)> {
    let (rest, id) = key.split_last_chunk::<DELIVERY_OCTETS>()?;
    let class = match rest.last()? {
        b'k' => Class::Parked,
        b'w' => Class::Waiting,
        b'h' => Class::Withheld,
        _ => return None,
    };
    Some((class, delivery_at_the_end(id)?))
}

fn lane_byte(lane: Lane) -> u8 {
    match lane {
        Lane::Urgent => b'0',
        Lane::Scheduled => b'1',
    }
}

/// Reads a key of [`due`].
pub(crate) fn parse_due(key: &[u8]) -> Option<(Lane, DateTime<Utc>, DeliveryId)> {
    let ([kind, lane], rest) = key.split_first_chunk()?;
    let lane = Lane::ALL.into_iter().find(|known| lane_byte(*known) == *lane)?;
    let (time, id) = rest.split_first_chunk::<8>()?;
    let millis = (u64::from_be_bytes(*time) ^ (1 << 63)).cast_signed();
    let at = DateTime::from_timestamp_millis(millis)?;
    let id = delivery_at_the_end(id).filter(|_| id.len() == DELIVERY_OCTETS)?;
    (*kind == kind::DUE).then_some((lane, at, id))
}

pub(crate) fn run(scope: &RunScope) -> Key {
    let key = Builder::new(kind::RUN);
    match scope {
        RunScope::Schedule(name) => key.byte(b's').text(name.as_str()).0,
        RunScope::Account(id) => key.byte(b'a').text(id.as_str()).0,
    }
}

pub(crate) fn pause(scope: &PauseScope) -> Key {
    match scope {
        PauseScope::Everything => Builder::new(kind::PAUSE).byte(b'*').0,
        PauseScope::Removal => Builder::new(kind::PAUSE).byte(b'r').0,
        PauseScope::Account(id) => Builder::new(kind::PAUSE).byte(b'a').text(id.as_str()).0,
    }
}

/// An object that has a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    Account(AccountId),
    Invoice(Sequence),
    Daemon,
}

impl Object {
    /// How keys name it.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Self::Account(id) => Builder::new(b'a').text(id.as_str()).0,
            Self::Invoice(sequence) => Builder::new(b'i').number(sequence.0).0,
            Self::Daemon => vec![b'*'],
        }
    }

    /// Reads what [`Object::name`] wrote.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let object = match name.split_first()? {
            (b'a', _) => Self::Account(AccountId::parse(text_after(name, 1)?).ok()?),
            (b'i', number) => Self::Invoice(sequence_at_the_end(number)?),
            (b'*', _) => Self::Daemon,
            _ => return None,
        };
        (object.name() == name).then_some(object)
    }
}

/// The text that follows `prefix` in `key`, up to its NUL.
pub(crate) fn text_after(key: &[u8], prefix_length: usize) -> Option<&str> {
    let rest = key.get(prefix_length..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// The sequence at the end of a key.
pub(crate) fn sequence_at_the_end(key: &[u8]) -> Option<Sequence> {
    key.last_chunk::<8>().map(|bytes| Sequence(u64::from_be_bytes(*bytes)))
}

/// Octets of a delivery in a key.
pub(crate) const DELIVERY_OCTETS: usize = 9;

/// The digest at the end of a key.
pub(crate) fn digest_at_the_end(key: &[u8]) -> Option<Digest> {
    key.last_chunk::<32>().map(|bytes| Digest::from_bytes(*bytes))
}

/// The delivery at the end of a key.
pub(crate) fn delivery_at_the_end(key: &[u8]) -> Option<DeliveryId> {
    let [sequence @ .., kind] = key.last_chunk::<DELIVERY_OCTETS>()?;
    let invoice = Sequence(u64::from_be_bytes(*sequence));
    Some(DeliveryId { invoice, kind: DeliveryKind::of_number(*kind)? })
}

/// The first key after all that begin with `prefix`; none if there is no such key.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Key> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_keys_sort_by_lane_then_time_then_sequence() {
        let at = |millis| DateTime::from_timestamp_millis(millis).unwrap();
        let id = |sequence| DeliveryId::of_invoice(Sequence(sequence));
        let places = [
            (Lane::Urgent, at(-5), id(9)),
            (Lane::Urgent, at(0), id(1)),
            (Lane::Urgent, at(0), id(2)),
            (Lane::Urgent, at(1_000), id(0)),
            (Lane::Scheduled, at(-5), id(3)),
        ];
        let keys: Vec<Key> = places.iter().map(|(lane, at, id)| due(*lane, *at, *id)).collect();
        assert!(keys.is_sorted());
        for (place, key) in places.iter().zip(&keys) {
            assert_eq!(parse_due(key), Some(*place));
        }
        let end = due_after(Lane::Urgent, at(0));
        assert!(
            due(Lane::Urgent, at(0), id(u64::MAX)) < end && end < due(Lane::Urgent, at(1), id(0))
        );
    }

    #[test]
    fn accounts_are_kept_apart_where_one_id_begins_with_the_other() {
        let id = |text| AccountId::parse(text).unwrap();
        assert!(
            !pending(&id("K-10"), Class::Waiting, DeliveryId::of_invoice(Sequence(1)))
                .starts_with(&pending_class(&id("K-1"), Class::Waiting))
        );
    }

    #[test]
    fn what_follows_a_prefix_is_found() {
        assert_eq!(after_prefix(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after_prefix(&[1, 0xFF]), Some(vec![2]));
        assert_eq!(after_prefix(&[0xFF]), None);
    }
}
