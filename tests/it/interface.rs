//! Both HTTP interfaces over a store in memory, on sockets of their own, and what tests say to them.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use invoice_router::clock::Clock;
use invoice_router::config::{Access, Limits, Right, Secret, Sender, Senders, Token};
use invoice_router::domain::contact::Language;
use invoice_router::domain::id::{Digest, ScheduleName, SenderName, WebhookId};
use invoice_router::domain::recipient::OnRejected;
use invoice_router::domain::schedule::{Schedule, Schedules, Timetable};
use invoice_router::http::client::{self, Method, Target};
use invoice_router::http::signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use invoice_router::http::{Context, Listener, Readiness, serve};
use invoice_router::store::{Filter, Memory, Rules, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::description::{Asked, Interface, check, check_raw};
use crate::store_contract::rules_for;

/// The portal's secrets, two of them as in a rotation.
pub(crate) const PORTAL: &str = "whsec_cG9ydGFsIHBvcnRhbCBwb3J0YWwgcG9ydGFsIDAx";
pub(crate) const PORTAL_NEXT: &str = "whsec_cG9ydGFsIHBvcnRhbCBwb3J0YWwgcG9ydGFsIDAy";
/// The billing system's.
pub(crate) const BILLING: &str = "whsec_YmlsbGluZyBiaWxsaW5nIGJpbGxpbmcgYmlsbGluZyE=";
/// Nobody's.
pub(crate) const STRANGER: &str = "whsec_c3RyYW5nZXIgc3RyYW5nZXIgc3RyYW5nZXIgc3RyYQ==";

/// So much may documents have together that no invoice refers to.
pub(crate) const UNUSED_DOCUMENTS_BYTES: u64 = 3 * 4096;

/// The bytes of a small document.
pub(crate) const PDF: &[u8] = b"%PDF-1.7 invoice";

/// Long enough that only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The daemon's interfaces, running.
pub(crate) struct Interfaces {
    pub(crate) webhook: SocketAddr,
    pub(crate) admin_tcp: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) wake_up: Arc<Notify>,
    pub(crate) access: watch::Sender<Arc<Access>>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) served: JoinHandle<()>,
    counter: AtomicU64,
    _directory: tempfile::TempDir,
}

/// What an interface answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The member `code` of a problem.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("none")
    }

    /// Of each line of a batch's answer, its number, status and result or code.
    pub(crate) fn lines(&self) -> Vec<(u64, u64, &str)> {
        let lines = self.body.as_array().unwrap();
        let line =
            |line: &'_ Value| (line["line"].as_u64().unwrap(), line["status"].as_u64().unwrap());
        lines
            .iter()
            .map(|whole| {
                let (number, status) = line(whole);
                let body = &whole["body"];
                let said = body["result"].as_str().or(body["code"].as_str());
                (number, status, said.unwrap())
            })
            .collect()
    }

    /// Where the request is wrong.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array();
        errors.into_iter().flatten().filter_map(|error| error["pointer"].as_str()).collect()
    }
}

pub(crate) fn limits() -> Limits {
    Limits {
        event_body_bytes: 64 * 1024,
        document_bytes: 128 * 1024,
        bodies_bytes: 1024 * 1024,
        connections: 16,
        connections_per_peer: 16,
        requests_per_connection: 1000,
        sender_requests_per_second: 1000,
        header_bytes: 16 * 1024,
        header_time: PATIENCE,
        body_time: PATIENCE,
    }
}

pub(crate) fn morning() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_420_800, 0).unwrap()
}

pub(crate) fn sender(name: &str, secrets: &[&str], accounts: bool) -> Sender {
    Sender {
        name: SenderName::parse(name).unwrap(),
        secrets: secrets.iter().map(|s| Secret::parse(s).unwrap()).collect(),
        accounts,
        invoices: !accounts,
    }
}

/// The senders and tokens that there are at first.
pub(crate) fn access() -> Access {
    Access {
        senders: Senders::new([
            sender("portal", &[PORTAL, PORTAL_NEXT], true),
            sender("billing", &[BILLING], false),
        ])
        .unwrap(),
        tokens: vec![token("watch", Right::Read), token("ops", Right::Operate)],
    }
}

fn token(name: &str, right: Right) -> Token {
    Token {
        name: SenderName::parse(name).unwrap(),
        right,
        digest: digest(format!("{name}-token").as_bytes()),
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

impl Interfaces {
    pub(crate) async fn start() -> Self {
        Self::start_with(limits(), PATIENCE, Readiness::default).await
    }

    /// With limits of its own.
    pub(crate) async fn within(limits: Limits) -> Self {
        Self::start_with(limits, PATIENCE, Readiness::default).await
    }

    pub(crate) async fn start_with(
        limits: Limits,
        grace: Duration,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(directory.path()).unwrap();
        let store = memory
            .open(Rules {
                documents_bytes: 1_000,
                unused_documents_bytes: UNUSED_DOCUMENTS_BYTES,
                ..rules_for("Rechnungen")
            })
            .unwrap();
        let (clock, wake_up) = (Clock::manual(morning()), Arc::new(Notify::new()));
        Self::start_over(store, clock, wake_up, directory, limits, grace, readiness).await
    }

    /// Starts over a store that others work with too.
    pub(crate) async fn over(store: &Arc<dyn Store>, clock: &Clock, wake_up: &Arc<Notify>) -> Self {
        let (store, clock, wake_up) = (Arc::clone(store), clock.clone(), Arc::clone(wake_up));
        let directory = tempfile::tempdir().unwrap();
        let readiness = Readiness::default;
        Self::start_over(store, clock, wake_up, directory, limits(), PATIENCE, readiness).await
    }

    async fn start_over(
        store: Arc<dyn Store>,
        clock: Clock,
        wake_up: Arc<Notify>,
        directory: tempfile::TempDir,
        limits: Limits,
        grace: Duration,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Self {
        let Rules { groups, .. } = rules_for("Rechnungen");
        let language = |raw| Language::parse(raw).unwrap();
        let (access, granted) = watch::channel(Arc::new(access()));
        let context = Arc::new(Context {
            store: Arc::clone(&store),
            clock: clock.clone(),
            wake_up: Arc::clone(&wake_up),
            access: granted,
            groups,
            languages: BTreeSet::from([language("de"), language("en")]),
            schedules: Schedules::from_iter([(
                ScheduleName::default(),
                Timetable {
                    schedule: Schedule::parse("0 * * * *", chrono_tz::UTC).unwrap(),
                    catch_up: true,
                },
            )]),
            on_rejected: OnRejected::MainContact,
            readiness: Arc::new(readiness),
            metrics: Arc::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = directory.path().join("admin.sock");
        let (stop, stopped) = watch::channel(false);
        let webhook = listener.local_addr().unwrap();
        let admin_tcp = admin_listener.local_addr().unwrap();
        let unix = UnixListener::bind(&socket).unwrap();
        let serve = |listener| {
            let context = Arc::clone(&context);
            tokio::spawn(serve(listener, context, limits, stopped.clone(), grace))
        };
        serve(Listener::AdminSocket(unix));
        serve(Listener::AdminTcp(admin_listener));
        let served = serve(Listener::Webhook(listener));
        Self {
            webhook,
            admin_tcp,
            socket,
            clock,
            store,
            wake_up,
            access,
            stop,
            served,
            counter: AtomicU64::new(0),
            _directory: directory,
        }
    }

    /// An id that no other event of this test has.
    pub(crate) fn new_id(&self) -> String {
        format!("evt_{}", self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// The headers of a present signature.
    pub(crate) fn signature(
        &self,
        key: &str,
        id: &str,
        payload: &[u8],
    ) -> [(&'static str, String); 3] {
        let at = self.clock.now().timestamp();
        let id = WebhookId::parse(id).unwrap();
        let signature = sign(&Secret::parse(key).unwrap(), &id, at, payload);
        [
            (ID_HEADER, id.to_string()),
            (TIMESTAMP_HEADER, at.to_string()),
            (SIGNATURE_HEADER, signature),
        ]
    }

    /// Sends the bytes of an event.
    pub(crate) async fn post(&self, key: &str, id: &str, body: &[u8]) -> Answer {
        self.post_as("application/json", key, id, body).await
    }

    /// Sends the lines of a batch.
    pub(crate) async fn batch(&self, key: &str, id: &str, lines: &[Value]) -> Answer {
        let body = ndjson(lines);
        self.post_as("application/x-ndjson", key, id, body.as_bytes()).await
    }

    /// Imports these accounts as an operator.
    pub(crate) async fn import(&self, query: &str, lines: &[Value]) -> Answer {
        let target = Target::Unix(self.socket.clone());
        let path = format!("/v1/import{query}");
        let headers = [("content-type", "application/x-ndjson")];
        ask(Interface::Admin, &target, Method::POST, &path, &headers, ndjson(lines).into_bytes())
            .await
    }

    async fn post_as(&self, media_type: &str, key: &str, id: &str, body: &[u8]) -> Answer {
        let signature = self.signature(key, id, body);
        let mut headers = vec![("content-type", media_type)];
        headers.extend(signature.iter().map(|(name, value)| (*name, value.as_str())));
        let target = Target::Tcp(self.webhook);
        let body = body.to_vec();
        ask(Interface::Webhook, &target, Method::POST, "/v1/events", &headers, body).await
    }

    /// Sends an event of the portal's.
    pub(crate) async fn portal(&self, event: &Value) -> Answer {
        let id = self.new_id();
        self.post(PORTAL, &id, event.to_string().as_bytes()).await
    }

    /// Sends an event of the billing system's.
    pub(crate) async fn billing(&self, event: &Value) -> Answer {
        let id = self.new_id();
        self.post(BILLING, &id, event.to_string().as_bytes()).await
    }

    /// Uploads a document under the digits given.
    pub(crate) async fn put(&self, key: &str, digits: &str, bytes: &[u8]) -> Answer {
        let signature = self.signature(key, &self.new_id(), digits.as_bytes());
        let headers: Vec<(&str, &str)> =
            signature.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = format!("/v1/documents/{digits}");
        let target = Target::Tcp(self.webhook);
        let body = bytes.to_vec();
        ask(Interface::Webhook, &target, Method::PUT, &path, &headers, body).await
    }

    /// Uploads [`PDF`].
    pub(crate) async fn put_pdf(&self) {
        let answer = self.put(BILLING, &digest(PDF).to_string(), PDF).await;
        assert_eq!(answer.status, 201);
    }

    /// Asks the admin interface over its socket.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let target = Target::Unix(self.socket.clone());
        ask(Interface::Admin, &target, Method::GET, path, &[], Vec::new()).await
    }

    /// Tells the admin interface to do something, over its socket.
    pub(crate) async fn act(&self, path: &str, body: Value) -> Answer {
        let target = Target::Unix(self.socket.clone());
        ask(Interface::Admin, &target, Method::POST, path, &[], body.to_string().into_bytes()).await
    }

    /// The head of a signed event, for those who write by themselves. `length` is what it announces.
    pub(crate) fn event_head(&self, key: &str, body: &[u8], length: usize) -> String {
        self.event_head_under(&self.new_id(), key, body, length)
    }

    /// As [`Self::event_head`], under an id of the caller's.
    pub(crate) fn event_head_under(
        &self,
        id: &str,
        key: &str,
        body: &[u8],
        length: usize,
    ) -> String {
        let mut head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
        );
        for (name, value) in self.signature(key, id, body) {
            head.extend([name, ": ", &value, "\r\n"]);
        }
        head.push_str("\r\n");
        head
    }

    /// A connection to the webhook.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.webhook).await.unwrap()
    }

    /// Whether the store has no account and no invoice.
    pub(crate) fn is_untouched(&self) -> bool {
        let invoices = self.store.invoices(&Filter::default(), None, 1).unwrap();
        self.store.accounts(None, 1).unwrap().items.is_empty() && invoices.items.is_empty()
    }
}

/// One a line.
pub(crate) fn ndjson(lines: &[Value]) -> String {
    let mut text: Vec<String> = lines.iter().map(Value::to_string).collect();
    text.push(String::new());
    text.join("\n")
}

pub(crate) async fn ask(
    interface: Interface,
    target: &Target,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    let response = client::request(target, method.clone(), path, headers, body.clone(), PATIENCE)
        .await
        .unwrap();
    let asked = Asked { interface, method: &method, path, headers, body: &body };
    check(&asked, &response);
    let is_batch =
        response.headers.get("content-type").is_some_and(|it| it == "application/x-ndjson");
    let body = if is_batch {
        let lines = serde_json::Deserializer::from_slice(&response.body).into_iter::<Value>();
        lines.collect::<Result<Value, _>>().unwrap()
    } else {
        serde_json::from_slice(&response.body).unwrap_or(Value::Null)
    };
    Answer { status: response.status.as_u16(), headers: response.headers, body }
}

/// Reads one answer of the webhook's off a connection that stays open: its head, and its body as JSON.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> (String, Value) {
    read_answer_of(Interface::Webhook, stream).await
}

/// As [`read_answer`], at either interface.
pub(crate) async fn read_answer_of(
    interface: Interface,
    stream: &mut TcpStream,
) -> (String, Value) {
    let answer = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        assert!(!head.is_empty(), "the connection ends without an answer");
        let whole = head.clone();
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        check_raw(interface, &[whole, body.clone()].concat());
        (head, serde_json::from_slice(&body).unwrap_or(Value::Null))
    };
    let answer = timeout(PATIENCE, answer).await;
    answer.expect("there is no answer, or no end of it")
}

/// Sends bytes and reads until the other end closes.
pub(crate) async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection is not closed")
        .unwrap();
    if !answer.is_empty() {
        check_raw(Interface::Webhook, &answer);
    }
    String::from_utf8(answer).unwrap()
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let so = timeout(PATIENCE, so).await;
    assert!(so.is_ok(), "{what} does not come");
}

/// The account of the contract's example, at `version`.
pub(crate) fn account(version: u64) -> Value {
    json!({"type": "account.updated", "timestamp": at(version), "data": {
        "account": "K-1001", "version": version, "name": "Muster GmbH", "language": "de", "schedule": "default",
        "main_contact": {"name": "Erika Muster", "company": "Muster GmbH", "addresses": ["erika@muster.example"]},
        "sub_users": [
            {"id": "u-7", "group": "Rechnungen", "contact": {"name": "Buchhaltung", "addresses": ["rechnung@muster.example"]},
             "login": {"enabled": false, "user_name": null, "permissions": []}},
            {"id": "u-8", "group": "Technik", "contact": {"name": "Technik", "addresses": ["technik@muster.example"]}}],
        "billing_contact": "u-7"}})
}

/// The body with this value at a JSON pointer.
pub(crate) fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}

/// An event of the account with these data beside account and version.
pub(crate) fn delta(event_type: &str, version: u64, more: Value) -> Value {
    let mut data = json!({"account": "K-1001", "version": version});
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    json!({"type": event_type, "timestamp": at(version), "data": data})
}

/// A later time-stamp for a higher version.
fn at(version: u64) -> String {
    let seconds = i64::try_from(version).unwrap();
    (morning() + TimeDelta::seconds(seconds)).to_rfc3339()
}

/// An invoice over [`PDF`].
pub(crate) fn invoice(number: &str) -> Value {
    json!({"type": "invoice.issued", "timestamp": "2026-11-23T09:00:00Z", "data": {
        "account": "K-1001", "number": number, "kind": "invoice", "issued_on": "2026-11-23",
        "total": {"amount": "119.00", "currency": "EUR"}, "release": "scheduled",
        "documents": [{"sha256": digest(PDF).to_string(), "file_name": "RE-2026-0042.pdf", "media_type": "application/pdf"}]}})
}
