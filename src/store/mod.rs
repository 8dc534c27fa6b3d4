//! What is kept, and the promise about it: `Ok` means durable.
//!
//! [`Store`] has one method a use case, and each is one atomic unit. Changes return a [`Commit`]; it
//! resolves once the change is on the disk, and goes on if nobody waits for it. Reads return what is
//! there now, which may not be durable yet: an answer to a caller is built from a commit's result,
//! never from a read, so that nothing is told that a power cut could undo.
//!
//! No key, iterator or type of the database leaks out. Every implementation passes the contract in
//! `tests/it/store_contract.rs`, reopening included.

mod committer;
mod disk;
mod documents;
mod engine;
mod memory;
mod record;
mod sled;
#[cfg(test)]
mod testing;
pub mod types;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, oneshot};

use crate::config::State;
use crate::domain::audit::Actor;
use crate::domain::change::AccountChange;
use crate::domain::delivery::{DeliveryId, HoldReason, Intent, Lane};
use crate::domain::id::{
    AccountId, Digest, InvoiceNumber, ScheduleName, SenderName, Sequence, WebhookId,
};
use crate::domain::invoice::Invoice;
use crate::domain::recipient::Recipient;

#[cfg(any(test, fuzzing))]
pub(crate) use self::record::property::records;
pub use self::sled::OpenError;
pub use self::types::*;

use self::documents::Documents;
use self::engine::Engine;
use self::memory::MemoryBackend;
use self::sled::SledBackend;

/// Opens the store of a state directory, or creates one if the directory is empty. Blocks.
pub fn open(settings: &State, rules: Rules) -> Result<Arc<dyn Store>, OpenError> {
    let backend = SledBackend::open(settings)?;
    let documents = Documents::open(&settings.directory)?;
    Ok(Arc::new(Engine::new(backend, documents, rules)?))
}

/// Checks all that a state directory holds: every record, index, link of the trail and document. `tell`
/// hears each thing that is wrong. Nothing is changed, but for what opening a database recovers; nobody
/// else may have it open. Blocks.
pub fn verify(settings: &State, tell: &mut dyn FnMut(Finding)) -> Result<Verified, OpenError> {
    let opened = sled::Opened::open(settings)?;
    let documents = Documents::to_be_read(&settings.directory);
    Ok(engine::verify::verify(opened.tree(), &documents, tell)?)
}

/// What outlives a store in memory: its map, and a directory for documents. For tests and trials.
pub struct Memory {
    backend: MemoryBackend,
    directory: PathBuf,
}

impl Memory {
    /// An empty store with its documents below `directory`, which exists.
    pub fn new(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Ok(Self { backend: MemoryBackend::new()?, directory: directory.into() })
    }

    /// From now on commits wait for [`Memory::commit`], as they do for a disk; `waits` is notified of each.
    pub fn hold_back(&self, waits: Arc<Notify>) {
        self.backend.hold_back(waits);
    }

    /// Commits what waits; from now on nothing waits any more.
    pub fn go_on(&self) -> Result<(), StoreError> {
        self.backend.go_on()
    }

    /// Commits the first of what waits, at most so many units, in as few batches as they fit into.
    pub fn commit(&self, most: usize) -> Result<(), StoreError> {
        self.backend.commit_held_back(most)
    }

    /// Forgets what waits, as a crash does: whoever asked for it hears that the store is closed.
    pub fn lose(&self) {
        drop(self.backend.take_held_back());
    }

    /// Checks all that it holds; see [`verify`].
    pub fn verify(&self, tell: &mut dyn FnMut(Finding)) -> Result<Verified, StoreError> {
        let documents = Documents::to_be_read(&self.directory);
        engine::verify::verify(&self.backend, &documents, tell)
    }

    /// Opens the store, again or for the first time.
    pub fn open(&self, rules: Rules) -> Result<Arc<dyn Store>, StoreError> {
        let documents = Documents::open(&self.directory)?;
        Ok(Arc::new(Engine::new(self.backend.reopen(), documents, rules)?))
    }
}

/// A change under way. Resolves once it is durable or refused; dropping it cancels nothing.
#[derive(Debug)]
pub struct Commit<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Commit<T> {
    /// A commit and the end by which the store answers it.
    #[must_use]
    pub fn channel() -> (oneshot::Sender<Result<T, StoreError>>, Self) {
        let (answer, commit) = oneshot::channel();
        (answer, Self(commit))
    }

    /// A commit that is answered already.
    #[must_use]
    pub fn ready(result: Result<T, StoreError>) -> Self {
        let (answer, commit) = Self::channel();
        // The receiver is in `commit`, so there is somebody to take it.
        drop(answer.send(result));
        commit
    }

    /// Waits for the answer. Blocks; not to be called from a task.
    pub fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl<T> Future for Commit<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

/// Why the store did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk has less free space than is reserved; nothing changed.
    #[error("less free disk space than state.reserve_bytes")]
    DiskFull,
    /// Too many commits are waiting; nothing changed.
    #[error("too many commits are waiting")]
    Busy,
    /// The store has been closed; nothing changed.
    #[error("the store is closed")]
    Closed,
    /// A record does not have the form or checksum that it was written with.
    #[error("damaged record {key}: {cause}")]
    Damaged {
        /// Which record, without personal data.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The database or the file system failed: nothing more can be promised until a restart.
    #[error("{operation} failed: {cause}")]
    Failed {
        /// What was to be done.
        operation: &'static str,
        /// What the system said.
        cause: String,
    },
    /// The disk failed a sync. What the kernel dropped cannot be told, so nobody may trust this
    /// state by restarting alone.
    #[error("the disk failed a sync: {0}")]
    SyncFailed(String),
}

/// The state of accounts, invoices and deliveries.
///
/// Times are arguments, in whole milliseconds; `at` is the time of the commit.
pub trait Store: Send + Sync + 'static {
    // Webhook.

    /// The first 16 bytes of the digest of the body that was answered with success under this id, if
    /// it is still remembered at `at`. A hint: [`Store::change_account`] and its siblings judge again.
    fn remembered(
        &self,
        sender: &SenderName,
        id: &WebhookId,
        at: DateTime<Utc>,
    ) -> Result<Option<[u8; 16]>, StoreError>;

    /// Applies a change of an account, frees what was parked for it, and makes due what was withheld: in the same
    /// commit as much as a batch can hold, and the rest, which a durable cursor remembers, in those that follow.
    fn change_account(
        &self,
        received: Received,
        change: AccountChange,
    ) -> Commit<Judged<ChangeAnswer>>;

    /// Applies a change that an operator brings, as [`Store::change_account`] does.
    fn import_account(
        &self,
        change: AccountChange,
        actor: Actor,
        reason: Option<String>,
        at: DateTime<Utc>,
    ) -> Commit<ChangeAnswer>;

    /// Takes an invoice; its documents must be stored.
    fn issue(&self, received: Received, invoice: Invoice) -> Commit<Judged<IssueAnswer>>;

    /// Takes an invoice back; one that is not known yet will be stale when it comes.
    fn withdraw(
        &self,
        received: Received,
        account: AccountId,
        number: InvoiceNumber,
    ) -> Commit<Judged<WithdrawAnswer>>;

    // Documents.

    /// Keeps a document's bytes, whose SHA-256 is `digest`, unless there are too many unused ones; uploads under way
    /// when there come to be still get in. Blocks on the file system until the bytes are durable, then commits the
    /// record.
    fn put_document(
        &self,
        digest: Digest,
        bytes: &[u8],
        at: DateTime<Utc>,
    ) -> Commit<DocumentAnswer>;

    /// Reads a document's bytes and checks them against their digest. Blocks on the file system.
    fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;

    // Operator.

    /// Moves one invoice, as an operator wants it; `None` if it is not known.
    fn operate(
        &self,
        account: &AccountId,
        number: &InvoiceNumber,
        order: Order,
        operator: String,
        at: DateTime<Utc>,
    ) -> Commit<Option<OperateAnswer>>;

    /// Stops sending for all or for one account, or removing; accepting goes on. Says whether it was not paused: another
    /// reason is kept beside that of a pause that is there, with whose it is.
    fn pause(
        &self,
        scope: PauseScope,
        reason: String,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Commit<bool>;

    /// Forgets what the relay rejected since then: these addresses count as good again, and what is withheld is
    /// due; what is held or undeliverable stays so. Says how many there were. Each account is a unit of its own,
    /// and one with a damaged mark is left alone. Blocks.
    fn forget_rejections(
        &self,
        since: DateTime<Utc>,
        reason: Option<String>,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Result<usize, StoreError>;

    /// Goes on with what was paused. Says whether it was.
    fn resume(
        &self,
        scope: PauseScope,
        reason: Option<String>,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Commit<bool>;

    /// The pause of this, if there is one.
    fn paused(&self, scope: &PauseScope) -> Result<Option<Pause>, StoreError>;

    /// The pause that stops an account's mail; without an account, that of everything.
    fn pause_in_force(
        &self,
        account: Option<&AccountId>,
    ) -> Result<Option<PauseInForce>, StoreError>;

    // Schedule.

    /// Makes due what is waiting now and not held, unless the same or a later instant was released before: in the
    /// same commit as much as a batch can hold, and the rest, which a durable cursor remembers, in those that
    /// follow. What comes to wait behind the cursor, or later than the release, waits for the next. A run of the
    /// scope that is still open begins anew with what waits by then. An operator's is never too late. Where nothing
    /// waits only the instant is kept. Says whether anything waited. The stories of the invoices say who released
    /// them.
    fn release(
        &self,
        scope: RunScope,
        instant: DateTime<Utc>,
        actor: Actor,
        reason: Option<String>,
        at: DateTime<Utc>,
    ) -> Commit<bool>;

    /// Notes a schedule's first sight, so that what it misses from now on is known. A last run later
    /// than `at`, after the clock was set back, counts as one at `at` from then on.
    fn note_schedule(&self, schedule: ScheduleName, at: DateTime<Utc>) -> Commit<()>;

    /// The last run of each scope, the open ones among them.
    fn runs(&self) -> Result<Vec<Run>, StoreError>;

    /// The schedules that accounts with something waiting name.
    fn schedules_in_use(&self) -> Result<Vec<ScheduleName>, StoreError>;

    /// What is waiting, held ones apart, account by account after `after`, at most `limit` accounts.
    fn waiting(
        &self,
        scope: &RunScope,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<(AccountId, Vec<DeliveryId>)>, StoreError>;

    // Dispatch.

    /// What is due in a lane up to `now`, in order, after a place, at most `limit`.
    fn due(
        &self,
        lane: Lane,
        now: DateTime<Utc>,
        after: Option<DuePlace>,
        limit: usize,
    ) -> Result<Vec<DuePlace>, StoreError>;

    /// All that an attempt at a delivery needs to know; `None` if there is nothing to send.
    fn job(&self, delivery: DeliveryId) -> Result<Option<Job>, StoreError>;

    /// The version of an account as of now.
    fn account_version(
        &self,
        account: &AccountId,
    ) -> Result<crate::domain::id::Version, StoreError>;

    /// Commits the intent of an attempt. Refused if the account or the delivery moved since the job
    /// was read.
    fn begin(&self, delivery: DeliveryId, begin: Begin) -> Commit<Begun>;

    /// The last look, directly before the first byte of a message whose intent is durable: whether
    /// `recipient` is still the one of now, after changes of the account and of the marks of its addresses. Once it
    /// was, the answer to a change that makes it another names the invoice, until the attempt is settled.
    fn may_go_out(
        &self,
        delivery: DeliveryId,
        account: &AccountId,
        recipient: &Recipient,
    ) -> Result<bool, StoreError>;

    /// Commits what came of the attempt whose intent stands.
    fn settle(&self, delivery: DeliveryId, settle: Settle) -> Commit<Settled>;

    /// Has an invoice wait for an operator, for a reason of the daemon's, unless it waits for one already.
    fn hold(&self, delivery: DeliveryId, reason: HoldReason, at: DateTime<Utc>) -> Commit<()>;

    /// Commits that nobody can be reached, if delivery and account are as they were read.
    fn withhold(&self, delivery: DeliveryId, seen: Seen, at: DateTime<Utc>) -> Commit<bool>;

    /// Settles as uncertain every intent without an outcome whose owner is gone: one store has one process at a
    /// time, so that is every other than this one. Returns what they were.
    fn recover(&self, at: DateTime<Utc>, jitter: f64) -> Commit<Vec<(DeliveryId, Intent)>>;

    // Reads for people.

    /// One account with all that bears upon its recipient.
    fn account(&self, id: &AccountId) -> Result<Option<AccountView>, StoreError>;

    /// Accounts by id after `after`, at most `limit` and not much more than 4 MiB of them, but at least one. What is
    /// there all the time is told once, whatever changes meanwhile.
    fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Accounts, StoreError>;

    /// One invoice with its whole story, or what is left of it.
    fn invoice(
        &self,
        account: &AccountId,
        number: &InvoiceNumber,
    ) -> Result<Option<InvoiceView>, StoreError>;

    /// The trail of everything that happened, from after a place on in this order, at most `limit`
    /// entries; and the place to go on after, if there may be more. What retention removed is left out.
    fn audit(
        &self,
        order: TrailOrder,
        after: Option<TrailPlace>,
        limit: usize,
    ) -> Result<(Vec<Audited>, Option<TrailPlace>), StoreError>;

    /// Invoices by order of arrival after `after` that match `filter`. Looks at a bounded number of
    /// invoices; the page says from where to go on.
    fn invoices(
        &self,
        filter: &Filter,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// What is open. Walks through the indexes of all that is; blocks.
    fn backlog(&self) -> Result<Backlog, StoreError>;

    // Upkeep.

    /// Removes a bounded amount of what retention no longer covers, unless that is paused; says whether more may be
    /// left.
    /// Blocks on the file system.
    fn sweep(&self, retention: &Retention, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// What the clock said when that was noted last, so that a step while nobody looked is noticed.
    fn clock_seen(&self) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Notes what the clock says.
    fn note_clock(&self, now: DateTime<Utc>) -> Commit<()>;

    /// A random id given when the store was created; Message-IDs are derived from it.
    fn id(&self) -> StoreId;

    /// How the store fares.
    fn health(&self) -> Health;

    /// Takes nothing more, and waits for what was taken. Says how it ended: what made the store fail
    /// stays its answer. Blocks.
    fn close(&self) -> Result<(), StoreError>;
}
