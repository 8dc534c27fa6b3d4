//! What SIGHUP exchanges while the daemon runs: who may push, with which secrets, and who may use the admin
//! interface over TCP.
//!
//! All or nothing: the whole configuration is read and compiled anew, and if anything in it is wrong,
//! nothing is changed. What else has changed in it takes effect at the next start, and is named.

use std::sync::Arc;

use tokio::sync::watch;

use super::build::Compiled;
use crate::config::{Access, Config, ConfigErrors, KeyPath};

/// Exchanges what can be exchanged while the daemon runs.
#[derive(Debug)]
pub struct Reload {
    pub(super) access: watch::Sender<Arc<Access>>,
    /// What the daemon was started with.
    pub(super) running: Arc<Config>,
}

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// How many senders there are now.
    pub senders: usize,
    /// How many secrets they have all together.
    pub secrets: usize,
    /// How many tokens there are now.
    pub tokens: usize,
    /// The keys with values that take effect at the next start only.
    pub at_next_start: Vec<KeyPath>,
}

impl Reload {
    /// Takes over the secrets, rights and tokens of a configuration. Blocks on the file system.
    pub fn reload(&self, config: &Config) -> Result<Reloaded, ConfigErrors> {
        let access = Compiled::read(config)?.secrets.access;
        let mut at_next_start = config.differing(&self.running);
        let exchanged = [KeyPath::new("webhook.senders"), KeyPath::new("admin.tokens_file")];
        at_next_start.retain(|key| !exchanged.iter().any(|table| key.starts_with(table)));
        let reloaded = Reloaded {
            senders: access.senders.iter().count(),
            secrets: access.senders.iter().map(|sender| sender.secrets.len()).sum(),
            tokens: access.tokens.len(),
            at_next_start,
        };
        self.access.send_replace(Arc::new(access));
        Ok(reloaded)
    }
}
