//! One request and its answer: the body within its limits, one line in the log, and a 500 instead of
//! a panic.
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

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName,
    HeaderValue, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::Context;
use super::problem::{Code, Problem};
use super::routes;
use super::server::{Peer, Service, Working};
use crate::api::Acceptance;
use crate::config::Limits;
use crate::domain::address::masked;
use crate::domain::id::{Digest, SenderName};
use crate::store::StoreError;

/// How long to take in a body that nobody wants, so that a client that only sends gets to read why.
const DISCARD: Duration = Duration::from_secs(1);
/// So much of each body is taken whatever other bodies there are: most events are smaller.
const OWN_BYTES: usize = 64 * 1024;

/// A success.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    media_type: &'static str,
    body: Bytes,
}

impl Reply {
    /// One of the [`api`](crate::api)'s types as JSON.
    pub(super) fn new(status: StatusCode, body: &impl Serialize) -> Result<Self, Problem> {
        let json =
            serde_json::to_vec(body).map_err(|error| Problem::internal(error.to_string()))?;
        Ok(Self { status, media_type: "application/json", body: json.into() })
    }

    pub(super) fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        Self::new(StatusCode::OK, body)
    }

    /// Text of a media type.
    pub(super) fn text(media_type: &'static str, text: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, media_type, body: text.into() }
    }
}

/// What the log says of a request, apart from its answer.
#[derive(Debug, Default)]
pub(super) struct About {
    /// The route's pattern. What stands in the path itself may be an address.
    pub(super) path: Option<Cow<'static, str>>,
    /// Who asked at the admin interface.
    pub(super) actor: Option<String>,
    /// Whose secret signed it.
    pub(super) sender: Option<SenderName>,
    /// An event's type.
    pub(super) event_type: Option<&'static str>,
    /// The account that it is about.
    pub(super) account: Option<String>,
    /// The invoice that it is about.
    pub(super) number: Option<String>,
    /// The document that it brings.
    pub(super) document: Option<Digest>,
    /// How it was accepted.
    pub(super) result: Option<Acceptance>,
    /// How many lines a batch had, and how many of them were accepted.
    pub(super) lines: Option<(usize, usize)>,
}

/// A request under way.
pub(super) struct Exchange {
    pub(super) service: Arc<Service>,
    pub(super) peer: Peer,
    pub(super) version: hyper::Version,
    pub(super) method: hyper::Method,
    pub(super) uri: hyper::Uri,
    pub(super) headers: HeaderMap,
    pub(super) about: About,
    /// Stands in the answer and in the log.
    pub(super) request_id: String,
    body: Incoming,
    /// Whether it is known who sends the body, before it is read.
    pub(super) is_verified: bool,
    /// What the body takes of the memory that all share, until the request is answered.
    memory: Option<OwnedSemaphorePermit>,
    /// How the body has ended.
    end: End,
}

impl Exchange {
    pub(super) fn context(&self) -> &Context {
        &self.service.context
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.service.limits
    }

    /// Judges what the head says of the body, without reading it: reading would tell a client that
    /// waits for `100 Continue` to send.
    pub(super) fn check_announced(&self, most: usize) -> Result<(), Problem> {
        let is_given = self.headers.contains_key(CONTENT_LENGTH)
            || self.headers.contains_key(TRANSFER_ENCODING);
        if !is_given {
            return Err(Problem::new(
                Code::LengthRequired,
                "send Content-Length, or the body in chunks",
            ));
        }
        if self.body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
            return Err(too_large(most));
        }
        self.check_encoding()
    }

    /// Whether the body is said, once, to be of this type: perhaps with the charset that JSON has anyway (RFC 8259,
    /// section 8.1).
    pub(super) fn has_content_type(&self, media_type: &str) -> bool {
        let mut values = self.headers.get_all(CONTENT_TYPE).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (Some(Ok(value)), None) => is_content_type(value, media_type),
            _ => false,
        }
    }

    /// Nothing here takes a coding off a body.
    pub(super) fn check_encoding(&self) -> Result<(), Problem> {
        match self.headers.get(CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => Err(Problem::new(
                Code::UnsupportedMediaType,
                "send the body without Content-Encoding",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the whole body, within its limit and in time.
    pub(super) async fn read_body(&mut self, most: usize) -> Result<Vec<u8>, Problem> {
        if self.body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
            return Err(too_large(most));
        }
        let time = self.limits().body_time;
        let (shared, is_verified) = if self.is_verified {
            (&self.service.verified_bodies, true)
        } else {
            (&self.service.bodies, false)
        };
        let memory = Memory { shared, is_verified, held: &mut self.memory };
        let whole = collect(&mut self.body, most, memory, &mut self.end);
        match timeout(time, whole).await {
            Ok(collected) => collected,
            Err(_) => Err(Problem::new(
                Code::TimeOut,
                format!("the body must be complete within {} s", time.as_secs()),
            )),
        }
    }

    /// Takes in what is left of the body, within bounds. A client that waits for `100 Continue` is
    /// not made to send it.
    async fn discard(&mut self) {
        if self.body.is_end_stream() || self.headers.contains_key(EXPECT) {
            return;
        }
        let mut left = self.limits().document_bytes;
        let rest = async {
            while let Some(Ok(frame)) = self.body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.end.has_trailers |= frame.is_trailers();
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
            self.end.was_seen = true;
        };
        // Whatever comes of it, the answer stands.
        drop(timeout(DISCARD, rest).await);
    }
}

fn is_content_type(value: &str, media_type: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    let is_type = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(media_type));
    is_type
        && parts.all(|parameter| {
            parameter.is_empty()
                || parameter.split_once('=').is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("charset")
                        && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
                })
        })
}

async fn collect(
    body: &mut Incoming,
    most: usize,
    mut memory: Memory<'_>,
    end: &mut End,
) -> Result<Vec<u8>, Problem> {
    // What is announced is not taken before it is written to, and is not moved as it grows.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole = Vec::with_capacity(announced.min(most));
    let mut room = OWN_BYTES;
    if memory.is_verified && announced > room {
        // All at once: bodies that grow side by side would refuse each other. Not for whoever may have no secret, who
        // would have the memory for the announcement alone.
        memory.take(announced)?;
        room = announced;
    }
    // A body of known length has its end with its last byte. Asking for more would meet the error of a
    // client that has hung up since.
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| {
            Problem::new(Code::IncompleteBody, "the body stopped before its end")
                .because(error.to_string())
        })?;
        // Trailers say nothing to us.
        let Ok(bytes) = frame.into_data() else {
            end.has_trailers = true;
            continue;
        };
        if whole.len() + bytes.len() > most {
            return Err(too_large(most));
        }
        let length = whole.len() + bytes.len();
        if length > room {
            // As much as a list that grows takes.
            let more = length.max(2 * room) - room;
            memory.take(more)?;
            room += more;
        }
        whole.extend_from_slice(&bytes);
    }
    end.was_seen = true;
    Ok(whole)
}

/// How a body has ended.
#[derive(Debug, Default)]
struct End {
    /// Nothing more comes.
    was_seen: bool,
    has_trailers: bool,
}

/// The memory that bodies share, and what one of them holds of it until its request is answered.
struct Memory<'a> {
    shared: &'a Arc<Semaphore>,
    /// Whether it is known who sends it.
    is_verified: bool,
    held: &'a mut Option<OwnedSemaphorePermit>,
}

impl Memory<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        let more = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(self.shared)
            .try_acquire_many_owned(more)
            .map_err(|_| Problem::new(Code::Busy, "too many large bodies at once"))?;
        match self.held {
            Some(held) => held.merge(more),
            None => *self.held = Some(more),
        }
        Ok(())
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("the body may have at most {most} bytes"))
}

/// Runs `read`, which may block, where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => Ok(read?),
        Err(ended) => Err(Problem::internal(format!("a read did not end: {ended}"))),
    }
}

/// Does `work` on the body where it holds nobody else up, if the body is large.
pub(super) async fn aside<T: Send + 'static>(
    body_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if body_bytes <= OWN_BYTES {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|ended| Problem::internal(format!("work on a body did not end: {ended}")))
}

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
    let mut exchange = Exchange {
        service,
        peer,
        version: head.version,
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        about: About::default(),
        request_id: request_id.to_owned(),
        body,
        is_verified: false,
        memory: None,
        end: End::default(),
    };
    // Its own line names the id itself, and comes outside of the span, which would say it again.
    let span = tracing::info_span!("request", request_id);
    let handled = caught(routes::handle(&mut exchange).instrument(span))
        .await
        .unwrap_or_else(|Panicked| Err(Problem::internal("a handler panicked")));
    let mut response = match &handled {
        Ok(reply) => success(reply, request_id),
        Err(problem) => refusal(problem, request_id),
    };
    log(&exchange, &handled, response.status(), request_id, started);
    count(&exchange, response.status(), started.elapsed());
    if handled.is_err_and(|problem| problem.code != Code::TimeOut) {
        exchange.discard().await;
    }
    let is_in_chunks = exchange.headers.contains_key(TRANSFER_ENCODING);
    if exchange.end.has_trailers || is_in_chunks && !exchange.end.was_seen {
        // hyper takes a bare line feed for the end of the last chunk, and what follows for trailers. A proxy in front
        // may see the end of the body there, and a request: nobody is to read on from where the two disagree.
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
        // The exchange is only logged afterwards, so a half-made change to it does no harm.
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
    exchange: &Exchange,
    handled: &Result<Reply, Problem>,
    status: StatusCode,
    request_id: &str,
    started: Instant,
) {
    let About { path, actor, sender, event_type, account, number, document, result, lines } =
        &exchange.about;
    let hidden = |id: &Option<String>| id.as_deref().map(masked).map(Cow::into_owned);
    let (actor, account, number) = (hidden(actor), hidden(account), hidden(number));
    let document = document.as_ref().map(Digest::to_string);
    let problem = handled.as_ref().err();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request_id,
                interface = exchange.service.interface.as_str(),
                method = exchange.method.as_str(),
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
    } else if routes::is_probe(exchange.uri.path()) {
        line!(debug);
    } else {
        line!(info);
    }
}

fn count(exchange: &Exchange, status: StatusCode, took: Duration) {
    let path = match exchange.about.path {
        Some(Cow::Borrowed(path)) => Some(path),
        Some(Cow::Owned(_)) | None => None,
    };
    let interface = exchange.service.interface.as_str();
    let metrics = &exchange.context().metrics;
    metrics.answered(interface, path, status.as_u16(), took);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_json_says_so_and_nothing_else() {
        for fits in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
        ] {
            assert!(is_content_type(fits, "application/json"), "{fits}");
        }
        for other in [
            "",
            "text/json",
            "application/x-ndjson",
            "application/json; charset=latin1",
            "application/jsonx",
        ] {
            assert!(!is_content_type(other, "application/json"), "{other}");
        }
    }
}
