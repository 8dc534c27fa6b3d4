//! `POST /v1/dispatch`: releases what waits, now; or says who would get what, and why.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{read_body, reason, unknown_account};
use crate::api::{self, Dispatched, DryRun, Planned};
use crate::domain::audit::Actor;
use crate::domain::delivery::{DeliveryId, Shown};
use crate::domain::id::{AccountId, ScheduleName};
use crate::domain::recipient::{OnRejected, resolve};
use crate::http::fields::Item;
use crate::http::problem::{Fault, Problem};
use crate::http::request::{Reply, RequestContext};
use crate::http::{Context, view};
use crate::store::{RunScope, Store, StoreError};

/// Most accounts that a dry run shows.
const DRY_RUN_ACCOUNTS: usize = 1000;
/// Most invoices that it shows.
const DRY_RUN_INVOICES: usize = 10_000;
/// Accounts read at once.
const PAGE: usize = 100;

enum Asked {
    Everything,
    Schedule(ScheduleName),
    Account(AccountId),
}

/// Opens the runs, or shows what they would release.
pub(in crate::http) async fn run(request: &mut RequestContext) -> Result<Reply, Problem> {
    let (asked, dry_run, reason) = read_body(request, |fields| {
        let schedule =
            fields.optionally("schedule", |item| item.parse(|raw| ScheduleName::parse(raw)));
        let account = fields.optionally("account", |item| item.parse(|raw| AccountId::parse(raw)));
        let dry_run = fields.optionally("dry_run", Item::boolean);
        let reason = fields.optionally("reason", reason);
        let asked = match (schedule?, account?) {
            (None, None) => Asked::Everything,
            (Some(schedule), None) => Asked::Schedule(schedule),
            (None, Some(account)) => Asked::Account(account),
            (Some(_), Some(_)) => {
                return fields.fault("account", "either a schedule or an account");
            }
        };
        Ok((asked, dry_run?.unwrap_or(false), reason?))
    })
    .await?;
    let context = Arc::clone(&request.service.context);
    let account = match &asked {
        Asked::Account(id) => Some(id.clone()),
        Asked::Everything | Asked::Schedule(_) => None,
    };
    request.log_fields.account = account.as_ref().map(ToString::to_string);
    let scopes = scopes(&context, asked).await?;
    let now = context.clock.now();
    if dry_run {
        let on_rejected = context.on_rejected;
        let planned = context.read(move |store| {
            let (items, complete) = preview(store, &scopes, on_rejected)?;
            let paused = view::paused(store.current_pause(account.as_ref())?.as_ref());
            Ok(DryRun { dry_run: true, items, complete, paused })
        });
        return Reply::ok(&planned.await?);
    }
    let actor = Actor::Operator(request.operator());
    let runs = release(&context, scopes, &actor, reason, now).await;
    // Also after one that could not be opened: those before it were.
    context.wake_up.notify_one();
    let runs = runs?;
    let paused = context.read(move |store| store.current_pause(account.as_ref())).await?;
    let paused = view::paused(paused.as_ref());
    Reply::ok(&Dispatched { dry_run: false, instant: now, runs, paused })
}

/// Releases what waits, and says of each scope whether anything did.
async fn release(
    context: &Context,
    scopes: Vec<RunScope>,
    actor: &Actor,
    reason: Option<String>,
    now: DateTime<Utc>,
) -> Result<Vec<api::Run>, Problem> {
    let mut runs = Vec::with_capacity(scopes.len());
    let all = scopes.len();
    for scope in scopes {
        let (schedule, account) = match &scope {
            RunScope::Schedule(name) => (Some(name.to_string()), None),
            RunScope::Account(id) => (None, Some(id.to_string())),
        };
        let opened = context.store.release(scope, now, actor.clone(), reason.clone(), now);
        let opened = opened.await.map_err(|error| {
            let mut problem = Problem::from(error);
            if !runs.is_empty() {
                let done = runs.len();
                problem.body.detail =
                    format!("only {done} of {all} runs were started: repeat the request");
            }
            problem
        })?;
        runs.push(api::Run { schedule, account, opened, waiting: opened });
    }
    Ok(runs)
}

/// What is to be run. A schedule that accounts name but that is not configured acts as `default`.
async fn scopes(context: &Context, asked: Asked) -> Result<Vec<RunScope>, Problem> {
    let asked = match asked {
        Asked::Account(id) => {
            let of = id.clone();
            context.read(move |store| store.account(&of)).await?.ok_or_else(unknown_account)?;
            return Ok(vec![RunScope::Account(id)]);
        }
        Asked::Everything => None,
        Asked::Schedule(name) => Some(name),
    };
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method by itself is that of one lifetime"
    )]
    let in_use = context.read(|store| store.schedules_in_use()).await?;
    let configured = context.schedules.iter().map(|(name, _)| name);
    let known: BTreeSet<ScheduleName> = configured.chain(&in_use).cloned().collect();
    let names = match asked {
        Some(name) if !known.contains(&name) => {
            let known: Vec<&str> = known.iter().map(ScheduleName::as_str).collect();
            let expected = format!("one of {}", known.join(", "));
            return Err(Problem::invalid(vec![Fault::at("/schedule", expected)]));
        }
        Some(name) => context.schedules.firing_with(&name, in_use),
        None => known.into_iter().collect(),
    };
    Ok(names.into_iter().map(RunScope::Schedule).collect())
}

/// Who would get what, account by account, and whether that is all.
fn preview(
    store: &dyn Store,
    scopes: &[RunScope],
    on_rejected: OnRejected,
) -> Result<(Vec<Planned>, bool), StoreError> {
    let (mut items, mut left) = (Vec::new(), DRY_RUN_INVOICES);
    for scope in scopes {
        let mut after = None;
        loop {
            let page = store.waiting(scope, after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (account, sequences) in &page {
                if items.len() == DRY_RUN_ACCOUNTS {
                    return Ok((items, false));
                }
                let shown = &sequences[..sequences.len().min(left)];
                items.extend(preview_account(store, account, shown, on_rejected)?);
                if shown.len() < sequences.len() {
                    return Ok((items, false));
                }
                left -= shown.len();
            }
        }
    }
    Ok((items, true))
}

fn preview_account(
    store: &dyn Store,
    account: &AccountId,
    deliveries: &[DeliveryId],
    on_rejected: OnRejected,
) -> Result<Option<Planned>, StoreError> {
    let mut shown = None;
    let mut invoices = Vec::new();
    for id in deliveries {
        let Some(job) = store.job(*id)? else {
            continue;
        };
        if job.delivery.shown() != Shown::Waiting {
            continue;
        }
        invoices.push(view::invoice(&job.invoice));
        shown.get_or_insert_with(|| {
            view::recipient(&resolve(&job.account, &job.suppressions, on_rejected))
        });
    }
    let Some(recipient) = shown else {
        return Ok(None);
    };
    let paused = store.current_pause(Some(account))?;
    let (account, paused) = (account.to_string(), view::paused(paused.as_ref()));
    Ok(Some(Planned { account, recipient, paused, invoices }))
}
