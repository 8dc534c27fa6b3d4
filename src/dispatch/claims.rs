//! Which invoices this process is busy with, and how far each run has come.
//!
//! Pure, and in memory only: a crash forgets all claims, and what the store holds as waiting or due is
//! found again. Invariants:
//! - An invoice is claimed once, whatever sources name it, so that no two attempts at it overlap.
//! - What cannot go on for a while (its account is paused, its record is damaged) stays claimed, so
//!   that it neither starves others nor is read again and again.
//! - A run is through only once each invoice that it named was sent, or found not to be sent now; its
//!   cursor never passes an account with one that was not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::domain::delivery::DeliveryId;
use crate::domain::id::AccountId;
use crate::store::{Run, RunScope};

/// From where the feeder learnt of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// It is due: at once, or again.
    Due,
    /// A run includes it.
    Run,
}

/// What is claimed, and what of it is ready to be handed to a worker.
#[derive(Debug, Default)]
pub(super) struct Claims {
    claimed: HashMap<DeliveryId, Source>,
    due: VecDeque<DeliveryId>,
    run: VecDeque<DeliveryId>,
    /// To be offered again with the next pass.
    again: Vec<DeliveryId>,
    by_paused_account: BTreeMap<AccountId, Vec<DeliveryId>>,
    unreadable: HashSet<DeliveryId>,
    turn_of_runs: bool,
}

impl Claims {
    /// Claims an invoice, unless it is claimed already.
    pub(super) fn offer(&mut self, sequence: DeliveryId, source: Source) {
        if self.claimed.contains_key(&sequence) {
            return;
        }
        self.claimed.insert(sequence, source);
        self.make_ready(sequence, source);
    }

    /// How many of a source are ready.
    pub(super) fn ready(&self, source: Source) -> usize {
        match source {
            Source::Due => self.due.len(),
            Source::Run => self.run.len(),
        }
    }

    /// Whether none is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.run.is_empty()
    }

    /// The next to be tried, from both sources in turn, so that neither waits for the end of the other.
    pub(super) fn take(&mut self) -> Option<DeliveryId> {
        self.turn_of_runs = !self.turn_of_runs;
        let (first, second) = if self.turn_of_runs {
            (&mut self.due, &mut self.run)
        } else {
            (&mut self.run, &mut self.due)
        };
        first.pop_front().or_else(|| second.pop_front())
    }

    /// It was sent, or is not to be sent now.
    pub(super) fn through(&mut self, sequence: DeliveryId) {
        self.claimed.remove(&sequence);
    }

    /// It is to be tried again with the next pass.
    pub(super) fn again(&mut self, sequence: DeliveryId) {
        self.again.push(sequence);
    }

    /// Its account is paused.
    pub(super) fn account_paused(&mut self, account: AccountId, sequence: DeliveryId) {
        self.by_paused_account.entry(account).or_default().push(sequence);
    }

    /// It cannot be read, and is left alone.
    pub(super) fn unreadable(&mut self, sequence: DeliveryId) {
        self.unreadable.insert(sequence);
    }

    /// Whether it was found not to be readable.
    pub(super) fn is_unreadable(&self, sequence: DeliveryId) -> bool {
        self.unreadable.contains(&sequence)
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
        for sequence in std::mem::take(&mut self.again) {
            self.ready_again(sequence);
        }
    }

    fn ready_again(&mut self, sequence: DeliveryId) {
        if let Some(source) = self.claimed.get(&sequence) {
            self.make_ready(sequence, *source);
        }
    }

    fn make_ready(&mut self, sequence: DeliveryId, source: Source) {
        match source {
            Source::Due => self.due.push_back(sequence),
            Source::Run => self.run.push_back(sequence),
        }
    }
}

/// How far the open runs have come.
#[derive(Debug, Default)]
pub(super) struct Runs(BTreeMap<RunScope, Progress>);

/// How far one run has come.
#[derive(Debug)]
struct Progress {
    run: Run,
    /// The last account that was read.
    read_to: Option<AccountId>,
    /// Whether there are no more accounts to read.
    at_the_end: bool,
    /// Invoices that are not through, by account.
    pending: BTreeMap<AccountId, BTreeSet<DeliveryId>>,
    /// The last account of each page that is not wholly through.
    pages: VecDeque<AccountId>,
    /// Whether its end is being committed.
    closing: bool,
}

/// What is to be committed about a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RunStep {
    /// Everything up to this account is through.
    Advance(Run, AccountId),
    /// Everything is.
    Close(Run),
}

impl Runs {
    /// Takes the open runs as the store has them now. One that was widened, or has a latecomer, is read anew.
    pub(super) fn refresh(&mut self, open: Vec<Run>) {
        self.0.retain(|scope, _| open.iter().any(|run| run.scope == *scope));
        for run in open {
            match self.0.get_mut(&run.scope) {
                Some(known) if known.run.is_to_read_as(&run) => {}
                Some(known) => {
                    known.read_to = run.cursor.clone();
                    known.at_the_end = false;
                    known.closing = false;
                    known.pages.clear();
                    known.run = run;
                }
                None => {
                    self.0.insert(run.scope.clone(), Progress::new(run));
                }
            }
        }
    }

    /// Runs that have accounts left to read, each with the account to go on after.
    pub(super) fn unread(&self) -> Vec<(Run, Option<AccountId>)> {
        self.0
            .values()
            .filter(|progress| !progress.at_the_end)
            .map(|progress| (progress.run.clone(), progress.read_to.clone()))
            .collect()
    }

    /// Takes what was read of a run; `at_the_end` if no account is left. A page that was read before the
    /// run was to be read anew is dropped. Says whether it was taken.
    pub(super) fn read(
        &mut self,
        run: &Run,
        page: &[(AccountId, Vec<DeliveryId>)],
        at_the_end: bool,
    ) -> bool {
        let Some(progress) = self.0.get_mut(&run.scope) else {
            return false;
        };
        if !progress.run.is_to_read_as(run) {
            return false;
        }
        for (account, sequences) in page {
            if !sequences.is_empty() {
                progress.pending.entry(account.clone()).or_default().extend(sequences);
            }
        }
        if let Some((last, _)) = page.last() {
            progress.read_to = Some(last.clone());
            progress.pages.push_back(last.clone());
        }
        progress.at_the_end = at_the_end;
        true
    }

    /// An invoice was sent, or is not to be sent now.
    pub(super) fn through(&mut self, account: Option<&AccountId>, sequence: DeliveryId) {
        for progress in self.0.values_mut() {
            progress.through(account, sequence);
        }
    }

    /// What is to be committed by now; each step is told once.
    pub(super) fn steps(&mut self) -> Vec<RunStep> {
        let mut steps = Vec::new();
        for progress in self.0.values_mut() {
            if progress.closing {
                continue;
            }
            if progress.at_the_end && progress.pending.is_empty() {
                progress.closing = true;
                steps.push(RunStep::Close(progress.run.clone()));
            } else if let Some(cursor) = progress.passed_pages() {
                steps.push(RunStep::Advance(progress.run.clone(), cursor));
            }
        }
        steps
    }

    /// The end of a run was not committed; it is told again.
    pub(super) fn not_closed(&mut self, scope: &RunScope) {
        if let Some(progress) = self.0.get_mut(scope) {
            progress.closing = false;
        }
    }

    /// The end of a run was committed.
    pub(super) fn closed(&mut self, scope: &RunScope) {
        self.0.remove(scope);
    }
}

impl Progress {
    fn new(run: Run) -> Self {
        Self {
            read_to: run.cursor.clone(),
            run,
            at_the_end: false,
            pending: BTreeMap::new(),
            pages: VecDeque::new(),
            closing: false,
        }
    }

    fn through(&mut self, account: Option<&AccountId>, sequence: DeliveryId) {
        let is_left = |sequences: &mut BTreeSet<DeliveryId>| {
            sequences.remove(&sequence);
            !sequences.is_empty()
        };
        match account {
            Some(account) => {
                if let Some(sequences) = self.pending.get_mut(account)
                    && !is_left(sequences)
                {
                    self.pending.remove(account);
                }
            }
            // Its record could not be read, so nobody knows whose it is.
            None => self.pending.retain(|_, sequences| is_left(sequences)),
        }
    }

    /// The end of the last page that is wholly through, if it was not told before.
    fn passed_pages(&mut self) -> Option<AccountId> {
        let mut passed = None;
        while let Some(end) = self.pages.front() {
            if self.pending.keys().next().is_some_and(|first| first <= end) {
                break;
            }
            passed = self.pages.pop_front();
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Sequence;
    use chrono::DateTime;

    fn account(raw: &str) -> AccountId {
        AccountId::parse(raw).unwrap()
    }

    fn run(millis: i64, high_water: u64) -> Run {
        Run {
            scope: RunScope::Schedule(crate::domain::id::ScheduleName::default()),
            instant: DateTime::from_timestamp_millis(millis).unwrap(),
            high_water: Sequence(high_water),
            cursor: None,
            open: true,
            latecomers: 0,
        }
    }

    fn id(sequence: u64) -> DeliveryId {
        DeliveryId::of_invoice(Sequence(sequence))
    }

    fn page(accounts: &[(&str, &[u64])]) -> Vec<(AccountId, Vec<DeliveryId>)> {
        accounts
            .iter()
            .map(|(name, sequences)| (account(name), sequences.iter().copied().map(id).collect()))
            .collect()
    }

    #[test]
    fn an_invoice_is_claimed_once_until_it_is_through() {
        let mut claims = Claims::default();
        claims.offer(id(1), Source::Due);
        claims.offer(id(1), Source::Run);
        assert_eq!(claims.take(), Some(id(1)));
        claims.offer(id(1), Source::Due);
        assert_eq!(claims.take(), None, "under way");
        claims.through(id(1));
        claims.offer(id(1), Source::Due);
        assert_eq!(claims.take(), Some(id(1)));
    }

    #[test]
    fn both_sources_get_their_turn() {
        let mut claims = Claims::default();
        for sequence in 1..=3 {
            claims.offer(id(sequence), Source::Run);
        }
        claims.offer(id(10), Source::Due);
        let order: Vec<_> = std::iter::from_fn(|| claims.take()).collect();
        assert_eq!(order, [10, 1, 2, 3].map(id));
    }

    #[test]
    fn what_is_to_be_tried_again_waits_for_the_next_pass() {
        let mut claims = Claims::default();
        claims.offer(id(1), Source::Run);
        claims.take();
        claims.again(id(1));
        assert_eq!(claims.take(), None);
        claims.begin_pass();
        assert_eq!(claims.take(), Some(id(1)));
    }

    #[test]
    fn a_paused_accounts_invoices_come_back_when_it_is_resumed() {
        let mut claims = Claims::default();
        claims.offer(id(1), Source::Due);
        claims.take();
        claims.account_paused(account("K-1"), id(1));
        claims.offer(id(1), Source::Due);
        claims.begin_pass();
        assert_eq!(claims.take(), None);
        assert_eq!(claims.paused_accounts(), [account("K-1")]);
        claims.account_resumed(&account("K-1"));
        assert_eq!(claims.take(), Some(id(1)));
        assert!(claims.paused_accounts().is_empty());
    }

    #[test]
    fn a_run_advances_by_pages_that_are_wholly_through_and_closes_after_its_last_invoice() {
        let mut runs = Runs::default();
        let open = run(1, 100);
        runs.refresh(vec![open.clone()]);
        assert!(runs.read(&open, &page(&[("a", &[1]), ("b", &[2])]), false));
        assert!(runs.read(&open, &page(&[("c", &[3]), ("d", &[4])]), true));
        runs.through(Some(&account("b")), id(2));
        assert_eq!(runs.steps(), []);
        runs.through(Some(&account("a")), id(1));
        assert_eq!(runs.steps(), [RunStep::Advance(open.clone(), account("b"))]);
        assert_eq!(runs.steps(), []);
        runs.through(Some(&account("c")), id(3));
        runs.through(None, id(4));
        assert_eq!(runs.steps(), [RunStep::Close(open.clone())]);
        assert_eq!(runs.steps(), [], "told once");
        runs.not_closed(&open.scope);
        assert_eq!(runs.steps().len(), 1);
    }

    #[test]
    fn a_run_without_invoices_closes_at_once() {
        let mut runs = Runs::default();
        let open = run(1, 100);
        runs.refresh(vec![open.clone()]);
        assert_eq!(runs.steps(), [], "not read yet");
        runs.read(&open, &[], true);
        assert_eq!(runs.steps(), [RunStep::Close(open.clone())]);
    }

    #[test]
    fn a_widened_run_is_read_anew_and_remembers_what_is_under_way() {
        let mut runs = Runs::default();
        let open = run(1, 100);
        runs.refresh(vec![open.clone()]);
        runs.read(&open, &page(&[("a", &[1])]), true);
        let wider = run(2, 200);
        runs.refresh(vec![wider.clone()]);
        assert!(!runs.read(&open, &page(&[("b", &[5])]), true), "read before");
        assert_eq!(runs.unread(), [(wider.clone(), None)]);
        runs.read(&wider, &page(&[("a", &[1]), ("b", &[2])]), true);
        runs.through(Some(&account("b")), id(2));
        assert_eq!(runs.steps(), []);
        runs.through(Some(&account("a")), id(1));
        assert_eq!(runs.steps(), [RunStep::Close(wider.clone())]);
    }
}
