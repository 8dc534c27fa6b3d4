//! What the use cases need of a database: a sorted map that takes units of work.

use std::cell::Cell;

use sha2::{Digest as _, Sha256};

use super::tx::{KeyValue, Tree, Unit};
use crate::store::committer::Room;
use crate::store::{Health, Result, StoreError, StoreId};

/// How urgent a unit is when the disk fills up or commits are slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Something new: the first to be refused.
    Intake,
    /// What is about to be sent: may use half of the disk space that is kept back.
    Attempt,
    /// What became of it: never refused, since it happened.
    Settlement,
}

/// A tree that commits units, each whole or not at all.
pub(crate) trait Backend: Send + Sync + 'static {
    /// What is there now.
    fn tree(&self) -> &dyn Tree;

    /// Takes a unit, to be evaluated in order of arrival and answered once it is durable, before anything
    /// is evaluated that could have read it. An error means that it was not taken and will not be
    /// evaluated.
    fn submit(&self, priority: Priority, unit: Unit) -> Result<()>;

    /// Room for a file of so many bytes, if the disk keeps what settling needs besides. To be dropped once the
    /// file is written; none where space is not counted.
    fn room_for(&self, bytes: u64) -> Result<Option<Room>>;

    /// The store's random id.
    fn id(&self) -> StoreId;

    /// The store's health.
    fn health(&self) -> Health;

    /// Takes no further unit, and waits until those that were taken are answered. What they left for later is dropped.
    fn close(&self);

    /// The greatest key that begins with `prefix`, and its value.
    fn last(&self, prefix: &[u8]) -> Result<Option<KeyValue>>;
}

/// A new random id, for a store or for a process.
pub(crate) fn new_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    fill(&mut id)?;
    Ok(id)
}

/// The salts of audit entries: they can't be guessed, so that a masked line's digest does not give it
/// away. One random key makes them all.
pub(crate) struct Salts {
    key: [u8; 32],
    next: Cell<u64>,
}

impl Salts {
    pub(crate) fn new() -> Result<Self> {
        let mut key = [0; 32];
        fill(&mut key)?;
        Ok(Self { key, next: Cell::new(0) })
    }

    pub(crate) fn next(&self) -> [u8; 16] {
        let number = self.next.get();
        self.next.set(number + 1);
        let digest: [u8; 32] = Sha256::new()
            .chain_update(self.key)
            .chain_update(number.to_be_bytes())
            .finalize()
            .into();
        let mut salt = [0; 16];
        salt.copy_from_slice(&digest[..16]);
        salt
    }
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|error| StoreError::failed("asking the system for random bytes", error))
}
