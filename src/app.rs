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
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::api::{FailedCheck, Relay};
use crate::clock::Clock;
use crate::config::{Access, Config, ConfigError, ConfigErrors, KeyPath, Limits, Location, Secret};
use crate::dispatch::{self, Dispatch, DispatchError, RelayState};
use crate::domain::audit::Actor;
use crate::domain::id::SenderName;
use crate::http::{self, Listener, Readiness};
use crate::mail::compose::Brand;
use crate::mail::transport::Transport;
use crate::store::{
    self, Finding, Health, OpenError, PauseScope, Retention, Store, StoreError, Verified,
};
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
    store: Arc<dyn Store>,
    clock: Clock,
    context: Arc<http::Context>,
    limits: Limits,
    dispatch: Dispatch,
    retention: Retention,
    webhook: TcpListener,
    admin: UnixListener,
    admin_socket: PathBuf,
    admin_tcp: Option<TcpListener>,
    notifier: Arc<Notifier>,
    access: watch::Sender<Arc<Access>>,
    config: Arc<Config>,
}

impl App {
    /// Reads what the configuration names, opens the store and binds the interfaces. `paused` stops
    /// sending before the first mail.
    pub async fn build(config: Config, paused: bool) -> Result<Self, StartError> {
        let parts = Compiled::read(&config)?;
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
        let webhook = bind(&config, "webhook.listen", config.webhook.listen)?;
        let admin = bind_socket(&config)?;
        let admin_tcp = match &config.admin.listen {
            Some(listen) => Some(bind(&config, "admin.listen", listen.address)?),
            None => None,
        };

        let nudge = Arc::new(Notify::new());
        let dispatch = Dispatch::new(dispatch::Parts {
            blocking: dispatch::Blocking::Threads,
            store: Arc::clone(&store),
            clock: clock.clone(),
            nudge: Arc::clone(&nudge),
            transport: Arc::clone(&parts.transport),
            templates: Arc::clone(&parts.templates),
            settings: build::dispatch_settings(&config),
            schedules: config.schedules.clone(),
        });
        let readiness = readiness(&store, dispatch.status());
        let (access, granted) = watch::channel(Arc::new(parts.secrets.access.clone()));
        let context = context(&config, &parts, &store, &clock, nudge, granted, readiness);
        Ok(Self {
            context: Arc::new(context),
            store,
            clock,
            limits: config.webhook.limits,
            dispatch,
            retention: build::retention(&config),
            webhook,
            admin,
            admin_socket: config.admin.socket.clone(),
            admin_tcp,
            notifier: Arc::new(Notifier::from_environment()),
            access,
            config: Arc::new(config),
        })
    }

    /// By what secrets and tokens can be exchanged while it runs.
    #[must_use]
    pub fn reload(&self) -> Reload {
        Reload { access: self.access.clone(), running: Arc::clone(&self.config) }
    }

    /// Where the webhook listens.
    pub fn webhook_address(&self) -> io::Result<SocketAddr> {
        self.webhook.local_addr()
    }

    /// Runs until `shutdown` is true, then lets what is under way end.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), StopError> {
        let webhook_address = self.webhook.local_addr().map(|address| address.to_string());
        let admin_socket = self.admin_socket.clone();
        let admin_address = self.admin_tcp.as_ref().map(TcpListener::local_addr).transpose();
        let notifier = Arc::clone(&self.notifier);
        let store = Arc::clone(&self.store);
        // The parts stop by a switch of their own, which one that failed turns, too.
        let (stop, stopping) = watch::channel(false);
        let mut parts = self.spawn(&stopping);
        tracing::info!(
            webhook.address = webhook_address.unwrap_or_default(),
            admin.socket = %admin_socket.display(),
            admin.address = admin_address.ok().flatten().map(|address| address.to_string()),
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
            let cause = "closing the database failed".to_owned();
            result = Err(StopError::Store(StoreError::SyncFailed(cause)));
        }
        drop(std::fs::remove_file(&admin_socket));
        result
    }

    /// Sets every part to work.
    fn spawn(self, stopping: &watch::Receiver<bool>) -> JoinSet<Part> {
        let Self {
            store,
            clock,
            context,
            limits,
            dispatch,
            retention,
            webhook,
            admin,
            admin_socket: _,
            admin_tcp,
            notifier,
            // Whoever exchanges them has a sender too; without one, they stay as they are.
            access: _,
            config: _,
        } = self;
        let mut parts = JoinSet::new();
        let interfaces = Interfaces { webhook, admin, admin_tcp };
        let groups = context.groups.clone();
        interfaces.spawn(&mut parts, &context, limits, stopping);

        let watched = watchdog::Watched {
            store: Arc::clone(&store),
            progress: dispatch.status().progress,
            notifier,
        };
        let seen = stopping.clone();
        parts.spawn(async move {
            let ended = dispatch.run(seen, GRACE).await;
            ("the dispatcher", ended.map_err(StopError::from))
        });
        let seen = stopping.clone();
        parts.spawn(async move { ("the watch over the store", watched.run(seen).await) });
        let (counted, seen) = (Arc::clone(&store), stopping.clone());
        parts.spawn(async move {
            let ended = watchdog::census(counted, groups, seen).await;
            ("the census", ended)
        });
        let seen = stopping.clone();
        parts.spawn(async move {
            let ended = retention::run(store, clock, retention, seen).await;
            ("the removal", ended)
        });
        parts
    }
}

/// The interfaces, bound.
struct Interfaces {
    webhook: TcpListener,
    admin: UnixListener,
    admin_tcp: Option<TcpListener>,
}

impl Interfaces {
    fn spawn(
        self,
        parts: &mut JoinSet<Part>,
        context: &Arc<http::Context>,
        limits: Limits,
        stopping: &watch::Receiver<bool>,
    ) {
        let Self { webhook, admin, admin_tcp } = self;
        let (seen, ends) = (stopping.clone(), Arc::clone(context));
        parts.spawn(async move {
            http::serve(Listener::Webhook(webhook), ends, limits, seen, GRACE).await;
            ("the webhook interface", Ok(()))
        });
        let (seen, ends) = (stopping.clone(), Arc::clone(context));
        parts.spawn(async move {
            http::serve(Listener::AdminSocket(admin), ends, limits, seen, GRACE).await;
            ("the admin interface", Ok(()))
        });
        if let Some(listener) = admin_tcp {
            let (seen, ends) = (stopping.clone(), Arc::clone(context));
            parts.spawn(async move {
                http::serve(Listener::AdminTcp(listener), ends, limits, seen, GRACE).await;
                ("the admin interface on TCP", Ok(()))
            });
        }
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

/// The key that a sender signs with; none if there is no such sender.
pub fn signing_secret(
    config: &Config,
    sender: &SenderName,
) -> Result<Option<Secret>, ConfigErrors> {
    let sender = config.sender(sender).transpose()?;
    Ok(sender.and_then(|sender| sender.secrets.into_iter().next()))
}

/// How mails of this configuration leave, and in whose name.
pub fn outgoing(config: &Config) -> Result<(Arc<Transport>, Brand), ConfigErrors> {
    let parts = Compiled::read(config)?;
    Ok((parts.transport, build::brand(config)))
}

/// Starts logging as configured.
pub fn start_logging(config: &Config) -> Result<(), ConfigErrors> {
    telemetry::init(config.log.format, &config.log.level)
        .map_err(|error| build::logging_error(config, &error).into())
}

fn context(
    config: &Config,
    parts: &Compiled,
    store: &Arc<dyn Store>,
    clock: &Clock,
    nudge: Arc<Notify>,
    access: watch::Receiver<Arc<Access>>,
    readiness: impl Fn() -> Readiness + Send + Sync + 'static,
) -> http::Context {
    http::Context {
        store: Arc::clone(store),
        clock: clock.clone(),
        nudge,
        access,
        groups: config.billing.groups.clone(),
        languages: parts.templates.languages().cloned().collect(),
        schedules: config.schedules.clone(),
        on_rejected: config.retry.on_rejected,
        readiness: Arc::new(readiness),
        metrics: Arc::default(),
    }
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

/// Checks the store of a configuration; see [`store::verify`].
pub fn verify(config: &Config, tell: &mut dyn FnMut(Finding)) -> Result<Verified, OpenError> {
    store::verify(&config.state, tell)
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
        Err(panicked) => Err(StartError::Prepare(StoreError::SyncFailed(format!(
            "the database is damaged (opening it crashed) or the disk fails (closing it crashed): {panicked}"
        )))),
    }
}
