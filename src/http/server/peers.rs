//! How many connections each address has, so that no single one can take them all.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::http::interface::Peer;

/// The least time between two warnings about rejected connections.
const SILENCE: Duration = Duration::from_secs(10);

/// The connections of each address.
#[derive(Debug)]
pub(super) struct Peers {
    most: usize,
    seated: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A connection's place among those of its address, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    of: IpAddr,
    peers: Arc<Peers>,
}

impl Peers {
    /// At most so many connections of one address.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, seated: Mutex::default() })
    }

    /// A place for one more connection, unless the address has as many as it may.
    pub(super) fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let of = network(address);
        let mut seated = self.seated.lock();
        let taken = seated.entry(of).or_default();
        if *taken >= self.most {
            return None;
        }
        *taken += 1;
        Some(Seat { of, peers: Arc::clone(self) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = self.peers.seated.lock();
        if let Some(taken) = seated.get_mut(&self.of) {
            *taken -= 1;
            if *taken == 0 {
                seated.remove(&self.of);
            }
        }
    }
}

/// Whose an address is: a single host of IPv6 commonly has a whole /64 to choose from (RFC 6177, section 2).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// The network of a peer, for the log: an address by itself may be a person's.
pub(super) fn shown(peer: &Peer) -> Option<String> {
    let Peer::Tcp(address) = peer else {
        return None;
    };
    Some(match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80));
            format!("{network}/48")
        }
    })
}

/// Warns about rejected connections, at most every ten seconds: an attack must not fill the log.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    spoke: Option<Instant>,
    unspoken: u64,
}

impl TurnedAway {
    /// One more; says how many there were since the last time that it said so, when it is time again.
    pub(super) fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.unspoken += 1;
        if self.spoke.is_some_and(|spoke| now < spoke + SILENCE) {
            return None;
        }
        self.spoke = Some(now);
        Some(std::mem::take(&mut self.unspoken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_one_back_for_each_connection_that_ends() {
        let peers = Peers::new(2);
        let first = peers.seat(ip("192.0.2.1")).unwrap();
        let _second = peers.seat(ip("192.0.2.1")).unwrap();
        assert!(peers.seat(ip("192.0.2.1")).is_none());
        assert!(peers.seat(ip("192.0.2.2")).is_some());
        drop(first);
        let _third = peers.seat(ip("192.0.2.1")).unwrap();
        assert!(peers.seat(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn nothing_is_kept_of_addresses_that_are_gone() {
        let peers = Peers::new(1);
        drop(peers.seat(ip("192.0.2.1")).unwrap());
        assert!(peers.seated.lock().is_empty());
    }

    #[test]
    fn a_host_cannot_get_more_places_by_changing_its_address_within_a_network_of_ipv6() {
        let peers = Peers::new(1);
        let _seat = peers.seat(ip("2001:db8:0:1::1")).unwrap();
        assert!(peers.seat(ip("2001:db8:0:1:ffff::2")).is_none());
        assert!(peers.seat(ip("2001:db8:0:2::1")).is_some());
        let _mapped = peers.seat(ip("::ffff:192.0.2.1")).unwrap();
        assert!(peers.seat(ip("192.0.2.1")).is_none());
        assert!(peers.seat(ip("::ffff:192.0.2.2")).is_some());
    }

    #[test]
    fn the_log_has_the_network_of_a_peer_and_not_its_address() {
        let shown = |text: &str| shown(&Peer::Tcp(ip(text))).unwrap();
        assert_eq!(shown("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(shown("2001:db8:1:2::3"), "2001:db8:1::/48");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_spoken_of_every_ten_seconds_with_its_number() {
        let mut turned_away = TurnedAway::default();
        let start = Instant::now();
        assert_eq!(turned_away.one_more(start), Some(1));
        assert_eq!(turned_away.one_more(start + SILENCE / 2), None);
        assert_eq!(turned_away.one_more(start + SILENCE), Some(2));
    }
}
