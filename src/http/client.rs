//! A small HTTP client for the command line: one request, one answer, over a Unix socket or TCP.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

pub use hyper::Method;

/// Largest answer in bytes.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The admin socket.
    Unix(PathBuf),
    /// An interface on TCP.
    Tcp(SocketAddr),
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The peer does not accept connections.
    #[error("connecting to {target} failed")]
    Connect {
        /// Whom.
        target: String,
        /// What the system says.
        source: io::Error,
    },
    /// The request cannot be written as HTTP.
    #[error("the request is not valid HTTP")]
    Request(#[source] hyper::http::Error),
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange broke off")]
    Exchange(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
}

/// Sends one request and reads its whole answer within `time_out`, connecting included. `path` is
/// percent-encoded already.
pub async fn request(
    target: &Target,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    time_out: Duration,
) -> Result<Response, ClientError> {
    let exchange = async {
        let connect = |source| ClientError::Connect { target: target.to_string(), source };
        match target {
            Target::Unix(path_of_socket) => {
                let stream = UnixStream::connect(path_of_socket).await.map_err(connect)?;
                send(stream, "localhost", method, path, headers, body).await
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(connect)?;
                stream.set_nodelay(true).map_err(connect)?;
                send(stream, &address.to_string(), method, path, headers, body).await
            }
        }
    };
    match timeout(time_out, exchange).await {
        Ok(answered) => answered,
        Err(_) => Err(ClientError::TimedOut(time_out)),
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    host: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Response, ClientError> {
    let exchange = |error: hyper::Error| ClientError::Exchange(error.into());
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(exchange)?;
    // It ends with the exchange, since `sender` does; its errors come out at the request.
    let connection = tokio::spawn(connection);
    let mut request = Request::builder();
    if method != Method::GET {
        // hyper leaves it out where there is no body, and then the other end cannot know.
        request = request.header(CONTENT_LENGTH, body.len());
    }
    request = request.method(method).uri(path).header(HOST, host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(ClientError::Request)?;
    let (head, body) = sender.send_request(request).await.map_err(exchange)?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES)
        .collect()
        .await
        .map_err(ClientError::Exchange)?
        .to_bytes()
        .to_vec();
    connection.abort();
    Ok(Response { status: head.status, headers: head.headers, body })
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(target: &Target) -> Result<Response, ClientError> {
        let second = Duration::from_secs(1);
        request(target, Method::GET, "/livez", &[], Vec::new(), second).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        let error = ask(&target).await.unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let target = Target::Unix(directory.path().join("admin.sock"));
        let error = ask(&target).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }));
        assert!(error.to_string().ends_with("admin.sock failed"), "{error}");
    }
}
