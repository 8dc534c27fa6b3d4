//! A mail server that receives everything and delivers nothing: for the demo, tests and measurements.
//!
//! It speaks real SMTP (RFC 5321, with PIPELINING, SIZE, 8BITMIME and ENHANCEDSTATUSCODES) on a free
//! port of the loopback interface, and is strict: bare line feeds, lines that are too long and commands out
//! of order are refused, so that what it takes any server takes. A message counts as received, and is
//! answered with 250, only after its file is written. Without a directory only the envelopes are kept,
//! so that memory stays small however many messages come.

mod session;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use self::session::Session;

/// A running mail server; it stops when dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    mailbox: Arc<Mailbox>,
    server: JoinHandle<()>,
}

/// The envelope of a message that was received, and where the message lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The address of MAIL FROM; empty for a bounce.
    pub sender: String,
    /// The addresses of RCPT TO, in their order.
    pub recipients: Vec<String>,
    /// Size of the message without its final dot.
    pub bytes: usize,
    /// The connection that it came over, counted from 1.
    pub connection: u64,
    /// The message, below the headers `Return-Path` and `Delivered-To` that a delivering server adds;
    /// if messages are kept.
    pub file: Option<PathBuf>,
}

impl Sink {
    /// Listens on a free port of the loopback interface. With a directory, which must exist, each
    /// message is kept there as an `.eml` file.
    pub async fn start(directory: Option<PathBuf>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mailbox =
            Arc::new(Mailbox { directory, state: Mutex::default(), count: watch::Sender::new(0) });
        Ok(Self {
            address: listener.local_addr()?,
            mailbox: Arc::clone(&mailbox),
            server: tokio::spawn(serve(listener, mailbox)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has been received so far, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Received> {
        self.mailbox.state.lock().received.clone()
    }

    /// How many messages have been received so far.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.mailbox.count.borrow()
    }

    /// Waits until at least `count` messages have been received; false if `time_out` came first.
    pub async fn wait_for(&self, count: usize, time_out: Duration) -> bool {
        let mut counted = self.mailbox.count.subscribe();
        let enough = counted.wait_for(|so_far| *so_far >= count);
        matches!(tokio::time::timeout(time_out, enough).await, Ok(Ok(_)))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Where messages go.
#[derive(Debug)]
struct Mailbox {
    directory: Option<PathBuf>,
    state: Mutex<State>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// Files begun, which number the messages.
    files: u64,
    received: Vec<Received>,
}

impl Mailbox {
    /// Keeps a message; once this returns it has been received.
    async fn deliver(
        &self,
        sender: String,
        recipients: Vec<String>,
        connection: u64,
        message: &[u8],
    ) -> io::Result<()> {
        let file = match &self.directory {
            Some(directory) => {
                let path = directory.join(self.next_file_name(&recipients));
                tokio::fs::write(&path, delivered(&sender, &recipients, message)).await?;
                Some(path)
            }
            None => None,
        };
        let count = {
            let mut state = self.state.lock();
            state.received.push(Received {
                sender,
                recipients,
                bytes: message.len(),
                connection,
                file,
            });
            state.received.len()
        };
        // Deliveries of several connections may come by here in another order than above.
        self.count.send_modify(|known| *known = count.max(*known));
        Ok(())
    }

    /// A number for the order, and the first recipient to tell files apart at a glance.
    fn next_file_name(&self, recipients: &[String]) -> String {
        let number = {
            let mut state = self.state.lock();
            state.files += 1;
            state.files
        };
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || "@.-_+".contains(*c);
        let recipient = recipients.first().map_or("", String::as_str);
        let recipient: String = recipient.chars().filter(is_plain).take(64).collect();
        format!("{number:04}-{recipient}.eml")
    }
}

/// The message as a delivering server leaves it, with its envelope on top (RFC 5321, section 4.4).
fn delivered(sender: &str, recipients: &[String], message: &[u8]) -> Vec<u8> {
    let mut whole = format!("Return-Path: <{sender}>\r\n").into_bytes();
    for recipient in recipients {
        whole.extend_from_slice(format!("Delivered-To: {recipient}\r\n").as_bytes());
    }
    whole.extend_from_slice(message);
    whole
}

async fn serve(listener: TcpListener, mailbox: Arc<Mailbox>) {
    let mut sessions = JoinSet::new();
    let mut connections = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A client that is gone before it is accepted wants nothing from us.
                let Ok((stream, _)) = accepted else { continue };
                connections += 1;
                sessions.spawn(Session::new(Arc::clone(&mailbox), connections).run(stream));
            }
            // A session that breaks off is the client's to notice.
            Some(_) = sessions.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;
