//! The real program as a daemon in a directory of its own, and all who talk to it: portal, billing system,
//! operator at the command line.
//!
//! Requests are signed by the crate `standardwebhooks`, which shares no code with ours. Everything goes
//! through the program's public interfaces; what it logged is printed when a test fails.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use chrono::{TimeDelta, Timelike as _};
use invoice_router::cli::demo::daemon::Daemon as Process;
use invoice_router::clock::Clock;
use invoice_router::domain::id::Digest;
use invoice_router::http::client::{Method, Target, request};
use rustix::process::Signal;
use serde_json::Value;
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::description::{Asked, Interface, check};
use crate::overheard::{Overheard, overhear};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_invoice-router");
/// How long anything may take, on a machine that is busy with something else. Nothing waits so long
/// unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The portal's and the billing system's secrets.
pub(crate) const PORTAL: &str = "whsec_cG9ydGFsIHBvcnRhbCBwb3J0YWwgcG9ydGFsIDEyMzQ=";
pub(crate) const BILLING: &str = "whsec_YmlsbGluZyBiaWxsaW5nIGJpbGxpbmcgYmlsbGluZyE=";

/// An answer of the webhook.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// A directory with configuration, secrets and state, and the daemon that runs on it.
#[derive(Debug)]
pub(crate) struct Daemon {
    home: TempDir,
    process: Option<Process>,
    overheard: Arc<Mutex<Overheard>>,
    pushed: u32,
}

/// The daemon's admin socket, and the one at which it is overheard what commands ask.
const ADMIN: &str = "admin.sock";
const ASKED: &str = "asked.sock";
/// What it logs.
const LOG: &str = "daemon.log";

/// An address without a listener, which no one else can take as long as the tests run.
pub(crate) fn closed() -> SocketAddr {
    static BOUND: LazyLock<TcpSocket> = LazyLock::new(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket
    });
    BOUND.local_addr().unwrap()
}

/// A schedule that does not fire by itself while a test runs: half a day from now.
pub(crate) fn far_schedule() -> String {
    let hour = (Clock::system().now() + TimeDelta::hours(12)).hour();
    format!("0 {hour} * * *")
}

/// A directory with a configuration for this relay and schedule, and the secrets that it names.
pub(crate) fn home(relay: SocketAddr, cron: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let configuration = format!(
        r#"
[state]
directory = "state"
reserve_bytes = 16_777_216
[webhook]
listen = "127.0.0.1:0"
[webhook.senders.portal]
secrets_file = "./portal-secrets"
may = ["accounts"]
[webhook.senders.billing]
secrets_file = "./billing-secrets"
may = ["invoices"]
[admin]
socket = "admin.sock"
[schedules.default]
cron = "{cron}"
time_zone = "UTC"
[mail]
from = "Beispiel-Hosting <rechnung@hosting.example>"
reply_to = "buchhaltung@hosting.example"
[mail.smtp]
host = "{}"
port = {}
"#,
        relay.ip(),
        relay.port()
    );
    fs::write(home.path().join("invoice-router.toml"), configuration).unwrap();
    fs::write(home.path().join("portal-secrets"), PORTAL).unwrap();
    fs::write(home.path().join("billing-secrets"), BILLING).unwrap();
    fs::create_dir(home.path().join("state")).unwrap();
    home
}

/// Replaces `right`, which it must have, in the configuration of this directory.
#[track_caller]
pub(crate) fn alter(home: &TempDir, right: &str, wrong: &str) {
    let path = home.path().join("invoice-router.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(right), "{right}");
    fs::write(path, text.replacen(right, wrong, 1)).unwrap();
}

impl Daemon {
    /// A daemon that hands mails to `relay`, with a schedule that does not fire by itself.
    pub(crate) async fn start(relay: SocketAddr) -> Self {
        Self::start_in(home(relay, &far_schedule())).await
    }

    /// A daemon with the configuration in `home`, ready.
    pub(crate) async fn start_in(home: TempDir) -> Self {
        let overheard = overhear(&home.path().join(ASKED), home.path().join(ADMIN));
        let mut daemon = Self { home, process: None, overheard, pushed: 0 };
        daemon.start_again().await;
        daemon
    }

    /// Starts a daemon that was stopped or killed, on the same state.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let configuration = fs::read_to_string(self.configuration()).unwrap();
        let asking = configuration.replace(ADMIN, ASKED);
        assert_ne!(asking, configuration);
        fs::write(self.operators_configuration(), asking).unwrap();
        let log = self.home().join(LOG);
        let process = Process::start(Path::new(PROGRAM), &self.configuration(), &log).await;
        self.process = Some(process.unwrap());
    }

    /// Pulls the plug.
    pub(crate) async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// Stops it as a service manager does, and tells how it ended.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.process.take().unwrap().stop().await.unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().signal(signal).unwrap();
    }

    /// Pushes an event, as the one who sends events of its kind.
    pub(crate) async fn push(&mut self, event: &Value) -> Answer {
        let is_invoice = event["type"].as_str().unwrap().starts_with("invoice.");
        let secret = if is_invoice { BILLING } else { PORTAL };
        self.push_signed(secret, event).await
    }

    /// Pushes an event that is signed with this secret.
    pub(crate) async fn push_signed(&mut self, secret: &str, event: &Value) -> Answer {
        let body = event.to_string();
        let bytes = body.clone().into_bytes();
        self.send(secret, Method::POST, "/v1/events", &body, bytes).await
    }

    /// Uploads a document as the billing system.
    pub(crate) async fn upload(&mut self, document: &[u8]) -> Answer {
        let digest = Digest::of(document).to_string();
        let path = format!("/v1/documents/{digest}");
        self.send(BILLING, Method::PUT, &path, &digest, document.to_owned()).await
    }

    async fn send(
        &mut self,
        secret: &str,
        method: Method,
        path: &str,
        payload: &str,
        body: Vec<u8>,
    ) -> Answer {
        self.pushed += 1;
        let id = format!("msg_{}", self.pushed);
        let timestamp = Clock::system().now().timestamp();
        let signature =
            Webhook::new(secret).unwrap().sign(&id, timestamp, payload.as_bytes()).unwrap();
        let media_type =
            if method == Method::PUT { "application/octet-stream" } else { "application/json" };
        let headers = [
            ("content-type", media_type),
            ("webhook-id", &id),
            ("webhook-timestamp", &timestamp.to_string()),
            ("webhook-signature", &signature),
        ];
        let target = Target::Tcp(self.process.as_ref().unwrap().webhook);
        let response =
            request(&target, method.clone(), path, &headers, body.clone(), DEADLINE).await.unwrap();
        let asked = Asked {
            interface: Interface::Webhook,
            method: &method,
            path,
            headers: &headers,
            body: &body,
        };
        check(&asked, &response);
        Answer {
            status: response.status.as_u16(),
            body: serde_json::from_slice(&response.body).unwrap(),
        }
    }

    /// Runs a command beside the daemon, if that runs, and waits for its end. What it asks of the daemon, and
    /// what that answers, must be described.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        if self.process.is_none() {
            return run(self.home(), arguments).await;
        }
        let output = run_with(&self.operators_configuration(), arguments).await;
        let overheard = self.overheard.lock().unwrap();
        let findings = overheard.findings.join("\n");
        assert!(findings.is_empty(), "{arguments:?}: {findings}");
        output
    }

    /// How often commands have asked.
    pub(crate) fn asked(&self) -> usize {
        self.overheard.lock().unwrap().exchanges
    }

    /// What the admin interface answers.
    pub(crate) async fn admin(&self, path: &str) -> Value {
        serde_json::from_str(&self.admin_text(path).await).unwrap()
    }

    /// The same where it is no JSON.
    pub(crate) async fn admin_text(&self, path: &str) -> String {
        let target = Target::Unix(self.home().join(ADMIN));
        let response =
            request(&target, Method::GET, path, &[], Vec::new(), DEADLINE).await.unwrap();
        let asked = Asked {
            interface: Interface::Admin,
            method: &Method::GET,
            path,
            headers: &[],
            body: &[],
        };
        check(&asked, &response);
        assert_eq!(response.status.as_u16(), 200, "{path}");
        String::from_utf8(response.body).unwrap()
    }

    /// What a command prints for people; it must succeed.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command prints for scripts; it must succeed.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.ask(&arguments).await).unwrap()
    }

    /// Waits until an invoice is in this state, and returns all that is known of it.
    pub(crate) async fn settled(&self, account: &str, number: &str, state: &str) -> Value {
        let (account, of) = (segment(account), segment(number));
        let path = format!("/v1/accounts/{account}/invoices/{of}");
        let settled = async {
            loop {
                let invoice = self.admin(&path).await;
                if invoice["state"] == state {
                    return invoice;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, settled)
            .await
            .unwrap_or_else(|_| panic!("{number} does not become {state}"))
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home().join(LOG)).unwrap()
    }

    /// The directory with its configuration.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Its configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.home().join("invoice-router.toml")
    }

    /// As [`Self::configuration`], for commands.
    fn operators_configuration(&self) -> PathBuf {
        self.home().join("operator.toml")
    }
}

/// Runs a command with the configuration in `home`, where no daemon need be, and waits for its end.
pub(crate) async fn run(home: &Path, arguments: &[&str]) -> Output {
    run_with(&home.join("invoice-router.toml"), arguments).await
}

async fn run_with(configuration: &Path, arguments: &[&str]) -> Output {
    let mut command = Process::program(Path::new(PROGRAM), configuration);
    let output = command.args(arguments).output();
    timeout(DEADLINE, output).await.expect("the command does not end").unwrap()
}

/// An id in a path, percent-encoded.
fn segment(id: &str) -> String {
    let encoded = id.bytes().map(|byte| match byte {
        b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
