//! `serve`: the daemon.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Context, Failure};
use crate::app::{self, App, StartError, StopError};
use crate::dispatch::DispatchError;
use crate::store::{OpenError, StoreError};

pub(super) fn run(context: &Context, paused: bool) -> Result<(), Failure> {
    let config = context.load()?;
    app::start_logging(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let (stop, shutdown) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    // By default it would end the process amid its mails.
                    _ = hang_up.recv() => tracing::warn!(
                        "SIGHUP: a changed configuration takes effect at the next start"
                    ),
                }
            }
            stop.send_replace(true);
            // Kept until the end: a receiver takes a sender that is gone for a shutdown, too.
            std::future::pending::<()>().await;
        });
        let app = App::build(config, paused).await.map_err(cannot_start)?;
        app.run(shutdown).await.map_err(stopped)
    })
}

fn cannot_start(error: StartError) -> Failure {
    match error {
        StartError::Configuration(errors) => Failure::from(errors),
        StartError::Store(OpenError::Store(StoreError::SyncFailed(cause)))
        | StartError::Prepare(StoreError::SyncFailed(cause)) => sync_failed(&cause),
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
        StopError::Store(StoreError::SyncFailed(cause))
        | StopError::Dispatch(DispatchError::Store(StoreError::SyncFailed(cause))) => {
            sync_failed(&cause)
        }
        error @ (StopError::Store(_) | StopError::Dispatch(_) | StopError::Ended(_)) => {
            Failure::Failed(anyhow::Error::new(error))
        }
    }
}

fn sync_failed(cause: &str) -> Failure {
    Failure::SyncFailed(anyhow::anyhow!("the disk failed a sync: {cause}"))
}
