//! What was answered, and what must therefore be so.
//!
//! The model is moved in the same moment as the store, so that it can be asked at any time, also from within
//! the relay when the first byte of a message comes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use invoice_router::clock::Clock;
use invoice_router::domain::account::{Account, SubUser};
use invoice_router::domain::change::{AccountChange, Applied, apply};
use invoice_router::domain::delivery::{Attempt, Intent, Outcome};
use invoice_router::domain::id::{InvoiceNumber, SubUserId, Version};
use invoice_router::domain::invoice::Invoice as Issued;
use invoice_router::domain::recipient::Suppression;
use invoice_router::domain::retry::AfterUncertain;
use invoice_router::store::{
    ChangeAnswer, ChangeResult, Deduplicated, InvoiceView, IssueAnswer, Store, StoreError,
    WholeInvoice, WithdrawAnswer,
};
use tokio::time::Instant;

use crate::events::{Event, Remembered};
use crate::relay::Stream;
use crate::rules::{self, account_of, selected_addresses};
use crate::sample::{id, number as number_of, rules as house_rules};
use crate::seeds::Figures;
use crate::watch::Beginning;

/// What is configured, as far as the model goes by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) falls_back: bool,
    pub(crate) after_uncertain: AfterUncertain,
    /// So many rejections within ten minutes end all sending, whatever is under way.
    pub(crate) rejections: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ordered {
    Hold,
    Release,
    Resend,
}

#[derive(Debug, Clone)]
pub(crate) struct Invoice {
    pub(crate) issued: Issued,
    /// Since when it waits for its schedule; none if it was parked at first.
    pub(crate) waits: Option<DateTime<Utc>>,
    /// It was answered that it is withdrawn, which is final.
    pub(crate) withdrawn: bool,
    /// What operators did to it at some time.
    pub(crate) orders: BTreeSet<Ordered>,
    /// How many attempts at each address were uncertain when an operator last let it go on.
    pub(crate) uncertain_at_release: BTreeMap<String, usize>,
    /// A hold or withdrawal is to be obeyed after this attempt: nothing else may begin.
    pub(crate) last_intent: Option<Intent>,
    /// The addresses that it had before one of them accepted, and the revision.
    pub(crate) addresses: (u32, BTreeSet<String>),
}

impl Invoice {
    pub(crate) fn was(&self, ordered: Ordered) -> bool {
        self.orders.contains(&ordered)
    }

    /// Notes the current addresses, unless one has accepted.
    pub(crate) fn note_addresses(&mut self, whole: &WholeInvoice) {
        let revision = whole.delivery.revision;
        let is_accepted = whole.attempts.iter().any(|attempt| {
            attempt.intent.revision == revision && attempt.outcome == Outcome::Accepted
        });
        if !is_accepted {
            let addresses = whole.delivery.addresses.iter();
            let addresses = addresses.map(|one| one.address.as_str().to_owned());
            self.addresses = (revision, addresses.collect());
        }
    }
}

pub(crate) struct Model {
    pub(crate) clock: Clock,
    /// The one that is open.
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) limits: Limits,
    pub(crate) accounts: BTreeMap<String, Account>,
    /// Since when an account has its schedule.
    pub(crate) schedule_since: BTreeMap<String, DateTime<Utc>>,
    /// Since which version of its account a sub-user has its addresses.
    addresses_since: BTreeMap<(String, SubUserId), Version>,
    pub(crate) invoices: BTreeMap<String, Invoice>,
    /// Account and number of what was withdrawn before it came.
    withdrawn_ahead: BTreeSet<(String, String)>,
    /// Invoices of which nothing may be sent: held or withdrawn, as was answered.
    pub(crate) stopped: BTreeSet<String>,
    pub(crate) all_paused: bool,
    pub(crate) paused: BTreeSet<String>,
    remembered: Remembered,
    /// To be sent again.
    pub(crate) outbox: Vec<Event>,
    /// Addresses that the relay blamed.
    pub(crate) blamed: BTreeSet<String>,
    /// By socket.
    pub(crate) beginnings: BTreeMap<u64, Beginning>,
    /// When the relay blamed an address, since sending was started or resumed.
    pub(crate) rejections: Vec<Instant>,
    /// Whether the clock ever jumped.
    pub(crate) jumped: bool,
    /// Whether an operator ever dispatched.
    pub(crate) dispatched: bool,
    pub(crate) log: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) figures: Figures,
}

impl Model {
    pub(crate) fn new(clock: Clock, limits: Limits) -> Self {
        Self {
            clock,
            store: None,
            limits,
            accounts: BTreeMap::new(),
            schedule_since: BTreeMap::new(),
            addresses_since: BTreeMap::new(),
            invoices: BTreeMap::new(),
            withdrawn_ahead: BTreeSet::new(),
            stopped: BTreeSet::new(),
            all_paused: false,
            paused: BTreeSet::new(),
            remembered: Remembered::default(),
            outbox: Vec::new(),
            blamed: BTreeSet::new(),
            beginnings: BTreeMap::new(),
            rejections: Vec::new(),
            jumped: false,
            dispatched: false,
            log: Vec::new(),
            violations: Vec::new(),
            figures: Figures::default(),
        }
    }

    pub(crate) fn note(&mut self, what: impl Display) {
        let at = self.clock.now().format("%Y-%m-%d %H:%M:%S%.3f");
        self.log.push(format!("{at} {what}"));
    }

    pub(crate) fn wrong(&mut self, what: impl Display) {
        self.note(format!("WRONG: {what}"));
        self.violations.push(what.to_string());
    }

    pub(crate) fn check(&mut self, holds: bool, what: impl Display) {
        if !holds {
            self.wrong(what);
        }
    }

    /// What is too old may be forgotten from now on.
    pub(crate) fn swept(&mut self) {
        self.remembered.swept(self.clock.now());
    }

    /// The answer to an event, unless it was answered with success before. `lost`: its sender does not hear it.
    pub(crate) fn judged<T: Debug>(
        &mut self,
        event: &Event,
        answer: Result<Deduplicated<T>, StoreError>,
        lost: bool,
    ) -> Option<T> {
        self.figures.count("events");
        if lost || answer.is_err() {
            self.outbox.push(event.clone());
        }
        let id = &event.id;
        match answer {
            Err(failure) => {
                self.note(format!("{id}: {failure}"));
                None
            }
            Ok(Deduplicated::New(answer)) => {
                let may_be_new = !self.remembered.must_know(event);
                self.check(may_be_new, format!("{id} is judged anew: {answer:?}"));
                Some(answer)
            }
            Ok(Deduplicated::Repeated(_)) => {
                self.note(format!("{id}: repeated"));
                let is_known = self.remembered.knows(event);
                self.check(is_known, format!("{id} is called a repetition"));
                None
            }
            Ok(Deduplicated::IdReused) => {
                self.note(format!("{id}: re-used"));
                let is_known = self.remembered.knows_another(event);
                self.check(is_known, format!("{id} is called a re-used id"));
                None
            }
        }
    }

    /// What became of a change of an account. `streams` are the messages under way.
    pub(crate) fn changed(
        &mut self,
        event: &Event,
        change: &AccountChange,
        answer: &ChangeAnswer,
        streams: &[Stream],
    ) {
        let id = change.account.as_str();
        let before = self.accounts.get(id);
        let expected = apply(before, change, &house_rules().groups, event.received_at);
        let found = match answer {
            ChangeAnswer::Accepted { result: ChangeResult::Applied, .. } => "applied",
            ChangeAnswer::Accepted { result: ChangeResult::Duplicate, .. } => "duplicate",
            ChangeAnswer::Accepted { result: ChangeResult::Stale, .. } => "stale",
            ChangeAnswer::Refused(_) => "refused",
        };
        let in_force = before.map(Account::version);
        let event_id = &event.id;
        self.note(format!("{event_id} {change:?} over {in_force:?}: {found}"));
        let is_right = match (&expected, answer) {
            (Ok(Applied::Changed { .. }), _) => found == "applied",
            (Ok(Applied::Duplicate), _) => found == "duplicate",
            (Ok(Applied::Stale), _) => found == "stale",
            (Err(expected), ChangeAnswer::Refused(refused)) => refused == expected,
            (Err(_), ChangeAnswer::Accepted { .. }) => false,
        };
        self.check(is_right, format!("{event_id} is {found} in place of {expected:?}"));
        if let Ok(Applied::Changed { account: after, .. }) = expected {
            let before = self.accounts.insert(id.to_owned(), (*after).clone());
            if before.as_ref().map(Account::schedule) != Some(after.schedule()) {
                self.schedule_since.insert(id.to_owned(), self.clock.now());
            }
            for (sub_user, SubUser { contact, .. }) in &after.profile().sub_users {
                let known = before.as_ref().and_then(|it| it.profile().sub_users.get(sub_user));
                if known.map(|known| &known.contact.addresses) != Some(&contact.addresses) {
                    let place = (id.to_owned(), sub_user.clone());
                    self.addresses_since.insert(place, after.version());
                }
            }
        }
        let ChangeAnswer::Accepted { in_flight, account, .. } = answer else {
            return;
        };
        self.remembered.add(event);
        let known = self.accounts.get(id);
        let is_known = known == Some(&**account);
        self.check(is_known, format!("{event_id} is answered with {account:?}"));
        if found == "applied" {
            self.figures.add("named in flight", in_flight.len() as u64);
            self.names_in_flight(id, in_flight, streams);
        }
    }

    /// A change names what is on its way to a previous recipient.
    fn names_in_flight(&mut self, id: &str, in_flight: &[InvoiceNumber], streams: &[Stream]) {
        let in_flight: BTreeSet<&str> = in_flight.iter().map(InvoiceNumber::as_str).collect();
        let mut missing = Vec::new();
        let Some(known) = self.accounts.get(id) else {
            return;
        };
        for Stream { to, number } in streams {
            let Some(number) = number else { continue };
            let belongs = account_of(to) != id
                || rules::allows(known, to, self.limits.falls_back, &self.blamed);
            if !belongs && !in_flight.contains(number.as_str()) {
                missing.push(format!("{number} on its way to {to} is not named in flight"));
            }
        }
        for what in missing {
            self.wrong(what);
        }
    }

    /// What became of an invoice that was handed over.
    pub(crate) fn issued(&mut self, event: &Event, issued: &Issued, answer: &IssueAnswer) {
        let number = issued.number.as_str();
        let (found, is_success) = match answer {
            IssueAnswer::Applied(_) => ("applied", true),
            IssueAnswer::Parked(_) => ("parked", true),
            IssueAnswer::Duplicate(_) => ("duplicate", true),
            IssueAnswer::Stale(_) => ("stale", true),
            IssueAnswer::Conflict { .. } => ("conflict", false),
            IssueAnswer::DocumentsMissing(_) => ("documents missing", false),
            IssueAnswer::DocumentsTooLarge { .. } => ("documents too large", false),
        };
        let account = self.accounts.get(issued.account.as_str());
        let is_ready = account.is_some_and(|account| {
            issued.min_account_version.is_none_or(|least| account.version() >= least)
        });
        let place = (issued.account.to_string(), number.to_owned());
        let expected = match self.invoices.get(number) {
            Some(known) if known.issued == *issued => "duplicate",
            Some(_) => "conflict",
            None if self.withdrawn_ahead.contains(&place) => "stale",
            None if is_ready => "applied",
            None => "parked",
        };
        self.note(format!("{} {issued:?}: {found}", event.id));
        self.check(
            found == expected,
            format!("{} of {number} is {found} in place of {expected}", event.id),
        );
        if matches!(found, "applied" | "parked") {
            let invoice = Invoice {
                issued: issued.clone(),
                waits: (found == "applied").then(|| self.clock.now()),
                withdrawn: false,
                orders: BTreeSet::new(),
                uncertain_at_release: BTreeMap::new(),
                last_intent: None,
                addresses: (1, BTreeSet::new()),
            };
            self.invoices.insert(number.to_owned(), invoice);
        }
        if is_success {
            self.remembered.add(event);
        }
    }

    /// What became of a withdrawal.
    pub(crate) fn withdrew(
        &mut self,
        event: &Event,
        (account, number): (&str, &str),
        answer: &WithdrawAnswer,
    ) {
        self.note(format!("{} withdraws {number}: {answer:?}", event.id));
        match answer {
            WithdrawAnswer::Withdrawn => {
                if !self.withdrawn(number) {
                    let place = (account.to_owned(), number.to_owned());
                    self.withdrawn_ahead.insert(place);
                }
            }
            WithdrawAnswer::Recorded => self.stops_after_this(number),
            WithdrawAnswer::Duplicate { .. } => {}
            WithdrawAnswer::AlreadySent { .. } => {
                self.stops_after_this(number);
                return;
            }
        }
        self.remembered.add(event);
    }

    /// An operator holds it, or has it held after the attempt under way.
    pub(crate) fn held(&mut self, number: &str) {
        if let Some(invoice) = self.invoices.get_mut(number) {
            invoice.orders.insert(Ordered::Hold);
        }
    }

    /// After the attempt under way nothing more is sent of it; nothing at all if there is none.
    pub(crate) fn stops_after_this(&mut self, number: &str) {
        match self.whole(number).and_then(|whole| whole.intent) {
            None => {
                self.stopped.insert(number.to_owned());
            }
            Some(intent) => {
                if let Some(invoice) = self.invoices.get_mut(number) {
                    invoice.last_intent = Some(intent);
                }
            }
        }
    }

    /// An operator lets it go on.
    pub(crate) fn released(&mut self, number: &str) {
        let whole = self.whole(number);
        let Some(invoice) = self.invoices.get_mut(number) else {
            return;
        };
        invoice.orders.insert(Ordered::Release);
        invoice.last_intent = None;
        if let Some(whole) = whole {
            invoice.uncertain_at_release = uncertain(&whole);
        }
    }

    /// An operator has it sent again.
    pub(crate) fn resent(&mut self, number: &str) {
        self.released(number);
        if let Some(invoice) = self.invoices.get_mut(number) {
            invoice.orders.insert(Ordered::Resend);
        }
    }

    /// What is wrong with the marks of the selected contact's addresses when a message to `to` begins: one is from
    /// before the contact's addresses changed, or one is missing though there is a fallback.
    pub(crate) fn wrong_mark(&self, account: &str, to: &str) -> Option<&'static str> {
        let known = self.accounts.get(account)?;
        let sub_user = known.profile().billing_contact.clone()?;
        let addresses = selected_addresses(known.profile()).unwrap_or_default();
        let since = self.addresses_since.get(&(account.to_owned(), sub_user)).copied();
        let since = since.unwrap_or(Version::UNKNOWN);
        let view = self.store.as_ref()?.account(&id(account)).ok()??;
        let is_old = |mark: &Suppression| mark.account_version < since;
        if addresses.iter().filter_map(|one| view.suppressions.get(one)).any(is_old) {
            return Some("a mark is from before the contact's addresses changed");
        }
        let stands_in = !addresses.iter().any(|address| address.as_str() == to);
        let is_missing =
            stands_in && addresses.iter().any(|one| !view.suppressions.contains_key(one));
        is_missing.then_some("somebody stands in for an address that is not marked")
    }

    /// An invoice as it is stored.
    pub(crate) fn whole(&self, number: &str) -> Option<WholeInvoice> {
        let account = &self.invoices.get(number)?.issued.account;
        match self.store.as_ref()?.invoice(account, &number_of(number)) {
            Ok(Some(InvoiceView::Whole(whole))) => Some(*whole),
            Ok(Some(InvoiceView::Tombstone { .. }) | None) | Err(_) => None,
        }
    }

    /// An invoice is withdrawn for good. Says whether it is known.
    pub(crate) fn withdrawn(&mut self, number: &str) -> bool {
        let Some(invoice) = self.invoices.get_mut(number) else {
            return false;
        };
        invoice.withdrawn = true;
        self.stopped.insert(number.to_owned());
        true
    }
}

/// How many attempts at each address of the current revision were uncertain.
pub(crate) fn uncertain(whole: &WholeInvoice) -> BTreeMap<String, usize> {
    let mut uncertain = BTreeMap::new();
    for Attempt { intent, outcome, .. } in &whole.attempts {
        if *outcome == Outcome::Uncertain && intent.revision == whole.delivery.revision {
            *uncertain.entry(intent.address.as_str().to_owned()).or_default() += 1;
        }
    }
    uncertain
}
