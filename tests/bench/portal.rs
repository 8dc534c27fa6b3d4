//! Signed requests over connections that stay open, and how long each took.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use invoice_router::clock::Clock;
use invoice_router::config::Secret;
use invoice_router::domain::id::{Digest, WebhookId};
use invoice_router::http::signature::sign;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is sent, whereto and how much of it.
pub(crate) struct Load {
    what: What,
    address: SocketAddr,
    secret: Secret,
    clients: usize,
    /// Tells the events of this run from those of others.
    run: String,
    count: u64,
    time: Duration,
}

enum What {
    /// Each event brings a new account.
    Accounts,
    /// Each event brings an invoice with this document for the next account.
    Invoices(Digest),
    /// These bytes.
    Document(Vec<u8>),
}

/// A request, ready to be signed.
struct Request {
    method_and_path: String,
    /// What the signature is over.
    payload: Vec<u8>,
    body: Vec<u8>,
}

impl Load {
    pub(crate) fn parse(what: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let [address, secrets, clients, run, count, seconds, document @ ..] = arguments else {
            bail!("expected ADDRESS SECRETS CLIENTS RUN COUNT SECONDS [DOCUMENT]");
        };
        let document = || -> anyhow::Result<Vec<u8>> {
            let path = document.first().context("expected a document")?;
            std::fs::read(path).context("cannot read the document")
        };
        let secret = std::fs::read_to_string(secrets).context("cannot read the secret")?;
        Ok(Self {
            what: match what {
                "accounts" => What::Accounts,
                "invoices" => What::Invoices(digest(&document()?)),
                "document" => What::Document(document()?),
                other => bail!("{other} cannot be sent"),
            },
            address: address.parse()?,
            secret: Secret::parse(secret.trim_end()).map_err(|invalid| anyhow!("{invalid}"))?,
            clients: clients.parse()?,
            run: (*run).to_owned(),
            count: count.parse()?,
            time: Duration::from_secs_f64(seconds.parse()?),
        })
    }

    /// Sends, and says in JSON what that took.
    pub(crate) async fn run(self) -> anyhow::Result<String> {
        let load = Arc::new(self);
        let mut connections = Vec::with_capacity(load.clients);
        for _ in 0..load.clients {
            connections.push(Connection::open(load.address).await?);
        }
        let next = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for connection in connections {
            let (load, next) = (Arc::clone(&load), Arc::clone(&next));
            clients.spawn(async move { load.client(connection, &next, began).await });
        }
        let mut took = Vec::new();
        while let Some(client) = clients.join_next().await {
            took.extend(client??);
        }
        let seconds = began.elapsed().as_secs_f64();
        took.sort_unstable();
        let microseconds = |percent: usize| {
            let index = (took.len() * percent / 100).min(took.len().saturating_sub(1));
            took.get(index).map_or(0, Duration::as_micros)
        };
        Ok(format!(
            "{{\"answered\": {}, \"seconds\": {seconds}, \"p50_us\": {}, \"p99_us\": {}, \
             \"slowest_us\": {}, \"body_bytes\": {}}}",
            took.len(),
            microseconds(50),
            microseconds(99),
            microseconds(100),
            load.request(0).body.len(),
        ))
    }

    async fn client(
        &self,
        mut connection: Connection,
        next: &AtomicU64,
        began: Instant,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut took = Vec::new();
        while began.elapsed() < self.time {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                break;
            }
            let bytes = self.bytes(number)?;
            let sent = Instant::now();
            connection.exchange(&bytes).await?;
            took.push(sent.elapsed());
        }
        Ok(took)
    }

    /// A signed request as it goes over the wire.
    fn bytes(&self, number: u64) -> anyhow::Result<Vec<u8>> {
        let request = self.request(number);
        let id = format!("{}-{number}", self.run);
        let webhook_id = WebhookId::parse(id.clone()).map_err(|invalid| anyhow!("{invalid}"))?;
        let timestamp = Clock::system().now().timestamp();
        let signature = sign(&self.secret, &webhook_id, timestamp, &request.payload);
        let mut bytes = format!(
            "{} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             webhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n\r\n",
            request.method_and_path,
            self.address,
            request.body.len(),
        )
        .into_bytes();
        bytes.extend(request.body);
        Ok(bytes)
    }

    fn request(&self, number: u64) -> Request {
        let run = &self.run;
        let event = match &self.what {
            What::Accounts => account(number),
            What::Invoices(digest) => invoice(run, number, digest),
            What::Document(bytes) => {
                let digest = digest(bytes).to_string();
                return Request {
                    method_and_path: format!("PUT /v1/documents/{digest}"),
                    payload: digest.into_bytes(),
                    body: bytes.clone(),
                };
            }
        };
        Request {
            method_and_path: "POST /v1/events".to_owned(),
            payload: event.clone().into_bytes(),
            body: event.into_bytes(),
        }
    }
}

/// An account with two sub-users, one of them its billing contact.
fn account(number: u64) -> String {
    format!(
        r#"{{"type":"account.updated","timestamp":"2026-11-23T08:00:00Z","data":{{"account":"K-{number}","version":1,"name":"Muster GmbH {number}","language":"de","schedule":"default","main_contact":{{"name":"Erika Muster","company":"Muster GmbH","addresses":["erika@muster-{number}.example"]}},"sub_users":[{{"id":"u-1","group":"Technik","contact":{{"name":"Technik","addresses":["technik@muster-{number}.example"]}},"login":{{"enabled":true,"user_name":"technik","permissions":["servers"]}}}},{{"id":"u-2","group":"Rechnungen","contact":{{"name":"Buchhaltung","company":"Muster GmbH","addresses":["rechnung@muster-{number}.example"]}}}}],"billing_contact":"u-2"}}}}"#
    )
}

fn invoice(run: &str, number: u64, digest: &Digest) -> String {
    format!(
        r#"{{"type":"invoice.issued","timestamp":"2026-11-23T09:00:00Z","data":{{"account":"K-{number}","number":"RE-{run}-{number}","kind":"invoice","issued_on":"2026-11-23","due_on":"2026-12-07","total":{{"amount":"119.00","currency":"EUR"}},"release":"scheduled","documents":[{{"sha256":"{digest}","file_name":"RE.pdf","media_type":"application/pdf"}}]}}}}"#
    )
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// A connection that stays open.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::new() })
    }

    /// Sends a request and reads its whole answer, which must be that something new was taken.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let body = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the connection was closed");
            }
            if let Some(end) = end_of_head(&self.answer)
                && self.answer.len() >= end + content_length(&self.answer[..end])?
            {
                break end;
            }
        };
        let (head, body) = self.answer.split_at(body);
        let is_new = [&b"\"applied\""[..], b"\"stored\""]
            .iter()
            .any(|result| body.windows(result.len()).any(|window| window == *result));
        if !is_new {
            bail!("refused: {}{}", String::from_utf8_lossy(head), String::from_utf8_lossy(body));
        }
        Ok(())
    }
}

fn end_of_head(answer: &[u8]) -> Option<usize> {
    let end = b"\r\n\r\n";
    let at = answer.windows(end.len()).position(|window| window == end)?;
    Some(at + end.len())
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?;
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, length)| Ok(length.trim().parse()?))
}
