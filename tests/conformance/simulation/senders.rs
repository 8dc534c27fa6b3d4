//! The portal and the billing system: what they send, late, twice, out of order or wrong.

use std::collections::BTreeMap;

use invoice_router::domain::account::{Account, Profile, SubUser};
use invoice_router::domain::change::{
    AccountChange, Applied, ChangeKind, ContactChange, ContactDifferences, CopySource, apply,
};
use invoice_router::domain::id::{Digest, SubUserId};
use invoice_router::domain::invoice::{Invoice, Release};

use crate::events::{Event, What};
use crate::sample::{self, id, number as number_of, sub_user_id};
use crate::wire;
use crate::world::World;

impl World {
    pub(crate) async fn portal_acts(&mut self) {
        let account = format!("K{}", self.rng.u32(1..5));
        if self.rng.u8(..) < 40 && !self.sent.is_empty() {
            // Again, or another body under an old id.
            let mut event = self.sent[self.rng.usize(..self.sent.len())].clone();
            match self.rng.u8(..) {
                0..60 => event.body += 1_000_000,
                60..100 => {
                    self.ids += 1;
                    event.id = format!("again-{}", self.ids);
                }
                _ => {}
            }
            return self.repeat(event).await;
        }
        let known = self.portal.get(&account).cloned();
        let version = known.as_ref().map_or(0, |known| known.version().get());
        let kind = self.some_kind(&account, known.as_ref());
        let version = match self.rng.u8(..) {
            // A gap, the current version once more, or one of the past.
            0..10 => version + self.rng.u64(2..4),
            10..20 => version.max(1),
            20..25 => version.saturating_sub(1).max(1),
            _ => version + 1,
        };
        let change = self.change(&account, version, kind);
        let applied = apply(known.as_ref(), &change, &sample::rules().groups, change.timestamp);
        let event = self.event(What::Change(Box::new(change)));
        let Ok(Applied::Changed { account: after, .. }) = applied else {
            return self.deliver(event);
        };
        self.portal.insert(account, *after);
        // Some are late, and then come out of order.
        if self.rng.u8(..) < 40 {
            self.model().outbox.push(event);
        } else {
            self.deliver(event);
        }
    }

    pub(crate) fn change(&self, account: &str, version: u64, kind: ChangeKind) -> AccountChange {
        let version = sample::version(version);
        AccountChange { account: id(account), version, timestamp: self.clock.now(), kind }
    }

    fn some_kind(&mut self, account: &str, known: Option<&Account>) -> ChangeKind {
        let raw = format!("u{}", self.rng.u32(1..4));
        let id = sub_user_id(&raw);
        if known.is_none() || self.rng.u8(..) < 90 {
            return ChangeKind::Updated(self.some_profile(account));
        }
        match self.rng.u32(..10) {
            0 => ChangeKind::Closed,
            1..4 => {
                let SubUser { group, contact, login } = self.some_sub_user(account, &raw);
                let contact = ContactChange::Whole(contact);
                ChangeKind::SubUserSaved { id, group, contact, login }
            }
            4 => ChangeKind::SubUserSaved {
                id,
                group: wire::group(self.rng.bool()),
                contact: ContactChange::Copy {
                    source: CopySource::MainContact,
                    differences: ContactDifferences::default(),
                },
                login: None,
            },
            5 | 6 => ChangeKind::SubUserRemoved(id),
            7 => ChangeKind::BillingContactSelected(None),
            _ => ChangeKind::BillingContactSelected(Some(id)),
        }
    }

    pub(crate) fn some_profile(&mut self, account: &str) -> Profile {
        let mut sub_users = BTreeMap::new();
        for id in ["u1", "u2", "u3"] {
            if self.rng.bool() {
                sub_users.insert(sub_user_id(id), self.some_sub_user(account, id));
            }
        }
        let groups = sample::rules().groups;
        let candidates = sub_users.iter().filter(|(_, sub_user)| groups.contains(&sub_user.group));
        let candidates: Vec<SubUserId> = candidates.map(|(id, _)| id.clone()).collect();
        let billing_contact = match self.rng.u8(..) {
            0..80 => None,
            // Perhaps not there, or in another group.
            80..90 => Some(sub_user_id("u3")),
            _ => self.rng.choice(candidates),
        };
        let schedule = match self.rng.u8(..) {
            0..40 => Some("hourly"),
            40..60 => Some("night"),
            // As "default".
            60..70 => Some("unheard-of"),
            _ => None,
        };
        Profile {
            name: None,
            language: None,
            main_contact: wire::contact(&self.some_addresses(account, "main", 0)),
            sub_users,
            billing_contact,
            schedule: schedule.map(sample::schedule),
        }
    }

    fn some_sub_user(&mut self, account: &str, id: &str) -> SubUser {
        let group = wire::group(self.rng.u8(..) < 200);
        let least = usize::from(self.rng.u8(..) < 250);
        let contact = wire::contact(&self.some_addresses(account, id, least));
        SubUser { group, contact, login: None }
    }

    fn some_addresses(&mut self, account: &str, whose: &str, least: usize) -> Vec<String> {
        let count = match self.rng.u8(..) {
            0..20 => least,
            20..200 => 1,
            _ => 2,
        };
        let first = self.rng.usize(..2);
        (0..count)
            .map(|number| {
                let number = (first + number) % 3;
                format!("{whose}-{number}@{}.example", account.to_lowercase())
            })
            .collect()
    }

    pub(crate) fn event(&mut self, what: What) -> Event {
        self.ids += 1;
        Event {
            id: format!("msg-{}", self.ids),
            body: self.ids,
            received_at: self.clock.now(),
            what,
        }
    }

    /// Hands an event over.
    pub(crate) fn deliver(&mut self, mut event: Event) {
        event.received_at = self.clock.now();
        if self.sent.len() < 200 {
            self.sent.push(event.clone());
        }
        let store = self.store();
        let received = wire::received(&event);
        let relay = self.relay.clone();
        match event.what.clone() {
            What::Change(change) => {
                let commit = store.change_account(received, (*change).clone());
                self.disk.tell(commit, move |model, answer, lost| {
                    if let Some(answer) = model.judged(&event, answer, lost) {
                        model.changed(&event, &change, &answer, &relay.streams());
                    }
                });
            }
            What::Issue(invoice) => {
                let commit = store.issue(received, (*invoice).clone());
                self.disk.tell(commit, move |model, answer, lost| {
                    if let Some(answer) = model.judged(&event, answer, lost) {
                        model.issued(&event, &invoice, &answer);
                    }
                });
            }
            What::Withdraw(account, number) => {
                let commit = store.withdraw(received, account.clone(), number.clone());
                self.disk.tell(commit, move |model, answer, lost| {
                    if let Some(answer) = model.judged(&event, answer, lost) {
                        model.withdrew(&event, (account.as_str(), number.as_str()), &answer);
                    }
                });
            }
        }
        self.wake_up.notify_one();
    }

    /// Sends again what was not answered, in any order.
    pub(crate) async fn retries(&mut self) {
        let mut outbox = std::mem::take(&mut self.model().outbox);
        self.rng.shuffle(&mut outbox);
        for event in outbox {
            self.repeat(event).await;
        }
    }

    /// Hands an event over again: an invoice with its document, which may have been removed meanwhile since no invoice
    /// had it.
    async fn repeat(&mut self, event: Event) {
        if let What::Issue(invoice) = &event.what {
            self.upload(invoice).await;
        }
        self.deliver(event);
    }

    // The billing system.

    pub(crate) async fn billing_acts(&mut self) {
        let again = self.rng.u8(..) < 40;
        let invoice = if again && self.numbers > 0 {
            let number = format!("RE-{}", self.rng.u64(1..=self.numbers));
            let known = self.model().invoices.get(&number).map(|known| known.issued.clone());
            let Some(mut invoice) = known else { return };
            if self.rng.u8(..) < 60 {
                invoice.due_on = Some(sample::day("2026-12-07"));
            }
            invoice
        } else {
            self.numbers += 1;
            let account = account_of(self.numbers);
            let version = self.portal.get(&account).map_or(0, |known| known.version().get());
            let mut invoice = wire::invoice(&account, &format!("RE-{}", self.numbers));
            if self.rng.bool() {
                invoice.release = Release::Immediately;
            }
            let least = version + self.rng.u64(..3);
            if self.rng.u8(..) < 60 && least > 0 {
                invoice.min_account_version = Some(sample::version(least));
            }
            invoice
        };
        self.upload(&invoice).await;
        let event = self.event(What::Issue(Box::new(invoice)));
        self.deliver(event);
    }

    async fn upload(&mut self, invoice: &Invoice) {
        let document = wire::document(invoice.number.as_str());
        let digest = Digest::of(&document);
        let put = self.store().put_document(digest, &document, self.clock.now());
        if let Err(failure) = put.await {
            self.model().wrong(format!("a document cannot be stored: {failure}"));
        }
    }

    pub(crate) fn withdraws(&mut self) {
        // Or one that is not known yet.
        let number = self.rng.u64(1..=self.numbers + 1);
        let account = account_of(number);
        let number = number_of(&format!("RE-{number}"));
        let event = self.event(What::Withdraw(id(&account), number));
        self.deliver(event);
    }
}

/// Whose an invoice is.
fn account_of(number: u64) -> String {
    format!("K{}", 1 + number * 7 % 5)
}
