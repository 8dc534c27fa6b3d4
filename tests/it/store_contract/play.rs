//! Whatever comes in whatever order: a store answers as the model does, at each step, and in the end
//! shows the same. Nothing due is ever lost, and nothing finished appears again.

use invoice_router::domain::audit::{Actor, AuditEvent, sentence};
use invoice_router::domain::change::{AccountChange, ChangeKind, ContactChange, Import};
use invoice_router::domain::delivery::{DeliveryId, Lane, Verdict};
use invoice_router::domain::id::{AccountId, InvoiceNumber};
use invoice_router::domain::invoice::Invoice;
use invoice_router::domain::recipient::resolve;
use invoice_router::store::{
    Begun, Command, Filter, InvoiceView, Received, Retention, RunScope, Settle,
};
use proptest::prelude::*;
use proptest::sample::Index;

use super::model::{Known, Model};
use super::sample::{
    self, attempt, contact, digest, group, id, number, of_account, of_schedule, on_schedule,
    profile, selecting, sub_user_id, version, without_addresses,
};
use super::world::{DAY, Medium, Passage, World};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Move {
    /// A change of this account, so many versions from its own.
    Change(usize, i64, usize),
    Issue(usize, usize, usize),
    Withdraw(usize, usize),
    /// An event comes again, with its own body or another one.
    Again(Index, bool),
    Operate(usize, usize, usize),
    Release(usize),
    /// An intent and, perhaps, its outcome.
    Attempt(Index, Option<Verdict>),
    /// An intent that was decided on before the account or the delivery moved.
    Late(Index),
    /// The last look of an intent that stands.
    Look(Index),
    /// An outcome for an intent that stands.
    Settle(Index, Verdict),
    Withhold(Index),
    Recover,
    Sweep,
    Pass(u64),
    Reopen,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    use Move::{
        Again, Attempt, Change, Issue, Late, Look, Operate, Pass, Recover, Release, Reopen, Settle,
        Sweep, Withdraw, Withhold,
    };
    let verdict = || {
        prop::sample::select(vec![
            Verdict::Accepted,
            Verdict::Deferred,
            Verdict::AddressRejected,
            Verdict::AddressRejected,
            Verdict::MessageRefused,
            Verdict::Uncertain,
            Verdict::RelayFailed,
        ])
    };
    let index = any::<Index>;
    let one = prop_oneof![
        6 => (0..2_usize, -1..=2_i64, 0..11_usize).prop_map(|(a, v, k)| Change(a, v, k)),
        8 => (0..2_usize, 0..5_usize, 0..5_usize).prop_map(|(a, n, v)| Issue(a, n, v)),
        2 => (0..2_usize, 0..5_usize).prop_map(|(a, n)| Withdraw(a, n)),
        3 => (index(), any::<bool>()).prop_map(|(at, same)| Again(at, same)),
        6 => (0..2_usize, 0..5_usize, 0..6_usize).prop_map(|(a, n, c)| Operate(a, n, c)),
        5 => (0..4_usize).prop_map(Release),
        10 => (index(), prop::option::of(verdict())).prop_map(|(at, v)| Attempt(at, v)),
        1 => index().prop_map(Late),
        3 => index().prop_map(Look),
        4 => (index(), verdict()).prop_map(|(at, v)| Settle(at, v)),
        3 => index().prop_map(Withhold),
        1 => Just(Recover),
        1 => Just(Sweep),
        3 => (0..7_200_u64).prop_map(Pass),
        1 => Just(Reopen),
    ];
    prop::collection::vec(one, 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_in_memory_does_as_the_model_does(moves in moves()) {
        Play::new(Medium::Memory).through(&moves);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_on_the_disk_does_as_the_model_does(moves in moves()) {
        Play::new(Medium::Sled).through(&moves);
    }
}

/// What a sender sent.
#[derive(Debug, Clone)]
enum Sent {
    Change(Box<AccountChange>),
    Issue(Box<Invoice>),
    Withdraw(AccountId, InvoiceNumber),
}

struct Play {
    world: World,
    model: Model,
    sent: Vec<(Received, Sent)>,
}

fn account_of(n: usize) -> AccountId {
    id(["K-1", "K-10"][n])
}

fn number_of(n: usize) -> InvoiceNumber {
    number(&format!("R-{n}"))
}

fn scopes() -> [RunScope; 4] {
    [of_schedule("default"), of_schedule("weekly"), of_account("K-1"), of_account("K-10")]
}

impl Play {
    fn new(medium: Medium) -> Self {
        let mut world = World::new(medium, Passage::Straight);
        world.put(sample::PDF);
        let model = Model::new(world.rules.clone());
        Self { world, model, sent: Vec::new() }
    }

    fn through(&mut self, moves: &[Move]) {
        for one in moves {
            self.go(one);
            self.compare_indexes();
        }
        self.compare_views();
        self.world.reopen();
        self.compare_indexes();
        self.compare_views();
    }

    fn go(&mut self, one: &Move) {
        match one {
            Move::Change(a, ahead, kind) => self.change(*a, *ahead, *kind),
            Move::Issue(a, n, variant) => self.issue(*a, *n, *variant),
            Move::Withdraw(a, n) => {
                let received = self.world.event();
                self.send(received, Sent::Withdraw(account_of(*a), number_of(*n)));
            }
            Move::Again(at, same) => self.again(*at, *same),
            Move::Operate(a, n, command) => self.operate(*a, *n, *command),
            Move::Release(n) => self.release(&scopes()[*n]),
            Move::Attempt(at, verdict) => self.attempt(*at, *verdict),
            Move::Late(at) => {
                if let Some(sequence) = self.pick(*at) {
                    self.begin(sequence, 1);
                }
            }
            Move::Look(at) => self.last_look(*at),
            Move::Settle(at, verdict) => self.end(*at, *verdict),
            Move::Withhold(at) => self.withhold(*at),
            Move::Recover => {
                let now = self.world.now;
                let recovered = self.world.store().recover(now, 0.0).wait().unwrap();
                assert_eq!(recovered, self.model.recover(now));
            }
            Move::Sweep => {
                let now = self.world.now;
                let retention = Retention { unused_documents: 1_000 * DAY, finished: DAY / 8 };
                let store = self.world.store();
                while store.sweep(&retention, now).unwrap() {}
                self.model.sweep(retention.finished, now);
            }
            Move::Pass(seconds) => self.world.pass(std::time::Duration::from_secs(*seconds)),
            Move::Reopen => {
                self.world.reopen();
                self.model.reopen();
            }
        }
    }

    fn change(&mut self, a: usize, ahead: i64, kind: usize) {
        let account = account_of(a);
        let raw = self.model.version(&account).get().saturating_add_signed(ahead);
        let kind = match kind {
            0 => ChangeKind::Updated(profile()),
            1 => ChangeKind::Updated(selecting(&["a@muster.example", "b@muster.example"])),
            2 => ChangeKind::Updated(on_schedule("weekly")),
            3 => ChangeKind::Updated(without_addresses()),
            4 => ChangeKind::Updated(selecting(&["a@muster.example"])),
            5 => ChangeKind::Closed,
            6 => ChangeKind::SubUserRemoved(sub_user_id("u-7")),
            7 => ChangeKind::BillingContactSelected(None),
            8 | 9 => ChangeKind::Imported(Import {
                profile: selecting(&["b@muster.example"]),
                closed: ahead > 1,
                accept_version: kind == 9,
            }),
            _ => ChangeKind::SubUserSaved {
                id: sub_user_id("u-7"),
                group: group("support"),
                contact: ContactChange::Whole(contact("Max Muster", &["max@muster.example"])),
                login: None,
            },
        };
        let change = AccountChange {
            account,
            version: version(raw.max(1)),
            timestamp: self.world.now,
            kind,
        };
        let received = self.world.event();
        self.send(received, Sent::Change(Box::new(change)));
    }

    fn issue(&mut self, a: usize, n: usize, variant: usize) {
        let (account, raw) = (account_of(a), number_of(n));
        let mut invoice = sample::invoice(account.as_str(), raw.as_str());
        if variant.is_multiple_of(2) {
            invoice = sample::urgent(account.as_str(), raw.as_str());
        }
        if variant > 2 {
            let next = self.model.version(&account).get() + 2;
            invoice.min_account_version = Some(version(next));
        }
        let received = self.world.event();
        self.send(received, Sent::Issue(Box::new(invoice)));
    }

    fn again(&mut self, at: Index, same: bool) {
        if self.sent.is_empty() {
            return;
        }
        let (mut received, sent) = at.get(&self.sent).clone();
        received.at = self.world.now;
        if !same {
            received.body = digest(b"another body");
        }
        self.send(received, sent);
    }

    fn send(&mut self, received: Received, sent: Sent) {
        let store = self.world.store();
        match &sent {
            Sent::Change(change) => {
                let answer = store.change_account(received.clone(), (**change).clone());
                let expected = self.model.change(&received, change);
                assert_eq!(answer.wait().unwrap(), expected);
            }
            Sent::Issue(invoice) => {
                let answer = store.issue(received.clone(), (**invoice).clone());
                let expected = self.model.issue(&received, invoice);
                assert_eq!(answer.wait().unwrap(), expected);
            }
            Sent::Withdraw(account, number) => {
                let answer = store.withdraw(received.clone(), account.clone(), number.clone());
                let expected = self.model.withdraw(&received, account, number);
                assert_eq!(answer.wait().unwrap(), expected);
            }
        }
        self.sent.push((received, sent));
    }

    fn operate(&mut self, a: usize, n: usize, command: usize) {
        let reason = "look at it".to_owned();
        let command = match command {
            0 => Command::Hold { reason },
            1 => Command::Release { now: false },
            2 => Command::Release { now: true },
            3 => Command::Withdraw,
            revision => Command::Resend { revision: u32::try_from(revision - 3).unwrap() },
        };
        let (account, number) = (account_of(a), number_of(n));
        let now = self.world.now;
        let expected = self.model.operate(&account, &number, &command, now);
        let store = self.world.store();
        let answer = store.operate(&account, &number, command.into(), "anna".to_owned(), now);
        assert_eq!(answer.wait().unwrap(), expected);
    }

    fn release(&mut self, scope: &RunScope) {
        let now = self.world.now;
        let expected = self.model.release(scope, now);
        let released = self.world.store().release(scope.clone(), now, Actor::Daemon, None, now);
        assert_eq!(released.wait().unwrap(), expected);
    }

    /// One of the invoices that are there.
    fn pick(&self, at: Index) -> Option<DeliveryId> {
        let sequences: Vec<DeliveryId> = self.model.invoices.keys().copied().collect();
        (!sequences.is_empty()).then(|| *at.get(&sequences))
    }

    fn attempt(&mut self, at: Index, verdict: Option<Verdict>) {
        if let Some(sequence) = self.pick(at)
            && self.begin(sequence, 0)
            && let Some(verdict) = verdict
        {
            self.settle(sequence, verdict);
        }
    }

    /// One of those that are being sent.
    fn pick_sending(&self, at: Index) -> Option<DeliveryId> {
        let invoices = self.model.invoices.iter();
        let sending: Vec<DeliveryId> = invoices
            .filter(|(_, held)| held.intent.is_some())
            .map(|(sequence, _)| *sequence)
            .collect();
        (!sending.is_empty()).then(|| *at.get(&sending))
    }

    fn last_look(&mut self, at: Index) {
        let Some(sequence) = self.pick_sending(at) else {
            return;
        };
        let held = self.model.invoices[&sequence].clone();
        let (account, recipient) = (held.invoice.account, held.sent_to.unwrap());
        let store = self.world.store();
        let may_go_out = store.may_go_out(sequence, &account, &recipient);
        assert_eq!(may_go_out.unwrap(), self.model.may_go_out(sequence));
    }

    fn end(&mut self, at: Index, verdict: Verdict) {
        if let Some(sequence) = self.pick_sending(at) {
            self.settle(sequence, verdict);
        }
    }

    fn withhold(&mut self, at: Index) {
        let Some(sequence) = self.pick(at) else {
            return;
        };
        let store = self.world.store();
        let seen = store.job(sequence).unwrap().map(|job| job.seen);
        assert_eq!(seen, self.model.seen(sequence));
        if let Some(seen) = seen {
            let now = self.world.now;
            let expected = self.model.withhold(sequence, seen, now);
            let withheld = store.withhold(sequence, seen, now);
            assert_eq!(withheld.wait().unwrap(), expected);
        }
    }

    /// Says whether the intent was taken.
    fn begin(&mut self, sequence: DeliveryId, late: u64) -> bool {
        let store = self.world.store();
        let Some(job) = store.job(sequence).unwrap() else {
            return false;
        };
        let recipient = resolve(&job.account, &job.suspects, self.model.rules.on_rejected);
        if recipient.addressee().is_none() {
            return false;
        }
        let mut begin = self.world.intention(sequence);
        begin.seen.stamp -= late;
        let expected = self.model.begin(sequence, &begin);
        let answer = store.begin(sequence, begin).wait().unwrap();
        assert_eq!(answer == Begun::Durable, expected);
        expected
    }

    fn settle(&mut self, sequence: DeliveryId, verdict: Verdict) {
        let at = self.world.now;
        let intent = self.model.invoices[&sequence].intent.clone().unwrap();
        let attempt = attempt(intent, verdict);
        self.model.settle(sequence, &attempt, verdict, at);
        let settle = Settle::Ended { attempt: Box::new(attempt), verdict, at, jitter: 0.0 };
        let settled = self.world.store().settle(sequence, settle);
        let settled = settled.wait().unwrap();
        assert_eq!(settled.delivery, self.model.invoices[&sequence].delivery);
        assert_eq!(Some(settled.seen), self.model.seen(sequence));
    }

    /// What the dispatcher lives on.
    fn compare_indexes(&self) {
        let store = self.world.store();
        let for_ever = self.world.now + chrono::TimeDelta::days(365);
        for lane in Lane::ALL {
            assert_eq!(store.due(lane, for_ever, None, 100).unwrap(), self.model.due(lane));
        }
        let in_use = self.model.schedules_in_use();
        assert_eq!(store.schedules_in_use().unwrap(), in_use);
        let mut runs = store.runs().unwrap();
        runs.sort_by(|one, other| one.scope.cmp(&other.scope));
        let expected: Vec<_> = self.model.runs.values().cloned().collect();
        assert_eq!(runs, expected);
        let waiting = self.model.waiting();
        for scope in scopes() {
            for (account, sequences) in store.waiting(&scope, None, 10).unwrap() {
                assert_eq!(sequences, waiting.get(&account).cloned().unwrap_or_default());
            }
        }
    }

    /// What people see.
    fn compare_views(&self) {
        let store = self.world.store();
        for a in 0..2 {
            let account = account_of(a);
            let view = store.account(&account).unwrap();
            let expected = self.model.accounts.get(&account);
            assert_eq!(view.as_ref().map(|view| &view.account), expected);
            if let Some(view) = view {
                assert_eq!(view.recipient, self.model.recipient(&view.account));
                let marks = self.model.suspects.get(&account);
                assert_eq!(view.suspects, marks.cloned().unwrap_or_default());
            }
            for n in 0..5 {
                let key = (account.clone(), number_of(n));
                let view = store.invoice(&key.0, &key.1).unwrap();
                self.compare_invoice(self.model.known.get(&key), view);
            }
        }
        let page = store.invoices(&Filter::default(), None, 100).unwrap();
        let listed: Vec<_> = page.items.iter().map(|item| (item.sequence, item.state)).collect();
        let sequences = self.model.invoices.keys();
        let expected: Vec<_> = sequences.map(|at| (at.invoice, self.model.shown(*at))).collect();
        assert_eq!(listed, expected);
    }

    fn compare_invoice(&self, known: Option<&Known>, view: Option<InvoiceView>) {
        match (known, view) {
            (None, None) => {}
            (Some(Known::Here(sequence)), Some(InvoiceView::Whole(whole))) => {
                let held = &self.model.invoices[sequence];
                let standing = self.model.standing(*sequence);
                assert_eq!(whole.sequence, sequence.invoice);
                assert_eq!(whole.invoice, held.invoice);
                assert_eq!(whole.delivery, held.delivery);
                assert_eq!(whole.intent, held.intent);
                assert_eq!(whole.attempts, held.attempts);
                assert_eq!(whole.state, standing.state);
                assert_eq!(whole.schedule, standing.schedule);
                assert_eq!(whole.recipient, standing.recipient);
                assert!(whole.story.iter().all(|entry| !sentence(entry).contains('@')));
                assert!(matches!(whole.story[0].event, AuditEvent::Issued { .. }));
            }
            (Some(Known::Withdrawn), Some(InvoiceView::Tombstone { state, .. })) => {
                assert_eq!(state.as_str(), "withdrawn");
            }
            (Some(Known::Buried(_, buried)), Some(InvoiceView::Tombstone { state, .. })) => {
                assert_eq!(state, *buried);
            }
            (known, view) => panic!("{known:?} is shown as {view:?}"),
        }
    }
}
