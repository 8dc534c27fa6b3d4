//! The use cases over a sorted map of bytes, shared by every backend that has one.
//!
//! [`Engine`] turns each use case into a unit that the backend evaluates in arrival order, and each
//! read into look-ups. It alone knows keys and records; a backend knows bytes.

mod accounts;
mod attempts;
pub(crate) mod backend;
mod documents;
mod final_checks;
mod invoices;
pub(crate) mod keys;
mod pending;
mod read;
mod runs;
mod subject;
mod sweep;
#[cfg(test)]
mod tests;
mod trail;
pub(crate) mod tx;
mod unfinished;
mod upkeep;
pub(crate) mod verify;
mod views;
mod write;

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use self::backend::{Backend, Priority, new_id};
use self::final_checks::PendingFinalChecks;
use self::sweep::Swept;
use self::tx::{Tree, Tx, Unit};
use self::unfinished::{Recovery, Unfinished, go_on, recover};
use self::write::By;
use super::documents::DocumentFiles;
use super::{
    AccountView, Accounts, AuditItem, AuditOrder, AuditPlace, Backlog, Begin, ChangeAnswer, Commit,
    CurrentPause, Deduplicated, DocumentAnswer, DuePlace, ExpectedVersion, Filter, Health,
    IntentOutcome, InvoiceView, IssueAnswer, Job, OperateAnswer, Order, Page, Pause, PauseScope,
    ProcessId, Received, Result, Retention, Rules, Run, RunScope, Settle, Settled, StoreError,
    StoreId, WithdrawAnswer,
};
use crate::domain::audit::Actor;
use crate::domain::change::AccountChange;
use crate::domain::delivery::{DeliveryId, HoldReason, Intent, Lane};
use crate::domain::id::{
    AccountId, Digest, InvoiceNumber, ScheduleName, SenderName, Sequence, Version, WebhookId,
};
use crate::domain::invoice::Invoice;
use crate::domain::recipient::Recipient;

/// The state of accounts, invoices and deliveries.
///
/// Times are arguments, in whole milliseconds; `at` is the time of the commit.
///
/// An implementation names its engine; the use cases are provided over that. Tests wrap a store to make some of them
/// fail.
pub trait Store: Send + Sync + 'static {
    /// What does the work.
    fn engine(&self) -> &Engine;

    // Webhook.

    /// The first 16 bytes of the digest of the body that was answered with success under this id, if
    /// it is still remembered at `at`. A hint: [`Store::change_account`] and its siblings judge again.
    fn remembered(
        &self,
        sender: &SenderName,
        id: &WebhookId,
        at: DateTime<Utc>,
    ) -> Result<Option<[u8; 16]>> {
        read::remembered(self.engine().tree(), sender, id, at, self.engine().rules.webhook_id_days)
    }

    /// Applies a change of an account, frees what was parked for it, and makes due what was withheld: in the same
    /// commit as much as a batch can hold, and the rest, which a durable cursor remembers, in those that follow.
    fn change_account(
        &self,
        received: Received,
        mut change: AccountChange,
    ) -> Commit<Deduplicated<ChangeAnswer>> {
        // It is compared with one that was stored, which is kept in milliseconds.
        change.timestamp = DateTime::from_timestamp_millis(change.timestamp.timestamp_millis())
            .unwrap_or(change.timestamp);
        let evaluate = move |tx: &mut Tx<'_>| accounts::change(tx, &received, &change);
        self.engine().change(evaluate, Deduplicated::answer_mut)
    }

    /// Applies a change that an operator brings, as [`Store::change_account`] does.
    fn import_account(
        &self,
        change: AccountChange,
        actor: Actor,
        reason: Option<String>,
        at: DateTime<Utc>,
    ) -> Commit<ChangeAnswer> {
        let evaluate = move |tx: &mut Tx<'_>| {
            let by = By { actor: &actor, reason: reason.as_deref() };
            accounts::apply_to_current(tx, &change, &by, at)
        };
        self.engine().change(evaluate, |answer| Some(answer))
    }

    /// Takes an invoice; its documents must be stored.
    fn issue(&self, received: Received, invoice: Invoice) -> Commit<Deduplicated<IssueAnswer>> {
        self.engine().commit(Priority::Intake, move |tx| invoices::issue(tx, &received, &invoice))
    }

    /// Takes an invoice back; one that is not known yet will be stale when it comes.
    fn withdraw(
        &self,
        received: Received,
        account: AccountId,
        number: InvoiceNumber,
    ) -> Commit<Deduplicated<WithdrawAnswer>> {
        self.engine().commit(Priority::Intake, move |tx| {
            invoices::withdraw(tx, &received, &account, &number)
        })
    }

    // Documents.

    /// Keeps a document's bytes, whose SHA-256 is `digest`, unless there are too many unused ones; uploads under way
    /// when there come to be still get in. Blocks on the file system until the bytes are durable, then commits the
    /// record.
    fn put_document(
        &self,
        digest: Digest,
        bytes: &[u8],
        at: DateTime<Utc>,
    ) -> Commit<DocumentAnswer> {
        let kept = self.engine().keep(digest, bytes, at);
        kept.unwrap_or_else(|error| Commit::ready(Err(error)))
    }

    /// Reads a document's bytes and checks them against their digest. Blocks on the file system.
    fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        self.engine().document(digest)
    }

    // Operator.

    /// Moves one invoice, as an operator wants it; `None` if it is not known.
    fn operate(
        &self,
        account: &AccountId,
        number: &InvoiceNumber,
        order: Order,
        operator: String,
        at: DateTime<Utc>,
    ) -> Commit<Option<OperateAnswer>> {
        let (account, number) = (account.clone(), number.clone());
        self.engine().commit(Priority::Settlement, move |tx| {
            invoices::operate(tx, &account, &number, &order, &operator, at)
        })
    }

    /// Pauses sending for all or for one account, or purging; accepting goes on. Says whether it was not paused: if it
    /// was, this reason is kept beside the first, with the actor who gave it.
    fn pause(
        &self,
        scope: PauseScope,
        reason: String,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Commit<bool> {
        self.engine()
            .commit(Priority::Settlement, move |tx| runs::pause(tx, &scope, reason, actor, at))
    }

    /// Clears the suppressions since then: these addresses count as good again, and what is withheld is
    /// due; what is held or undeliverable stays so. Says how many there were. Each account is a unit of its own,
    /// and one with a damaged suppression is skipped. Blocks.
    fn forget_rejections(
        &self,
        since: DateTime<Utc>,
        reason: Option<String>,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Result<usize> {
        let mut forgotten = 0;
        for account in accounts::rejected_since(self.engine().tree(), since)? {
            loop {
                let (account, actor, reason) = (account.clone(), actor.clone(), reason.clone());
                let forget = self.engine().commit(Priority::Settlement, move |tx| {
                    let by = By { actor: &actor, reason: reason.as_deref() };
                    accounts::forget_marks(tx, &account, since, &by, at)
                });
                match forget.wait() {
                    Ok(0) => break,
                    Ok(marks) => forgotten += marks,
                    Err(error @ StoreError::Damaged { .. }) => {
                        tracing::error!(%error, "an account's rejections cannot be forgotten");
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(forgotten)
    }

    /// Goes on with what was paused. Says whether it was.
    fn resume(
        &self,
        scope: PauseScope,
        reason: Option<String>,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Commit<bool> {
        self.engine().commit(Priority::Settlement, move |tx| {
            runs::resume(tx, &scope, &By { actor: &actor, reason: reason.as_deref() }, at)
        })
    }

    /// The pause of this, if there is one.
    fn paused(&self, scope: &PauseScope) -> Result<Option<Pause>> {
        read::pause(self.engine().tree(), scope)
    }

    /// The pause that stops an account's mail; without an account, that of everything.
    fn current_pause(&self, account: Option<&AccountId>) -> Result<Option<CurrentPause>> {
        read::current_pause(self.engine().tree(), account)
    }

    // Schedule.

    /// Makes due what is waiting now and not held, unless the same or a later instant was released before: in the
    /// same commit as much as a batch can hold, and the rest, which a durable cursor remembers, in those that
    /// follow. An invoice that begins to wait behind the cursor, or later than the release, waits for the next. A run of
    /// the scope that is still open begins anew with what waits by then. An operator's is never too late. Where nothing
    /// waits only the instant is kept. Says whether anything waited. The histories of the invoices say who released
    /// them.
    fn release(
        &self,
        scope: RunScope,
        instant: DateTime<Utc>,
        actor: Actor,
        reason: Option<String>,
        at: DateTime<Utc>,
    ) -> Commit<bool> {
        self.engine().commit(Priority::Attempt, move |tx| {
            let by = By { actor: &actor, reason: reason.as_deref() };
            runs::release(tx, scope, instant, &by, at)
        })
    }

    /// Notes a schedule's first sight, so that what it misses from now on is known. A last run later
    /// than `at`, after the clock was set back, counts as one at `at` from then on.
    fn note_schedule(&self, schedule: ScheduleName, at: DateTime<Utc>) -> Commit<()> {
        self.engine().commit(Priority::Settlement, move |tx| runs::note(tx, schedule, at))
    }

    /// The last run of each scope, the open ones among them.
    fn runs(&self) -> Result<Vec<Run>> {
        runs::all(self.engine().tree())
    }

    /// The schedules that accounts with something waiting name.
    fn schedules_in_use(&self) -> Result<Vec<ScheduleName>> {
        runs::schedules_in_use(self.engine().tree())
    }

    /// What is waiting, held ones apart, account by account after `after`, at most `limit` accounts.
    fn waiting(
        &self,
        scope: &RunScope,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<(AccountId, Vec<DeliveryId>)>> {
        runs::waiting(self.engine().tree(), scope, after, limit)
    }

    // Dispatch.

    /// What is due in a lane up to `now`, in order, after a place, at most `limit`.
    fn due(
        &self,
        lane: Lane,
        now: DateTime<Utc>,
        after: Option<DuePlace>,
        limit: usize,
    ) -> Result<Vec<DuePlace>> {
        views::due(self.engine().tree(), lane, now, after, limit)
    }

    /// All that an attempt at a delivery needs to know; `None` if there is nothing to send.
    fn job(&self, delivery: DeliveryId) -> Result<Option<Job>> {
        views::job(self.engine().tree(), delivery)
    }

    /// The current version of an account.
    fn account_version(&self, account: &AccountId) -> Result<Version> {
        let account = read::account(self.engine().tree(), account)?;
        Ok(account.map_or(Version::UNKNOWN, |account| account.version()))
    }

    /// Commits the intent of an attempt. Refused if the account or the delivery moved since the job
    /// was read.
    fn begin(&self, delivery: DeliveryId, begin: Begin) -> Commit<IntentOutcome> {
        let (looks, owner) = (Arc::clone(&self.engine().looks), self.engine().process);
        self.engine().commit(Priority::Attempt, move |tx| {
            let answer = attempts::begin(tx, delivery, &begin, owner)?;
            if answer == IntentOutcome::Durable {
                looks.expect(delivery);
            }
            Ok(answer)
        })
    }

    /// The final check, directly before the first byte of a message whose intent is durable: whether
    /// `recipient` is still the current one, after changes of the account and of its suppressions. Once it
    /// was, the answer to a change that makes it another names the invoice, until the attempt is settled.
    fn may_go_out(
        &self,
        delivery: DeliveryId,
        account: &AccountId,
        recipient: &Recipient,
    ) -> Result<bool> {
        let Engine { looks, rules, .. } = self.engine();
        let tree = self.engine().tree();
        looks.take(delivery, || {
            let Some(account) = read::account(tree, account)? else {
                return Ok(false);
            };
            Ok(read::recipient(tree, &account, rules)?.same_target(recipient))
        })
    }

    /// Commits what became of the attempt whose intent is stored.
    fn settle(&self, delivery: DeliveryId, settle: Settle) -> Commit<Settled> {
        let looks = Arc::clone(&self.engine().looks);
        self.engine().commit(Priority::Settlement, move |tx| {
            let settled = attempts::settle(tx, delivery, &settle)?;
            looks.forget(delivery);
            Ok(settled)
        })
    }

    /// Has an invoice wait for an operator, for a reason of the daemon's, unless it waits for one already.
    fn hold(&self, delivery: DeliveryId, reason: HoldReason, at: DateTime<Utc>) -> Commit<()> {
        self.engine()
            .commit(Priority::Settlement, move |tx| invoices::hold(tx, delivery, reason, at))
    }

    /// Commits that no address can be reached, if delivery and account are as they were read.
    fn withhold(
        &self,
        delivery: DeliveryId,
        seen: ExpectedVersion,
        at: DateTime<Utc>,
    ) -> Commit<bool> {
        self.engine()
            .commit(Priority::Settlement, move |tx| attempts::withhold(tx, delivery, seen, at))
    }

    /// Settles as uncertain every intent without an outcome whose owner is gone: one store has one process at a
    /// time, so that is every other than this one. Returns what they were.
    fn recover(&self, at: DateTime<Utc>, jitter: f64) -> Commit<Vec<(DeliveryId, Intent)>> {
        let own = self.engine().process;
        let (answer, commit) = Commit::channel();
        let unit = recover(Recovery {
            is_gone: Box::new(move |owner| owner != own),
            at,
            jitter,
            after: None,
            settled: Vec::new(),
            answer,
        });
        let taken = self.engine().backend.submit(Priority::Settlement, unit);
        taken.map_or_else(|error| Commit::ready(Err(error)), |()| commit)
    }

    // Reads for people.

    /// One account with all that bears upon its recipient.
    fn account(&self, id: &AccountId) -> Result<Option<AccountView>> {
        views::account(self.engine().tree(), id, &self.engine().rules)
    }

    /// Accounts by id after `after`, at most `limit` and not much more than 4 MiB of them, but at least one. What is
    /// there all the time is listed exactly once, whatever changes meanwhile.
    fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Accounts> {
        views::accounts(self.engine().tree(), after, limit, &self.engine().rules)
    }

    /// One invoice with its whole history, or what is left of it.
    fn invoice(&self, account: &AccountId, number: &InvoiceNumber) -> Result<Option<InvoiceView>> {
        views::invoice(self.engine().tree(), account, number, &self.engine().rules)
    }

    /// At most `limit` entries of the audit log, in this order, after a place; and the place to continue after, if
    /// there may be more. What was purged is left out.
    fn audit(
        &self,
        order: AuditOrder,
        after: Option<AuditPlace>,
        limit: usize,
    ) -> Result<(Vec<AuditItem>, Option<AuditPlace>)> {
        let Engine { backend, .. } = self.engine();
        let last = backend.last(&[keys::kind::CHAIN])?;
        let last = last.and_then(|(key, _)| keys::sequence_at_the_end(&key));
        trail::audit(self.engine().tree(), last.map_or(0, |last| last.0), order, after, limit)
    }

    /// Invoices by order of arrival after `after` that match `filter`. Looks at a bounded number of
    /// invoices; the page says from where to go on.
    fn invoices(&self, filter: &Filter, after: Option<Sequence>, limit: usize) -> Result<Page> {
        views::invoices(self.engine().tree(), filter, after, limit)
    }

    /// What is open. Walks through the indexes of all that is; blocks.
    fn backlog(&self) -> Result<Backlog> {
        views::backlog(self.engine().tree())
    }

    // Retention.

    /// Purges a bounded amount of what retention no longer covers, unless that is paused. Says whether more may be
    /// left. Blocks on the file system.
    fn sweep(&self, retention: &Retention, now: DateTime<Utc>) -> Result<bool> {
        self.engine().sweep_on(retention, now)
    }

    /// What the clock said when that was noted last, so that a step while the daemon was down is noticed.
    fn clock_seen(&self) -> Result<Option<DateTime<Utc>>> {
        upkeep::clock_seen(self.engine().tree())
    }

    /// Notes what the clock says.
    fn note_clock(&self, now: DateTime<Utc>) -> Commit<()> {
        self.engine().commit(Priority::Settlement, move |tx| upkeep::note_clock(tx, now))
    }

    /// A random id given when the store was created; Message-IDs are derived from it.
    fn id(&self) -> StoreId {
        self.engine().backend.id()
    }

    /// The store's health.
    fn health(&self) -> Health {
        let Engine { backend, failed, .. } = self.engine();
        let health = backend.health();
        Health { failure: health.failure.or_else(|| failed.get().cloned()), ..health }
    }

    /// Accepts nothing more, and waits for what was accepted; what continues by a cursor is left to the next open. Says
    /// how it ended: what made the store fail stays its answer. Blocks.
    fn close(&self) -> Result<()> {
        self.engine().backend.close();
        self.health().failure.map_or(Ok(()), Err)
    }
}

/// A store over a backend.
pub struct Engine {
    backend: Box<dyn Backend>,
    documents: DocumentFiles,
    rules: Rules,
    looks: Arc<PendingFinalChecks>,
    /// Owns the intents that are committed from here.
    process: ProcessId,
    /// Where the sweep goes on; it starts over with the process.
    swept: Mutex<Swept>,
    /// A sync of a document that failed: this state can't be trusted any more.
    failed: OnceLock<StoreError>,
}

impl Store for Engine {
    fn engine(&self) -> &Engine {
        self
    }
}

impl Engine {
    /// Puts the use cases over a backend, which applies the same rules, and takes up what it left unfinished.
    pub(crate) fn new(
        backend: impl Backend,
        documents: DocumentFiles,
        rules: Rules,
    ) -> Result<Self> {
        let engine = Self {
            backend: Box::new(backend),
            documents,
            rules,
            looks: Arc::default(),
            process: ProcessId(new_id()?),
            swept: Mutex::default(),
            failed: OnceLock::new(),
        };
        for unfinished in Unfinished::all(engine.tree())? {
            engine.backend.submit(Priority::Settlement, go_on(unfinished))?;
        }
        Ok(engine)
    }

    fn tree(&self) -> &dyn Tree {
        self.backend.tree()
    }

    /// Submits a unit whose answer is what `evaluate` returns.
    fn commit<T, F>(&self, priority: Priority, evaluate: F) -> Commit<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        self.submit(priority, evaluate, |answer| answer)
            .unwrap_or_else(|error| Commit::ready(Err(error)))
    }

    /// Submits a unit, or says that it was not taken. Once it is durable, `finish` makes the answer of what
    /// `evaluate` returned; what it holds is held until then.
    fn submit<T, U, F, E>(&self, priority: Priority, evaluate: F, finish: E) -> Result<Commit<U>>
    where
        T: Send + 'static,
        U: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
        E: FnOnce(T) -> U + Send + 'static,
    {
        let (answer, commit) = Commit::channel();
        let unit: Unit = Box::new(move |tx| {
            let result = evaluate(tx).inspect_err(|_| tx.roll_back());
            Box::new(move |durable| {
                // The caller may have left; the commit is done all the same.
                drop(answer.send(durable.and(result).map(finish)));
            })
        });
        // A document's failed sync stops all that is new, as a commit's does; what happened is settled still.
        if priority != Priority::Settlement
            && let Some(failure) = self.failed.get()
        {
            return Err(failure.clone());
        }
        self.backend.submit(priority, unit)?;
        Ok(commit)
    }

    /// Submits a change of an account, and names what is in flight in its answer.
    fn change<T, F>(
        &self,
        evaluate: F,
        answer_in: fn(&mut T) -> Option<&mut ChangeAnswer>,
    ) -> Commit<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let evaluate = move |tx: &mut Tx<'_>| {
            let mut answer = evaluate(tx)?;
            let under_way = match answer_in(&mut answer) {
                Some(answer) => accounts::under_way(tx, answer)?,
                None => Vec::new(),
            };
            Ok((answer, under_way))
        };
        let looks = Arc::clone(&self.looks);
        let named = self.submit(Priority::Intake, evaluate, move |(mut answer, under_way)| {
            if let Some(answer) = answer_in(&mut answer) {
                accounts::name_in_flight(answer, under_way, &looks);
            }
            answer
        });
        named.unwrap_or_else(|error| Commit::ready(Err(error)))
    }

    /// Submits a unit that removes something, and waits for it. Blocks. It is not refused when the disk
    /// is full, since it makes room; while removing is paused, it removes nothing.
    fn remove_now<T, F>(&self, evaluate: F) -> Result<T>
    where
        T: Default + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        // Asked within the unit, so that a pause that was answered holds.
        let unless_paused = |tx: &mut Tx<'_>| {
            if read::pause(tx, &PauseScope::Removal)?.is_some() {
                return Ok(T::default());
            }
            evaluate(tx)
        };
        self.commit(Priority::Settlement, unless_paused).wait()
    }
}
