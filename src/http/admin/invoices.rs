//! Invoices: their stories, lists of them, and what an operator does to one.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::StatusCode;

use super::{
    account_in, bad_parameter, cursor_in, number_in, page_limit, read_body, reason, unknown_invoice,
};
use crate::api::{Acceptance, InvoicePage, OperationAnswer};
use crate::domain::delivery::{Answer, Shown};
use crate::domain::id::{AccountId, InvoiceNumber, Sequence};
use crate::http::cursor;
use crate::http::fields::Item;
use crate::http::problem::{Code, Problem, already_sent};
use crate::http::request::{Params, Query, Reply, RequestContext, blocking};
use crate::http::values::{date, instant};
use crate::http::view;
use crate::store::{Command, Filter, InvoiceView, OperateAnswer, Order};

/// `GET /v1/accounts/{account}/invoices/{number}`.
pub(in crate::http) async fn one(
    request: &mut RequestContext,
    params: &Params,
) -> Result<Reply, Problem> {
    let (account, number) = (account_in(params)?, number_in(params)?);
    request.log_fields.account = Some(account.to_string());
    request.log_fields.number = Some(number.to_string());
    let context = Arc::clone(&request.service.context);
    let store = Arc::clone(&context.store);
    let (id, of) = (account.clone(), number.clone());
    let invoice = blocking(move || store.invoice(&id, &of)).await?.ok_or_else(unknown_invoice)?;
    let release = match &invoice {
        InvoiceView::Whole(whole) if whole.state == Shown::Waiting => {
            let next = |schedule| context.schedules.next_after(schedule, context.clock.now());
            whole.schedule.as_ref().and_then(next)
        }
        InvoiceView::Whole(_) | InvoiceView::Tombstone { .. } => None,
    };
    Reply::ok(&view::invoice_view(&account, &number, &invoice, release))
}

/// `GET /v1/invoices`: in order of arrival; a page may be short and still have a next one.
pub(in crate::http) async fn list(
    request: &mut RequestContext,
    query: &Query,
) -> Result<Reply, Problem> {
    let limit = page_limit(query)?;
    let filter = filter(query)?;
    let after: Option<Sequence> = cursor_in(query)?;
    let store = Arc::clone(&request.context().store);
    let page = blocking(move || {
        let page = store.invoices(&filter, after, limit)?;
        let paused = store.pause_in_force(None)?;
        Ok(InvoicePage {
            items: page.items.iter().map(view::listed).collect(),
            next_cursor: page.next.as_ref().map(cursor::write),
            damaged: page.damaged,
            paused: view::paused(paused.as_ref()),
        })
    })
    .await?;
    Reply::ok(&page)
}

fn filter(query: &Query) -> Result<Filter, Problem> {
    let states = Shown::ALL.map(Shown::as_str).join(", ");
    let day = |name| query.read(name, "a date such as 2026-11-30", |raw| date(raw).ok());
    let id = |name: &str, raw: &str| {
        AccountId::parse(raw).map_err(|invalid| bad_parameter(name, invalid.expectation()))
    };
    let account = match query.get("account") {
        Some(raw) => Some(id("account", raw)?),
        None => None,
    };
    Ok(Filter {
        state: query.read("state", &format!("one of {states}"), Shown::parse)?,
        account,
        number: query
            .read("number", "an invoice's number", |raw| InvoiceNumber::parse(raw).ok())?,
        issued_from: day("issued_from")?,
        issued_to: day("issued_to")?,
        changed_since: query.read(
            "changed_since",
            "an instant of RFC 3339, or a date",
            instant_or_day,
        )?,
    })
}

/// A date means its first moment, UTC.
fn instant_or_day(raw: &str) -> Option<DateTime<Utc>> {
    match date(raw) {
        Ok(day) => Some(day.and_hms_opt(0, 0, 0)?.and_utc()),
        Err(_) => instant(raw).ok(),
    }
}

/// `POST …/hold`.
pub(in crate::http) async fn hold(
    request: &mut RequestContext,
    params: &Params,
    actor: String,
) -> Result<Reply, Problem> {
    let reason = read_body(request, |fields| fields.optionally("reason", reason)).await?;
    let command = Command::Hold {
        reason: reason
            .filter(|reason| !reason.is_empty())
            .unwrap_or_else(|| "an operator said nothing about it".to_owned()),
    };
    operate(request, params, command.into(), actor).await
}

/// `POST …/release`.
pub(in crate::http) async fn release(
    request: &mut RequestContext,
    params: &Params,
    actor: String,
) -> Result<Reply, Problem> {
    let (now, reason) = read_body(request, |fields| {
        let now = fields.optionally("now", Item::boolean);
        let reason = fields.optionally("reason", reason);
        Ok((now?.unwrap_or(false), reason?))
    })
    .await?;
    let command = Command::Release { now };
    operate(request, params, Order { command, reason }, actor).await
}

/// `POST …/resend`: names the revision that it replaces, so that two requests make one.
pub(in crate::http) async fn resend(
    request: &mut RequestContext,
    params: &Params,
    actor: String,
) -> Result<Reply, Problem> {
    let (revision, reason) = read_body(request, |fields| {
        let reason = fields.optionally("reason", reason);
        let item = fields.required("revision")?;
        match u32::try_from(item.integer()?) {
            Ok(revision) if revision > 0 => Ok((revision, reason?)),
            Ok(_) | Err(_) => item.fault("the revision that was delivered, from 1"),
        }
    })
    .await?;
    let command = Command::Resend { revision };
    operate(request, params, Order { command, reason }, actor).await
}

/// `POST …/withdraw`.
pub(in crate::http) async fn withdraw(
    request: &mut RequestContext,
    params: &Params,
    actor: String,
) -> Result<Reply, Problem> {
    let reason = read_body(request, |fields| fields.optionally("reason", reason)).await?;
    let command = Command::Withdraw;
    operate(request, params, Order { command, reason }, actor).await
}

async fn operate(
    request: &mut RequestContext,
    params: &Params,
    order: Order,
    actor: String,
) -> Result<Reply, Problem> {
    let (account, number) = (account_in(params)?, number_in(params)?);
    request.log_fields.account = Some(account.to_string());
    request.log_fields.number = Some(number.to_string());
    let context = Arc::clone(&request.service.context);
    let OperateAnswer { answer, state } = context
        .store
        .operate(&account, &number, order, actor, context.clock.now())
        .await?
        .ok_or_else(unknown_invoice)?;
    context.nudge.notify_one();
    let (status, result) = match answer {
        Answer::Done => (StatusCode::OK, Acceptance::Applied),
        Answer::Recorded => (StatusCode::ACCEPTED, Acceptance::Applied),
        Answer::Already if state == Shown::Sending => (StatusCode::ACCEPTED, Acceptance::Duplicate),
        Answer::Already => (StatusCode::OK, Acceptance::Duplicate),
        Answer::AlreadySent => return Err(already_sent(state)),
        Answer::WrongState => return Err(wrong_state(format!("the invoice is {state}"), state)),
        Answer::OtherRevision { named, current } => {
            let sentence = format!("revision {named} is not the current one, which is {current}");
            return Err(wrong_state(sentence, state));
        }
    };
    request.log_fields.result = Some(result);
    let (account, number) = (account.to_string(), number.to_string());
    let (result, state) = (result.into(), state.into());
    Reply::new(status, &OperationAnswer { result, account, number, state })
}

fn wrong_state(sentence: String, state: Shown) -> Problem {
    let mut problem = Problem::new(Code::WrongState, sentence);
    problem.body.state = Some(state.into());
    problem
}
