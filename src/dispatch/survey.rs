//! One reading of the store for the feeder: bounded, and on a thread that may block.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::delivery::DeliveryId;
use crate::domain::id::{AccountId, Sequence};
use crate::store::{DuePlace, PauseScope, Run, Store, StoreError};

/// Most due invoices read at once.
const DUE_PAGE: usize = 128;
/// Most accounts of a run read at once.
const ACCOUNT_PAGE: usize = 32;
/// Most runs read at once.
const RUNS: usize = 8;

/// From where what is due is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadDue {
    /// Not now, for it has been.
    Not,
    /// From the first.
    FromTheStart,
    /// From where the last page ended.
    After(DuePlace),
    /// What is misplaced, from where the last page of that ended.
    MisplacedAfter(DuePlace),
}

/// What is to be read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) now: DateTime<Utc>,
    /// The longest delay of a retry.
    pub(super) longest_delay: Duration,
    /// Whether to look at which runs are open.
    pub(super) looks_at_runs: bool,
    /// Accounts that were paused when last looked at.
    pub(super) paused_accounts: Vec<AccountId>,
    /// From where to read what is due.
    pub(super) due: ReadDue,
    /// Runs to be read, each after an account.
    pub(super) runs: Vec<(Run, Option<AccountId>)>,
}

impl Request {
    /// Whether nothing is to be read.
    pub(super) fn is_empty(&self) -> bool {
        !self.looks_at_runs
            && self.paused_accounts.is_empty()
            && self.due == ReadDue::Not
            && self.runs.is_empty()
    }
}

/// What was read.
#[derive(Debug)]
pub(super) struct Survey {
    /// The open runs, if they were looked at.
    pub(super) open_runs: Option<Vec<Run>>,
    /// Those of the paused accounts that are not paused any more.
    pub(super) resumed_accounts: Vec<AccountId>,
    /// What is due, if that was read.
    pub(super) due: Option<Due>,
    /// A page of each run.
    pub(super) run_pages: Vec<RunPage>,
}

/// A page of what is due.
#[derive(Debug)]
pub(super) struct Due {
    /// What is due by now; after all of that, what is due at a time beyond now and the longest delay. No delay
    /// leads there: the clock was ahead when that was written, and it is due now.
    pub(super) places: Vec<DuePlace>,
    /// From where the next page is to be read.
    pub(super) go_on: ReadDue,
    /// When the next one is due, once what is due now is read.
    pub(super) next: Option<DateTime<Utc>>,
}

/// A page of a run.
#[derive(Debug)]
pub(super) struct RunPage {
    pub(super) run: Run,
    pub(super) accounts: Vec<(AccountId, Vec<DeliveryId>)>,
    /// Whether no account is left.
    pub(super) at_the_end: bool,
}

/// Reads what is asked for.
pub(super) fn survey(store: &dyn Store, request: Request) -> Result<Survey, StoreError> {
    let Request { now, longest_delay, looks_at_runs, paused_accounts, due: read_due, runs } =
        request;
    let open_runs = if looks_at_runs {
        let mut runs = store.runs()?;
        runs.retain(|run| run.open);
        Some(runs)
    } else {
        None
    };
    let mut resumed_accounts = Vec::new();
    for account in paused_accounts {
        let scope = PauseScope::Account(account);
        let is_paused = store.paused(&scope)?.is_some();
        if let PauseScope::Account(account) = scope
            && !is_paused
        {
            resumed_accounts.push(account);
        }
    }
    let due = match read_due {
        ReadDue::Not => None,
        ReadDue::FromTheStart => Some(due(store, now, longest_delay, None)?),
        ReadDue::After(place) => Some(due(store, now, longest_delay, Some(place))?),
        ReadDue::MisplacedAfter(place) => Some(misplaced(store, place)?),
    };
    let mut run_pages = Vec::new();
    for (run, after) in runs.into_iter().take(RUNS) {
        let accounts = store.run_page(&run, after.as_ref(), ACCOUNT_PAGE)?;
        run_pages.push(RunPage { at_the_end: accounts.len() < ACCOUNT_PAGE, run, accounts });
    }
    Ok(Survey { open_runs, resumed_accounts, due, run_pages })
}

fn due(
    store: &dyn Store,
    now: DateTime<Utc>,
    longest_delay: Duration,
    after: Option<DuePlace>,
) -> Result<Due, StoreError> {
    let mut places = store.due(now, after, DUE_PAGE)?;
    if let Some(last) = last_of_full(&places) {
        return Ok(Due { go_on: ReadDue::After(last), places, next: None });
    }
    let end_of = |at| DuePlace { at, delivery: DeliveryId::of_invoice(Sequence(u64::MAX)) };
    let horizon = now + longest_delay;
    let next = store.due(horizon, Some(end_of(now)), 1)?;
    let misplaced = misplaced(store, end_of(horizon))?;
    places.extend(misplaced.places);
    Ok(Due { places, go_on: misplaced.go_on, next: next.first().map(|place| place.at) })
}

fn misplaced(store: &dyn Store, after: DuePlace) -> Result<Due, StoreError> {
    let places = store.due(DateTime::<Utc>::MAX_UTC, Some(after), DUE_PAGE)?;
    Ok(Due {
        go_on: last_of_full(&places).map_or(ReadDue::Not, ReadDue::MisplacedAfter),
        places,
        next: None,
    })
}

/// Where a page ended, if more may come after it.
fn last_of_full(page: &[DuePlace]) -> Option<DuePlace> {
    page.last().filter(|_| page.len() >= DUE_PAGE).copied()
}
