//! Accounts with their contacts, and who gets their invoices.

use super::{account_in, cursor_in, page_limit, unknown_account};
use crate::api::{AccountPage, AccountRecipient};
use crate::domain::id::AccountId;
use crate::http::cursor;
use crate::http::problem::Problem;
use crate::http::request::{Reply, RequestContext};
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
pub(in crate::http) async fn list(request: &mut RequestContext) -> Result<Reply, Problem> {
    let limit = page_limit(&request.query)?;
    let detail = request.query.read("view", "full or version", |raw| match raw {
        "full" => Some(Detail::Full),
        "version" => Some(Detail::Version),
        _ => None,
    })?;
    let after: Option<AccountId> = cursor_in(&request.query)?;
    let groups = request.context().groups.clone();
    let read = request.context().read(move |store| {
        let page = store.accounts(after.as_ref(), limit)?;
        Ok(match detail.unwrap_or(Detail::Full) {
            Detail::Full => Reply::ok(&shown(page, |view| view::account(view, &groups))),
            Detail::Version => Reply::ok(&shown(page, |view| view::account_version(&view.account))),
        })
    });
    read.await?
}

fn shown<T>(page: Accounts, show: impl Fn(&AccountView) -> T) -> AccountPage<T> {
    let Accounts { items, next, total, damaged } = page;
    let (items, next_cursor) = (items.iter().map(show).collect(), next.as_ref().map(cursor::write));
    AccountPage { items, next_cursor, total, damaged }
}

/// `GET /v1/accounts/{account}`.
pub(in crate::http) async fn one(request: &mut RequestContext) -> Result<Reply, Problem> {
    let account = read(request).await?;
    Reply::ok(&view::account(&account, &request.context().groups))
}

/// `GET /v1/accounts/{account}/recipient`.
pub(in crate::http) async fn recipient(request: &mut RequestContext) -> Result<Reply, Problem> {
    let AccountView { account, recipient, suppressions: _, paused } = read(request).await?;
    Reply::ok(&AccountRecipient {
        account: account.id().to_string(),
        version: account.version().get(),
        recipient: view::recipient(&recipient),
        paused: view::paused(paused.as_ref()),
    })
}

async fn read(request: &mut RequestContext) -> Result<AccountView, Problem> {
    let id = account_in(request)?;
    request.context().read(move |store| store.account(&id)).await?.ok_or_else(unknown_account)
}
