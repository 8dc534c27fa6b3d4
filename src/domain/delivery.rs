//! How one invoice is brought to its recipient: states, addresses, attempts.
//!
//! A delivery changes only by [`step`], a total function over state and event. Being held is a flag
//! beside the state, so that a release returns to what held before. An address is final once the
//! relay accepted it; nothing but an operator's resend starts again, as a new revision.

mod classify;
mod step;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use self::classify::{Heard, Verdict, classify};
pub use self::step::{Event, Step, StepAnswer, step};

use super::address::{EmailAddress, MessageId};
use super::id::{Digest, Sequence, Version};
use super::invoice::Release;
use super::named;

/// Which delivery of which invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The invoice, by its place in the order of arrival.
    pub invoice: Sequence,
    /// What is delivered of it.
    pub kind: DeliveryKind,
}

impl DeliveryId {
    /// The delivery of an invoice itself.
    #[must_use]
    pub fn of_invoice(invoice: Sequence) -> Self {
        Self { invoice, kind: DeliveryKind::Invoice }
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invoice, kind } = self;
        match kind {
            DeliveryKind::Invoice => write!(f, "invoice {invoice}"),
        }
    }
}

/// What is delivered of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryKind {
    /// The invoice itself, to its account's recipient.
    Invoice,
}

impl DeliveryKind {
    /// Its number in keys and Message-IDs, which never changes.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Invoice => 1,
        }
    }

    /// The kind of that number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Invoice),
            _ => None,
        }
    }
}

/// The job of bringing one invoice to its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// From 1; each resend makes the next.
    pub revision: u32,
    /// Its state, hold apart.
    pub state: State,
    /// Set while it is held, or is to be held once the attempt under way has ended.
    pub hold: Option<HoldReason>,
    /// Set while sending, if it is to be withdrawn once the attempt has ended.
    pub withdraw: bool,
    /// In which lane it is sent once it is due. A retry keeps it.
    pub lane: Lane,
    /// When it is tried next; set while due. While parked, when an operator released it at once: it does
    /// not wait for its schedule once its account is there.
    pub next_at: Option<DateTime<Utc>>,
    /// Start of the present round of attempts, which is the `Date` of its messages.
    pub round_at: Option<DateTime<Utc>>,
    /// The addresses of this revision.
    pub addresses: Vec<AddressDelivery>,
}

/// What comes first among deliveries that are due, so that no single invoice waits behind a schedule's thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Released at once, by its sender or an operator, or sent again.
    Urgent,
    /// Released with all that waited for a schedule, or for an operator's dispatch.
    Scheduled,
}

impl Lane {
    /// Every lane, the one that comes first at the front.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Scheduled];
}

/// A delivery's state, hold apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its account is unknown or too old.
    Parked,
    /// For its account's schedule.
    Waiting,
    /// To be sent at `next_at`.
    Due,
    /// An intent is committed and its outcome is not.
    Sending,
    /// Every address that was not superseded is final, and one accepted it; or a resend was withdrawn, and
    /// an earlier revision was accepted.
    Delivered,
    /// No address can be reached; due again with the next change of its account.
    Withheld,
    /// Taken back before it was sent.
    Withdrawn,
    /// No address accepted this revision.
    Undeliverable,
}

named! {
    /// A delivery's state as others see it.
    pub enum Shown {
        /// See [`State::Parked`].
        Parked = "parked",
        /// See [`State::Waiting`].
        Waiting = "waiting",
        /// See [`State::Due`].
        Due = "due",
        /// See [`State::Sending`].
        Sending = "sending",
        /// See [`State::Delivered`].
        Delivered = "delivered",
        /// See [`State::Withheld`].
        Withheld = "withheld",
        /// Waits for an operator.
        Held = "held",
        /// See [`State::Withdrawn`].
        Withdrawn = "withdrawn",
        /// See [`State::Undeliverable`].
        Undeliverable = "undeliverable",
    }
}

/// Why a delivery waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldReason {
    /// An operator wants it.
    Operator {
        /// Who.
        name: String,
        /// Why, in their words.
        reason: String,
    },
    /// The relay refused the message without blaming an address.
    MessageRefused(String),
    /// No message could be made of it.
    NotComposable(String),
    /// The outcome of an attempt is unknown, and the configuration says to hold.
    Uncertain,
    /// The outcome of three attempts is unknown.
    UncertainTooOften,
    /// An address was rejected that may have accepted an earlier attempt.
    RejectedAfterUncertain,
    /// It was withdrawn, but an attempt of unknown outcome may have delivered it.
    WithdrawnAfterUncertain,
}

named! {
    /// What a [`HoldReason`] is, without the words of others.
    pub enum HoldKind of HoldReason {
        /// See [`HoldReason::Operator`].
        Operator = "operator",
        /// See [`HoldReason::MessageRefused`].
        MessageRefused = "message_refused",
        /// See [`HoldReason::NotComposable`].
        NotComposable = "not_composable",
        /// See [`HoldReason::Uncertain`].
        Uncertain = "uncertain",
        /// See [`HoldReason::UncertainTooOften`].
        UncertainTooOften = "uncertain_too_often",
        /// See [`HoldReason::RejectedAfterUncertain`].
        RejectedAfterUncertain = "rejected_after_uncertain",
        /// See [`HoldReason::WithdrawnAfterUncertain`].
        WithdrawnAfterUncertain = "withdrawn_after_uncertain",
    }
}

impl HoldKind {
    /// As people read it.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Operator => "an operator holds it",
            Self::MessageRefused => "the relay refused the message",
            Self::NotComposable => "no message could be made",
            Self::Uncertain => "the outcome of an attempt is unknown",
            Self::UncertainTooOften => "the outcome of three attempts is unknown",
            Self::RejectedAfterUncertain => {
                "an address was rejected that may have accepted an earlier attempt"
            }
            Self::WithdrawnAfterUncertain => {
                "withdrawn, but an attempt of unknown outcome may have delivered it"
            }
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { name: _, reason } => f.write_str(reason),
            Self::MessageRefused(words) | Self::NotComposable(words) => {
                write!(f, "{}: {words}", self.kind().in_words())
            }
            Self::Uncertain
            | Self::UncertainTooOften
            | Self::RejectedAfterUncertain
            | Self::WithdrawnAfterUncertain => f.write_str(self.kind().in_words()),
        }
    }
}

/// One address of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressDelivery {
    /// The address.
    pub address: EmailAddress,
    /// Its present state.
    pub state: AddressState,
    /// Attempts that counted.
    pub attempts: u32,
    /// Those of them that failed for now, or whose outcome is unknown.
    pub failures: u32,
    /// Those of them whose outcome is unknown.
    pub uncertain: u32,
    /// The sum of the delays after its failures.
    pub waited: Duration,
}

named! {
    /// The state of one address of a delivery.
    pub enum AddressState {
        /// To be tried.
        Pending = "pending",
        /// The relay accepted it: final.
        Delivered = "delivered",
        /// The relay said that it does not exist, or it was given up.
        Rejected = "rejected",
        /// It no longer belongs to the active contact, or the invoice was withdrawn: nothing more is tried at it.
        Superseded = "superseded",
        /// An attempt's outcome is unknown; to be tried again.
        Unknown = "unknown",
    }
}

impl AddressState {
    /// Whether it is still to be tried.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Pending | Self::Unknown => true,
            Self::Delivered | Self::Rejected | Self::Superseded => false,
        }
    }
}

/// What is committed before the first byte of a message goes out. An intent without an outcome, after
/// a crash, is an attempt of unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Of the delivery.
    pub revision: u32,
    /// To whom.
    pub address: EmailAddress,
    /// Which attempt at this address, from 1.
    pub number: u32,
    /// When the transaction began.
    pub started_at: DateTime<Utc>,
    /// The account's version that the recipient was resolved from.
    pub account_version: Version,
    /// Of the message.
    pub message_id: MessageId,
    /// SHA-256 of the exact bytes of the message.
    pub message_digest: Digest,
    /// How many bytes it has.
    pub message_bytes: u64,
}

/// An attempt that counted: the intent and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was to be done.
    pub intent: Intent,
    /// How far it got.
    pub stage: Stage,
    /// What the relay said there, if it said something.
    pub reply: Option<Reply>,
    /// What went wrong, if it was not a reply.
    pub cause: Option<String>,
    /// What it came to.
    pub outcome: Outcome,
}

named! {
    /// What an attempt came to.
    pub enum Outcome {
        /// 250 to the final dot.
        Accepted = "accepted",
        /// Failed for now.
        Deferred = "deferred",
        /// Refused for good.
        Rejected = "rejected",
        /// The outcome is unknown.
        Uncertain = "uncertain",
    }
}

named! {
    /// How far an SMTP transaction got (RFC 5321, section 4.5.3.2).
    pub enum Stage {
        /// TCP.
        Connect = "connect",
        /// The TLS handshake, STARTTLS included.
        Tls = "tls",
        /// The relay's 220.
        Greeting = "greeting",
        /// EHLO.
        Ehlo = "ehlo",
        /// AUTH (RFC 4954).
        Auth = "auth",
        /// MAIL FROM.
        Mail = "mail",
        /// RCPT TO.
        Rcpt = "rcpt",
        /// DATA, up to the 354.
        Data = "data",
        /// The message, up to the final dot.
        Body = "body",
        /// From the first byte of the final dot on.
        FinalDot = "final_dot",
    }
}

/// A relay's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The enhanced status code, if it gave one.
    pub enhanced: Option<EnhancedCode>,
    /// Its words, made printable and cut to 200 characters.
    pub text: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, enhanced, text } = self;
        write!(f, "{code}")?;
        if let Some(enhanced) = enhanced {
            write!(f, " {enhanced}")?;
        }
        if text.is_empty() { Ok(()) } else { write!(f, " {text}") }
    }
}

/// An enhanced status code: class, subject and detail (RFC 3463, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(class, subject, detail) = self;
        write!(f, "{class}.{subject}.{detail}")
    }
}

impl Delivery {
    /// The delivery of an invoice that just arrived. `known` says whether its account is there in the
    /// version that it asks for.
    #[must_use]
    pub fn new(known: bool, release: Release, now: DateTime<Utc>) -> Self {
        let parked = Self {
            revision: 1,
            state: State::Parked,
            hold: None,
            withdraw: false,
            lane: Lane::Scheduled,
            next_at: None,
            round_at: None,
            addresses: Vec::new(),
        };
        if known { parked.freed(release, now) } else { parked }
    }

    /// Its state as others see it.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let held = self.hold.is_some();
        match self.state {
            State::Sending => Shown::Sending,
            State::Delivered => Shown::Delivered,
            State::Withdrawn => Shown::Withdrawn,
            State::Undeliverable => Shown::Undeliverable,
            State::Parked | State::Waiting | State::Due | State::Withheld if held => Shown::Held,
            State::Parked => Shown::Parked,
            State::Waiting => Shown::Waiting,
            State::Due => Shown::Due,
            State::Withheld => Shown::Withheld,
        }
    }

    /// Whether an attempt may begin, `next_at` apart.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.state == State::Due && self.hold.is_none()
    }

    /// Whether nothing but an operator moves it again.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match self.state {
            State::Delivered | State::Withdrawn | State::Undeliverable => true,
            State::Parked | State::Waiting | State::Due | State::Sending | State::Withheld => false,
        }
    }

    /// Whether the relay accepted it for any address. An earlier revision was, for nothing else
    /// is sent again.
    #[must_use]
    pub fn was_accepted(&self) -> bool {
        self.revision > 1 || self.is_accepted_by_one()
    }

    /// Whether the relay accepted this revision for any address.
    #[must_use]
    pub fn is_accepted_by_one(&self) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|address| address.state == AddressState::Delivered)
    }

    /// Whether any address has received it, or may have.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        self.was_accepted() || self.addresses.iter().any(|address| address.uncertain > 0)
    }

    /// When it is tried next, as far as that is known.
    #[must_use]
    pub fn next_attempt_at(&self) -> Option<DateTime<Utc>> {
        self.next_at.filter(|_| self.state != State::Parked && self.hold.is_none())
    }

    /// The addresses that are still to be tried, in order.
    pub fn open_addresses(&self) -> impl Iterator<Item = &AddressDelivery> {
        self.addresses.iter().filter(|address| address.state.is_open())
    }

    fn freed(mut self, release: Release, now: DateTime<Utc>) -> Self {
        match release {
            Release::Scheduled if self.next_at.is_none() => self.state = State::Waiting,
            Release::Scheduled | Release::Immediately => {
                self.lane = Lane::Urgent;
                self.state = State::Due;
                self.next_at = Some(now);
            }
        }
        self
    }
}
