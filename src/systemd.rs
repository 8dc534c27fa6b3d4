//! What the daemon tells the service manager: ready, stopping, still alive.
//!
//! systemd hands over a socket in `NOTIFY_SOCKET` and, with `WatchdogSec=`, an interval in
//! `WATCHDOG_USEC` (`sd_notify(3)`, `sd_watchdog_enabled(3)`). Without them, in a terminal or in a
//! container, every notice is a no-op, so no caller has to ask where it runs. A notice that fails is
//! logged here and otherwise left alone: if it mattered, systemd's own time-outs act on it.

use std::time::Duration;

use sd_notify::NotifyState;

/// Sends notices to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    watchdog_interval: Option<Duration>,
}

impl Notifier {
    /// Reads from the environment whether a watchdog is to be fed.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            watchdog_interval: sd_notify::watchdog_enabled()
                .filter(|limit| !limit.is_zero())
                .map(|limit| limit / 2),
        }
    }

    /// The daemon has recovered its store and listens.
    pub fn ready(&self) {
        send(&[NotifyState::Ready]);
    }

    /// The daemon has begun to drain; `TimeoutStopSec=` counts from the signal, not from here.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }

    /// How often to call [`Notifier::feed`]: half of what systemd waits before it kills the daemon,
    /// as `sd_watchdog_enabled(3)` recommends. `None` without a watchdog.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog_interval
    }

    /// Tells the watchdog that all parts of the daemon still make progress.
    pub fn feed(&self) {
        send(&[NotifyState::Watchdog]);
    }
}

fn send(notices: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(notices) {
        tracing::warn!(%error, "could not notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Runs [`speaks_all_notices`] alone, in a process with this environment: the service manager's
    /// variables belong to the whole process, which other tests share.
    fn speak_with(variables: &[(&str, &str)]) -> bool {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "systemd::tests::speaks_all_notices"])
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
            .status
            .success()
    }

    #[test]
    fn speaks_all_notices() {
        let notifier = Notifier::from_environment();
        notifier.ready();
        if let Some(interval) = notifier.watchdog_interval() {
            assert_eq!(interval, Duration::from_secs(15));
            notifier.feed();
        }
        notifier.stopping();
    }

    #[test]
    fn systemd_reads_each_notice_and_feeds_are_twice_per_interval_of_its_own_process() {
        let all = &["READY=1\n", "WATCHDOG=1\n", "STOPPING=1\n"][..];
        let others = &["READY=1\n", "STOPPING=1\n"][..];
        // The watchdog of process 1 is meant for another one.
        for (process, expected) in [(None, all), (Some(("WATCHDOG_PID", "1")), others)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("notify");
            let manager = UnixDatagram::bind(&path).unwrap();
            manager.set_nonblocking(true).unwrap();
            let path = path.to_str().unwrap();
            let mut variables = vec![("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "30000000")];
            variables.extend(process);
            assert!(speak_with(&variables));
            let mut notices = Vec::new();
            let mut buffer = [0; 512];
            while let Ok(length) = manager.recv(&mut buffer) {
                notices.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            assert_eq!(notices, expected);
        }
    }

    #[test]
    fn without_systemd_or_its_socket_every_notice_is_a_no_op() {
        assert!(speak_with(&[]));
        assert!(speak_with(&[("NOTIFY_SOCKET", "/nonexistent/notify")]));
    }
}
