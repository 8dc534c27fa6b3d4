//! `GET /metrics`: what monitoring reads, in the text format of `OpenMetrics` 1.0.
//!
//! What happens here, requests and connections, is counted as it happens; all else is read on request. The
//! backlog takes a walk through an index of the store: it is counted once a minute at most, however often it is asked
//! for. No label holds what comes from outside, so that no client can fill the memory with them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use tokio::time::Instant;

use crate::domain::delivery::{Outcome, Stage};
use crate::store::{Backlog, Health};

/// How the text is called.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The bounds of the time that answers take, in seconds: a sync of the disk is a few milliseconds.
const SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];
/// How long a look at the backlog is good for.
const BACKLOG_LOOK: Duration = Duration::from_secs(60);

/// Attempts by outcome and stage, since the start.
pub type Attempts = BTreeMap<(Outcome, Stage), u64>;

/// Counts what the interfaces do.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels<3>, Counter>,
    seconds: Family<Labels<1>, Histogram>,
    connections: Family<Labels<1>, Gauge>,
    turned_away: Family<Labels<1>, Counter>,
    attempts: Family<Labels<2>, Counter>,
    commits: Counter,
    committing: Gauge<f64, AtomicU64>,
    ready: Gauge,
    relay_up: Gauge,
    paused: Family<Labels<1>, Gauge>,
    accounts: Gauge,
    open_invoices: Family<Labels<1>, Gauge>,
    oldest_parked: Gauge<f64, AtomicU64>,
    unused_documents: Gauge,
    backlog: Mutex<Option<(Instant, Backlog)>>,
}

/// The name and the value of each label.
type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];

/// How the daemon fares at one moment.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) now: DateTime<Utc>,
    pub(super) ready: bool,
    pub(super) relay_up: bool,
    /// Of each scope, whether all of it is stopped.
    pub(super) paused: [(&'static str, bool); 2],
    pub(super) attempts: Attempts,
    pub(super) health: Health,
    pub(super) backlog: Backlog,
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub(super) struct Connected {
    metrics: Arc<Metrics>,
    interface: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("invoice_router");
        let r = &mut registry;
        let version = Info::new(label("version", env!("CARGO_PKG_VERSION")));
        r.register("build", "Version of the program", version);
        let requests = "Requests answered; the path is the route's";
        let duration = "Time from the head of a request to its answer";
        let turned_away = "Connections rejected because their peer had too many";
        let attempts = "Attempts to send to an address, by outcome and stage";
        let committing = "Age of the batch that is being written; 0 if there is none";
        let relay_up = "0 if the relay failed and nothing is sent until it answers";
        let paused = "1 if an operator or the daemon has paused this scope";
        let open = "Invoices that are not finished; due includes released invoices and those to be retried";
        let parked = "Age of the oldest invoice that waits for its account or a newer version of it; 0 if there is none";
        let unused = "Documents that no invoice refers to";
        let seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> _);
        Self {
            requests: add(r, "http_requests", requests, Family::default()),
            seconds: add_in(r, "http_request_duration", duration, Unit::Seconds, seconds),
            connections: add(r, "connections", "Open connections", Family::default()),
            turned_away: add(r, "connections_turned_away", turned_away, Family::default()),
            attempts: add(r, "attempts", attempts, Family::default()),
            commits: add(r, "commits", "Durable units of work", Counter::default()),
            committing: add_in(r, "commit_under_way", committing, Unit::Seconds, Gauge::default()),
            ready: add(r, "ready", "1 if /readyz answers 200", Gauge::default()),
            relay_up: add(r, "relay_up", relay_up, Gauge::default()),
            paused: add(r, "paused", paused, Family::default()),
            accounts: add(r, "accounts", "Accounts, including closed ones", Gauge::default()),
            open_invoices: add(r, "open_invoices", open, Family::default()),
            oldest_parked: add_in(
                r,
                "oldest_parked_invoice",
                parked,
                Unit::Seconds,
                Gauge::default(),
            ),
            unused_documents: add_in(r, "unused_documents", unused, Unit::Bytes, Gauge::default()),
            backlog: Mutex::default(),
            registry,
        }
    }
}

/// Has a metric written out, and hands it over to be changed.
fn add<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register(name, help, metric.clone());
    metric
}

/// As [`add`], in a unit.
fn add_in<M: Metric + Clone>(
    to: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
    metric: M,
) -> M {
    to.register_with_unit(name, help, unit, metric.clone());
    metric
}

fn label(name: &'static str, value: &'static str) -> Labels<1> {
    [(name, value.into())]
}

impl Metrics {
    /// A request was answered; `path` is its route, if it has one.
    pub(super) fn answered(
        &self,
        interface: &'static str,
        path: Option<&'static str>,
        status: u16,
        took: Duration,
    ) {
        let path = path.unwrap_or("none").into();
        let status = status.to_string().into();
        let labels = [("interface", interface.into()), ("path", path), ("status", status)];
        self.requests.get_or_create(&labels).inc();
        let seconds = self.seconds.get_or_create(&label("interface", interface));
        seconds.observe(took.as_secs_f64());
    }

    /// A connection was accepted.
    pub(super) fn connected(self: &Arc<Self>, interface: &'static str) -> Connected {
        self.connections.get_or_create(&label("interface", interface)).inc();
        Connected { metrics: Arc::clone(self), interface }
    }

    /// A connection was rejected.
    pub(super) fn turned_away(&self, interface: &'static str) {
        self.turned_away.get_or_create(&label("interface", interface)).inc();
    }

    /// What was seen of the backlog within the last minute.
    pub(super) fn recent_backlog(&self) -> Option<Backlog> {
        let seen = self.backlog.lock();
        let (at, backlog) = seen.as_ref()?;
        (at.elapsed() < BACKLOG_LOOK).then(|| backlog.clone())
    }

    /// Keeps what was seen of the backlog.
    pub(super) fn keep_backlog(&self, backlog: Backlog) {
        let mut seen = self.backlog.lock();
        *seen = Some((Instant::now(), backlog));
    }

    /// Everything, as of this moment.
    pub(super) fn write_out(&self, moment: &Moment) -> String {
        let Moment { now, ready, relay_up, paused, attempts, health, backlog } = moment;
        self.ready.set((*ready).into());
        self.relay_up.set((*relay_up).into());
        for (scope, is_paused) in *paused {
            let paused = self.paused.get_or_create(&label("scope", scope));
            paused.set(is_paused.into());
        }
        for ((outcome, stage), count) in attempts {
            let labels = [("outcome", outcome.as_str().into()), ("stage", stage.as_str().into())];
            raise(&self.attempts.get_or_create(&labels), *count);
        }
        raise(&self.commits, health.commits);
        let committing = health.committing_for.unwrap_or_default();
        self.committing.set(committing.as_secs_f64());
        let Backlog {
            accounts,
            unused_documents_bytes,
            parked,
            waiting,
            withheld,
            due,
            sending,
            oldest_parked,
        } = backlog;
        self.accounts.set(gauged(*accounts));
        self.unused_documents.set(gauged(*unused_documents_bytes));
        for (state, count) in [
            ("parked", parked),
            ("waiting", waiting),
            ("withheld", withheld),
            ("due", due),
            ("sending", sending),
        ] {
            let open = self.open_invoices.get_or_create(&label("state", state));
            open.set(gauged(*count));
        }
        let age = oldest_parked.and_then(|since| (*now - since).to_std().ok());
        self.oldest_parked.set(age.unwrap_or_default().as_secs_f64());
        let mut written = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut written, &self.registry);
        written
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let interface = self.interface;
        self.metrics.connections.get_or_create(&label("interface", interface)).dec();
    }
}

/// A counter whose value another part keeps.
fn raise(counter: &Counter, to: u64) {
    counter.inner().fetch_max(to, Ordering::Relaxed);
}

fn gauged(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_and_what_was_seen_is_written_out() {
        let metrics = Arc::new(Metrics::default());
        let took = Duration::from_millis(3);
        metrics.answered("webhook", Some("/v1/events"), 200, took);
        metrics.answered("webhook", None, 404, took);
        metrics.turned_away("webhook");
        let connected = metrics.connected("admin");
        drop(metrics.connected("admin"));
        let came = DateTime::UNIX_EPOCH;
        let moment = Moment {
            now: came + Duration::from_secs(90),
            ready: true,
            relay_up: false,
            paused: [("sending", true), ("removal", false)],
            attempts: Attempts::from([((Outcome::Accepted, Stage::FinalDot), 7)]),
            health: Health {
                commits: 9,
                committing_for: None,
                refuses_intents: None,
                refuses_new: None,
                failure: None,
            },
            backlog: Backlog { parked: 2, oldest_parked: Some(came), ..Backlog::default() },
        };
        metrics.write_out(&moment);
        let written = metrics.write_out(&moment);
        for line in [
            "invoice_router_http_requests_total{interface=\"webhook\",path=\"/v1/events\",status=\"200\"} 1",
            "invoice_router_http_requests_total{interface=\"webhook\",path=\"none\",status=\"404\"} 1",
            "invoice_router_http_request_duration_seconds_bucket{le=\"0.005\",interface=\"webhook\"} 2",
            "invoice_router_connections{interface=\"admin\"} 1",
            "invoice_router_connections_turned_away_total{interface=\"webhook\"} 1",
            "invoice_router_attempts_total{outcome=\"accepted\",stage=\"final_dot\"} 7",
            "invoice_router_commits_total 9",
            "invoice_router_ready 1",
            "invoice_router_relay_up 0",
            "invoice_router_paused{scope=\"sending\"} 1",
            "invoice_router_open_invoices{state=\"parked\"} 2",
            "invoice_router_oldest_parked_invoice_seconds 90.0",
        ] {
            assert!(written.lines().any(|written| written == line), "{line}: {written}");
        }
        assert!(written.ends_with("# EOF\n"));
        drop(connected);
    }

    #[tokio::test(start_paused = true)]
    async fn the_backlog_is_looked_at_once_a_minute() {
        let metrics = Metrics::default();
        assert_eq!(metrics.recent_backlog(), None);
        metrics.keep_backlog(Backlog::default());
        tokio::time::advance(BACKLOG_LOOK.checked_sub(Duration::from_secs(1)).unwrap()).await;
        assert_eq!(metrics.recent_backlog(), Some(Backlog::default()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(metrics.recent_backlog(), None);
    }
}
