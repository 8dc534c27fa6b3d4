//! The composition root: builds the daemon of a configuration and runs it.
//!
//! Everything is checked and opened before anything runs: [`App::build`] either returns a daemon that
//! can work or says why not, and [`App::run`] is the only way in, for tests too. A part that ends by
//! itself ends the daemon: systemd starts it anew, which is safer than half a daemon.

mod build;
mod listeners;
mod reload;
mod retention;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::api::{FailedCheck, Relay};
use crate::clock::Clock;
use crate::config::{Access, Config, ConfigError, ConfigErrors, KeyPath, Location};
use crate::dispatch::{self, Dispatch, DispatchError, RelayState};
use crate::domain::audit::Actor;
use crate::http::{self, Listener, Readiness};
use crate::mail::compose::Brand;
use crate::mail::transport::Transport;
use crate::store::{self, Health, OpenError, PauseScope, Store, StoreError};
use crate::systemd::Notifier;
use crate::telemetry;

use self::build::Compiled;
use self::listeners::{bind, bind_socket, create_mail_directory, missing_directories, unusable};

pub use self::reload::{Reload, Reloaded};

/// How long requests and attempts under way may take once the daemon is to stop; the unit's
/// `TimeoutStopSec` is longer.
const GRACE: Duration = Duration::from_secs(30);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration, or something that it names, is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Store(#[from] OpenError),
    /// Something could not be committed.
    #[error("cannot prepare the store")]
    Prepare(#[from] StoreError),
    /// What a key names cannot be used now; another try may go better.
    #[error("{at}: {key}: cannot use {what}")]
    Unusable {
        /// The location of the key.
        at: Location,
        /// The key.
        key: KeyPath,
        /// What it names.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// Why the daemon stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// Sending failed.
    #[error("sending failed")]
    Dispatch(#[from] DispatchError),
    /// A part of the daemon ended.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// A daemon that is ready to run.
pub struct App {
    config: Arc<Config>,
    store: Arc<dyn Store>,
    clock: Clock,
    context: Arc<http::Context>,
    dispatch: Dispatch,
    /// The interfaces, bound, with their names as parts.
    listeners: Vec<(&'static str, Listener)>,
    webhook_address: SocketAddr,
    admin_address: Option<SocketAddr>,
    access: watch::Sender<Arc<Access>>,
}

impl App {
    /// Reads what the configuration names, opens the store and binds the interfaces. `paused` stops
    /// sending before the first mail.
    pub async fn build(config: Config, paused: bool) -> Result<Self, StartError> {
        let compiled = Compiled::read(&config)?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let clock = Clock::system();
        let store = open_store(&config).await?;
        if paused {
            let reason = "started with --paused".to_owned();
            store.pause(PauseScope::Everything, reason, Actor::Daemon, clock.now()).await?;
        }
        create_mail_directory(&config)?;
        let (webhook, webhook_address) = bind(&config, "webhook.listen", config.webhook.listen)?;
        let mut listeners = vec![
            ("the webhook interface", Listener::Webhook(webhook)),
            ("the admin interface", Listener::AdminSocket(bind_socket(&config)?)),
        ];
        let mut admin_address = None;
        if let Some(listen) = &config.admin.listen {
            let (listener, address) = bind(&config, "admin.listen", listen.address)?;
            listeners.push(("the admin interface on TCP", Listener::AdminTcp(listener)));
            admin_address = Some(address);
        }

        let wake_up = Arc::new(Notify::new());
        let languages = compiled.templates.languages().cloned().collect();
        let dispatch = Dispatch::new(dispatch::Parts {
            blocking: dispatch::Blocking::Threads,
            store: Arc::clone(&store),
            clock: clock.clone(),
            wake_up: Arc::clone(&wake_up),
            transport: compiled.transport,
            templates: compiled.templates,
            settings: build::dispatch_settings(&config),
            schedules: config.schedules.clone(),
        });
        let (access, granted) = watch::channel(Arc::new(compiled.secrets.access));
        let context = Arc::new(http::Context {
            store: Arc::clone(&store),
            clock: clock.clone(),
            wake_up,
            access: granted,
            groups: config.billing.groups.clone(),
            languages,
            schedules: config.schedules.clone(),
            on_rejected: config.retry.on_rejected,
            readiness: Arc::new(readiness(&store, dispatch.status())),
            metrics: Arc::default(),
        });
        let config = Arc::new(config);
        Ok(Self {
            config,
            store,
            clock,
            context,
            dispatch,
            listeners,
            webhook_address,
            admin_address,
            access,
        })
    }

    /// By what secrets and tokens can be exchanged while it runs.
    #[must_use]
    pub fn reload(&self) -> Reload {
        Reload { access: self.access.clone(), running: Arc::clone(&self.config) }
    }

    /// Runs until `shutdown` is true, then lets what is under way end.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), StopError> {
        let (webhook_address, admin_address) = (self.webhook_address, self.admin_address);
        let (config, store) = (Arc::clone(&self.config), Arc::clone(&self.store));
        let notifier = Arc::new(Notifier::from_environment());
        // The parts stop by a switch of their own, which one that failed turns, too.
        let (stop, stopping) = watch::channel(false);
        let mut parts = self.spawn(stopping, Arc::clone(&notifier));
        tracing::info!(
            webhook.address = %webhook_address,
            admin.socket = %config.admin.socket.display(),
            admin.address = admin_address.map(|address| address.to_string()),
            "ready"
        );
        notifier.ready();
        let first = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => None,
            ended = parts.join_next() => ended,
        };
        tracing::info!("stopping");
        notifier.stopping();
        // Every part holds a receiver; one that has ended needs no telling.
        stop.send_replace(true);
        let mut result = first.map_or(Ok(()), ended_early);
        while let Some(ended) = parts.join_next().await {
            result = result.and(outcome(ended).1);
        }
        // What made the store fail counts more than what followed from it, a closed store say: whether a
        // restart is safe hangs on it. And the last commits may fail after all who asked have gone.
        let closing = Arc::clone(&store);
        let closed = tokio::task::spawn_blocking(move || closing.close()).await;
        if let Ok(Err(failure)) = closed {
            result = Err(StopError::Store(failure));
        }
        // The database syncs once more as it goes, and panics if that fails.
        let gone = tokio::task::spawn_blocking(move || drop(store)).await;
        if gone.is_err() && result.is_ok() {
            let failure = StoreError::sync_failed("closing the database failed");
            result = Err(StopError::Store(failure));
        }
        drop(std::fs::remove_file(&config.admin.socket));
        result
    }

    /// Sets every part to work.
    fn spawn(self, stopping: watch::Receiver<bool>, notifier: Arc<Notifier>) -> JoinSet<Part> {
        let Self { config, store, clock, context, dispatch, listeners, .. } = self;
        let mut parts = Parts { tasks: JoinSet::new(), stopping };
        for (name, listener) in listeners {
            let (context, limits) = (Arc::clone(&context), config.webhook.limits);
            parts.spawn(name, |stopping| async move {
                http::serve(listener, context, limits, stopping, GRACE).await;
                Ok(())
            });
        }
        let progress = dispatch.status().progress;
        let watched = watchdog::Watched { store: Arc::clone(&store), progress, notifier };
        parts.spawn("the watch over the store", |stopping| watched.run(stopping));
        parts.spawn("the dispatcher", |stopping| async {
            dispatch.run(stopping, GRACE).await.map_err(StopError::from)
        });
        let groups = config.billing.groups.clone();
        let counted = Arc::clone(&store);
        parts.spawn("the census", |stopping| watchdog::census(counted, groups, stopping));
        let periods = build::retention(&config);
        parts.spawn("the removal", |stopping| retention::run(store, clock, periods, stopping));
        parts.tasks
    }
}

/// The parts of the running daemon.
struct Parts {
    tasks: JoinSet<Part>,
    stopping: watch::Receiver<bool>,
}

impl Parts {
    fn spawn<F>(&mut self, name: &'static str, part: impl FnOnce(watch::Receiver<bool>) -> F)
    where
        F: Future<Output = Result<(), StopError>> + Send + 'static,
    {
        let part = part(self.stopping.clone());
        self.tasks.spawn(async move { (name, part.await) });
    }
}

/// A part's name, and how it ended.
type Part = (&'static str, Result<(), StopError>);

type Ended = Result<Part, tokio::task::JoinError>;

/// What a part's end means before the daemon was to stop.
fn ended_early(ended: Ended) -> Result<(), StopError> {
    let (name, result) = outcome(ended);
    result.and(Err(StopError::Ended(name)))
}

fn outcome(ended: Ended) -> Part {
    match ended {
        Ok(ended) => ended,
        Err(panicked) => {
            tracing::error!(error = %panicked, "a part of the daemon panicked");
            ("a part that panicked", Err(StopError::Ended("a part that panicked")))
        }
    }
}

/// Reads and compiles everything that the configuration names. Returns warnings: suspicious
/// but valid settings, and directories that do not exist yet.
pub fn check(config: &Config) -> Result<Vec<ConfigError>, ConfigErrors> {
    Compiled::read(config)?;
    let mut warnings = config.warnings();
    warnings.extend(missing_directories(config));
    Ok(warnings)
}

/// How mails of this configuration leave, and in whose name.
pub fn outgoing(config: &Config) -> Result<(Arc<Transport>, Brand), ConfigErrors> {
    Ok((Compiled::read(config)?.transport, build::brand(config)))
}

/// Starts logging as configured.
pub fn start_logging(config: &Config) -> Result<(), ConfigErrors> {
    telemetry::init(config.log.format, &config.log.level)
        .map_err(|error| build::logging_error(config, &error).into())
}

/// Whether the daemon can do its work: whether it takes events. A relay that is down is shown, but is no
/// reason to send the portal away.
fn readiness(
    store: &Arc<dyn Store>,
    status: dispatch::Status,
) -> impl Fn() -> Readiness + Send + Sync + 'static {
    let store = Arc::clone(store);
    move || {
        let Health { failure, refuses_new, .. } = store.health();
        let full = refuses_new.filter(|cause| *cause == StoreError::DiskFull);
        let failing = |check: &str, cause: StoreError| FailedCheck {
            check: check.to_owned(),
            detail: cause.to_string(),
        };
        let failed = failure.map(|failure| failing("store", failure));
        let full = full.map(|full| failing("disk", full));
        let relay = match &*status.relay.borrow() {
            RelayState::Untried => Relay::Untried,
            RelayState::Up => Relay::Up,
            RelayState::Down { since, cause } => {
                Relay::Down { since: *since, cause: cause.clone() }
            }
        };
        Readiness {
            failing: failed.into_iter().chain(full).collect(),
            relay,
            attempts: status.progress.attempts(),
        }
    }
}

/// Works on the store where that may block.
async fn blocking<T: Send + 'static>(
    store: &Arc<dyn Store>,
    work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = Arc::clone(store);
    let done = tokio::task::spawn_blocking(move || work(store.as_ref())).await;
    done.unwrap_or_else(|panicked| Err(StoreError::failed("using the store", panicked)))
}

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let settings = config.state.clone();
    let rules = build::rules(config);
    let opened = tokio::task::spawn_blocking(move || store::open(&settings, rules)).await;
    match opened {
        Ok(Ok(store)) => Ok(store),
        Ok(Err(OpenError::Io { operation, path, source }))
            if path.starts_with(&config.state.directory) =>
        {
            let what = format!("{} ({operation} failed)", path.display());
            Err(unusable(config, "state.directory", what, source))
        }
        Ok(Err(error)) => Err(error.into()),
        // sled panics if the disk fails it as it closes a database that could not be used.
        Err(panicked) => Err(StartError::Prepare(StoreError::sync_failed(format!(
            "the database is damaged (opening it crashed) or the disk fails (closing it crashed): {panicked}"
        )))),
    }
}
