//! Accounts with their contacts, and who gets their invoices.

use std::sync::Arc;

use serde_json::json;

use super::{account_in, page_limit, unknown_account};
use crate::domain::id::AccountId;
use crate::http::exchange::{Exchange, Reply, blocking};
use crate::http::problem::Problem;
use crate::http::routes::{Params, Query};
use crate::http::view;
use crate::store::AccountView;

/// `GET /v1/accounts`: by id; the cursor is the last one's.
pub(in crate::http) async fn list(exchange: &mut Exchange) -> Result<Reply, Problem> {
    let query = Query::parse(exchange.uri.query(), &["cursor", "limit"])?;
    let limit = page_limit(&query)?;
    let after = query.read("cursor", "a next_cursor of this list", |raw| {
        AccountId::parse(raw).ok()
    })?;
    let context = Arc::clone(&exchange.service.context);
    let store = Arc::clone(&context.store);
    let page = blocking(move || store.accounts(after.as_ref(), limit)).await?;
    let next = if page.len() < limit {
        None
    } else {
        page.last().map(|view| view.account.id().to_string())
    };
    let items: Vec<_> = page
        .iter()
        .map(|account| view::account(account, &context.groups))
        .collect();
    Ok(Reply::ok(json!({"items": items, "next_cursor": next})))
}

/// `GET /v1/accounts/{account}`.
pub(in crate::http) async fn one(
    exchange: &mut Exchange,
    params: &Params,
) -> Result<Reply, Problem> {
    let account = read(exchange, params).await?;
    Ok(Reply::ok(view::account(
        &account,
        &exchange.context().groups,
    )))
}

/// `GET /v1/accounts/{account}/recipient`.
pub(in crate::http) async fn recipient(
    exchange: &mut Exchange,
    params: &Params,
) -> Result<Reply, Problem> {
    let AccountView {
        account,
        recipient,
        suspects: _,
        paused,
    } = read(exchange, params).await?;
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
    blocking(move || store.account(&id))
        .await?
        .ok_or_else(unknown_account)
}
