//! What goes into and comes out of the store's use cases.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use super::StoreError;
use crate::domain::account::{Account, BillingGroups};
use crate::domain::audit::{Actor, AuditEntry};
use crate::domain::change::{Refused, Warning};
use crate::domain::delivery::{
    Attempt, Delivery, DeliveryId, HoldReason, Intent, Shown, StepAnswer, Verdict,
};
use crate::domain::id::{
    AccountId, Digest, InvoiceNumber, ScheduleName, SenderName, Sequence, Version, WebhookId,
};
use crate::domain::invoice::Invoice;
use crate::domain::recipient::{OnRejected, Recipient, Suppressions};
use crate::domain::retry::Policy;

/// The configured rules that the store applies inside its commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whose members may be selected.
    pub groups: BillingGroups,
    /// How deliveries are retried.
    pub policy: Policy,
    /// What happens when no address of a billing contact is left.
    pub on_rejected: OnRejected,
    /// For how many days an idempotency record is kept.
    pub webhook_id_days: u32,
    /// Most bytes that the documents of one invoice may have together.
    pub documents_bytes: u64,
    /// Most bytes that documents to which no invoice refers may have all together, each counted as at least 4 KiB.
    pub unused_documents_bytes: u64,
}

/// A store's random id.
pub type StoreId = [u8; 16];

/// One process at work on a store, by a random id that it makes when it opens the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId(pub [u8; 16]);

/// Where an event came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Whose secret signed it.
    pub sender: SenderName,
    /// Its `webhook-id`.
    pub id: WebhookId,
    /// SHA-256 of the raw body.
    pub body: Digest,
    /// When.
    pub at: DateTime<Utc>,
}

impl Received {
    /// What is kept of the body's digest.
    #[must_use]
    pub fn short_digest(&self) -> [u8; 16] {
        let [short, _] = *self.body.as_bytes().as_chunks::<16>().0 else {
            return [0; 16];
        };
        short
    }

    /// Who sent it, for the audit log.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Sender(self.sender.clone(), self.id.clone())
    }
}

/// An event's answer, under its `webhook-id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deduplicated<T> {
    /// It came for the first time, or was refused before.
    New(T),
    /// It was answered with success before; this is its current state.
    Repeated(T),
    /// Other bytes were answered with success under its id.
    IdReused,
}

impl<T> Deduplicated<T> {
    /// The answer, if there is one.
    pub(super) fn answer_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::New(answer) | Self::Repeated(answer) => Some(answer),
            Self::IdReused => None,
        }
    }
}

/// What became of an account's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeAnswer {
    /// It is applied, or was before, or is outdated.
    Accepted {
        /// Which of these.
        result: ChangeResult,
        /// The current account; none only if it is stale for an account that cannot be read.
        account: Box<Account>,
        /// Who gets its invoices now.
        recipient: Box<Recipient>,
        /// What the portal should know.
        warnings: Vec<Warning>,
        /// Invoices whose message is on its way to another recipient than the current one: they were past
        /// the final check of the account when it changed. After a restart also what the last process left
        /// and may have sent.
        in_flight: Vec<InvoiceNumber>,
    },
    /// Nothing changed.
    Refused(Refused),
}

/// How a change was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeResult {
    /// It changed the account.
    Applied,
    /// It was the current state already.
    Duplicate,
    /// Something newer is current.
    Stale,
}

/// What became of an invoice that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssueAnswer {
    /// It will be sent.
    Applied(InvoiceStatus),
    /// Its account is not there yet, or too old.
    Parked(InvoiceStatus),
    /// It was there already, with the same content.
    Duplicate(InvoiceStatus),
    /// It was withdrawn before it came.
    Stale(InvoiceStatus),
    /// It was there already, with other content.
    Conflict {
        /// The state of the one that is there.
        state: Shown,
        /// The members that differ; empty if only a digest of the content is left.
        differs: Vec<&'static str>,
    },
    /// Documents that it names are not stored.
    DocumentsMissing(Vec<Digest>),
    /// No mail could carry them all; so many bytes are the most.
    DocumentsTooLarge {
        /// [`Rules::documents_bytes`].
        most: u64,
    },
}

/// An invoice's status, for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceStatus {
    /// Its state.
    pub state: Shown,
    /// The schedule that releases it, if it waits for one.
    pub schedule: Option<ScheduleName>,
    /// When it is tried next, if it is due.
    pub next_at: Option<DateTime<Utc>>,
    /// Who would get it now, or got it; none while its account is unknown or once only a tombstone
    /// is left.
    pub recipient: Option<Recipient>,
}

/// What became of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithdrawAnswer {
    /// It will not be sent.
    Withdrawn,
    /// It is obeyed once the attempt under way has ended.
    Recorded,
    /// It was withdrawn before, or is to be once the attempt under way has ended; or this very event
    /// was obeyed when it came first, whatever has become of the invoice since.
    Duplicate {
        /// Its state now.
        state: Shown,
    },
    /// It was, or may have been, sent.
    AlreadySent {
        /// Its state.
        state: Shown,
    },
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentAnswer {
    /// It is kept from now on.
    Stored,
    /// It was kept already.
    Duplicate,
    /// There are too many to which no invoice refers; see [`Rules::unused_documents_bytes`].
    TooMany,
}

/// What an operator may do to an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Wait for a release.
    Hold {
        /// For those who read it later.
        reason: String,
    },
    /// Go on.
    Release {
        /// Whatever the schedule.
        now: bool,
    },
    /// Never send.
    Withdraw,
    /// Send again, as a new revision.
    Resend {
        /// The revision to be replaced.
        revision: u32,
    },
}

/// A command, and why it is given, if that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub command: Command,
    /// For those who read the history later; a hold has its own.
    pub reason: Option<String>,
}

impl From<Command> for Order {
    fn from(command: Command) -> Self {
        Self { command, reason: None }
    }
}

/// What became of an operator's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperateAnswer {
    /// Whether it took effect.
    pub answer: StepAnswer,
    /// The state now.
    pub state: Shown,
}

/// What is paused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PauseScope {
    /// All sending.
    Everything,
    /// Sending for one account.
    Account(AccountId),
    /// The removal of what retention no longer covers.
    Removal,
}

/// That sending, or removing, is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// For those who read it later.
    pub reason: String,
    /// Who did it.
    pub by: Actor,
    /// When.
    pub since: DateTime<Utc>,
    /// What was given as reason since then.
    pub further: Vec<FurtherReason>,
}

impl Pause {
    /// Each reason with whose it is, in order.
    pub fn reasons(&self) -> impl Iterator<Item = (&Actor, &str)> {
        let further = self.further.iter().map(|FurtherReason { reason, by }| (by, reason.as_str()));
        std::iter::once((&self.by, self.reason.as_str())).chain(further)
    }
}

/// One more reason for a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FurtherReason {
    /// For those who read it later.
    pub reason: String,
    /// Who gave it.
    pub by: Actor,
}

/// The pause that stops mail: that of everything or, if there is none, that of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentPause {
    /// What it stops.
    pub scope: PauseScope,
    /// Who paused it, when and why.
    pub pause: Pause,
}

/// What a run releases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunScope {
    /// Every account of a schedule.
    Schedule(ScheduleName),
    /// One account, at an operator's wish.
    Account(AccountId),
}

/// A release of what was waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What it releases.
    pub scope: RunScope,
    /// The scheduled instant, which is its key.
    pub instant: DateTime<Utc>,
    /// When it was opened. What it releases is due from then on.
    pub at: DateTime<Utc>,
    /// Who opened it.
    pub opened_by: Actor,
    /// The last invoice that it releases.
    pub high_water: Sequence,
    /// How far it has come.
    pub cursor: Option<RunCursor>,
    /// Whether it is still at work.
    pub open: bool,
}

/// How far a run has come through what waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunCursor {
    /// The account that it has come to.
    pub account: AccountId,
    /// That account's last invoice that it has looked at.
    pub last: Sequence,
}

/// A place in the order of what is due in one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DuePlace {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub delivery: DeliveryId,
}

/// All that an attempt needs to know.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which delivery.
    pub id: DeliveryId,
    /// What is to be sent.
    pub invoice: Invoice,
    /// Its present state.
    pub delivery: Delivery,
    /// Whose.
    pub account: Account,
    /// Addresses of the account that the relay rejected.
    pub suppressions: Suppressions,
    /// The account's own pause, whether everything is paused or not.
    pub paused: Option<Pause>,
    /// What was seen of it, to be handed back.
    pub seen: ExpectedVersion,
}

/// Which state of delivery and account a decision was made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedVersion {
    /// Raised with each write of the delivery.
    pub stamp: u64,
    /// The account's version.
    pub account_version: Version,
    /// The time-stamp of the current change, since an import can make a version current again with other content.
    pub account_changed_at: Option<DateTime<Utc>>,
}

/// The intent of an attempt, with the round it belongs to.
#[derive(Debug, Clone)]
pub struct Begin {
    /// What it was decided on.
    pub seen: ExpectedVersion,
    /// Who gets it and why; all the deliverable addresses.
    pub recipient: Recipient,
    /// When the round began, which is the `Date` of its messages unless an earlier round's is kept.
    pub round_at: DateTime<Utc>,
    /// What is about to be done.
    pub intent: Intent,
}

/// What became of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentOutcome {
    /// It is durable: the message may go out.
    Durable,
    /// Delivery or account moved meanwhile: nothing may go out.
    Moved,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Settle {
    /// It counted.
    Ended {
        /// What it came to, for the record.
        attempt: Box<Attempt>,
        /// What it means.
        verdict: Verdict,
        /// When it ended.
        at: DateTime<Utc>,
        /// Uniform in 0..1, for the delay until the next.
        jitter: f64,
    },
    /// It was broken off before the message, and does not count.
    Dropped {
        /// When.
        at: DateTime<Utc>,
    },
}

/// The delivery after an attempt.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Its present state.
    pub delivery: Delivery,
    /// To go on with the round.
    pub seen: ExpectedVersion,
}

/// An account with all that bears upon its recipient.
#[derive(Debug, Clone)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// Who gets its invoices now.
    pub recipient: Recipient,
    /// Addresses that the relay rejected.
    pub suppressions: Suppressions,
    /// What stops its mail.
    pub paused: Option<CurrentPause>,
}

/// A part of the list of accounts.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// By id.
    pub items: Vec<AccountView>,
    /// The last one's id, if there may be more.
    pub next: Option<AccountId>,
    /// How many there are in all.
    pub total: u64,
    /// How many are left out of this part, since their records are damaged.
    pub damaged: u64,
}

/// What is open, and how much there is of what no invoice's end takes away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Accounts, the closed included.
    pub accounts: u64,
    /// Bytes of documents that no invoice refers to.
    pub unused_documents_bytes: u64,
    /// Invoices whose account is not known, or too old.
    pub parked: u64,
    /// Those that wait for their schedule.
    pub waiting: u64,
    /// Those for which no address can be reached.
    pub withheld: u64,
    /// Those that are due, at once or when they are tried again.
    pub due: u64,
    /// Those of which an attempt is under way.
    pub sending: u64,
    /// When the oldest parked one came.
    pub oldest_parked: Option<DateTime<Utc>>,
}

/// An invoice with its history.
#[derive(Debug, Clone)]
pub enum InvoiceView {
    /// All of it.
    Whole(Box<WholeInvoice>),
    /// Retention removed it, or it was withdrawn before it came.
    Tombstone {
        /// Its last state.
        state: Shown,
        /// When it became a tombstone.
        at: DateTime<Utc>,
    },
}

/// One invoice, its present state, and all that happened to it.
#[derive(Debug, Clone)]
pub struct WholeInvoice {
    /// Its place in the order of arrival.
    pub sequence: Sequence,
    /// The invoice.
    pub invoice: Invoice,
    /// When it was accepted.
    pub received_at: DateTime<Utc>,
    /// Its present state.
    pub delivery: Delivery,
    /// Its state.
    pub state: Shown,
    /// The schedule that releases it, if it waits for one.
    pub schedule: Option<ScheduleName>,
    /// Who got it or, before an address accepted it, would get it now.
    pub recipient: Option<Recipient>,
    /// What stops its mail, unless nothing is left to be sent.
    pub paused: Option<CurrentPause>,
    /// The attempt under way.
    pub intent: Option<Intent>,
    /// Attempts that counted, of every revision, in order.
    pub attempts: Vec<Attempt>,
    /// What else happened.
    pub story: Vec<AuditEntry>,
}

/// Which invoices a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<Shown>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// Of this number.
    pub number: Option<InvoiceNumber>,
    /// Issued on or after.
    pub issued_from: Option<NaiveDate>,
    /// Issued on or before.
    pub issued_to: Option<NaiveDate>,
    /// Whose delivery changed at or after.
    pub changed_since: Option<DateTime<Utc>>,
}

/// One line of a list of invoices.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its place in the order of arrival.
    pub sequence: Sequence,
    /// The invoice.
    pub invoice: Invoice,
    /// Its state.
    pub state: Shown,
    /// When it is tried next, if it is due.
    pub next_at: Option<DateTime<Utc>>,
    /// Why it is held, if it is.
    pub hold: Option<HoldReason>,
    /// When its delivery changed last.
    pub changed_at: DateTime<Utc>,
}

/// A part of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In order of arrival.
    pub items: Vec<Listed>,
    /// From where to go on, if there may be more.
    pub next: Option<Sequence>,
    /// How many are left out here, since their records are damaged.
    pub damaged: u64,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Documents that no invoice refers to.
    pub unused_documents: Duration,
    /// Invoices that are delivered, withdrawn or undeliverable; a tombstone stays for ever.
    pub finished: Duration,
}

/// What an audit event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An account.
    Account(AccountId),
    /// An invoice of an account.
    Invoice(AccountId, InvoiceNumber),
    /// All, or the daemon itself.
    Everything,
}

/// A place in the audit log: its batch, and the entry's place in that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    /// From 1.
    pub batch: u64,
    /// From 0.
    pub index: u64,
}

/// An audit event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditItem {
    /// Its present state.
    pub place: AuditPlace,
    /// What it is about.
    pub subject: Subject,
    /// What happened.
    pub entry: AuditEntry,
}

/// In which order the audit log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOrder {
    /// As it happened.
    OldestFirst,
    /// Backwards.
    NewestFirst,
}

/// Something in a store that is not as it was written, or does not fit the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where, without addresses.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

/// What a check of a whole store looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Keys of the database.
    pub records: u64,
    /// Links of the audit log's hash chain.
    pub links: u64,
    /// Documents, read and compared with their digests.
    pub documents: u64,
    /// What was found wrong.
    pub findings: u64,
    /// Documents that no record names: left by uploads that were cut off, or by records that are gone.
    pub left_over: u64,
    /// What lies among the documents and is none, nor a directory of theirs.
    pub strays: Vec<PathBuf>,
}

/// The store's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Commits answered since the start.
    pub commits: u64,
    /// How long the batch under way has been at it, if there is one.
    pub committing_for: Option<Duration>,
    /// Why no attempt could begin now; tried again, it may go better.
    pub refuses_intents: Option<StoreError>,
    /// Why nothing new would be taken now.
    pub refuses_new: Option<StoreError>,
    /// What made it stop for good.
    pub failure: Option<StoreError>,
}
