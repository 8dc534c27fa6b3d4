//! What is kept, and the promise about it: `Ok` means durable.
//!
//! [`Store`] has one method a use case, and each is one atomic unit. Changes return a [`Commit`]; it
//! resolves once the change is on the disk, and goes on if no one waits for it. Reads return what is
//! there now, which may not be durable yet: an answer to a caller is built from a commit's result,
//! never from a read, so that nothing is answered that a power cut could undo.
//!
//! No key, iterator or type of the database leaks out. Every implementation passes the contract in
//! `tests/it/store_contract.rs`, reopening included.

mod committer;
mod disk;
mod documents;
mod engine;
mod record;
mod sled;
#[cfg(any(test, feature = "testing"))]
mod testing;
pub mod types;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::config::State;

pub use self::engine::{Engine, Store};
#[cfg(any(test, fuzzing))]
pub(crate) use self::record::property::records;
pub use self::sled::OpenError;
#[cfg(any(test, feature = "testing"))]
pub use self::testing::{Memory, test_rules};
pub use self::types::*;

use self::documents::DocumentFiles;
use self::sled::SledBackend;

/// Opens the store of a state directory, or creates one if the directory is empty. Blocks.
pub fn open(settings: &State, rules: Rules) -> Result<Arc<dyn Store>, OpenError> {
    let backend = SledBackend::open(settings, rules.clone())?;
    let documents = DocumentFiles::open(&settings.directory)?;
    Ok(Arc::new(Engine::new(backend, documents, rules)?))
}

/// Checks all that a state directory holds: every record, index, link of the hash chain and document. `tell`
/// is called with each finding. Nothing is changed, but for what opening a database recovers; nothing
/// else may have it open. Blocks.
pub fn verify(settings: &State, tell: &mut dyn FnMut(Finding)) -> Result<Verified, OpenError> {
    let opened = sled::Opened::open(settings)?;
    let documents = DocumentFiles::to_be_read(&settings.directory);
    Ok(engine::verify::verify(opened.tree(), &documents, tell)?)
}

/// A change under way. Resolves once it is durable or refused; dropping it cancels nothing.
#[derive(Debug)]
pub struct Commit<T>(oneshot::Receiver<Result<T>>);

impl<T> Commit<T> {
    /// A commit and the end by which the store answers it.
    #[must_use]
    pub fn channel() -> (oneshot::Sender<Result<T>>, Self) {
        let (answer, commit) = oneshot::channel();
        (answer, Self(commit))
    }

    /// A commit that is answered already.
    #[must_use]
    pub fn ready(result: Result<T>) -> Self {
        let (answer, commit) = Self::channel();
        // The receiver is in `commit`, so this cannot fail.
        drop(answer.send(result));
        commit
    }

    /// Waits for the answer. Blocks; not to be called from a task.
    pub fn wait(self) -> Result<T> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl<T> Future for Commit<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

/// What the store answers.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What a failure was caused by, shared by all who waited for the same batch.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// An error with its causes, in one line.
#[must_use]
pub fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why the store did not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk has less free space than is reserved; nothing changed.
    #[error("less free disk space than state.reserve_bytes")]
    DiskFull,
    /// Too many commits are waiting; nothing changed.
    #[error("too many commits are waiting")]
    Busy,
    /// The store has been closed; nothing changed.
    #[error("the store is closed")]
    Closed,
    /// A record does not have the form or checksum that it was written with.
    #[error("damaged record {key}: {cause}")]
    Damaged {
        /// Which record, without personal data.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The database or the file system failed: nothing more can be promised until a restart.
    #[error("{operation} failed")]
    Failed {
        /// What was to be done.
        operation: &'static str,
        /// What the system said.
        #[source]
        cause: Cause,
    },
    /// The disk failed a sync. There is no telling what the kernel dropped, so don't trust this
    /// state by restarting alone.
    #[error("the disk failed a sync")]
    SyncFailed(#[source] Cause),
}

impl StoreError {
    /// It and its causes, in one line.
    #[must_use]
    pub fn in_full(&self) -> String {
        in_full(self)
    }

    /// [`Self::Failed`], because of an error or a text.
    pub fn failed(
        operation: &'static str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { operation, cause: Arc::from(cause.into()) }
    }

    /// [`Self::SyncFailed`], because of an error or a text.
    pub fn sync_failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::SyncFailed(Arc::from(cause.into()))
    }
}

/// Two are the same if they and their causes say the same.
impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        self.in_full() == other.in_full()
    }
}

impl Eq for StoreError {}
