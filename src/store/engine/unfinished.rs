//! What takes more than one unit: units that follow each other, and are taken up again after a crash.

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::attempts::Recovered;
use super::keys::{self, kind};
use super::tx::{Answerer, Records as _, Tree, Unit};
use super::{accounts, attempts, runs};
use crate::domain::delivery::{DeliveryId, Intent};
use crate::domain::id::AccountId;
use crate::store::{ProcessId, Result, Run, RunScope};

/// What is done in one unit after another; a durable cursor holds how far it has come.
pub(super) enum Unfinished {
    /// Freeing what is pending under an account.
    Freeing(AccountId),
    /// Releasing what waits under a scope, by the run that was opened at that time.
    Releasing(RunScope, DateTime<Utc>),
}

impl Unfinished {
    /// All that a process left unfinished.
    pub(super) fn all(tree: &dyn Tree) -> Result<Vec<Self>> {
        let mut all = tree.scan(&[kind::FREEING], None, usize::MAX, |key, _| {
            AccountId::parse(keys::text_after(key, 1)?).ok().map(Self::Freeing)
        })?;
        all.extend(tree.scan(&[kind::RUN], None, usize::MAX, |key, value| {
            match tree.decode::<Run>(key, value) {
                Ok(run) => run.open.then_some(Self::Releasing(run.scope, run.at)),
                Err(error) => {
                    // Accepting must not hang on it.
                    tracing::error!(error = error.in_full(), "a run cannot be taken up again");
                    None
                }
            }
        })?);
        Ok(all)
    }
}

/// The unit that continues something, and leaves what does not fit for one that follows.
pub(super) fn go_on(unfinished: Unfinished) -> Unit {
    Box::new(move |tx| {
        let gone_on = match unfinished {
            Unfinished::Freeing(account) => accounts::go_on_freeing(tx, &account),
            Unfinished::Releasing(scope, at) => runs::go_on(tx, &scope, at),
        };
        if let Err(error) = gone_on {
            // The cursor stays: the next change, release or start takes it up.
            tracing::error!(error = error.in_full(), "moving pending invoices on stopped");
            tx.roll_back();
        }
        Box::new(drop)
    })
}

/// What is left to be settled of processes that are gone.
pub(super) struct Recovery {
    /// Whether the owner of an intent is gone.
    pub(super) is_gone: Box<dyn Fn(ProcessId) -> bool + Send>,
    pub(super) at: DateTime<Utc>,
    pub(super) jitter: f64,
    /// The last intent that was left.
    pub(super) after: Option<keys::Key>,
    pub(super) settled: Vec<(DeliveryId, Intent)>,
    pub(super) answer: oneshot::Sender<Result<Vec<(DeliveryId, Intent)>>>,
}

/// The unit that settles one intent after the other, and answers after the last.
pub(super) fn recover(mut left: Recovery) -> Unit {
    Box::new(move |tx| {
        match attempts::recover_one(tx, &left.is_gone, left.after.as_deref(), left.at, left.jitter)
        {
            Ok(Recovered::Settled(delivery, intent)) => left.settled.push((delivery, intent)),
            Ok(Recovered::Left(key)) => left.after = Some(key),
            Ok(Recovered::None) => return left.answered(Ok(())),
            Err(error) => {
                tx.roll_back();
                return left.answered(Err(error));
            }
        }
        tx.leave(recover(left));
        Box::new(drop)
    })
}

impl Recovery {
    fn answered(self, result: Result<()>) -> Answerer {
        let Self { settled, answer, .. } = self;
        Box::new(move |durable| drop(answer.send(durable.and(result).map(|()| settled))))
    }
}
