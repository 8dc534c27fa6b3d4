//! What all requests of an interface share, and who is at the other end of a connection.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Context;
use super::rate::Rates;
use crate::config::Limits;

/// Which of the two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interface {
    /// For portal and billing system.
    Webhook,
    /// For operators.
    Admin,
}

impl Interface {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Admin => "admin",
        }
    }
}

/// One interface, as all of its connections share it.
pub(super) struct Service {
    pub(super) interface: Interface,
    pub(super) context: Arc<Context>,
    pub(super) limits: Limits,
    pub(super) rates: Rates,
    /// The memory that bodies share of which nobody knows yet who sends them, in bytes.
    pub(super) bodies: Arc<Semaphore>,
    /// The memory that all others share, so that nobody without a secret takes it from them.
    pub(super) verified_bodies: Arc<Semaphore>,
}

impl Service {
    pub(super) fn new(interface: Interface, context: Arc<Context>, limits: Limits) -> Arc<Self> {
        let shared = || Arc::new(Semaphore::new(limits.bodies_bytes.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            bodies: shared(),
            verified_bodies: shared(),
            rates: Rates::new(limits.sender_requests_per_second),
            interface,
            context,
            limits,
        })
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody, from this address.
    Tcp(IpAddr),
    /// Somebody whom the socket's file permissions let in; the user's id, if the system tells.
    Unix(Option<u32>),
}
