//! The daemon's interfaces in this process: the webhook on TCP and the admin interface on its socket, over a store
//! in memory and a clock that stands still; and the connections to both, which stay open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use invoice_router::clock::Clock;
use invoice_router::config::{Access, Limits, Secret, Sender as Known, Senders};
use invoice_router::domain::Invalid;
use invoice_router::domain::account::BillingGroups;
use invoice_router::domain::contact::Language;
use invoice_router::domain::recipient::OnRejected;
use invoice_router::domain::schedule::{Schedule, Schedules, Timetable};
use invoice_router::http::signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use invoice_router::http::{Context, Listener, Readiness, serve};
use invoice_router::store::{Memory, Rules};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::request::{Request, What};
use crate::sample;
use crate::setting::{Sender, Setting, beginning, hours};

/// Long enough that only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an event is sent as, and an answer comes as.
const JSON: &str = "application/json";
/// The same of a batch.
const LINES: &str = "application/x-ndjson";

pub(crate) struct House {
    clock: Clock,
    clock_ahead: TimeDelta,
    webhook: SendRequest<Full<Bytes>>,
    admin: SendRequest<Full<Bytes>>,
    stop: watch::Sender<bool>,
    served: Vec<JoinHandle<()>>,
}

/// What an interface answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// `null` if it is no JSON of the media type that belongs to the status. Lines are a list.
    pub(crate) body: Value,
}

impl House {
    /// An empty one. Its documents and its socket lie in `directory`.
    pub(crate) async fn open(directory: &Path, setting: &Setting) -> anyhow::Result<Self> {
        let clock = Clock::manual(beginning());
        let memory = Memory::new(directory)?;
        let access = Access { senders: senders(setting)?, tokens: Vec::new() };
        let (_, granted) = watch::channel(Arc::new(access));
        let languages = setting.languages.iter().map(|name| parsed(Language::parse(name)));
        let context = Arc::new(Context {
            store: memory.open(rules(setting)?)?,
            clock: clock.clone(),
            wake_up: Arc::new(Notify::new()),
            access: granted,
            groups: groups(setting)?,
            languages: languages.collect::<anyhow::Result<_>>()?,
            schedules: schedules(setting)?,
            on_rejected: OnRejected::MainContact,
            readiness: Arc::new(Readiness::default),
            metrics: Arc::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let serve = |listener| {
            let context = Arc::clone(&context);
            tokio::spawn(serve(listener, context, limits(), stopped.clone(), PATIENCE))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let webhook = listener.local_addr()?;
        let socket = directory.join("admin.sock");
        let served = vec![
            serve(Listener::AdminSocket(UnixListener::bind(&socket)?)),
            serve(Listener::Webhook(listener)),
        ];
        let stream = TcpStream::connect(webhook).await?;
        stream.set_nodelay(true)?;
        // A house is one of a hundred thousand, and the system remembers connections that were closed in peace.
        stream.set_zero_linger()?;
        Ok(Self {
            clock,
            clock_ahead: setting.clock_ahead,
            webhook: connected(stream).await?,
            admin: connected(UnixStream::connect(socket).await?).await?,
            stop,
            served,
        })
    }

    /// Lets all end.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        drop((self.webhook, self.admin));
        self.stop.send_replace(true);
        for served in self.served {
            served.await?;
        }
        Ok(())
    }

    /// Sends a request, signed, at its time.
    pub(crate) async fn send(&mut self, request: &Request) -> anyhow::Result<Reply> {
        self.clock.set(request.at + self.clock_ahead);
        let at = request.at.timestamp() + request.seconds_off;
        let id = sample::webhook_id(&request.id);
        let signature = |payload: &[u8]| {
            let secret = parsed(Secret::parse(request.sender.secret()))?;
            anyhow::Ok(sign(&secret, &id, at, payload))
        };
        let head = hyper::Request::builder()
            .header(HOST, "localhost")
            .header(ID_HEADER, id.as_str())
            .header(TIMESTAMP_HEADER, at);
        let media_type = match &request.what {
            What::Batch(_) => LINES,
            What::Event(_) | What::Document { .. } => JSON,
        };
        // hyper leaves the length of an empty body out, and then the other end cannot know.
        let whole = match &request.what {
            What::Event(body) | What::Batch(body) => head
                .header(CONTENT_LENGTH, body.len())
                .method("POST")
                .uri("/v1/events")
                .header(CONTENT_TYPE, media_type)
                .header(SIGNATURE_HEADER, signature(body)?)
                .body(full(body))?,
            What::Document { digits, bytes } => head
                .header(CONTENT_LENGTH, bytes.len())
                .method("PUT")
                .uri(format!("/v1/documents/{digits}"))
                .header(SIGNATURE_HEADER, signature(digits.as_bytes())?)
                .body(full(bytes))?,
        };
        asked(&mut self.webhook, whole, media_type).await
    }

    /// Asks the admin interface.
    pub(crate) async fn look(&mut self, path: &str, now: DateTime<Utc>) -> anyhow::Result<Reply> {
        self.clock.set(now + self.clock_ahead);
        let head = hyper::Request::get(path).header(HOST, "localhost");
        asked(&mut self.admin, head.body(full(&[]))?, JSON).await
    }
}

async fn connected<S>(stream: S) -> anyhow::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends when `sender` is dropped; its errors come out at the request.
    tokio::spawn(connection);
    Ok(sender)
}

async fn asked(
    connection: &mut SendRequest<Full<Bytes>>,
    request: hyper::Request<Full<Bytes>>,
    of_success: &str,
) -> anyhow::Result<Reply> {
    let exchange = async {
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        hyper::Result::Ok((head, body.collect().await?.to_bytes()))
    };
    let (head, bytes) = tokio::time::timeout(PATIENCE, exchange).await.context("no answer")??;
    let wanted = if head.status.is_success() { of_success } else { "application/problem+json" };
    let is_typed = head.headers.get(CONTENT_TYPE).is_some_and(|value| value == wanted);
    let body = match wanted {
        LINES => read_lines(&bytes),
        _ => serde_json::from_slice(&bytes).ok(),
    };
    let body = body.filter(|_| is_typed);
    Ok(Reply { status: head.status.as_u16(), body: body.unwrap_or_default() })
}

/// A list of what stands on the lines, each of which has an end.
fn read_lines(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let lines = text.split('\n').map(serde_json::from_str::<Value>);
    lines.collect::<Result<_, _>>().ok()
}

fn full(bytes: &[u8]) -> Full<Bytes> {
    Full::new(Bytes::copy_from_slice(bytes))
}

fn limits() -> Limits {
    Limits {
        event_body_bytes: 64 * 1024,
        document_bytes: 64 * 1024,
        bodies_bytes: 1024 * 1024,
        connections: 4,
        connections_per_peer: 4,
        // No sequence comes near these.
        requests_per_connection: 1_000_000,
        sender_requests_per_second: 1_000_000,
        header_bytes: 16 * 1024,
        header_time: PATIENCE,
        body_time: PATIENCE,
    }
}

fn rules(setting: &Setting) -> anyhow::Result<Rules> {
    Ok(Rules {
        groups: groups(setting)?,
        webhook_id_days: setting.webhook_id_days,
        ..sample::rules()
    })
}

fn schedules(setting: &Setting) -> anyhow::Result<Schedules> {
    let timetable = |name: &&str| {
        let (hours, _) = hours(name).context("a schedule without hours")?;
        let cron = format!("{} {hours} * * *", setting.release_minute);
        let schedule = Schedule::parse(&cron, "UTC".parse()?)?;
        Ok((sample::schedule(name), Timetable { schedule, catch_up: true }))
    };
    setting.schedules.iter().map(timetable).collect()
}

fn groups(setting: &Setting) -> anyhow::Result<BillingGroups> {
    parsed(BillingGroups::new(setting.groups.iter().copied().map(sample::group)))
}

fn senders(setting: &Setting) -> anyhow::Result<Senders> {
    let [of_accounts, of_invoices] = setting.rights;
    let known = Sender::KNOWN.iter().map(|sender| {
        anyhow::Ok(Known {
            name: sample::sender(sender.name()),
            secrets: vec![parsed(Secret::parse(sender.secret()))?],
            accounts: of_accounts.contains(sender),
            invoices: of_invoices.contains(sender),
        })
    });
    Ok(Senders::new(known.collect::<anyhow::Result<Vec<_>>>()?)?)
}

fn parsed<T>(result: Result<T, Invalid>) -> anyhow::Result<T> {
    result.map_err(|invalid| anyhow!("expected {}", invalid.expectation()))
}
