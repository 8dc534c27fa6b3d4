//! One reading of the store for the dispatcher: bounded, and on a thread that may block.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::delivery::{DeliveryId, Lane};
use crate::domain::id::{AccountId, Sequence};
use crate::store::{DuePlace, PauseScope, Store, StoreError};

/// Most due invoices of a lane read at once.
const DUE_PAGE: usize = 128;

/// From where what is due in a lane is to be read.
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
    /// Whether to look at whether a run is open.
    pub(super) looks_at_runs: bool,
    /// Accounts that were paused when last looked at.
    pub(super) paused_accounts: Vec<AccountId>,
    /// From where to read what is due.
    pub(super) due: Vec<(Lane, ReadDue)>,
}

impl Request {
    /// Whether nothing is to be read.
    pub(super) fn is_empty(&self) -> bool {
        !self.looks_at_runs && self.paused_accounts.is_empty() && self.due.is_empty()
    }
}

/// What was read.
#[derive(Debug)]
pub(super) struct QueueSnapshot {
    /// Whether all sending is paused.
    pub(super) is_paused: bool,
    /// Whether a run is making further invoices due; false if that was not looked at.
    pub(super) is_releasing: bool,
    /// Those of the paused accounts that are not paused any more.
    pub(super) resumed_accounts: Vec<AccountId>,
    /// What is due in the lanes that were read.
    pub(super) due: Vec<Due>,
}

/// A page of what is due in a lane.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) lane: Lane,
    /// What is due by now; after all of that, what is due at a time beyond now and the longest delay. No delay
    /// leads there: the clock was ahead when that was written, and it is due now.
    pub(super) places: Vec<DuePlace>,
    /// From where the next page is to be read.
    pub(super) go_on: ReadDue,
    /// When the next one is due, once what is due now is read.
    pub(super) next: Option<DateTime<Utc>>,
}

/// Reads what is asked for.
pub(super) fn read(store: &dyn Store, request: Request) -> Result<QueueSnapshot, StoreError> {
    let Request { now, longest_delay, looks_at_runs, paused_accounts, due: lanes } = request;
    let is_paused = store.paused(&PauseScope::Everything)?.is_some();
    // Before what is due: what a run that ended meanwhile has released is read then.
    let is_releasing = looks_at_runs && store.runs()?.iter().any(|run| run.open);
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
    let mut pages = Vec::with_capacity(lanes.len());
    for (lane, read_due) in lanes {
        match read_due {
            ReadDue::Not => {}
            ReadDue::FromTheStart => pages.push(due(store, lane, now, longest_delay, None)?),
            ReadDue::After(place) => pages.push(due(store, lane, now, longest_delay, Some(place))?),
            ReadDue::MisplacedAfter(place) => pages.push(misplaced(store, lane, place)?),
        }
    }
    Ok(QueueSnapshot { is_paused, is_releasing, resumed_accounts, due: pages })
}

fn due(
    store: &dyn Store,
    lane: Lane,
    now: DateTime<Utc>,
    longest_delay: Duration,
    after: Option<DuePlace>,
) -> Result<Due, StoreError> {
    let mut places = store.due(lane, now, after, DUE_PAGE)?;
    if let Some(last) = last_of_full(&places) {
        return Ok(Due { lane, go_on: ReadDue::After(last), places, next: None });
    }
    let end_of = |at| DuePlace { at, delivery: DeliveryId::of_invoice(Sequence(u64::MAX)) };
    let horizon = now + longest_delay;
    let next = store.due(lane, horizon, Some(end_of(now)), 1)?;
    let misplaced = misplaced(store, lane, end_of(horizon))?;
    places.extend(misplaced.places);
    Ok(Due { lane, places, go_on: misplaced.go_on, next: next.first().map(|place| place.at) })
}

fn misplaced(store: &dyn Store, lane: Lane, after: DuePlace) -> Result<Due, StoreError> {
    let places = store.due(lane, DateTime::<Utc>::MAX_UTC, Some(after), DUE_PAGE)?;
    Ok(Due {
        lane,
        go_on: last_of_full(&places).map_or(ReadDue::Not, ReadDue::MisplacedAfter),
        places,
        next: None,
    })
}

/// Where a page ended, if more may come after it.
fn last_of_full(page: &[DuePlace]) -> Option<DuePlace> {
    page.last().filter(|_| page.len() >= DUE_PAGE).copied()
}
