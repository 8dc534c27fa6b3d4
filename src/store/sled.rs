//! The state directory and the sled database in it.
//!
//! ```text
//! lock        held as long as the store is open; taken before anything else is looked at
//! CURRENT     names the store's format, the database's directory and the store's id
//! CURRENT.new while a store is being created
//! CURRENT.raised while a store of an older format gets the newer one
//! REACHED     how far the database had come when it was last opened or closed
//! sled-1/     the database
//! documents/  see [`super::documents`]
//! ```
//!
//! A store is created in an empty directory only: a state directory whose `CURRENT` is missing or
//! does not fit is a mistake of configuration or of a restore, and an empty store in its place would
//! send again what was sent before. A database that has not come as far as `REACHED` says is one, too: sled
//! takes damage in its file for the end of what was written, and says nothing.

mod reached;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::committer::{Committer, Disk, Room};
use super::engine::backend::{Backend, Priority, new_id};
use super::engine::keys::{self, kind};
use super::engine::tx::{KeyValue, TrailHead, Tree, Unit, Visit, Writes};
use super::{Health, Result, Rules, StoreError, StoreId, disk, in_full};
use crate::config::State;

/// What this program writes: the kinds of records and keys, and what they mean. A program that knows fewer would
/// take what it does not know for damage, or lose it; so each addition raises this, and a newer one is refused.
/// A store of an older one is opened, and `CURRENT` rewritten before any record is. Until the first release it stays 1.
pub(super) const FORMAT: u32 = 1;

const LOCK: &str = "lock";
const CURRENT: &str = "CURRENT";
const CREATING: &str = "CURRENT.new";
/// Another name than [`CREATING`], which would tell the next start that the database was never used.
const RAISING: &str = "CURRENT.raised";
const FIRST_DATABASE: &str = "sled-1";
const READING: &str = "reading the database";
/// How long a database that was closed in this process may take to let go of its file.
const RELEASE: Duration = Duration::from_secs(10);
const RELEASE_POLL: Duration = Duration::from_millis(5);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// There is no store in it, and no room for a new one either.
    #[error(
        "the state directory {} has no {CURRENT}, but holds {found:?}; a store is only created in an empty directory",
        directory.display()
    )]
    NotEmpty {
        /// The state directory.
        directory: PathBuf,
        /// One of the things that lie in it.
        found: String,
    },
    /// What lies in it does not belong together.
    #[error("the state directory {} is incomplete: {cause}", directory.display())]
    Mismatch {
        /// The state directory.
        directory: PathBuf,
        /// What does not fit.
        cause: &'static str,
    },
    /// A newer program has written it.
    #[error(
        "the store in {} has format {found}, and this program reads formats up to {FORMAT}: \
         install the version of invoice-router that wrote it, or restore a backup",
        directory.display()
    )]
    NewerFormat {
        /// The state directory.
        directory: PathBuf,
        /// What `CURRENT` says.
        found: u32,
    },
    /// The file system refused something.
    #[error("{operation} {} failed", path.display())]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The database could not be opened or read, or its disk failed a sync.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Whether a person must put the state directory right; a restart will not.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        match self {
            Self::NotEmpty { .. } | Self::Mismatch { .. } | Self::NewerFormat { .. } => true,
            Self::InUse(_) | Self::Io { .. } | Self::Store(_) => false,
        }
    }
}

/// The database of a state directory, with the directory's lock; it goes after the database.
pub(super) struct Opened {
    database: Database,
    id: StoreId,
    lock: File,
}

impl Opened {
    /// Opens the database of a state directory, or creates one if the directory is empty. It comes
    /// before everything else that lies there.
    fn open_or_create(settings: &State) -> Result<Self, OpenError> {
        let lock = lock(&settings.directory)?;
        let current = match Current::read(&settings.directory, CURRENT)? {
            Some(current) => current,
            None => create(&settings.directory, settings.cache_bytes)?,
        };
        let opened = Self::of(settings, &current, lock)?;
        current.raise(&settings.directory)?;
        Ok(opened)
    }

    /// Opens the database of a state directory that has one.
    pub(super) fn open(settings: &State) -> Result<Self, OpenError> {
        let lock = lock(&settings.directory)?;
        let current =
            Current::read(&settings.directory, CURRENT)?.ok_or_else(|| OpenError::Mismatch {
                directory: settings.directory.clone(),
                cause: "it holds no store",
            })?;
        Self::of(settings, &current, lock)
    }

    fn of(settings: &State, current: &Current, lock: File) -> Result<Self, OpenError> {
        let mismatch = |cause| OpenError::Mismatch { directory: settings.directory.clone(), cause };
        let path = settings.directory.join(&current.database);
        if !path.join("db").is_file() {
            return Err(mismatch("the database that CURRENT names is missing"));
        }
        let database = Database::open(&path, settings.cache_bytes)?;
        if database.get(&id_key())?.as_deref() != Some(&current.id) {
            return Err(mismatch("the database belongs to another store than CURRENT"));
        }
        if !reached::is_reached(&settings.directory, &database)? {
            return Err(mismatch(
                "the database has lost commits: it is behind the position in REACHED",
            ));
        }
        Ok(Self { database, id: current.id, lock })
    }

    /// What it holds.
    pub(super) fn tree(&self) -> &dyn Tree {
        &self.database
    }
}

/// A store on the disk. Closing order is that of the fields: the thread, the database, the lock.
pub(super) struct SledBackend {
    directory: PathBuf,
    committer: Committer,
    database: Arc<Database>,
    id: StoreId,
    _lock: File,
}

impl SledBackend {
    /// Opens the store of a state directory, or creates one if the directory is empty.
    pub(super) fn open(settings: &State, rules: Rules) -> Result<Self, OpenError> {
        let Opened { database, id, lock } = Opened::open_or_create(settings)?;
        let database = Arc::new(database);
        let head = TrailHead::of(database.as_ref(), database.last(&[kind::CHAIN])?)?;
        // After a crash what was read may not be on the disk yet.
        Disk::sync(database.as_ref()).map_err(unsynced(&settings.directory))?;
        match reached::note(&settings.directory, head) {
            // A full disk, perhaps, on which operators may still do something.
            Err(error @ OpenError::Io { .. }) => {
                tracing::warn!(
                    error = in_full(&error),
                    "cannot write the database's position to REACHED"
                );
            }
            noted => noted?,
        }
        let disk: Arc<dyn Disk> = Arc::clone(&database) as _;
        Ok(Self {
            directory: settings.directory.clone(),
            committer: Committer::start(disk, head, rules, settings.reserve_bytes)?,
            database,
            id,
            _lock: lock,
        })
    }
}

impl Backend for SledBackend {
    fn tree(&self) -> &dyn Tree {
        self.database.as_ref()
    }

    fn submit(&self, priority: Priority, unit: Unit) -> Result<()> {
        self.committer.submit(priority, unit)
    }

    fn room_for(&self, bytes: u64) -> Result<Option<Room>> {
        self.committer.room_for(bytes).map(Some)
    }

    fn id(&self) -> StoreId {
        self.id
    }

    fn health(&self) -> Health {
        let health = self.committer.health();
        Health { failure: health.failure.or_else(|| self.database.failure()), ..health }
    }

    fn close(&self) {
        self.committer.close();
        // What failed is not known to be there.
        if self.health().failure.is_none() {
            let noted = self
                .last(&[kind::CHAIN])
                .and_then(|last| TrailHead::of(self.database.as_ref(), last))
                .map_err(OpenError::from)
                .and_then(|head| reached::note(&self.directory, head));
            if let Err(error) = noted {
                tracing::warn!(
                    error = in_full(&error),
                    "cannot write the database's position to REACHED"
                );
            }
        }
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<KeyValue>> {
        self.database.last(prefix)
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(at("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(at("locking", &path)(error)),
    }
}

/// The content of `CURRENT`.
#[derive(Debug, PartialEq, Eq)]
struct Current {
    /// In which the store was last written, from 1 to [`FORMAT`].
    format: u32,
    /// A name in the state directory.
    database: String,
    id: StoreId,
}

impl Current {
    fn read(directory: &Path, name: &str) -> Result<Option<Self>, OpenError> {
        let path = directory.join(name);
        let malformed = || OpenError::Mismatch {
            directory: directory.to_owned(),
            cause: "CURRENT is malformed",
        };
        let text = match disk::if_there(fs::read_to_string(&path)) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(malformed()),
            Err(error) => return Err(at("reading", &path)(error)),
        };
        match Self::format(&text) {
            // What else a newer format says there is its own.
            Some(found) if found > FORMAT => {
                Err(OpenError::NewerFormat { directory: directory.to_owned(), found })
            }
            Some(_) | None => Self::parse(&text).map(Some).ok_or_else(malformed),
        }
    }

    /// The format that the first line names.
    fn format(text: &str) -> Option<u32> {
        let (number, _) = text.strip_prefix("format ")?.split_once('\n')?;
        let format: u32 = number.parse().ok()?;
        (format.to_string() == number).then_some(format)
    }

    /// `database` is `sled-` and a number, so that it leads nowhere else.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("\ndatabase ")?;
        let (database, id) = rest.strip_suffix('\n')?.split_once("\nid ")?;
        let number = database.strip_prefix("sled-")?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let id = u128::from_str_radix(id, 16).ok()?.to_be_bytes();
        let format = Self::format(text).filter(|format| (1..=FORMAT).contains(format))?;
        let current = Self { format, database: database.to_owned(), id };
        (is_number && current.text() == text).then_some(current)
    }

    fn text(&self) -> String {
        let Self { format, database, id } = self;
        let id = u128::from_be_bytes(*id);
        format!("format {format}\ndatabase {database}\nid {id:032x}\n")
    }

    /// Makes an older store one of this program's format, durably, so that no older program opens it any more.
    fn raise(self, directory: &Path) -> Result<(), OpenError> {
        if self.format == FORMAT {
            return Ok(());
        }
        let raising = directory.join(RAISING);
        disk::remove_if_there(&raising).map_err(at("removing", &raising))?;
        write_synced(&raising, &Self { format: FORMAT, ..self }.text())?;
        rename_durably(&raising, directory, CURRENT)
    }
}

/// Creates a store. `CURRENT` gets its name last, when all that it names is durable; until then
/// `CURRENT.new` tells the next start that what lies there was never used.
fn create(directory: &Path, cache_bytes: u64) -> Result<Current, OpenError> {
    let creating = directory.join(CREATING);
    let path = directory.join(FIRST_DATABASE);
    let was_interrupted = creating.exists();
    // Looked at before anything is removed: whatever else lies there shows that the store was in use.
    for entry in fs::read_dir(directory).map_err(at("reading", directory))? {
        let name = entry.map_err(at("reading", directory))?.file_name();
        let is_half_made = name == CREATING || name == FIRST_DATABASE;
        if name != LOCK && !(was_interrupted && is_half_made) {
            return Err(OpenError::NotEmpty {
                directory: directory.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    if was_interrupted {
        tracing::warn!("removing a store whose creation was interrupted");
        disk::if_there(fs::remove_dir_all(&path)).map_err(at("removing", &path))?;
        disk::remove_if_there(&creating).map_err(at("removing", &creating))?;
    }
    let current = Current { format: FORMAT, database: FIRST_DATABASE.to_owned(), id: new_id()? };
    write_synced(&creating, &current.text())?;
    disk::sync_directory(directory).map_err(unsynced(directory))?;

    disk::create_directory(&path).map_err(at("creating", &path))?;
    let database = Database::open(&path, cache_bytes)?;
    database.write(Writes::from([(id_key(), Some(current.id.to_vec()))]))?;
    Disk::sync(&database).map_err(unsynced(&path))?;
    drop(database);
    // sled syncs neither its configuration nor any directory.
    let conf = path.join("conf");
    File::open(&conf).and_then(|file| file.sync_all()).map_err(unsynced(&conf))?;
    for directory in [&path.join("blobs"), &path, directory] {
        disk::sync_directory(directory).map_err(unsynced(directory))?;
    }

    rename_durably(&creating, directory, CURRENT)?;
    tracing::info!(
        directory = %directory.display(),
        "the state directory was empty: created a new store"
    );
    Ok(current)
}

/// Writes a file that was not there; its bytes are durable, its name is not yet.
fn write_synced(path: &Path, text: &str) -> Result<(), OpenError> {
    let file = disk::write_new(path, text.as_bytes()).map_err(at("writing", path))?;
    file.sync_all().map_err(unsynced(path))
}

/// Gives a file in the state directory its name for good.
fn rename_durably(from: &Path, directory: &Path, name: &str) -> Result<(), OpenError> {
    let path = directory.join(name);
    fs::rename(from, &path).map_err(at("naming", &path))?;
    disk::sync_directory(directory).map_err(unsynced(directory))
}

/// Under which the database keeps the store's id, raw.
fn id_key() -> Vec<u8> {
    keys::counter("store-id")
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { operation, path, source }
}

fn unsynced(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.display().to_string();
    move |error| StoreError::sync_failed(format!("{path}: {error}")).into()
}

/// The one tree, and the file under it.
struct Database {
    tree: sled::Db,
    file: File,
    path: PathBuf,
    /// The first error of sled's own: what it says afterwards is not to be believed.
    failure: OnceLock<StoreError>,
}

impl Database {
    /// Opens a database and makes durable what it recovered: a start after a kill may read what was
    /// written but never synced.
    fn open(path: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        wait_until_released(path)?;
        remove_unfinished_snapshots(path)?;
        let tree = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace)
            .use_compression(false)
            .open()
            .map_err(|error| failed("opening the database", error))?;
        let blobs = path.join("blobs");
        if fs::read_dir(&blobs).map_err(at("reading", &blobs))?.next().is_some() {
            tracing::error!(
                directory = %blobs.display(),
                "the database keeps values in files that it never syncs: this is a bug"
            );
        }
        let file = path.join("db");
        let file = File::open(&file).map_err(at("opening", &file))?;
        let database = Self { tree, file, path: path.to_owned(), failure: OnceLock::new() };
        database.check("flushing the database", database.tree.flush())?;
        Disk::sync(&database).and_then(|()| disk::sync_directory(path)).map_err(unsynced(path))?;
        Ok(database)
    }

    /// Keeps sled from closing the database, which syncs once more and panics if that fails, too.
    fn leave_open(&self) {
        std::mem::forget(self.tree.clone());
    }

    fn failure(&self) -> Option<StoreError> {
        self.failure.get().cloned()
    }

    fn check<T>(&self, operation: &'static str, result: sled::Result<T>) -> Result<T> {
        result.map_err(|error| {
            let error = failed(operation, error);
            self.failure.get_or_init(|| {
                self.leave_open();
                error.clone()
            });
            error
        })
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<KeyValue>> {
        let upper = keys::after_prefix(prefix).map_or(Unbounded, Excluded);
        let bounds = (Included(prefix.to_vec()), upper);
        let met = self.tree.range::<Vec<u8>, _>(bounds).next_back();
        let met = self.check(READING, met.transpose())?;
        Ok(met.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }
}

impl Tree for Database {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.check(READING, self.tree.get(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<()> {
        let bounds = (Included(from), to.map_or(Unbounded, Excluded));
        for met in self.tree.range::<&[u8], _>(bounds) {
            let (key, value) = self.check(READING, met)?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Disk for Database {
    fn write(&self, writes: Writes) -> Result<()> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.check("writing a batch", self.tree.apply_batch(batch))?;
        self.check("flushing a batch", self.tree.flush())?;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.leave_open())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        disk::free_bytes(&self.path)
    }
}

/// After a database is closed, sled's own threads hold on to its file, and lock, for a moment. Nobody
/// else can, as the state directory is ours.
fn wait_until_released(path: &Path) -> Result<(), OpenError> {
    let path = path.join("db");
    let Some(file) = disk::if_there(File::open(&path)).map_err(at("opening", &path))? else {
        return Ok(());
    };
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < RELEASE => {
                thread::sleep(RELEASE_POLL);
            }
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(at("locking", &path)(error)),
        }
    }
}

/// A kill while sled opens leaves a half-written snapshot, which every later open would take for one.
fn remove_unfinished_snapshots(path: &Path) -> Result<(), OpenError> {
    let entries = disk::if_there(fs::read_dir(path)).map_err(at("reading", path))?;
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(at("reading", path))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(file = %name, "removing an unfinished snapshot of the database");
            disk::remove_if_there(&entry.path()).map_err(at("removing", &entry.path()))?;
        }
    }
    Ok(())
}

/// sled does not say which call failed; an input or output error is the disk's either way, and a restart alone does
/// not make the state trustworthy again.
fn failed(operation: &'static str, error: sled::Error) -> StoreError {
    if let sled::Error::Io(io) = &error
        && io.raw_os_error() == Some(Errno::IO.raw_os_error())
    {
        return StoreError::sync_failed(format!("{operation}: {io}"));
    }
    StoreError::failed(operation, error)
}
