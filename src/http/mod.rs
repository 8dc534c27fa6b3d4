//! Both HTTP interfaces: the webhook that portal and billing system push to, and the admin interface
//! that operators and the command line ask.
//!
//! A request is judged in one order: limits, headers, signature, right, remembered id, strict typed
//! JSON, version, rules, durable commit, answer. No success is answered before its commit is durable,
//! and a client that hangs up cannot cancel one: each request is worked on in a task of its own. hyper is
//! named in this folder only, its client for the command line included.

mod admin;
mod audit;
mod batch;
mod body;
pub mod client;
mod cursor;
mod documents;
mod events;
mod fields;
mod head;
mod interface;
mod json;
mod metrics;
mod problem;
mod rate;
mod request;
mod routes;
mod server;
mod service;
pub mod signature;
mod values;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};

use self::interface::{Interface, Service};
pub use self::metrics::{Attempts, Metrics};
use self::problem::Problem;
use self::request::blocking;
#[cfg(any(test, fuzzing))]
pub(crate) use self::{
    cursor::property::cursors, events::property::events, signature::property::signatures,
};
use crate::api::{FailedCheck, Relay};
use crate::clock::Clock;
use crate::config::{Access, Limits};
use crate::domain::account::BillingGroups;
use crate::domain::contact::Language;
use crate::domain::recipient::OnRejected;
use crate::domain::schedule::Schedules;
use crate::store::{Store, StoreError};

/// What both interfaces work with.
#[derive(Clone)]
pub struct Context {
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Clock,
    /// Notified (`notify_one`) after a commit that may have made something due.
    pub wake_up: Arc<Notify>,
    /// Who may do what. Each request is checked against the current value.
    pub access: watch::Receiver<Arc<Access>>,
    /// The groups whose members may be selected.
    pub groups: BillingGroups,
    /// The languages that have templates.
    pub languages: BTreeSet<Language>,
    /// The configured schedules.
    pub schedules: Schedules,
    /// For the dry run, which resolves as sending does.
    pub on_rejected: OnRejected,
    /// For `/readyz`.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// Who may do what, currently.
    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.borrow())
    }

    /// Reads from the store, where blocking is allowed.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = Arc::clone(&self.store);
        blocking(move || read(store.as_ref())).await
    }
}

/// Whether the daemon can do its work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The checks that fail, with what is wrong; ready if there is none.
    pub failing: Vec<FailedCheck>,
    /// How the relay fares, which does not make it ready or not.
    pub relay: Relay,
    /// What was tried there.
    pub attempts: Attempts,
}

/// An interface's listener.
#[derive(Debug)]
pub enum Listener {
    /// The webhook's.
    Webhook(TcpListener),
    /// The admin interface's socket, whose file permissions say who may.
    AdminSocket(UnixListener),
    /// The admin interface's for holders of a token.
    AdminTcp(TcpListener),
}

/// Serves an interface until `shutdown` is true, then lets requests under way end for at most `grace`.
pub async fn serve(
    listener: Listener,
    context: Arc<Context>,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
    grace: Duration,
) {
    let service = |interface| Service::new(interface, context, limits);
    match listener {
        Listener::Webhook(listener) => {
            server::serve(listener, service(Interface::Webhook), shutdown, grace).await;
        }
        Listener::AdminSocket(listener) => {
            server::serve(listener, service(Interface::Admin), shutdown, grace).await;
        }
        Listener::AdminTcp(listener) => {
            server::serve(listener, service(Interface::Admin), shutdown, grace).await;
        }
    }
}
