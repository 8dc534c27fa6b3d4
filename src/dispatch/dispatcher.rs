//! Finds what is to be sent and hands it to workers.
//!
//! One loop owns the work queue, the circuit and the idle connections, so none of them needs a lock; everything
//! that takes time is a task of its own that reports back. What is due is read page by page, each lane by
//! itself: urgent invoices don't wait behind all that a schedule released. A **pass** begins with each wake-up
//! and each tick, and one after the other while a run is open: it reads the current pauses, and what is due in a
//! lane from the start, as soon as the reading before it has reached the end. Invariants:
//! - Little is claimed ahead; during a pause of everything nothing is handed over, once a pass has read of it.
//!   Each worker reads the pauses itself before it begins.
//! - As many workers are busy as the circuit allows, none while it is open.
//! - No wait is longer than a tick, and passes are apart, so neither a lost wake-up nor a storm of them
//!   does harm.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::queue_snapshot::{QueueSnapshot, ReadDue, Request, read};
use super::relay::{Circuit, Generation, RelayState};
use super::relay_session::RelaySession;
use super::work_queue::WorkQueue;
use super::worker::{Claim, RelayReport, Report, WorkResult, work};
use super::{DispatchError, Shared, can_be_repeated, stopped};
use crate::domain::delivery::{DeliveryId, Lane, Stage};
use crate::mail::outcome::Failure;
use crate::mail::transport::Connection;
use crate::store::StoreError;

/// The shortest time between the beginnings of two passes.
const PASS_DISTANCE: Duration = Duration::from_millis(50);
/// How many invoices are claimed ahead of each connection.
const AHEAD: usize = 8;
/// A reading of the store that takes longer than this is no progress.
const READING_MAX: Duration = Duration::from_secs(60);

/// Hands invoices to workers.
pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    relay: watch::Sender<RelayState>,
    queue: WorkQueue,
    circuit: Circuit,
    idle: Vec<Idle>,
    busy: usize,
    /// Claims whose last outcome is being committed.
    settling: usize,
    reading: Reading,
    tasks: JoinSet<Done>,
    /// Whether the disk was full when the store was last asked.
    disk_is_full: bool,
    draining: bool,
}

/// An idle connection.
struct Idle {
    connection: Connection,
    since: Instant,
}

/// How far the store has been read.
struct Reading {
    /// Something may have changed since the last pass began.
    is_stale: bool,
    pass_began: Option<Instant>,
    /// Since when a reading is under way.
    under_way: Option<Instant>,
    /// All sending was paused at the last reading.
    is_paused: bool,
    lanes: [LaneReading; Lane::ALL.len()],
}

/// How far what is due in a lane has been read.
struct LaneReading {
    lane: Lane,
    due: ReadDue,
    /// A pass began before the reading reached its end: what has become due behind it is read once it has.
    once_more: bool,
    /// When a further invoice is due.
    next_due: Option<chrono::DateTime<chrono::Utc>>,
}

/// What a task brings back.
enum Done {
    Worked(Generation, Box<Report>),
    Settled(DeliveryId, WorkResult),
    Read(Result<QueueSnapshot, StoreError>),
    Probed(Result<Connection, Failure>),
    SaidGoodbye,
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<Shared>, relay: watch::Sender<RelayState>) -> Self {
        Self {
            circuit: Circuit::new(shared.settings.connections, shared.settings.probe_first),
            shared,
            relay,
            queue: WorkQueue::default(),
            idle: Vec::new(),
            busy: 0,
            settling: 0,
            reading: Reading {
                is_stale: true,
                pass_began: None,
                under_way: None,
                is_paused: false,
                lanes: Lane::ALL.map(|lane| LaneReading {
                    lane,
                    due: ReadDue::Not,
                    once_more: false,
                    next_due: None,
                }),
            },
            tasks: JoinSet::new(),
            disk_is_full: false,
            draining: false,
        }
    }

    /// Goes round until the daemon stops, then waits for what is under way, at most for `grace`.
    pub(super) async fn run(mut self, grace: Duration) -> Result<(), DispatchError> {
        let stopping = self.shared.stopping.clone();
        let wake_up = Arc::clone(&self.shared.wake_up);
        let mut next_tick = Instant::now() + self.shared.settings.tick;
        let ended = loop {
            if *stopping.borrow() {
                break Ok(());
            }
            self.beat();
            // Registered before the store is read: a wake-up from now on is not missed.
            let woken = wake_up.notified();
            if let Err(failure) = self.act() {
                break Err(failure);
            }
            let wake = self.wake(next_tick);
            // In this order: time cannot be starved, and a tick does what a wake-up does.
            tokio::select! {
                biased;
                () = stopped(stopping.clone()) => {}
                () = sleep_until(wake) => {
                    if Instant::now() >= next_tick || self.is_something_due() {
                        next_tick = Instant::now() + self.shared.settings.tick;
                        self.reading.is_stale = true;
                    }
                }
                Some(done) = self.tasks.join_next() => {
                    if let Err(failure) = self.take(done) {
                        break Err(failure);
                    }
                }
                () = woken => self.reading.is_stale = true,
            }
        };
        ended.and(self.drain(grace).await)
    }

    /// Lets attempts in progress finish; no other begins, of the same rounds either.
    async fn drain(mut self, grace: Duration) -> Result<(), DispatchError> {
        self.draining = true;
        self.shared.stop.send_replace(true);
        self.close_idle(Duration::ZERO);
        let mut outcome = Ok(());
        let all = async {
            while let Some(done) = self.tasks.join_next().await {
                outcome = std::mem::replace(&mut outcome, Ok(())).and(self.take(done));
            }
        };
        if timeout(grace, all).await.is_err() {
            let attempts = self.busy + self.settling;
            warn!(
                attempts,
                "attempts in progress are cut off; those already started become uncertain at the next start"
            );
            self.tasks.abort_all();
        }
        outcome
    }

    fn beat(&self) {
        let is_stuck = self.reading.under_way.is_some_and(|since| since.elapsed() > READING_MAX);
        if !is_stuck {
            self.shared.progress.dispatcher.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins whatever can be begun now.
    fn act(&mut self) -> Result<(), DispatchError> {
        let now = Instant::now();
        self.read(now);
        if self.circuit.begin_probe(now) {
            let transport = Arc::clone(&self.shared.transport);
            let stopping = self.shared.stopping.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    probed = transport.connect() => Done::Probed(probed),
                    () = stopped(stopping) => Done::SaidGoodbye,
                }
            });
        }
        self.hand_over()?;
        self.close_idle(self.shared.settings.connection_idle);
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), DispatchError> {
        while self.busy < self.circuit.allowed() && !self.queue.is_empty() && !self.must_wait()? {
            let Some(sequence) = self.queue.take() else {
                return Ok(());
            };
            let session = RelaySession::new(self.idle.pop().map(|idle| idle.connection));
            let generation = self.circuit.generation();
            let shared = Arc::clone(&self.shared);
            self.busy += 1;
            self.tasks.spawn(async move {
                Done::Worked(generation, Box::new(work(shared, sequence, session).await))
            });
        }
        Ok(())
    }

    /// Whether nothing may begin: all sending is paused, or the store would refuse the intent and the relay
    /// be kept waiting for nothing.
    fn must_wait(&mut self) -> Result<bool, DispatchError> {
        let refusal = self.shared.store.health().refuses_intents;
        // That too many commits wait passes by itself, and is not worth a word.
        let disk_is_full = refusal == Some(StoreError::DiskFull);
        if disk_is_full != self.disk_is_full {
            if disk_is_full {
                warn!("nothing is sent: {}", StoreError::DiskFull);
            } else {
                info!("the disk has free space again: sending continues");
            }
            self.disk_is_full = disk_is_full;
        }
        if let Some(failure) = refusal.clone().filter(|cause| !can_be_repeated(cause)) {
            return Err(failure.into());
        }
        Ok(refusal.is_some() || self.reading.is_paused)
    }

    /// Begins to read the store, if that is of use now.
    fn read(&mut self, now: Instant) {
        if self.reading.under_way.is_some() {
            return;
        }
        let begins_a_pass = self.reading.is_stale
            && self.reading.pass_began.is_none_or(|began| now >= began + PASS_DISTANCE);
        if begins_a_pass {
            self.reading.is_stale = false;
            self.reading.pass_began = Some(now);
            self.queue.begin_pass();
            for lane in &mut self.reading.lanes {
                match lane.due {
                    ReadDue::Not => lane.due = ReadDue::FromTheStart,
                    ReadDue::FromTheStart => {}
                    ReadDue::After(_) | ReadDue::MisplacedAfter(_) => lane.once_more = true,
                }
            }
        }
        let enough = AHEAD * self.shared.settings.connections.max(1);
        let is_wanted =
            |lane: &&LaneReading| lane.due != ReadDue::Not && self.queue.ready(lane.lane) < enough;
        let lanes = self.reading.lanes.iter().filter(is_wanted);
        let request = Request {
            now: self.shared.clock.now(),
            longest_delay: self.shared.settings.rules.policy.backoff.max,
            looks_at_runs: begins_a_pass,
            paused_accounts: if begins_a_pass { self.queue.paused_accounts() } else { Vec::new() },
            due: lanes.map(|lane| (lane.lane, lane.due)).collect(),
        };
        if !request.is_empty() {
            self.reading.under_way = Some(now);
            let store = Arc::clone(&self.shared.store);
            self.shared
                .blocking
                .run_in(&mut self.tasks, move || Done::Read(read(store.as_ref(), request)));
        }
    }

    /// When to go round at the latest.
    fn wake(&self, next_tick: Instant) -> Instant {
        let now = Instant::now();
        // While what is due is not read to its end, there is nothing to come back for at its time.
        let read = self.reading.lanes.iter().filter(|lane| lane.due == ReadDue::Not);
        let due = read.filter_map(|lane| lane.next_due).min().map(|due| {
            let wait = (due - self.shared.clock.now()).to_std().unwrap_or_default();
            now + wait.max(PASS_DISTANCE)
        });
        let pass = self
            .reading
            .pass_began
            .filter(|_| self.reading.is_stale && self.reading.under_way.is_none())
            .map(|began| began + PASS_DISTANCE);
        let idle =
            self.idle.iter().map(|idle| idle.since + self.shared.settings.connection_idle).min();
        [due, pass, idle, self.circuit.probe_at()]
            .into_iter()
            .flatten()
            .fold(next_tick, Instant::min)
    }

    fn is_something_due(&self) -> bool {
        let now = self.shared.clock.now();
        self.reading.lanes.iter().any(|lane| lane.next_due.is_some_and(|due| due <= now))
    }

    /// Takes what a task brings back.
    fn take(&mut self, done: Result<Done, JoinError>) -> Result<(), DispatchError> {
        match done.map_err(|_| DispatchError::Crashed)? {
            Done::Worked(generation, report) => {
                self.busy -= 1;
                self.worked(generation, *report)?;
            }
            Done::Settled(sequence, end) => {
                self.settling -= 1;
                self.ended(sequence, end)?;
            }
            Done::Read(snapshot) => {
                self.reading.under_way = None;
                match snapshot {
                    Ok(snapshot) => self.fill(snapshot),
                    Err(failure) if can_be_repeated(&failure) => self.reading.is_stale = true,
                    Err(failure) => return Err(failure.into()),
                }
            }
            Done::Probed(Ok(connection)) => {
                self.circuit.probe_succeeded();
                self.relay_works();
                self.keep(connection);
            }
            Done::Probed(Err(failure)) => {
                debug!("the relay is still down: {}", failure.in_words());
                self.circuit.probe_failed(Instant::now(), fastrand::f64());
                self.relay_failed(&failure);
            }
            Done::SaidGoodbye => {}
        }
        Ok(())
    }

    fn worked(&mut self, generation: Generation, report: Report) -> Result<(), DispatchError> {
        let Report { sequence, claim, connection, relay } = report;
        let RelayReport { transactions, failure, answered, unanswered } = relay;
        let now = Instant::now();
        for _ in 0..transactions {
            self.circuit.succeeded(generation, now);
        }
        if answered {
            self.circuit.answered(generation);
        }
        let unanswered = unanswered.filter(|_| self.circuit.missing_final_reply(generation));
        if unanswered.is_some() {
            warn!("the relay did not answer the final dot of several messages in a row");
        }
        let served = self.busy + self.idle.len();
        match failure.or(unanswered) {
            Some(failure) if served > 0 && is_one_too_many(&failure) => {
                info!(served, "the relay takes no more connections: {}", failure.in_words());
                self.circuit.connection_refused(generation, served, now);
            }
            Some(failure) => {
                let opens = self.circuit.failed(generation, now, fastrand::f64());
                if opens {
                    warn!(
                        stage = failure.stage.as_str(),
                        "the relay is down, nothing is sent until it answers: {}",
                        failure.in_words()
                    );
                    self.relay_failed(&failure);
                    self.close_idle(Duration::ZERO);
                }
            }
            None if transactions > 0 && self.circuit.allowed() > 0 => self.relay_works(),
            None => {}
        }
        if let Some(connection) = connection {
            self.keep(connection);
        }
        match claim {
            Claim::Ended(end) => self.ended(sequence, end),
            Claim::Settling(settling) => {
                self.settling += 1;
                self.tasks.spawn(async move {
                    let (sequence, end) = settling.end().await;
                    Done::Settled(sequence, end)
                });
                Ok(())
            }
        }
    }

    /// A claim was finished.
    fn ended(&mut self, sequence: DeliveryId, end: WorkResult) -> Result<(), DispatchError> {
        match end {
            WorkResult::Complete => self.queue.complete(sequence),
            WorkResult::Requeue => {
                self.queue.requeue(sequence);
                self.reading.is_stale = true;
            }
            WorkResult::AccountPaused(account) => self.queue.account_paused(account, sequence),
            // It stays claimed, and is left alone.
            WorkResult::Unreadable => {}
            WorkResult::StoreFailed(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    fn fill(&mut self, snapshot: QueueSnapshot) {
        let QueueSnapshot { is_paused, is_releasing, resumed_accounts, due } = snapshot;
        self.reading.is_paused = is_paused;
        self.reading.is_stale |= is_releasing;
        for account in &resumed_accounts {
            self.queue.account_resumed(account);
        }
        for page in due {
            for lane in self.reading.lanes.iter_mut().filter(|lane| lane.lane == page.lane) {
                let was_told = matches!(lane.due, ReadDue::MisplacedAfter(_));
                if !was_told && !matches!(page.go_on, ReadDue::After(_)) {
                    lane.next_due = page.next;
                }
                lane.due = page.go_on;
                if lane.due == ReadDue::Not && std::mem::take(&mut lane.once_more) {
                    lane.due = ReadDue::FromTheStart;
                }
            }
            for place in &page.places {
                self.queue.push(place.delivery, page.lane);
            }
        }
    }

    fn relay_works(&self) {
        let was_down = matches!(*self.relay.borrow(), RelayState::Down { .. });
        self.relay.send_if_modified(|state| {
            let changes = *state != RelayState::Up;
            *state = RelayState::Up;
            changes
        });
        if was_down {
            info!("the relay answers again");
        }
    }

    fn relay_failed(&self, failure: &Failure) {
        let now = self.shared.clock.now();
        self.relay.send_modify(|state| {
            let since = match state {
                RelayState::Down { since, .. } => *since,
                RelayState::Untried | RelayState::Up => now,
            };
            *state = RelayState::Down { since, cause: failure.in_words() };
        });
    }

    /// Keeps a connection for the next invoice, unless there are enough.
    fn keep(&mut self, connection: Connection) {
        if !self.draining && self.busy + self.idle.len() < self.circuit.allowed() {
            self.idle.push(Idle { connection, since: Instant::now() });
        } else {
            self.say_goodbye(connection);
        }
    }

    /// Closes connections that were idle for `limit`.
    fn close_idle(&mut self, limit: Duration) {
        let is_old = |idle: &mut Idle| idle.since.elapsed() >= limit;
        let old: Vec<Idle> = self.idle.extract_if(.., is_old).collect();
        for idle in old {
            self.say_goodbye(idle.connection);
        }
    }

    fn say_goodbye(&mut self, connection: Connection) {
        self.tasks.spawn(async move {
            connection.quit().await;
            Done::SaidGoodbye
        });
    }
}

/// A 421 in place of a greeting, or to EHLO: what relays say to a connection beyond their limit.
fn is_one_too_many(failure: &Failure) -> bool {
    matches!(failure.stage, Stage::Greeting | Stage::Ehlo)
        && failure.reply.as_ref().is_some_and(|reply| reply.code == 421)
}
