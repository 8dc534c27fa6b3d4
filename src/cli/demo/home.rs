//! The directory of the demo: configuration, secrets, state, log, received mails. It is left behind for the user to
//! look into.

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Timelike as _};

use crate::clock::Clock;
use crate::config::Secret;

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
            let mut key = [0; 32];
            getrandom::fill(&mut key).context("cannot get random bytes")?;
            let text = format!("whsec_{}", STANDARD.encode(key));
            fs::write(directory.join(format!("{sender}-webhook-secrets")), &text)
                .context("cannot write a secret")?;
            Secret::parse(&text).map_err(|invalid| anyhow!("a new secret: {invalid}"))
        };
        let (portal, billing) = (secret("portal")?, secret("billing")?);
        Ok(Self { directory, portal, billing })
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

    /// Writes the configuration, with `relay` as the server that mails are handed to.
    pub(super) fn configure(&self, relay: SocketAddr) -> anyhow::Result<()> {
        // Half a day from now, so that the schedule never fires by itself while the demo runs.
        let hour = (Clock::system().now() + TimeDelta::hours(12)).hour();
        let text = format!(
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
        );
        fs::write(self.configuration(), text).context("cannot write the configuration")
    }
}
