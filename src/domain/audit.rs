//! The audit log: what happened, who did it and why, as data.
//!
//! An entry is recorded in the commit that makes it true and lies with the object that it is about. What people read is
//! made of it by [`sentence()`] and nowhere else, so that a console, a filter or a mail has the facts and need not read
//! sentences.
//!
//! No entry holds an e-mail address. Every text that others chose (an operator's reason, a relay's reply, an id of the
//! portal) is an [`AuditText`], which can hold none; the address of an attempt is named by its place in the delivery at
//! that time, and the attempt by its revision, number and start, under which the invoice shows it with its address. An
//! entry could hold the address itself, since its salt lets it be masked later without its digest giving it away. But
//! each masking would leave an entry that the hash chain no longer proves. What the log never holds need never be masked
//! in it: whoever has to forget an address changes accounts, deliveries and attempts, and the log stays whole.

#[cfg(test)]
pub(crate) mod samples;
mod sentence;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{DateTime, Utc};

pub use self::sentence::{rule_in_words, sentence};

use super::delivery::{EnhancedCode, HoldKind, Outcome, Shown, Stage};
use super::id::{Digest, ScheduleName, SenderName, Version, WebhookId};
use super::invoice::Release;
use super::named;
use super::recipient::{Recipient, Rule, Target};

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A sender of webhooks, by the `webhook-id` of its event.
    Sender(SenderName, WebhookId),
    /// A person at the admin interface, by the name of the token or the socket.
    Operator(String),
    /// A schedule that fired.
    Schedule(AuditText),
    /// The daemon itself.
    Daemon,
}

impl Actor {
    /// A schedule that fired.
    #[must_use]
    pub fn schedule(name: &ScheduleName) -> Self {
        Self::Schedule(AuditText::new(name))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sender(name, id) => write!(f, "sender {name} ({id})"),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Schedule(name) => write!(f, "schedule {name}"),
            Self::Daemon => f.write_str("invoice-router"),
        }
    }
}

/// Text that others chose, without e-mail addresses: each word with an `@` is `<address>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditText(String);

impl AuditText {
    /// Takes the text and leaves out what looks like an address.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        let masked = |word| if str::contains(word, '@') { "<address>" } else { word };
        Self(text.as_ref().split(' ').map(masked).collect::<Vec<_>>().join(" "))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AuditText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// What.
    pub event: AuditEvent,
    /// Why, if the actor said so.
    pub reason: Option<AuditText>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEvent {
    /// An account was created or changed.
    AccountChanged(AccountChanged),
    /// An operator cleared suppressions of an account.
    SuppressionsCleared {
        /// How many.
        count: u64,
    },
    /// An invoice was withdrawn before it was issued.
    WithdrawnBeforeIssue {
        /// Its number.
        number: AuditText,
    },
    /// An invoice was issued.
    Issued {
        /// How it is released.
        release: Release,
        /// Its state.
        state: Shown,
    },
    /// A parked invoice's account arrived in the version that it asks for.
    Freed {
        /// The account's version.
        version: Version,
        /// Whether the invoice is still held.
        held: bool,
    },
    /// A withheld invoice is due again, since its account or a suppression of it changed.
    Retried {
        /// Whether the invoice is still held.
        held: bool,
    },
    /// An invoice was held.
    Held {
        /// Why.
        kind: HoldKind,
        /// What went wrong, if no message could be made.
        cause: Option<AuditText>,
        /// When that takes effect, and the state.
        effect: Effect,
        /// The invoice's state now.
        state: Shown,
    },
    /// An operator released an invoice.
    Released {
        /// Whether it is sent at once, whatever its schedule.
        now: bool,
        /// Whether it takes effect.
        effect: Effect,
        /// The invoice's state now.
        state: Shown,
        /// How many suppressions it cleared.
        suppressions_cleared: u64,
    },
    /// An invoice was withdrawn.
    Withdrawn {
        /// Whether it takes effect.
        effect: Effect,
        /// The invoice's state now.
        state: Shown,
    },
    /// An operator had an invoice sent again.
    Resent {
        /// The revision that is replaced.
        revision: u32,
        /// The invoice's state now.
        state: Shown,
        /// How many suppressions it cleared.
        suppressions_cleared: u64,
    },
    /// A round of attempts begins for a recipient that the invoice did not have before.
    RecipientResolved {
        /// Who gets it.
        recipient: AuditRecipient,
    },
    /// An attempt ended, or was interrupted by the end of the daemon.
    AttemptEnded(Box<AttemptEnded>),
    /// Nothing is left to be sent to the current recipient.
    NothingToSend {
        /// The invoice's state now.
        state: Shown,
        /// The rule that names the recipient.
        rule: Rule,
        /// Why it is held, if it is.
        held: Option<HoldKind>,
        /// How many addresses get nothing, since they are no longer the recipient's or are suppressed.
        superseded: u64,
    },
    /// Invoices that waited are released.
    RunOpened {
        /// Which.
        scope: ReleaseScope,
    },
    /// An invoice that waited was released, together with others, by whoever opened the run.
    ReleasedByRun {
        /// Together with which.
        scope: ReleaseScope,
    },
    /// Something was paused.
    Paused {
        /// What.
        scope: PausedScope,
    },
    /// A further reason was given for a pause.
    PauseReasonAdded {
        /// What is paused.
        scope: PausedScope,
    },
    /// A pause ended.
    Resumed {
        /// What was paused.
        scope: PausedScope,
        /// Why it was paused; without those who gave no reason.
        paused_for: Vec<PausedFor>,
    },
}

/// What a change did to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountChanged {
    /// The change.
    pub change: AccountChangeKind,
    /// The account's version now.
    pub version: Version,
    /// Its version before, if that was not lower: an operator's import replaces any.
    pub replaced: Option<Version>,
    /// Whether the change deselected the billing contact.
    pub deselected: bool,
    /// Who gets the account's invoices now.
    pub recipient: AuditRecipient,
    /// How many suppressions it cleared.
    pub suppressions_cleared: u64,
}

/// A change of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChangeKind {
    /// The whole account was created, replaced or reopened.
    Updated,
    /// The same, by an operator's import.
    Imported {
        /// Whether the account is closed.
        closed: bool,
    },
    /// The account was closed.
    Closed,
    /// A sub-user was added or changed.
    SubUserSaved {
        /// Which.
        sub_user: AuditText,
        /// Its group now.
        group: AuditText,
    },
    /// A sub-user was removed.
    SubUserRemoved {
        /// Which.
        sub_user: AuditText,
    },
    /// A billing contact was selected.
    BillingContactSelected {
        /// Which; `None` is the main contact.
        sub_user: Option<AuditText>,
    },
}

/// Who gets invoices, without personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecipient {
    /// Who.
    pub target: AuditTarget,
    /// Which rule says so.
    pub rule: Rule,
}

/// See [`Target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// The billing contact.
    SubUser(AuditText),
    /// The main contact.
    MainContact,
    /// No contact has an address that mail can be delivered to.
    None,
}

impl From<&Recipient> for AuditRecipient {
    fn from(recipient: &Recipient) -> Self {
        let target = match &recipient.target {
            Target::SubUser(id, _) => AuditTarget::SubUser(AuditText::new(id)),
            Target::MainContact(_) => AuditTarget::MainContact,
            Target::None => AuditTarget::None,
        };
        Self { target, rule: recipient.reason.rule }
    }
}

named! {
    /// When a command takes effect.
    pub enum Effect {
        /// It did.
        Applied = "applied",
        /// When the attempt under way has ended.
        Deferred = "deferred",
        /// Too late: the invoice was sent or may have been. What was still open stops.
        AlreadySent = "already_sent",
    }
}

/// Which waiting invoices are released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseScope {
    /// Those of every account of a schedule.
    Schedule(AuditText),
    /// Those of the account that the entry is about.
    Account,
}

named! {
    /// What is paused.
    pub enum PausedScope {
        /// All sending.
        Everything = "everything",
        /// Sending for the account that the entry is about.
        Account = "account",
        /// The removal of what retention no longer covers.
        Removal = "removal",
    }
}

/// A reason for a pause that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedFor {
    /// Who gave it.
    pub actor: Actor,
    /// The reason.
    pub reason: AuditText,
}

/// An attempt, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnded {
    /// The delivery's revision.
    pub revision: u32,
    /// Which attempt at the address, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// The place of its address among the delivery's, from 1.
    pub address: u64,
    /// How many addresses the delivery has.
    pub addresses: u64,
    /// The outcome.
    pub outcome: Outcome,
    /// How far it got.
    pub stage: Stage,
    /// The relay's reply there, if it gave one.
    pub reply: Option<AuditReply>,
    /// What went wrong, if it was not a reply.
    pub cause: Option<AuditText>,
    /// SHA-256 of the exact bytes of the message.
    pub message_digest: Digest,
    /// How many bytes the message has.
    pub message_bytes: u64,
    /// What it means for the invoice, if more than another attempt or address.
    pub consequence: Option<Consequence>,
}

/// A relay's reply, see [`Reply`](super::delivery::Reply).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReply {
    /// The three digits.
    pub code: u16,
    /// The enhanced status code, if it gave one.
    pub enhanced: Option<EnhancedCode>,
    /// Its text.
    pub text: AuditText,
}

/// What the end of an attempt means for the invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// It is held.
    Held(HoldKind),
    /// It is delivered.
    Delivered {
        /// How many addresses accepted it.
        accepted: u64,
        /// Of how many that were not superseded.
        of: u64,
        /// If it was to be withdrawn, which is too late: how many addresses get nothing.
        withdrawal_stopped: Option<u64>,
    },
    /// Its resend is withdrawn: it stays delivered, in an earlier revision.
    EarlierRevisionDelivered,
    /// No address is left.
    Undeliverable,
    /// It is withdrawn, as was asked for during the attempt.
    Withdrawn,
    /// The address is suppressed, and others are asked.
    AddressSuppressed,
}
