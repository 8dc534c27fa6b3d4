//! The portal and the billing system: what they send, late, twice, out of order or wrong.

use std::collections::BTreeMap;

use crate::events::{Event, Issue, What};
use crate::rules::{self, Account, Kind, Profile, Sub};
use crate::wire::{self, id, number_of};
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
        let version = known.as_ref().map_or(0, |known| known.version);
        let kind = self.some_kind(&account, known.as_ref());
        let version = match self.rng.u8(..) {
            // A gap, the version in force once more, or one of the past.
            0..10 => version + self.rng.u64(2..4),
            10..20 => version.max(1),
            20..25 => version.saturating_sub(1).max(1),
            _ => version + 1,
        };
        let timestamp = self.clock.now();
        let (answer, after) = rules::judge(known.as_ref(), version, timestamp, &kind);
        if let Some(after) = after {
            self.portal.insert(account.clone(), after);
        }
        let event = self.event(What::Change { account, version, kind });
        // Some are late, and then come out of order.
        if answer == "applied" && self.rng.u8(..) < 40 {
            self.model().outbox.push(event);
        } else {
            self.deliver(event);
        }
    }

    fn some_kind(&mut self, account: &str, known: Option<&Account>) -> Kind {
        let id = format!("u{}", self.rng.u32(1..4));
        if known.is_none() || self.rng.u8(..) < 90 {
            return Kind::Updated(self.some_profile(account));
        }
        match self.rng.u32(..10) {
            0 => Kind::Closed,
            1..4 => Kind::Saved(id.clone(), self.some_sub(account, &id)),
            4 => Kind::Copied(id, self.rng.bool()),
            5 | 6 => Kind::Removed(id),
            7 => Kind::Selected(None),
            _ => Kind::Selected(Some(id)),
        }
    }

    pub(crate) fn some_profile(&mut self, account: &str) -> Profile {
        let mut subs = BTreeMap::new();
        for number in 1..4 {
            let id = format!("u{number}");
            if self.rng.bool() {
                let sub = self.some_sub(account, &id);
                subs.insert(id, sub);
            }
        }
        let candidates: Vec<String> =
            subs.iter().filter(|(_, sub)| sub.billing).map(|(id, _)| id.clone()).collect();
        let selected = match self.rng.u8(..) {
            0..80 => None,
            // Perhaps nobody there, or in another group.
            80..90 => Some("u3".to_owned()),
            _ => self.rng.choice(candidates),
        };
        Profile {
            main: self.some_addresses(account, "main", 0),
            subs,
            selected,
            schedule: match self.rng.u8(..) {
                0..40 => Some("hourly"),
                40..60 => Some("night"),
                // As "default".
                60..70 => Some("unheard-of"),
                _ => None,
            },
        }
    }

    fn some_sub(&mut self, account: &str, id: &str) -> Sub {
        let billing = self.rng.u8(..) < 200;
        let least = usize::from(self.rng.u8(..) < 250);
        Sub { billing, addresses: self.some_addresses(account, id, least) }
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
            timestamp: self.clock.now(),
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
        let what = event.what.clone();
        match what {
            What::Change { account, version, kind } => {
                let change = wire::change(&account, version, event.timestamp, &kind);
                let commit = store.change_account(received, change);
                self.disk.tell(commit, move |model, answer, lost| {
                    if let Some(answer) = model.judged(&event, answer, lost) {
                        let change = (account.as_str(), version, &kind);
                        model.changed(&event, change, &answer, &relay.streams());
                    }
                });
            }
            What::Issue(issue) => {
                let commit = store.issue(received, wire::invoice(&issue));
                self.disk.tell(commit, move |model, answer, lost| {
                    if let Some(answer) = model.judged(&event, answer, lost) {
                        model.issued(&event, &issue, &answer);
                    }
                });
            }
            What::Withdraw { account, number } => {
                let commit = store.withdraw(received, id(&account), number_of(&number));
                self.disk.tell(commit, move |model, answer, lost| {
                    if let Some(answer) = model.judged(&event, answer, lost) {
                        model.withdrew(&event, (&account, &number), &answer);
                    }
                });
            }
        }
        self.nudge.notify_one();
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
        if let What::Issue(issue) = &event.what {
            self.upload(issue).await;
        }
        self.deliver(event);
    }

    // The billing system.

    pub(crate) async fn billing_acts(&mut self) {
        let again = self.rng.u8(..) < 40;
        let issue = if again && self.numbers > 0 {
            let number = format!("RE-{}", self.rng.u64(1..=self.numbers));
            let known = self.model().invoices.get(&number).map(|known| known.issue.clone());
            let Some(mut issue) = known else { return };
            issue.cents += u32::from(self.rng.u8(..) < 60);
            issue
        } else {
            self.numbers += 1;
            let account = account_of(self.numbers);
            let version = self.portal.get(&account).map_or(0, |known| known.version);
            Issue {
                account,
                number: format!("RE-{}", self.numbers),
                cents: self.rng.u32(100..100_000),
                at_once: self.rng.bool(),
                min_version: (self.rng.u8(..) < 60).then(|| version + self.rng.u64(..3)),
            }
        };
        self.issue(issue).await;
    }

    async fn issue(&mut self, issue: Issue) {
        self.upload(&issue).await;
        let event = self.event(What::Issue(issue));
        self.deliver(event);
    }

    async fn upload(&mut self, issue: &Issue) {
        let document = wire::document(&issue.number);
        let digest = wire::digest(&document);
        let put = self.store().put_document(digest, &document, self.clock.now());
        if let Err(failure) = put.await {
            self.model().wrong(format!("a document cannot be stored: {failure}"));
        }
    }

    pub(crate) fn withdraws(&mut self) {
        // Or one that is not known yet.
        let number = self.rng.u64(1..=self.numbers + 1);
        let account = account_of(number);
        let number = format!("RE-{number}");
        let event = self.event(What::Withdraw { account, number });
        self.deliver(event);
    }
}

/// Whose an invoice is.
fn account_of(number: u64) -> String {
    format!("K{}", 1 + number * 7 % 5)
}
