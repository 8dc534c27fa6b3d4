//! One invoice, from its claim to its outcome: a round of attempts, one for each open address.
//!
//! For each address everything is read anew: delivery, account and suppressions are current, never those of the
//! round's start. Then the message is made, the relay is taken up to its 354 while the intent is
//! committed, and directly before the first byte is the final check. Invariants:
//! - No byte of a message goes out unless its intent is durable, nothing is paused, and the current
//!   recipient is the one that the message was made for.
//! - An outcome is never forgotten: settling is repeated until it is durable, and only then is the
//!   invoice let go. A process that ends before leaves the intent, and the next start settles that.
//! - The connection is let go earlier, when the last address has accepted the message: commits keep their
//!   order, so no intent of the connection's next message is durable without this outcome.
//! - Nothing of the store is held while the network is waited for.

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::attempt_result::AttemptResult;
use super::composed_message::{ComposeFailure, ComposedMessage};
use super::relay_session::RelaySession;
use super::{Shared, can_be_repeated, stopped};
use crate::domain::address::{EmailAddress, masked};
use crate::domain::audit::Actor;
use crate::domain::delivery::{DeliveryId, Event, HoldReason, Intent, Stage, Verdict, step};
use crate::domain::id::AccountId;
use crate::domain::recipient::{Recipient, resolve};
use crate::mail::message::Message;
use crate::mail::outcome::Failure;
use crate::mail::transport::{BegunMessage, Connection};
use crate::store::{Begin, Commit, IntentOutcome, Job, PauseScope, Settle, Settled, StoreError};

/// The first and the longest wait between two tries to commit.
const COMMIT_WAIT_FIRST: Duration = Duration::from_millis(50);
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a worker brings back.
pub(super) struct Report {
    /// Which invoice.
    pub(super) sequence: DeliveryId,
    /// What becomes of the claim.
    pub(super) claim: Claim,
    /// A connection that can be used again.
    pub(super) connection: Option<Connection>,
    /// What was learnt of the relay.
    pub(super) relay: RelayReport,
}

/// What a round has learnt of the relay.
#[derive(Default)]
pub(super) struct RelayReport {
    /// How many transactions came to an end that only a working relay can give them.
    pub(super) transactions: u32,
    /// That it failed.
    pub(super) failure: Option<Failure>,
    /// Whether it answered to a final dot, whatever it said.
    pub(super) answered: bool,
    /// That it then left one without an answer, which may be the message's fault.
    pub(super) unanswered: Option<Failure>,
}

/// Whether a claim has come to its end.
pub(super) enum Claim {
    /// It has.
    Ended(WorkResult),
    /// The outcome is being committed, for which no connection is needed.
    Settling(Box<Settling>),
}

/// What becomes of a claim.
#[derive(Debug)]
pub(super) enum WorkResult {
    /// Nothing is to be sent now: it was, or it has another time, or waits for an operator.
    Complete,
    /// Broken off, through no fault of the invoice: to be tried again.
    Requeue,
    /// Its account is paused.
    AccountPaused(AccountId),
    /// Its record is damaged.
    Unreadable,
    /// The store failed for good.
    StoreFailed(StoreError),
}

/// Takes one invoice as far as it can go now.
pub(super) async fn work(
    shared: Arc<Shared>,
    sequence: DeliveryId,
    session: RelaySession,
) -> Report {
    let mut round = Round {
        began: shared.clock.now(),
        shared,
        sequence,
        session,
        tried: Vec::new(),
        composed: None,
        last: None,
        relay: RelayReport::default(),
    };
    let end = loop {
        if let Break(end) = round.next_address().await {
            break end;
        }
    };
    Report {
        sequence,
        connection: round.session.take_connection(),
        relay: std::mem::take(&mut round.relay),
        claim: match round.last.take() {
            Some(last) => Claim::Settling(Box::new(Settling { round, last })),
            None => Claim::Ended(end),
        },
    }
}

/// A round whose last outcome is being committed.
pub(super) struct Settling {
    round: Round,
    last: Last,
}

/// The attempt at the last address.
struct Last {
    plan: AttemptPlan,
    result: AttemptResult,
    took: Duration,
    pending: PendingCommit,
}

/// An outcome on its way to the disk.
struct PendingCommit {
    settle: Settle,
    commit: Commit<Settled>,
}

impl Settling {
    /// Waits until the outcome is durable. The last address accepted the message, after which no other is added:
    /// nothing is left to be sent in this round.
    pub(super) async fn end(self) -> (DeliveryId, WorkResult) {
        let Self { round, last } = self;
        if let Break(end) = round.settled(last.pending).await {
            return (round.sequence, end);
        }
        round.log(&last.plan, &last.result, last.took);
        (round.sequence, WorkResult::Complete)
    }
}

struct Round {
    shared: Arc<Shared>,
    sequence: DeliveryId,
    began: DateTime<Utc>,
    session: RelaySession,
    /// Addresses that had their attempt in this round.
    tried: Vec<EmailAddress>,
    /// The message made last; most rounds have one for all addresses.
    composed: Option<ComposedMessage>,
    /// Once no address is left to be tried.
    last: Option<Last>,
    relay: RelayReport,
}

/// One attempt, as far as it is decided before the network is asked.
struct AttemptPlan {
    job: Job,
    recipient: Recipient,
    round_at: DateTime<Utc>,
    message: Arc<Message>,
    intent: Intent,
    /// Whether no other address is left to be tried in this round.
    is_last: bool,
}

impl Round {
    /// Tries the next address that had no attempt in this round, or says why there is none.
    async fn next_address(&mut self) -> ControlFlow<WorkResult> {
        if *self.shared.stopping.borrow() {
            return Break(WorkResult::Requeue);
        }
        let plan = self.plan().await?;
        let stopping = self.shared.stopping.clone();
        let opened = tokio::select! {
            biased;
            opened = self.session.open(&self.shared.transport) => opened,
            () = stopped(stopping) => return Break(WorkResult::Requeue),
        };
        if let Err(failure) = opened {
            self.relay.failure = Some(failure);
            return Break(WorkResult::Requeue);
        }
        let since = Instant::now();
        let (result, pending) = self.attempt(&plan).await?;
        if let Some(pending) = pending {
            self.tried.push(plan.intent.address.clone());
            let took = since.elapsed();
            self.last = Some(Last { plan, result, took, pending });
            return Break(WorkResult::Complete);
        }
        self.log(&plan, &result, since.elapsed());
        if result.verdict == Verdict::AddressRejected {
            self.count_rejection().await?;
        }
        self.tried.push(plan.intent.address);
        match result.outcome {
            // The others have their turn in the next round: what may become a second copy is to be little.
            Err(failure) if result.verdict == Verdict::Uncertain => {
                self.relay.unanswered = Some(failure);
                Break(WorkResult::Requeue)
            }
            // The message was tried, but the relay does not want another.
            Err(failure) if failure.reply.as_ref().is_some_and(|reply| reply.code == 421) => {
                self.relay.failure = Some(failure);
                Break(WorkResult::Requeue)
            }
            Ok(_) | Err(_) => Continue(()),
        }
    }

    /// Reads everything anew, and decides whom to try with which message.
    async fn plan(&mut self) -> ControlFlow<WorkResult, AttemptPlan> {
        let id = self.sequence;
        let read = self.shared.read(move |store| {
            Ok((store.job(id)?, store.paused(&PauseScope::Everything)?.is_some()))
        });
        let (job, is_all_paused) = match read.await {
            Ok((Some(job), is_all_paused)) => (job, is_all_paused),
            Ok((None, _)) => return Break(WorkResult::Complete),
            Err(failure) => return Break(self.stop(failure)),
        };
        // An address had its attempt, so that the others have theirs now.
        let is_going_on = !self.tried.is_empty();
        // Before the pauses: what has ended must not wait for the end of one.
        if !job.delivery.may_send() || !(is_going_on || self.is_its_time(&job)) {
            return Break(WorkResult::Complete);
        }
        if job.paused.is_some() {
            return Break(WorkResult::AccountPaused(job.account.id().clone()));
        }
        if is_all_paused {
            return Break(WorkResult::Requeue);
        }
        let rules = &self.shared.settings.rules;
        let recipient = resolve(&job.account, &job.suppressions, rules.on_rejected);
        let resolved =
            step(&job.delivery, &Event::resolved(&recipient), self.began, &rules.policy, 0.0)
                .delivery;
        if !resolved.may_send() || resolved.open_addresses().next().is_none() {
            return Break(self.withhold(&job, &recipient).await);
        }
        let untried = || {
            let open = resolved.open_addresses();
            open.filter(|open| !self.tried.contains(&open.address))
        };
        // The one with the fewest attempts first, those of unknown outcome counted before all: whoever had one that
        // held the invoice, or ended the round, comes after the others and does not keep it from them again.
        let Some(next) = untried().min_by_key(|open| (open.uncertain, open.attempts)) else {
            return Break(WorkResult::Complete);
        };
        let is_last = untried().nth(1).is_none();
        let (address, number) = (next.address.clone(), next.attempts + 1);

        let round_at = resolved.round_at.unwrap_or(self.began);
        let composed = ComposedMessage::take_or_make(
            self.composed.take(),
            &self.shared,
            &job,
            &resolved,
            &recipient,
        );
        let composed = match composed.await {
            Ok(composed) => self.composed.insert(composed),
            Err(ComposeFailure::Invoice(cause)) => return Break(self.hold(&job, cause).await),
            Err(ComposeFailure::Store(failure)) => return Break(self.stop(failure)),
        };
        let intent = Intent {
            revision: resolved.revision,
            address,
            number,
            started_at: self.shared.clock.now(),
            account_version: job.seen.account_version,
            message_id: composed.message().id().clone(),
            message_digest: composed.message().digest(),
            message_bytes: composed.message().octets(),
        };
        Continue(AttemptPlan {
            message: Arc::clone(composed.message()),
            job,
            recipient,
            round_at,
            intent,
            is_last,
        })
    }

    /// What becomes of the claim when the store did not do something.
    fn stop(&self, failure: StoreError) -> WorkResult {
        if let StoreError::Damaged { key, cause } = &failure {
            error!(
                sequence = %self.sequence,
                "an invoice is skipped until a restart: damaged record {key}: {cause}"
            );
            WorkResult::Unreadable
        } else if can_be_repeated(&failure) {
            WorkResult::Requeue
        } else {
            WorkResult::StoreFailed(failure)
        }
    }

    /// Whether a claim from what was read a while ago still holds. A time beyond the longest delay was
    /// made by a clock that has been put back since.
    fn is_its_time(&self, job: &Job) -> bool {
        let longest = self.shared.settings.rules.policy.backoff.max;
        job.delivery.next_at.is_none_or(|at| at <= self.began || at > self.began + longest)
    }

    /// Commits what becomes of the delivery without an attempt: withheld, or delivered to those that had it.
    async fn withhold(&self, job: &Job, recipient: &Recipient) -> WorkResult {
        let now = self.shared.clock.now();
        match self.shared.store.withhold(self.sequence, job.seen, now).await {
            Ok(true) if recipient.addresses().is_empty() => {
                warn!(
                    account.id = %masked(job.account.id().as_str()),
                    invoice.number = %masked(job.invoice.number.as_str()),
                    sequence = %self.sequence, rule = recipient.reason.rule.as_str(),
                    "withheld: no address can be reached"
                );
                WorkResult::Complete
            }
            Ok(true) => {
                info!(
                    account.id = %masked(job.account.id().as_str()),
                    invoice.number = %masked(job.invoice.number.as_str()),
                    sequence = %self.sequence, rule = recipient.reason.rule.as_str(),
                    "nothing is left to be sent to the current recipient; the invoice's history says why"
                );
                WorkResult::Complete
            }
            Ok(false) => WorkResult::Requeue,
            Err(failure) => self.stop(failure),
        }
    }

    async fn hold(&self, job: &Job, cause: String) -> WorkResult {
        error!(
            account.id = %masked(job.account.id().as_str()),
            invoice.number = %masked(job.invoice.number.as_str()),
            sequence = %self.sequence, "held: the message cannot be composed: {cause}"
        );
        let reason = HoldReason::NotComposable(cause);
        let held = self.shared.store.hold(self.sequence, reason, self.shared.clock.now());
        match held.await {
            Ok(()) => WorkResult::Complete,
            Err(failure) => self.stop(failure),
        }
    }

    /// Takes the relay up to its 354, looks again, and hands the message over. What came of it is durable
    /// when this returns, or on its way to be if that was the last address and it accepted.
    async fn attempt(
        &mut self,
        plan: &AttemptPlan,
    ) -> ControlFlow<WorkResult, (AttemptResult, Option<PendingCommit>)> {
        let stopping = self.shared.stopping.clone();
        let begun = tokio::select! {
            biased;
            begun = self.begin(plan) => begun?,
            // Not a byte of the message has gone out, and none does.
            () = stopped(stopping) => {
                self.drop_intent().await?;
                return Break(WorkResult::Requeue);
            }
        };
        let outcome = match begun {
            Ok(begun) => match self.may_go_out(plan).await {
                Ok(true) => self.session.finish(begun, &plan.message).await,
                refused => {
                    drop(begun);
                    self.drop_intent().await?;
                    return Break(
                        refused.map_or_else(|failure| self.stop(failure), |_| WorkResult::Requeue),
                    );
                }
            },
            Err(failure) => Err(failure),
        };
        let result = AttemptResult::from(outcome);
        let Some(attempt) = result.attempt(plan.intent.clone()) else {
            self.relay.failure = result.outcome.err();
            self.drop_intent().await?;
            return Break(WorkResult::Requeue);
        };
        self.shared.progress.count(attempt.outcome, attempt.stage);
        let pending = self.settle(Settle::Ended {
            attempt: Box::new(attempt),
            verdict: result.verdict,
            at: self.shared.clock.now(),
            jitter: fastrand::f64(),
        });
        let pending = if plan.is_last && result.verdict == Verdict::Accepted {
            Some(pending)
        } else {
            self.settled(pending).await?;
            None
        };
        self.relay.answered |=
            result.stage() == Stage::FinalDot && result.verdict != Verdict::Uncertain;
        match result.verdict {
            Verdict::Accepted | Verdict::AddressRejected | Verdict::MessageRefused => {
                self.relay.transactions += 1;
            }
            Verdict::Deferred | Verdict::Uncertain | Verdict::RelayFailed => {}
        }
        Continue((result, pending))
    }

    /// Takes the relay up to its 354 while the intent is committed. What the relay said counts only once
    /// the intent is durable.
    async fn begin(
        &mut self,
        plan: &AttemptPlan,
    ) -> ControlFlow<WorkResult, Result<BegunMessage, Failure>> {
        let intent = self.shared.store.begin(
            self.sequence,
            Begin {
                seen: plan.job.seen,
                recipient: plan.recipient.clone(),
                round_at: plan.round_at,
                intent: plan.intent.clone(),
            },
        );
        let envelope = self.session.begin(
            &self.shared.transport,
            &self.shared.settings.envelope_from,
            &plan.intent.address,
            plan.intent.message_bytes,
        );
        let (begun, committed) = tokio::join!(envelope, intent);
        let end = match committed {
            Ok(IntentOutcome::Durable) => return Continue(begun),
            Ok(IntentOutcome::Moved) => WorkResult::Requeue,
            Err(failure) => self.stop(failure),
        };
        // After the 354 only closing the connection leaves the transaction, by dropping it.
        if let Err(failure) = begun
            && failure.verdict() == Verdict::RelayFailed
        {
            self.relay.failure = Some(failure);
        }
        Break(end)
    }

    /// The final check, directly before the first byte: nothing is paused, and the recipient is still the same.
    async fn may_go_out(&self, plan: &AttemptPlan) -> Result<bool, StoreError> {
        let (id, account) = (self.sequence, plan.job.account.id().clone());
        let recipient = plan.recipient.clone();
        let check = self.shared.read(move |store| {
            let is_paused = store.current_pause(Some(&account))?.is_some();
            Ok(!is_paused && store.may_go_out(id, &account, &recipient)?)
        });
        check.await
    }

    async fn drop_intent(&self) -> ControlFlow<WorkResult> {
        let at = self.shared.clock.now();
        self.settled(self.settle(Settle::Dropped { at })).await
    }

    /// Begins to settle; [`Self::settled`] sees it through.
    fn settle(&self, settle: Settle) -> PendingCommit {
        PendingCommit { commit: self.shared.store.settle(self.sequence, settle.clone()), settle }
    }

    /// Settles, however long it takes.
    async fn settled(
        &self,
        PendingCommit { settle, commit }: PendingCommit,
    ) -> ControlFlow<WorkResult> {
        let mut begun = Some(commit);
        let commit = || {
            begun.take().unwrap_or_else(|| self.shared.store.settle(self.sequence, settle.clone()))
        };
        self.until_committed("the outcome of an attempt", commit).await
    }

    /// Repeats a commit for as long as the store refuses it for now.
    async fn until_committed<T>(
        &self,
        what: &str,
        mut commit: impl FnMut() -> Commit<T>,
    ) -> ControlFlow<WorkResult> {
        let mut wait = COMMIT_WAIT_FIRST;
        loop {
            match commit().await {
                Ok(_) => return Continue(()),
                Err(failure) if can_be_repeated(&failure) => {
                    warn!(sequence = %self.sequence, "{what} could not be committed yet: {failure}");
                    sleep(wait).await;
                    wait = (wait * 2).min(COMMIT_WAIT_MAX);
                }
                Err(failure) => return Break(WorkResult::StoreFailed(failure)),
            }
        }
    }

    /// Stops all sending when so many addresses are rejected that the fault must be ours.
    async fn count_rejection(&self) -> ControlFlow<WorkResult> {
        let too_many = self.shared.rejections.lock().count(Instant::now());
        if !too_many {
            return Continue(());
        }
        let max = self.shared.settings.rejections_max;
        let reason = format!(
            "more than {max} addresses were rejected within ten minutes: check the relay's replies, then `resume`, \
             or `resume --forget-rejections` if the addresses are good"
        );
        error!("all sending is paused: {reason}");
        let pause = || {
            let (store, now) = (&self.shared.store, self.shared.clock.now());
            store.pause(PauseScope::Everything, reason.clone(), Actor::Daemon, now)
        };
        self.until_committed("the pause of all sending", pause).await?;
        Break(WorkResult::Requeue)
    }

    fn log(&self, plan: &AttemptPlan, result: &AttemptResult, took: Duration) {
        let AttemptPlan { job, intent, .. } = plan;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let address = intent.address.masked();
        // The relay's words may repeat an address.
        let code = result.reply().map(|reply| reply.code);
        let enhanced =
            result.reply().and_then(|reply| reply.enhanced).map(|enhanced| enhanced.to_string());
        let stage = result.stage().as_str();
        let cause = result.cause();
        macro_rules! say {
            ($level:ident, $words:literal) => {
                $level!(
                    account.id = %masked(job.account.id().as_str()),
                    invoice.number = %masked(job.invoice.number.as_str()),
                    sequence = %self.sequence, revision = intent.revision, attempt = intent.number,
                    address, stage, code, enhanced, cause, duration_ms, $words
                )
            };
        }
        match result.verdict {
            Verdict::Accepted => say!(info, "accepted by relay"),
            Verdict::Deferred => say!(warn, "deferred: retrying later"),
            Verdict::AddressRejected => say!(warn, "the relay rejected the address"),
            Verdict::MessageRefused => say!(warn, "held: the relay refused the message"),
            Verdict::Uncertain => say!(warn, "uncertain: the relay may have accepted it"),
            Verdict::RelayFailed => say!(warn, "the relay failed"),
        }
    }
}
