//! What the command line and the daemon say to each other: a socket of its own passes everything on, and holds
//! each exchange against the description.
//!
//! The answer is passed back once it has been judged, so that whoever has seen a command end knows all that was
//! found.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use invoice_router::http::client::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::description::{Asked, Interface, findings, parse};

const END: &[u8] = b"\r\n\r\n";

/// What was heard so far.
#[derive(Debug, Default)]
pub(crate) struct Overheard {
    pub(crate) exchanges: usize,
    /// What is not as it is described.
    pub(crate) findings: Vec<String>,
}

/// Passes on what is said at the socket `asked` to the one at `admin`, as long as the test runs.
pub(crate) fn overhear(asked: &Path, admin: PathBuf) -> Arc<Mutex<Overheard>> {
    let listener = UnixListener::bind(asked).unwrap();
    let overheard = Arc::default();
    let heard = Arc::clone(&overheard);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (admin, heard) = (admin.clone(), Arc::clone(&heard));
            tokio::spawn(async move {
                // Whoever is left without an answer says so.
                drop(pass_on(client, &admin, &heard).await);
            });
        }
    });
    overheard
}

async fn pass_on(mut client: UnixStream, admin: &Path, heard: &Mutex<Overheard>) -> io::Result<()> {
    let mut daemon = UnixStream::connect(admin).await?;
    while let Some(request) = message(&mut client).await? {
        daemon.write_all(&request).await?;
        let answer = message(&mut daemon).await?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        let found = judge(&request, &answer);
        {
            let mut heard = heard.lock().unwrap();
            heard.exchanges += 1;
            heard.findings.extend(found);
        }
        client.write_all(&answer).await?;
    }
    Ok(())
}

/// A message with its body; none if the other end has no more to say.
async fn message(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut whole = None;
    while whole.is_none_or(|length| bytes.len() < length) {
        if stream.read_buf(&mut bytes).await? == 0 {
            return match bytes.as_slice() {
                [] => Ok(None),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        whole = whole.or_else(|| {
            let head = bytes.windows(END.len()).position(|four| four == END)?;
            Some(head + END.len() + body_bytes(&bytes[..head]))
        });
    }
    Ok(Some(bytes))
}

fn body_bytes(head: &[u8]) -> usize {
    let length = headers(head).find(|(name, _)| *name == "content-length");
    length.map_or(0, |(_, length)| length.parse().unwrap())
}

/// Both ends write their names in lower case.
fn headers(head: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let head = std::str::from_utf8(head).unwrap();
    head.split("\r\n").skip(1).map(|line| line.split_once(": ").unwrap())
}

fn judge(request: &[u8], answer: &[u8]) -> Vec<String> {
    let end = request.windows(END.len()).position(|four| four == END);
    let (head, body) = request.split_at(end.unwrap());
    let line = std::str::from_utf8(head).unwrap().lines().next().unwrap();
    let [method, path, "HTTP/1.1"] = *line.split(' ').collect::<Vec<_>>() else {
        return vec![format!("{line} is no request")];
    };
    let headers: Vec<_> = headers(head).collect();
    let asked = Asked {
        interface: Interface::Admin,
        method: &Method::from_bytes(method.as_bytes()).unwrap(),
        path,
        headers: &headers,
        body: &body[END.len()..],
    };
    let (answer, rest) = parse(answer);
    let mut found = findings(&asked, &answer);
    if !rest.is_empty() {
        found.push("the answer has more bytes than it says".to_owned());
    }
    let place = |finding| format!("{line}: {finding}, in {answer:?}");
    found.into_iter().map(place).collect()
}
