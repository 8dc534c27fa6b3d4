//! Connections: how many, how slow, and how they end.
//!
//! hyper is left nothing to its defaults that was measured to go wrong: HTTP/1 only (the automatic
//! choice leaves a silent client connected for ever), a timer (without one, time-outs do nothing), a
//! bound on the head, a permit taken before `accept`, so that more clients wait in the backlog instead of in
//! memory, and a bound on a client that does not take its answer.

mod peers;
mod stalling;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::peers::{Peers, TurnedAway};
use self::stalling::Stalling;
use super::interface::{Peer, Service};
use super::problem::{Code, Problem};
use super::service::{self, Working};

/// How long to wait for a client to read the final response before its connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same for a connection over the limit: short, since it takes the place of another one meanwhile.
const NO_ROOM: Duration = Duration::from_millis(100);
/// How long to wait when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) trait Listen: Send + Sync + 'static {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;
}

impl Listen for TcpListener {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = Self::accept(self).await?;
        // An answer is one small segment; Nagle's algorithm would hold it back.
        stream.set_nodelay(true)?;
        Ok((stream, Peer::Tcp(address.ip())))
    }
}

impl Listen for UnixListener {
    type Io = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = Self::accept(self).await?;
        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
        Ok((stream, Peer::Unix(uid)))
    }
}

/// Serves until `shutdown` is true or its sender is gone; then waits for what is under way, at most
/// `grace`. Work that takes longer goes on in its task, its connection is cut.
pub(super) async fn serve<L: Listen>(
    listener: L,
    service: Arc<Service>,
    mut shutdown: watch::Receiver<bool>,
    grace: Duration,
) {
    let permits = Arc::new(Semaphore::new(service.limits.connections));
    let peers = Peers::new(service.limits.connections_per_peer);
    let mut turned_away = TurnedAway::default();
    let mut connections = JoinSet::new();
    let (working, mut worked) = mpsc::channel(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            accepted = next(&listener, &permits) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (io, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                sleep(pause_after(&error)).await;
                continue;
            }
        };
        let interface = service.interface.as_str();
        // Whom the socket's permissions let in is not counted.
        let seat = match &peer {
            Peer::Tcp(address) => peers.seat(*address).map(Some),
            Peer::Unix(_) => Some(None),
        };
        let Some(seat) = seat else {
            service.context.metrics.turned_away(interface);
            if let Some(clients) = turned_away.one_more(Instant::now()) {
                tracing::warn!(
                    interface,
                    peer = peers::shown(&peer),
                    clients,
                    "a peer has too many connections, further ones are rejected"
                );
            }
            let farewell = too_many_connections(&service);
            connections.spawn(async move {
                say(io, &farewell, FAREWELL, NO_ROOM).await;
                drop(permit);
            });
            continue;
        };
        let connected = service.context.metrics.connected(interface);
        let (service, shutdown, working) =
            (Arc::clone(&service), shutdown.clone(), working.clone());
        connections.spawn(async move {
            connect(io, peer, service, working, shutdown).await;
            drop((seat, permit, connected));
        });
    }

    drop(listener);
    drop(working);
    let drain = async {
        while connections.join_next().await.is_some() {}
        worked.recv().await
    };
    if timeout(grace, drain).await.is_err() {
        tracing::warn!(
            grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            "requests were still in progress after the grace period"
        );
    }
}

/// A client that left before it was accepted costs nothing. Anything else, such as a lack of file
/// descriptors, stays for a while and would turn the loop into a busy one.
fn pause_after(error: &io::Error) -> Duration {
    let is_the_clients = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if is_the_clients { Duration::ZERO } else { ACCEPT_PAUSE }
}

async fn next<L: Listen>(
    listener: &L,
    permits: &Arc<Semaphore>,
) -> io::Result<(L::Io, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (io, peer) = listener.accept().await?;
    Ok((io, peer, permit))
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender of the signal is gone, which is a stop, too.
    drop(shutdown.wait_for(|stop| *stop).await);
}

async fn connect<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: I,
    peer: Peer,
    service: Arc<Service>,
    working: Working,
    mut shutdown: watch::Receiver<bool>,
) {
    let limits = service.limits;
    let clock = service.context.clock.clone();
    let asked = AtomicU32::new(0);
    let answer = service_fn(move |request| {
        let is_last = asked.fetch_add(1, Ordering::Relaxed) + 1 >= limits.requests_per_connection;
        let answer = service::answer(Arc::clone(&service), peer.clone(), request, working.clone());
        async move {
            let mut response = answer.await?;
            if is_last {
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that has said all may close its side, and still hears the answer (RFC 9112, section 9.6).
        .half_close(true)
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(Stalling::new(io, limits.body_time)), answer);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = stopped(&mut shutdown) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        (&mut connection).await
    };
    let parts = connection.into_parts();
    let error = match ended {
        Ok(()) => return linger(parts.io.into_inner(), FAREWELL).await,
        Err(error) => error,
    };
    // It has said 400 or 431.
    if error.is_parse() {
        return linger(parts.io.into_inner(), FAREWELL).await;
    }
    tracing::debug!(error = %error, "a connection ended early");
    if error.is_timeout() && !parts.read_buf.is_empty() {
        let answer = head_time_out(limits.header_time, clock.now());
        say(parts.io.into_inner(), &answer, limits.header_time, FAREWELL).await;
    }
}

/// Discards what a client sent before it learnt that nothing more is read. To close upon unread bytes is a reset,
/// which may take away from it the answers that it has not read yet (RFC 9112, section 9.6).
async fn linger<I: AsyncRead + Unpin>(mut io: I, patience: Duration) {
    let mut unread = vec![0; 16 * 1024];
    let rest = async { while io.read(&mut unread).await.is_ok_and(|read| read > 0) {} };
    drop(timeout(patience, rest).await);
}

/// Writes an answer that hyper would not, and closes once the client has, or its patience for that is at its end. The
/// client may be gone, so errors are ignored.
async fn say<I: AsyncRead + AsyncWrite + Unpin>(
    mut io: I,
    answer: &[u8],
    patience: Duration,
    farewell: Duration,
) {
    let said = async {
        io.write_all(answer).await?;
        io.shutdown().await
    };
    if let Ok(Ok(())) = timeout(patience, said).await {
        linger(io, farewell).await;
    }
}

/// The answer to a head that is sent too slowly: hyper only closes the connection.
fn head_time_out(limit: Duration, now: DateTime<Utc>) -> Vec<u8> {
    let request_id = service::new_request_id();
    let within = format!("the head must be complete within {} s", limit.as_secs());
    let problem = Problem::new(Code::TimeOut, within);
    tracing::warn!(
        request_id,
        status = problem.code.status().as_u16(),
        code = problem.code.as_str(),
        "the head of a request came too slowly"
    );
    written_out(&problem, &request_id, now)
}

/// The answer to a connection too many, whatever it was going to ask.
fn too_many_connections(service: &Service) -> Vec<u8> {
    let most = service.limits.connections_per_peer;
    let sentence = format!("one address may have at most {most} connections at once");
    let problem = Problem::new(Code::TooManyConnections, sentence);
    let request_id = service::new_request_id();
    written_out(&problem, &request_id, service.context.clock.now())
}

/// A problem as the last answer of a connection.
fn written_out(problem: &Problem, request_id: &str, now: DateTime<Utc>) -> Vec<u8> {
    let body = String::from_utf8_lossy(&problem.to_json(request_id)).into_owned();
    let retry_after = problem
        .retry_after_seconds()
        .map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
    format!(
        "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\nx-request-id: {request_id}\r\n\
         {retry_after}connection: close\r\ncontent-length: {}\r\ndate: {}\r\n\r\n{body}",
        problem.code.status(),
        body.len(),
        now.format("%a, %d %b %Y %H:%M:%S GMT")
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_file_descriptors_pauses_and_a_lost_client_does_not() {
        let (emfile, econnaborted) = (24, 103);
        let pause = |code| pause_after(&io::Error::from_raw_os_error(code));
        assert_eq!(pause(emfile), ACCEPT_PAUSE);
        assert_eq!(pause(econnaborted), Duration::ZERO);
    }
}
