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
    /// The memory shared by bodies whose sender is not verified yet, in bytes.
    pub(super) bodies: Arc<Semaphore>,
    /// The memory shared by all other bodies, out of reach of callers without a secret.
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
    /// A client at this address.
    Tcp(IpAddr),
    /// A process that the socket's file permissions let in; its user's id, if the system knows it.
    Unix(Option<u32>),
}
