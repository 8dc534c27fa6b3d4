//! What takes more than one unit: units that follow each other, and are taken up again after a crash.

use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::keys;
use super::tx::{Evaluated, Records, Tx, Unit};
use super::{accounts, attempts, runs};
use crate::domain::delivery::{DeliveryId, Intent};
use crate::domain::id::AccountId;
use crate::store::{ProcessId, Rules, Run, RunScope, StoreError};

/// What is done in one unit after another; a durable cursor remembers how far it has come.
pub(super) enum Unfinished {
    /// Freeing what stands by under an account.
    Freeing(AccountId),
    /// Releasing what waits under a scope, by the run that was opened at that time.
    Releasing(RunScope, DateTime<Utc>),
}

impl Unfinished {
    /// All that a process left unfinished.
    pub(super) fn all<T: Records + ?Sized>(tree: &T) -> Result<Vec<Self>, StoreError> {
        let mut all = Vec::new();
        let prefix = keys::kind_prefix(keys::kind::FREEING);
        tree.prefix(&prefix, None, &mut |key, _| {
            let account = keys::text_after(key, prefix.len());
            all.extend(account.and_then(|id| AccountId::parse(id).ok()).map(Self::Freeing));
            ControlFlow::Continue(())
        })?;
        tree.prefix(&keys::kind_prefix(keys::kind::RUN), None, &mut |key, value| {
            match tree.decode::<Run>(key, value) {
                Ok(run) if run.open => all.push(Self::Releasing(run.scope, run.at)),
                Ok(_) => {}
                // Accepting must not hang on it.
                Err(error) => tracing::error!(%error, "a run cannot be taken up again"),
            }
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    /// Does as much as fits into a unit. Says whether more is left.
    fn go_on(&self, tx: &mut Tx<'_>, rules: &Rules) -> Result<bool, StoreError> {
        match self {
            Self::Freeing(account) => accounts::go_on_freeing(tx, rules, account),
            Self::Releasing(scope, at) => runs::go_on(tx, rules, scope, *at),
        }
    }
}

/// The unit that goes on with something, and those that follow it until nothing is left.
pub(super) fn go_on(rules: Arc<Rules>, unfinished: Unfinished) -> Unit {
    Box::new(move |tx| {
        let next = match unfinished.go_on(tx, &rules) {
            Ok(true) => Some(go_on(rules, unfinished)),
            Ok(false) => None,
            Err(error) => {
                // The cursor stays: the next change, release or start takes it up.
                tracing::error!(%error, "moving on what stands by stopped");
                tx.roll_back();
                None
            }
        };
        Evaluated { answer: Box::new(drop), next }
    })
}

/// What is left to be settled of processes that are gone.
pub(super) struct Recovery {
    pub(super) rules: Arc<Rules>,
    /// Whether the owner of an intent is gone.
    pub(super) is_gone: Box<dyn Fn(ProcessId) -> bool + Send>,
    pub(super) at: DateTime<Utc>,
    pub(super) jitter: f64,
    /// The last intent that was left.
    pub(super) after: Option<keys::Key>,
    pub(super) settled: Vec<(DeliveryId, Intent)>,
    pub(super) answer: tokio::sync::oneshot::Sender<Result<Vec<(DeliveryId, Intent)>, StoreError>>,
}

/// The unit that settles one intent after the other, and answers after the last.
pub(super) fn recover(mut left: Recovery) -> Unit {
    use super::attempts::Recovered::{Damaged, Done, Owned, Settled};
    Box::new(move |tx| {
        let after = left.after.as_deref();
        match attempts::recover_one(tx, &left.rules, &left.is_gone, after, left.at, left.jitter) {
            Ok(Settled(delivery, intent)) => left.settled.push((delivery, intent)),
            Ok(Owned(key)) => left.after = Some(key),
            Ok(Damaged(key, error)) => {
                tracing::error!(%error, "an attempt of the last process cannot be settled: its invoice is left alone");
                tx.roll_back();
                left.after = Some(key);
            }
            Ok(Done) => {
                let Recovery { settled, answer, .. } = left;
                return Evaluated {
                    answer: Box::new(move |durable| drop(answer.send(durable.map(|()| settled)))),
                    next: None,
                };
            }
            Err(error) => {
                tx.roll_back();
                let answer = left.answer;
                return Evaluated {
                    answer: Box::new(move |durable| drop(answer.send(durable.and(Err(error))))),
                    next: None,
                };
            }
        }
        Evaluated { answer: Box::new(drop), next: Some(recover(left)) }
    })
}
