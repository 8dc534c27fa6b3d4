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
use std::fs::{self, DirEntry};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::NaiveDate;
use parking_lot::{Condvar, Mutex};

use super::{Result, StoreError, disk};
use crate::domain::id::Digest;

/// Where files lie until they have their name. It is emptied at each start.
const INCOMING: &str = ".incoming";

/// How a day's directory is called.
const DAY: &str = "%Y-%m-%d";

/// The files of all documents.
#[derive(Debug)]
pub(crate) struct DocumentFiles {
    root: PathBuf,
    held: Arc<Held>,
    group: SyncGroup,
    /// The last day whose directory is durable in its parent.
    day: Mutex<Option<NaiveDate>>,
    /// Keeps temporary names apart.
    written: AtomicU64,
}

/// The digests of documents that are being written or removed.
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
        self.held.digests.lock().remove(&self.digest);
        self.held.released.notify_all();
    }
}

impl DocumentFiles {
    /// Opens `documents` in the state directory, or creates it, and removes what was not finished.
    pub(super) fn open(state_directory: &Path) -> Result<Self> {
        let root = state_directory.join("documents");
        prepare(&root)?;
        for directory in [&root, state_directory] {
            disk::sync_directory(directory).map_err(|error| {
                StoreError::sync_failed(format!("{}: {error}", directory.display()))
            })?;
        }
        Ok(Self::to_be_read(state_directory))
    }

    /// `documents` in the state directory, as it is and to be read only; it need not be there.
    pub(super) fn to_be_read(state_directory: &Path) -> Self {
        Self {
            root: state_directory.join("documents"),
            held: Arc::default(),
            group: SyncGroup::default(),
            day: Mutex::new(None),
            written: AtomicU64::new(0),
        }
    }

    /// Waits until no other thread works on the document.
    pub(super) fn lock(&self, digest: Digest) -> DigestLock {
        let mut digests = self.held.digests.lock();
        while !digests.insert(digest) {
            self.held.released.wait(&mut digests);
        }
        drop(digests);
        DigestLock { held: Arc::clone(&self.held), digest }
    }

    /// Writes `bytes`, whose digest the caller has checked, into the directory of `day`; replaces
    /// what an upload without a record may have left there. `Ok` means durable.
    pub(super) fn write(&self, digest: &Digest, bytes: &[u8], day: NaiveDate) -> Result<()> {
        self.keep_directory(day)?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(INCOMING).join(format!("{digest}.{number}"));
        let place = self.path(digest, day);
        let written = write_synced(&temporary, bytes).and_then(|()| {
            let renamed = match fs::rename(&temporary, &place) {
                // An empty directory in its place is not from this store, and of no use.
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                    fs::remove_dir(&place).and_then(|()| fs::rename(&temporary, &place))
                }
                renamed => renamed,
            };
            renamed.map_err(|error| failed("renaming a document", error))
        });
        if let Err(error) = written {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.group.wait_durable(day, |days| {
            days.iter().try_for_each(|day| disk::sync_directory(&self.directory(*day)))
        })
    }

    /// Reads a document's bytes and checks them against its digest.
    pub(super) fn read(&self, digest: &Digest, day: NaiveDate) -> Result<Vec<u8>> {
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
        if Digest::of(&bytes) != *digest {
            return Err(damaged("its file has other bytes"));
        }
        Ok(bytes)
    }

    /// The days that have a directory, in order.
    pub(super) fn days(&self) -> Result<Vec<NaiveDate>> {
        let mut days: Vec<_> = list(&self.root)?.iter().filter_map(day_of).collect();
        days.sort();
        Ok(days)
    }

    /// The documents whose files lie in a day's directory, whether a record names them or not.
    pub(super) fn of_day(&self, day: NaiveDate) -> Result<Vec<Digest>> {
        let entries = list(&self.directory(day))?;
        Ok(entries.iter().filter_map(digest_of).collect())
    }

    /// How many uploads were cut off; what they left goes when the documents are opened.
    pub(super) fn unfinished(&self) -> Result<u64> {
        let within = list(&self.root.join(INCOMING))?;
        Ok(within.iter().map(|entry| u64::from(is_file(entry))).sum())
    }

    /// What lies among the documents and is none, nor a directory of theirs, in order.
    pub(super) fn strays(&self) -> Result<Vec<PathBuf>> {
        let mut strays = Vec::new();
        for entry in list(&self.root)? {
            let path = entry.path();
            let belongs: fn(&DirEntry) -> bool = if path == self.root.join(INCOMING) {
                is_file
            } else if day_of(&entry).is_some() {
                |entry| digest_of(entry).is_some()
            } else {
                strays.push(path);
                continue;
            };
            let within = list(&path)?;
            strays.extend(within.iter().filter(|entry| !belongs(entry)).map(DirEntry::path));
        }
        strays.sort();
        Ok(strays)
    }

    /// Removes a document's file; it may be gone. To be called once no record names it.
    pub(super) fn remove(&self, digest: &Digest, day: NaiveDate) -> Result<()> {
        let path = self.path(digest, day);
        disk::remove_if_there(&path)
            .map_err(|error| failed_at("removing a document", &path, &error))
    }

    /// Sees to it that the directory of a day is there for good before anything in it is.
    fn keep_directory(&self, day: NaiveDate) -> Result<()> {
        let mut durable = self.day.lock();
        if *durable == Some(day) {
            return Ok(());
        }
        let directory = self.directory(day);
        disk::create_directory(&directory)
            .map_err(|error| failed_at("creating a directory for documents", &directory, &error))?;
        disk::sync_directory(&self.root).map_err(unsynced)?;
        *durable = Some(day);
        Ok(())
    }

    fn directory(&self, day: NaiveDate) -> PathBuf {
        self.root.join(day.format(DAY).to_string())
    }

    fn path(&self, digest: &Digest, day: NaiveDate) -> PathBuf {
        self.directory(day).join(file_name(digest))
    }
}

/// What lies in a directory; nothing, if it is not there.
fn list(directory: &Path) -> Result<Vec<DirEntry>> {
    disk::if_there(fs::read_dir(directory))
        .and_then(|entries| entries.into_iter().flatten().collect())
        .map_err(|error| failed_at("listing the documents", directory, &error))
}

/// The day whose directory this is. Somebody may have linked it to another place.
fn day_of(entry: &DirEntry) -> Option<NaiveDate> {
    let name = entry.file_name();
    let day = NaiveDate::parse_from_str(name.to_str()?, DAY).ok()?;
    let is_it = day.format(DAY).to_string() == *name.to_str()? && entry.path().is_dir();
    is_it.then_some(day)
}

/// The document whose file this is.
fn digest_of(entry: &DirEntry) -> Option<Digest> {
    let name = entry.file_name();
    let digest = Digest::parse(name.to_str()?.strip_suffix(".sha256")?).ok()?;
    let is_it = file_name(&digest) == *name.to_str()? && is_file(entry);
    is_it.then_some(digest)
}

fn is_file(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| !kind.is_dir())
}

fn file_name(digest: &Digest) -> String {
    format!("{digest}.sha256")
}

fn prepare(root: &Path) -> Result<()> {
    const OPERATION: &str = "opening the documents";
    let incoming = root.join(INCOMING);
    for directory in [root, &incoming] {
        disk::create_directory(directory)
            .map_err(|error| failed_at(OPERATION, directory, &error))?;
    }
    for entry in list(&incoming)? {
        let path = entry.path();
        // A directory is not from this store, and harmless.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(path);
        } else {
            fs::remove_file(&path).map_err(|error| failed_at(OPERATION, &path, &error))?;
        }
    }
    for entry in list(root)? {
        // Days whose documents are all collected; the others are not empty and stay.
        let path = entry.path();
        if path != incoming {
            let _ = fs::remove_dir(path);
        }
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = disk::create_file(path).map_err(|error| failed("creating a document", error))?;
    file.write_all(bytes).map_err(|error| failed("writing a document", error))?;
    file.sync_all().map_err(unsynced)
}

fn unsynced(error: io::Error) -> StoreError {
    StoreError::sync_failed(error)
}

fn failed(operation: &'static str, error: io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::StorageFull {
        return StoreError::DiskFull;
    }
    StoreError::failed(operation, error)
}

/// As [`failed`], where it helps to know the path.
fn failed_at(operation: &'static str, path: &Path, error: &io::Error) -> StoreError {
    let at_path = format!("{}: {error}", path.display());
    failed(operation, io::Error::new(error.kind(), at_path))
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
    failure: Option<StoreError>,
}

impl SyncGroup {
    /// Returns once a sync that began after this call has ended. The first who comes syncs for all
    /// who have come by then.
    fn wait_durable(
        &self,
        day: NaiveDate,
        sync: impl FnOnce(&BTreeSet<NaiveDate>) -> io::Result<()>,
    ) -> Result<()> {
        let mut state = self.state.lock();
        state.arrived += 1;
        state.days.insert(day);
        let own = state.arrived;
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.durable >= own {
                return Ok(());
            }
            if !state.syncing {
                break;
            }
            self.ended.wait(&mut state);
        }
        state.syncing = true;
        let days = std::mem::take(&mut state.days);
        let served = state.arrived;
        drop(state);

        let synced = sync(&days);

        let mut state = self.state.lock();
        state.syncing = false;
        let result = synced.map_err(unsynced);
        match &result {
            Ok(()) => state.durable = served,
            Err(failure) => state.failure = Some(failure.clone()),
        }
        drop(state);
        self.ended.notify_all();
        result
    }
}
