//! `GET /v1/audit`: everything that happened, and who did it.

use std::sync::Arc;

use super::{bad_parameter, cursor_in, page_limit};
use crate::api::AuditPage;
use crate::http::cursor;
use crate::http::problem::Problem;
use crate::http::request::{Query, Reply, RequestContext, blocking};
use crate::http::view;
use crate::store::{TrailOrder, TrailPlace};

/// As it happened, or newest first; the cursor is the last one's place.
pub(in crate::http) async fn list(
    request: &mut RequestContext,
    query: &Query,
) -> Result<Reply, Problem> {
    let limit = page_limit(query)?;
    let order = query.read("order", "oldest or newest", |raw| match raw {
        "oldest" => Some(TrailOrder::OldestFirst),
        "newest" => Some(TrailOrder::NewestFirst),
        _ => None,
    })?;
    let order = order.unwrap_or(TrailOrder::OldestFirst);
    let after: Option<(TrailOrder, TrailPlace)> = cursor_in(query)?;
    let after = match after {
        Some((of, place)) if of == order => Some(place),
        Some(_) => return Err(bad_parameter("cursor", "a next_cursor of the same order")),
        None => None,
    };
    let store = Arc::clone(&request.context().store);
    let (page, next) = blocking(move || store.audit(order, after, limit)).await?;
    let next_cursor = next.map(|place| cursor::write(&(order, place)));
    Reply::ok(&AuditPage { items: page.iter().map(view::audited).collect(), next_cursor })
}
