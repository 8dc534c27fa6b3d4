//! The disk: commits what waits for it, a while after it began to wait, and the model in the same moment.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use invoice_router::store::{Commit, Memory, StoreError};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::model::Model;
use crate::seeds::locked;
use crate::wire::parsed;

#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) memory: Arc<Memory>,
    model: Arc<Mutex<Model>>,
    answers: Arc<Mutex<Vec<Box<dyn Answer>>>>,
    /// Something waits for it.
    waits: Arc<Notify>,
    lag: Arc<Mutex<Duration>>,
}

/// An answer of the store that a caller waits for.
trait Answer: Send {
    /// Tells the model if it has come, and says whether it has. `lost`: whoever asked does not hear it.
    fn look(&mut self, model: &mut Model, lost: bool) -> bool;
}

struct Awaited<T, F> {
    commit: Commit<T>,
    told: Option<F>,
}

impl<T, F> Answer for Awaited<T, F>
where
    T: Send,
    F: FnOnce(&mut Model, Result<T, StoreError>, bool) + Send,
{
    fn look(&mut self, model: &mut Model, lost: bool) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(answer) = Pin::new(&mut self.commit).poll(&mut context) else {
            return false;
        };
        if let Some(told) = self.told.take() {
            told(model, answer, lost);
        }
        true
    }
}

impl Disk {
    pub(crate) fn new(directory: &Path, model: Arc<Mutex<Model>>) -> Self {
        let disk = Self {
            memory: Arc::new(parsed(Memory::new(directory))),
            model,
            answers: Arc::default(),
            waits: Arc::default(),
            lag: Arc::default(),
        };
        disk.memory.hold_back(Arc::clone(&disk.waits));
        disk
    }

    /// Commits what waits, again and again.
    pub(crate) async fn run(self) {
        loop {
            self.waits.notified().await;
            let lag = *locked(&self.lag);
            sleep(lag).await;
            self.commit(false);
        }
    }

    /// From now on a commit waits so long.
    pub(crate) fn set_lag(&self, lag: Duration) {
        *locked(&self.lag) = lag;
    }

    /// Commits what waits now. `lost`: the answers are lost.
    pub(crate) fn commit(&self, lost: bool) {
        self.commit_first(usize::MAX, lost);
    }

    fn commit_first(&self, most: usize, lost: bool) {
        let committed = self.memory.commit(most);
        let mut model = locked(&self.model);
        locked(&self.answers).retain_mut(|answer| !answer.look(&mut model, lost));
        if let Err(failure) = committed {
            model.wrong(format!("the store fails: {failure}"));
        }
    }

    /// The process is gone: of what waits the first are `written`, and only their answers missing.
    pub(crate) fn crash(&self, written: usize) {
        self.commit_first(written, true);
        self.memory.lose();
        self.commit(true);
    }

    /// Does `work`, which waits for its commits: they are made at once.
    pub(crate) fn at_once<T>(&self, work: impl FnOnce() -> T) -> T {
        self.commit(false);
        let went_on = self.memory.go_on();
        let done = work();
        self.memory.hold_back(Arc::clone(&self.waits));
        if let Err(failure) = went_on {
            locked(&self.model).wrong(format!("the store fails: {failure}"));
        }
        done
    }

    /// Has the model told of an answer in the moment it comes, and whether it is lost.
    pub(crate) fn tell<T: Send + 'static>(
        &self,
        commit: Commit<T>,
        told: impl FnOnce(&mut Model, Result<T, StoreError>, bool) + Send + 'static,
    ) {
        locked(&self.answers).push(Box::new(Awaited { commit, told: Some(told) }));
    }
}
