//! The use cases over a sorted map of bytes, shared by every backend that has one.
//!
//! [`Engine`] turns each use case into a unit that the backend evaluates in arrival order, and each
//! read into look-ups. It alone knows keys and records; a backend knows bytes.

mod accounts;
mod attempts;
pub(in crate::store) mod backend;
mod invoices;
pub(in crate::store) mod keys;
mod last_looks;
mod read;
mod runs;
mod standing_by;
mod sweep;
#[cfg(test)]
mod tests;
mod trail;
pub(in crate::store) mod tx;
mod unfinished;
mod upkeep;
pub(in crate::store) mod verify;
mod views;
mod write;

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, NaiveDate, Utc};
use parking_lot::Mutex;

use self::backend::{Backend, Urgency, new_id};
use self::last_looks::LastLooks;
use self::sweep::Swept;
use self::tx::{Evaluated, Records, Tx, Unit};
use self::unfinished::{Recovery, Unfinished, go_on, recover};
use self::write::By;
use super::documents::Documents;
use super::record::DocumentRow;
use super::{
    AccountView, Accounts, Audited, Backlog, Begin, Begun, ChangeAnswer, Commit, DocumentAnswer,
    DuePlace, Filter, Health, InvoiceView, IssueAnswer, Job, Judged, OperateAnswer, Order, Page,
    Pause, PauseInForce, PauseScope, ProcessId, Received, Retention, Rules, Run, RunScope, Seen,
    Settle, Settled, Store, StoreError, StoreId, TrailOrder, TrailPlace, WithdrawAnswer,
};
use crate::domain::audit::Actor;
use crate::domain::change::AccountChange;
use crate::domain::delivery::{DeliveryId, HoldReason, Intent, Lane};
use crate::domain::id::{
    AccountId, Digest, InvoiceNumber, ScheduleName, SenderName, Sequence, Version, WebhookId,
};
use crate::domain::invoice::Invoice;
use crate::domain::recipient::Recipient;

/// A store over a backend.
#[derive(Debug)]
pub(super) struct Engine<B> {
    backend: B,
    documents: Documents,
    rules: Arc<Rules>,
    looks: Arc<LastLooks>,
    /// Owns the intents that are committed from here.
    process: ProcessId,
    /// Where the sweep goes on; it starts over with the process.
    swept: Mutex<Swept>,
    /// A sync of a document that failed: nobody may trust this state any more.
    failed: OnceLock<StoreError>,
}

impl<B: Backend> Engine<B> {
    /// Puts the use cases over a backend and takes up what it left unfinished.
    pub(in crate::store) fn new(
        backend: B,
        documents: Documents,
        rules: Rules,
    ) -> Result<Self, StoreError> {
        let engine = Self {
            backend,
            documents,
            rules: Arc::new(rules),
            looks: Arc::default(),
            process: ProcessId(new_id()?),
            swept: Mutex::default(),
            failed: OnceLock::new(),
        };
        for unfinished in Unfinished::all(&engine.backend)? {
            let unit = go_on(Arc::clone(&engine.rules), unfinished);
            engine.backend.submit(Urgency::Settle, unit)?;
        }
        Ok(engine)
    }

    /// Submits a unit whose answer is what `evaluate` returns.
    fn commit<T, F>(&self, urgency: Urgency, evaluate: F) -> Commit<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>, &Rules) -> Result<T, StoreError> + Send + 'static,
    {
        let evaluate = |tx: &mut Tx<'_>, rules: &Rules| Ok((evaluate(tx, rules)?, None));
        self.submit(urgency, evaluate, |answer| answer)
            .unwrap_or_else(|error| Commit::ready(Err(error)))
    }

    /// Submits a unit that may have one to follow, or says that it was not taken. Once it is durable,
    /// `finish` makes the answer of what `evaluate` returned; what it holds is held until then.
    fn submit<T, U, F, E>(
        &self,
        urgency: Urgency,
        evaluate: F,
        finish: E,
    ) -> Result<Commit<U>, StoreError>
    where
        T: Send + 'static,
        U: Send + 'static,
        F: FnOnce(&mut Tx<'_>, &Rules) -> Result<(T, Option<Unit>), StoreError> + Send + 'static,
        E: FnOnce(T) -> U + Send + 'static,
    {
        let (answer, commit) = Commit::channel();
        let rules = Arc::clone(&self.rules);
        let unit: Unit = Box::new(move |tx| {
            let evaluated = evaluate(tx, &rules);
            let (result, next) = match evaluated {
                Ok((value, next)) => (Ok(value), next),
                Err(error) => {
                    tx.roll_back();
                    (Err(error), None)
                }
            };
            let answer = Box::new(move |durable: Result<(), StoreError>| {
                // Whoever asked may have left; the commit stands.
                drop(answer.send(durable.and(result).map(finish)));
            });
            Evaluated { answer, next }
        });
        // A document's failed sync stops all that is new, as a commit's does; what happened is settled still.
        if urgency != Urgency::Settle
            && let Some(failure) = self.failed.get()
        {
            return Err(failure.clone());
        }
        self.backend.submit(urgency, unit)?;
        Ok(commit)
    }

    /// Submits a unit that removes something, and waits for it. Blocks. It is not refused when the disk
    /// is full, since it makes room; while removing is paused, it removes nothing.
    fn remove_now<T, F>(&self, evaluate: F) -> Result<T, StoreError>
    where
        T: Default + Send + 'static,
        F: FnOnce(&mut Tx<'_>, &Rules) -> Result<T, StoreError> + Send + 'static,
    {
        // Asked within the unit, so that a pause that was answered holds.
        let unless_paused = |tx: &mut Tx<'_>, rules: &Rules| {
            if tx.is_there(&keys::pause(&PauseScope::Removal))? {
                return Ok(T::default());
            }
            evaluate(tx, rules)
        };
        self.commit(Urgency::Settle, unless_paused).wait()
    }

    /// Removes the file of a document whose record was refused, unless the same bytes came again.
    fn remove_orphan(&self, digest: &Digest, day: NaiveDate) {
        let _lock = self.documents.lock(*digest);
        let removed = match self.backend.read::<DocumentRow>(&keys::document(digest)) {
            Ok(None) => self.documents.remove(digest, day),
            Ok(Some(_)) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "the file of a refused document could not be removed");
        }
    }
}

impl<B: Backend> Store for Engine<B> {
    fn remembered(
        &self,
        sender: &SenderName,
        id: &WebhookId,
        at: DateTime<Utc>,
    ) -> Result<Option<[u8; 16]>, StoreError> {
        read::remembered(&self.backend, sender, id, at, self.rules.webhook_id_days)
    }

    fn change_account(
        &self,
        received: Received,
        mut change: AccountChange,
    ) -> Commit<Judged<ChangeAnswer>> {
        let rules = Arc::clone(&self.rules);
        // It is compared with one that was stored, which is kept in milliseconds.
        change.timestamp = DateTime::from_timestamp_millis(change.timestamp.timestamp_millis())
            .unwrap_or(change.timestamp);
        let evaluate = move |tx: &mut Tx<'_>, _: &Rules| {
            let (answer, more) = accounts::change(tx, &rules, &received, &change)?;
            let under_way = match &answer {
                Judged::New(answer) | Judged::Repeated(answer) => accounts::under_way(tx, answer)?,
                Judged::IdReused => Vec::new(),
            };
            let next = more.then(|| go_on(rules, Unfinished::Freeing(change.account)));
            Ok(((answer, under_way), next))
        };
        let looks = Arc::clone(&self.looks);
        self.submit(Urgency::Accept, evaluate, move |(mut answer, under_way)| {
            match &mut answer {
                Judged::New(answer) | Judged::Repeated(answer) => {
                    accounts::name_in_flight(answer, under_way, &looks);
                }
                Judged::IdReused => {}
            }
            answer
        })
        .unwrap_or_else(|error| Commit::ready(Err(error)))
    }

    fn import_account(
        &self,
        change: AccountChange,
        actor: Actor,
        reason: Option<String>,
        at: DateTime<Utc>,
    ) -> Commit<ChangeAnswer> {
        let rules = Arc::clone(&self.rules);
        let evaluate = move |tx: &mut Tx<'_>, _: &Rules| {
            let by = By { actor: &actor, reason: reason.as_deref() };
            let (answer, more) = accounts::import(tx, &rules, &change, &by, at)?;
            let under_way = accounts::under_way(tx, &answer)?;
            let next = more.then(|| go_on(rules, Unfinished::Freeing(change.account)));
            Ok(((answer, under_way), next))
        };
        let looks = Arc::clone(&self.looks);
        self.submit(Urgency::Accept, evaluate, move |(mut answer, under_way)| {
            accounts::name_in_flight(&mut answer, under_way, &looks);
            answer
        })
        .unwrap_or_else(|error| Commit::ready(Err(error)))
    }

    fn issue(&self, received: Received, invoice: Invoice) -> Commit<Judged<IssueAnswer>> {
        self.commit(Urgency::Accept, move |tx, rules| {
            invoices::issue(tx, rules, &received, &invoice)
        })
    }

    fn withdraw(
        &self,
        received: Received,
        account: AccountId,
        number: InvoiceNumber,
    ) -> Commit<Judged<WithdrawAnswer>> {
        self.commit(Urgency::Accept, move |tx, rules| {
            invoices::withdraw(tx, rules, &received, &account, &number)
        })
    }

    fn put_document(
        &self,
        digest: Digest,
        bytes: &[u8],
        at: DateTime<Utc>,
    ) -> Commit<DocumentAnswer> {
        if let Some(failure) = self.failed.get() {
            return Commit::ready(Err(failure.clone()));
        }
        let lock = self.documents.lock(digest);
        let key = keys::document(&digest);
        let known: Result<Option<DocumentRow>, StoreError> = self.backend.read(&key);
        let day = at.date_naive();
        if matches!(known, Ok(None)) {
            let most = self.rules.unused_documents_bytes;
            match write::unused_documents_bytes(&self.backend) {
                Ok(unused) if unused >= most => return Commit::ready(Ok(DocumentAnswer::TooMany)),
                Ok(_) => {}
                Err(error) => return Commit::ready(Err(error)),
            }
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let write = |day| {
            // Before anything is written: a disk without room for the database's next batch ends the daemon.
            let _room = self.backend.room_for(length)?;
            self.documents.write(&digest, bytes, day)
        };
        let written = match known {
            // What the disk lost or spoilt meanwhile is put right by whoever still has the bytes.
            Ok(Some(row)) => match self.documents.read(&digest, row.day) {
                Ok(_) => Ok(()),
                Err(_) => write(row.day),
            },
            Ok(None) => write(day),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            if let StoreError::SyncFailed(_) = error {
                // The first failure is the one that counts.
                drop(self.failed.set(error.clone()));
            }
            return Commit::ready(Err(error));
        }
        // The lock is held until the record is durable, so that neither a sweep nor a second upload of
        // the same bytes that is refused comes between file and record.
        let evaluate = move |tx: &mut Tx<'_>, _: &Rules| {
            let key = keys::document(&digest);
            if let Some(row) = tx.read::<DocumentRow>(&key)? {
                // Seen anew: its time without a reference begins again.
                tx.put(&key, &DocumentRow { stored_at: at, ..row })?;
                return Ok((DocumentAnswer::Duplicate, None));
            }
            let row =
                DocumentRow { bytes: length, day, references: 0, billed: false, stored_at: at };
            write::put_document(tx, &digest, None, Some(&row))?;
            Ok((DocumentAnswer::Stored, None))
        };
        let submitted = self.submit(Urgency::Accept, evaluate, move |answer| {
            drop(lock);
            answer
        });
        submitted.unwrap_or_else(|error| {
            self.remove_orphan(&digest, day);
            Commit::ready(Err(error))
        })
    }

    fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<DocumentRow> = self.backend.read(&keys::document(digest))?;
        row.map(|row| self.documents.read(digest, row.day)).transpose()
    }

    fn operate(
        &self,
        account: &AccountId,
        number: &InvoiceNumber,
        order: Order,
        operator: String,
        at: DateTime<Utc>,
    ) -> Commit<Option<OperateAnswer>> {
        let (account, number) = (account.clone(), number.clone());
        let freeing_rules = Arc::clone(&self.rules);
        let evaluate = move |tx: &mut Tx<'_>, rules: &Rules| {
            let answer = invoices::operate(tx, rules, &account, &number, &order, &operator, at)?;
            let frees = tx.is_there(&keys::freeing(&account))?;
            let next = frees.then(|| go_on(freeing_rules, Unfinished::Freeing(account)));
            Ok((answer, next))
        };
        self.submit(Urgency::Settle, evaluate, |answer| answer)
            .unwrap_or_else(|error| Commit::ready(Err(error)))
    }

    fn hold(&self, delivery: DeliveryId, reason: HoldReason, at: DateTime<Utc>) -> Commit<()> {
        self.commit(Urgency::Settle, move |tx, rules| {
            invoices::hold(tx, rules, delivery, reason, at)
        })
    }

    fn pause(
        &self,
        scope: PauseScope,
        reason: String,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Commit<bool> {
        self.commit(Urgency::Settle, move |tx, _| runs::pause(tx, &scope, reason, actor, at))
    }

    fn forget_rejections(
        &self,
        since: DateTime<Utc>,
        reason: Option<String>,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        for account in accounts::rejected_since(&self.backend, since)? {
            loop {
                let (rules, reason) = (Arc::clone(&self.rules), reason.clone());
                let (account, actor) = (account.clone(), actor.clone());
                let evaluate = move |tx: &mut Tx<'_>, _: &Rules| {
                    let by = By { actor: &actor, reason: reason.as_deref() };
                    let marks = accounts::forget_marks(tx, &account, since, &by, at)?;
                    let next = (marks > 0).then(|| go_on(rules, Unfinished::Freeing(account)));
                    Ok((marks, next))
                };
                let forget = self.submit(Urgency::Settle, evaluate, |marks| marks)?;
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

    fn resume(
        &self,
        scope: PauseScope,
        reason: Option<String>,
        actor: Actor,
        at: DateTime<Utc>,
    ) -> Commit<bool> {
        self.commit(Urgency::Settle, move |tx, _| {
            let by = By { actor: &actor, reason: reason.as_deref() };
            runs::resume(tx, &scope, &by, at)
        })
    }

    fn paused(&self, scope: &PauseScope) -> Result<Option<Pause>, StoreError> {
        read::pause(&self.backend, scope)
    }

    fn pause_in_force(
        &self,
        account: Option<&AccountId>,
    ) -> Result<Option<PauseInForce>, StoreError> {
        read::pause_in_force(&self.backend, account)
    }

    fn release(
        &self,
        scope: RunScope,
        instant: DateTime<Utc>,
        actor: Actor,
        reason: Option<String>,
        at: DateTime<Utc>,
    ) -> Commit<bool> {
        let rules = Arc::clone(&self.rules);
        let evaluate = move |tx: &mut Tx<'_>, _: &Rules| {
            let by = By { actor: &actor, reason: reason.as_deref() };
            let (opened, more) = runs::release(tx, &rules, scope.clone(), instant, &by, at)?;
            let next = more.then(|| go_on(rules, Unfinished::Releasing(scope, at)));
            Ok((opened, next))
        };
        self.submit(Urgency::Intent, evaluate, |opened| opened)
            .unwrap_or_else(|error| Commit::ready(Err(error)))
    }

    fn note_schedule(&self, schedule: ScheduleName, at: DateTime<Utc>) -> Commit<()> {
        self.commit(Urgency::Settle, move |tx, _| runs::note(tx, schedule, at))
    }

    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        runs::all(&self.backend)
    }

    fn schedules_in_use(&self) -> Result<Vec<ScheduleName>, StoreError> {
        runs::schedules_in_use(&self.backend)
    }

    fn waiting(
        &self,
        scope: &RunScope,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<(AccountId, Vec<DeliveryId>)>, StoreError> {
        runs::waiting(&self.backend, scope, after, limit)
    }

    fn due(
        &self,
        lane: Lane,
        now: DateTime<Utc>,
        after: Option<DuePlace>,
        limit: usize,
    ) -> Result<Vec<DuePlace>, StoreError> {
        views::due(&self.backend, lane, now, after, limit)
    }

    fn job(&self, delivery: DeliveryId) -> Result<Option<Job>, StoreError> {
        views::job(&self.backend, delivery)
    }

    fn account_version(&self, account: &AccountId) -> Result<Version, StoreError> {
        let account = read::account(&self.backend, account)?;
        Ok(account.map_or(Version::UNKNOWN, |account| account.version()))
    }

    fn begin(&self, delivery: DeliveryId, begin: Begin) -> Commit<Begun> {
        let (looks, owner) = (Arc::clone(&self.looks), self.process);
        self.commit(Urgency::Intent, move |tx, rules| {
            let answer = attempts::begin(tx, rules, delivery, &begin, owner)?;
            if answer == Begun::Durable {
                looks.expect(delivery);
            }
            Ok(answer)
        })
    }

    fn may_go_out(
        &self,
        delivery: DeliveryId,
        account: &AccountId,
        recipient: &Recipient,
    ) -> Result<bool, StoreError> {
        self.looks.take(delivery, || {
            let Some(account) = read::account(&self.backend, account)? else {
                return Ok(false);
            };
            let of_now = read::recipient(&self.backend, &account, &self.rules)?;
            Ok(of_now.same_target(recipient))
        })
    }

    fn settle(&self, delivery: DeliveryId, settle: Settle) -> Commit<Settled> {
        let looks = Arc::clone(&self.looks);
        self.commit(Urgency::Settle, move |tx, rules| {
            let settled = attempts::settle(tx, rules, delivery, &settle)?;
            looks.forget(delivery);
            Ok(settled)
        })
    }

    fn withhold(&self, delivery: DeliveryId, seen: Seen, at: DateTime<Utc>) -> Commit<bool> {
        self.commit(Urgency::Settle, move |tx, rules| {
            attempts::withhold(tx, rules, delivery, seen, at)
        })
    }

    fn recover(&self, at: DateTime<Utc>, jitter: f64) -> Commit<Vec<(DeliveryId, Intent)>> {
        let (answer, commit) = Commit::channel();
        let own = self.process;
        let unit = recover(Recovery {
            rules: Arc::clone(&self.rules),
            is_gone: Box::new(move |owner| owner != own),
            at,
            jitter,
            after: None,
            settled: Vec::new(),
            answer,
        });
        match self.backend.submit(Urgency::Settle, unit) {
            Ok(()) => commit,
            Err(error) => Commit::ready(Err(error)),
        }
    }

    fn account(&self, id: &AccountId) -> Result<Option<AccountView>, StoreError> {
        views::account(&self.backend, id, &self.rules)
    }

    fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Accounts, StoreError> {
        views::accounts(&self.backend, after, limit, &self.rules)
    }

    fn invoice(
        &self,
        account: &AccountId,
        number: &InvoiceNumber,
    ) -> Result<Option<InvoiceView>, StoreError> {
        views::invoice(&self.backend, account, number, &self.rules)
    }

    fn audit(
        &self,
        order: TrailOrder,
        after: Option<TrailPlace>,
        limit: usize,
    ) -> Result<(Vec<Audited>, Option<TrailPlace>), StoreError> {
        let last = self.backend.last(&keys::kind_prefix(keys::kind::TRAIL))?;
        let last = last.and_then(|(key, _)| keys::sequence_at_the_end(&key));
        trail::audit(&self.backend, last.map_or(0, |last| last.0), order, after, limit)
    }

    fn backlog(&self) -> Result<Backlog, StoreError> {
        views::backlog(&self.backend)
    }

    fn invoices(
        &self,
        filter: &Filter,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        views::invoices(&self.backend, filter, after, limit)
    }

    fn sweep(&self, retention: &Retention, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.sweep_on(retention, now)
    }

    fn clock_seen(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        upkeep::clock_seen(&self.backend)
    }

    fn note_clock(&self, now: DateTime<Utc>) -> Commit<()> {
        self.commit(Urgency::Settle, move |tx, _| upkeep::note_clock(tx, now))
    }

    fn id(&self) -> StoreId {
        self.backend.id()
    }

    fn health(&self) -> Health {
        let health = self.backend.health();
        Health { failure: health.failure.or_else(|| self.failed.get().cloned()), ..health }
    }

    fn close(&self) -> Result<(), StoreError> {
        self.backend.close();
        self.health().failure.map_or(Ok(()), Err)
    }
}
