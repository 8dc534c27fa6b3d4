//! The admin interface: what operators may see and do.
//!
//! Over the Unix socket, its file permissions say who may; over TCP, a bearer token does. Whatever
//! changes something leaves the operator's name in the audit log.

pub(super) mod accounts;
pub(super) mod audit;
pub(super) mod dispatch;
pub(super) mod import;
pub(super) mod invoices;

use std::sync::Arc;

use chrono::TimeDelta;
use hyper::StatusCode;
use hyper::header::AUTHORIZATION;
use subtle::ConstantTimeEq as _;

use super::cursor::{self, Place};
use super::fields::{Fields, Item, Noted, Report};
use super::interface::Peer;
use super::json::{self, Node};
use super::metrics::Moment;
use super::problem::{Code, Fault, Problem};
use super::request::{Query, Reply, RequestContext, blocking};
use super::{Readiness, metrics, view};
use crate::api::{self, Acceptance, FailedCheck, Relay, Status};
use crate::config::Right;
use crate::domain::audit::Actor;
use crate::domain::id::{AccountId, Digest, Version};
use crate::store::{CurrentPause, PauseScope, Store, StoreError};

/// Items on a page of a list, unless the caller wants fewer.
const PAGE: usize = 100;
/// Most items on a page.
const PAGE_MAX: usize = 500;
/// Longest reason, in characters.
const REASON_CHARACTERS: usize = 500;
/// Largest body of a request, in bytes.
const BODY_BYTES: usize = 64 * 1024;

/// Says who asks, if they may.
pub(super) fn authorize(request: &RequestContext, needed: Right) -> Result<String, Problem> {
    match request.peer {
        Peer::Unix(Some(uid)) => return Ok(format!("uid:{uid}")),
        Peer::Unix(None) => return Ok("socket".to_owned()),
        Peer::Tcp(_) => {}
    }
    let refused = || Problem::new(Code::TokenInvalid, "expected Authorization: Bearer TOKEN");
    let mut values = request.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(refused().because("expected exactly one Authorization header"));
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| refused().because("no bearer token"))?;
    let digest = Digest::of(token.as_bytes());
    let access = request.context().access();
    let holder = access
        .tokens
        .iter()
        .find(|known| bool::from(known.digest.as_bytes().ct_eq(digest.as_bytes())))
        .ok_or_else(|| refused().because("the token is unknown"))?;
    if holder.right < needed {
        return Err(
            Problem::new(Code::Forbidden, "this token may read only").because(holder.name.as_str())
        );
    }
    Ok(holder.name.as_str().to_owned())
}

/// The process answers.
#[expect(clippy::unused_async, reason = "a handler")]
pub(super) async fn live(_: &RequestContext) -> Result<Reply, Problem> {
    Reply::ok(&api::Liveness { status: Status::Live.into() })
}

/// Whether the daemon can do its work. A pause is shown, but is no failure: an operator wants it.
pub(super) async fn ready(request: &RequestContext) -> Result<Reply, Problem> {
    let context = request.context();
    let Readiness { mut failing, relay, attempts: _ } = (context.readiness)();
    let read = context.read(|store| {
        let read = |scope| in_force(store, &scope);
        Ok([read(PauseScope::Everything), read(PauseScope::Removal)])
    });
    let [paused, removal_paused] = read.await?.map(|read| {
        let paused = read.unwrap_or_else(|error| {
            let (check, detail) = ("store".to_owned(), error.to_string());
            failing.push(FailedCheck { check, detail });
            None
        });
        view::paused(paused.as_ref())
    });
    let (code, status) = if failing.is_empty() {
        (StatusCode::OK, Status::Ready)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Status::NotReady)
    };
    let status = status.into();
    Reply::new(code, &api::Readiness { status, failing, paused, removal_paused, relay })
}

/// `GET /metrics`.
pub(super) async fn metrics(request: &RequestContext) -> Result<Reply, Problem> {
    let context = request.context();
    let Readiness { failing, relay, attempts } = (context.readiness)();
    let recent = context.metrics.recent_backlog();
    let is_recent = recent.is_some();
    let read = context.read(|store| {
        let is_paused = |scope| store.paused(&scope).map(|pause| pause.is_some());
        let backlog = match recent {
            Some(recent) => recent,
            None => store.backlog()?,
        };
        Ok((backlog, is_paused(PauseScope::Everything)?, is_paused(PauseScope::Removal)?))
    });
    let (backlog, sending, removal) = read.await?;
    if !is_recent {
        context.metrics.keep_backlog(backlog.clone());
    }
    let moment = Moment {
        now: context.clock.now(),
        ready: failing.is_empty(),
        relay_up: !matches!(relay, Relay::Down { .. }),
        paused: [("sending", sending), ("removal", removal)],
        attempts,
        health: context.store.health(),
        backlog,
    };
    let written = context.metrics.write_out(&moment);
    Ok(Reply::text(metrics::MEDIA_TYPE, written))
}

/// `POST /v1/pause`: accepts, but does not send; or keeps what retention no longer covers.
pub(super) async fn pause(request: &mut RequestContext) -> Result<Reply, Problem> {
    let (scope, reason) = read_body(request, |fields| {
        let scope = scope(fields);
        let reason = fields.optionally("reason", reason);
        Ok((scope?, reason?.unwrap_or_default()))
    })
    .await?;
    check_known(request, &scope).await?;
    let (actor, now) = (Actor::Operator(request.operator()), request.context().clock.now());
    let changed = request.context().store.pause(scope.clone(), reason, actor, now).await?;
    Reply::ok(&switched(request, &scope, true, changed).await?)
}

/// How long before a pause rejections are forgotten. More than the ten minutes of the brake, since the clock may
/// have been put on in between; not much more, since what is forgotten without need counts for the brake again.
const FORGOTTEN: TimeDelta = TimeDelta::hours(2);

/// `POST /v1/resume`.
pub(super) async fn resume(request: &mut RequestContext) -> Result<Reply, Problem> {
    let (scope, forget, reason) = read_body(request, |fields| {
        let scope = scope(fields);
        let forget = fields.optionally("forget_rejections", Item::boolean);
        let reason = fields.optionally("reason", reason);
        let (scope, forget) = (scope?, forget?.unwrap_or(false));
        if forget && scope != PauseScope::Everything {
            return fields.fault("forget_rejections", "only for all sending");
        }
        Ok((scope, forget, reason?))
    })
    .await?;
    let context = Arc::clone(&request.service.context);
    check_known(request, &scope).await?;
    let (actor, now) = (Actor::Operator(request.operator()), context.clock.now());
    let of = scope.clone();
    let ended = context.read(move |store| store.paused(&of)).await?;
    // Before anything goes on.
    let forgotten = match &ended {
        Some(pause) if forget => {
            let store = Arc::clone(&context.store);
            let since = pause.since - FORGOTTEN;
            let (reason, actor) = (reason.clone(), actor.clone());
            Some(blocking(move || store.forget_rejections(since, reason, actor, now)).await?)
        }
        None if forget => {
            let sentence = "sending is not paused: either an earlier request has resumed it already, or pause \
                 first, so that nothing is sent before this request";
            return Err(Problem::new(Code::WrongState, sentence));
        }
        Some(_) | None => None,
    };
    let changed = context.store.resume(scope.clone(), reason, actor, now).await?;
    context.wake_up.notify_one();
    let ended = ended.filter(|_| changed).map(|pause| CurrentPause { scope: scope.clone(), pause });
    Reply::ok(&api::ResumeAnswer {
        now: switched(request, &scope, false, changed).await?,
        ended: view::paused(ended.as_ref()),
        rejections_forgotten: forgotten,
    })
}

/// What became of a pause or its end, and what stops that scope now.
async fn switched(
    request: &mut RequestContext,
    scope: &PauseScope,
    paused: bool,
    changed: bool,
) -> Result<api::PauseAnswer, Problem> {
    let of = scope.clone();
    let in_force = request.context().read(move |store| in_force(store, &of)).await?;
    let result = if changed { Acceptance::Applied } else { Acceptance::Duplicate };
    request.log_fields.result = Some(result);
    Ok(api::PauseAnswer {
        result: result.into(),
        account: account_of(scope).map(ToString::to_string),
        removal: *scope == PauseScope::Removal,
        paused,
        in_force: view::paused(in_force.as_ref()),
    })
}

/// The pause that stops what is of this scope.
fn in_force(store: &dyn Store, scope: &PauseScope) -> Result<Option<CurrentPause>, StoreError> {
    match scope {
        PauseScope::Everything => store.current_pause(None),
        PauseScope::Account(account) => store.current_pause(Some(account)),
        PauseScope::Removal => {
            let pause = store.paused(scope)?;
            Ok(pause.map(|pause| CurrentPause { scope: scope.clone(), pause }))
        }
    }
}

/// A mistyped account must not leave an operator believing that its mail has been stopped, or goes on.
async fn check_known(request: &mut RequestContext, scope: &PauseScope) -> Result<(), Problem> {
    let Some(account) = account_of(scope) else {
        return Ok(());
    };
    request.log_fields.account = Some(account.to_string());
    let of = account.clone();
    let version = request.context().read(move |store| store.account_version(&of)).await?;
    if version == Version::UNKNOWN {
        return Err(unknown_account());
    }
    Ok(())
}

fn scope(fields: &Fields<'_>) -> Result<PauseScope, Noted> {
    let account = fields.optionally("account", |item| item.parse(|raw| AccountId::parse(raw)));
    let removal = fields.optionally("removal", Item::boolean);
    match (account?, removal?.unwrap_or(false)) {
        (None, false) => Ok(PauseScope::Everything),
        (Some(account), false) => Ok(PauseScope::Account(account)),
        (None, true) => Ok(PauseScope::Removal),
        (Some(_), true) => fields.fault("removal", "either an account or the removal"),
    }
}

fn account_of(scope: &PauseScope) -> Option<&AccountId> {
    match scope {
        PauseScope::Everything | PauseScope::Removal => None,
        PauseScope::Account(account) => Some(account),
    }
}

fn reason(item: &Item<'_>) -> Result<String, Noted> {
    let text = item.text()?;
    if is_reason(text) { Ok(text.to_owned()) } else { item.fault(one_line()) }
}

fn is_reason(text: &str) -> bool {
    text.chars().count() <= REASON_CHARACTERS && !text.chars().any(char::is_control)
}

fn one_line() -> String {
    format!("one line of at most {REASON_CHARACTERS} characters")
}

/// Reads a request's JSON object; no body is an empty one.
async fn read_body<T>(
    request: &mut RequestContext,
    read: impl FnOnce(&Fields<'_>) -> Result<T, Noted>,
) -> Result<T, Problem> {
    let most = request.limits().event_body_bytes.min(BODY_BYTES);
    request.check_encoding()?;
    let body = request.read_body(most).await?;
    let node = if body.is_empty() { Node::Object(Vec::new()) } else { json::parse(&body)? };
    let report = Report::default();
    let value = Item::root(&node, &report).fields().and_then(|fields| {
        let value = read(&fields);
        fields.finish();
        value
    });
    report.finish(value)
}

/// The account that a path names. What cannot be an id names nothing.
fn account_in(request: &mut RequestContext) -> Result<AccountId, Problem> {
    let account = request.params.decoded("account")?;
    let account = AccountId::parse(account).map_err(|_| unknown_account())?;
    request.log_fields.account = Some(account.to_string());
    Ok(account)
}

fn unknown_account() -> Problem {
    Problem::new(Code::NotFound, "this account is not known")
}

fn unknown_invoice() -> Problem {
    Problem::new(Code::NotFound, "this invoice is not known")
}

fn page_limit(query: &Query) -> Result<usize, Problem> {
    let expected = format!("an integer from 1 to {PAGE_MAX}");
    let limit = query.read("limit", &expected, |raw| {
        raw.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit))
    })?;
    Ok(limit.unwrap_or(PAGE))
}

/// The place that a list is to go on after.
fn cursor_in<P: Place>(query: &Query) -> Result<Option<P>, Problem> {
    query.read("cursor", "a next_cursor of this list", cursor::read)
}

fn bad_parameter(name: &str, expected: impl Into<String>) -> Problem {
    Problem::invalid(vec![Fault::parameter(name, expected)])
}
