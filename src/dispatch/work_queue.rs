//! Which invoices this process is busy with.
//!
//! Pure, and in memory only: a crash forgets it, and what the store holds as due is found again.
//! Invariants:
//! - An invoice is claimed once, so that no two attempts at it overlap.
//! - What cannot go on for a while (its account is paused, its record is damaged) stays claimed, so
//!   that it neither starves others nor is read again and again.
//! - Urgent invoices come first, but of so many in a row one is a scheduled one, so that neither lane waits for
//!   the end of the other.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::domain::delivery::{DeliveryId, Lane};
use crate::domain::id::AccountId;

/// After so many urgent invoices in a row a scheduled one is taken, if one is ready: at least every fourth.
const URGENT_IN_A_ROW: usize = 3;

/// What is claimed, and what of it is ready to be handed to a worker.
#[derive(Debug, Default)]
pub(super) struct WorkQueue {
    claimed: HashMap<DeliveryId, Lane>,
    urgent: VecDeque<DeliveryId>,
    scheduled: VecDeque<DeliveryId>,
    /// To be ready again with the next pass.
    requeued: Vec<DeliveryId>,
    by_paused_account: BTreeMap<AccountId, Vec<DeliveryId>>,
    urgent_in_a_row: usize,
}

impl WorkQueue {
    /// Claims an invoice, unless it is claimed already.
    pub(super) fn push(&mut self, sequence: DeliveryId, lane: Lane) {
        if self.claimed.contains_key(&sequence) {
            return;
        }
        self.claimed.insert(sequence, lane);
        self.lane(lane).push_back(sequence);
    }

    /// How many of a lane are ready.
    pub(super) fn ready(&self, lane: Lane) -> usize {
        match lane {
            Lane::Urgent => self.urgent.len(),
            Lane::Scheduled => self.scheduled.len(),
        }
    }

    /// Whether none is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.scheduled.is_empty()
    }

    /// The next to be tried.
    pub(super) fn take(&mut self) -> Option<DeliveryId> {
        let is_scheduleds_turn = self.urgent.is_empty() || self.urgent_in_a_row >= URGENT_IN_A_ROW;
        if is_scheduleds_turn && let Some(scheduled) = self.scheduled.pop_front() {
            self.urgent_in_a_row = 0;
            return Some(scheduled);
        }
        self.urgent_in_a_row += 1;
        self.urgent.pop_front()
    }

    /// It was sent, or is not to be sent now.
    pub(super) fn complete(&mut self, sequence: DeliveryId) {
        self.claimed.remove(&sequence);
    }

    /// It is to be tried again with the next pass.
    pub(super) fn requeue(&mut self, sequence: DeliveryId) {
        self.requeued.push(sequence);
    }

    /// Its account is paused.
    pub(super) fn account_paused(&mut self, account: AccountId, sequence: DeliveryId) {
        self.by_paused_account.entry(account).or_default().push(sequence);
    }

    /// Accounts that were paused when last looked at.
    pub(super) fn paused_accounts(&self) -> Vec<AccountId> {
        self.by_paused_account.keys().cloned().collect()
    }

    /// An account is not paused any more.
    pub(super) fn account_resumed(&mut self, account: &AccountId) {
        for sequence in self.by_paused_account.remove(account).unwrap_or_default() {
            self.ready_again(sequence);
        }
    }

    /// A pass begins: what was to be tried again is ready.
    pub(super) fn begin_pass(&mut self) {
        for sequence in std::mem::take(&mut self.requeued) {
            self.ready_again(sequence);
        }
    }

    fn ready_again(&mut self, sequence: DeliveryId) {
        if let Some(lane) = self.claimed.get(&sequence) {
            self.lane(*lane).push_back(sequence);
        }
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<DeliveryId> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Scheduled => &mut self.scheduled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Sequence;

    fn account(raw: &str) -> AccountId {
        AccountId::parse(raw).unwrap()
    }

    fn id(sequence: u64) -> DeliveryId {
        DeliveryId::of_invoice(Sequence(sequence))
    }

    #[test]
    fn an_invoice_is_claimed_once_until_it_is_through() {
        let mut queue = WorkQueue::default();
        queue.push(id(1), Lane::Urgent);
        queue.push(id(1), Lane::Scheduled);
        assert_eq!(queue.take(), Some(id(1)));
        queue.push(id(1), Lane::Urgent);
        assert_eq!(queue.take(), None, "under way");
        queue.complete(id(1));
        queue.push(id(1), Lane::Urgent);
        assert_eq!(queue.take(), Some(id(1)));
    }

    #[test]
    fn urgent_ones_come_first_and_starve_no_scheduled_one() {
        let mut queue = WorkQueue::default();
        for sequence in 1..=3 {
            queue.push(id(sequence), Lane::Scheduled);
        }
        for sequence in 10..=17 {
            queue.push(id(sequence), Lane::Urgent);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(order, [10, 11, 12, 1, 13, 14, 15, 2, 16, 17, 3].map(id));
    }

    #[test]
    fn what_is_to_be_tried_again_waits_for_the_next_pass() {
        let mut queue = WorkQueue::default();
        queue.push(id(1), Lane::Scheduled);
        queue.take();
        queue.requeue(id(1));
        assert_eq!(queue.take(), None);
        queue.begin_pass();
        assert_eq!(queue.take(), Some(id(1)));
    }

    #[test]
    fn a_paused_accounts_invoices_come_back_when_it_is_resumed() {
        let mut queue = WorkQueue::default();
        queue.push(id(1), Lane::Urgent);
        queue.take();
        queue.account_paused(account("K-1"), id(1));
        queue.push(id(1), Lane::Urgent);
        queue.begin_pass();
        assert_eq!(queue.take(), None);
        assert_eq!(queue.paused_accounts(), [account("K-1")]);
        queue.account_resumed(&account("K-1"));
        assert_eq!(queue.take(), Some(id(1)));
        assert!(queue.paused_accounts().is_empty());
    }
}
