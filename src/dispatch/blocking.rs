//! Where work runs that may block: reads of the store, and the making of messages.

use tokio::task::{JoinHandle, JoinSet};

/// Where work that may block runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On threads of the runtime's, so that nothing else waits for it.
    Threads,
    /// In a task like any other, for trials whose order of events is to be the same each time.
    Tasks,
}

impl Blocking {
    /// Does `work`; returns its result, or that it panicked.
    pub(super) fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work),
            Self::Tasks => tokio::spawn(async { work() }),
        }
    }

    /// Does `work` as one of `tasks`.
    pub(super) fn run_in<T: Send + 'static>(
        self,
        tasks: &mut JoinSet<T>,
        work: impl FnOnce() -> T + Send + 'static,
    ) {
        match self {
            Self::Threads => tasks.spawn_blocking(work),
            Self::Tasks => tasks.spawn(async { work() }),
        };
    }
}
