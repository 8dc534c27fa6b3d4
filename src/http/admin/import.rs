//! `POST /v1/import`: many accounts at once, each as the data of an `account.updated`.
//!
//! For the first load, and to repair versions after a portal was restored from a backup.

use std::sync::Arc;

use super::{is_reason, one_line};
use crate::domain::audit::Actor;
use crate::http::batch;
use crate::http::events::ChangeUnderWay;
use crate::http::problem::{Code, Problem};
use crate::http::request::{LogFields, Reply, RequestContext};

/// Takes a batch of accounts.
pub(in crate::http) async fn take(request: &mut RequestContext) -> Result<Reply, Problem> {
    let query = &request.query;
    let accept_versions = query.read("accept_versions", "true or false", |raw| raw.parse().ok())?;
    let accept_version = accept_versions.unwrap_or(false);
    let expected = one_line();
    let reason = query.read("reason", &expected, |raw| is_reason(raw).then(|| raw.to_owned()))?;
    let most = batch::body_bytes(request.limits().event_body_bytes);
    request.check_announced(most)?;
    if !request.has_content_type(batch::MEDIA_TYPE) {
        let sentence = format!("expected Content-Type: {}", batch::MEDIA_TYPE);
        return Err(Problem::new(Code::UnsupportedMediaType, sentence));
    }
    let body = request.read_body(most).await?;
    let lines = batch::lines(&body)?;
    let context = Arc::clone(&request.service.context);
    let actor = Actor::Operator(request.operator());
    let begin = |(_, line): batch::Line<'_>| {
        let at = context.clock.now();
        ChangeUnderWay::of_import(&context, line, accept_version, actor.clone(), reason.clone(), at)
    };
    let end = |work: Result<ChangeUnderWay, Problem>| async move {
        work?.end(&mut LogFields::default()).await
    };
    batch::answer(request, lines, begin, end).await
}
