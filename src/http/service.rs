//! One request and its answer: one line in the log, and a 500 instead of a panic.
//!
//! The work is a task of its own, so that a client that hangs up cannot cancel a commit half-way
//! through its request.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, RETRY_AFTER,
    TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use hyper::{Request, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::body::Body;
use super::interface::{Peer, Service};
use super::problem::{Code, Problem};
use super::request::{LogFields, Params, Query, Reply, RequestContext};
use super::routes;
use crate::api::Acceptance;
use crate::domain::address::masked;
use crate::domain::id::{Digest, SenderName};

/// Held by each piece of work that a drain waits for.
pub(super) type Working = mpsc::Sender<Infallible>;

/// An id that an answer and its line in the log share.
pub(super) fn new_request_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Answers one request, in a task that outlives its connection.
///
/// The task begins with the call, not with the first poll of what is returned: hyper drops a future
/// unpolled if it reads the end of a connection together with its request.
pub(super) fn answer(
    service: Arc<Service>,
    peer: Peer,
    request: Request<Incoming>,
    working: Working,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> {
    let request_id = new_request_id();
    let id = request_id.clone();
    let work = async move {
        let response = work(service, peer, request, &id).await;
        drop(working);
        response
    };
    let task = tokio::spawn(work);
    async move {
        Ok(task.await.unwrap_or_else(|ended| {
            tracing::error!(request_id, cause = %ended, "a request's task did not end");
            refusal(&Problem::internal(ended.to_string()), &request_id)
        }))
    }
}

async fn work(
    service: Arc<Service>,
    peer: Peer,
    request: Request<Incoming>,
    request_id: &str,
) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let mut request = RequestContext {
        service,
        peer,
        version: head.version,
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        log_fields: LogFields::default(),
        request_id: request_id.to_owned(),
        body: Body::new(body),
        is_verified: false,
        params: Params::default(),
        query: Query::default(),
    };
    // Its own line names the id itself, and comes outside of the span, which would say it again.
    let span = tracing::info_span!("request", request_id);
    let handled = caught(routes::handle(&mut request).instrument(span))
        .await
        .unwrap_or_else(|Panicked| Err(Problem::internal("a handler panicked")));
    let mut response = match &handled {
        Ok(reply) => success(reply, request_id),
        Err(problem) => refusal(problem, request_id),
    };
    log(&request, &handled, response.status(), request_id, started);
    count(&request, response.status(), started.elapsed());
    // A client that waits for `100 Continue` is not made to send what is not read.
    let is_to_discard = handled.is_err_and(|problem| problem.code != Code::TimeOut)
        && !request.headers.contains_key(EXPECT);
    if is_to_discard {
        let most = request.limits().document_bytes;
        request.body.discard(most).await;
    }
    if request.body.has_doubtful_end(request.headers.contains_key(TRANSFER_ENCODING)) {
        // A proxy may see a request in what follows: the connection ends where the two disagree.
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

struct Panicked;

/// Polls `future` so that a panic in it ends it, not the task.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // The request is only logged afterwards, so a half-made change to it does no harm.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

fn success(reply: &Reply, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = response(reply.status, reply.media_type, reply.body.clone(), request_id);
    // A probe's answer is no problem document, but those who probe are to come again as others are.
    if reply.status == Code::Busy.status()
        && let Some(seconds) = Code::Busy.retry_after_seconds()
    {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn refusal(problem: &Problem, request_id: &str) -> Response<Full<Bytes>> {
    let code = problem.code;
    let body = Bytes::from(problem.to_json(request_id));
    let mut response = response(code.status(), "application/problem+json", body, request_id);
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if let Some(seconds) = problem.retry_after_seconds() {
        put(RETRY_AFTER, &seconds.to_string());
    }
    if let Some(allow) = &problem.allow {
        put(ALLOW, allow);
    }
    if let Some(challenge) = code.challenge() {
        put(WWW_AUTHENTICATE, challenge);
    }
    if code.closes() {
        put(CONNECTION, "close");
    }
    response
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    request_id: &str,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    response
}

/// The one line that a request leaves in the log. An id is masked where it is or holds an address.
fn log(
    request: &RequestContext,
    handled: &Result<Reply, Problem>,
    status: StatusCode,
    request_id: &str,
    started: Instant,
) {
    let LogFields { path, actor, sender, event_type, account, number, document, result, lines } =
        &request.log_fields;
    let hidden = |id: &Option<String>| id.as_deref().map(masked).map(Cow::into_owned);
    let (actor, account, number) = (hidden(actor), hidden(account), hidden(number));
    let document = document.as_ref().map(Digest::to_string);
    let problem = handled.as_ref().err();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request_id,
                interface = request.service.interface.as_str(),
                method = request.method.as_str(),
                path = path.as_deref(),
                actor,
                sender = sender.as_ref().map(SenderName::as_str),
                "event.type" = event_type,
                account.id = account,
                invoice.number = number,
                document.sha256 = document,
                result = result.map(Acceptance::as_str),
                lines = lines.map(|(all, _)| all),
                accepted = lines.map(|(_, accepted)| accepted),
                status = status.as_u16(),
                code = problem.map(|problem| problem.code.as_str()),
                cause = problem.and_then(|problem| problem.cause.as_deref()),
                duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                "request answered"
            )
        };
    }
    if status.is_server_error() {
        line!(error);
    } else if status.is_client_error() {
        line!(warn);
    } else if routes::is_probe(request.uri.path()) {
        line!(debug);
    } else {
        line!(info);
    }
}

fn count(request: &RequestContext, status: StatusCode, took: Duration) {
    let path = match request.log_fields.path {
        Some(Cow::Borrowed(path)) => Some(path),
        Some(Cow::Owned(_)) | None => None,
    };
    let interface = request.service.interface.as_str();
    let metrics = &request.context().metrics;
    metrics.answered(interface, path, status.as_u16(), took);
}
