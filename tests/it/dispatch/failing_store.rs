//! The house's store, with faults put in front of what sending asks of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use invoice_router::domain::audit::Actor;
use invoice_router::domain::change::AccountChange;
use invoice_router::domain::delivery::{DeliveryId, Intent, Lane};
use invoice_router::store::*;

/// Use cases that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UseCase {
    ChangeAccount,
    Recover,
    Release,
    Begin,
    Settle,
    Due,
}

/// Fails as told, then does what the store within does.
pub(crate) struct FailingStore {
    within: Arc<dyn Store>,
    faults: Mutex<VecDeque<(UseCase, StoreError)>>,
    refuses_intents: Mutex<Option<StoreError>>,
}

impl FailingStore {
    /// Each fault is met once, in order for its use case.
    pub(crate) fn new(
        within: &Arc<dyn Store>,
        faults: impl IntoIterator<Item = (UseCase, StoreError)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            within: Arc::clone(within),
            faults: Mutex::new(faults.into_iter().collect()),
            refuses_intents: Mutex::default(),
        })
    }

    /// Refuses every attempt from now on, and says so; or no more.
    pub(super) fn refuse_intents(&self, cause: Option<StoreError>) {
        *self.refuses_intents.lock().unwrap() = cause;
    }

    /// Whether each fault was met.
    pub(super) fn has_failed(&self) -> bool {
        self.faults.lock().unwrap().is_empty()
    }

    fn fault(&self, of: UseCase) -> Result<(), StoreError> {
        let mut faults = self.faults.lock().unwrap();
        let next = faults.iter().position(|(use_case, _)| *use_case == of);
        match next.and_then(|next| faults.remove(next)) {
            Some((_, fault)) => Err(fault),
            None => Ok(()),
        }
    }
}

macro_rules! fails {
    ($(fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> Commit<$answer:ty>, $of:expr;)*) => {
        $(fn $name(&self $(, $argument: $type)*) -> Commit<$answer> {
            match self.fault($of) {
                Ok(()) => self.within.$name($($argument),*),
                Err(fault) => Commit::ready(Err(fault)),
            }
        })*
    };
}

impl Store for FailingStore {
    fn engine(&self) -> &Engine {
        self.within.engine()
    }

    fails! {
        fn change_account(&self, received: Received, change: AccountChange) -> Commit<Deduplicated<ChangeAnswer>>, UseCase::ChangeAccount;
        fn recover(&self, at: DateTime<Utc>, jitter: f64) -> Commit<Vec<(DeliveryId, Intent)>>, UseCase::Recover;
        fn release(&self, scope: RunScope, instant: DateTime<Utc>, actor: Actor, reason: Option<String>, at: DateTime<Utc>) -> Commit<bool>, UseCase::Release;
        fn settle(&self, delivery: DeliveryId, settle: Settle) -> Commit<Settled>, UseCase::Settle;
    }

    fn due(
        &self,
        lane: Lane,
        now: DateTime<Utc>,
        after: Option<DuePlace>,
        limit: usize,
    ) -> Result<Vec<DuePlace>, StoreError> {
        self.fault(UseCase::Due)?;
        self.within.due(lane, now, after, limit)
    }

    fn begin(&self, delivery: DeliveryId, begin: Begin) -> Commit<IntentOutcome> {
        let refusal = self.refuses_intents.lock().unwrap().clone();
        match refusal.map_or_else(|| self.fault(UseCase::Begin), Err) {
            Ok(()) => self.within.begin(delivery, begin),
            Err(fault) => Commit::ready(Err(fault)),
        }
    }

    fn health(&self) -> Health {
        Health {
            refuses_intents: self.refuses_intents.lock().unwrap().clone(),
            ..self.within.health()
        }
    }
}
