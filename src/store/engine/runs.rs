//! Runs of schedules: what is released, and where a run stands.

use std::ops::ControlFlow;

use chrono::{DateTime, TimeDelta, Utc};

use super::keys::{self, Class, Object};
use super::tx::{Records, Tx};
use super::{invoices, read, write};
use crate::domain::account::Account;
use crate::domain::delivery::DeliveryId;
use crate::domain::id::{AccountId, ScheduleName, Sequence};
use crate::store::record::OpenerRow;
use crate::store::{Actor, Pause, PauseScope, Run, RunScope, StoreError};

/// Opens or widens a run, unless one of the same or a later instant was opened before. Where nothing
/// waits only the instant is kept: a schedule that fires each second must not fill the trail.
pub(super) fn open(
    tx: &mut Tx<'_>,
    scope: RunScope,
    instant: DateTime<Utc>,
    actor: &Actor,
    reason: Option<&str>,
) -> Result<bool, StoreError> {
    let key = keys::run(&scope);
    let last: Option<Run> = tx.read(&key)?;
    let last = last.map(|last| last.instant);
    let instant = match (actor, last) {
        // An operator means now, whatever a clock that was ahead has left behind.
        (Actor::Operator(_), Some(last)) => instant.max(last + TimeDelta::milliseconds(1)),
        (Actor::Operator(_) | Actor::Sender(..) | Actor::Daemon, _) => instant,
    };
    if last.is_some_and(|last| last >= instant) {
        return Ok(false);
    }
    let waiting = match &scope {
        RunScope::Schedule(name) => keys::scheduled_accounts(name),
        RunScope::Account(id) => keys::standing_by_class(id, Class::Waiting),
    };
    if !tx.any(&waiting)? {
        if let RunScope::Schedule(_) = scope {
            let nothing = closed(scope, instant);
            tx.put(&key, &nothing)?;
        }
        return Ok(false);
    }
    let high_water = invoices::last_sequence(tx)?;
    let what = format!("run of {} opened", describe(&scope));
    let what = write::with_reason(what, reason);
    write::tell(tx, Object::Daemon, instant, actor, what);
    tx.put(&keys::opener(&scope), &OpenerRow(actor.to_string()))?;
    tx.put(&key, &Run { scope, instant, high_water, cursor: None, open: true, latecomers: 0 })?;
    Ok(true)
}

/// Has an open run read anew that includes what has come to wait: it may have been read already.
pub(super) fn take_in(
    tx: &mut Tx<'_>,
    account: &Account,
    sequence: Sequence,
) -> Result<(), StoreError> {
    let Some(run) = read::releasing_run(tx, account, sequence)? else {
        return Ok(());
    };
    let key = keys::run(&run.scope);
    let latecomers = run.latecomers + 1;
    tx.put(&key, &Run { latecomers, ..run })
}

/// Remembers how far a run has come; one that is to be read anew by now starts over.
pub(super) fn advance(tx: &mut Tx<'_>, run: &Run, cursor: AccountId) -> Result<(), StoreError> {
    let key = keys::run(&run.scope);
    let now: Option<Run> = tx.read(&key)?;
    match now {
        Some(now) if now.open && now.is_to_read_as(run) => {
            tx.put(&key, &Run { cursor: Some(cursor), ..now })
        }
        Some(_) | None => Ok(()),
    }
}

/// Ends a run, unless it is to be read anew by now.
pub(super) fn close(tx: &mut Tx<'_>, run: &Run) -> Result<bool, StoreError> {
    let key = keys::run(&run.scope);
    let now: Option<Run> = tx.read(&key)?;
    let Some(now) = now.filter(|now| now.open && now.is_to_read_as(run)) else {
        return Ok(false);
    };
    match &run.scope {
        RunScope::Schedule(_) => tx.put(&key, &Run { open: false, cursor: None, ..now })?,
        RunScope::Account(_) => {
            tx.remove(&key)?;
            tx.remove(&keys::opener(&run.scope))?;
        }
    }
    Ok(true)
}

/// Which run releases an invoice that waits, and who opened that; for the invoice's story, which needs
/// no commit of its own for it.
pub(super) fn release_in_words(
    tx: &Tx<'_>,
    account: &Account,
    sequence: Sequence,
) -> Result<Option<String>, StoreError> {
    let Some(run) = read::releasing_run(tx, account, sequence)? else {
        return Ok(None);
    };
    // It is for these words alone, and must not keep from its invoices what the run releases.
    let opener: Option<OpenerRow> = match tx.read(&keys::opener(&run.scope)) {
        Err(StoreError::Damaged { .. }) => None,
        read => read?,
    };
    let by = match opener {
        Some(OpenerRow(by)) if by != Actor::Daemon.to_string() => format!(", which {by} opened"),
        Some(OpenerRow(_)) | None => String::new(),
    };
    let run = describe(&run.scope);
    Ok(Some(format!("released by the run of {run}{by}")))
}

fn describe(scope: &RunScope) -> String {
    match scope {
        RunScope::Schedule(name) => format!("schedule {name}"),
        RunScope::Account(id) => format!("account {id}"),
    }
}

/// Notes a schedule's first sight, or that the clock was set back behind its last run.
pub(super) fn note(
    tx: &mut Tx<'_>,
    schedule: ScheduleName,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let scope = RunScope::Schedule(schedule);
    let key = keys::run(&scope);
    let last: Option<Run> = tx.read(&key)?;
    match last {
        None => tx.put(&key, &closed(scope, at)),
        Some(last) if last.instant > at => tx.put(&key, &Run { instant: at, ..last }),
        Some(_) => Ok(()),
    }
}

/// A run of which nothing but its instant is to be known.
fn closed(scope: RunScope, instant: DateTime<Utc>) -> Run {
    Run { scope, instant, high_water: Sequence(0), cursor: None, open: false, latecomers: 0 }
}

/// The last run of each scope.
pub(super) fn all<T: Records + ?Sized>(tree: &T) -> Result<Vec<Run>, StoreError> {
    read::collect(tree, &keys::kind_prefix(keys::kind::RUN))
}

/// The distinct schedules that have something waiting.
pub(super) fn schedules_in_use<T: Records + ?Sized>(
    tree: &T,
) -> Result<Vec<ScheduleName>, StoreError> {
    let prefix = keys::kind_prefix(keys::kind::SCHEDULED);
    let mut names: Vec<ScheduleName> = Vec::new();
    let mut from = prefix.clone();
    loop {
        let mut next = None;
        tree.prefix(&prefix, Some(&from), &mut |key, _| {
            next = keys::text_after(key, prefix.len()).map(str::to_owned);
            ControlFlow::Break(())
        })?;
        let Some(next) = next else { return Ok(names) };
        let name = ScheduleName::parse(next)
            .map_err(|invalid| read::damaged("of kind scheduled", invalid.to_string()))?;
        // The next name's keys begin after all of this one's.
        from = keys::after_prefix(&keys::scheduled_accounts(&name)).unwrap_or_default();
        names.push(name);
    }
}

/// What a run includes, account by account.
pub(super) fn page<T: Records + ?Sized>(
    tree: &T,
    run: &Run,
    after: Option<&AccountId>,
    limit: usize,
) -> Result<Vec<(AccountId, Vec<DeliveryId>)>, StoreError> {
    let accounts = match &run.scope {
        RunScope::Schedule(schedule) => scheduled_accounts(tree, schedule, after, limit)?,
        RunScope::Account(id) if after.is_none() => vec![id.clone()],
        RunScope::Account(_) => Vec::new(),
    };
    let mut page = Vec::with_capacity(accounts.len());
    for account in accounts {
        let deliveries = read::standing_by(tree, &account, Class::Waiting, run.high_water)?;
        page.push((account, deliveries));
    }
    Ok(page)
}

fn scheduled_accounts<T: Records + ?Sized>(
    tree: &T,
    schedule: &ScheduleName,
    after: Option<&AccountId>,
    limit: usize,
) -> Result<Vec<AccountId>, StoreError> {
    let prefix = keys::scheduled_accounts(schedule);
    let after = after.map(|account| keys::scheduled(schedule, account));
    let mut accounts = Vec::new();
    tree.prefix(&prefix, after.as_deref(), &mut |key, _| {
        if after.as_deref() != Some(key) {
            accounts.push(keys::text_after(key, prefix.len()).map(str::to_owned));
        }
        if accounts.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    accounts
        .into_iter()
        .map(|account| {
            account
                .and_then(|account| AccountId::parse(account).ok())
                .ok_or_else(|| read::damaged("of kind scheduled", "its key holds no account"))
        })
        .collect()
}

/// A longer reason has nothing added to it: above the longest of an operator's.
const REASON_BYTES: usize = 2_500;

/// Stops sending, or removing. Another reason is kept beside that of a pause that is there, with whose it is: whoever
/// ends the pause must know of both.
pub(super) fn pause(
    tx: &mut Tx<'_>,
    scope: &PauseScope,
    reason: String,
    actor: &Actor,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let key = keys::pause(scope);
    if let Some(before) = tx.read::<Pause>(&key)? {
        if !reason.is_empty() && !before.reason.contains(&reason) {
            let told = format!("{} stays paused, now also since: {reason}", what(scope));
            write::tell(tx, object(scope), at, actor, told);
            if before.reason.len() < REASON_BYTES {
                let reason = match before.reason.as_str() {
                    "" => format!("{reason} ({actor})"),
                    before => format!("{before}; {reason} ({actor})"),
                };
                tx.put(&key, &Pause { reason, ..before })?;
            }
        }
        return Ok(false);
    }
    write::tell(tx, object(scope), at, actor, format!("{} paused: {reason}", what(scope)));
    tx.put(&key, &Pause { reason, by: actor.to_string(), since: at })?;
    Ok(true)
}

/// Goes on with it.
pub(super) fn resume(
    tx: &mut Tx<'_>,
    scope: &PauseScope,
    reason: Option<&str>,
    actor: &Actor,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let key = keys::pause(scope);
    let Some(ended) = tx.read::<Pause>(&key)? else {
        return Ok(false);
    };
    let told = match ended.reason.as_str() {
        "" => format!("{} resumed", what(scope)),
        why => format!("{} resumed, which was paused: {why}", what(scope)),
    };
    let told = write::with_reason(told, reason);
    write::tell(tx, object(scope), at, actor, told);
    tx.remove(&key)?;
    Ok(true)
}

fn what(scope: &PauseScope) -> &'static str {
    match scope {
        PauseScope::Everything | PauseScope::Account(_) => "sending",
        PauseScope::Removal => "removal",
    }
}

fn object(scope: &PauseScope) -> Object {
    match scope {
        PauseScope::Everything | PauseScope::Removal => Object::Daemon,
        PauseScope::Account(id) => Object::Account(id.clone()),
    }
}
