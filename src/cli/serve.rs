//! `serve`: the daemon.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use super::{Context, Failure};
use crate::app::{self, App, Reload, Reloaded, StartError, StopError};
use crate::config::{Config, ConfigErrors, KeyPath};
use crate::dispatch::DispatchError;
use crate::store::{OpenError, StoreError};

pub(super) async fn run(context: &Context, paused: bool) -> Result<(), Failure> {
    let config = context.load()?;
    app::start_logging(&config)?;
    let (stop, shutdown) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let asked = Arc::new(Notify::new());
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                // By default it would end the process amid its mails. What comes before the daemon can
                // reload, or while it does, is kept: one reload after the last signal is enough.
                _ = hang_up.recv() => heard.notify_one(),
            }
        }
        stop.send_replace(true);
        // Kept until the end: a receiver takes a sender that is gone for a shutdown, too.
        std::future::pending::<()>().await;
    });
    let app = App::build(config, paused).await.map_err(cannot_start)?;
    tokio::spawn(reload_when(asked, app.reload(), context.config.clone()));
    app.run(shutdown).await.map_err(stopped)
}

/// Exchanges secrets and tokens each time that it is asked for.
async fn reload_when(asked: Arc<Notify>, reload: Reload, path: Option<PathBuf>) {
    let reload = Arc::new(reload);
    loop {
        asked.notified().await;
        let (reload, path) = (Arc::clone(&reload), path.clone());
        let work = move || {
            let config = Config::load(path.as_deref())?;
            reload.reload(&config)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => tell(outcome),
            Err(ended) => {
                tracing::error!(error = %ended, "SIGHUP: the reload crashed; nothing was changed");
            }
        }
    }
}

fn tell(outcome: Result<Reloaded, ConfigErrors>) {
    let reloaded = match outcome {
        Ok(reloaded) => reloaded,
        Err(errors) => {
            tracing::error!(error = %errors, "SIGHUP: the configuration is invalid; nothing was changed");
            return;
        }
    };
    let Reloaded { senders, secrets, tokens, at_next_start } = reloaded;
    tracing::info!(
        senders,
        secrets,
        tokens,
        "SIGHUP: senders, their secrets and the admin tokens were reloaded"
    );
    if !at_next_start.is_empty() {
        let keys: Vec<String> = at_next_start.iter().map(KeyPath::to_string).collect();
        tracing::warn!(keys = keys.join(", "), "SIGHUP: these keys take effect at the next start");
    }
}

fn cannot_start(error: StartError) -> Failure {
    match error {
        StartError::Configuration(errors) => Failure::from(errors),
        StartError::Store(OpenError::Store(error @ StoreError::SyncFailed(_)))
        | StartError::Prepare(error @ StoreError::SyncFailed(_)) => {
            Failure::SyncFailed(error.into())
        }
        StartError::Store(error) if error.needs_operator() => {
            Failure::Configuration(error.to_string())
        }
        error @ (StartError::Store(_) | StartError::Prepare(_) | StartError::Unusable { .. }) => {
            Failure::Failed(anyhow::Error::new(error))
        }
    }
}

fn stopped(error: StopError) -> Failure {
    match error {
        StopError::Store(error @ StoreError::SyncFailed(_))
        | StopError::Dispatch(DispatchError::Store(error @ StoreError::SyncFailed(_))) => {
            Failure::SyncFailed(error.into())
        }
        error @ (StopError::Store(_) | StopError::Dispatch(_) | StopError::Ended(_)) => {
            Failure::Failed(anyhow::Error::new(error))
        }
    }
}
