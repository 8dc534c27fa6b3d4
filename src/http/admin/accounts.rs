//! Accounts with their contacts, and who gets their invoices.

use std::sync::Arc;

use serde_json::json;

use super::{account_in, cursor_in, page_limit, unknown_account};
use crate::domain::id::AccountId;
use crate::http::cursor;
use crate::http::exchange::{Exchange, Reply, blocking};
use crate::http::problem::Problem;
use crate::http::routes::{Params, Query};
use crate::http::view;
use crate::store::{AccountView, Accounts};

/// How much a list shows of each account.
#[derive(Debug, Clone, Copy)]
enum Detail {
    Full,
    /// What a portal needs to know which ones to send again.
    Version,
}

/// `GET /v1/accounts`: by id; a page may be short and still have a next one.
pub(in crate::http) async fn list(
    exchange: &mut Exchange,
    query: &Query,
) -> Result<Reply, Problem> {
    let limit = page_limit(query)?;
    let detail = query.read("view", "full or version", |raw| match raw {
        "full" => Some(Detail::Full),
        "version" => Some(Detail::Version),
        _ => None,
    })?;
    let after: Option<AccountId> = cursor_in(query)?;
    let context = Arc::clone(&exchange.service.context);
    let store = Arc::clone(&context.store);
    let page = blocking(move || {
        let Accounts { items, next, total, damaged } = store.accounts(after.as_ref(), limit)?;
        let show = |shown: &AccountView| match detail.unwrap_or(Detail::Full) {
            Detail::Full => view::account(shown, &context.groups),
            Detail::Version => view::account_version(&shown.account),
        };
        let items: Vec<_> = items.iter().map(show).collect();
        let next = next.as_ref().map(cursor::write);
        Ok(json!({"items": items, "next_cursor": next, "total": total, "damaged": damaged}))
    })
    .await?;
    Ok(Reply::ok(page))
}

/// `GET /v1/accounts/{account}`.
pub(in crate::http) async fn one(
    exchange: &mut Exchange,
    params: &Params,
) -> Result<Reply, Problem> {
    let account = read(exchange, params).await?;
    Ok(Reply::ok(view::account(&account, &exchange.context().groups)))
}

/// `GET /v1/accounts/{account}/recipient`.
pub(in crate::http) async fn recipient(
    exchange: &mut Exchange,
    params: &Params,
) -> Result<Reply, Problem> {
    let AccountView { account, recipient, suspects: _, paused } = read(exchange, params).await?;
    Ok(Reply::ok(json!({
        "account": account.id().as_str(),
        "version": account.version().get(),
        "recipient": view::recipient(&recipient),
        "paused": view::paused(paused.as_ref()),
    })))
}

async fn read(exchange: &mut Exchange, params: &Params) -> Result<AccountView, Problem> {
    let id = account_in(params)?;
    exchange.about.account = Some(id.to_string());
    let store = Arc::clone(&exchange.context().store);
    blocking(move || store.account(&id)).await?.ok_or_else(unknown_account)
}
