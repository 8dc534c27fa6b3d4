//! Invoices: their history, lists of them, and what an operator does to one.

use chrono::{DateTime, Utc};
use hyper::StatusCode;

use super::{account_in, bad_parameter, cursor_in, page_limit, read_body, reason, unknown_invoice};
use crate::api::{Acceptance, InvoicePage, OperationAnswer};
use crate::domain::delivery::{Shown, StepAnswer};
use crate::domain::id::{AccountId, InvoiceNumber, Sequence};
use crate::http::cursor;
use crate::http::fields::Item;
use crate::http::problem::{Code, Problem, already_sent};
use crate::http::request::{Query, Reply, RequestContext};
use crate::http::values::{date, instant};
use crate::http::view;
use crate::store::{Command, Filter, InvoiceView, OperateAnswer, Order};

/// `GET /v1/accounts/{account}/invoices/{number}`.
pub(in crate::http) async fn one(request: &mut RequestContext) -> Result<Reply, Problem> {
    let (account, number) = named(request)?;
    let context = request.context();
    let (id, of) = (account.clone(), number.clone());
    let read = context.read(move |store| store.invoice(&id, &of));
    let invoice = read.await?.ok_or_else(unknown_invoice)?;
    let release = match &invoice {
        InvoiceView::Whole(whole) if whole.state == Shown::Waiting => {
            let next = |schedule| context.schedules.next_after(schedule, context.clock.now());
            whole.schedule.as_ref().and_then(next)
        }
        InvoiceView::Whole(_) | InvoiceView::Tombstone { .. } => None,
    };
    Reply::ok(&view::invoice_view(&account, &number, &invoice, release))
}

/// The invoice that a path names.
fn named(request: &mut RequestContext) -> Result<(AccountId, InvoiceNumber), Problem> {
    let account = account_in(request)?;
    let number = request.params.decoded("number")?;
    let number = InvoiceNumber::parse(number).map_err(|_| unknown_invoice())?;
    request.log_fields.number = Some(number.to_string());
    Ok((account, number))
}

/// `GET /v1/invoices`: in order of arrival; a page may be short and still have a next one.
pub(in crate::http) async fn list(request: &mut RequestContext) -> Result<Reply, Problem> {
    let limit = page_limit(&request.query)?;
    let filter = filter(&request.query)?;
    let after: Option<Sequence> = cursor_in(&request.query)?;
    let page = request.context().read(move |store| {
        let page = store.invoices(&filter, after, limit)?;
        let paused = store.current_pause(None)?;
        Ok(InvoicePage {
            items: page.items.iter().map(view::listed).collect(),
            next_cursor: page.next.as_ref().map(cursor::write),
            damaged: page.damaged,
            paused: view::paused(paused.as_ref()),
        })
    });
    Reply::ok(&page.await?)
}

fn filter(query: &Query) -> Result<Filter, Problem> {
    let states = Shown::ALL.map(Shown::as_str).join(", ");
    let day = |name| query.read(name, "a date such as 2026-11-30", |raw| date(raw).ok());
    let account = query.get("account").map(|raw| {
        AccountId::parse(raw).map_err(|invalid| bad_parameter("account", invalid.expectation()))
    });
    let number = |raw: &str| InvoiceNumber::parse(raw).ok();
    let instant = "an instant of RFC 3339, or a date";
    Ok(Filter {
        state: query.read("state", &format!("one of {states}"), Shown::parse)?,
        account: account.transpose()?,
        number: query.read("number", "an invoice's number", number)?,
        issued_from: day("issued_from")?,
        issued_to: day("issued_to")?,
        changed_since: query.read("changed_since", instant, instant_or_day)?,
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
pub(in crate::http) async fn hold(request: &mut RequestContext) -> Result<Reply, Problem> {
    let reason = read_body(request, |fields| fields.optionally("reason", reason)).await?;
    let reason = reason.filter(|reason| !reason.is_empty());
    let reason = reason.unwrap_or_else(|| "an operator said nothing about it".to_owned());
    operate(request, Command::Hold { reason }.into()).await
}

/// `POST …/release`.
pub(in crate::http) async fn release(request: &mut RequestContext) -> Result<Reply, Problem> {
    let order = read_body(request, |fields| {
        let now = fields.optionally("now", Item::boolean);
        let reason = fields.optionally("reason", reason);
        Ok(Order { command: Command::Release { now: now?.unwrap_or(false) }, reason: reason? })
    });
    let order = order.await?;
    operate(request, order).await
}

/// `POST …/resend`: names the revision that it replaces, so that two requests make one.
pub(in crate::http) async fn resend(request: &mut RequestContext) -> Result<Reply, Problem> {
    let order = read_body(request, |fields| {
        let reason = fields.optionally("reason", reason);
        let item = fields.required("revision")?;
        match u32::try_from(item.integer()?) {
            Ok(revision) if revision > 0 => {
                Ok(Order { command: Command::Resend { revision }, reason: reason? })
            }
            Ok(_) | Err(_) => item.fault("the revision that was delivered, from 1"),
        }
    });
    let order = order.await?;
    operate(request, order).await
}

/// `POST …/withdraw`.
pub(in crate::http) async fn withdraw(request: &mut RequestContext) -> Result<Reply, Problem> {
    let reason = read_body(request, |fields| fields.optionally("reason", reason)).await?;
    operate(request, Order { command: Command::Withdraw, reason }).await
}

async fn operate(request: &mut RequestContext, order: Order) -> Result<Reply, Problem> {
    let (account, number) = named(request)?;
    let context = request.context();
    let now = context.clock.now();
    let operated = context.store.operate(&account, &number, order, request.operator(), now);
    let OperateAnswer { answer, state } = operated.await?.ok_or_else(unknown_invoice)?;
    context.wake_up.notify_one();
    let (status, result) = match answer {
        StepAnswer::Applied => (StatusCode::OK, Acceptance::Applied),
        StepAnswer::Deferred => (StatusCode::ACCEPTED, Acceptance::Applied),
        StepAnswer::Unchanged if state == Shown::Sending => {
            (StatusCode::ACCEPTED, Acceptance::Duplicate)
        }
        StepAnswer::Unchanged => (StatusCode::OK, Acceptance::Duplicate),
        StepAnswer::AlreadySent => return Err(already_sent(state)),
        StepAnswer::WrongState => {
            return Err(wrong_state(format!("the invoice is {state}"), state));
        }
        StepAnswer::OtherRevision { named, current } => {
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
