//! `GET /v1/audit`: everything that happened, and who did it.

use super::{bad_parameter, cursor_in, page_limit};
use crate::api::AuditPage;
use crate::http::cursor;
use crate::http::problem::Problem;
use crate::http::request::{Reply, RequestContext};
use crate::http::view;
use crate::store::{AuditOrder, AuditPlace};

/// As it happened, or newest first; the cursor is the last one's place.
pub(in crate::http) async fn list(request: &mut RequestContext) -> Result<Reply, Problem> {
    let query = &request.query;
    let limit = page_limit(query)?;
    let order = query.read("order", "oldest or newest", |raw| match raw {
        "oldest" => Some(AuditOrder::OldestFirst),
        "newest" => Some(AuditOrder::NewestFirst),
        _ => None,
    })?;
    let order = order.unwrap_or(AuditOrder::OldestFirst);
    let after: Option<(AuditOrder, AuditPlace)> = cursor_in(query)?;
    let after = match after {
        Some((of, place)) if of == order => Some(place),
        Some(_) => return Err(bad_parameter("cursor", "a next_cursor of the same order")),
        None => None,
    };
    let read = request.context().read(move |store| store.audit(order, after, limit));
    let (page, next) = read.await?;
    let next_cursor = next.map(|place| cursor::write(&(order, place)));
    Reply::ok(&AuditPage { items: page.iter().map(view::audited).collect(), next_cursor })
}
