//! The real program as a daemon: a process of its own, for the demo and for tests.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long the daemon may take to start, and to stop.
const TIME_OUT: Duration = Duration::from_secs(60);
/// How often the log is searched for the line that says it is ready.
const POLL: Duration = Duration::from_millis(10);
/// Lines of the log that are shown if the daemon does not start.
const LOG_LINES: usize = 20;

/// A running daemon. One that is dropped, because a demo failed or was interrupted, is killed.
#[derive(Debug)]
pub struct Daemon {
    process: Child,
    /// Where its webhook listens.
    pub webhook: SocketAddr,
}

impl Daemon {
    /// The program with this configuration, as commands are started that no service manager watches.
    #[must_use]
    pub fn program(program: &Path, configuration: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(configuration)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts a daemon that appends to `log`, and waits until it is ready.
    pub async fn start(program: &Path, configuration: &Path, log: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let earlier = usize::try_from(file.metadata()?.len())?;
        let mut process = Self::program(program, configuration)
            .arg("serve")
            .stdout(file.try_clone().context("cannot share the log")?)
            .stderr(file)
            .spawn()
            .context("cannot start the daemon")?;
        let logged = || fs::read_to_string(log).unwrap_or_default().split_off(earlier);
        let ready = async {
            loop {
                if let Some(webhook) = logged().lines().find_map(ready_address) {
                    return Some(webhook);
                }
                if !matches!(process.try_wait(), Ok(None)) {
                    return None;
                }
                sleep(POLL).await;
            }
        };
        if let Ok(Some(webhook)) = timeout(TIME_OUT, ready).await {
            return Ok(Self { process, webhook });
        }
        let log = logged();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        bail!("the daemon did not become ready:\n{}", last.join("\n"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        let pid = id.and_then(Pid::from_raw).context("the daemon exited unexpectedly")?;
        kill_process(pid, signal).context("cannot signal the daemon")
    }

    /// Asks it to stop, as a service manager does, and waits until it has.
    pub async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        timeout(TIME_OUT, self.process.wait())
            .await
            .with_context(|| format!("the daemon did not stop within {} s", TIME_OUT.as_secs()))?
            .context("cannot wait for the daemon")
    }

    /// Kills it at once.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("cannot kill the daemon")
    }
}

/// The webhook's address, if this line of the log says that the daemon is ready.
fn ready_address(line: &str) -> Option<SocketAddr> {
    let event: Value = serde_json::from_str(line).ok()?;
    (event["message"] == "ready").then_some(event["webhook.address"].as_str()?.parse().ok()?)
}
