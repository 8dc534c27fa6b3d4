//! One reading of the store for the feeder: bounded, and on a thread that may block.

use std::time::Duration;

use chrono::{DateTime, Utc};

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
    pub(super) places: Vec<DuePlace>,
    /// Whether nothing more is due now; only then are the others looked at.
    pub(super) at_the_end: bool,
    /// What is due at a time beyond now and the longest delay. No delay leads there: the clock was ahead
    /// when that was written, and it is due now.
    pub(super) misplaced: Vec<DuePlace>,
    /// When the next one is due.
    pub(super) next: Option<DateTime<Utc>>,
}

/// A page of a run.
#[derive(Debug)]
pub(super) struct RunPage {
    pub(super) run: Run,
    pub(super) accounts: Vec<(AccountId, Vec<Sequence>)>,
    /// Whether no account is left.
    pub(super) at_the_end: bool,
}

/// Reads what is asked for.
pub(super) fn survey(store: &dyn Store, request: Request) -> Result<Survey, StoreError> {
    let Request {
        now,
        longest_delay,
        looks_at_runs,
        paused_accounts,
        due: read_due,
        runs,
    } = request;
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
    };
    let mut run_pages = Vec::new();
    for (run, after) in runs.into_iter().take(RUNS) {
        let accounts = store.run_page(&run, after.as_ref(), ACCOUNT_PAGE)?;
        run_pages.push(RunPage {
            at_the_end: accounts.len() < ACCOUNT_PAGE,
            run,
            accounts,
        });
    }
    Ok(Survey {
        open_runs,
        resumed_accounts,
        due,
        run_pages,
    })
}

fn due(
    store: &dyn Store,
    now: DateTime<Utc>,
    longest_delay: Duration,
    after: Option<DuePlace>,
) -> Result<Due, StoreError> {
    let places = store.due(now, after, DUE_PAGE)?;
    let mut due = Due {
        at_the_end: places.len() < DUE_PAGE,
        places,
        misplaced: Vec::new(),
        next: None,
    };
    if due.at_the_end {
        let end_of = |at| DuePlace {
            at,
            sequence: Sequence(u64::MAX),
        };
        let far = DateTime::<Utc>::MAX_UTC;
        let horizon = now + longest_delay;
        due.next = store
            .due(horizon, Some(end_of(now)), 1)?
            .first()
            .map(|place| place.at);
        due.misplaced = store.due(far, Some(end_of(horizon)), DUE_PAGE)?;
    }
    Ok(due)
}
