//! From nothing to a stream on which the relay has answered EHLO: TCP, TLS, greeting, STARTTLS.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use lettre::transport::smtp::authentication::{DEFAULT_MECHANISMS, Mechanism};
use lettre::transport::smtp::commands::{Ehlo, Starttls};
use lettre::transport::smtp::extension::ClientId;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use crate::config::{Security, SmtpTimeouts};
use crate::domain::delivery::Stage;
use crate::mail::outcome::Failure;

use super::expect;
use super::replies::Spoken;
use super::stream::{RelayStream, Socket, within};

/// Where sockets come from.
#[derive(Clone)]
pub enum Dial {
    /// TCP to the relay's host and port.
    Tcp,
    /// This function, for trials that have no network.
    With(Arc<dyn Fn() -> io::Result<Box<dyn Socket>> + Send + Sync>),
}

/// Where the relay is and how it is spoken to.
pub(in crate::mail) struct Relay {
    pub(in crate::mail) host: String,
    pub(in crate::mail) port: u16,
    pub(in crate::mail) dial: Dial,
    pub(in crate::mail) security: Security,
    pub(in crate::mail) server_name: ServerName<'static>,
    pub(in crate::mail) tls: Arc<ClientConfig>,
    pub(in crate::mail) helo_name: String,
    pub(in crate::mail) timeouts: SmtpTimeouts,
}

/// What the relay offers in its answer to EHLO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// RFC 2920.
    pub(super) pipelining: bool,
    /// RFC 1870.
    pub(super) size: bool,
    /// Octets of the largest message it takes, if it says so.
    pub(super) size_octets: Option<u64>,
    /// RFC 3207.
    start_tls: bool,
    /// The best of its mechanisms for AUTH that is known (RFC 4954).
    pub(super) mechanism: Option<Mechanism>,
}

impl Offers {
    fn read(ehlo: &Spoken) -> Self {
        let mut offers = Self::default();
        for line in ehlo.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("PIPELINING") => offers.pipelining = true,
                Some("SIZE") => {
                    offers.size = true;
                    // 0 means no limit (RFC 1870, section 4).
                    let octets = words.next().and_then(|octets| octets.parse().ok());
                    offers.size_octets = octets.filter(|&octets| octets > 0);
                }
                Some("STARTTLS") => offers.start_tls = true,
                Some("AUTH") => {
                    let offered: Vec<&str> = words.collect();
                    let is_offered =
                        |known: &&Mechanism| offered.contains(&known.to_string().as_str());
                    offers.mechanism = DEFAULT_MECHANISMS.iter().find(is_offered).copied();
                }
                Some(_) | None => {}
            }
        }
        offers
    }
}

/// A stream on which EHLO was answered, encrypted if that was asked for.
pub(super) async fn open(relay: &Relay) -> Result<(RelayStream, Offers), Failure> {
    let (socket, peer): (Box<dyn Socket>, _) = match &relay.dial {
        Dial::Tcp => {
            let (socket, peer) = connect(relay).await?;
            (Box::new(socket), peer)
        }
        Dial::With(dial) => {
            let socket = dial().map_err(|error| Failure::io(Stage::Connect, &error))?;
            (socket, SocketAddr::from((Ipv4Addr::LOCALHOST, relay.port)))
        }
    };
    let mut stream = match relay.security {
        Security::Tls => handshake(relay, socket, peer).await?,
        Security::StartTls | Security::None => {
            RelayStream::new(socket, peer, false, relay.timeouts)
        }
    };
    let greeting = stream.hear(Stage::Greeting).await?;
    expect(Stage::Greeting, &greeting, &[220])?;
    let offers = hello(&mut stream, relay).await?;
    match relay.security {
        Security::Tls | Security::None => Ok((stream, offers)),
        Security::StartTls => start_tls(relay, stream, offers).await,
    }
}

/// EHLO.
pub(super) async fn hello(stream: &mut RelayStream, relay: &Relay) -> Result<Offers, Failure> {
    let name = ClientId::Domain(relay.helo_name.clone());
    let answer = stream.ask(Stage::Ehlo, Ehlo::new(name)).await?;
    expect(Stage::Ehlo, &answer, &[250])?;
    Ok(Offers::read(&answer))
}

/// Tries the host's addresses in order. Each gets an equal part of the time that is left, so that one
/// that swallows packets leaves some for the next.
pub(super) async fn connect(relay: &Relay) -> Result<(TcpStream, SocketAddr), Failure> {
    let limit = relay.timeouts.connect;
    let deadline = Instant::now() + limit;
    let addresses: Vec<SocketAddr> = timeout_at(deadline, lookup_host((relay.host.as_str(), relay.port)))
            .await
            .map_err(|_| Failure::timed_out(Stage::Connect, limit))?
            // The resolver's errors have no kind of their own.
            .map_err(|_| Failure::silence(Stage::Connect, "the relay's name cannot be resolved"))?
            .collect();
    let mut failure = Failure::silence(Stage::Connect, "the relay's name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                socket.set_nodelay(true).map_err(|error| Failure::io(Stage::Connect, &error))?;
                return Ok((socket, *address));
            }
            Ok(Err(error)) => failure = Failure::io(Stage::Connect, &error),
            Err(_) => failure = Failure::timed_out(Stage::Connect, limit),
        }
    }
    Err(failure)
}

async fn handshake(
    relay: &Relay,
    socket: Box<dyn Socket>,
    peer: SocketAddr,
) -> Result<RelayStream, Failure> {
    let connector = TlsConnector::from(Arc::clone(&relay.tls));
    let handshake = connector.connect(relay.server_name.clone(), socket);
    let socket = within(Stage::Tls, relay.timeouts, handshake).await?;
    Ok(RelayStream::new(Box::new(socket), peer, true, relay.timeouts))
}

/// STARTTLS on the bare socket, and EHLO once more (RFC 3207). Whatever goes wrong, nothing is ever sent in clear.
async fn start_tls(
    relay: &Relay,
    mut stream: RelayStream,
    offers: Offers,
) -> Result<(RelayStream, Offers), Failure> {
    if !offers.start_tls {
        return Err(Failure::silence(Stage::Tls, "the relay does not offer STARTTLS"));
    }
    let ready = stream.ask(Stage::Tls, Starttls).await?;
    expect(Stage::Tls, &ready, &[220])?;
    let peer = stream.peer();
    let Some(socket) = stream.into_socket() else {
        return Err(Failure::silence(
            Stage::Tls,
            "unencrypted data followed the reply to STARTTLS (from the relay or an attacker)",
        ));
    };
    let mut stream = handshake(relay, socket, peer).await?;
    let offers = hello(&mut stream, relay).await?;
    Ok((stream, offers))
}
