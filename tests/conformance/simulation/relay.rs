//! A relay without a network: what it is set to, what it has, and what has come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::seeds::locked;
use crate::socket::Socket;

/// No world needs so many. Whoever goes round without end does so at one instant, and no other task has a turn any
/// more: a panic ends it.
const CONNECTIONS_MAX: u64 = 100_000;

/// How often things go wrong, each in 0..1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// A connection is refused.
    pub(crate) refused: f64,
    /// Up to MAIL.
    pub(crate) greeting: f64,
    /// At RCPT and DATA.
    pub(crate) envelope: f64,
    /// Within the message.
    pub(crate) body: f64,
    /// At the final dot.
    pub(crate) final_dot: f64,
    /// Every address is rejected, whoever's fault that is.
    pub(crate) rejects_all: bool,
    /// The longest delay of a reply.
    pub(crate) delay: Duration,
}

impl Weather {
    pub(crate) const FINE: Self = Self {
        refused: 0.0,
        greeting: 0.0,
        envelope: 0.0,
        body: 0.0,
        final_dot: 0.0,
        rejects_all: false,
        delay: Duration::from_millis(20),
    };
}

/// A message that the relay has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) to: String,
    pub(crate) number: String,
    pub(crate) message_id: String,
    pub(crate) date: String,
    pub(crate) digest: [u8; 32],
    /// Whether it said 250.
    pub(crate) confirmed: bool,
}

/// A message under way, from its first byte until the reply to its final dot is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) to: String,
    /// Once its header has come.
    pub(crate) number: Option<String>,
}

/// Whoever wants to know what the relay sees, at the very moment.
pub(crate) trait Watch: Send {
    /// The first byte of a message for `to` has come on this socket.
    fn first_byte(&mut self, socket: u64, to: &str);
    /// The header of the message that began last on this socket has come: it is `number`.
    fn header(&mut self, socket: u64, to: &str, number: &str);
    /// More connections are open than may be.
    fn too_many_connections(&mut self);
    /// The relay blames an address.
    fn rejected(&mut self, to: &str);
}

/// What it saw, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) connections: u64,
    pub(crate) troubles: u64,
}

#[derive(Clone)]
pub(crate) struct Relay(Arc<Mutex<Inner>>);

pub(crate) struct Inner {
    pub(crate) rng: fastrand::Rng,
    pub(crate) weather: Weather,
    pub(crate) dead: BTreeSet<String>,
    pub(crate) copies: Vec<Copy>,
    pub(crate) streams: BTreeMap<u64, Stream>,
    seen: Seen,
    pub(crate) pipelining: bool,
    connections: usize,
    pub(crate) open: usize,
}

impl Relay {
    /// A relay that is to see no more than so many `connections` at once.
    pub(crate) fn new(seed: u64, connections: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self(Arc::new(Mutex::new(Inner {
            pipelining: rng.bool(),
            connections,
            open: 0,
            rng,
            weather: Weather::FINE,
            dead: BTreeSet::new(),
            copies: Vec::new(),
            streams: BTreeMap::new(),
            seen: Seen::default(),
        })))
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.with(|inner| inner.weather = weather);
    }

    /// Whether an address exists from now on.
    pub(crate) fn set_dead(&self, address: &str, dead: bool) {
        self.with(|inner| {
            if dead {
                inner.dead.insert(address.to_owned());
            } else {
                inner.dead.remove(address);
            }
        });
    }

    pub(crate) fn is_dead(&self, address: &str) -> bool {
        self.with(|inner| inner.dead.contains(address))
    }

    pub(crate) fn copies(&self) -> Vec<Copy> {
        self.with(|inner| inner.copies.clone())
    }

    /// The messages under way.
    pub(crate) fn streams(&self) -> Vec<Stream> {
        self.with(|inner| inner.streams.values().cloned().collect())
    }

    pub(crate) fn seen(&self) -> Seen {
        self.with(|inner| inner.seen)
    }

    /// A socket to it.
    pub(crate) fn connect(&self, watch: Arc<Mutex<dyn Watch>>) -> io::Result<Socket> {
        let (id, refused) = self.with(|inner| {
            inner.seen.connections += 1;
            assert!(inner.seen.connections < CONNECTIONS_MAX, "it connects without end");
            let refused = inner.rng.f64() < inner.weather.refused;
            (inner.seen.connections, refused)
        });
        if refused {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let too_many = self.with(|inner| {
            inner.open += 1;
            // Beside those that send, one may be left with good-bye for each, and one be probed.
            inner.open > 2 * inner.connections + 1
        });
        if too_many {
            locked(&watch).too_many_connections();
        }
        Ok(Socket::open(id, self.clone(), watch))
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut locked(&self.0))
    }
}

impl Inner {
    pub(crate) fn rejects(&self, address: &str) -> bool {
        self.weather.rejects_all || self.dead.contains(address)
    }

    pub(crate) fn happens(&mut self, chance: f64) -> bool {
        let happens = self.rng.f64() < chance;
        self.seen.troubles += u64::from(happens);
        happens
    }

    pub(crate) fn pick<T: std::marker::Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }
}
