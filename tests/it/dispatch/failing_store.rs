//! The house's store, with faults put in front of what sending asks of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use invoice_router::domain::audit::Actor;
use invoice_router::domain::change::AccountChange;
use invoice_router::domain::delivery::{DeliveryId, HoldReason, Intent, Lane};
use invoice_router::domain::id::{
    AccountId, Digest, InvoiceNumber, ScheduleName, SenderName, Sequence, Version, WebhookId,
};
use invoice_router::domain::invoice::Invoice;
use invoice_router::domain::recipient::Recipient;
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

macro_rules! passes_on {
    ($(fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty;)*) => {
        $(fn $name(&self $(, $argument: $type)*) -> $answer {
            self.within.$name($($argument),*)
        })*
    };
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
    fails! {
        fn change_account(&self, received: Received, change: AccountChange) -> Commit<Judged<ChangeAnswer>>, UseCase::ChangeAccount;
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

    fn begin(&self, delivery: DeliveryId, begin: Begin) -> Commit<Begun> {
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

    passes_on! {
        fn remembered(&self, sender: &SenderName, id: &WebhookId, at: DateTime<Utc>) -> Result<Option<[u8; 16]>, StoreError>;
        fn import_account(&self, change: AccountChange, actor: Actor, reason: Option<String>, at: DateTime<Utc>) -> Commit<ChangeAnswer>;
        fn issue(&self, received: Received, invoice: Invoice) -> Commit<Judged<IssueAnswer>>;
        fn withdraw(&self, received: Received, account: AccountId, number: InvoiceNumber) -> Commit<Judged<WithdrawAnswer>>;
        fn put_document(&self, digest: Digest, bytes: &[u8], at: DateTime<Utc>) -> Commit<DocumentAnswer>;
        fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;
        fn operate(&self, account: &AccountId, number: &InvoiceNumber, order: Order, operator: String, at: DateTime<Utc>) -> Commit<Option<OperateAnswer>>;
        fn hold(&self, delivery: DeliveryId, reason: HoldReason, at: DateTime<Utc>) -> Commit<()>;
        fn pause(&self, scope: PauseScope, reason: String, actor: Actor, at: DateTime<Utc>) -> Commit<bool>;
        fn forget_rejections(&self, since: DateTime<Utc>, reason: Option<String>, actor: Actor, at: DateTime<Utc>) -> Result<usize, StoreError>;
        fn resume(&self, scope: PauseScope, reason: Option<String>, actor: Actor, at: DateTime<Utc>) -> Commit<bool>;
        fn paused(&self, scope: &PauseScope) -> Result<Option<Pause>, StoreError>;
        fn pause_in_force(&self, account: Option<&AccountId>) -> Result<Option<PauseInForce>, StoreError>;
        fn note_schedule(&self, schedule: ScheduleName, at: DateTime<Utc>) -> Commit<()>;
        fn runs(&self) -> Result<Vec<Run>, StoreError>;
        fn schedules_in_use(&self) -> Result<Vec<ScheduleName>, StoreError>;
        fn waiting(&self, scope: &RunScope, after: Option<&AccountId>, limit: usize) -> Result<Vec<(AccountId, Vec<DeliveryId>)>, StoreError>;
        fn job(&self, delivery: DeliveryId) -> Result<Option<Job>, StoreError>;
        fn account_version(&self, account: &AccountId) -> Result<Version, StoreError>;
        fn may_go_out(&self, delivery: DeliveryId, account: &AccountId, recipient: &Recipient) -> Result<bool, StoreError>;
        fn withhold(&self, delivery: DeliveryId, seen: Seen, at: DateTime<Utc>) -> Commit<bool>;
        fn account(&self, id: &AccountId) -> Result<Option<AccountView>, StoreError>;
        fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Accounts, StoreError>;
        fn invoice(&self, account: &AccountId, number: &InvoiceNumber) -> Result<Option<InvoiceView>, StoreError>;
        fn audit(&self, order: TrailOrder, after: Option<TrailPlace>, limit: usize) -> Result<(Vec<Audited>, Option<TrailPlace>), StoreError>;
        fn invoices(&self, filter: &Filter, after: Option<Sequence>, limit: usize) -> Result<Page, StoreError>;
        fn backlog(&self) -> Result<Backlog, StoreError>;
        fn sweep(&self, retention: &Retention, now: DateTime<Utc>) -> Result<bool, StoreError>;
        fn clock_seen(&self) -> Result<Option<DateTime<Utc>>, StoreError>;
        fn note_clock(&self, now: DateTime<Utc>) -> Commit<()>;
        fn id(&self) -> StoreId;
        fn close(&self) -> Result<(), StoreError>;
    }
}
