//! Asking the running daemon, as a rule by its admin socket.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::api::Problem;
use crate::http::client::{self, ClientError, Method, Target};

/// How long the daemon has for an answer.
const TIME_OUT: Duration = Duration::from_secs(60);

/// A success of the daemon.
#[derive(Debug)]
pub(super) struct Answer<T> {
    /// As it came.
    pub(super) raw: String,
    /// As it is read.
    pub(super) value: T,
}

/// An interface of the daemon.
#[derive(Debug)]
pub(super) struct Client(pub(super) Target);

impl Client {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.exchange(Method::GET, path, &[], Vec::new()).await.and_then(read)
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, Failure> {
        let body = serde_json::to_vec(body).map_err(anyhow::Error::new)?;
        let headers = [("content-type", "application/json")];
        self.exchange(Method::POST, path, &headers, body).await.and_then(read)
    }

    /// The body of a success.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let response = client::request(&self.0, method, path, headers, body, TIME_OUT).await;
        let response = response.map_err(|error| unreachable(&self.0, error))?;
        match response.status.as_u16() {
            200..=299 => Ok(response.body),
            status => {
                let problem = serde_json::from_slice(&response.body).map_err(unreadable)?;
                Err(failure(status, problem))
            }
        }
    }
}

/// The answer in a body.
pub(super) fn read<T: DeserializeOwned>(body: Vec<u8>) -> Result<Answer<T>, Failure> {
    let value = serde_json::from_slice(&body).map_err(unreadable)?;
    let raw = String::from_utf8(body).map_err(anyhow::Error::new)?;
    Ok(Answer { raw, value })
}

pub(super) fn unreadable(error: serde_json::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("the daemon's answer cannot be read")
}

/// The warning below a list with skipped records.
pub(super) fn left_out(damaged: u64) -> String {
    format!(
        "{damaged} damaged records were skipped; stop the daemon and run `invoice-router verify`"
    )
}

/// The socket's file permissions say who may: then the daemon may well be there.
fn unreachable(target: &Target, error: ClientError) -> Failure {
    let words = match &error {
        ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            return Failure::Unreachable(anyhow!(
                "permission denied on the daemon's admin socket {target}: run this as a member of its group"
            ));
        }
        ClientError::Connect { .. } | ClientError::Request(_) => {
            format!("no daemon answers at {target}")
        }
        ClientError::Exchange(_) | ClientError::TimedOut(_) => format!(
            "the daemon at {target} did not complete its answer: the request may have been carried out"
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
        let target = "/run/admin.sock";
        for (kind, expected) in [
            (io::ErrorKind::PermissionDenied, "permission denied on the daemon's admin socket"),
            (io::ErrorKind::NotFound, "no daemon answers at"),
        ] {
            let error = ClientError::Connect { target: target.to_owned(), source: kind.into() };
            let failure = unreachable(&Target::Unix(target.into()), error);
            assert_eq!(failure.exit_code(), 69);
            assert!(failure.to_string().starts_with(&format!("{expected} {target}")), "{failure}");
        }
    }

    #[test]
    fn a_number_with_a_slash_is_one_segment() {
        assert_eq!(segment("RE-2026/0042 ä"), "RE-2026%2F0042%20%C3%A4");
    }
}
