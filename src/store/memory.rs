//! A store in memory, for tests and trials: what is written is durable as long as the process is, and
//! nobody is refused.
//!
//! `submit` returns once the unit is committed. Held back, units wait as they do for the committer, and are
//! committed together when that is asked for, or lost.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::committer::Room;
use super::engine::backend::{Backend, Salts, Urgency, new_id};
use super::engine::keys::{self, kind};
use super::engine::tx::{Batch, Met, TrailHead, Tree, Unit, Visit};
use super::{Health, Result, Rules, StoreId};

/// A backend over a map that outlives it.
pub(super) struct MemoryBackend {
    disk: Arc<Disk>,
    commits: AtomicU64,
}

/// What is left when the backend is closed.
struct Disk {
    id: StoreId,
    /// Those of whoever opened it last; none before, when nothing can wait.
    rules: Mutex<Option<Rules>>,
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Held while units are evaluated, written and answered, so that they come one after the other.
    committing: Mutex<Salts>,
    /// While units are held back.
    held_back: Mutex<Option<HeldBack>>,
}

struct HeldBack {
    units: VecDeque<Unit>,
    /// Told of each.
    waits: Arc<Notify>,
}

impl MemoryBackend {
    /// An empty store.
    pub(super) fn new() -> Result<Self> {
        let disk = Disk {
            id: new_id()?,
            rules: Mutex::default(),
            map: Mutex::default(),
            committing: Mutex::new(Salts::new()?),
            held_back: Mutex::default(),
        };
        Ok(Self { disk: Arc::new(disk), commits: AtomicU64::new(0) })
    }

    /// The store as another start would find it.
    pub(super) fn reopen(&self, rules: Rules) -> Self {
        *self.disk.rules.lock() = Some(rules);
        Self { disk: Arc::clone(&self.disk), commits: AtomicU64::new(0) }
    }

    /// From now on units wait for [`Self::commit_held_back`], and `waits` is told.
    pub(super) fn hold_back(&self, waits: Arc<Notify>) {
        let units = VecDeque::new();
        *self.disk.held_back.lock() = Some(HeldBack { units, waits });
    }

    /// Commits the first of what is held back, at most so many units.
    pub(super) fn commit_held_back(&self, most: usize) -> Result<()> {
        let mut first = self.take_held_back();
        let rest = first.split_off(most.min(first.len()));
        if let Some(held_back) = self.disk.held_back.lock().as_mut() {
            held_back.units = rest;
        }
        self.commit(first)
    }

    /// Takes what is held back away. When it is dropped, whoever waits for it is told so.
    pub(super) fn take_held_back(&self) -> VecDeque<Unit> {
        let mut held_back = self.disk.held_back.lock();
        held_back.as_mut().map(|held_back| std::mem::take(&mut held_back.units)).unwrap_or_default()
    }

    /// Holds nothing back any more; commits what was.
    pub(super) fn go_on(&self) -> Result<()> {
        let held_back = self.disk.held_back.lock().take();
        held_back.map_or(Ok(()), |held_back| self.commit(held_back.units))
    }

    fn commit(&self, mut waiting: VecDeque<Unit>) -> Result<()> {
        let salts = self.disk.committing.lock();
        let Some(rules) = self.disk.rules.lock().clone() else {
            return Ok(());
        };
        let mut carried = None;
        while carried.is_some() || !waiting.is_empty() {
            let head = TrailHead::of(self, self.last(&[kind::TRAIL])?)?;
            let mut batch = Batch::after(head, &rules);
            carried = batch.fill(self, carried, &mut waiting);
            let sealed = batch.seal(|| salts.next());
            let mut map = self.disk.map.lock();
            for (key, value) in sealed.writes {
                match value {
                    Some(value) => map.insert(key, value),
                    None => map.remove(&key),
                };
            }
            drop(map);
            for answer in sealed.answers {
                self.commits.fetch_add(1, Ordering::Relaxed);
                answer(Ok(()));
            }
        }
        Ok(())
    }
}

impl Tree for MemoryBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.disk.map.lock().get(key).cloned())
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<()> {
        let mut lower = Included(from.to_vec());
        loop {
            // A visitor may read by itself, so the map is let go of before each visit.
            let upper = to.map_or(Unbounded, |to| Excluded(to.to_vec()));
            let is_empty = to.is_some_and(|to| match &lower {
                Included(lower) | Excluded(lower) => lower.as_slice() >= to,
                Unbounded => false,
            });
            if is_empty {
                return Ok(());
            }
            let met = self
                .disk
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
    fn submit(&self, _urgency: Urgency, unit: Unit) -> Result<()> {
        if let Some(held_back) = self.disk.held_back.lock().as_mut() {
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
        self.disk.id
    }

    fn health(&self) -> Health {
        Health {
            commits: self.commits.load(Ordering::Relaxed),
            committing_for: None,
            refuses_intents: None,
            refuses_new: None,
            failure: None,
        }
    }

    /// Each unit is answered within its submission.
    fn close(&self) {}

    fn last(&self, prefix: &[u8]) -> Result<Option<Met>> {
        let upper = keys::after_prefix(prefix).map_or(Unbounded, Excluded);
        Ok(self
            .disk
            .map
            .lock()
            .range((Included(prefix.to_vec()), upper))
            .next_back()
            .map(|(key, value)| (key.clone(), value.clone())))
    }
}
