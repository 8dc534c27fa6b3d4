//! The rules of the store once more, over plain maps and the domain's own functions: no keys, no
//! indexes, no batches. What is due, waiting or in use is found by looking at every invoice.

mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use invoice_router::domain::account::Account;
use invoice_router::domain::audit::Actor;
use invoice_router::domain::change::{AccountChange, Applied, apply};
use invoice_router::domain::contact::Addresses;
use invoice_router::domain::delivery::{
    Attempt, Delivery, DeliveryId, Event, HoldReason, Intent, Shown, State, StepAnswer, Verdict,
    step,
};
use invoice_router::domain::id::{AccountId, InvoiceNumber, SenderName, Sequence, WebhookId};
use invoice_router::domain::invoice::Invoice;
use invoice_router::domain::recipient::{
    OnRejected, Recipient, Suppression, Suppressions, resolve,
};
use invoice_router::store::{
    Begin, ChangeAnswer, ChangeResult, Command, Deduplicated, ExpectedVersion, InvoiceStatus,
    IssueAnswer, OperateAnswer, Received, Rules, Run, RunScope, WithdrawAnswer,
};

/// All that a store knows.
pub(super) struct Model {
    pub(super) rules: Rules,
    pub(super) accounts: BTreeMap<AccountId, Account>,
    pub(super) suppressions: BTreeMap<AccountId, Suppressions>,
    remembered: BTreeMap<(SenderName, WebhookId), [u8; 16]>,
    pub(super) known: BTreeMap<(AccountId, InvoiceNumber), Known>,
    pub(super) invoices: BTreeMap<DeliveryId, Held>,
    pub(super) runs: BTreeMap<RunScope, Run>,
    last: Sequence,
    /// How many marks the last command of an operator cleared.
    pub(super) cleared: usize,
}

/// What a number stands for.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Here(DeliveryId),
    Withdrawn(DateTime<Utc>),
    Purged(Box<Invoice>, Shown, DateTime<Utc>),
}

/// One invoice with all that hangs on it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) invoice: Invoice,
    pub(super) delivery: Delivery,
    pub(super) stamp: u64,
    pub(super) changed_at: DateTime<Utc>,
    pub(super) intent: Option<Intent>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) sent_to: Option<Recipient>,
    /// Whether its intent is of the process that has the store open.
    is_own: bool,
    /// Whether the final check of its intent is certain to come.
    look_ahead: bool,
}

impl Held {
    /// Whether its message may be on its way to another recipient than the current one.
    fn is_astray(&self, recipient: &Recipient) -> bool {
        let (Some(_), Some(sent_to)) = (&self.intent, &self.sent_to) else {
            return false;
        };
        !self.look_ahead && !sent_to.same_target(recipient)
    }

    fn put(&mut self, delivery: Delivery, at: DateTime<Utc>) {
        self.delivery = delivery;
        self.stamp += 1;
        self.changed_at = at;
    }
}

impl Model {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            accounts: BTreeMap::new(),
            suppressions: BTreeMap::new(),
            remembered: BTreeMap::new(),
            known: BTreeMap::new(),
            invoices: BTreeMap::new(),
            runs: BTreeMap::new(),
            last: Sequence(0),
            cleared: 0,
        }
    }

    pub(super) fn recipient(&self, account: &Account) -> Recipient {
        let none = Suppressions::new();
        let suppressions = self.suppressions.get(account.id()).unwrap_or(&none);
        resolve(account, suppressions, self.rules.on_rejected)
    }

    fn remembers(&self, received: &Received) -> Option<bool> {
        let digest = self.remembered.get(&(received.sender.clone(), received.id.clone()))?;
        Some(*digest == received.short_digest())
    }

    fn remember(&mut self, received: &Received) {
        let key = (received.sender.clone(), received.id.clone());
        self.remembered.insert(key, received.short_digest());
    }

    pub(super) fn change(
        &mut self,
        received: &Received,
        change: &AccountChange,
    ) -> Deduplicated<ChangeAnswer> {
        let memory = self.remembers(received);
        if memory == Some(false) {
            return Deduplicated::IdReused;
        }
        let current = self.accounts.get(&change.account).cloned();
        // It can only be above the current version if an import lowered that.
        if let (Some(true), Some(account)) = (memory, &current)
            && change.version <= account.version()
        {
            return Deduplicated::Repeated(self.accepted(ChangeResult::Duplicate, account.clone()));
        }
        let answer = self.judge(change, current, received.at);
        if matches!(answer, ChangeAnswer::Accepted { .. }) {
            self.remember(received);
        }
        Deduplicated::New(answer)
    }

    /// A change that an operator brings.
    pub(super) fn import(&mut self, change: &AccountChange, at: DateTime<Utc>) -> ChangeAnswer {
        self.judge(change, self.accounts.get(&change.account).cloned(), at)
    }

    fn judge(
        &mut self,
        change: &AccountChange,
        current: Option<Account>,
        at: DateTime<Utc>,
    ) -> ChangeAnswer {
        let applied = match apply(current.as_ref(), change, &self.rules.groups, at) {
            Ok(applied) => applied,
            Err(refused) => return ChangeAnswer::Refused(refused),
        };
        let (account, told_warnings) = match applied {
            Applied::Changed { account, warnings } => (*account, warnings),
            Applied::Duplicate => return self.accepted(ChangeResult::Duplicate, current.unwrap()),
            Applied::Stale => return self.accepted(ChangeResult::Stale, current.unwrap()),
        };
        if let Some(current) = &current {
            self.clear_marks(current, &account);
        }
        self.accounts.insert(account.id().clone(), account.clone());
        self.free(&account, at);
        let mut answer = self.accepted(ChangeResult::Applied, account);
        if let ChangeAnswer::Accepted { warnings, .. } = &mut answer {
            *warnings = told_warnings;
        }
        answer
    }

    fn accepted(&self, result: ChangeResult, account: Account) -> ChangeAnswer {
        let recipient = self.recipient(&account);
        let in_flight = self
            .invoices
            .values()
            .filter(|held| held.invoice.account == *account.id() && held.is_astray(&recipient))
            .map(|held| held.invoice.number.clone())
            .collect();
        ChangeAnswer::Accepted {
            result,
            recipient: Box::new(recipient),
            account: Box::new(account),
            warnings: Vec::new(),
            in_flight,
        }
    }

    fn free(&mut self, account: &Account, at: DateTime<Utc>) {
        let policy = self.rules.policy;
        for held in self.invoices.values_mut() {
            if held.invoice.account != *account.id() {
                continue;
            }
            let is_known = held.invoice.min_account_version <= Some(account.version());
            for event in [Event::Freed(held.invoice.release), Event::AccountChanged] {
                let freed = step(&held.delivery, &event, at, &policy, 0.0);
                // What is withheld was known before; an import may have lowered the version since.
                let is_freed = is_known || event == Event::AccountChanged;
                if is_freed && freed.answer == StepAnswer::Applied {
                    held.put(freed.delivery, at);
                    break;
                }
            }
        }
    }

    fn clear_marks(&mut self, before: &Account, after: &Account) {
        let Some(marks) = self.suppressions.get_mut(before.id()) else {
            return;
        };
        let contacts = |account: &Account| -> BTreeMap<_, _> {
            let profile = account.profile();
            let sub_users = profile.sub_users.iter();
            sub_users
                .map(|(id, sub_user)| (Some(id.clone()), sub_user.contact.addresses.clone()))
                .chain([(None, profile.main_contact.addresses.clone())])
                .collect()
        };
        let (old, new) = (contacts(before), contacts(after));
        let ids: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for id in ids {
            let (old, new) = (old.get(id), new.get(id));
            if old != new {
                let both = old.into_iter().chain(new);
                for address in both.flat_map(Addresses::as_slice) {
                    marks.remove(address);
                }
            }
        }
    }

    pub(super) fn issue(
        &mut self,
        received: &Received,
        invoice: &Invoice,
    ) -> Deduplicated<IssueAnswer> {
        let memory = self.remembers(received);
        if memory == Some(false) {
            return Deduplicated::IdReused;
        }
        let key = (invoice.account.clone(), invoice.number.clone());
        let gone = |state| InvoiceStatus { state, schedule: None, next_at: None, recipient: None };
        let answer = match self.known.get(&key).cloned() {
            Some(Known::Here(sequence)) => {
                let standing = self.standing(sequence);
                let differs = self.invoices[&sequence].invoice.differs(invoice);
                if differs.is_empty() {
                    IssueAnswer::Duplicate(standing)
                } else {
                    let state = standing.state;
                    IssueAnswer::Conflict { state, differs }
                }
            }
            Some(Known::Withdrawn(_)) => IssueAnswer::Stale(gone(Shown::Withdrawn)),
            Some(Known::Purged(purged, state, _)) if *purged == *invoice => {
                IssueAnswer::Duplicate(gone(state))
            }
            Some(Known::Purged(_, state, _)) => {
                let differs = Vec::new();
                IssueAnswer::Conflict { state, differs }
            }
            None => self.accept(invoice, key, received.at),
        };
        if memory == Some(true) {
            return Deduplicated::Repeated(answer);
        }
        match answer {
            IssueAnswer::Conflict { .. }
            | IssueAnswer::DocumentsMissing(_)
            | IssueAnswer::DocumentsTooLarge { .. } => {}
            IssueAnswer::Applied(_)
            | IssueAnswer::Parked(_)
            | IssueAnswer::Duplicate(_)
            | IssueAnswer::Stale(_) => self.remember(received),
        }
        Deduplicated::New(answer)
    }

    fn accept(
        &mut self,
        invoice: &Invoice,
        key: (AccountId, InvoiceNumber),
        at: DateTime<Utc>,
    ) -> IssueAnswer {
        self.last = Sequence(self.last.0 + 1);
        let version = self.accounts.get(&invoice.account).map(Account::version);
        let known = version.is_some() && invoice.min_account_version <= version;
        let held = Held {
            invoice: invoice.clone(),
            delivery: Delivery::new(known, invoice.release, at),
            stamp: 1,
            changed_at: at,
            intent: None,
            attempts: Vec::new(),
            sent_to: None,
            is_own: false,
            look_ahead: false,
        };
        let id = DeliveryId::of_invoice(self.last);
        self.invoices.insert(id, held);
        self.known.insert(key, Known::Here(id));
        let standing = self.standing(id);
        if known { IssueAnswer::Applied(standing) } else { IssueAnswer::Parked(standing) }
    }

    pub(super) fn withdraw(
        &mut self,
        received: &Received,
        account: &AccountId,
        number: &InvoiceNumber,
    ) -> Deduplicated<WithdrawAnswer> {
        let memory = self.remembers(received);
        if memory == Some(false) {
            return Deduplicated::IdReused;
        }
        let done = |state| {
            if state == Shown::Withdrawn {
                WithdrawAnswer::Duplicate { state }
            } else {
                WithdrawAnswer::AlreadySent { state }
            }
        };
        let key = (account.clone(), number.clone());
        let known = self.known.get(&key).cloned();
        if memory == Some(true) {
            let state = match known.unwrap() {
                Known::Here(sequence) => self.shown(sequence),
                Known::Withdrawn(_) => Shown::Withdrawn,
                Known::Purged(_, state, _) => state,
            };
            return Deduplicated::Repeated(WithdrawAnswer::Duplicate { state });
        }
        let answer = match known {
            None => {
                self.known.insert(key, Known::Withdrawn(received.at));
                WithdrawAnswer::Withdrawn
            }
            Some(Known::Withdrawn(_)) => done(Shown::Withdrawn),
            Some(Known::Purged(_, state, _)) => done(state),
            Some(Known::Here(sequence)) => {
                let moved = self.move_by(sequence, &Event::Withdraw, received.at);
                match moved.answer {
                    StepAnswer::Applied => WithdrawAnswer::Withdrawn,
                    StepAnswer::Deferred => WithdrawAnswer::Recorded,
                    StepAnswer::Unchanged => WithdrawAnswer::Duplicate { state: moved.state },
                    StepAnswer::AlreadySent
                    | StepAnswer::WrongState
                    | StepAnswer::OtherRevision { .. } => {
                        WithdrawAnswer::AlreadySent { state: moved.state }
                    }
                }
            }
        };
        if !matches!(answer, WithdrawAnswer::AlreadySent { .. }) {
            self.remember(received);
        }
        Deduplicated::New(answer)
    }

    pub(super) fn operate(
        &mut self,
        account: &AccountId,
        number: &InvoiceNumber,
        command: &Command,
        at: DateTime<Utc>,
    ) -> Option<OperateAnswer> {
        let gone = |state| {
            let answer = match (command, state) {
                (Command::Withdraw, Shown::Withdrawn) => StepAnswer::Unchanged,
                (Command::Withdraw, _) => StepAnswer::AlreadySent,
                _ => StepAnswer::WrongState,
            };
            Some(OperateAnswer { answer, state })
        };
        let sequence = match self.known.get(&(account.clone(), number.clone()))? {
            Known::Here(sequence) => *sequence,
            Known::Withdrawn(_) => return gone(Shown::Withdrawn),
            Known::Purged(_, state, _) => return gone(*state),
        };
        let event = match command {
            Command::Hold { reason } => Event::Hold(HoldReason::Operator {
                name: "anna".to_owned(),
                reason: reason.clone(),
            }),
            Command::Release { now } => Event::Release { now: *now },
            Command::Withdraw => Event::Withdraw,
            Command::Resend { revision } => Event::Resend { revision: *revision },
        };
        Some(self.move_by(sequence, &event, at))
    }

    fn move_by(
        &mut self,
        sequence: DeliveryId,
        event: &Event<'_>,
        at: DateTime<Utc>,
    ) -> OperateAnswer {
        let policy = self.rules.policy;
        self.cleared = 0;
        let held = self.invoices.get_mut(&sequence).unwrap();
        let moved = step(&held.delivery, event, at, &policy, 0.0);
        if moved.delivery != held.delivery {
            let was_nobody = matches!(held.delivery.state, State::Withheld | State::Undeliverable);
            let was_theirs = matches!(held.delivery.hold, Some(HoldReason::Operator { .. }));
            let tries_anew = matches!(event, Event::Resend { .. })
                || matches!(event, Event::Release { .. }) && (was_nobody || was_theirs);
            let account = held.invoice.account.clone();
            held.put(moved.delivery, at);
            if tries_anew && let Some(marks) = self.suppressions.get_mut(&account) {
                let account = self.accounts[&account].clone();
                let selected = account.billing_contact().map(|(_, one)| &one.contact);
                let main = &account.profile().main_contact;
                let contacts = selected.into_iter().chain([main]);
                let addresses = contacts.flat_map(|contact| contact.addresses.as_slice());
                let before = marks.len();
                addresses.for_each(|address| drop(marks.remove(address)));
                self.cleared = before - marks.len();
                if self.cleared > 0 {
                    self.free(&account, at);
                }
            }
        }
        OperateAnswer { answer: moved.answer, state: self.shown(sequence) }
    }

    /// Says how many marks there were.
    pub(super) fn forget_rejections(&mut self, since: DateTime<Utc>, at: DateTime<Utc>) -> usize {
        let mut count = 0;
        for id in self.accounts.keys().cloned().collect::<Vec<_>>() {
            let Some(marks) = self.suppressions.get_mut(&id) else { continue };
            let before = marks.len();
            marks.retain(|_, mark| mark.since < since);
            if marks.len() < before {
                count += before - marks.len();
                self.free(&self.accounts[&id].clone(), at);
            }
        }
        count
    }

    // Runs.

    /// Says whether anything waited.
    pub(super) fn release(&mut self, scope: &RunScope, instant: DateTime<Utc>) -> bool {
        if self.runs.get(scope).is_some_and(|run| run.instant >= instant) {
            return false;
        }
        let policy = self.rules.policy;
        let waiting = self.waiting_under(scope).into_iter();
        let waiting: Vec<DeliveryId> = waiting.flat_map(|(_, sequences)| sequences).collect();
        for sequence in &waiting {
            let held = self.invoices.get_mut(sequence).unwrap();
            let fired = step(&held.delivery, &Event::ScheduleFired, instant, &policy, 0.0);
            held.put(fired.delivery, instant);
        }
        let something_waits = !waiting.is_empty();
        if matches!(scope, RunScope::Schedule(_)) {
            let run = Run {
                scope: scope.clone(),
                instant,
                at: instant,
                opened_by: Actor::Daemon,
                high_water: if something_waits { self.last } else { Sequence(0) },
                cursor: None,
                open: false,
            };
            self.runs.insert(scope.clone(), run);
        }
        something_waits
    }

    // Attempts.

    pub(super) fn seen(&self, sequence: DeliveryId) -> Option<ExpectedVersion> {
        let held = self.invoices.get(&sequence)?;
        let account = self.accounts.get(&held.invoice.account)?;
        Some(ExpectedVersion {
            stamp: held.stamp,
            account_version: account.version(),
            account_changed_at: Some(account.changed_at()),
        })
    }

    /// Whether the intent is taken.
    pub(super) fn begin(&mut self, sequence: DeliveryId, begin: &Begin) -> bool {
        if self.seen(sequence) != Some(begin.seen) {
            return false;
        }
        let policy = self.rules.policy;
        let held = self.invoices.get_mut(&sequence).unwrap();
        let event = Event::resolved(&begin.recipient);
        let resolved = step(&held.delivery, &event, begin.round_at, &policy, 0.0);
        let event = Event::AttemptBegan(&begin.intent.address);
        let sending = step(&resolved.delivery, &event, begin.round_at, &policy, 0.0);
        if resolved.answer != StepAnswer::Applied || sending.answer != StepAnswer::Applied {
            return false;
        }
        held.sent_to = Some(begin.recipient.clone());
        held.intent = Some(begin.intent.clone());
        held.is_own = true;
        held.look_ahead = true;
        held.put(sending.delivery, begin.intent.started_at);
        true
    }

    pub(super) fn may_go_out(&mut self, sequence: DeliveryId) -> bool {
        let held = &self.invoices[&sequence];
        let account = &self.accounts[&held.invoice.account];
        let sent_to = held.sent_to.as_ref().unwrap();
        let may_go_out = self.recipient(account).same_target(sent_to);
        let held = self.invoices.get_mut(&sequence).unwrap();
        held.look_ahead &= !may_go_out;
        may_go_out
    }

    /// Another process knows nothing of looks.
    pub(super) fn reopen(&mut self) {
        for held in self.invoices.values_mut() {
            held.is_own = false;
            held.look_ahead = false;
        }
    }

    pub(super) fn settle(
        &mut self,
        sequence: DeliveryId,
        attempt: &Attempt,
        verdict: Verdict,
        at: DateTime<Utc>,
    ) {
        let held = self.invoices.get_mut(&sequence).unwrap();
        // Whichever attempt it is of: from then on the answer to a change may name too much.
        held.look_ahead = false;
        if held.intent.as_ref() != Some(&attempt.intent) {
            return;
        }
        let account = self.accounts[&held.invoice.account].clone();
        let address = &attempt.intent.address;
        let said = attempt.reply.as_ref().map(ToString::to_string);
        let reply = said.unwrap_or_default().replace(&format!("<{address}>:"), "<address>");
        let mut fallback = false;
        if verdict == Verdict::AddressRejected {
            let mark =
                Suppression { since: at, account_version: account.version(), reply: reply.clone() };
            let marks = self.suppressions.entry(account.id().clone()).or_default();
            marks.insert(address.clone(), mark);
            fallback = self.rules.on_rejected == OnRejected::MainContact
                || !self.recipient(&account).addresses().is_empty();
        }
        let event = Event::AttemptEnded { address, verdict, reply: &reply, fallback };
        self.end(sequence, &event, at);
        if verdict != Verdict::RelayFailed {
            let held = self.invoices.get_mut(&sequence).unwrap();
            held.attempts.push(attempt.clone());
        }
    }

    /// An attempt is broken off, if one is under way.
    pub(super) fn drop_attempt(&mut self, sequence: DeliveryId, at: DateTime<Utc>) {
        if self.invoices[&sequence].intent.is_some() {
            self.end(sequence, &Event::AttemptDropped, at);
        }
    }

    fn end(&mut self, sequence: DeliveryId, event: &Event<'_>, at: DateTime<Utc>) {
        let policy = self.rules.policy;
        let held = self.invoices.get_mut(&sequence).unwrap();
        let ended = step(&held.delivery, event, at, &policy, 0.0);
        assert_ne!(ended.answer, StepAnswer::WrongState, "an intent is there");
        held.intent = None;
        held.put(ended.delivery, at);
    }

    pub(super) fn recover(&mut self, at: DateTime<Utc>) -> Vec<(DeliveryId, Intent)> {
        let left: Vec<(DeliveryId, Intent)> = self
            .invoices
            .iter()
            .filter(|(_, held)| !held.is_own)
            .filter_map(|(sequence, held)| Some((*sequence, held.intent.clone()?)))
            .collect();
        for (sequence, intent) in &left {
            self.end(*sequence, &Event::Interrupted(&intent.address), at);
            let mut attempt = super::sample::attempt(intent.clone(), Verdict::Uncertain);
            attempt.cause = Some("the daemon ended before the outcome was known".to_owned());
            let held = self.invoices.get_mut(sequence).unwrap();
            held.attempts.push(attempt);
        }
        left
    }

    pub(super) fn withhold(
        &mut self,
        sequence: DeliveryId,
        seen: ExpectedVersion,
        at: DateTime<Utc>,
    ) -> bool {
        if self.seen(sequence) != Some(seen) {
            return false;
        }
        let account = &self.accounts[&self.invoices[&sequence].invoice.account];
        let recipient = self.recipient(account);
        let policy = self.rules.policy;
        let held = self.invoices.get_mut(&sequence).unwrap();
        let event = Event::resolved(&recipient);
        let resolved = step(&held.delivery, &event, at, &policy, 0.0);
        if resolved.answer != StepAnswer::Applied
            || resolved.delivery.open_addresses().next().is_some()
        {
            return false;
        }
        held.put(resolved.delivery, at);
        true
    }

    pub(super) fn sweep(&mut self, finished: Duration, now: DateTime<Utc>) {
        let before = now - TimeDelta::from_std(finished).unwrap();
        self.invoices.retain(|_, held| {
            let old = held.delivery.is_finished() && held.changed_at < before;
            if old {
                let key = (held.invoice.account.clone(), held.invoice.number.clone());
                let state = held.delivery.shown();
                let purged = Known::Purged(Box::new(held.invoice.clone()), state, now);
                self.known.insert(key, purged);
            }
            !old
        });
    }
}
