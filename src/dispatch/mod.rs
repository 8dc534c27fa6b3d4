//! Brings invoices to their recipients: releases what is due, resolves, sends, settles.
//!
//! [`Schedules`] say when waiting invoices are released, the `schedule_runner` has the store release them. The
//! `dispatcher` reads what is due by `queue_snapshot`, keeps it in its `work_queue` and hands it to workers, as many
//! as `relay` allows; a `worker` does a round of attempts at one invoice. Invariants:
//! - The work queue lives in memory only, and one dispatcher has it: no two attempts at an invoice overlap.
//! - A shutdown ends the attempts under way and begins no others. What is cut off after the grace leaves
//!   its intent behind, which the next start settles as uncertain.
//! - When the store fails for good, nothing more is sent, and [`Dispatch::run`] says so.

mod attempt_result;
mod blocking;
mod composed_message;
mod dispatcher;
mod queue_snapshot;
mod relay;
mod relay_session;
mod schedule_runner;
mod work_queue;
mod worker;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::warn;

pub use self::blocking::Blocking;
pub use self::relay::RelayState;

use self::dispatcher::Dispatcher;
use self::relay::RejectionsGuard;
use self::schedule_runner::ScheduleRunner;
use crate::clock::Clock;
use crate::domain::address::{EmailAddress, MailDomain};
use crate::domain::contact::Language;
use crate::domain::delivery::{Outcome, Stage};
use crate::domain::schedule::Schedules;
use crate::mail::compose::Brand;
use crate::mail::template::Templates;
use crate::mail::transport::Transport;
use crate::store::{Rules, Store, StoreError};

/// What sending is set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// In whose name mail is sent.
    pub brand: Brand,
    /// In MAIL FROM: where bounces go.
    pub envelope_from: EmailAddress,
    /// On the right of every Message-ID.
    pub message_id_domain: MailDomain,
    /// For recipients without a language.
    pub default_language: Language,
    /// Largest message, in bytes as they go to the relay.
    pub message_bytes: usize,
    /// Most connections to the relay at once; at least one is used.
    pub connections: usize,
    /// After so long without use a connection is closed.
    pub connection_idle: Duration,
    /// How long after the relay failed it is probed; then at growing distances, up to 64 times as long.
    pub probe_first: Duration,
    /// The rules that the store applies too.
    pub rules: Rules,
    /// More rejected addresses than this within ten minutes stop all sending.
    pub rejections_max: usize,
    /// The longest time between two checks of the clock and the store; [`Progress`] advances at least this
    /// often.
    pub tick: Duration,
}

/// Everything that sending needs.
#[derive(Clone)]
pub struct Parts {
    /// Where invoices come from and outcomes go to.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Clock,
    /// To be notified, by `notify_one`, when something may have become due or been resumed.
    pub wake_up: Arc<Notify>,
    /// Where mail goes.
    pub transport: Arc<Transport>,
    /// Its words.
    pub templates: Arc<Templates>,
    /// What is configured.
    pub settings: Settings,
    /// Where work that may block is done.
    pub blocking: Blocking,
    /// When what waits is released.
    pub schedules: Schedules,
}

/// Sends what is due, until it is stopped.
pub struct Dispatch {
    parts: Parts,
    relay: watch::Sender<RelayState>,
    progress: Arc<Progress>,
}

/// How sending fares, for readiness, status and the watchdog.
#[derive(Debug, Clone)]
pub struct Status {
    /// How the relay fares.
    pub relay: watch::Receiver<RelayState>,
    /// That the loops are alive.
    pub progress: Arc<Progress>,
}

/// Counters that rise as long as the loops go round, and with what they do.
#[derive(Debug, Default)]
pub struct Progress {
    dispatcher: AtomicU64,
    schedule_runner: AtomicU64,
    attempts: Mutex<BTreeMap<(Outcome, Stage), u64>>,
}

impl Progress {
    /// How often the dispatcher went round.
    #[must_use]
    pub fn dispatcher(&self) -> u64 {
        self.dispatcher.load(Ordering::Relaxed)
    }

    /// How often the schedules were looked at.
    #[must_use]
    pub fn schedule_runner(&self) -> u64 {
        self.schedule_runner.load(Ordering::Relaxed)
    }

    /// Attempts by outcome and stage, since the start.
    #[must_use]
    pub fn attempts(&self) -> BTreeMap<(Outcome, Stage), u64> {
        self.counted().clone()
    }

    fn count(&self, outcome: Outcome, stage: Stage) {
        *self.counted().entry((outcome, stage)).or_default() += 1;
    }

    fn counted(&self) -> MutexGuard<'_, BTreeMap<(Outcome, Stage), u64>> {
        self.attempts.lock()
    }
}

/// Why sending stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    /// The store failed for good.
    #[error("sending stopped: the store failed")]
    Store(#[from] StoreError),
    /// A bug in the daemon.
    #[error("sending stopped: one of its tasks crashed")]
    Crashed,
}

impl Dispatch {
    /// Sends nothing before [`Dispatch::run`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, relay: watch::Sender::new(RelayState::Untried), progress: Arc::default() }
    }

    /// How it fares, from now on.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { relay: self.relay.subscribe(), progress: Arc::clone(&self.progress) }
    }

    /// Settles what the last process left, then sends until `shutdown` is true or its sender gone.
    /// Attempts under way then have `grace` to finish.
    pub async fn run(
        self,
        shutdown: watch::Receiver<bool>,
        grace: Duration,
    ) -> Result<(), DispatchError> {
        let Self { parts, relay, progress } = self;
        let stop = watch::Sender::new(false);
        let shared = Arc::new(Shared {
            rejections: Mutex::new(RejectionsGuard::new(parts.settings.rejections_max)),
            parts,
            progress,
            stopping: stop.subscribe(),
            stop: stop.clone(),
        });
        let schedule_runner = ScheduleRunner::new(Arc::clone(&shared));
        let dispatcher = Dispatcher::new(Arc::clone(&shared), relay);

        let send = async {
            if !recover(&shared).await? {
                return Ok(());
            }
            let ended = tokio::join!(
                then_stop(dispatcher.run(grace), &stop),
                then_stop(schedule_runner.run(), &stop)
            );
            ended.0.and(ended.1)
        };
        let pass_on = async {
            tokio::select! {
                biased;
                () = stopped(shutdown) => {}
                () = stopped(stop.subscribe()) => {}
            }
            stop.send_replace(true);
        };
        let (outcome, ()) = tokio::join!(then_stop(send, &stop), pass_on);
        outcome
    }
}

/// What all tasks share: the parts, and what comes of them.
struct Shared {
    parts: Parts,
    progress: Arc<Progress>,
    rejections: Mutex<RejectionsGuard>,
    stopping: watch::Receiver<bool>,
    /// Turned by whichever part fails first.
    stop: watch::Sender<bool>,
}

impl Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Shared {
    /// Reads the store where that may block. A read that panics fails the store for good.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.store);
        let done = self.blocking.run(move || read(store.as_ref())).await;
        done.unwrap_or(Err(StoreError::Closed))
    }
}

/// Whether the store refused for now and the same may succeed later: nothing changed.
fn can_be_repeated(failure: &StoreError) -> bool {
    match failure {
        StoreError::DiskFull | StoreError::Busy => true,
        StoreError::Closed
        | StoreError::Damaged { .. }
        | StoreError::Failed { .. }
        | StoreError::SyncFailed(_) => false,
    }
}

/// Resolves once `signal` is true or its sender gone.
async fn stopped(mut signal: watch::Receiver<bool>) {
    // A sender that is gone asks for the same.
    let _ = signal.wait_for(|stopping| *stopping).await;
}

/// However one loop ends, the others end too.
async fn then_stop<T>(work: impl Future<Output = T>, stop: &watch::Sender<bool>) -> T {
    let ended = work.await;
    stop.send_replace(true);
    ended
}

/// Settles the open attempts of the previous process as uncertain. Returns whether it was able to.
async fn recover(shared: &Shared) -> Result<bool, StoreError> {
    while !*shared.stopping.borrow() {
        match shared.store.recover(shared.clock.now(), fastrand::f64()).await {
            Ok(intents) => {
                for (sequence, intent) in intents {
                    warn!(
                        %sequence, revision = intent.revision, attempt = intent.number,
                        address = intent.address.masked(),
                        "uncertain: the previous process ended during an attempt"
                    );
                }
                return Ok(true);
            }
            Err(failure) if can_be_repeated(&failure) => {
                warn!("open attempts of the previous process cannot be settled yet: {failure}");
                tokio::select! {
                    biased;
                    () = sleep(shared.settings.tick) => {}
                    () = stopped(shared.stopping.clone()) => {}
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(false)
}
