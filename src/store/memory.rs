//! A store in memory, for tests and trials: each unit is a batch of its own and durable as long as
//! the process is. Nothing is kept back and nobody is refused.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StoreError;
use super::engine::backend::{Backend, Met, Salts, Urgency, new_id};
use super::engine::keys::{self, kind};
use super::engine::tx::{Batch, TrailHead, Tree, Unit, Visit};
use super::types::{Health, StoreId};

/// A backend over a map that outlives it.
pub(super) struct MemoryBackend {
    disk: Arc<Disk>,
    commits: AtomicU64,
}

/// What is left when the backend is closed.
struct Disk {
    id: StoreId,
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Held while a unit is evaluated, written and answered, so that units come one after the other.
    committing: Mutex<Salts>,
}

impl MemoryBackend {
    /// An empty store.
    pub(super) fn new() -> Result<Self, StoreError> {
        let disk = Disk {
            id: new_id()?,
            map: Mutex::default(),
            committing: Mutex::new(Salts::new()?),
        };
        Ok(Self {
            disk: Arc::new(disk),
            commits: AtomicU64::new(0),
        })
    }

    /// The store as another start would find it.
    pub(super) fn reopen(&self) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
            commits: AtomicU64::new(0),
        }
    }

    /// Commits one unit; returns what it left for later.
    fn commit(&self, unit: Unit) -> Result<Option<Unit>, StoreError> {
        let salts = locked(&self.disk.committing);
        let head = TrailHead::of(self, self.last(&keys::kind_prefix(kind::TRAIL))?)?;
        let mut batch = Batch::after(head);
        let next = batch.add(batch.prepare(self, unit));
        let sealed = batch.seal(|| salts.next());
        let mut map = locked(&self.disk.map);
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
        drop(salts);
        Ok(next)
    }
}

impl Tree for MemoryBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(locked(&self.disk.map).get(key).cloned())
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
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
            let met = locked(&self.disk.map)
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
    fn submit(&self, _urgency: Urgency, unit: Unit) -> Result<(), StoreError> {
        let mut next = Some(unit);
        while let Some(unit) = next {
            next = self.commit(unit)?;
        }
        Ok(())
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

    fn last(&self, prefix: &[u8]) -> Result<Option<Met>, StoreError> {
        let upper = keys::after_prefix(prefix).map_or(Unbounded, Excluded);
        Ok(locked(&self.disk.map)
            .range((Included(prefix.to_vec()), upper))
            .next_back()
            .map(|(key, value)| (key.clone(), value.clone())))
    }
}

/// A unit that panicked has written nothing yet.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
