//! From nothing to a stream on which the relay has greeted: TCP, TLS, greeting, STARTTLS.
//!
//! All this happens on the bare socket, before lettre: it sets no `TCP_NODELAY`, and after STARTTLS it
//! reads plaintext that came with the 220 as if it had been encrypted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use crate::config::{Security, SmtpTimeouts};
use crate::domain::delivery::Stage;
use crate::mail::outcome::Failure;

use super::expect;
use super::replies::Spoken;
use super::stream::{RelayStream, Socket};

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

/// A stream on which the next thing to send is EHLO, encrypted if that was asked for.
pub(super) async fn open(relay: &Relay) -> Result<RelayStream, Failure> {
    let limits = &relay.timeouts;
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
    let stream = match relay.security {
        Security::Tls => handshake(relay, socket, peer).await?,
        Security::StartTls | Security::None => RelayStream::new(socket, peer, false),
    };
    let greeting = hear(&stream, Stage::Greeting, limits.greeting).await?;
    expect(Stage::Greeting, &greeting, &[220])?;
    match relay.security {
        Security::Tls | Security::None => Ok(stream),
        Security::StartTls => start_tls(relay, stream).await,
    }
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
    let socket = within(Stage::Tls, relay.timeouts.tls, handshake).await?;
    Ok(RelayStream::new(Box::new(socket), peer, true))
}

/// EHLO and STARTTLS on the bare socket (RFC 3207). Whatever goes wrong, nothing is ever sent in clear.
async fn start_tls(relay: &Relay, mut stream: RelayStream) -> Result<RelayStream, Failure> {
    let limits = &relay.timeouts;
    let hello = format!("EHLO {}\r\n", relay.helo_name);
    say(&mut stream, Stage::Ehlo, limits.ehlo, &hello).await?;
    let offers = hear(&stream, Stage::Ehlo, limits.ehlo).await?;
    expect(Stage::Ehlo, &offers, &[250])?;
    let is_offered =
        offers.lines.iter().skip(1).any(|line| line.trim().eq_ignore_ascii_case("STARTTLS"));
    if !is_offered {
        return Err(Failure::silence(Stage::Tls, "the relay does not offer STARTTLS"));
    }
    say(&mut stream, Stage::Tls, limits.tls, "STARTTLS\r\n").await?;
    let ready = hear(&stream, Stage::Tls, limits.tls).await?;
    expect(Stage::Tls, &ready, &[220])?;
    let peer = stream.peer();
    match stream.into_socket() {
        Some(socket) => handshake(relay, socket, peer).await,
        None => Err(Failure::silence(
            Stage::Tls,
            "unencrypted data followed the reply to STARTTLS (from the relay or an attacker)",
        )),
    }
}

async fn say(
    stream: &mut RelayStream,
    stage: Stage,
    limit: Duration,
    line: &str,
) -> Result<(), Failure> {
    within(stage, limit, async {
        stream.write_all(line.as_bytes()).await?;
        stream.flush().await
    })
    .await
}

async fn hear(stream: &RelayStream, stage: Stage, limit: Duration) -> Result<Spoken, Failure> {
    within(stage, limit, stream.hear()).await
}

/// `step`, bounded. On a time-out it is dropped where it stands: the caller gives up the stream.
async fn within<T>(
    stage: Stage,
    limit: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    timeout(limit, step)
        .await
        .map_err(|_| Failure::timed_out(stage, limit))?
        .map_err(|error| Failure::io(stage, &error))
}
