//! Asking the running daemon, by its admin socket.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::out::complain;
use super::{Failure, block_on};
use crate::api::{InvoicePage, LineAnswer, Problem};
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

/// A success of the daemon.
#[derive(Debug)]
pub(super) struct Answer<T> {
    /// As it came.
    pub(super) raw: String,
    /// As it is read.
    pub(super) value: T,
}

/// The admin interface of the daemon on this machine.
pub(super) struct Admin {
    socket: PathBuf,
}

impl Admin {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        read(self.exchange(Method::GET, path, None, Vec::new())?)
    }

    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, Failure> {
        let body = serde_json::to_vec(body).map_err(anyhow::Error::new)?;
        read(self.exchange(Method::POST, path, Some("application/json"), body)?)
    }

    /// A list with every item, read page by page; its other members are those of the last page.
    pub(super) fn all_invoices(&self, path: &str) -> Result<InvoicePage, Failure> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut all: InvoicePage = self.get(path)?.value;
        while let Some(cursor) = &all.next_cursor {
            let next = format!("{path}{joint}cursor={}", segment(cursor));
            let InvoicePage { items, next_cursor, damaged, paused } = self.get(&next)?.value;
            all.items.extend(items);
            all.damaged += damaged;
            (all.next_cursor, all.paused) = (next_cursor, paused);
        }
        if all.damaged > 0 {
            complain(&left_out(all.damaged));
        }
        Ok(all)
    }

    /// The answers to the lines of a batch, one for each and in their order.
    pub(super) fn batch(&self, path: &str, lines: &[Line]) -> Result<Vec<LineAnswer>, Failure> {
        let mut body = Vec::new();
        for line in lines {
            body.extend_from_slice(&line.bytes);
            body.push(b'\n');
        }
        let answer = self.exchange(Method::POST, path, Some("application/x-ndjson"), body)?;
        let answers: Result<Vec<LineAnswer>, _> =
            serde_json::Deserializer::from_slice(&answer).into_iter().collect();
        let answers = answers.map_err(unreadable)?;
        if answers.len() == lines.len() {
            Ok(answers)
        } else {
            let words = format!("{} lines got {} answers", lines.len(), answers.len());
            Err(Failure::Failed(anyhow!(words)))
        }
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
                let problem = serde_json::from_slice(&response.body).map_err(unreadable)?;
                Err(failure(status, problem))
            }
        }
    }
}

fn read<T: DeserializeOwned>(body: Vec<u8>) -> Result<Answer<T>, Failure> {
    let value = serde_json::from_slice(&body).map_err(unreadable)?;
    let raw = String::from_utf8(body).map_err(anyhow::Error::new)?;
    Ok(Answer { raw, value })
}

/// The warning below a list with skipped records.
pub(super) fn left_out(damaged: u64) -> String {
    format!(
        "{damaged} damaged records were skipped; stop the daemon and run `invoice-router verify`"
    )
}

fn unreadable(error: serde_json::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("the daemon's answer cannot be read")
}

/// The socket's file permissions say who may: then the daemon may well be there.
fn unreachable(socket: &Path, error: ClientError) -> Failure {
    let socket = socket.display();
    let words = match &error {
        ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            return Failure::Unreachable(anyhow!(
                "permission denied on the daemon's admin socket {socket}: run this as a member of its group"
            ));
        }
        ClientError::Connect { .. } | ClientError::Request(_) => {
            format!("no daemon answers at {socket}")
        }
        ClientError::Exchange(_) | ClientError::TimedOut(_) => format!(
            "the daemon at {socket} did not complete its answer: the request may have been carried out"
        ),
    };
    Failure::Unreachable(anyhow::Error::new(error).context(words))
}

fn failure(status: u16, problem: Problem) -> Failure {
    let words = match problem.state {
        Some(state) => format!("{} (state: {state})", problem.detail),
        None => problem.detail,
    };
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
                .starts_with("permission denied on the daemon's admin socket /run/admin.sock")
        );
        assert!(words(io::ErrorKind::NotFound).starts_with("no daemon answers at /run/admin.sock"));
    }

    #[test]
    fn a_number_with_a_slash_is_one_segment() {
        assert_eq!(segment("RE-2026/0042 ä"), "RE-2026%2F0042%20%C3%A4");
    }
}
