//! The demo's daemon: the real program as a process of its own, in a directory of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Timelike as _};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::Secret;

/// How long the daemon may take to start, and to stop.
const TIME_OUT: Duration = Duration::from_secs(20);
/// Lines of the log that are shown if the daemon does not start.
const LOG_LINES: usize = 20;

/// The directory of the demo: configuration, secrets, state, log, received mails. It is left behind for
/// the user to look into.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) directory: PathBuf,
    pub(super) portal: Secret,
    pub(super) billing: Secret,
}

impl Home {
    /// Makes a new directory that only this user may enter.
    pub(super) fn create() -> anyhow::Result<Self> {
        let name = format!("invoice-router-demo-{:08x}", fastrand::u32(..));
        let directory = std::env::temp_dir().join(name);
        let mut private = DirBuilder::new();
        private.mode(0o700);
        for path in [&directory, &directory.join("state"), &directory.join("mail")] {
            private.create(path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let secret = |sender: &str| {
            let text = new_secret()?;
            write_new(&directory.join(format!("{sender}-webhook-secrets")), &text)?;
            Secret::parse(text.trim_end()).map_err(|invalid| anyhow!("a new secret: {invalid}"))
        };
        let (portal, billing) = (secret("portal")?, secret("billing")?);
        Ok(Self { directory, portal, billing })
    }

    /// Writes the configuration, with `relay` as the server that mails are handed to.
    pub(super) fn configure(&self, relay: SocketAddr) -> anyhow::Result<()> {
        write_new(&self.configuration(), &configuration(relay))
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.directory.join("invoice-router.toml")
    }

    pub(super) fn mails(&self) -> PathBuf {
        self.directory.join("mail")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("admin.sock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }
}

/// Half a day from now, so that the schedule never fires by itself while the demo runs.
fn configuration(relay: SocketAddr) -> String {
    let hour = (Clock::system().now() + TimeDelta::hours(12)).hour();
    format!(
        r#"# Written by `invoice-router demo`. Relative paths are relative to this file.

[state]
directory = "state"
reserve_bytes = 16_777_216

[webhook]
# A free port; the log says which.
listen = "127.0.0.1:0"

[webhook.senders.portal]
secrets_file = "./portal-webhook-secrets"
may = ["accounts"]

[webhook.senders.billing]
secrets_file = "./billing-webhook-secrets"
may = ["invoices"]

[admin]
socket = "admin.sock"

[schedules.default]
cron = "0 {hour} * * *"
time_zone = "UTC"

[mail]
from = "Beispiel-Hosting <rechnung@hosting.example>"
reply_to = "buchhaltung@hosting.example"

# The demo's own mail server, which is gone when the demo has ended.
[mail.smtp]
host = "{host}"
port = {port}
"#,
        host = relay.ip(),
        port = relay.port(),
    )
}

/// A line for a secrets file, of 32 random bytes.
fn new_secret() -> anyhow::Result<String> {
    let mut key = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .context("cannot read /dev/urandom")?;
    Ok(format!("whsec_{}\n", STANDARD.encode(key)))
}

/// Writes a file that was not there and that only this user may read.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A running daemon. One that is dropped, because the demo failed or was interrupted, is killed.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Child,
    /// Where its webhook listens.
    pub(super) webhook: SocketAddr,
}

impl Daemon {
    /// Starts this very program as a daemon, and waits until it is ready.
    pub(super) async fn start(home: &Home) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(home.log())
            .with_context(|| format!("cannot write {}", home.log().display()))?;
        let mut process = Command::new(program)
            .arg("--config")
            .arg(home.configuration())
            .arg("serve")
            // A service manager that runs the demo is not to be told that a daemon is ready.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().context("cannot share the log")?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the daemon")?;
        let stdout = process.stdout.take().context("the daemon has no output")?;
        let (said, ready) = oneshot::channel();
        tokio::spawn(keep_log(stdout, log, said));
        if let Ok(Ok(webhook)) = timeout(TIME_OUT, ready).await {
            return Ok(Self { process, webhook });
        }
        let log = std::fs::read_to_string(home.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        bail!("the daemon did not become ready:\n{}", last.join("\n"))
    }

    /// Asks it to stop, as a service manager does, and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        let pid = id.and_then(Pid::from_raw).context("the daemon exited unexpectedly")?;
        kill_process(pid, Signal::TERM).context("cannot stop the daemon")?;
        let status = timeout(TIME_OUT, self.process.wait())
            .await
            .map_err(|_| anyhow!("the daemon did not stop within {} s", TIME_OUT.as_secs()))?
            .context("cannot wait for the daemon")?;
        if !status.success() {
            bail!("the daemon stopped with {status}");
        }
        Ok(())
    }
}

/// Writes the daemon's log to its file, and tells the address of the webhook once it is ready.
async fn keep_log(stdout: ChildStdout, mut log: File, said: oneshot::Sender<SocketAddr>) {
    let mut said = Some(said);
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A log that can't be written, on a full disk say, is no reason to stop reading: the daemon
        // would hang.
        drop(writeln!(log, "{line}"));
        if let Some(address) = ready_address(&line)
            && let Some(said) = said.take()
        {
            // If it can't be said, nobody waits any more.
            said.send(address).ok();
        }
    }
}

fn ready_address(line: &str) -> Option<SocketAddr> {
    #[derive(Deserialize)]
    struct Event {
        message: String,
        #[serde(rename = "webhook.address")]
        address: SocketAddr,
    }
    let Event { message, address } = serde_json::from_str(line).ok()?;
    (message == "ready").then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    #[test]
    fn the_written_configuration_is_accepted() {
        let text = configuration("127.0.0.1:2525".parse().unwrap());
        let config = Config::parse(&text, "demo", &Environment::default()).unwrap();
        assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    }

    #[test]
    fn the_address_is_read_from_the_line_that_says_ready() {
        let address = Some("127.0.0.1:8480".parse().unwrap());
        for (line, expected) in [
            (r#"{"message":"ready","webhook.address":"127.0.0.1:8480"}"#, address),
            (r#"{"message":"binding","webhook.address":"127.0.0.1:8480"}"#, None),
            ("ready", None),
        ] {
            assert_eq!(ready_address(line), expected, "{line}");
        }
    }
}
