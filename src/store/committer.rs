//! The one thread that writes.
//!
//! It takes the units that wait, evaluates them in order of arrival into a batch, writes the batch,
//! flushes once, syncs the database's file by itself – sled's flush ends in `sync_file_range`, which is
//! not durable – and only then answers. What a unit reads is durable, because nothing is evaluated
//! before the batch in front of it is.
//!
//! Any failure is final: it is no longer known which of the tree's content is on the disk. The thread
//! stops, every waiting or later caller gets an error, and the process has to be restarted.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::engine::backend::{Priority, Salts};
use super::engine::tx::{
    Answerer, BATCH_OPERATIONS, Batch, Prepared, Sealed, TrailHead, Tree, Unit, Writes,
};
use super::{Health, Result, Rules, StoreError};

/// Most units that may wait. Settlements are not counted: there are no more than connections.
const WAITING_UNITS: usize = 1_024;
/// A batch that takes longer keeps new intents away.
const SLOW_BATCH: Duration = Duration::from_secs(2);
/// A batch that takes longer never ends: sled has deadlocked, or the disk hangs.
const STUCK_BATCH: Duration = Duration::from_secs(60);
/// How often free space and the batch's age are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The database under the committer, with the steps that can fail kept apart.
pub(super) trait Disk: Tree + Send + Sync + 'static {
    /// Writes all or nothing, not durably yet.
    fn write(&self, writes: Writes) -> Result<()>;

    /// Makes durable what was written.
    fn sync(&self) -> io::Result<()>;

    /// Free space in bytes.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Commits units in a thread of its own until it is dropped, which waits for what was taken.
pub(super) struct Committer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    reserve_bytes: u64,
    state: Mutex<State>,
    /// Something came, or is to be closed.
    came: Condvar,
    /// The thread has ended.
    ended: Condvar,
    space: Mutex<Space>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Unit>,
    closing: bool,
    ended: bool,
    commits: u64,
    /// When the batch under way began.
    began: Option<Instant>,
    failure: Option<StoreError>,
}

/// The free space when it was looked at last, less what was written since.
struct Space {
    looked: Option<Instant>,
    free_bytes: u64,
    /// Set aside for files that are being written. What of them is on the disk already counts twice for a while,
    /// and never not at all.
    set_aside_bytes: u64,
}

/// Space that is set aside for a file, until it is dropped.
pub(crate) struct Room {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Committer {
    /// Starts the thread. `head` is the hash chain's last link on the disk.
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        head: TrailHead,
        rules: Rules,
        reserve_bytes: u64,
    ) -> Result<Self> {
        let salts = Salts::new()?;
        let shared = Arc::new(Shared {
            disk,
            reserve_bytes,
            state: Mutex::default(),
            came: Condvar::new(),
            ended: Condvar::new(),
            space: Mutex::new(Space { looked: None, free_bytes: u64::MAX, set_aside_bytes: 0 }),
        });
        let mut committer = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let worker = Worker {
            shared: Arc::clone(&shared),
            head,
            rules,
            salts,
            waiting: VecDeque::new(),
            carried: None,
        };
        committer.spawn("committer", move || worker.run())?;
        committer.spawn("committer-watch", move || shared.watch())?;
        Ok(committer)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|error| StoreError::failed("starting a thread", error))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Takes a unit, or says why not.
    pub(super) fn submit(&self, priority: Priority, unit: Unit) -> Result<()> {
        self.shared.check_space(priority)?;
        let mut state = self.shared.state.lock();
        state.check(priority)?;
        state.waiting.push_back(unit);
        drop(state);
        self.shared.came.notify_one();
        Ok(())
    }

    /// Sets space aside for a file of so many bytes, or says that accepting it would take what settling needs.
    pub(super) fn room_for(&self, bytes: u64) -> Result<Room> {
        let shared = Arc::clone(&self.shared);
        let mut space = shared.space();
        space.check(shared.reserve_bytes.saturating_add(bytes))?;
        space.set_aside_bytes += bytes;
        drop(space);
        Ok(Room { shared, bytes })
    }

    /// The store's health.
    pub(super) fn health(&self) -> Health {
        let refused = |priority| {
            let space = self.shared.check_space(priority);
            space.and_then(|()| self.shared.state.lock().check(priority)).err()
        };
        let (refuses_intents, refuses_new) =
            (refused(Priority::Attempt), refused(Priority::Intake));
        let state = self.shared.state.lock();
        Health {
            commits: state.commits,
            committing_for: state.began.map(|began| began.elapsed()),
            refuses_intents,
            refuses_new,
            failure: state.failure.clone(),
        }
    }

    /// Takes no further unit, and waits until those that were taken are answered. What they left for later is dropped.
    pub(super) fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closing = true;
        self.shared.came.notify_one();
        while !state.ended {
            self.shared.ended.wait(&mut state);
        }
    }
}

impl State {
    /// Whether a unit would be taken now, the disk's space apart.
    fn check(&self, priority: Priority) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.closing || self.ended {
            return Err(StoreError::Closed);
        }
        let slow = self.began.is_some_and(|began| began.elapsed() > SLOW_BATCH);
        let full = self.waiting.len() >= WAITING_UNITS;
        let busy = match priority {
            Priority::Intake => full,
            Priority::Attempt => full || slow,
            Priority::Settlement => false,
        };
        if busy { Err(StoreError::Busy) } else { Ok(()) }
    }
}

impl Space {
    /// Refuses if less than this is free and not reserved.
    fn check(&self, needed_bytes: u64) -> Result<()> {
        if self.free_bytes.saturating_sub(self.set_aside_bytes) < needed_bytes {
            return Err(StoreError::DiskFull);
        }
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut space = self.shared.space();
        space.set_aside_bytes -= self.bytes;
        space.free_bytes = space.free_bytes.saturating_sub(self.bytes);
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // Without its thread it would never report that it has ended.
        if !self.threads.is_empty() {
            self.close();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Shared {
    /// Keeps the space that settling needs: accepting stops at the reserve, intents at half of it.
    fn check_space(&self, priority: Priority) -> Result<()> {
        let needed = match priority {
            Priority::Intake => self.reserve_bytes,
            Priority::Attempt => self.reserve_bytes / 2,
            Priority::Settlement => return Ok(()),
        };
        self.space().check(needed)
    }

    /// The free space, at most a second old.
    fn space(&self) -> MutexGuard<'_, Space> {
        let mut space = self.space.lock();
        if space.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            space.looked = Some(Instant::now());
            match self.disk.free_bytes() {
                Ok(free_bytes) => space.free_bytes = free_bytes,
                Err(error) => tracing::warn!(%error, "cannot tell how much disk space is free"),
            }
        }
        space
    }

    /// Ends the process if a batch does: its callers would wait for ever without an error.
    fn watch(&self) {
        let mut state = self.state.lock();
        while !state.ended {
            if is_stuck(state.began, Instant::now()) {
                tracing::error!(
                    limit_seconds = STUCK_BATCH.as_secs(),
                    "a commit does not finish; aborting"
                );
                std::process::abort();
            }
            self.ended.wait_for(&mut state, LOOK);
        }
    }
}

fn is_stuck(began: Option<Instant>, now: Instant) -> bool {
    began.is_some_and(|began| now.duration_since(began) > STUCK_BATCH)
}

/// The state of the thread itself.
struct Worker {
    shared: Arc<Shared>,
    rules: Rules,
    head: TrailHead,
    salts: Salts,
    /// Taken and not evaluated yet, in order.
    waiting: VecDeque<Unit>,
    /// Evaluated over the batch before, for which it was too large.
    carried: Option<Prepared>,
}

impl Worker {
    fn run(mut self) {
        // Even if a unit panics, no caller may wait for a thread that is gone.
        let _ended = Ended(Arc::clone(&self.shared));
        while self.take() {
            let (result, answers) = self.commit();
            let mut state = self.shared.state.lock();
            state.began = None;
            match &result {
                Ok(()) => state.commits += answers.len() as u64,
                Err(failure) => state.failure = Some(failure.clone()),
            }
            drop(state);
            for answer in answers {
                answer(result.clone());
            }
            if let Err(error) = result {
                tracing::error!(
                    error = error.in_full(),
                    "the store has failed and accepts nothing more"
                );
                return self.give_up(&error);
            }
        }
    }

    /// Waits for units; false once the store is closed and nothing is left.
    fn take(&mut self) -> bool {
        let mut state = self.shared.state.lock();
        loop {
            // Not before they are needed, so that the limit on those who wait holds.
            if self.waiting.len() < BATCH_OPERATIONS {
                self.waiting.append(&mut state.waiting);
            }
            if !self.waiting.is_empty() || self.carried.is_some() {
                state.began = Some(Instant::now());
                return true;
            }
            if state.closing {
                return false;
            }
            self.shared.came.wait(&mut state);
        }
    }

    /// Fills one batch and makes it durable.
    fn commit(&mut self) -> (Result<()>, Vec<Answerer>) {
        let mut batch = Batch::after(self.head, &self.rules);
        let carried = self.carried.take();
        // What follows would take long, and a durable cursor has the next start take it up. It is not asked for room
        // on the disk: it only finishes what was accepted, which is what the reserve is for.
        let goes_on = !self.shared.state.lock().closing;
        self.carried = batch.fill(self.shared.disk.as_ref(), carried, &mut self.waiting, goes_on);
        let Sealed { writes, answers, head } = batch.seal(|| self.salts.next());
        // Without writes there is nothing to make durable: what was read is.
        let result = if writes.is_empty() { Ok(()) } else { self.write(writes) };
        self.head = head;
        (result, answers)
    }

    fn write(&self, writes: Writes) -> Result<()> {
        let disk = &self.shared.disk;
        let written = disk.write(writes);
        // Also after a failed write: it may have failed because the disk lost what it had taken.
        disk.sync().map_err(StoreError::sync_failed)?;
        written
    }

    /// Tells those who were evaluated. The others are dropped, which says that nothing changed.
    fn give_up(mut self, failure: &StoreError) {
        if let Some(carried) = self.carried.take() {
            (carried.answer)(Err(failure.clone()));
        }
    }
}

/// Marks the thread's end, however it came.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.ended = true;
        state.began = None;
        if thread::panicking() && state.failure.is_none() {
            state.failure = Some(StoreError::failed("evaluating a unit", "it panicked"));
        }
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        self.0.ended.notify_all();
        drop(dropped);
    }
}
