//! A store in memory, for tests and trials: what is written lasts as long as the process does, and
//! no unit is refused.
//!
//! `submit` returns once the unit is committed. Held back, units wait as they do for the committer, and are
//! committed together when that is asked for, or lost.

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::committer::Room;
use super::documents::DocumentFiles;
use super::engine::backend::{Backend, Priority, Salts, new_id};
use super::engine::keys::{self, kind};
use super::engine::tx::{Batch, KeyValue, TrailHead, Tree, Unit, Visit};
use super::engine::verify::verify;
use super::{Engine, Finding, Health, Result, Rules, Store, StoreId, Verified};
use crate::domain::account::BillingGroups;
use crate::domain::recipient::OnRejected;
use crate::domain::retry::{AfterUncertain, Backoff, Policy};

/// The rules that tests over a store begin with.
#[must_use]
pub fn test_rules(groups: BillingGroups) -> Rules {
    Rules {
        groups,
        policy: Policy {
            backoff: Backoff {
                first: Duration::from_secs(300),
                max: Duration::from_secs(14_400),
                give_up_after: Duration::from_secs(432_000),
            },
            after_uncertain: AfterUncertain::Resend,
        },
        on_rejected: OnRejected::MainContact,
        webhook_id_days: 7,
        documents_bytes: 1_000_000,
        unused_documents_bytes: 1 << 30,
    }
}

/// What outlives a store in memory: its map, and a directory for documents.
pub struct Memory {
    disk: Arc<Disk>,
    directory: PathBuf,
}

struct Disk {
    id: StoreId,
    /// Those that it was last opened with; none before, when nothing can wait.
    rules: Mutex<Option<Rules>>,
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Held while units are evaluated, written and answered, so that they come one after the other.
    committing: Mutex<Salts>,
    commits: AtomicU64,
    /// While units are held back.
    held_back: Mutex<Option<HeldBack>>,
}

struct HeldBack {
    units: VecDeque<Unit>,
    /// Told of each.
    waits: Arc<Notify>,
}

impl Memory {
    /// An empty store with its documents below `directory`, which exists.
    pub fn new(directory: impl Into<PathBuf>) -> Result<Self> {
        let disk = Disk {
            id: new_id()?,
            rules: Mutex::default(),
            map: Mutex::default(),
            committing: Mutex::new(Salts::new()?),
            commits: AtomicU64::new(0),
            held_back: Mutex::default(),
        };
        Ok(Self { disk: Arc::new(disk), directory: directory.into() })
    }

    /// From now on commits wait for [`Memory::commit`], as they do for a disk; `waits` is notified of each.
    pub fn hold_back(&self, waits: Arc<Notify>) {
        *self.disk.held_back.lock() = Some(HeldBack { units: VecDeque::new(), waits });
    }

    /// Commits what waits; from now on nothing waits any more.
    pub fn go_on(&self) -> Result<()> {
        let held_back = self.disk.held_back.lock().take();
        held_back.map_or(Ok(()), |held_back| self.backend().commit(held_back.units))
    }

    /// Commits the first of what waits, at most so many units, in as few batches as they fit into.
    pub fn commit(&self, most: usize) -> Result<()> {
        let mut first = self.take_held_back();
        let rest = first.split_off(most.min(first.len()));
        if let Some(held_back) = self.disk.held_back.lock().as_mut() {
            held_back.units = rest;
        }
        self.backend().commit(first)
    }

    /// Drops what waits, as a crash does: callers get `Closed`.
    pub fn lose(&self) {
        drop(self.take_held_back());
    }

    /// Checks all that it holds; see [`verify`](super::verify()).
    pub fn verify(&self, tell: &mut dyn FnMut(Finding)) -> Result<Verified> {
        verify(&self.backend(), &DocumentFiles::to_be_read(&self.directory), tell)
    }

    /// Opens the store, again or for the first time.
    pub fn open(&self, rules: Rules) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(self.open_over(self.reopen(rules.clone()), rules)?))
    }

    pub(super) fn open_over(&self, backend: impl Backend, rules: Rules) -> Result<Engine> {
        Engine::new(backend, DocumentFiles::open(&self.directory)?, rules)
    }

    /// The database as another start would find it.
    pub(super) fn reopen(&self, rules: Rules) -> MemoryBackend {
        *self.disk.rules.lock() = Some(rules);
        self.disk.commits.store(0, Ordering::Relaxed);
        self.backend()
    }

    pub(super) fn backend(&self) -> MemoryBackend {
        MemoryBackend(Arc::clone(&self.disk))
    }

    fn take_held_back(&self) -> VecDeque<Unit> {
        let mut held_back = self.disk.held_back.lock();
        held_back.as_mut().map(|held_back| std::mem::take(&mut held_back.units)).unwrap_or_default()
    }
}

/// A backend over a map that outlives it.
pub(super) struct MemoryBackend(Arc<Disk>);

impl MemoryBackend {
    fn commit(&self, mut waiting: VecDeque<Unit>) -> Result<()> {
        let salts = self.0.committing.lock();
        let Some(rules) = self.0.rules.lock().clone() else {
            return Ok(());
        };
        let mut carried = None;
        while carried.is_some() || !waiting.is_empty() {
            let head = TrailHead::of(self, self.last(&[kind::CHAIN])?)?;
            let mut batch = Batch::after(head, &rules);
            carried = batch.fill(self, carried, &mut waiting, true);
            let sealed = batch.seal(|| salts.next());
            let mut map = self.0.map.lock();
            for (key, value) in sealed.writes {
                match value {
                    Some(value) => map.insert(key, value),
                    None => map.remove(&key),
                };
            }
            drop(map);
            for answer in sealed.answers {
                self.0.commits.fetch_add(1, Ordering::Relaxed);
                answer(Ok(()));
            }
        }
        Ok(())
    }
}

impl Tree for MemoryBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.map.lock().get(key).cloned())
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<()> {
        let mut lower = Included(from.to_vec());
        loop {
            // A visitor may read by itself, so the map is unlocked before each visit.
            let upper = to.map_or(Unbounded, |to| Excluded(to.to_vec()));
            let is_empty = to.is_some_and(|to| match &lower {
                Included(lower) | Excluded(lower) => lower.as_slice() >= to,
                Unbounded => false,
            });
            if is_empty {
                return Ok(());
            }
            let met = self
                .0
                .map
                .lock()
                .range((lower, upper))
                .next()
                .map(|(key, value)| (key.clone(), value.clone()));
            let Some((key, value)) = met else {
                return Ok(());
            };
            if visit(&key, &value).is_break() {
                return Ok(());
            }
            lower = Excluded(key);
        }
    }
}

impl Backend for MemoryBackend {
    fn tree(&self) -> &dyn Tree {
        self
    }

    fn submit(&self, _urgency: Priority, unit: Unit) -> Result<()> {
        if let Some(held_back) = self.0.held_back.lock().as_mut() {
            held_back.units.push_back(unit);
            held_back.waits.notify_one();
            return Ok(());
        }
        self.commit(VecDeque::from([unit]))
    }

    fn room_for(&self, _bytes: u64) -> Result<Option<Room>> {
        Ok(None)
    }

    fn id(&self) -> StoreId {
        self.0.id
    }

    fn health(&self) -> Health {
        Health {
            commits: self.0.commits.load(Ordering::Relaxed),
            committing_for: None,
            refuses_intents: None,
            refuses_new: None,
            failure: None,
        }
    }

    /// Each unit is answered within its submission.
    fn close(&self) {}

    fn last(&self, prefix: &[u8]) -> Result<Option<KeyValue>> {
        let upper = keys::after_prefix(prefix).map_or(Unbounded, Excluded);
        Ok(self
            .0
            .map
            .lock()
            .range((Included(prefix.to_vec()), upper))
            .next_back()
            .map(|(key, value)| (key.clone(), value.clone())))
    }
}
