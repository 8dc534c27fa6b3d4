//! Asking the running daemon, by its admin socket.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use serde_json::Value;

use super::out::complain;
use super::{Failure, block_on};
use crate::http::client::{self, ClientError, Method, Target};

/// How long the daemon has for an answer.
const TIME_OUT: Duration = Duration::from_secs(60);

/// A line of a batch.
#[derive(Debug)]
pub(super) struct Line {
    /// In its file, from 1.
    pub(super) number: usize,
    /// Without its end.
    pub(super) bytes: Vec<u8>,
}

/// The admin interface of the daemon on this machine.
pub(super) struct Admin {
    socket: PathBuf,
}

impl Admin {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, Some(body))
    }

    /// A list with every item, read page by page; its other members are those of the last page.
    pub(super) fn all(&self, path: &str) -> Result<Value, Failure> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        let mut damaged = 0;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let mut page = if cursor.is_empty() {
                self.get(path)?
            } else {
                self.get(&format!("{path}{joint}cursor={}", segment(&cursor)))?
            };
            items.extend(super::out::list(&page, "/items").iter().cloned());
            damaged += page["damaged"].as_u64().unwrap_or(0);
            let Some(next) = page.get("next_cursor").and_then(Value::as_str) else {
                page["items"] = items.into();
                if damaged > 0 {
                    page["damaged"] = damaged.into();
                    complain(&left_out(damaged));
                }
                return Ok(page);
            };
            next.clone_into(&mut cursor);
        }
    }

    /// The answers to the lines of a batch, one for each and in their order.
    pub(super) fn batch(&self, path: &str, lines: &[Line]) -> Result<Vec<Value>, Failure> {
        let mut body = Vec::new();
        for line in lines {
            body.extend_from_slice(&line.bytes);
            body.push(b'\n');
        }
        let answer = self.exchange(Method::POST, path, Some("application/x-ndjson"), body)?;
        let answers: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_slice(&answer).into_iter().collect();
        let answers = answers.map_err(not_json)?;
        if answers.len() == lines.len() {
            Ok(answers)
        } else {
            let words = format!("{} lines were answered by {}", lines.len(), answers.len());
            Err(Failure::Failed(anyhow!(words)))
        }
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let media_type = body.map(|_| "application/json");
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let answer = self.exchange(method, path, media_type, body)?;
        Ok(serde_json::from_slice(&answer).map_err(not_json)?)
    }

    /// The body of a success.
    fn exchange(
        &self,
        method: Method,
        path: &str,
        media_type: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let target = Target::Unix(self.socket.clone());
        let headers: Vec<_> =
            media_type.into_iter().map(|media_type| ("content-type", media_type)).collect();
        let exchange = client::request(&target, method, path, &headers, body, TIME_OUT);
        let response = block_on(exchange)?.map_err(|error| unreachable(&self.socket, error))?;
        match response.status.as_u16() {
            200..=299 => Ok(response.body),
            status => {
                let problem = serde_json::from_slice(&response.body).map_err(not_json)?;
                Err(failure(status, &problem))
            }
        }
    }
}

/// What is told of a list that is not whole.
pub(super) fn left_out(damaged: u64) -> String {
    format!(
        "{damaged} cannot be read and are left out: stop the daemon, and see invoice-router verify"
    )
}

fn not_json(error: serde_json::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("the daemon's answer is not JSON")
}

/// The socket's file permissions say who may: then the daemon may well be there.
fn unreachable(socket: &Path, error: ClientError) -> Failure {
    let socket = socket.display();
    let words = match &error {
        ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            return Failure::Unreachable(anyhow!(
                "this user may not use the daemon's admin socket at {socket}: permission denied; \
                 members of the group that it belongs to may"
            ));
        }
        ClientError::Connect { .. } | ClientError::Request(_) => {
            format!("no daemon answers at {socket}")
        }
        ClientError::Exchange(_) | ClientError::TimedOut(_) => format!(
            "the daemon at {socket} did not answer to the end: what was asked may have been done"
        ),
    };
    Failure::Unreachable(anyhow::Error::new(error).context(words))
}

fn failure(status: u16, problem: &Value) -> Failure {
    let detail = problem.get("detail").or_else(|| problem.get("title")).and_then(Value::as_str);
    let mut words =
        detail.map_or_else(|| format!("the daemon answered with status {status}"), str::to_owned);
    if let Some(state) = problem.get("state").and_then(Value::as_str) {
        words = format!("{words} (state: {state})");
    }
    match status {
        409 | 422 => Failure::Refused(words),
        _ => Failure::Failed(anyhow!(words)),
    }
}

/// One segment of a path or value of a query, percent-encoded (RFC 3986, section 2.1).
pub(super) fn segment(raw: &str) -> String {
    let mut encoded = String::with_capacity(raw.len());
    for byte in raw.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_this_user_may_not_use_is_not_taken_for_a_daemon_that_is_not_there() {
        let words = |kind: io::ErrorKind| {
            let error =
                ClientError::Connect { target: "/run/admin.sock".to_owned(), source: kind.into() };
            let failure = unreachable(Path::new("/run/admin.sock"), error);
            assert_eq!(failure.exit_code(), 69);
            failure.to_string()
        };
        assert!(
            words(io::ErrorKind::PermissionDenied)
                .starts_with("this user may not use the daemon's admin socket at /run/admin.sock")
        );
        assert!(words(io::ErrorKind::NotFound).starts_with("no daemon answers at /run/admin.sock"));
    }

    #[test]
    fn a_number_with_a_slash_is_one_segment() {
        assert_eq!(segment("RE-2026/0042 ä"), "RE-2026%2F0042%20%C3%A4");
    }
}
