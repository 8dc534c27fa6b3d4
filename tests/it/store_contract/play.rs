//! Whatever comes in whatever order: a store answers as the model does, at each step, and in the end
//! shows the same. Nothing due is ever lost, and nothing finished appears again.

use std::time::{Duration, Instant};

use invoice_router::domain::audit::{Actor, AuditEvent, sentence};
use invoice_router::domain::change::{AccountChange, ChangeKind, ContactChange, Import};
use invoice_router::domain::delivery::{DeliveryId, Intent, Lane, Shown, StepAnswer, Verdict};
use invoice_router::domain::id::{AccountId, InvoiceNumber};
use invoice_router::domain::invoice::Invoice;
use invoice_router::domain::recipient::{OnRejected, resolve};
use invoice_router::store::{
    Begin, Command, Filter, IntentOutcome, InvoiceView, Received, Retention, RunScope, Settle,
};
use proptest::prelude::*;
use proptest::sample::Index;

use super::model::{Known, Model};
use super::sample::{
    self, attempt, contact, digest, group, id, number, of_account, of_schedule, on_schedule,
    profile, selecting, sender, sub_user_id, version, without_addresses,
};
use super::world::{DAY, Medium, Passage, World};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Move {
    /// A change of this account, so many versions from its own.
    Change(usize, i64, usize),
    Issue(usize, usize, usize),
    Withdraw(usize, usize),
    /// An event comes again.
    Again(Index, Repetition),
    Operate(usize, usize, usize),
    /// An operator has what was rejected in the last so many seconds tried anew.
    ForgetRejections(u64),
    Release(usize),
    /// An attempt is decided on, and its intent committed at once, or perhaps later.
    Attempt(Index, bool),
    /// An intent is committed that was decided on before, whatever has moved since.
    Late(Index),
    /// The final check of an attempt under way.
    Look(Index),
    /// The outcome of an attempt under way; none if it was broken off.
    Settle(Index, Option<Verdict>),
    /// The outcome of an attempt that was decided on before, whether it is under way or not.
    SettleAnyOf(Index, Verdict),
    /// Nothing is to be sent, now or by an attempt that was decided on before.
    Withhold(Index, bool),
    Recover,
    Sweep,
    Pass(u64),
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Repetition {
    Same,
    OtherBody,
    OtherSender,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    use Move::{
        Again, Attempt, Change, ForgetRejections, Issue, Late, Look, Operate, Pass, Recover,
        Release, Reopen, Settle, SettleAnyOf, Sweep, Withdraw, Withhold,
    };
    use Repetition::{OtherBody, OtherSender, Same};
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
    let repetition = prop::sample::select(vec![Same, Same, OtherBody, OtherSender]);
    // Few accounts and numbers, so that much happens to each.
    let account = || prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    let ahead = prop::sample::select(vec![-1, 0, 1, 1, 1, 1, 1, 2]);
    let index = any::<Index>;
    let one = prop_oneof![
        8 => (account(), ahead, 0..12_usize).prop_map(|(a, v, k)| Change(a, v, k)),
        8 => (account(), 0..NUMBERS, 0..5_usize).prop_map(|(a, n, v)| Issue(a, n, v)),
        2 => (account(), 0..NUMBERS).prop_map(|(a, n)| Withdraw(a, n)),
        5 => (index(), repetition).prop_map(|(at, how)| Again(at, how)),
        8 => (account(), 0..NUMBERS, 0..8_usize).prop_map(|(a, n, c)| Operate(a, n, c)),
        2 => (0..8_000_u64).prop_map(ForgetRejections),
        5 => (0..5_usize).prop_map(Release),
        14 => (index(), prop::bool::weighted(0.8)).prop_map(|(at, now)| Attempt(at, now)),
        4 => index().prop_map(Late),
        3 => index().prop_map(Look),
        12 => (index(), prop::option::weighted(0.9, verdict())).prop_map(|(at, v)| Settle(at, v)),
        1 => (index(), verdict()).prop_map(|(at, v)| SettleAnyOf(at, v)),
        6 => (index(), prop::bool::weighted(0.3)).prop_map(|(at, late)| Withhold(at, late)),
        1 => Just(Recover),
        1 => Just(Sweep),
        3 => (0..7_200_u64).prop_map(Pass),
        1 => Just(Reopen),
    ];
    prop::collection::vec(one, 1..160)
}

fn on_rejected() -> impl Strategy<Value = OnRejected> {
    prop::sample::select(vec![OnRejected::MainContact, OnRejected::Undeliverable])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn a_store_in_memory_does_as_the_model_does(moves in moves(), rule in on_rejected()) {
        Play::new(Medium::Memory, rule).through(&moves);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn a_store_on_the_disk_does_as_the_model_does(moves in moves(), rule in on_rejected()) {
        Play::new(Medium::Sled, rule).through(&moves);
    }
}

/// So many invoices an account may have.
const NUMBERS: usize = 3;

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
    /// Attempts that were decided on, whether their intents were committed or not.
    decided: Vec<(DeliveryId, Begin)>,
}

fn account_of(n: usize) -> AccountId {
    id(["K-1", "K-10"][n])
}

fn number_of(n: usize) -> InvoiceNumber {
    number(&format!("R-{n}"))
}

fn scopes() -> [RunScope; 5] {
    let schedules = ["default", "week", "weekly"].map(of_schedule);
    let [default, week, weekly] = schedules;
    [default, week, weekly, of_account("K-1"), of_account("K-10")]
}

impl Play {
    fn new(medium: Medium, on_rejected: OnRejected) -> Self {
        let mut world = World::new(medium, Passage::Straight);
        world.rules.on_rejected = on_rejected;
        world.reopen();
        world.put(sample::PDF);
        let model = Model::new(world.rules.clone());
        Self { world, model, sent: Vec::new(), decided: Vec::new() }
    }

    fn through(&mut self, moves: &[Move]) {
        for one in moves {
            self.go(one);
            self.compare_deliveries();
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
            Move::Again(at, how) => self.again(*at, *how),
            Move::Operate(a, n, command) => self.operate(*a, *n, *command),
            Move::ForgetRejections(seconds) => {
                let (anna, now) = (Actor::Operator("anna".to_owned()), self.world.now);
                let since = now - Duration::from_secs(*seconds);
                let forgotten = self.world.store().forget_rejections(since, None, anna, now);
                assert_eq!(forgotten.unwrap(), self.model.forget_rejections(since, now));
            }
            Move::Release(n) => self.release(&scopes()[*n]),
            Move::Attempt(at, now) => {
                if let Some(delivery) = self.pick(*at) {
                    self.decide(delivery, *now);
                }
            }
            Move::Late(at) => {
                if let Some((delivery, begin)) = self.pick_decided(*at) {
                    self.begin(delivery, begin);
                }
            }
            Move::Look(at) => self.last_look(*at),
            Move::Settle(at, verdict) => {
                if let Some(delivery) = self.pick_sending(*at) {
                    let intent = self.model.invoices[&delivery].intent.clone().unwrap();
                    self.settle(delivery, intent, *verdict);
                }
            }
            Move::SettleAnyOf(at, verdict) => {
                if let Some((delivery, begin)) = self.pick_decided(*at)
                    && self.model.invoices.contains_key(&delivery)
                {
                    self.settle(delivery, begin.intent, Some(*verdict));
                }
            }
            Move::Withhold(at, late) => self.withhold(*at, *late),
            Move::Recover => {
                let now = self.world.now;
                let recovered = self.world.store().recover(now, 0.0).wait().unwrap();
                assert_eq!(recovered, self.model.recover(now));
            }
            Move::Sweep => {
                self.world.pass(DAY / 6);
                let now = self.world.now;
                let retention = Retention { unused_documents: 1_000 * DAY, finished: DAY / 8 };
                let store = self.world.store();
                while store.sweep(&retention, now).unwrap() {}
                self.model.sweep(retention.finished, now);
            }
            Move::Pass(seconds) => self.world.pass(Duration::from_secs(*seconds)),
            Move::Reopen => {
                self.world.reopen();
                self.model.reopen();
            }
        }
    }

    fn change(&mut self, a: usize, ahead: i64, kind: usize) {
        let account = account_of(a);
        // An import may lower the version.
        let ahead = if kind == 9 { ahead - 2 } else { ahead };
        let raw = self.model.version(&account).get().saturating_add_signed(ahead);
        let kind = match kind {
            0 => ChangeKind::Updated(profile()),
            1 => ChangeKind::Updated(selecting(&["a@muster.example", "b@muster.example"])),
            2 => ChangeKind::Updated(on_schedule("weekly")),
            11 => ChangeKind::Updated(on_schedule("week")),
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
        if let ChangeKind::Imported(_) = change.kind {
            let (anna, now) = (Actor::Operator("anna".to_owned()), self.world.now);
            let expected = self.model.import(&change, now);
            let answer = self.world.store().import_account(change, anna, None, now);
            assert_eq!(answer.wait().unwrap(), expected);
            return;
        }
        let received = self.world.event();
        self.send(received, Sent::Change(Box::new(change)));
    }

    fn issue(&mut self, a: usize, n: usize, variant: usize) {
        let (account, raw) = (account_of(a), number_of(n));
        let mut invoice = sample::invoice(account.as_str(), raw.as_str());
        if variant.is_multiple_of(2) {
            invoice = sample::urgent(account.as_str(), raw.as_str());
        }
        if variant == 1 {
            invoice.issued_on = sample::day("2026-11-01");
        }
        if variant > 2 {
            let current = self.model.version(&account).get().max(1);
            invoice.min_account_version = Some(version(current + (variant as u64 - 3)));
        }
        let received = self.world.event();
        self.send(received, Sent::Issue(Box::new(invoice)));
    }

    fn again(&mut self, at: Index, how: Repetition) {
        if self.sent.is_empty() {
            return;
        }
        let last = &self.sent[self.sent.len().saturating_sub(8)..];
        let (mut received, sent) = at.get(last).clone();
        received.at = self.world.now;
        match how {
            Repetition::Same => {}
            Repetition::OtherBody => received.body = digest(b"another body"),
            Repetition::OtherSender => received.sender = sender("billing"),
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
            4 => Command::Resend { revision: 1 },
            _ => Command::Resend { revision: self.revision(a, n) },
        };
        let (account, number) = (account_of(a), number_of(n));
        let now = self.world.now;
        let before = events_of(self.world.look(account.as_str(), number.as_str()));
        let expected = self.model.operate(&account, &number, &command, now);
        let store = self.world.store();
        let answer = store.operate(&account, &number, command.into(), "anna".to_owned(), now);
        assert_eq!(answer.wait().unwrap(), expected);
        let after = events_of(self.world.look(account.as_str(), number.as_str()));
        if expected.is_some_and(|expected| expected.answer == StepAnswer::WrongState) {
            assert_eq!(after, before, "nothing happened");
        }
        if after.len() > before.len()
            && let Some(
                AuditEvent::Released { suppressions_cleared, .. }
                | AuditEvent::Resent { suppressions_cleared, .. },
            ) = after.last()
        {
            assert_eq!(*suppressions_cleared, self.model.cleared as u64);
        }
    }

    /// The one that an invoice has; the first if it is not there.
    fn revision(&self, a: usize, n: usize) -> u32 {
        match self.model.known.get(&(account_of(a), number_of(n))) {
            Some(Known::Here(delivery)) => self.model.invoices[delivery].delivery.revision,
            Some(Known::Withdrawn(_) | Known::Purged(..)) | None => 1,
        }
    }

    fn release(&mut self, scope: &RunScope) {
        let now = self.world.now;
        let expected = self.model.release(scope, now);
        let released = self.world.store().release(scope.clone(), now, Actor::Daemon, None, now);
        assert_eq!(released.wait().unwrap(), expected);
    }

    /// One of the invoices that are there; mostly one that is due, if any is.
    fn pick(&self, at: Index) -> Option<DeliveryId> {
        let due = Lane::ALL.into_iter().flat_map(|lane| self.model.due(lane));
        let due = due.map(|place| place.delivery);
        let all = self.model.invoices.keys().copied();
        let choices: Vec<DeliveryId> =
            due.clone().chain(due.clone()).chain(due).chain(all).collect();
        (!choices.is_empty()).then(|| *at.get(&choices))
    }

    /// Decides on an attempt, if there is anyone to send to.
    fn decide(&mut self, delivery: DeliveryId, begins: bool) {
        let store = self.world.store();
        let Some(job) = store.job(delivery).unwrap() else {
            return;
        };
        let recipient = resolve(&job.account, &job.suppressions, self.model.rules.on_rejected);
        if recipient.addressee().is_some() {
            let begin = self.world.intention(delivery);
            self.decided.push((delivery, begin.clone()));
            if begins {
                self.begin(delivery, begin);
            }
        }
    }

    /// One of those that were decided on last.
    fn pick_decided(&self, at: Index) -> Option<(DeliveryId, Begin)> {
        let last = &self.decided[self.decided.len().saturating_sub(3)..];
        (!last.is_empty()).then(|| at.get(last).clone())
    }

    fn begin(&mut self, delivery: DeliveryId, begin: Begin) {
        let expected = self.model.begin(delivery, &begin);
        let answer = self.world.store().begin(delivery, begin).wait().unwrap();
        assert_eq!(answer == IntentOutcome::Durable, expected);
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

    fn withhold(&mut self, at: Index, late: bool) {
        let store = self.world.store();
        let (delivery, seen) = if late {
            let Some((delivery, begin)) = self.pick_decided(at) else { return };
            (delivery, Some(begin.seen))
        } else {
            let Some(delivery) = self.pick(at) else { return };
            let seen = store.job(delivery).unwrap().map(|job| job.seen);
            assert_eq!(seen, self.model.seen(delivery));
            (delivery, seen)
        };
        if let Some(seen) = seen {
            let now = self.world.now;
            let expected = self.model.withhold(delivery, seen, now);
            let withheld = store.withhold(delivery, seen, now);
            assert_eq!(withheld.wait().unwrap(), expected);
        }
    }

    fn settle(&mut self, delivery: DeliveryId, intent: Intent, verdict: Option<Verdict>) {
        let at = self.world.now;
        let settle = if let Some(verdict) = verdict {
            let attempt = attempt(intent, verdict);
            self.model.settle(delivery, &attempt, verdict, at);
            Settle::Ended { attempt: Box::new(attempt), verdict, at, jitter: 0.0 }
        } else {
            self.model.drop_attempt(delivery, at);
            Settle::Dropped { at }
        };
        let settled = self.world.store().settle(delivery, settle).wait().unwrap();
        assert_eq!(settled.delivery, self.model.invoices[&delivery].delivery);
        assert_eq!(Some(settled.seen), self.model.seen(delivery));
    }

    /// Each delivery. What is freed by units that follow an answer moves a moment later.
    fn compare_deliveries(&self) {
        let store = self.world.store();
        let patience = Instant::now() + Duration::from_secs(10);
        for (id, held) in &self.model.invoices {
            let expected = self.model.seen(*id).map(|seen| (held.delivery.clone(), seen));
            loop {
                let job = store.job(*id).unwrap().map(|job| (job.delivery, job.seen));
                if job == expected || Instant::now() > patience {
                    assert_eq!(job, expected);
                    break;
                }
            }
        }
    }

    /// What the dispatcher lives on.
    fn compare_indexes(&self) {
        let store = self.world.store();
        for lane in Lane::ALL {
            let all = self.model.due(lane);
            let ever = self.world.now + Duration::from_secs(365 * 86_400);
            for now in [self.world.now, ever] {
                let due: Vec<_> = all.iter().copied().filter(|place| place.at <= now).collect();
                assert_eq!(store.due(lane, now, None, 100).unwrap(), due);
                for after in &all {
                    let rest: Vec<_> = due.iter().copied().filter(|place| place > after).collect();
                    let page = store.due(lane, now, Some(*after), 2).unwrap();
                    assert_eq!(page, rest[..rest.len().min(2)]);
                }
            }
        }
        let in_use = self.model.schedules_in_use();
        assert_eq!(store.schedules_in_use().unwrap(), in_use);
        let mut runs = store.runs().unwrap();
        runs.sort_by(|one, other| one.scope.cmp(&other.scope));
        let expected: Vec<_> = self.model.runs.values().cloned().collect();
        assert_eq!(runs, expected);
        for scope in scopes() {
            let (mut waiting, mut after) = (Vec::new(), None);
            while let Some(next) = store.waiting(&scope, after.as_ref(), 1).unwrap().pop() {
                after = Some(next.0.clone());
                waiting.push(next);
            }
            // Of one account it is said as well that nothing waits.
            waiting.retain(|(_, deliveries)| !deliveries.is_empty());
            assert_eq!(waiting, self.model.waiting_under(&scope));
        }
    }

    /// What people see.
    fn compare_views(&self) {
        let store = self.world.store();
        let (mut accounts, mut after) = (Vec::new(), None);
        loop {
            let page = store.accounts(after.as_ref(), 1).unwrap();
            assert_eq!((page.total, page.damaged), (self.model.accounts.len() as u64, 0));
            accounts.extend(page.items);
            after = page.next;
            let more = accounts.len() < self.model.accounts.len();
            assert_eq!(after.is_some(), more);
            if after.is_none() {
                break;
            }
        }
        let expected = self.model.accounts.values();
        assert!(accounts.iter().map(|view| &view.account).eq(expected), "{accounts:?}");
        for view in accounts {
            let marks = self.model.suppressions.get(view.account.id());
            assert_eq!(view.recipient, self.model.recipient(&view.account));
            assert_eq!(view.suppressions, marks.cloned().unwrap_or_default());
            let one = store.account(view.account.id()).unwrap().unwrap();
            let version = store.account_version(view.account.id()).unwrap();
            assert_eq!(version, view.account.version());
            assert_eq!((one.account, one.recipient), (view.account, view.recipient));
        }
        for a in 0..2 {
            for n in 0..NUMBERS {
                let key = (account_of(a), number_of(n));
                let view = store.invoice(&key.0, &key.1).unwrap();
                self.compare_invoice(self.model.known.get(&key), view);
            }
        }
        let all = Filter::default;
        let days = ["2026-11-01", "2026-11-22", "2026-11-24"].map(sample::day);
        let mut filters = vec![
            all(),
            Filter { account: Some(id("K-1")), ..all() },
            Filter { account: Some(id("K-3")), ..all() },
            Filter { number: Some(number("R-1")), ..all() },
            Filter { account: Some(id("K-10")), number: Some(number("R-1")), ..all() },
            Filter { changed_since: Some(self.world.now), ..all() },
            Filter { issued_from: Some(days[0]), issued_to: Some(days[1]), ..all() },
            Filter { issued_from: Some(days[1]), issued_to: Some(days[2]), ..all() },
        ];
        filters.extend(Shown::ALL.map(|state| Filter { state: Some(state), ..all() }));
        for filter in filters {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = store.invoices(&filter, after, 2).unwrap();
                assert_eq!(page.damaged, 0);
                listed.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let shown = listed.into_iter().map(|item| {
                (item.sequence, item.invoice, item.state, item.next_at, item.hold, item.changed_at)
            });
            assert_eq!(shown.collect::<Vec<_>>(), self.model.listed(&filter), "{filter:?}");
        }
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
            (Some(Known::Withdrawn(since)), Some(InvoiceView::Tombstone { state, at })) => {
                assert_eq!((state, at), (Shown::Withdrawn, *since));
            }
            (Some(Known::Purged(_, purged, since)), Some(InvoiceView::Tombstone { state, at })) => {
                assert_eq!((state, at), (*purged, *since));
            }
            (known, view) => panic!("{known:?} is shown as {view:?}"),
        }
    }
}

/// What the history of an invoice tells; nothing if it is not there.
fn events_of(view: Option<InvoiceView>) -> Vec<AuditEvent> {
    let Some(InvoiceView::Whole(whole)) = view else { return Vec::new() };
    whole.story.into_iter().map(|entry| entry.event).collect()
}
