//! Runs of schedules: a cursor goes through what waits and makes it due, unit after unit.

use chrono::{DateTime, TimeDelta, Utc};

use super::keys::{self, Class, Object};
use super::pending::{self, Pending};
use super::tx::{Records as _, Tree, Tx};
use super::unfinished::{Unfinished, go_on as follow_with};
use super::write::{self, By};
use super::{invoices, read};
use crate::domain::address::masked;
use crate::domain::audit::{Actor, AuditEvent, AuditText, PausedFor, PausedScope, ReleaseScope};
use crate::domain::delivery::{DeliveryId, Event, StepAnswer, step};
use crate::domain::id::{AccountId, ScheduleName, Sequence};
use crate::store::{FurtherReason, Pause, PauseScope, Result, Run, RunCursor, RunScope};

/// How many accounts one unit looks at.
const ACCOUNTS_AT_ONCE: usize = 64;
/// Behind every invoice of an account.
const END: Sequence = Sequence(u64::MAX);

/// Releases what waits under a scope, unless an instant of the same or a later time was dealt with before: as
/// much as fits into this unit; says whether anything waits. Where nothing
/// waits only the instant is kept: a schedule that fires each second must not fill the audit log.
pub(super) fn release(
    tx: &mut Tx<'_>,
    scope: RunScope,
    instant: DateTime<Utc>,
    by: &By<'_>,
    at: DateTime<Utc>,
) -> Result<bool> {
    let key = keys::run(&scope);
    let last: Option<Run> = tx.read(&key)?;
    let last = last.map(|last| last.instant);
    let instant = match (by.actor, last) {
        // An operator means now, whatever a clock that was ahead has left behind.
        (Actor::Operator(_), Some(last)) => instant.max(last + TimeDelta::milliseconds(1)),
        (Actor::Operator(_) | Actor::Sender(..) | Actor::Schedule(_) | Actor::Daemon, _) => instant,
    };
    if last.is_some_and(|last| last >= instant) {
        return Ok(false);
    }
    let waiting = match &scope {
        RunScope::Schedule(name) => keys::scheduled_accounts(name),
        RunScope::Account(id) => keys::pending_class(id, Class::Waiting),
    };
    if !tx.any(&waiting)? {
        if let RunScope::Schedule(_) = scope {
            let nothing = closed(scope, instant);
            tx.put(&key, &nothing)?;
        }
        return Ok(false);
    }
    let (object, released) = told_of(&scope);
    write::tell(tx, object, at, by, AuditEvent::RunOpened { scope: released });
    let high_water = invoices::last_sequence(tx)?;
    let opened_by = by.actor.clone();
    let run = Run { scope, instant, at, opened_by, high_water, cursor: None, open: true };
    go_on_with(tx, run)?;
    Ok(true)
}

/// Goes on with an open run from where the last unit stopped, unless one that was opened later has taken its
/// place.
pub(super) fn go_on(tx: &mut Tx<'_>, scope: &RunScope, at: DateTime<Utc>) -> Result<()> {
    let run: Option<Run> = tx.read(&keys::run(scope))?;
    match run.filter(|run| run.open && run.at == at) {
        Some(run) => go_on_with(tx, run),
        None => Ok(()),
    }
}

/// Releases as much as fits into the unit, and writes how far the run has come, or its end. An invoice that begins to
/// wait behind its cursor waits for the next one.
fn go_on_with(tx: &mut Tx<'_>, mut run: Run) -> Result<()> {
    let key = keys::run(&run.scope);
    for _ in 0..ACCOUNTS_AT_ONCE {
        let Some(account) = next_account(tx, &run)? else {
            return match &run.scope {
                RunScope::Schedule(_) => tx.put(&key, &Run { open: false, cursor: None, ..run }),
                RunScope::Account(_) => tx.remove(&key),
            };
        };
        let last = release_account(tx, &run, &account)?;
        let is_full = last.is_some();
        run.cursor = Some(RunCursor { account, last: last.unwrap_or(END) });
        if is_full {
            break;
        }
    }
    tx.leave(follow_with(Unfinished::Releasing(run.scope.clone(), run.at)));
    tx.put(&key, &run)
}

/// Releases what an account has waiting, from the run's cursor on. Returns the last invoice that was looked
/// at, if the unit is full.
fn release_account(tx: &mut Tx<'_>, run: &Run, id: &AccountId) -> Result<Option<Sequence>> {
    let account = read::unless_damaged(read::account(tx, id), |error| {
        tracing::error!(account.id = %masked(id.as_str()), %error, "what an account has waiting cannot be released");
    })?;
    let Some(account) = account.flatten() else {
        return Ok(None);
    };
    let after = run.cursor.as_ref().filter(|cursor| cursor.account == *id);
    let key =
        |cursor: &RunCursor| keys::pending(id, Class::Waiting, DeliveryId::of_invoice(cursor.last));
    let pending = Pending {
        account: &account,
        classes: &[Class::Waiting],
        up_to: run.high_water,
        after: after.map(key),
    };
    let (_, scope) = told_of(&run.scope);
    let told = AuditEvent::ReleasedByRun { scope };
    let policy = &tx.rules().policy;
    let last = pending::advance(tx, &pending, &run.opened_by, run.at, |_, _, delivery| {
        let released = step(delivery, &Event::ScheduleFired, run.at, policy, 0.0);
        Ok((released.answer == StepAnswer::Applied).then(|| (released.delivery, told.clone())))
    })?;
    // None was looked at, if the key is empty.
    Ok(last.map(|key| keys::delivery_at_the_end(&key).map_or(Sequence(0), |id| id.invoice)))
}

/// The account that a run's cursor is in, or the next one with something waiting.
fn next_account(tx: &Tx<'_>, run: &Run) -> Result<Option<AccountId>> {
    let cursor = run.cursor.as_ref();
    match &run.scope {
        RunScope::Account(id) => {
            Ok(cursor.is_none_or(|cursor| cursor.last != END).then(|| id.clone()))
        }
        RunScope::Schedule(name) => match cursor {
            Some(RunCursor { account, last })
                if *last != END && tx.is_there(&keys::scheduled(name, account))? =>
            {
                Ok(Some(account.clone()))
            }
            cursor => {
                Ok(scheduled_accounts(tx, name, cursor.map(|cursor| &cursor.account), 1)?.pop())
            }
        },
    }
}

/// What a run is about, and what the audit log says of it there.
fn told_of(scope: &RunScope) -> (Object, ReleaseScope) {
    match scope {
        RunScope::Schedule(name) => (Object::Daemon, ReleaseScope::Schedule(AuditText::new(name))),
        RunScope::Account(id) => (Object::Account(id.clone()), ReleaseScope::Account),
    }
}

/// Notes a schedule's first sight, or that the clock was set back behind its last run.
pub(super) fn note(tx: &mut Tx<'_>, schedule: ScheduleName, at: DateTime<Utc>) -> Result<()> {
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
    Run {
        scope,
        instant,
        at: instant,
        opened_by: Actor::Daemon,
        high_water: Sequence(0),
        cursor: None,
        open: false,
    }
}

/// The last run of each scope.
pub(super) fn all(tree: &dyn Tree) -> Result<Vec<Run>> {
    tree.collect(&[keys::kind::RUN])
}

/// The distinct schedules that have something waiting.
pub(super) fn schedules_in_use(tree: &dyn Tree) -> Result<Vec<ScheduleName>> {
    let mut names: Vec<ScheduleName> = Vec::new();
    let mut after = None;
    loop {
        let next = tree.scan(&[keys::kind::SCHEDULED], after.as_deref(), 1, |key, _| {
            keys::text_after(key, 1).map(str::to_owned)
        })?;
        let Some(next) = next.into_iter().next() else { return Ok(names) };
        let name = ScheduleName::parse(next)
            .map_err(|invalid| read::damaged("of kind scheduled", invalid.to_string()))?;
        // The next name's keys come after all of this one's.
        after = keys::after_prefix(&keys::scheduled_accounts(&name));
        names.push(name);
    }
}

/// What waits under a scope, account by account.
pub(super) fn waiting(
    tree: &dyn Tree,
    scope: &RunScope,
    after: Option<&AccountId>,
    limit: usize,
) -> Result<Vec<(AccountId, Vec<DeliveryId>)>> {
    let accounts = match scope {
        RunScope::Schedule(schedule) => scheduled_accounts(tree, schedule, after, limit)?,
        RunScope::Account(id) if after.is_none() => vec![id.clone()],
        RunScope::Account(_) => Vec::new(),
    };
    let mut page = Vec::with_capacity(accounts.len());
    for account in accounts {
        let deliveries = read::pending(tree, &account, Class::Waiting)?;
        page.push((account, deliveries));
    }
    Ok(page)
}

/// The accounts of a schedule that have something waiting, after one.
fn scheduled_accounts(
    tree: &dyn Tree,
    schedule: &ScheduleName,
    after: Option<&AccountId>,
    limit: usize,
) -> Result<Vec<AccountId>> {
    let prefix = keys::scheduled_accounts(schedule);
    let after = after.map(|account| keys::scheduled(schedule, account));
    let accounts = tree.scan(&prefix, after.as_deref(), limit, |key, _| {
        Some(keys::text_after(key, prefix.len()).and_then(|text| AccountId::parse(text).ok()))
    })?;
    let damaged = || read::damaged("of kind scheduled", "its key holds no account");
    accounts.into_iter().map(|account| account.ok_or_else(damaged)).collect()
}

/// Reasons that are longer together have none added: above the longest of an operator's.
const REASON_BYTES: usize = 2_500;

/// Stops sending, or removing. Another reason is kept beside that of a pause that is there, with whose it is: whoever
/// ends the pause must know of both.
pub(super) fn pause(
    tx: &mut Tx<'_>,
    scope: &PauseScope,
    reason: String,
    actor: Actor,
    at: DateTime<Utc>,
) -> Result<bool> {
    let key = keys::pause(scope);
    let (object, paused) = paused(scope);
    let by = By { actor: &actor, reason: Some(&reason) };
    let Some(mut pause) = tx.read::<Pause>(&key)? else {
        write::tell(tx, object, at, &by, AuditEvent::Paused { scope: paused });
        tx.put(&key, &Pause { reason, by: actor, since: at, further: Vec::new() })?;
        return Ok(true);
    };
    let is_known = pause.reasons().any(|(_, known)| known == reason);
    if !reason.is_empty() && !is_known {
        write::tell(tx, object, at, &by, AuditEvent::PauseReasonAdded { scope: paused });
        if pause.reasons().map(|(_, reason)| reason.len()).sum::<usize>() < REASON_BYTES {
            pause.further.push(FurtherReason { reason, by: actor });
            tx.put(&key, &pause)?;
        }
    }
    Ok(false)
}

/// Goes on with it.
pub(super) fn resume(
    tx: &mut Tx<'_>,
    scope: &PauseScope,
    by: &By<'_>,
    at: DateTime<Utc>,
) -> Result<bool> {
    let key = keys::pause(scope);
    let Some(ended) = tx.read::<Pause>(&key)? else {
        return Ok(false);
    };
    let (object, scope) = paused(scope);
    let given = ended.reasons().filter(|(_, reason)| !reason.is_empty());
    let paused_for = given
        .map(|(by, reason)| PausedFor { actor: by.clone(), reason: AuditText::new(reason) })
        .collect();
    write::tell(tx, object, at, by, AuditEvent::Resumed { scope, paused_for });
    tx.remove(&key)?;
    Ok(true)
}

/// What a pause is about, and what the audit log says of it there.
fn paused(scope: &PauseScope) -> (Object, PausedScope) {
    match scope {
        PauseScope::Everything => (Object::Daemon, PausedScope::Everything),
        PauseScope::Removal => (Object::Daemon, PausedScope::Removal),
        PauseScope::Account(id) => (Object::Account(id.clone()), PausedScope::Account),
    }
}
