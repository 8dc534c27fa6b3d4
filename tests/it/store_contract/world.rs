//! One store, a clock that is moved by hand, and the steps that scenarios are made of.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use invoice_router::config::State;
use invoice_router::domain::account::Profile;
use invoice_router::domain::audit::Actor;
use invoice_router::domain::change::{AccountChange, ChangeKind};
use invoice_router::domain::delivery::{DeliveryId, Lane, Shown, StepAnswer, Verdict};
use invoice_router::domain::invoice::Invoice;
use invoice_router::domain::recipient::resolve;
use invoice_router::store::{
    self, Begin, ChangeAnswer, ChangeResult, Command, Deduplicated, DocumentAnswer, IntentOutcome,
    InvoiceView, IssueAnswer, Memory, OperateAnswer, Received, Retention, Rules, Run, RunScope,
    Settle, Settled, Store, WholeInvoice, WithdrawAnswer,
};

use super::sample::{self, digest, id, number, sender, version, webhook_id};

/// Where the store keeps its state.
#[derive(Debug, Clone, Copy)]
pub(super) enum Medium {
    Memory,
    Sled,
}

/// Whether the store stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    Straight,
    /// It is closed and opened again before each step.
    Reopened,
}

enum Ground {
    Memory(Memory),
    Sled(State),
}

/// A store and all that a scenario does with it.
pub(super) struct World {
    ground: Ground,
    passage: Passage,
    store: Option<Arc<dyn Store>>,
    pub(super) rules: Rules,
    pub(super) now: DateTime<Utc>,
    events: u32,
    /// Dropped last.
    _directory: tempfile::TempDir,
}

impl World {
    pub(super) fn new(medium: Medium, passage: Passage) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ground = match medium {
            Medium::Memory => Ground::Memory(Memory::new(directory.path()).unwrap()),
            Medium::Sled => Ground::Sled(State {
                directory: directory.path().to_owned(),
                reserve_bytes: 0,
                cache_bytes: 1 << 20,
            }),
        };
        let mut world = Self {
            ground,
            passage,
            store: None,
            rules: sample::rules(),
            now: sample::instant("2026-11-23T08:00:00Z"),
            events: 0,
            _directory: directory,
        };
        world.reopen();
        world
    }

    /// The store for the next step, opened again if that is how the scenario is gone through.
    pub(super) fn step(&mut self) -> Arc<dyn Store> {
        if self.passage == Passage::Reopened {
            self.reopen();
        }
        self.store()
    }

    /// The store as it is open.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    /// Closes the store and opens it again.
    pub(super) fn reopen(&mut self) {
        self.store = None;
        let rules = self.rules.clone();
        self.store = Some(match &self.ground {
            Ground::Memory(memory) => memory.open(rules).unwrap(),
            Ground::Sled(settings) => store::open(settings, rules).unwrap(),
        });
    }

    /// Opens the store on the disk with less free space than it is to keep back.
    pub(super) fn fill_the_disk(&mut self) {
        match &mut self.ground {
            Ground::Sled(settings) => settings.reserve_bytes = u64::MAX,
            Ground::Memory(_) => panic!("a store in memory has no disk"),
        }
        self.reopen();
    }

    /// Does something with the store always open, for what would take too long otherwise.
    pub(super) fn at_a_stretch<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let passage = std::mem::replace(&mut self.passage, Passage::Straight);
        let result = work(self);
        self.passage = passage;
        result
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now += TimeDelta::from_std(span).unwrap();
    }

    /// An event of its own.
    pub(super) fn event(&mut self) -> Received {
        self.events += 1;
        let name = format!("msg_{}", self.events);
        self.event_of(&name, &name)
    }

    /// An event with this id and body.
    pub(super) fn event_of(&self, raw: &str, body: &str) -> Received {
        Received {
            sender: sender("portal"),
            id: webhook_id(raw),
            body: digest(body.as_bytes()),
            at: self.now,
        }
    }

    // The webhook.

    pub(super) fn change_as(
        &mut self,
        received: Received,
        account: &str,
        raw: u64,
        kind: ChangeKind,
    ) -> Deduplicated<ChangeAnswer> {
        let change = AccountChange {
            account: id(account),
            version: version(raw),
            timestamp: self.now,
            kind,
        };
        self.step().change_account(received, change).wait().unwrap()
    }

    pub(super) fn change(&mut self, account: &str, raw: u64, kind: ChangeKind) -> ChangeAnswer {
        let received = self.event();
        new(self.change_as(received, account, raw, kind))
    }

    /// Brings an account, or a new version of it.
    pub(super) fn account(&mut self, account: &str, raw: u64, profile: Profile) -> ChangeAnswer {
        let answer = self.change(account, raw, ChangeKind::Updated(profile));
        assert_eq!(result_of(&answer), ChangeResult::Applied);
        answer
    }

    pub(super) fn issue_as(
        &mut self,
        received: Received,
        invoice: Invoice,
    ) -> Deduplicated<IssueAnswer> {
        self.step().issue(received, invoice).wait().unwrap()
    }

    pub(super) fn issue(&mut self, invoice: Invoice) -> IssueAnswer {
        let received = self.event();
        new(self.issue_as(received, invoice))
    }

    /// Hands an invoice over that must be taken, with its documents; returns its delivery.
    pub(super) fn take(&mut self, invoice: Invoice) -> DeliveryId {
        let (account, raw) = (invoice.account.clone(), invoice.number.clone());
        if self.step().document(&digest(sample::PDF)).unwrap().is_none() {
            self.put(sample::PDF);
        }
        let answer = self.issue(invoice);
        assert!(matches!(answer, IssueAnswer::Applied(_) | IssueAnswer::Parked(_)), "{answer:?}");
        DeliveryId::of_invoice(self.view(account.as_str(), raw.as_str()).sequence)
    }

    pub(super) fn withdraw(&mut self, account: &str, raw: &str) -> WithdrawAnswer {
        let received = self.event();
        let answer = self.step().withdraw(received, id(account), number(raw));
        new(answer.wait().unwrap())
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> DocumentAnswer {
        let now = self.now;
        self.step().put_document(digest(bytes), bytes, now).wait().unwrap()
    }

    // The operator.

    pub(super) fn operate(
        &mut self,
        account: &str,
        raw: &str,
        command: Command,
    ) -> Option<OperateAnswer> {
        let (anna, now) = ("anna".to_owned(), self.now);
        self.step().operate(&id(account), &number(raw), command.into(), anna, now).wait().unwrap()
    }

    /// An operator's command that takes effect; returns the state afterwards.
    pub(super) fn obey(&mut self, account: &str, raw: &str, command: Command) -> Shown {
        let answer = self.operate(account, raw, command).unwrap();
        assert!(matches!(answer.answer, StepAnswer::Applied | StepAnswer::Deferred), "{answer:?}");
        answer.state
    }

    pub(super) fn hold(&mut self, account: &str, raw: &str) -> Shown {
        let reason = "look at it".to_owned();
        self.obey(account, raw, Command::Hold { reason })
    }

    // Schedules and attempts.

    /// Releases what waits, to the end.
    pub(super) fn release(&mut self, scope: RunScope) -> bool {
        let now = self.now;
        let released = self.step().release(scope, now, Actor::Daemon, None, now).wait().unwrap();
        self.until_released();
        released
    }

    /// Waits until no run is open.
    pub(super) fn until_released(&mut self) {
        while self.step().runs().unwrap().iter().any(|run| run.open) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The run of a scope, which is there.
    pub(super) fn run(&mut self, scope: &RunScope) -> Run {
        let runs = self.step().runs().unwrap();
        runs.into_iter().find(|run| run.scope == *scope).unwrap()
    }

    /// The intent of an attempt at an invoice's next open address, on what is stored now.
    pub(super) fn intention(&mut self, sequence: DeliveryId) -> Begin {
        let job = self.step().job(sequence).unwrap().unwrap();
        let recipient = resolve(&job.account, &job.suppressions, self.rules.on_rejected);
        let finished = |address: &&_| {
            !job.delivery
                .addresses
                .iter()
                .any(|known| known.address == **address && !known.state.is_open())
        };
        let to = recipient
            .addresses()
            .iter()
            .find(finished)
            .or_else(|| recipient.addresses().first())
            .unwrap()
            .clone();
        let known = job.delivery.addresses.iter().find(|known| known.address == to);
        Begin {
            seen: job.seen,
            round_at: self.now,
            intent: sample::intent(
                &to,
                job.account.version(),
                job.delivery.revision,
                known.map_or(1, |known| known.attempts + 1),
                self.now,
            ),
            recipient,
        }
    }

    pub(super) fn begin(&mut self, sequence: DeliveryId) -> Begin {
        let begin = self.intention(sequence);
        let answer = self.step().begin(sequence, begin.clone()).wait().unwrap();
        assert_eq!(answer, IntentOutcome::Durable);
        begin
    }

    pub(super) fn settle(
        &mut self,
        sequence: DeliveryId,
        begin: &Begin,
        verdict: Verdict,
    ) -> Settled {
        let settle = Settle::Ended {
            attempt: Box::new(sample::attempt(begin.intent.clone(), verdict)),
            verdict,
            at: self.now,
            jitter: 0.0,
        };
        self.step().settle(sequence, settle).wait().unwrap()
    }

    /// One attempt from intent to outcome.
    pub(super) fn attempt(&mut self, sequence: DeliveryId, verdict: Verdict) -> Settled {
        let begin = self.begin(sequence);
        self.settle(sequence, &begin, verdict)
    }

    // Reads.

    pub(super) fn look(&mut self, account: &str, raw: &str) -> Option<InvoiceView> {
        self.step().invoice(&id(account), &number(raw)).unwrap()
    }

    pub(super) fn view(&mut self, account: &str, raw: &str) -> WholeInvoice {
        match self.look(account, raw) {
            Some(InvoiceView::Whole(whole)) => *whole,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self, account: &str, raw: &str) -> Shown {
        self.view(account, raw).state
    }

    /// What is due now, the urgent ones first.
    pub(super) fn due(&mut self) -> Vec<DeliveryId> {
        let now = self.now;
        let store = self.step();
        let places = Lane::ALL.map(|lane| store.due(lane, now, None, 1_000).unwrap());
        places.into_iter().flatten().map(|place| place.delivery).collect()
    }

    /// Commits that nothing is left to be sent to the current recipient.
    pub(super) fn withhold(&mut self, sequence: DeliveryId) {
        let now = self.now;
        let store = self.step();
        let seen = store.job(sequence).unwrap().unwrap().seen;
        assert!(store.withhold(sequence, seen, now).wait().unwrap());
    }

    /// Sweeps until nothing is left that documents and finished invoices of 7 and 30 days ago leave.
    pub(super) fn sweep(&mut self) {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let retention = Retention { unused_documents: days(7), finished: days(30) };
        let now = self.now;
        let store = self.step();
        while store.sweep(&retention, now).unwrap() {}
    }
}

/// Whatever a scenario did, what is stored holds together.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.store = None;
        let mut findings = Vec::new();
        let mut tell = |finding| findings.push(finding);
        let verified = match &self.ground {
            Ground::Memory(memory) => memory.verify(&mut tell).unwrap(),
            Ground::Sled(settings) => store::verify(settings, &mut tell).unwrap(),
        };
        assert_eq!(findings, []);
        assert_eq!((verified.findings, verified.left_over), (0, 0));
    }
}

pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn result_of(answer: &ChangeAnswer) -> ChangeResult {
    match answer {
        ChangeAnswer::Accepted { result, .. } => *result,
        ChangeAnswer::Refused(refused) => panic!("{refused}"),
    }
}

fn new<T: std::fmt::Debug>(judged: Deduplicated<T>) -> T {
    match judged {
        Deduplicated::New(answer) => answer,
        Deduplicated::Repeated(_) | Deduplicated::IdReused => panic!("{judged:?}"),
    }
}
