//! What the model shows, found by looking at every invoice.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use invoice_router::domain::account::Account;
use invoice_router::domain::delivery::{DeliveryId, HoldReason, Lane, Shown, State};
use invoice_router::domain::id::{AccountId, ScheduleName, Sequence, Version};
use invoice_router::domain::invoice::Invoice;
use invoice_router::store::{DuePlace, Filter, InvoiceStatus, RunScope};

use super::{Held, Model};

/// An invoice in the list, as the fields of `Listed` are ordered.
pub(in crate::store_contract) type Line =
    (Sequence, Invoice, Shown, Option<DateTime<Utc>>, Option<HoldReason>, DateTime<Utc>);

impl Model {
    pub(in crate::store_contract) fn shown(&self, sequence: DeliveryId) -> Shown {
        self.invoices[&sequence].delivery.shown()
    }

    pub(in crate::store_contract) fn standing(&self, sequence: DeliveryId) -> InvoiceStatus {
        let held = &self.invoices[&sequence];
        let account = self.accounts.get(&held.invoice.account);
        let has_it = held.delivery.is_finished() || held.delivery.is_accepted_by_one();
        let sent_to = held.sent_to.clone().filter(|_| has_it);
        InvoiceStatus {
            state: self.shown(sequence),
            schedule: account
                .filter(|_| held.delivery.state == State::Waiting)
                .map(Account::schedule),
            next_at: held.delivery.next_attempt_at(),
            recipient: sent_to.or_else(|| account.map(|account| self.recipient(account))),
        }
    }

    /// Everything of a lane that is due at some time, in order.
    pub(in crate::store_contract) fn due(&self, lane: Lane) -> Vec<DuePlace> {
        let mut places: Vec<DuePlace> = self
            .invoices
            .iter()
            .filter(|(_, held)| held.delivery.may_send() && held.delivery.lane == lane)
            .map(|(sequence, held)| DuePlace {
                at: held.delivery.next_at.unwrap(),
                delivery: *sequence,
            })
            .collect();
        places.sort();
        places
    }

    /// What waits for a schedule and is not held, by account.
    pub(in crate::store_contract) fn waiting(&self) -> BTreeMap<AccountId, Vec<DeliveryId>> {
        let mut waiting: BTreeMap<AccountId, Vec<DeliveryId>> = BTreeMap::new();
        for (sequence, held) in &self.invoices {
            if held.delivery.shown() == Shown::Waiting {
                let account = held.invoice.account.clone();
                waiting.entry(account).or_default().push(*sequence);
            }
        }
        waiting
    }

    /// The same of one scope.
    pub(in crate::store_contract) fn waiting_under(
        &self,
        scope: &RunScope,
    ) -> Vec<(AccountId, Vec<DeliveryId>)> {
        let mut waiting = self.waiting();
        waiting.retain(|account, _| match scope {
            RunScope::Schedule(name) => self.accounts[account].schedule() == *name,
            RunScope::Account(id) => account == id,
        });
        waiting.into_iter().collect()
    }

    /// The list of invoices.
    pub(in crate::store_contract) fn listed(&self, filter: &Filter) -> Vec<Line> {
        let Filter { state, account, number, issued_from, issued_to, changed_since } = filter;
        let fits = |id: &DeliveryId, held: &Held| {
            state.is_none_or(|state| self.shown(*id) == state)
                && account.as_ref().is_none_or(|account| held.invoice.account == *account)
                && number.as_ref().is_none_or(|number| held.invoice.number == *number)
                && issued_from.is_none_or(|from| held.invoice.issued_on >= from)
                && issued_to.is_none_or(|to| held.invoice.issued_on <= to)
                && changed_since.is_none_or(|since| held.changed_at >= since)
        };
        let listed = self.invoices.iter().filter(|(id, held)| fits(id, held)).map(|(id, held)| {
            let delivery = &held.delivery;
            let (next_at, hold) = (delivery.next_attempt_at(), delivery.hold.clone());
            (id.invoice, held.invoice.clone(), self.shown(*id), next_at, hold, held.changed_at)
        });
        listed.collect()
    }

    pub(in crate::store_contract) fn schedules_in_use(&self) -> Vec<ScheduleName> {
        let names: BTreeSet<ScheduleName> =
            self.waiting().keys().map(|account| self.accounts[account].schedule()).collect();
        names.into_iter().collect()
    }

    pub(in crate::store_contract) fn version(&self, account: &AccountId) -> Version {
        self.accounts.get(account).map_or(Version::UNKNOWN, Account::version)
    }
}
