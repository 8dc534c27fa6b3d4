//! The bytes of documents, as files under their digest.
//!
//! A file is written under a temporary name, synced and renamed to
//! `documents/YYYY-MM-DD/<digest>.sha256`; writers that come together share one sync of the
//! directory. Only the store's record proves that a document exists: whoever writes or removes one
//! holds its [`DigestLock`] until the record is committed, so that neither overtakes the other.
//!
//! Everything here blocks on the file system.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use chrono::NaiveDate;
use sha2::{Digest as _, Sha256};

use super::{StoreError, disk};
use crate::domain::id::Digest;

/// Where files lie until they have their name. It is emptied at each start.
const INCOMING: &str = ".incoming";

/// How a day's directory is called.
const DAY: &str = "%Y-%m-%d";

/// The files of all documents.
#[derive(Debug)]
pub(super) struct Documents {
    root: PathBuf,
    held: Arc<Held>,
    group: SyncGroup,
    /// The last day whose directory is durable in its parent.
    day: Mutex<Option<NaiveDate>>,
    /// Keeps temporary names apart.
    written: AtomicU64,
}

/// The digests that somebody is at work on.
#[derive(Debug, Default)]
struct Held {
    digests: Mutex<HashSet<Digest>>,
    released: Condvar,
}

/// Keeps all others away from one document until it is dropped.
#[derive(Debug)]
pub(super) struct DigestLock {
    held: Arc<Held>,
    digest: Digest,
}

impl Drop for DigestLock {
    fn drop(&mut self) {
        locked(&self.held.digests).remove(&self.digest);
        self.held.released.notify_all();
    }
}

impl Documents {
    /// Opens `documents` in the state directory, or creates it, and removes what was not finished.
    pub(super) fn open(state_directory: &Path) -> Result<Self, StoreError> {
        let root = state_directory.join("documents");
        prepare(&root).map_err(|error| failed("opening the documents", &error))?;
        for directory in [&root, state_directory] {
            disk::sync_directory(directory).map_err(|error| {
                StoreError::SyncFailed(format!("{}: {error}", directory.display()))
            })?;
        }
        Ok(Self {
            root,
            held: Arc::default(),
            group: SyncGroup::default(),
            day: Mutex::new(None),
            written: AtomicU64::new(0),
        })
    }

    /// Waits until nobody else is at work on the document.
    pub(super) fn lock(&self, digest: Digest) -> DigestLock {
        let mut digests = locked(&self.held.digests);
        while !digests.insert(digest) {
            digests = self
                .held
                .released
                .wait(digests)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(digests);
        DigestLock {
            held: Arc::clone(&self.held),
            digest,
        }
    }

    /// Writes `bytes`, whose digest the caller has checked, into the directory of `day`; replaces
    /// what an upload without a record may have left there. `Ok` means durable.
    pub(super) fn write(
        &self,
        digest: &Digest,
        bytes: &[u8],
        day: NaiveDate,
    ) -> Result<(), StoreError> {
        self.keep_directory(day)?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(INCOMING).join(format!("{digest}.{number}"));
        let place = self.path(digest, day);
        let written = write_synced(&temporary, bytes).and_then(|()| {
            let renamed = match fs::rename(&temporary, &place) {
                // An empty directory in its place is none of ours, and is of no use.
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                    fs::remove_dir(&place).and_then(|()| fs::rename(&temporary, &place))
                }
                renamed => renamed,
            };
            renamed.map_err(|error| failed("renaming a document", &error))
        });
        if let Err(error) = written {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.group.wait_durable(day, |days| {
            days.iter()
                .try_for_each(|day| disk::sync_directory(&self.directory(*day)))
        })
    }

    /// Reads a document's bytes and checks them against its digest.
    pub(super) fn read(&self, digest: &Digest, day: NaiveDate) -> Result<Vec<u8>, StoreError> {
        let damaged = |cause: &str| StoreError::Damaged {
            key: format!("document {digest}"),
            cause: cause.to_owned(),
        };
        // Whatever is wrong with this file concerns this document only: the others can be read.
        let bytes = fs::read(self.path(digest, day)).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                damaged("its file is missing")
            } else {
                damaged(&format!("its file cannot be read: {}", error.kind()))
            }
        })?;
        if Digest::from_bytes(Sha256::digest(&bytes).into()) != *digest {
            return Err(damaged("its file has other bytes"));
        }
        Ok(bytes)
    }

    /// The days that have a directory, in order.
    pub(super) fn days(&self) -> Result<Vec<NaiveDate>, StoreError> {
        let mut days = names(&self.root)?;
        days.sort();
        let days = days.iter().map(|name| NaiveDate::parse_from_str(name, DAY));
        Ok(days.filter_map(Result::ok).collect())
    }

    /// The documents whose files lie in a day's directory, whether a record names them or not.
    pub(super) fn of_day(&self, day: NaiveDate) -> Result<Vec<Digest>, StoreError> {
        let names = names(&self.directory(day))?;
        let digests = names
            .iter()
            .filter_map(|name| Digest::parse(name.strip_suffix(".sha256")?).ok());
        Ok(digests.collect())
    }

    /// Removes a document's file; it may be gone. To be called once no record names it.
    pub(super) fn remove(&self, digest: &Digest, day: NaiveDate) -> Result<(), StoreError> {
        disk::remove_if_there(&self.path(digest, day))
            .map_err(|error| failed("removing a document", &error))
    }

    /// Sees to it that the directory of a day is there for good before anything in it is.
    fn keep_directory(&self, day: NaiveDate) -> Result<(), StoreError> {
        let mut durable = locked(&self.day);
        if *durable == Some(day) {
            return Ok(());
        }
        disk::create_directory(&self.directory(day))
            .map_err(|error| failed("creating a directory for documents", &error))?;
        disk::sync_directory(&self.root)
            .map_err(|error| StoreError::SyncFailed(error.to_string()))?;
        *durable = Some(day);
        Ok(())
    }

    fn directory(&self, day: NaiveDate) -> PathBuf {
        self.root.join(day.format(DAY).to_string())
    }

    fn path(&self, digest: &Digest, day: NaiveDate) -> PathBuf {
        self.directory(day).join(format!("{digest}.sha256"))
    }
}

fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let list = || -> io::Result<Vec<String>> {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    list().map_err(|error| failed("listing the documents", &error))
}

fn prepare(root: &Path) -> io::Result<()> {
    let incoming = root.join(INCOMING);
    disk::create_directory(root)?;
    disk::create_directory(&incoming)?;
    for entry in fs::read_dir(&incoming)? {
        fs::remove_file(entry?.path())?;
    }
    for entry in fs::read_dir(root)? {
        // Days whose documents are all collected; the others are not empty and stay.
        let path = entry?.path();
        if path != incoming {
            let _ = fs::remove_dir(path);
        }
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file =
        disk::create_file(path).map_err(|error| failed("creating a document", &error))?;
    file.write_all(bytes)
        .map_err(|error| failed("writing a document", &error))?;
    file.sync_all()
        .map_err(|error| StoreError::SyncFailed(error.to_string()))
}

fn failed(operation: &'static str, error: &io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::StorageFull {
        return StoreError::DiskFull;
    }
    StoreError::Failed {
        operation,
        cause: error.to_string(),
    }
}

/// Lets those whose files were renamed while a sync ran share the next one.
#[derive(Debug, Default)]
struct SyncGroup {
    state: Mutex<GroupState>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct GroupState {
    /// How many have come.
    arrived: u64,
    /// How many of them are served.
    durable: u64,
    /// The directories of those who wait.
    days: BTreeSet<NaiveDate>,
    syncing: bool,
    /// A failed sync is final: the kernel has forgotten what it did not write.
    failure: Option<String>,
}

impl SyncGroup {
    /// Returns once a sync that began after this call has ended. The first who comes syncs for all
    /// who have come by then.
    fn wait_durable(
        &self,
        day: NaiveDate,
        sync: impl FnOnce(&BTreeSet<NaiveDate>) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let mut state = locked(&self.state);
        state.arrived += 1;
        state.days.insert(day);
        let own = state.arrived;
        loop {
            if let Some(cause) = &state.failure {
                return Err(StoreError::SyncFailed(cause.clone()));
            }
            if state.durable >= own {
                return Ok(());
            }
            if !state.syncing {
                break;
            }
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.syncing = true;
        let days = std::mem::take(&mut state.days);
        let served = state.arrived;
        drop(state);

        let synced = sync(&days);

        let mut state = locked(&self.state);
        state.syncing = false;
        let result = match synced {
            Ok(()) => {
                state.durable = served;
                Ok(())
            }
            Err(error) => {
                state.failure = Some(error.to_string());
                Err(StoreError::SyncFailed(error.to_string()))
            }
        };
        drop(state);
        self.ended.notify_all();
        result
    }
}

/// Nothing that is locked here is left half done by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
